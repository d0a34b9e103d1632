//! The outbox: events that the producer took while QStash was away. `pk = outbox#<0..7>`, `sk = <ms>#<digest>`, no expiry.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use bytes::Bytes;

use super::{
    SHARDS, Store, StoreError,
    item::{Builder, Item, Reading, number, text},
};
use crate::{Millis, digest::Sha256};

/// The largest body that fits into a row beside its headers: DynamoDB's items hold 400 KB.
pub const MOST_BODY: usize = 350_000;

/// An event that waits to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The event's id.
    pub id: String,
    /// When it was taken.
    pub at: Millis,
    /// The topic.
    pub topic: String,
    /// The headers of the publish call.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

impl OutboxRow {
    pub(super) fn keys(&self) -> (String, String) {
        // Senders choose ids: two topics may have the same, or two events of one, and neither may take the other's place.
        let digest = Sha256::of_parts(&[self.topic.as_bytes(), self.id.as_bytes(), &self.body]);
        // Thirteen digits reach to the year 2286, so that rows sort by age.
        (format!("outbox#{}", digest.shard(SHARDS)), format!("{:013}#{}", self.at, digest.hex()))
    }
}

/// A row as it stands in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The row.
    pub row: OutboxRow,
    /// Its place, which older versions chose otherwise.
    place: (String, String),
}

/// Where the next page of rows begins.
#[derive(Debug, Clone)]
pub struct Position(Item);

/// A page of rows, the oldest first, each as it came: one that can't be read must not hide the others.
#[derive(Debug)]
pub struct OutboxPage {
    /// The rows.
    pub rows: Vec<Result<Kept, StoreError>>,
    /// Where the next page begins; `None` where this is the last.
    pub next: Option<Position>,
}

impl Store {
    /// Makes an event durable. Repeating it replaces the row by itself.
    pub async fn put_outbox(&self, row: &OutboxRow) -> Result<(), StoreError> {
        let (pk, sk) = row.keys();
        let item = Builder::new(pk, sk)
            .with("id", text(&row.id))
            .with("at", number(row.at))
            .with("topic", text(&row.topic))
            .with("headers", text(serde_json::to_string(&row.headers).unwrap_or_default()))
            .with("body", AttributeValue::B(Blob::new(row.body.to_vec())))
            .build();
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await?;
        Ok(())
    }

    /// The oldest rows of one shard, or those from a position on.
    pub async fn outbox(&self, shard: u8, limit: i32, from: Option<Position>) -> Result<OutboxPage, StoreError> {
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(format!("outbox#{shard}")))
            .consistent_read(true)
            .set_exclusive_start_key(from.map(|position| position.0))
            .limit(limit)
            .send()
            .await?;
        let rows = output.items().iter().map(to_row).collect();
        Ok(OutboxPage { rows, next: output.last_evaluated_key.map(Position) })
    }

    /// Removes a row that was published or buried.
    pub async fn delete_outbox(&self, kept: &Kept) -> Result<(), StoreError> {
        let (pk, sk) = kept.place.clone();
        let request = self.client.delete_item().table_name(&self.table);
        request.key("pk", text(pk)).key("sk", text(sk)).send().await?;
        Ok(())
    }
}

fn to_row(item: &Item) -> Result<Kept, StoreError> {
    let reading = Reading(item);
    let body = item.get("body").and_then(|value| value.as_b().ok());
    let body = body.ok_or_else(|| StoreError::unreadable(&reading.key(), "body"))?;
    let row = OutboxRow {
        id: reading.text("id")?,
        at: reading.number("at")?,
        topic: reading.text("topic")?,
        headers: reading.json("headers").unwrap_or_default(),
        body: Bytes::copy_from_slice(body.as_ref()),
    };
    Ok(Kept { row, place: (reading.text("pk")?, reading.text("sk")?) })
}
