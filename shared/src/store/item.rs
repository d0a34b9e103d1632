//! Items and records: the names of the attributes stand here and in the expressions beside it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Serialize, de::DeserializeOwned};

use super::StoreError;
use crate::{
    identity::EventKey,
    ledger::record::{FailedDelivery, Failure, History, Record, Status, UNCONFIRMED, VERSION},
};

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn texts(values: &[String]) -> AttributeValue {
    AttributeValue::L(values.iter().map(text).collect())
}

/// Returns a value as JSON text. An empty text in its place would lose what the item is for.
pub(super) fn json(value: &impl Serialize) -> AttributeValue {
    // All that the store writes as JSON is made of structs, texts, numbers and maps with text keys.
    text(serde_json::to_string(value).expect("a value without keys other than texts is always written"))
}

/// The size of an item as DynamoDB charges it: names and values of its attributes, in bytes. Numbers count a little too
/// much: DynamoDB packs two digits into a byte.
pub(super) fn size_of_item(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size_of(value)).sum()
}

fn size_of(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Ss(texts) | AttributeValue::Ns(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::Bs(blobs) => blobs.iter().map(|blob| blob.as_ref().len()).sum(),
        AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + size_of(value)).sum::<usize>(),
        AttributeValue::M(map) => 3 + map.len() + size_of_item(map),
        _ => 1,
    }
}

/// The partition of all items of one event.
pub(super) fn partition(key: &EventKey) -> String {
    format!("e#{key}")
}

/// An item under construction.
#[derive(Debug)]
pub(super) struct Builder(Item);

impl Builder {
    pub(super) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self(Item::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))]))
    }

    pub(super) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    pub(super) fn with_some(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// A text, left out where it is empty: it costs nothing then, and old builds of DynamoDB Local refuse empty strings.
    pub(super) fn with_text(self, name: &str, value: &str) -> Self {
        self.with_some(name, (!value.is_empty()).then(|| text(value)))
    }

    pub(super) fn build(self) -> Item {
        self.0
    }
}

/// An item being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a>(pub(super) &'a Item);

impl Reading<'_> {
    pub(super) fn key(&self) -> String {
        self.optional_text("pk").unwrap_or_default()
    }

    pub(super) fn optional_text(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(|value| value.as_s().ok()).cloned()
    }

    pub(super) fn text(&self, name: &'static str) -> Result<String, StoreError> {
        self.optional_text(name).ok_or_else(|| StoreError::unreadable(&self.key(), name))
    }

    /// The event whose item this is, as [`partition`] names it.
    pub(super) fn event_key(&self) -> Option<EventKey> {
        self.key().strip_prefix("e#").and_then(EventKey::parse)
    }

    pub(super) fn optional_number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.0.get(name).and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok())
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, StoreError> {
        self.optional_number(name).ok_or_else(|| StoreError::unreadable(&self.key(), name))
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let values = self.0.get(name).and_then(|value| value.as_l().ok());
        values.into_iter().flatten().filter_map(|value| value.as_s().ok()).cloned().collect()
    }

    /// Returns a value that was written as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, StoreError> {
        let json = self.text(name)?;
        serde_json::from_str(&json).map_err(|_bad| StoreError::unreadable(&self.key(), name))
    }

    /// Returns a value that was written as JSON, or the default if the item lacks the attribute, as in an index.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self, name: &'static str) -> Result<T, StoreError> {
        if self.0.contains_key(name) { self.json(name) } else { Ok(T::default()) }
    }
}

