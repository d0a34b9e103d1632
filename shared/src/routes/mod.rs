//! Sources and destinations, as the operator writes them in one TOML document.
//!
//! | module | what it is for |
//! |---|---|
//! | [`document`] | the document: read, checked as a whole, compiled |
//! | [`condition`] | conditions on fields of an event's body |
//! | [`subject`] | which destinations an event goes to, and why |
//! | [`headers`] | which headers may be added and passed on |
//! | [`credentials`] | headers that carry secrets, and which of them the table keeps |
//! | [`senders`] | the part of the document about sources and topics |
//! | `secrets` | which secret signs whose deliveries |
//! | [`diff`] | what another document would change |
//!
//! `surehook routes apply` compiles the document; the compiled form is what the functions read.

pub mod condition;
pub mod credentials;
pub mod diff;
pub mod document;
pub mod headers;
mod secrets;
mod senders;
pub mod subject;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use url::Url;

pub use condition::{Condition, Test};
pub use document::{DEFAULT_TIMEOUT, LONGEST_TIMEOUT};
pub use subject::{Destination, Match, Subject, matches_type};

pub use crate::sources::Source;
use crate::{
    digest::Sha256,
    identity::{Delivered, Endpoint, Identified, cut, identify},
    sources::Unmatched,
};

/// A QStash topic that brings events of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Whose events are posted to it.
    pub source: String,
    /// Endpoints that it has besides the consumer's.
    #[serde(default)]
    pub also: Vec<String>,
    /// How often QStash tries again in one round; `None` for our default.
    #[serde(default)]
    pub retries: Option<u32>,
    /// Headers that every message of the topic gets, besides those that we need.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A destination, and what it gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Names the destination in records. It follows from source and URL, so that it is the same whatever the route is called,
    /// whenever it comes back, and never another URL's.
    pub id: String,
    /// The operator's name for it.
    pub name: String,
    /// Whose events it gets.
    pub source: String,
    /// Which of them: patterns in which `*` stands for anything.
    pub events: Vec<String>,
    /// Which of those: all conditions must hold.
    #[serde(default)]
    pub when: Vec<Condition>,
    /// Where they are sent.
    pub url: String,
    /// How long one delivery may take, in milliseconds.
    pub timeout_ms: u64,
    /// Headers that are added, with their values.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Headers of the event that are passed on besides the usual ones.
    #[serde(default)]
    pub forward: Vec<String>,
    /// Names of the secrets that sign its deliveries; several while one is being replaced. The secrets follow from these names
    /// and the master secret, which is not here.
    #[serde(default)]
    pub secrets: Vec<String>,
}

/// The compiled document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Routes {
    /// Counts what was applied; a write that did not see the last version is refused.
    pub version: u64,
    /// The configured sources.
    pub sources: Vec<Source>,
    /// The routes.
    pub routes: Vec<Route>,
    /// The topics.
    #[serde(default)]
    pub topics: Vec<Topic>,
    /// Headers with credentials that this version or one before forwards, in lower case by source. Dead letters keep these alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, BTreeSet<String>>,
}

impl Route {
    /// How long one delivery may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms).min(LONGEST_TIMEOUT)
    }

    /// Names of the secrets that sign. Routes that were compiled before secrets had names sign with their destination's own.
    pub fn secret_names(&self) -> &[String] {
        if self.secrets.is_empty() { std::slice::from_ref(&self.id) } else { &self.secrets }
    }
}

/// What is wrong with a document.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// It is not TOML, or has fields that we do not know. The message names line and column.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// It is TOML, but does not make sense; all problems, a sentence each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

/// Digits of an id. A receiver may choose its own URL: with 96 bits it finds none that has another destination's id.
const ID_DIGITS: usize = 24;

/// A destination is a source and a URL as it is called: an event that it has accepted is never sent there again, whatever its routes
/// are called, and however the URL is spelled.
fn destination_id(source: &str, url: &str) -> String {
    let url = Url::parse(url).map_or_else(|_refused| url.to_owned(), String::from);
    let digest = Sha256::of_parts(&[b"surehook destination/1", source.as_bytes(), url.as_bytes()]);
    format!("d{}", cut(digest.hex(), ID_DIGITS))
}

impl Routes {
    /// Compiles a document. `previous` are the routes that stand: they give the next version's number, and the secrets of
    /// destinations that were renamed.
    pub fn compile(document: &str, previous: &Self) -> Result<Self, RoutesError> {
        document::compile(document, previous)
    }

    /// An older version, as it shall stand now. Destinations that stand keep the secrets that they have: those of then may have
    /// been replaced because they leaked, and their receivers no longer know them. Refused where two destinations would come to
    /// share one for that.
    pub fn restored(&self, current: &Self) -> Result<Self, RoutesError> {
        let credentials = self.credentials_since(current);
        let mut restored = Self { version: current.version + 1, credentials, ..self.clone() };
        for route in &mut restored.routes {
            if let Some(standing) = current.by_id(&route.id) {
                route.secrets.clone_from(&standing.secrets);
            }
        }
        let problems = secrets::newly_shared(&restored.routes, &self.routes);
        if problems.is_empty() { Ok(restored) } else { Err(RoutesError::Invalid(problems)) }
    }

    /// What is known of a source; `None` for one that is neither configured nor built in.
    pub fn known(&self, source: &str) -> Option<Cow<'_, Source>> {
        let configured = self.source(source).map(Cow::Borrowed);
        configured.or_else(|| Source::built_in(source).map(Cow::Owned))
    }

    /// Whose events are posted to a topic; `None` where the document says nothing about it.
    pub fn of_topic(&self, topic: &str) -> Option<Cow<'_, Source>> {
        let topic = self.topics.iter().find(|known| known.name == topic)?;
        self.known(&topic.source)
    }

    /// Headers of events of a source that one of its routes passes on besides the usual ones.
    pub fn forwarded(&self, source: &str) -> BTreeSet<&str> {
        let routes = self.routes.iter().filter(|route| route.source == source);
        routes.flat_map(|route| &route.forward).map(String::as_str).collect()
    }

    /// Names an event of one of our endpoints; `None` where nobody configured its source. Consumer, requeuer, sweep and
    /// replay all come here, so that they mean the same record.
    pub fn identify(&self, endpoint: &Endpoint, event: Delivered<'_>) -> Option<Identified> {
        let source = endpoint.source()?;
        let source = self.known(source)?;
        let mut identified = identify(endpoint, &source.identity, event);
        if source.says_type() {
            identified.event_type = source.type_of(&event).text;
        }
        Some(identified)
    }

    /// Whether events of a source that no route takes are kept as dead letters.
    pub fn keeps_unmatched(&self, source: &str) -> bool {
        self.source(source).is_some_and(|source| source.unmatched == Unmatched::Keep)
    }

    /// A configured source by name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// The route of a destination, by the id that stands in records.
    pub fn by_id(&self, id: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.id == id)
    }

    /// The route of this name.
    pub fn by_name(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.name == name)
    }
}

/// What stands between two destinations in an error.
pub const BETWEEN: &str = "; ";

/// What a destination said, in an error that names all that failed: `shop: 422 no such field; warehouse: 503 …`.
pub fn said_by<'a>(error: &'a str, name: &str) -> Option<&'a str> {
    error.split(BETWEEN).find(|said| said.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ")))
}
