//! The producer's verdict, which travels with the event.
//!
//! A sender is judged once, when its event arrives at the producer's door. The event may reach the consumer hours later, from
//! the outbox or after an outage, when its timestamp is old and its sender's secret may have been replaced. So the producer
//! seals what it has judged: source, time of arrival, body, and the headers that name and type the event. QStash forwards the seal as
//! a header, and the consumer judges a sealed event no more. The sender's signature stays behind: who else gets the topic's messages
//! could use it.

use std::collections::BTreeSet;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;

use super::Source;
use crate::{Millis, digest::Sha256, secret::Secret};

/// The header that carries a seal: `<arrival in milliseconds>.<names of headers>.<MAC>`. No route passes it on.
pub const SEAL_HEADER: &str = "Surehook-Seal";
/// The name in `SOURCE_SECRETS` of the secret that seals, of producer and consumer alone.
pub const SEAL_SECRET: &str = "seal";
/// What tells these MACs from others that may ever be made with the same secret.
const DOMAIN: &[u8] = b"surehook seal/1";

/// What a seal is about.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    /// The source that the sender was judged for.
    pub source: &'a Source,
    /// The headers of the event.
    pub headers: &'a HeaderMap,
    /// The digest of its body.
    pub body: Sha256,
}

impl Sealed<'_> {
    /// Seals an event that arrived now with the first of the secrets; `None` where there is none. More headers that are forwarded are
    /// sealed too: routes of tomorrow may find the type in one of them.
    pub fn seal(&self, secrets: &[Secret], arrived: Millis, more: &BTreeSet<&str>) -> Option<String> {
        let names: BTreeSet<&str> = self.source.naming_headers().chain(more.iter().copied()).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| self.value(name).is_some()).collect();
        let names = names.join(",");
        let mac = self.mac(secrets.first()?, arrived, &names);
        Some(format!("{arrived}.{names}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }

    /// When a sealed event arrived; `None` where no secret of ours made the seal for this event. A header that names or types the
    /// event and came without being sealed was added by somebody else.
    pub fn open(&self, secrets: &[Secret], seal: &str) -> Option<Millis> {
        // A header's name may hold dots.
        let (arrived, rest) = seal.split_once('.')?;
        let (names, mac) = rest.rsplit_once('.')?;
        let (arrived, mac) = (arrived.parse().ok()?, URL_SAFE_NO_PAD.decode(mac).ok()?);
        let fits = |secret: &Secret| verify_slices_are_equal(self.mac(secret, arrived, names).as_ref(), &mac).is_ok();
        let is_sealed = |name: &str| names.split(',').any(|sealed| sealed == name);
        let mut present = self.source.naming_headers().filter(|name| self.value(name).is_some());
        (secrets.iter().any(fits) && present.all(is_sealed)).then_some(arrived)
    }

    /// As it is forwarded: what is not ASCII is not.
    fn value(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?.to_str().ok()?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// Each part after its length, so that no two events have the same.
    fn mac(&self, secret: &Secret, arrived: Millis, names: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        };
        add(DOMAIN);
        add(self.source.name.as_bytes());
        add(&arrived.to_be_bytes());
        add(names.as_bytes());
        names.split(',').for_each(|name| add(self.value(name).unwrap_or_default().as_bytes()));
        add(self.body.as_bytes());
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{routes::Routes, sources::Place};

    const OLD: &str = "an old secret of twenty-four and more bytes";
    const NEW: &str = "a new secret of twenty-four and more bytes";

    fn source(name: &str) -> Source {
        let text = format!("[[source]]\nname = \"{name}\"\nrecipe = \"github\"\nsecret = \"x\"\n");
        Routes::compile(&text, &Routes::default()).unwrap().sources.remove(0)
    }

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        texts.iter().map(|text| Secret::new(*text).unwrap()).collect()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn opens(seal: &str, by: &[&str], source: &Source, pairs: &[(&'static str, &str)], body: &str) -> Option<Millis> {
        let headers = headers(pairs);
        Sealed { source, headers: &headers, body: Sha256::of(body.as_bytes()) }.open(&secrets(by), seal)
    }

    #[test]
    fn a_seal_opens_for_its_source_names_and_body_alone() {
        let (github, other) = (source("github"), source("other"));
        let event = [("x-github-delivery", "d-1"), ("x-github-event", "push")];
        let of = headers(&event);
        let sealed = Sealed { source: &github, headers: &of, body: Sha256::of(b"{}") };
        let seal = sealed.seal(&secrets(&[OLD]), 1_790_000_000_000, &BTreeSet::new()).unwrap();
        let opened =
            |source: &Source, pairs: &[(&'static str, &str)], body: &str| opens(&seal, &[OLD], source, pairs, body);
        assert_eq!(opened(&github, &event, "{}"), Some(1_790_000_000_000));
        assert_eq!(opened(&other, &event, "{}"), None, "another source");
        assert_eq!(opened(&github, &event, "{ }"), None, "another body");
        assert_eq!(opened(&github, &[("x-github-delivery", "d-2"), event[1]], "{}"), None, "another name");
        assert_eq!(opened(&github, &[event[0], ("x-github-event", "issues")], "{}"), None, "another type");
        assert_eq!(opened(&github, &event[..1], "{}"), None, "a header less");
        for bad in [
            "",
            ".",
            "..",
            "1..x",
            "x..y",
            &seal.replace("179", "178"),
            &format!("{seal}.x"),
            &seal.replace("event", "evens"),
        ] {
            assert_eq!(opens(bad, &[OLD], &github, &event, "{}"), None, "{bad}");
        }
        assert_eq!(opens(&seal, &[], &github, &event, "{}"), None);
        assert_eq!(opens(&seal, &[NEW], &github, &event, "{}"), None);
        assert_eq!(opens(&seal, &[NEW, OLD], &github, &event, "{}"), Some(1_790_000_000_000), "while it is replaced");
    }

    #[test]
    fn a_header_that_came_unsealed_opens_nothing() {
        let (github, none) = (source("github"), HeaderMap::new());
        let sealed = Sealed { source: &github, headers: &none, body: Sha256::of(b"{}") };
        let seal = sealed.seal(&secrets(&[OLD]), 5, &BTreeSet::new()).unwrap();
        assert_eq!(opens(&seal, &[OLD], &github, &[], "{}"), Some(5));
        assert_eq!(opens(&seal, &[OLD], &github, &[("x-github-delivery", "d-1")], "{}"), None);
    }

    #[test]
    fn what_is_forwarded_may_become_a_type_later() {
        let (mut later, event) = (source("github"), headers(&[("x-github-delivery", "d-1"), ("x.kind", "big")]));
        let github = source("github");
        let sealed = Sealed { source: &github, headers: &event, body: Sha256::of(b"{}") };
        let seal = sealed.seal(&secrets(&[OLD]), 5, &["x.kind"].into()).unwrap();
        later.event_type.push(Place::Header("x.kind".into()));
        let opened = |pairs: &[(&'static str, &str)]| opens(&seal, &[OLD], &later, pairs, "{}");
        assert_eq!(opened(&[("x-github-delivery", "d-1"), ("x.kind", "big")]), Some(5));
        assert_eq!(opened(&[("x-github-delivery", "d-1"), ("x.kind", "small")]), None);
    }
}
