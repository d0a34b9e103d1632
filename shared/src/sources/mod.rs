//! Senders: how their events are told apart, and how they prove who they are.
//!
//! | module | what it is for |
//! |---|---|
//! | [`place`] | where in an event a value stands |
//! | [`signature`] | signatures of senders, each scheme as data for one mechanism |
//! | `plausible` | rejected requests that look like those of the real sender |
//! | [`refusal`] | why a sender is not believed |
//! | [`keys`] | the senders' secrets |
//! | [`seal`] | the producer's verdict, which travels with the event |
//! | [`recipe`] | what is known of well-known senders: one file each in `shared/recipes/` |
//!
//! Producer and consumer judge by the same rules: the producer at its door, the consumer where a sender publishes straight to QStash.

pub mod keys;
pub mod place;
mod plausible;
pub mod recipe;
pub mod refusal;
pub mod seal;
pub mod signature;

use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

pub use keys::SourceSecrets;
pub use place::Place;
pub use refusal::SenderRefusal;
pub use signature::{Signature, Stamp};

use crate::{
    Millis,
    identity::{Delivered, Identity, MOST_TYPE, cut},
    json::Fields,
    secret::Secret,
};

/// The header that names an event of the `message` identity: [`EVENT_HEADER`] in lower case.
///
/// [`EVENT_HEADER`]: crate::qstash::client::EVENT_HEADER
pub const MESSAGE_NAME: &str = "surehook-event";

/// The source of the events that `surehook doctor` sends to see whether they come through. They are claimed and completed as all
/// others, and go nowhere: no route can name this source.
pub const CANARY: &str = "surehook-canary";

/// Where events come from: the first segment of the path that they are delivered to, and what is known of their sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// How its events are told apart. Called `recipe` in the table.
    #[serde(rename = "recipe")]
    pub identity: Identity,
    /// Where the parts of an event's type stand; they are joined by dots. Empty where the identity says it, or nothing does.
    #[serde(default, deserialize_with = "place::one_or_many", serialize_with = "place::as_before")]
    pub event_type: Vec<Place>,
    /// How its sender signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// The name of its sender's secret in `SOURCE_SECRETS`: what signs, or else the bearer token. Without it the sender shows
    /// `PRODUCER_TOKEN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What becomes of its events that no route takes.
    #[serde(default, skip_serializing_if = "Unmatched::is_default")]
    pub unmatched: Unmatched,
    /// How long it may send nothing before an alarm rings, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "silence_ms")]
    pub silence: Option<Millis>,
}

/// What becomes of events that no route takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// They end, and their bodies are gone.
    #[default]
    Ignore,
    /// They become dead letters, which expire with the retention of records.
    Keep,
}

impl Unmatched {
    /// Returns the value that the document names.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ignore" => Some(Self::Ignore),
            "keep" => Some(Self::Keep),
            _ => None,
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The type of an event, as far as it was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TypeFound {
    /// The parts that were found, joined by dots.
    pub text: Option<String>,
    /// Whether the body lacks a part that may stand there, if it can be read.
    pub lacks_field: bool,
    /// Whether a header is missing that says a part.
    pub lacks_header: bool,
}

/// The names of the sources that every routes document may use without a `[[source]]`.
pub const BUILT_IN: [&str; 2] = ["payload", "strapi"];

impl Source {
    /// A source that nobody has to configure.
    pub fn built_in(name: &str) -> Option<Self> {
        let identity = match name {
            "payload" => Identity::Payload,
            "strapi" => Identity::Strapi,
            CANARY => Identity::Body,
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            identity,
            event_type: Vec::new(),
            signature: None,
            secret: None,
            unmatched: Unmatched::Ignore,
            silence: None,
        })
    }

    /// Whether its events have types only by its `event_type`, and not by the form of their body.
    pub fn says_type(&self) -> bool {
        !self.event_type.is_empty() || !self.identity.is_of_form()
    }

    /// The pointers of the type's parts that stand in the body.
    pub fn type_pointers(&self) -> impl Iterator<Item = &str> {
        self.event_type.iter().filter_map(Place::pointer)
    }

    /// The type of one of its events, by `event_type`. The body is read once, and only where a part stands in it.
    pub fn type_of(&self, event: &Delivered<'_>) -> TypeFound {
        let mut pointers = self.type_pointers().peekable();
        let fields = pointers.peek().is_some().then(|| Fields::read(event.body, pointers)).flatten();
        let found = |place: &Place| match place {
            Place::Header(name) => event.header(name).map(str::to_owned),
            Place::Body(pointer) => fields.as_ref()?.text(pointer),
        };
        let parts: Vec<(&Place, Option<String>)> = self.event_type.iter().map(|place| (place, found(place))).collect();
        let lacks = |of_body: bool| {
            parts.iter().any(|(place, part)| part.is_none() && matches!(place, Place::Body(_)) == of_body)
        };
        let (lacks_field, lacks_header) = (lacks(true), lacks(false));
        let told: Vec<String> = parts.into_iter().filter_map(|(_, part)| part).collect();
        let text = (!told.is_empty()).then(|| cut(told.join("."), MOST_TYPE));
        TypeFound { text, lacks_field, lacks_header }
    }

    /// Whether one of the secrets can prove its sender: it must have the form that the scheme wants.
    pub fn usable(&self, secrets: &[Secret]) -> bool {
        let form = self.signature.as_ref().map(|signature| signature.key);
        secrets.iter().any(|secret| form.is_none_or(|form| form.of(secret).is_some()))
    }

    /// Whether its sender may send this: who signs is believed by the signature, who does not by a bearer token.
    pub fn admit(&self, secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Stamp, SenderRefusal> {
        match &self.signature {
            Some(signature) => signature.verify(secrets, headers, body),
            None => bearer(secrets, headers).map(|()| Stamp(None)),
        }
    }

    /// Whether an event was signed near the time at which it first arrived ([`Signature::judge`]).
    pub fn judge(&self, stamp: Stamp, arrived: Millis, delay: Duration) -> Result<(), SenderRefusal> {
        self.signature.as_ref().map_or(Ok(()), |signature| signature.judge(stamp, arrived, delay))
    }

    /// Returns the headers without which its events can't be named, typed or verified.
    pub fn needed_headers(&self) -> impl Iterator<Item = &str> {
        let signed = self.signature.iter().flat_map(|signature| signature.headers());
        signed.chain(self.naming_headers())
    }

    /// The headers that name and type its events.
    pub fn naming_headers(&self) -> impl Iterator<Item = &str> {
        let identity = match &self.identity {
            Identity::Header(name) | Identity::HeaderAndBody(name) => Some(name.as_str()),
            Identity::Message => Some(MESSAGE_NAME),
            _ => None,
        };
        identity.into_iter().chain(self.event_type.iter().filter_map(Place::header))
    }
}

/// Whether one of the tokens was shown, compared in constant time.
pub fn bearer(tokens: &[Secret], headers: &HeaderMap) -> Result<(), SenderRefusal> {
    let token = shown_token(headers).ok_or(SenderRefusal::NoToken)?;
    if tokens.iter().any(|known| known.matches(token)) { Ok(()) } else { Err(SenderRefusal::WrongToken) }
}

/// Returns the bearer token that a request shows.
pub fn shown_token(headers: &HeaderMap) -> Option<&str> {
    let shown = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = shown.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
