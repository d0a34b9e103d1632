//! Requests of senders and of strangers to the producer, judged by the rules of the source types.

use std::{sync::LazyLock, time::Duration};

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName, HeaderValue};
use surehook::{
    Millis,
    routes::Routes,
    secret::Secret,
    sources::{SenderRefusal, Source, SourceSecrets},
};

use super::random::Random;

/// A source that signs, one that shows a token, and a topic of each.
const DOCUMENT: &str = r#"
[[source]]
name = "github"
recipe = "github"
secret = "gh"

[[source]]
name = "strapi"
recipe = "strapi"
secret = "st"

[[topic]]
name = "github"
source = "github"

[[topic]]
name = "strapi"
source = "strapi"

[[route]]
name = "shop"
source = "github"
url = "https://shop.example/"

[[route]]
name = "stock"
source = "strapi"
url = "https://stock.example/"
"#;
/// The secret of the sender.
const SECRET: &str = "the secret that sender and producer share";
/// What scanners ask for.
const SCANNED: [&str; 8] =
    [".env", "wp-login.php", "xmlrpc.php", "admin", "api/v1/users", "actuator/health", "webhook", "cgi-bin/luci"];
const EVENT: &str = r#"{"action":"opened","number":17}"#;

/// A request to the producer.
#[derive(Debug, Clone)]
pub struct Request {
    method: &'static str,
    topic: String,
    headers: HeaderMap,
    body: String,
}

/// What the producer makes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the sender's.
    Accepted,
    /// It looks like the sender's, with another secret.
    Sender,
    /// It looks like that of a sender whose secret is not configured.
    SecretMissing,
    /// It comes from the sender of a source, and its topic is not configured.
    UnknownTopic,
    /// It comes from anybody.
    Stranger,
}

/// The routes and secrets of a producer.
#[derive(Debug)]
pub struct Producer {
    routes: Routes,
    secrets: SourceSecrets,
}

/// A producer that has the sender's secret.
pub static CONFIGURED: LazyLock<Producer> =
    LazyLock::new(|| Producer::with_secrets(&format!(r#"{{"gh": "{SECRET}", "st": "the token of the CMS"}}"#)));
/// A producer that has another secret than the sender.
pub static WITH_WRONG_SECRET: LazyLock<Producer> =
    LazyLock::new(|| Producer::with_secrets(r#"{"gh": "a secret that was replaced", "st": "the token of the CMS"}"#));
/// A producer that lacks the sender's secret.
pub static WITHOUT_SECRET: LazyLock<Producer> =
    LazyLock::new(|| Producer::with_secrets(r#"{"st": "the token of the CMS"}"#));

impl Producer {
    fn with_secrets(secrets: &str) -> Self {
        let routes = Routes::compile(DOCUMENT, &Routes::default()).unwrap();
        Self { routes, secrets: SourceSecrets::parse(secrets).unwrap() }
    }

    /// Judges a request as `Door::admit` and `Door::suspect` of the producer do.
    pub fn judge(&self, request: &Request, now: Millis) -> Verdict {
        if request.method != "POST" {
            return Verdict::Stranger;
        }
        let (headers, body) = (&request.headers, request.body.as_bytes());
        let Some(source) = self.routes.of_topic(&request.topic) else { return self.judge_unknown_topic(request, now) };
        match self.judge_sender(&source, request, now) {
            Ok(()) => Verdict::Accepted,
            Err(None) if source.is_well_formed(headers, body, now) => Verdict::SecretMissing,
            Err(Some(refusal)) if source.is_plausible(&refusal, headers, body, now) => Verdict::Sender,
            Err(_) => Verdict::Stranger,
        }
    }

    fn judge_unknown_topic(&self, request: &Request, now: Millis) -> Verdict {
        let is_well_formed = |source: &&Source| source.is_well_formed(&request.headers, request.body.as_bytes(), now);
        let mut likely = self.routes.sources.iter().filter(is_well_formed);
        let is_known = likely.any(|source| self.judge_sender(source, request, now).is_ok());
        if is_known { Verdict::UnknownTopic } else { Verdict::Stranger }
    }

    /// Judges the sender by a source; `None` is a secret that is missing.
    fn judge_sender(&self, source: &Source, request: &Request, now: Millis) -> Result<(), Option<SenderRefusal>> {
        let secrets: &[Secret] = self.secrets.named(source.secret.as_deref().unwrap_or_default());
        if !source.usable(secrets) {
            return Err(None);
        }
        let stamp = source.admit(secrets, &request.headers, request.body.as_bytes());
        stamp.and_then(|stamp| source.judge(stamp, now, Duration::ZERO)).map_err(Some)
    }
}

/// Returns the sender's request to a topic.
pub fn event_to(topic: &str) -> Request {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), EVENT.as_bytes());
    let headers = [("x-github-event", "issues".to_owned()), ("x-hub-signature-256", signature(mac.as_ref()))];
    Request { method: "POST", topic: topic.to_owned(), headers: header_map(&headers), body: EVENT.to_owned() }
}

/// Returns a request of a stranger: of a scanner that asks for usual paths, or one to a topic with a part of what its sender sends. It lacks
/// the event type, a whole signature, or the body. A request without any signature, but with the rest, would be plausible.
pub fn stranger(random: &mut Random) -> Request {
    let topic = match random.below(4) {
        0 => "github",
        1 => "strapi",
        _ => random.pick(&SCANNED),
    };
    let lacks = *random.pick(&[Part::EventType, Part::Signature, Part::Body]);
    let has = |part: Part, random: &mut Random| part != lacks && random.below(2) == 0;
    let mut headers = vec![("user-agent", format!("scanner/{}", random.below(100)))];
    headers.extend(has(Part::EventType, random).then(|| ("x-github-event", "push".to_owned())));
    let bytes = if has(Part::Signature, random) { 32 } else { *random.pick(&[0, 8, 20, 31, 64]) };
    let is_signed = lacks == Part::Signature || random.below(3) > 0;
    headers.extend(is_signed.then(|| ("x-hub-signature-256", signature(&random.bytes(bytes)))));
    headers.extend((random.below(4) == 0).then(|| ("authorization", format!("Bearer {:x}", random.bits()))));
    let body = if has(Part::Body, random) { EVENT } else { random.pick(&["", "<html>", "user=admin", "{\"a\":"]) };
    let method = random.pick(&["POST", "GET"]);
    Request { method, topic: topic.to_owned(), headers: header_map(&headers), body: body.to_owned() }
}

/// A part of what GitHub sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    EventType,
    Signature,
    Body,
}

fn signature(mac: &[u8]) -> String {
    mac.iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn header_map(headers: &[(&'static str, String)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, String)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    headers.iter().map(pair).collect()
}
