//! What is counted, and where one invocation collects its counts.

use std::sync::{Mutex, PoisonError};

/// The metrics of the namespace `Surehook`. `docs/operations.md` says what to do about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Handled and committed.
    Delivered,
    /// Handled before.
    Duplicate,
    /// No route.
    Ignored,
    /// An attempt failed.
    Failed,
    /// Delivered again later.
    Requeued,
    /// Given up.
    DeadLettered,
    /// No route took it, and it is kept as a dead letter for a while.
    Unmatched,
    /// Waits longer than every retry can take.
    Stranded,
    /// A worker found that its event is another's.
    LeaseLost,
    /// The effect happened, or a part of it, but that could not be written.
    Unconfirmed,
    /// A destination kept failing, and is left alone for a while.
    CircuitOpened,
    /// Not signed by QStash for us, or posted to the producer by somebody who is not who he says.
    SignatureRefused,
    /// Turned away before anybody asked who sent it, because it can't be taken as it is.
    Rejected,
    /// QStash signed with the next key: the keys were rotated.
    NextKeyUsed,
    /// The signing keys were read anew, and one that was not known made the signature.
    KeysChanged,
    /// Sources of which at least half of the plausible requests were rejected in the last hour.
    SourceRejecting,
    /// Sources that were silent for longer than their `silence`.
    SourceSilent,
    /// An event found no routes, no source, or no secret for its sender; topics without endpoints.
    Unconfigured,
    /// Entries of QStash's dead-letter queue that our own consumer answered with 401, 403 or 404.
    Misconfigured,
    /// How long ago the event that waits longest was first seen, in seconds.
    OldestWaiting,
    /// Events wait for a cause that no sweep of the last hour reported.
    NewFault,
    /// How long ago the oldest entry of ours that a sweep left in QStash's dead-letter queue was published, in seconds.
    DlqOldest,
    /// The producer made an event durable.
    Accepted,
    /// The event could not be published, and went to the outbox.
    Outboxed,
    /// QStash rejected an event for good, so that its sender got a 4xx.
    RejectedByQStash,
    /// Something that a sweep could not do.
    SweepFailed,
    /// Events in the outbox that a sweep left there.
    OutboxWaiting,
    /// How long the oldest of them has waited, in seconds.
    OutboxAge,
    /// Attempts that a delivered event took.
    Attempts,
    /// First seen to done, in milliseconds.
    DeliveryLatency,
    /// Time in the handler, in milliseconds.
    HandlerDuration,
}

impl Metric {
    /// Its name in CloudWatch.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Its unit in CloudWatch. Counts have none: it would only make each line longer.
    pub(super) fn unit(self) -> Option<&'static str> {
        match self {
            Self::DeliveryLatency | Self::HandlerDuration => Some("Milliseconds"),
            Self::OutboxAge | Self::OldestWaiting | Self::DlqOldest => Some("Seconds"),
            _ => None,
        }
    }
}

/// What one invocation has counted so far; it is written with the invocation's line.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Vec<(Metric, u64)>>);

impl Tally {
    /// Adds to a count, or notes a value.
    pub fn add(&self, metric: Metric, value: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.iter_mut().find(|(known, _)| *known == metric) {
            Some((_, sum)) => *sum += value,
            None => counts.push((metric, value)),
        }
    }

    /// The counts, in the order in which they came.
    pub fn counts(&self) -> Vec<(Metric, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
