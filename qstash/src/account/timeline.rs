//! What becomes due, in the order of its time. Things that are due together come in an order that is always the same.

use std::collections::{BTreeMap, BTreeSet};

use surehook::Millis;

use super::Start;

/// Something that becomes due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A schedule runs.
    Schedule(String),
    /// A period of flow control is over.
    Flow(String),
    /// A message is to be delivered.
    Message(u64),
    /// An aborted call arrives after all.
    Late(u64),
}

/// What is to come.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    dues: BTreeSet<(Millis, Due)>,
    late: BTreeMap<u64, Start>,
    aborted: u64,
}

impl Timeline {
    pub(super) fn put(&mut self, at: Millis, due: Due) {
        self.dues.insert((at, due));
    }

    pub(super) fn remove(&mut self, at: Millis, due: Due) {
        self.dues.remove(&(at, due));
    }

    /// Keeps an aborted call until it arrives.
    pub(super) fn put_late(&mut self, at: Millis, start: Start) {
        self.aborted += 1;
        self.late.insert(self.aborted, start);
        self.put(at, Due::Late(self.aborted));
    }

    pub(super) fn late(&mut self, number: u64) -> Option<Start> {
        self.late.remove(&number)
    }

    pub(super) fn late_ones(&self) -> usize {
        self.late.len()
    }

    pub(super) fn next(&self) -> Option<Millis> {
        self.dues.first().map(|(at, _)| *at)
    }

    /// The first thing that is due by `now`.
    pub(super) fn take(&mut self, now: Millis) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        self.dues.pop_first().map(|(_, due)| due)
    }
}
