//! Event types that no route took: `pk = unmatched#<source>`, `sk = type#<type>`. They expire by themselves.

use futures::future::try_join_all;

use super::{
    Store, StoreError,
    item::{Builder, Item, Reading, number, text},
};
use crate::Millis;

const PREFIX: &str = "unmatched#";
const TYPE: &str = "type#";
/// How long a type is remembered after it last came, in milliseconds.
pub const REMEMBERED: Millis = 7 * 86_400_000;
/// Types that a list shows, and that one environment writes.
pub const MOST_TYPES: usize = 200;

/// An event type that no route took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmatchedType {
    /// The source.
    pub source: String,
    /// The type; empty for events without one.
    pub event_type: String,
    /// Events that were counted. An environment that ends keeps its last minute to itself, so there may have been more.
    pub count: u64,
    /// When the first of them came.
    pub first: Millis,
    /// When the last of them came.
    pub last: Millis,
}

impl Store {
    /// Adds events of a type that no route took to those that are known: one write, nothing read.
    pub async fn note_unmatched(
        &self,
        source: &str,
        event_type: &str,
        count: u64,
        now: Millis,
    ) -> Result<(), StoreError> {
        let key = Builder::new(format!("{PREFIX}{source}"), format!("{TYPE}{event_type}")).build();
        let output = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(
                "SET first_at = if_not_exists(first_at, :now), last_at = :now, expires_at = :end ADD events :count",
            )
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":end", number((now + REMEMBERED) / 1_000))
            .expression_attribute_values(":count", number(count))
            .set_return_consumed_capacity(self.wants_capacity())
            .send()
            .await?;
        self.count_write(output.consumed_capacity());
        Ok(())
    }

    /// The event types of these sources that no route took in the last seven days, those that came last first.
    pub async fn unmatched(&self, sources: &[String], now: Millis) -> Result<Vec<UnmatchedType>, StoreError> {
        let pages = try_join_all(sources.iter().map(|source| self.unmatched_of(source))).await?;
        let mut types: Vec<UnmatchedType> = pages.into_iter().flatten().collect();
        // DynamoDB deletes expired items within days.
        types.retain(|one| one.last > now - REMEMBERED);
        types.sort_by(|one, other| {
            (other.last, &one.source, &one.event_type).cmp(&(one.last, &other.source, &other.event_type))
        });
        types.truncate(MOST_TYPES);
        Ok(types)
    }

    async fn unmatched_of(&self, source: &str) -> Result<Vec<UnmatchedType>, StoreError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(format!("{PREFIX}{source}")))
            .into_paginator()
            .items()
            .send();
        let mut types = Vec::new();
        while let Some(item) = items.next().await.transpose()? {
            types.extend(to_type(source, &item));
        }
        Ok(types)
    }
}

fn to_type(source: &str, item: &Item) -> Option<UnmatchedType> {
    let reading = Reading(item);
    Some(UnmatchedType {
        source: source.to_owned(),
        event_type: reading.optional_text("sk")?.strip_prefix(TYPE)?.to_owned(),
        count: reading.optional_number("events")?,
        first: reading.optional_number("first_at")?,
        last: reading.optional_number("last_at")?,
    })
}
