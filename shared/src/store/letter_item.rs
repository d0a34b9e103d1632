//! Dead letters as items: heads, chunks, and the packing of bodies.

use std::io::{Read, Write};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use super::{
    SHARDS, StoreError,
    item::{Builder, Item, Reading, json, number, partition, text},
};
use crate::{Millis, digest::Sha256, identity::EventKey, ledger::DeadLetter, qstash::Region};

/// A day in milliseconds: letters are listed by the day on which they were buried.
pub(super) const DAY: Millis = 86_400_000;
/// An hour in milliseconds.
pub(super) const HOUR: Millis = DAY / 24;
/// The partitions that name replays under way, so that the sweep finds them without reading every letter.
pub(super) const PENDING: &str = "replay#";
/// The region of QStash that a letter's entry came from.
pub(super) const REGION: &str = "qstash_region";

/// Twenty digits hold every fence, so that letters of one event sort by it.
pub(super) fn sort_key(fence: u64) -> String {
    format!("dead-letter#{fence:020}")
}

pub(super) fn pending_partition(letter_id: &str) -> String {
    format!("{PENDING}{}", Sha256::of(letter_id.as_bytes()).shard(SHARDS))
}

pub(super) fn pending_item(letter: &DeadLetter) -> Item {
    Builder::new(pending_partition(&letter.id()), letter.id()).with("replay", text(letter.replay_id())).build()
}

/// The chunks of one burial. Its time is part of their names, so that burials of the same event never share chunks.
pub(super) fn chunk_prefix(letter: &DeadLetter) -> String {
    format!("{}#{}#", sort_key(letter.fence), letter.at)
}

pub(super) fn pack(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    packed.expect("memory takes every byte")
}

pub(super) fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if !packed.is_empty() {
        ZlibDecoder::new(packed).read_to_end(&mut body)?;
    }
    Ok(body)
}

pub(super) fn bytes_of(item: &Item) -> Vec<u8> {
    item.get("body").and_then(|value| value.as_b().ok()).map(|blob| blob.as_ref().to_vec()).unwrap_or_default()
}

/// The partition of the index in which a letter's head stands: its day's, one of several.
pub(super) fn shelf(letter: &DeadLetter) -> String {
    format!("dl#{}#{}", letter.at / DAY, letter.key.shard(SHARDS))
}

pub(super) fn head_of(letter: &DeadLetter, inline: Option<&Vec<u8>>, chunks: usize) -> Item {
    Builder::new(partition(&letter.key), sort_key(letter.fence))
        .with("fence", number(letter.fence))
        .with("dl", text(shelf(letter)))
        .with("dl_at", number(letter.at))
        .with("first_failed", number(letter.first_failed))
        .with("reason", text(&letter.reason))
        .with("status_code", number(letter.status))
        .with_text("error", &letter.error)
        .with_text("fingerprint", &letter.fingerprint)
        .with("url", text(&letter.url))
        .with_text("source", &letter.source)
        .with_text("method", &letter.method)
        .with("headers", json(&letter.headers))
        .with_text("message_id", &letter.message_id)
        .with_text("first_message_id", &letter.first_message_id)
        .with("rounds", number(letter.rounds))
        .with("size", number(letter.size))
        .with_text("body_sha256", &letter.body_sha256)
        .with("redacted", AttributeValue::Bool(letter.redacted))
        .with_some("about", letter.about.as_ref().map(|key| text(key.as_str())))
        .with_text("dlq_id", &letter.dlq_id)
        .with_some(REGION, letter.region.map(|region| text(region.as_str())))
        .with("chunks", number(chunks))
        .with("response", json(&letter.response))
        .with_some("path", letter.path.as_ref().map(text))
        .with_some("event_type", letter.event_type.as_ref().map(text))
        .with_some("replaying", letter.replaying.as_ref().map(text))
        .with_some("body", inline.map(|packed| AttributeValue::B(Blob::new(packed.clone()))))
        .build()
}

/// Reads a head, from the table or from the index, which lacks what lists do not show.
pub(super) fn to_letter(key: &EventKey, item: &Item) -> Result<DeadLetter, StoreError> {
    let reading = Reading(item);
    let sk = reading.text("sk")?;
    let fence = sk.strip_prefix("dead-letter#").and_then(|digits| digits.parse().ok());
    let text = |name: &str| reading.optional_text(name).unwrap_or_default();
    Ok(DeadLetter {
        key: key.clone(),
        fence: fence.ok_or_else(|| StoreError::unreadable(&reading.key(), "sk"))?,
        at: reading.number("dl_at")?,
        first_failed: reading.optional_number("first_failed").unwrap_or_default(),
        reason: reading.text("reason")?,
        status: reading.number("status_code")?,
        error: text("error"),
        fingerprint: text("fingerprint"),
        url: reading.text("url")?,
        path: reading.optional_text("path"),
        source: text("source"),
        event_type: reading.optional_text("event_type"),
        method: text("method"),
        headers: reading.json_or_default("headers")?,
        message_id: text("message_id"),
        first_message_id: text("first_message_id"),
        rounds: reading.optional_number("rounds").unwrap_or_default(),
        size: reading.optional_number("size").unwrap_or_default(),
        body_sha256: text("body_sha256"),
        redacted: item.get("redacted").and_then(|value| value.as_bool().ok()).copied().unwrap_or_default(),
        about: reading.optional_text("about").and_then(|key| EventKey::parse(&key)),
        dlq_id: text("dlq_id"),
        region: reading.optional_text(REGION).and_then(|region| Region::parse(&region)),
        replaying: reading.optional_text("replaying"),
        response: reading.json_or_default("response")?,
    })
}
