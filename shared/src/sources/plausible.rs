//! Rejected requests that look like those of the real sender.
//!
//! A sender whose secret is wrong loses every event in silence, because many senders never send an event again. Strangers send far more
//! requests than it does, but theirs lack what the source type names. A request that lacks nothing is plausible: it most likely came from
//! the sender, or from an attacker who studied it.

use std::time::Duration;

use http::{HeaderMap, header::CONTENT_TYPE};
use serde::{Deserialize, de::IgnoredAny};

use super::{Place, SenderRefusal, Signature, Source};
use crate::{Millis, identity::Identity, strapi::StrapiEvent};

/// The type of a body whose fields are those of a form, which Slack and others send.
const FORM: &str = "application/x-www-form-urlencoded";

impl Source {
    /// Returns whether a rejected request has every field that the source type names, well formed.
    pub fn is_plausible(&self, rejection: &SenderRefusal, headers: &HeaderMap, body: &[u8], now: Millis) -> bool {
        match rejection {
            // The signature was right, and only the clock of the sender is not.
            SenderRefusal::Stale | SenderRefusal::Early => true,
            SenderRefusal::Mismatch | SenderRefusal::WrongToken => self.is_well_formed(headers, body, now),
            // Without a token only the form of the body tells the sender from a stranger.
            SenderRefusal::NoToken => self.identity.is_of_form() && self.is_well_formed(headers, body, now),
            // A sender without a secret does not sign. The headers of the event type tell it from a stranger.
            SenderRefusal::NoHeader(name) => {
                let signs = self.signature.as_ref().is_some_and(|signature| signature.header == *name);
                signs && self.type_headers().next().is_some() && self.has_form(headers, body)
            }
            _ => false,
        }
    }

    /// Returns whether a request has the signature, the headers and the body that the source type names, whoever signed it.
    pub fn is_well_formed(&self, headers: &HeaderMap, body: &[u8], now: Millis) -> bool {
        self.signature.as_ref().is_none_or(|signature| signature.is_well_formed(headers, now))
            && self.has_form(headers, body)
    }

    fn has_form(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        self.type_headers().all(|name| headers.get(name).is_some_and(|value| !value.is_empty()))
            && self.is_body(headers, body)
    }

    /// Returns the headers that type an event. The header of its id is not among them, because the raw body may stand for the id.
    fn type_headers(&self) -> impl Iterator<Item = &str> {
        self.event_type.iter().filter_map(Place::header)
    }

    /// Returns whether the body is what the source sends: JSON, unless its type says that it is a form.
    fn is_body(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match self.identity {
            Identity::Strapi => StrapiEvent::parse(body).is_ok(),
            Identity::Payload => is_payload(body),
            _ => content_type.starts_with(FORM) || serde_json::from_slice::<IgnoredAny>(body).is_ok(),
        }
    }
}

