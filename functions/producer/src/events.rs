//! From a request to the events in it, each as it is published, whether now or from the outbox.
//!
//! Our own payload comes alone, as a JSON array, or as one event a line (NDJSON). Everything else is one event, whose bytes stay as they
//! are.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use bytes::Bytes;
use http::HeaderValue;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use surehook::{
    Millis,
    digest::Sha256,
    identity::{Delivered, Identity},
    payload::Payload,
    qstash::client::EVENT_HEADER,
    routes::{
        Routes,
        headers::{PASSED_ON, settable},
    },
    secret::Secret,
    sources::{
        MESSAGE_NAME, Source,
        seal::{SEAL_HEADER, Sealed},
    },
    store::outbox::OutboxRow,
    strapi::StrapiEvent,
    web::{Incoming, Outcome},
};

/// The most events of one request: all of them are made durable within one time limit.
pub const MOST_EVENTS: usize = 100;
/// The longest id, in bytes.
const LONGEST_ID: usize = 256;
/// Types of a body that has one event a line.
const LINES: [&str; 4] = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];

/// What one request brings.
#[derive(Debug)]
pub enum Events {
    /// One event.
    One(OutboxRow),
    /// Several, each an event or why it can be none.
    Batch(Vec<Result<OutboxRow, Outcome>>),
}

/// A request of a sender that was believed.
#[derive(Debug, Clone, Copy)]
pub struct Posted<'a> {
    /// Names this deployment in deduplication ids, which are shared by a whole QStash account.
    pub stack: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Whose events these are.
    pub source: &'a Source,
    /// The routes, which may ask for more headers.
    pub routes: Option<&'a Routes>,
    /// The request.
    pub request: &'a Incoming,
    /// When it came.
    pub now: Millis,
    /// What seals the verdict about its sender.
    pub seals: &'a [Secret],
    /// An id that nobody has.
    pub fresh_id: &'a str,
}

/// What a sender of our own payload posts. Fields that we would drop are refused, but for those that we set ourselves.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written<'a> {
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default, rename = "topic")]
    _topic: IgnoredAny,
    #[serde(default, rename = "timestamp")]
    _timestamp: IgnoredAny,
    #[serde(default, rename = "retryCount")]
    _retry_count: IgnoredAny,
}

