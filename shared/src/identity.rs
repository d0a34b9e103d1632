//! Which event is this?
//!
//! The key comes from bytes that the signature covers, URL and body: QStash signs no headers, and a message that is retried from
//! the dead-letter queue has a new id. Only sources whose events have their name in a header alone are named by it (GitHub, Standard
//! Webhooks). Consumer, requeuer, sweep and replay all come here.

use std::{fmt, sync::LazyLock};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Sha256,
    json::text_at,
    payload::Payload,
    sources::{Place, place::HEADER},
    strapi::StrapiEvent,
    web::EndpointUrl,
};

/// Bytes of an event type that records keep.
pub const MOST_TYPE: usize = 128;

/// Where a message goes: one of our consumer's URLs, or somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Below one of our consumer's bases.
    Ours {
        /// The first segment of the path.
        source: String,
        /// Path and query below the base, without QStash's own parameters. The host is left out: a new domain must not
        /// forget what is done.
        path: String,
    },
    /// Any other URL, whole.
    Foreign(String),
}

impl Endpoint {
    /// Tells whose endpoint a URL is.
    pub fn of(url: &EndpointUrl, bases: &[EndpointUrl]) -> Self {
        match bases.iter().find_map(|base| url.path_below(base)) {
            Some(path) => Self::Ours { source: first_segment(path), path: with_query(path, url.query()) },
            None => Self::Foreign(url.to_string()),
        }
    }

    /// The text that stands in the event key.
    pub fn name(&self) -> &str {
        match self {
            Self::Ours { path, .. } => path,
            Self::Foreign(url) => url,
        }
    }

    /// The source, for our own endpoints.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Ours { source, .. } => Some(source),
            Self::Foreign(_) => None,
        }
    }
}

fn first_segment(path: &str) -> String {
    path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned()
}

/// Path and query, without the parameters that belong to QStash and not to the endpoint.
fn with_query(path: &str, query: Option<&str>) -> String {
    let kept: Vec<&str> = query.unwrap_or_default().split('&').filter(|pair| !is_option(pair)).collect();
    let query = kept.join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn is_option(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
    name.is_empty() || name == "qstash_token" || name.starts_with("upstash-")
}

/// How the events of a source are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// Our own payload: its `topic` and `id`.
    Payload,
    /// Strapi: the raw body, and the event type from `event`.
    Strapi,
    /// The raw body.
    Body,
    /// The value at a JSON pointer; the raw body where there is none.
    Pointer(String),
    /// The value of a header, in lower case; the raw body where it is missing. QStash signs no headers: the sender's signature may
    /// cover it, as that of Standard Webhooks does, or nothing does, as with GitHub.
    Header(String),
    /// The value of a header together with the raw body, where a signature covers the body alone: who may choose the header by itself
    /// must not take the name of an event that is still to come.
    #[serde(rename = "header+body")]
    HeaderAndBody(String),
    /// The QStash message id, for distinct events that can be byte-identical. No signature covers it.
    Message,
}

impl Identity {
    /// What an operator writes: `body`, `message`, a JSON pointer, or `header:<name>`; and what only recipes say, `payload` and
    /// `strapi`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "body" => Self::Body,
            "message" => Self::Message,
            "payload" => Self::Payload,
            "strapi" => Self::Strapi,
            place => match Place::try_from(place.to_owned()).ok()? {
                Place::Body(pointer) => Self::Pointer(pointer),
                Place::Header(name) => Self::Header(name),
            },
        })
    }

    /// Whether the form of the body says it, which is the recipes' to know.
    pub fn is_of_form(&self) -> bool {
        matches!(self, Self::Payload | Self::Strapi)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Header(_) => "header",
            _ => "pointer",
        }
    }

    /// The value by which the source itself names an event; `None` where the body does, or QStash.
    pub fn value_of(&self, event: &Delivered<'_>) -> Option<String> {
        match self {
            Self::Pointer(pointer) => text_at(event.body, pointer),
            Self::Header(name) | Self::HeaderAndBody(name) => event.header(name).map(str::to_owned),
            Self::Payload | Self::Strapi | Self::Body | Self::Message => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload => formatter.write_str("payload"),
            Self::Strapi => formatter.write_str("strapi"),
            Self::Body => formatter.write_str("body"),
            Self::Message => formatter.write_str("message"),
            Self::Pointer(pointer) => formatter.write_str(pointer),
            Self::Header(name) | Self::HeaderAndBody(name) => write!(formatter, "{HEADER}{name}"),
        }
    }
}

/// What names an event that is being delivered, besides its endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'a> {
    /// The headers that it came with, which QStash does not sign.
    pub headers: &'a HeaderMap,
    /// The raw body.
    pub body: &'a [u8],
    /// `Surehook-Event`, which our retries forward, else `Upstash-Message-Id`.
    pub message: &'a str,
    /// The body's digest, where somebody has it already.
    digest: Option<Sha256>,
}

impl<'a> Delivered<'a> {
    /// An event as it came.
    pub fn new(headers: &'a HeaderMap, body: &'a [u8], message: &'a str) -> Self {
        Self { headers, body, message, digest: None }
    }

    /// The same event, with its body's digest: a large body is not read again for it.
    pub fn with_digest(self, digest: Sha256) -> Self {
        Self { digest: Some(digest), ..self }
    }

