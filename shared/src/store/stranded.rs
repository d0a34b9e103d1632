//! Events that nobody will bring again: found, and shown.

use futures::future::try_join_all;

use super::{
    LedgerError, OPEN_SHARDS, Store, StoreError,
    item::{Item, Reading, number, open_partition, text, to_record},
    ledger::lease_of,
};
use crate::{
    Millis,
    identity::EventKey,
    ledger::{Record, Status, rules},
};

/// A part of the table that is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    number: u32,
    of: u32,
}

/// How many parts the sweeps see. A prime, so that a sweep at any interval comes to every part: at five minutes, once in 25
/// hours.
const SEGMENTS: u32 = 293;
/// The interval by which the parts take turns.
const TURN: Millis = 300_000;
/// Partitions of the index that are asked at the same time.
const AT_ONCE: u8 = 8;

impl Segment {
    /// The whole table.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// The part whose turn it is.
    pub fn at(now: Millis) -> Self {
        let number = u32::try_from((now / TURN).rem_euclid(Millis::from(SEGMENTS))).unwrap_or_default();
        Self { number, of: SEGMENTS }
    }
}

/// An event that waits. A record that can't be read is shown too: whoever wrote it, its event may be undelivered.
#[derive(Debug)]
pub struct Waiting {
    /// Its key.
    pub key: EventKey,
    /// Since when, in milliseconds since the epoch.
    pub since: Millis,
    /// Its record.
    pub record: Result<Record, StoreError>,
}

/// What a look through one part of the table came to.
#[derive(Debug, Default)]
pub struct Looked {
    /// Records that were made visible.
    pub raised: usize,
    /// Records that can't be read.
    pub unreadable: Vec<Waiting>,
    /// Whether time ran out before its end.
    pub cut_short: bool,
}

impl Store {
    /// Events that have waited since before `before`, the oldest first, at most `limit`. Some partitions are asked at a time, and no
    /// more than `limit` events kept of them, so that many partitions take hardly more memory than those.
    pub async fn stranded(&self, before: Millis, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let mut found = Vec::new();
        for first in (0..OPEN_SHARDS).step_by(usize::from(AT_ONCE)) {
            let shards = first..OPEN_SHARDS.min(first + AT_ONCE);
            let pages = try_join_all(shards.map(|shard| self.stranded_in(shard, before, limit))).await?;
            found.extend(pages.into_iter().flatten());
            found.sort_by_key(|waiting| waiting.since);
            found.truncate(limit);
        }
        Ok(found)
    }

    /// The oldest of one partition of the index.
    async fn stranded_in(&self, shard: u8, before: Millis, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(super::schema::OPEN_INDEX)
            .key_condition_expression("#open = :shard AND open_since < :before")
            .expression_attribute_names("#open", "open")
            .expression_attribute_values(":shard", text(open_partition(shard)))
            .expression_attribute_values(":before", number(before))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await?;
        Ok(output.items().iter().filter_map(|item| waiting(item, "open_since")).collect())
    }

    /// Makes those records of one part of the table visible whose worker ended without a word before `before`. Only
    /// a look at every record finds them: an index of what is `running` would double the writes of every event. `go_on` is
    /// asked before each page.
    pub async fn strand(
        &self,
        segment: Segment,
        before: Millis,
        now: Millis,
        go_on: impl Fn() -> bool,
    ) -> Result<Looked, StoreError> {
        let (mut looked, mut from) = (Looked::default(), None);
        loop {
            if !go_on() {
                return Ok(Looked { cut_short: true, ..looked });
            }
            let (page, next) = self.abandoned(segment, before, from).await?;
            for found in page.iter().filter_map(|item| waiting(item, "lease_until")) {
                match &found.record {
                    Ok(record) => looked.raised += usize::from(self.strand_one(&found.key, record, before, now).await?),
                    Err(_unreadable) => looked.unreadable.push(found),
                }
            }
            from = next;
            if from.is_none() {
                return Ok(looked);
            }
        }
    }

    /// Ends an event that has waited since before `before`, because an operator has seen to it; its record stays until
    /// `expires_at` (seconds).
    pub async fn dismiss(
        &self,
        key: &EventKey,
        before: Millis,
        now: Millis,
        expires_at: i64,
    ) -> Result<(), LedgerError> {
        self.change(key, |old| rules::dismiss(old, before, now, expires_at).map(Some)).await
    }

    async fn abandoned(
        &self,
        segment: Segment,
        before: Millis,
        from: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let output = self
            .client
            .scan()
            .table_name(&self.table)
            .total_segments(i32::try_from(segment.of).unwrap_or(1))
            .segment(i32::try_from(segment.number).unwrap_or_default())
            .filter_expression("sk = :ledger AND #status = :running AND lease_until < :before")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":ledger", text("ledger"))
            .expression_attribute_values(":running", text(Status::Running.word()))
            .expression_attribute_values(":before", number(before))
            .set_exclusive_start_key(from)
            .send()
            .await?;
        Ok((output.items.unwrap_or_default(), output.last_evaluated_key))
    }

    /// `false` where somebody took the record up meanwhile.
    async fn strand_one(
        &self,
        key: &EventKey,
        record: &Record,
        before: Millis,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let Ok(stranded) = rules::strand(record, before, now) else { return Ok(false) };
        let refuse = |old: Option<&Record>| Err(rules::Refused::Changed(old.map(|old| old.status)));
        match self.put_held(key, stranded, &lease_of(record), refuse).await {
            Ok(_) => Ok(true),
            Err(LedgerError::Refused(_)) => Ok(false),
            Err(LedgerError::Store(error)) => Err(error),
        }
    }
}

/// The event of a record's item, which waits since the time of this attribute.
fn waiting(item: &Item, since: &str) -> Option<Waiting> {
    let reading = Reading(item);
    let since = reading.optional_number(since).unwrap_or_default();
    Some(Waiting { key: reading.event_key()?, since, record: to_record(item) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_at_any_interval_come_to_every_part() {
        for minutes in [1, 5, 10, 15, 60, 24 * 60] {
            let visited: std::collections::BTreeSet<u32> =
                (0..i64::from(SEGMENTS) * 5).map(|sweep| Segment::at(sweep * minutes * 60_000).number).collect();
            assert_eq!(visited.len(), SEGMENTS as usize, "every {minutes} minutes");
        }
    }
}
