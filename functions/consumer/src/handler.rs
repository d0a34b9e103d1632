//! What a user's own work looks like to the consumer.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use surehook::{
    Millis,
    identity::EventKey,
    ledger::FailedDelivery,
    store::{ConditionFailed, Writes, dynamodb::types::TransactWriteItem},
    web::Moment,
};
use tokio::time::Instant;

/// A verified event that this worker alone may handle now.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its key: the same for every delivery of it.
    pub key: EventKey,
    /// Where it came from.
    pub source: String,
    /// What happened, where the source says so.
    pub event_type: Option<String>,
    /// The headers of this delivery, which no signature covers.
    pub headers: HeaderMap,
    /// The body, byte for byte as it was published.
    pub body: Bytes,
}

/// One try at an event.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Counts from 1.
    pub number: u64,
    /// How often QStash has retried the message in this round; it waits longer each time. No signature covers it.
    pub retried: u32,
    /// Grows with every change of hands: give it to systems that can refuse an older one.
    pub fence: u64,
    /// Destinations that accepted the event before.
    pub delivered: Vec<String>,
    /// Destinations that refused it for good.
    pub refused: Vec<String>,
    /// What was said when it failed last; empty if it never did.
    pub last_error: String,
    /// The wall clock when the attempt began, which is when its request came.
    pub now: Millis,
    /// The same moment by the clock of `deadline`.
    pub started: Instant,
    /// When the work is cut off.
    pub deadline: Instant,
}

impl Attempt {
    /// Returns the beginning and the end of the attempt as a moment.
    pub fn moment(&self) -> Moment {
        Moment { now: self.now, started: self.started, deadline: Some(self.deadline) }
    }
}

/// What a handler did, and what it wants written together with `done`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Ids of the destinations that accepted the event, now or before.
    pub delivered: Vec<String>,
    /// Ids of those that refused it for good.
    pub refused: Vec<String>,
    /// The deliveries of this attempt that failed, for an operator who asks why.
    pub failed: Vec<FailedDelivery>,
    /// Whether nobody wanted the event.
    pub ignored: bool,
    /// DynamoDB writes that stand exactly if the event is done. Those of a failed attempt are not written.
    pub writes: Writes,
}

impl Effects {
    /// Writes to commit together with `done`: all of it or none, once, whatever crashes. At most 99 writes and 4 MB, none on
    /// keys of the ledger; what breaks these limits is a permanent failure of the event.
    pub fn writing(writes: Vec<TransactWriteItem>) -> Self {
        Self { writes: writes.into(), ..Self::default() }
    }

    /// What earlier attempts reached.
    pub(crate) fn so_far(delivered: &[String], refused: &[String]) -> Self {
        Self { delivered: delivered.to_vec(), refused: refused.to_vec(), ..Self::default() }
    }

    /// Adds the destinations that others reached.
    fn join(&mut self, others: &Self) {
        for (ids, more) in [(&mut self.delivered, &others.delivered), (&mut self.refused, &others.refused)] {
            let new: Vec<String> = more.iter().filter(|id| !ids.contains(id)).cloned().collect();
            ids.extend(new);
        }
    }
}

/// Why a handler did not finish. Each keeps what it did reach, so that the next attempt does not repeat it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HandlerError {
    /// The same event will fail again: it becomes a dead letter.
    #[error("permanent failure: {reason}")]
    Permanent {
        /// What was said.
        reason: String,
        /// What was reached.
        effects: Effects,
    },
    /// It may succeed later.
    #[error("transient failure: {reason}")]
    Transient {
        /// What was said.
        reason: String,
        /// When to come again, where somebody said so.
        retry_after: Option<Duration>,
        /// What was reached.
        effects: Effects,
    },
    /// No route takes the event, and its source keeps such events: it becomes a dead letter that expires.
    #[error("no route takes the event")]
    Unmatched,
    /// The handler lacks its configuration; the event waits until it is there.
    #[error("the handler is not configured")]
    Unconfigured,
}

impl HandlerError {
    /// A transient failure that reached nothing new.
    pub fn transient(reason: &str, attempt: &Attempt) -> Self {
        let effects = Effects::so_far(&attempt.delivered, &attempt.refused);
        Self::Transient { reason: reason.to_owned(), retry_after: None, effects }
    }

    /// A permanent failure that reached nothing new.
    pub fn permanent(reason: &str, attempt: &Attempt) -> Self {
        Self::Permanent { reason: reason.to_owned(), effects: Effects::so_far(&attempt.delivered, &attempt.refused) }
    }

    /// A panic is a defect of the handler, not a verdict on the event.
    pub(crate) fn panicked(attempt: &Attempt) -> Self {
        Self::transient("the handler panicked", attempt)
    }

    /// The same failure, of an attempt that reached these destinations before it failed.
    pub(crate) fn having_reached(mut self, reached: &Effects) -> Self {
        if let Self::Permanent { effects, .. } | Self::Transient { effects, .. } = &mut self {
            effects.join(reached);
        }
        self
    }
}

/// Whether no route took an event.
pub(crate) fn is_unmatched(result: &Result<Effects, HandlerError>) -> bool {
    match result {
        Ok(effects) => effects.ignored && effects.delivered.is_empty(),
        Err(error) => *error == HandlerError::Unmatched,
    }
}

/// The work. Write `async fn handle` in an `impl` of your own and give it to [`crate::run_with`];
/// `examples/order_counter.rs` is a whole consumer. The function has one thread: what blocks, or computes for long, belongs into
/// `tokio::task::spawn_blocking`, or no deadline is kept meanwhile.
pub trait Handler: Send + Sync + 'static {
    /// Handles one event. It may be called again for the same event only if it fails, panics, runs out of time, its process
    /// dies, or what it reached could not be written: [`Effects::writes`] stand once all the same, other effects need the
    /// event's key to be told from a repetition.
    fn handle(&self, event: &Event, attempt: &Attempt) -> impl Future<Output = Result<Effects, HandlerError>> + Send;

    /// What it means that a condition of the handler's own writes failed: nothing was written, and the attempt ends as said
    /// here. By default it is tried again, as suits a version that somebody else moved on. Destinations that the attempt
    /// reached are remembered whatever is said here.
    fn condition_failed(&self, failed: &ConditionFailed, attempt: &Attempt) -> HandlerError {
        HandlerError::transient(&format!("the condition of write {} failed", failed.write), attempt)
    }
}