    fn digest(&self) -> Sha256 {
        self.digest.unwrap_or_else(|| Sha256::of(self.body))
    }

    /// An event of which nothing is known but its body and its message.
    pub fn bare(body: &'a [u8], message: &'a str) -> Self {
        static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        Self::new(&NO_HEADERS, body, message)
    }

    /// A header as text; `None` where it is missing, empty or not ASCII.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.map(str::trim).filter(|value| !value.is_empty())
    }
}

/// The key of one event at one endpoint: SHA-256 in hexadecimal, always 64 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventKey(String);

impl EventKey {
    fn new(endpoint: &Endpoint, kind: &str, identity: &[u8]) -> Self {
        Self(Sha256::of_parts(&[b"surehook/1", endpoint.name().as_bytes(), kind.as_bytes(), identity]).hex())
    }

    /// The key under which content is buried that came under the key of another event.
    pub fn of_conflict(&self, content: &str) -> Self {
        Self(Sha256::of_parts(&[b"surehook/1 conflict", self.0.as_bytes(), content.as_bytes()]).hex())
    }

    /// The key under which a message is buried whose sender nobody has believed: not that of the event that it says it brings.
    pub fn of_unproved(&self, message: &str) -> Self {
        Self(Sha256::of_parts(&[b"surehook/1 unproved", self.0.as_bytes(), message.as_bytes()]).hex())
    }

    /// Takes a key that was written before; `None` unless it is 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One of `shards` numbers, evenly spread.
    pub fn shard(&self, shards: u8) -> u8 {
        Sha256::of(self.0.as_bytes()).shard(shards)
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for EventKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An event that knows its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// The key of its record.
    pub key: EventKey,
    /// Digest of what must be equal when the key is: over `eventType` and `data` of our payload, over the body elsewhere.
    pub content: String,
    /// What happened, where the source says so; cut to 128 bytes.
    pub event_type: Option<String>,
    /// Whether the body is not what its source sends.
    pub malformed: bool,
}

/// Names an event. Never fails: where a recipe yields nothing, the raw body serves, so that even a malformed body has a
/// key to be buried under.
pub fn identify(endpoint: &Endpoint, identity: &Identity, event: Delivered<'_>) -> Identified {
    match identity {
        Identity::Payload => identify_payload(endpoint, event),
        Identity::Strapi => {
            let parsed = StrapiEvent::parse(event.body).ok();
            let malformed = parsed.is_none();
            by(endpoint, "body", event.body, event, parsed.map(|parsed| parsed.event), malformed)
        }
        Identity::Body => by(endpoint, "body", event.body, event, None, false),
        Identity::Message => by(endpoint, "message", event.message.as_bytes(), event, None, false),
        Identity::HeaderAndBody(_) => match identity.value_of(&event) {
            Some(value) => {
                let both = Sha256::of_parts(&[value.as_bytes(), event.body]).hex();
                by(endpoint, "header+body", both.as_bytes(), event, None, false)
            }
            None => by(endpoint, "body", event.body, event, None, false),
        },
        Identity::Pointer(_) | Identity::Header(_) => match identity.value_of(&event) {
            Some(value) => by(endpoint, identity.kind(), value.as_bytes(), event, None, false),
            None => by(endpoint, "body", event.body, event, None, false),
        },
    }
}

/// Names a message for an endpoint that is not ours: its bytes say nothing that we know, so the message id does.
pub fn identify_foreign(endpoint: &Endpoint, event: Delivered<'_>) -> Identified {
    identify(endpoint, &Identity::Message, event)
}

/// Names a message whose body is hidden, by its event's key or its own id. The name is not that of its event: its letter stands
/// beside its event's record.
pub fn identify_redacted(endpoint: &Endpoint, identity: &str) -> Identified {
    by(endpoint, "redacted", identity.as_bytes(), Delivered::bare(b"", ""), None, false)
}

fn identify_payload(endpoint: &Endpoint, event: Delivered<'_>) -> Identified {
    let Ok(payload) = Payload::parse(event.body) else {
        return by(endpoint, "body", event.body, event, None, true);
    };
    let event_type = payload.event_type.to_string();
    let content = Sha256::of_parts(&[event_type.as_bytes(), payload.data.get().as_bytes()]).base64url();
    let key = match (&payload.topic, &payload.id) {
        (topic, Some(id)) => {
            let topic = topic.as_deref().unwrap_or_default();
            let identity = Sha256::of_parts(&[topic.as_bytes(), id.as_bytes()]).hex();
            EventKey::new(endpoint, "payload", identity.as_bytes())
        }
        _ => EventKey::new(endpoint, "body", event.body),
    };
    Identified { key, content, event_type: Some(cut(event_type, MOST_TYPE)), malformed: false }
}

fn by(
    endpoint: &Endpoint,
    kind: &str,
    identity: &[u8],
    event: Delivered<'_>,
    event_type: Option<String>,
    malformed: bool,
) -> Identified {
    Identified {
        key: EventKey::new(endpoint, kind, identity),
        content: event.digest().base64url(),
        event_type: event_type.map(|text| cut(text, MOST_TYPE)),
        malformed,
    }
}

/// At most so many bytes of a text, ending at a character.
pub fn cut(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
