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
    ledger::{Record, Status, record::UNCONFIRMED, rules},
};

/// A part of the table that is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    number: u32,
    of: u32,
}

/// How many parts the sweeps see, one after the other: at five minutes, all of them in 25 hours.
const SEGMENTS: u32 = 293;
/// After this, in milliseconds, a worker that has not ended its attempt never will: no lease is as long.
const SILENT: Millis = 3_600_000;
/// Partitions of the index that are asked at the same time.
const AT_ONCE: u8 = 8;

impl Segment {
    /// The whole table.
    pub const WHOLE: Self = Self { number: 0, of: 1 };
}

/// Where a look through the table goes on: a part of it, behind a key in that part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablePlace {
    pub(super) segment: u32,
    /// Partition and sort key; `None` is the beginning of the part.
    pub(super) after: Option<(String, String)>,
}

impl TablePlace {
    pub(super) fn new(segment: u32, after: Option<(String, String)>) -> Self {
        // A version with fewer parts may read what one with more parts wrote.
        if segment < SEGMENTS { Self { segment, after } } else { Self::default() }
    }

    /// Returns the part that is looked through.
    pub fn segment(&self) -> Segment {
        Segment { number: self.segment, of: SEGMENTS }
    }

    /// Returns the key behind which the look goes on.
    pub fn after(&self) -> Option<(String, String)> {
        self.after.clone()
    }

    /// Returns the place in the same part behind a key.
    pub fn behind(&self, after: Option<(String, String)>) -> Self {
        Self { segment: self.segment, after }
    }

    /// Returns the beginning of the next part; the first follows the last.
    pub fn next(&self) -> Self {
        Self { segment: (self.segment + 1) % SEGMENTS, after: None }
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

/// What a page of a look through the table came to.
#[derive(Debug, Default)]
pub struct Looked {
    /// Records that were made visible.
    pub raised: usize,
    /// Records that can't be read.
    pub unreadable: Vec<Waiting>,
    /// Records whose worker ended without a word more than an hour ago, and that are not stranded yet: they wait for QStash, or were
    /// handled without `done`.
    pub silent: Vec<(EventKey, Record)>,
    /// The key behind which the next page begins; `None` after the last page.
    pub next: Option<(String, String)>,
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

    /// Events that were handled, but of which `done` could not be written, the oldest first.
    pub async fn unconfirmed(&self, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        self.open_since(UNCONFIRMED.to_owned(), Millis::MAX, limit).await
    }

    /// The oldest of one partition of the index.
    async fn stranded_in(&self, shard: u8, before: Millis, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        self.open_since(open_partition(shard), before, limit).await
    }

    async fn open_since(&self, open: String, before: Millis, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        Ok(self.open_events(open, before, i32::try_from(limit).unwrap_or(i32::MAX), true).await?.0)
    }

    /// Returns events of a partition of the index that are overdue since before a time: the first, or the last. The flag says whether these
    /// are all.
    pub(super) async fn open_events(
        &self,
        open: String,
        before: Millis,
        limit: i32,
        is_forward: bool,
    ) -> Result<(Vec<Waiting>, bool), StoreError> {
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(super::schema::OPEN_INDEX)
            .key_condition_expression("#open = :shard AND open_since < :before")
            .expression_attribute_names("#open", "open")
            .expression_attribute_values(":shard", text(open))
            .expression_attribute_values(":before", number(before))
            .limit(limit)
            .scan_index_forward(is_forward)
            .send()
            .await?;
        let events = output.items().iter().filter_map(|item| waiting(item, "open_since")).collect();
        Ok((events, output.last_evaluated_key().is_none()))
    }

    /// Looks through one page of a part of the table, and makes those records visible whose worker ended without a word before
    /// `before`. Only a look at every record finds them: an index of what is `running` would double the writes of every event.
    pub async fn strand(
        &self,
        segment: Segment,
        after: Option<(String, String)>,
        before: Millis,
        now: Millis,
    ) -> Result<Looked, StoreError> {
        let (page, next) = self.abandoned(segment, before.max(now - SILENT), after).await?;
        let mut looked = Looked { next, ..Looked::default() };
        for found in page.iter().filter_map(|item| waiting(item, "lease_until")) {
            match found.record {
                Ok(record) if record.lease_until >= before => looked.silent.push((found.key, record)),
                Ok(ref record) => looked.raised += usize::from(self.strand_one(&found.key, record, before, now).await?),
                Err(_) => looked.unreadable.push(found),
            }
        }
        Ok(looked)
    }

    /// Shows an event that was handled, but of which `done` could not be written; `false` where it was claimed meanwhile.
    pub async fn mark_unconfirmed(&self, key: &EventKey, record: &Record, now: Millis) -> Result<bool, StoreError> {
        self.show_left(key, record, rules::unconfirmed(record, now)).await
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
        after: Option<(String, String)>,
    ) -> Result<(Vec<Item>, Option<(String, String)>), StoreError> {
        let from = after.map(|(pk, sk)| Item::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))]));
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
        let last = output.last_evaluated_key.as_ref().map(Reading);
        let next = last.and_then(|last| last.optional_text("pk").zip(last.optional_text("sk")));
        Ok((output.items.unwrap_or_default(), next))
    }

    /// `false` where somebody took the record up meanwhile.
    async fn strand_one(
        &self,
        key: &EventKey,
        record: &Record,
        before: Millis,
        now: Millis,
    ) -> Result<bool, StoreError> {
        self.show_left(key, record, rules::strand(record, before, now)).await
    }

    /// Writes the new state of a record that its worker left running.
    async fn show_left(
        &self,
        key: &EventKey,
        record: &Record,
        left: Result<Record, rules::Refused>,
    ) -> Result<bool, StoreError> {
        let Ok(left) = left else { return Ok(false) };
        let refuse = |old: Option<&Record>| Err(rules::Refused::Changed(old.map(|old| old.status)));
        match self.put_held(key, left, &lease_of(record), refuse).await {
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
    fn sweeps_come_to_every_part_whenever_they_run() {
        let mut place = TablePlace::default();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..SEGMENTS {
            seen.insert(place.segment);
            place = place.next();
        }
        assert_eq!((seen.len(), place), (SEGMENTS as usize, TablePlace::default()));
    }

    #[test]
    fn a_place_that_this_version_does_not_know_is_the_beginning() {
        assert_eq!(TablePlace::new(SEGMENTS, Some(("e#1".into(), "ledger".into()))), TablePlace::default());
    }
}