/// A record as an item. Absent values and empty lists are left out: an item is charged by its size.
pub(super) fn from_record(key: &EventKey, record: &Record) -> Item {
    let some_texts = |values: &[String]| (!values.is_empty()).then(|| texts(values));
    Builder::new(partition(key), "ledger")
        .with("v", number(record.version))
        .with("status", text(record.status.word()))
        .with_text("owner", &record.owner)
        .with("fence", number(record.fence))
        .with("lease_until", number(record.lease_until))
        .with("attempts", number(record.attempts))
        .with("first_seen", number(record.first_seen))
        .with("updated_at", number(record.updated_at))
        .with("content_sha256", text(&record.content))
        .with_text("source", &record.source)
        .with_text("message_id", &record.message_id)
        .with_some("event_type", record.event_type.as_ref().map(text))
        .with_some("delivered", some_texts(&record.delivered))
        .with_some("refused", some_texts(&record.refused))
        .with_some("last_error", record.last_error.as_ref().map(from_failure))
        .with_some("history", (!record.history.is_empty()).then(|| from_history(&record.history)))
        .with_some("open", record.open_since.map(|_| text(open_place(key, record))))
        .with_some("open_since", record.open_since.map(number))
        .with_some("replay", record.replay.as_ref().map(text))
        .with_some("round", (record.round > 0).then(|| number(record.round)))
        .with_some("next_at", record.next_at.map(number))
        .with_some("expires_at", record.expires_at.map(number))
        .build()
}

/// The partition of the sparse index in which a record stands that waits, or is not confirmed.
fn open_place(key: &EventKey, record: &Record) -> String {
    if record.is_unconfirmed() { UNCONFIRMED.to_owned() } else { open_shard(key) }
}

/// The partition of the sparse index in which a waiting record stands.
pub(super) fn open_shard(key: &EventKey) -> String {
    open_partition(key.shard(super::OPEN_SHARDS))
}

pub(super) fn open_partition(shard: u8) -> String {
    format!("open#{shard}")
}

fn from_failure(failure: &Failure) -> AttributeValue {
    let parts = [("class", &failure.class), ("text", &failure.text)];
    AttributeValue::M(parts.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect())
}

fn from_history(history: &[History]) -> AttributeValue {
    AttributeValue::L(history.iter().map(|entry| text(history_text(entry))).collect())
}

/// Returns the text of one attempt: `<ms> <fence> <class>`, a line `<destination> <status> <ms>` for each failed delivery, and what was
/// said behind a tab.
fn history_text(entry: &History) -> String {
    let mut line = format!("{} {} {}", entry.at, entry.fence, entry.class);
    for FailedDelivery { destination, status, took_ms } in &entry.deliveries {
        line.push_str(&format!("\n{destination} {status} {took_ms}"));
    }
    if !entry.text.is_empty() {
        line.push('\t');
        line.push_str(&entry.text);
    }
    line
}

pub(super) fn to_record(item: &Item) -> Result<Record, StoreError> {
    let reading = Reading(item);
    let version = reading.number("v")?;
    if version > VERSION {
        return Err(StoreError::Newer { key: reading.key(), version });
    }
    let status = Status::parse(&reading.text("status")?);
    Ok(Record {
        version,
        status: status.ok_or_else(|| StoreError::unreadable(&reading.key(), "status"))?,
        owner: reading.optional_text("owner").unwrap_or_default(),
        fence: reading.number("fence")?,
        lease_until: reading.number("lease_until")?,
        attempts: reading.number("attempts")?,
        first_seen: reading.number("first_seen")?,
        updated_at: reading.number("updated_at")?,
        content: reading.text("content_sha256")?,
        source: reading.optional_text("source").unwrap_or_default(),
        event_type: reading.optional_text("event_type"),
        message_id: reading.optional_text("message_id").unwrap_or_default(),
        delivered: reading.texts("delivered"),
        refused: reading.texts("refused"),
        last_error: to_failure(item),
        history: reading.texts("history").iter().filter_map(|entry| to_history(entry)).collect(),
        open_since: reading.optional_number("open_since"),
        replay: reading.optional_text("replay"),
        round: reading.optional_number("round").unwrap_or_default(),
        next_at: reading.optional_number("next_at"),
        expires_at: reading.optional_number("expires_at"),
    })
}

fn to_failure(item: &Item) -> Option<Failure> {
    let map = item.get("last_error")?.as_m().ok()?;
    let part = |name: &str| map.get(name).and_then(|value| value.as_s().ok()).cloned();
    Some(Failure { class: part("class")?, text: part("text")? })
}

fn to_history(entry: &str) -> Option<History> {
    let (numbers, text) = entry.split_once('\t').unwrap_or((entry, ""));
    let mut lines = numbers.lines();
    let mut parts = lines.next()?.splitn(3, ' ');
    let (at, fence) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (class, text) = (parts.next()?.to_owned(), text.to_owned());
    Some(History { at, fence, class, text, deliveries: lines.filter_map(to_delivery).collect() })
}

