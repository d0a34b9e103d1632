//! The events that wait, at a glance: how long the oldest has waited, and why.
//!
//! The index `open` is sorted by the time from which an event's next attempt is overdue. An event that failed several rounds is due last,
//! and one that QStash brings no more was due first. Each end of a partition is therefore read.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    OPEN_SHARDS, Store, StoreError,
    item::{Builder, Reading, number, open_partition, text},
    place::PARTITION,
    stranded::Waiting,
};
use crate::{
    Millis,
    ledger::{Record, fingerprint::Cause},
};

/// Events that are read at each end of a partition. Up to 6,400 events, the view is complete.
const AT_EACH_END: i32 = 100;
/// Partitions that are read at the same time.
const AT_ONCE: usize = 8;
const CAUSES: &str = "causes";

/// The events that wait.
#[derive(Debug, Default)]
pub struct WaitingEvents {
    /// Those that are overdue since before the horizon, the longest first.
    pub stranded: Vec<Waiting>,
    /// When the oldest was first seen.
    pub oldest: Option<Millis>,
    /// Causes of those that were first seen before the time that was asked for, by fingerprint.
    pub causes: BTreeMap<String, WaitingCause>,
}

/// One cause why events wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingCause {
    /// The source of one of its events.
    pub source: String,
    /// The last error of one of its events.
    pub error: String,
    /// When its oldest event was first seen.
    pub since: Millis,
    /// How many events have it.
    pub events: u64,
}

impl Store {
    /// Reads the events that wait: those that are overdue since before `horizon` as stranded, and the causes of those that were first seen
    /// before `since`.
    pub async fn waiting(&self, horizon: Millis, since: Millis) -> Result<WaitingEvents, StoreError> {
        let partitions = stream::iter((0..OPEN_SHARDS).map(|shard| self.ends(open_partition(shard))));
        let mut seen = WaitingEvents::default();
        let mut partitions = partitions.buffer_unordered(AT_ONCE);
        while let Some(events) = partitions.try_next().await? {
            events.into_iter().for_each(|event| seen.add(event, horizon, since));
        }
        seen.stranded.sort_by_key(|waiting| waiting.since);
        Ok(seen)
    }

    /// Returns the events at both ends of a partition of the index. The second end is read only where the first is not all.
    async fn ends(&self, partition: String) -> Result<Vec<Waiting>, StoreError> {
        let (mut events, is_all) = self.open_events(partition.clone(), Millis::MAX, AT_EACH_END, true).await?;
        if !is_all {
            let (last, _) = self.open_events(partition, Millis::MAX, AT_EACH_END, false).await?;
            let is_new = |event: &Waiting| events.iter().all(|known| known.key != event.key);
            let last: Vec<Waiting> = last.into_iter().filter(is_new).collect();
            events.extend(last);
        }
        Ok(events)
    }

    /// Returns the causes that sweeps have reported, with the time when each was last seen.
    pub async fn reported_causes(&self) -> Result<BTreeMap<String, Millis>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let output = request.key("pk", text(PARTITION)).key("sk", text(CAUSES)).send().await?;
        let causes = output.item().and_then(|item| item.get(CAUSES)?.as_m().ok());
        let entry = |(cause, _): (&String, &AttributeValue)| {
            let seen = Reading(causes?).optional_number(cause)?;
            Some((cause.clone(), seen))
        };
        Ok(causes.into_iter().flatten().filter_map(entry).collect())
    }

    /// Remembers the causes that sweeps have reported.
    pub async fn put_reported_causes(&self, causes: &BTreeMap<String, Millis>) -> Result<(), StoreError> {
        let causes = causes.iter().map(|(cause, seen)| (cause.clone(), number(seen))).collect();
        let item = Builder::new(PARTITION, CAUSES).with(CAUSES, AttributeValue::M(causes)).build();
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await?;
        Ok(())
    }
}

impl WaitingEvents {
    fn add(&mut self, event: Waiting, horizon: Millis, since: Millis) {
        if let Ok(record) = &event.record {
            let waits_since = waits_since(record);
            self.oldest = Some(self.oldest.map_or(waits_since, |oldest| oldest.min(waits_since)));
            if waits_since < since {
                self.add_cause(record, waits_since);
            }
        }
        if event.since < horizon {
            self.stranded.push(event);
        }
    }

    fn add_cause(&mut self, record: &Record, since: Millis) {
        let cause = WaitingCause::of(record, since);
        self.causes
            .entry(cause.fingerprint())
            .and_modify(|known| {
                known.events += 1;
                known.since = known.since.min(since);
            })
            .or_insert(cause);
    }
}

/// Returns since when an event waits: since it was first seen. A replayed one waits since its turn or its last failure, until its first round
/// is over.
fn waits_since(record: &Record) -> Millis {
    match record.replay {
        Some(_) if record.round == 0 => record.updated_at.max(record.open_since.unwrap_or_default()),
        _ => record.first_seen,
    }
}

impl WaitingCause {
    fn of(record: &Record, since: Millis) -> Self {
        let error = record.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
        Self { source: record.source.clone(), error, since, events: 1 }
    }

    /// Events of all types share a cause: a destination that is down is one fault.
    fn fingerprint(&self) -> String {
        Cause { error: &self.error, status: 0, source: &self.source, event_type: "", endpoint: "" }.fingerprint()
    }
}
