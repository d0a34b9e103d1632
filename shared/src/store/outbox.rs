//! The outbox: events that the producer accepted while QStash was unavailable. `pk = outbox#<0..7>`, `sk = <ms>#<digest>`, no expiry.
//! Rows of topics without endpoints stand apart ([`super::held`]).

use aws_sdk_dynamodb::{operation::query::QueryOutput, primitives::Blob, types::AttributeValue};
use bytes::Bytes;

use super::{
    SHARDS, Store, StoreError,
    item::{Builder, Item, Reading, json, number, text},
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
        (format!("outbox#{}", self.digest().shard(SHARDS)), self.sort_key())
    }

    /// Sorts by age. Thirteen digits reach to the year 2286.
    pub(super) fn sort_key(&self) -> String {
        format!("{:013}#{}", self.at, self.digest().hex())
    }

    fn digest(&self) -> Sha256 {
        // Senders choose ids: two topics may have the same, or two events of one, and neither may take the other's place.
        Sha256::of_parts(&[self.topic.as_bytes(), self.id.as_bytes(), &self.body])
    }

    pub(super) fn item(&self, pk: String, sk: String) -> Item {
        Builder::new(pk, sk)
            .with("id", text(&self.id))
            .with("at", number(self.at))
            .with("topic", text(&self.topic))
            .with("headers", json(&self.headers))
            .with("body", AttributeValue::B(Blob::new(self.body.to_vec())))
            .build()
    }
}

/// A partition of rows that are read by age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane(pub(super) String);

impl Lane {
    /// The partitions of events that wait for QStash.
    pub fn ordinary() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(|shard| Self(format!("outbox#{shard}")))
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
pub struct Position(pub(super) Item);

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
        self.put_row(row.item(pk, sk)).await
    }

    pub(super) async fn put_row(&self, item: Item) -> Result<(), StoreError> {
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await?;
        Ok(())
    }

    /// Returns the oldest rows of one lane, or those from a position on.
    pub async fn outbox(&self, lane: &Lane, limit: i32, from: Option<Position>) -> Result<OutboxPage, StoreError> {
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(&lane.0))
            .consistent_read(true)
            .set_exclusive_start_key(from.map(|position| position.0))
            .limit(limit)
            .send()
            .await?;
        Ok(page(output))
    }

    /// Removes a row that was published, moved or dead-lettered.
    pub async fn delete_outbox(&self, kept: &Kept) -> Result<(), StoreError> {
        let (pk, sk) = kept.place.clone();
        let request = self.client.delete_item().table_name(&self.table);
        request.key("pk", text(pk)).key("sk", text(sk)).send().await?;
        Ok(())
    }
}

pub(super) fn page(output: QueryOutput) -> OutboxPage {
    let rows = output.items().iter().map(to_row).collect();
    OutboxPage { rows, next: output.last_evaluated_key.map(Position) }
}

fn to_row(item: &Item) -> Result<Kept, StoreError> {
    let reading = Reading(item);
    let body = item.get("body").and_then(|value| value.as_b().ok());
    let body = body.ok_or_else(|| StoreError::unreadable(&reading.key(), "body"))?;
    let row = OutboxRow {
        id: reading.text("id")?,
        at: reading.number("at")?,
        topic: reading.text("topic")?,
        headers: reading.json("headers")?,
        body: Bytes::copy_from_slice(body.as_ref()),
    };
    Ok(Kept { row, place: (reading.text("pk")?, reading.text("sk")?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_whose_headers_can_not_be_read_is_an_error_and_not_a_row_without_headers() {
        let headers = vec![("Upstash-Deduplication-Id".to_owned(), "d".to_owned())];
        let row = OutboxRow { id: "1".into(), at: 5, topic: "t".into(), headers, body: Bytes::from_static(b"{}") };
        let (pk, sk) = row.keys();
        let item = row.item(pk, sk);
        assert_eq!(to_row(&item).unwrap().row, row);
        for broken in [Some(text("[[")), Some(text("")), None] {
            let mut item = item.clone();
            item.remove("headers");
            item.extend(broken.map(|value| ("headers".to_owned(), value)));
            assert!(matches!(to_row(&item), Err(StoreError::Unreadable { attribute: "headers", .. })));
        }
    }
}