fn to_delivery(line: &str) -> Option<FailedDelivery> {
    let mut parts = line.rsplitn(3, ' ');
    let (took_ms, status) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(FailedDelivery { destination: parts.next()?.to_owned(), status, took_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::Sha256,
        identity::MOST_TYPE,
        ledger::{Claim, record::MOST_ERROR_TEXT},
    };

    #[test]
    fn a_record_survives_the_table() {
        let key = EventKey::parse(&"a".repeat(64)).unwrap();
        let record = Record {
            version: 1,
            status: Status::Retryable,
            owner: "o".into(),
            fence: 3,
            lease_until: 4,
            attempts: 5,
            first_seen: 6,
            updated_at: 7,
            content: "c".into(),
            source: "strapi".into(),
            event_type: Some("entry.create".into()),
            message_id: "m".into(),
            delivered: vec!["d1".into()],
            refused: vec!["d2".into()],
            last_error: Some(Failure { class: "transient".into(), text: "503 x".into() }),
            history: vec![attempt("transient failure", "503 a\tb\nc"), attempt("transient", "")],
            open_since: Some(9),
            replay: Some("r".into()),
            round: 11,
            next_at: Some(12),
            expires_at: Some(10),
        };
        assert_eq!(to_record(&from_record(&key, &record)).unwrap(), record);
    }

    /// A failed attempt with one delivery, which took as long as a delivery may.
    fn attempt(class: &str, text: &str) -> History {
        let delivery = FailedDelivery { destination: "d".repeat(25), status: 503, took_ms: 60_000 };
        let (class, text) = (class.to_owned(), text.to_owned());
        History { at: 1_790_000_000_060, fence: 1, class, text, deliveries: vec![delivery] }
    }

    /// As wide as what we put into it may be: a source's name has 64 characters, a type and a message id have 128, an owner is a UUID.
    fn wide(status: Status) -> Record {
        let claim = Claim {
            owner: "o".repeat(36),
            content: Sha256::of(b"").base64url(),
            source: "s".repeat(64),
            event_type: Some("t".repeat(MOST_TYPE)),
            message_id: "m".repeat(128),
            now: 1_790_000_000_000,
            lease_until: 1_790_000_011_000,
        };
        Record { status, updated_at: 1_790_000_000_060, ..claim.fresh(1) }
    }

    fn size_of_record(record: &Record) -> usize {
        size_of_item(&from_record(&EventKey::parse(&"a".repeat(64)).unwrap(), record))
    }

    /// DynamoDB charges a write for each KB of the item that it leaves or replaces, whichever is larger (AWS, DynamoDB developer guide,
    /// "DynamoDB item sizes and formats").
    const ONE_WRITE_UNIT: usize = 1_024;

    #[test]
    fn a_done_record_of_ten_destinations_is_one_write_unit_however_long_its_texts_are() {
        // A destination's id has 25 characters.
        let delivered = vec!["d".repeat(25); 10];
        let done = Record { delivered, expires_at: Some(1_791_209_600), ..wide(Status::Done) };
        assert!(size_of_record(&done) <= ONE_WRITE_UNIT, "{} bytes", size_of_record(&done));
    }

    #[test]
    fn a_first_failure_is_one_write_unit_in_the_table_and_in_the_index_even_with_the_longest_error() {
        let failed = Record {
            last_error: Some(Failure { class: "transient".into(), text: "e".repeat(MOST_ERROR_TEXT) }),
            history: vec![attempt("transient", "")],
            open_since: Some(1_790_000_000_060),
            ..wide(Status::Retryable)
        };
        assert!(size_of_record(&failed) <= ONE_WRITE_UNIT, "{} bytes", size_of_record(&failed));
    }

    #[test]
    fn an_item_that_lacks_something_says_what() {
        let item = Builder::new("e#1", "ledger").build();
        assert_eq!(
            to_record(&item).unwrap_err().to_string(),
            "the item e#1 can't be read: v is missing or of another type"
        );
    }
}