/// The fields that each event of the `payload` source type has.
#[derive(Deserialize)]
struct OwnPayload {
    #[serde(rename = "eventType")]
    _event_type: String,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

/// Returns whether a body is an event of the `payload` source type, an array of them, or one on its first line.
fn is_payload(body: &[u8]) -> bool {
    let first = serde_json::Deserializer::from_slice(body).into_iter::<OwnPayload>().next();
    first.is_some_and(|first| first.is_ok())
        || serde_json::from_slice::<Vec<OwnPayload>>(body).is_ok_and(|all| !all.is_empty())
}

impl Signature {
    /// Returns whether a request has a MAC of the right length, every signed header, and a timestamp within the tolerance.
    fn is_well_formed(&self, headers: &HeaderMap, now: Millis) -> bool {
        self.headers().all(|name| headers.contains_key(name))
            && self.macs_of(headers).iter().any(|mac| mac.len() == self.algorithm.mac_length())
            && self.stamp_of(headers).is_ok_and(|stamp| self.judge(stamp, now, Duration::ZERO).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::{retry::millis, routes::Routes, sources::signature::DEFAULT_TOLERANCE};

    const NOW: Millis = 1_700_000_000_000;
    const STRAPI: &str = r#"{"event":"entry.create","createdAt":"2026-01-01T00:00:00.000Z"}"#;

    fn source(recipe: &str) -> Source {
        let document = format!(
            "[[source]]\nname = \"s\"\nrecipe = \"{recipe}\"\nsecret = \"x\"\n\
             [[route]]\nname = \"r\"\nsource = \"s\"\nurl = \"https://x.example/\"\n"
        );
        Routes::compile(&document, &Routes::default()).unwrap().source("s").unwrap().clone()
    }

    fn is_plausible(source: &Source, rejection: &SenderRefusal, headers: &[(&str, &str)], body: &str) -> bool {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        source.is_plausible(rejection, &headers.iter().map(pair).collect(), body.as_bytes(), NOW)
    }

    #[test]
    fn a_github_request_with_another_secret_is_plausible_and_one_that_lacks_a_field_is_not() {
        let (github, mac) = (source("github"), format!("sha256={}", "ab".repeat(32)));
        let whole = [("x-github-event", "push"), ("x-github-delivery", "d"), ("x-hub-signature-256", mac.as_str())];
        assert!(is_plausible(&github, &SenderRefusal::Mismatch, &whole, "{}"));
        let without = |lacking: usize| {
            let mut headers = whole.to_vec();
            headers.remove(lacking);
            headers
        };
        assert!(!is_plausible(&github, &SenderRefusal::Mismatch, &without(0), "{}"));
        let unsigned = SenderRefusal::NoHeader("x-hub-signature-256".into());
        assert!(is_plausible(&github, &unsigned, &without(2), "{}"), "a webhook without a secret");
        assert!(!is_plausible(&github, &unsigned, &[], "{}"));
        assert!(!is_plausible(&github, &SenderRefusal::Mismatch, &whole, "<html>"));
        let form = [whole[0], whole[2], ("content-type", "application/x-www-form-urlencoded")];
        assert!(is_plausible(&github, &SenderRefusal::Mismatch, &form, "payload=%7B%7D"));
        let short = [whole[0], whole[1], ("x-hub-signature-256", "sha256=abcd")];
        assert!(!is_plausible(&github, &SenderRefusal::Mismatch, &short, "{}"));
        assert!(!is_plausible(&github, &SenderRefusal::NoHeader("x".into()), &whole, "{}"));
    }

    #[test]
    fn a_timestamp_outside_the_tolerance_is_not_plausible_unless_the_signature_was_right() {
        let stripe = source("stripe");
        let at = |at: Millis| format!("t={},v1={}", at / 1_000, "ab".repeat(32));
        let (fresh, old) = (at(NOW), at(NOW - millis(DEFAULT_TOLERANCE) - 1_000));
        assert!(is_plausible(&stripe, &SenderRefusal::Mismatch, &[("stripe-signature", &fresh)], "{}"));
        assert!(!is_plausible(&stripe, &SenderRefusal::Mismatch, &[("stripe-signature", &old)], "{}"));
        assert!(is_plausible(&stripe, &SenderRefusal::Stale, &[("stripe-signature", &old)], "{}"));
    }

    #[test]
    fn a_token_is_plausible_with_the_body_of_its_source_and_a_missing_one_only_with_a_body_of_known_form() {
        let (strapi, generic) = (source("strapi"), source("generic"));
        assert!(is_plausible(&strapi, &SenderRefusal::WrongToken, &[], STRAPI));
        assert!(is_plausible(&strapi, &SenderRefusal::NoToken, &[], STRAPI));
        assert!(!is_plausible(&strapi, &SenderRefusal::WrongToken, &[], "{}"));
        assert!(!is_plausible(&generic, &SenderRefusal::NoToken, &[], "{}"));
        let payload = Source::built_in("payload").unwrap();
        let event = r#"{"eventType":"a","data":1}"#;
        for body in [event, &format!("[{event}]"), &format!("{event}\n{event}")] {
            assert!(is_plausible(&payload, &SenderRefusal::NoToken, &[], body), "{body}");
        }
        for body in ["{}", "1", "[]", ""] {
            assert!(!is_plausible(&payload, &SenderRefusal::WrongToken, &[], body), "{body}");
        }
    }
}