impl Posted<'_> {
    /// The events of the request.
    pub fn events(&self) -> Result<Events, Outcome> {
        match self.source.identity {
            Identity::Payload => self.payloads(),
            Identity::Strapi if StrapiEvent::parse(&self.request.body).is_err() => {
                Err(bad("the body is not what Strapi sends: JSON with \"event\" and \"createdAt\""))
            }
            _ => self.raw().map(Events::One),
        }
    }

    fn raw(&self) -> Result<OutboxRow, Outcome> {
        let Self { request, source, .. } = self;
        let event = Delivered::new(&request.headers, &request.body, "");
        let own = match source.identity.value_of(&event) {
            Some(own) => Some(short(own)),
            None => self.given_id()?.map(str::to_owned),
        };
        let id = own.unwrap_or_else(|| self.fresh_id.to_owned());
        // Read once, for both: it is most of the work.
        let digest = Sha256::of(&request.body);
        let mut headers = self.headers(&id, digest, request.header("content-type"));
        let mut named = Cow::Borrowed(&request.headers);
        if source.identity == Identity::Message {
            // The event's own id, and not that of a message, of which QStash may make two.
            headers.push((format!("Upstash-Forward-{EVENT_HEADER}"), id.clone()));
            named.to_mut().insert(
                MESSAGE_NAME,
                HeaderValue::from_str(&id).map_err(|_bad| bad("the id can't stand in a header"))?,
            );
        }
        // Whether its source signs or not: by the time it is delivered it may.
        let sealed = Sealed { source, headers: &named, body: digest };
        let sealed = sealed.seal(self.seals, self.now, &self.sealed_too());
        headers.extend(sealed.map(|seal| (format!("Upstash-Forward-{SEAL_HEADER}"), seal)));
        Ok(self.row(id, headers, request.body.clone()))
    }

    /// Headers that the consumer gets as they came here, and routes of tomorrow may ask for: none that look like a secret, which QStash
    /// may be asked to redact, so that a replay would lack them.
    fn sealed_too(&self) -> BTreeSet<&str> {
        let usual = ["x-strapi-event", "x-webhook-id"];
        self.of_routes().into_iter().chain(usual).filter(|name| settable(name).is_ok()).collect()
    }

    /// Headers that routes of the source pass on.
    fn of_routes(&self) -> BTreeSet<&str> {
        self.routes.map(|routes| routes.forwarded(&self.source.name)).unwrap_or_default()
    }

    fn payloads(&self) -> Result<Events, Outcome> {
        let body = &self.request.body[..];
        let kind = self.request.header("content-type").unwrap_or_default().to_ascii_lowercase();
        if LINES.iter().any(|lines| kind.starts_with(lines)) {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
            return self.batch(lines.collect());
        }
        if body.trim_ascii_start().first() == Some(&b'[') {
            let items: Vec<&RawValue> =
                serde_json::from_slice(body).map_err(|error| bad(format!("the body is not a JSON array: {error}")))?;
            return self.batch(items.into_iter().map(|item| item.get().as_bytes()).collect());
        }
        let given = self.given_id()?;
        self.payload(body, given, self.fresh_id).map(Events::One)
    }

    /// Where one event can't be taken none is: a sender that mends it and sends all again must not have half of them doubled.
    fn batch(&self, bodies: Vec<&[u8]>) -> Result<Events, Outcome> {
        if bodies.is_empty() {
            return Err(bad("there is no event in the body"));
        }
        if bodies.len() > MOST_EVENTS {
            return Err(bad(format!("a request may bring {MOST_EVENTS} events, not {}", bodies.len())));
        }
        let base = self.given_id()?.unwrap_or(self.fresh_id);
        let mut seen = BTreeSet::new();
        let rows = bodies.into_iter().enumerate().map(|(at, body)| {
            let row = self.payload(body, None, &format!("{base}-{at}"))?;
            if seen.insert(row.id.clone()) {
                Ok(row)
            } else {
                Err(bad(format!("\"{}\" is the id of another event of this batch", row.id)))
            }
        });
        Ok(Events::Batch(rows.collect()))
    }

    /// Our payload around a sender's data, which stays as it is, byte for byte. Its id is the one that was given with the request, or
    /// stands in it, or is the `other`.
    fn payload(&self, body: &[u8], given: Option<&str>, other: &str) -> Result<OutboxRow, Outcome> {
        let written = read(body)?;
        let id = match (given, written.id.as_deref()) {
            (Some(given), Some(own)) if given != own => {
                return Err(bad("the id in the body is another than that of Idempotency-Key: send one of them"));
            }
            (given, own) => given.or(own).unwrap_or(other).to_owned(),
        };
        checked(&id)?;
        let payload = Payload {
            id: Some(Cow::Borrowed(&id)),
            topic: Some(Cow::Borrowed(self.topic)),
            event_type: written.event_type,
            data: written.data,
            timestamp: self.now,
            retry_count: 0,
        };
        let published = serde_json::to_vec(&payload).map_err(|error| bad(error.to_string()))?;
        let headers = self.headers(&id, Sha256::of(body), Some("application/json"));
        Ok(self.row(id, headers, published.into()))
    }

    /// The sender's own id of the request, so that its retries are the same event.
    fn given_id(&self) -> Result<Option<&str>, Outcome> {
        let given = ["idempotency-key", "webhook-id"].into_iter().find_map(|name| self.request.header(name));
        let given = given.map(str::trim).filter(|id| !id.is_empty());
        given.map(|id| checked(id).map(|()| id)).transpose()
    }

    fn row(&self, id: String, headers: Vec<(String, String)>, body: Bytes) -> OutboxRow {
        OutboxRow { id, at: self.now, topic: self.topic.to_owned(), headers, body }
    }

    fn headers(&self, id: &str, body: Sha256, kind: Option<&str>) -> Vec<(String, String)> {
        // The body is part of it: an id that is used again for something else must reach the consumer, which keeps it as a
        // conflict, instead of being dropped by QStash after we said 202.
        let parts = [self.stack.as_bytes(), self.topic.as_bytes(), id.as_bytes(), body.as_bytes()];
        let own = [("Upstash-Deduplication-Id".to_owned(), Sha256::of_parts(&parts).hex())];
        let kind = kind.map(|kind| ("Content-Type".to_owned(), kind.to_owned()));
        own.into_iter().chain(kind).chain(self.forwarded()).collect()
    }

    /// Headers of the sender that the consumer needs, and those that a destination is to get. What proved the sender stays here: every
    /// endpoint of a topic gets what is forwarded.
    fn forwarded(&self) -> impl Iterator<Item = (String, String)> {
        // What proves a sender to us by itself goes no further.
        let is_secret = |name: &str| name == "authorization" && self.source.signature.is_none();
        let names: BTreeSet<&str> =
            PASSED_ON.into_iter().chain(self.of_routes()).chain(self.source.naming_headers()).collect();
        let names =
            names.into_iter().filter(|name| !matches!(*name, "content-type" | MESSAGE_NAME) && !is_secret(name));
        let values: BTreeMap<&str, &str> = names.filter_map(|name| Some((name, self.request.header(name)?))).collect();
        values.into_iter().map(|(name, value)| (format!("Upstash-Forward-{name}"), value.to_owned()))
    }
}

fn read(body: &[u8]) -> Result<Written<'_>, Outcome> {
    let written: Written<'_> = serde_json::from_slice(body).map_err(|error| {
        bad(format!(
            "the body must be JSON with \"eventType\" (a string), \"data\" and, if you like, \"id\" (a string); an array of such, or one \
             a line as application/x-ndjson: {error}"
        ))
    })?;
    match written.event_type.trim() {
        "" => Err(bad("\"eventType\" must not be empty")),
        _ => Ok(written),
    }
}

fn checked(id: &str) -> Result<(), Outcome> {
    match id.len() {
        0 => Err(bad("the event's id must not be empty")),
        1..=LONGEST_ID => Ok(()),
        _ => Err(bad(format!("the event's id, or Idempotency-Key, may have at most {LONGEST_ID} characters"))),
    }
}

/// Returns an event's own id, or its digest if it is longer than an id may be or has control characters, because the id stands in
/// answers, rows and headers. The event's key follows from the whole id.
fn short(id: String) -> String {
    let fits = id.len() <= LONGEST_ID && !id.chars().any(char::is_control);
    if fits { id } else { Sha256::of(id.as_bytes()).hex() }
}

fn bad(sentence: impl Into<String>) -> Outcome {
    Outcome::BadRequest(sentence.into())
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
