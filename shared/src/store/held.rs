//! Held rows: events whose topic (URL group) has no endpoints at QStash.
//!
//! `pk = outbox-held#<topic>`, `sk = <ms>#<digest>`, so that a sweep asks QStash once per topic and not once per row.
//! `pk = config#held-topics`, `sk = <topic>` lists each topic that may have such rows, with their number. A row is written before
//! its topic is listed and confirmed after it, and a topic is removed from the list only if nothing was counted since it was
//! read. So no confirmed row is ever missing from the list. The number may be too high after a crash, and is corrected when the topic
//! has no rows left.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    Store, StoreError,
    item::{Item, Reading, number, text},
    outbox::{Lane, OutboxPage, OutboxRow, Position, page},
};
use crate::Millis;

/// The rows of one topic beyond which the producer rejects further events.
pub const MAX_HELD: u64 = 10_000;
const HELD_TOPICS: &str = "config#held-topics";
const ROWS: &str = "held_rows";
/// How often the number changed. The number itself may come back to an old value, and a topic would leave the list too early.
const CHANGES: &str = "changes";

/// A topic whose rows are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTopic {
    /// Its name.
    pub name: String,
    /// The number of its rows.
    pub rows: u64,
}

impl HeldTopic {
    /// Returns the partition of its rows.
    pub fn lane(&self) -> Lane {
        lane_of(&self.name)
    }
}

/// What became of a row that was to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It stands in the table.
    Held,
    /// Its topic has [`MAX_HELD`] rows already.
    Full,
}

impl Store {
    /// Holds an event of a topic without endpoints, unless too many of the topic are held already. The limit is read first and not
    /// enforced by the write, so that events that arrive at the same time may exceed it by their number.
    pub async fn hold(&self, row: &OutboxRow) -> Result<Hold, StoreError> {
        if self.held_rows(&row.topic).await?.is_some_and(|rows| rows >= MAX_HELD) {
            return Ok(Hold::Full);
        }
        self.hold_accepted(row).await?;
        self.count_held(&row.topic, 1).await?;
        Ok(Hold::Held)
    }

    /// Writes a row under its topic. The caller counts it with [`Store::count_held`] before it deletes the row elsewhere.
    pub async fn hold_accepted(&self, row: &OutboxRow) -> Result<(), StoreError> {
        self.put_row(row.item(lane_of(&row.topic).0, row.sort_key())).await
    }

    /// Lists a topic, and adds to the number of its rows.
    pub async fn count_held(&self, topic: &str, more: i64) -> Result<(), StoreError> {
        let request = self.client.update_item().table_name(&self.table);
        let request = request.key("pk", text(HELD_TOPICS)).key("sk", text(topic));
        let request = request.update_expression(format!("ADD {ROWS} :more, {CHANGES} :one"));
        let request = request.expression_attribute_values(":more", number(more));
        request.expression_attribute_values(":one", number(1)).send().await?;
        Ok(())
    }

    /// Returns the topics that may have held rows.
    pub async fn held_topics(&self) -> Result<Vec<HeldTopic>, StoreError> {
        let request = self.client.query().table_name(&self.table).consistent_read(true);
        let request = request.key_condition_expression("pk = :pk");
        let mut pages = request.expression_attribute_values(":pk", text(HELD_TOPICS)).into_paginator().items().send();
        let mut topics = Vec::new();
        while let Some(item) = pages.next().await.transpose()? {
            topics.push(HeldTopic { name: Reading(&item).text("sk")?, rows: rows_of(&item) });
        }
        Ok(topics)
    }

    /// Returns a page of the rows of a topic that are older than this, the oldest first.
    pub async fn held_before(
        &self,
        topic: &HeldTopic,
        before: Millis,
        limit: i32,
        from: Option<Position>,
    ) -> Result<OutboxPage, StoreError> {
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk < :before")
            .expression_attribute_values(":pk", text(topic.lane().0))
            .expression_attribute_values(":before", text(format!("{before:013}")))
            .consistent_read(true)
            .set_exclusive_start_key(from.map(|position| position.0))
            .limit(limit)
            .send()
            .await?;
        Ok(page(output))
    }

    /// Removes a topic from the list if it has no rows left. The number is read before the rows, and the removal compares it:
    /// a producer that wrote a row since has changed it, or will list the topic anew.
    pub async fn close_held(&self, topic: &HeldTopic) -> Result<(), StoreError> {
        let Some(changes) = self.held_number(&topic.name, CHANGES).await? else { return Ok(()) };
        if !self.outbox(&topic.lane(), 1, None).await?.rows.is_empty() {
            return Ok(());
        }
        let seen = vec![(":seen", number(changes))];
        self.delete_if(HELD_TOPICS.to_owned(), topic.name.clone(), &format!("{CHANGES} = :seen"), seen).await?;
        Ok(())
    }

    async fn held_rows(&self, topic: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.held_number(topic, ROWS).await?.map(|rows| u64::try_from(rows).unwrap_or_default()))
    }

    async fn held_number(&self, topic: &str, name: &str) -> Result<Option<i64>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let output = request.key("pk", text(HELD_TOPICS)).key("sk", text(topic)).send().await?;
        Ok(output.item().map(|item| Reading(item).optional_number(name).unwrap_or_default()))
    }
}

fn lane_of(topic: &str) -> Lane {
    Lane(format!("outbox-held#{topic}"))
}

fn rows_of(item: &Item) -> u64 {
    let rows =
        item.get(ROWS).and_then(|rows| AttributeValue::as_n(rows).ok()).and_then(|rows| rows.parse::<i64>().ok());
    rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or_default()
}
