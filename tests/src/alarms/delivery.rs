//! What QStash, the consumer and the requeuer do about one event.

use surehook::{
    Millis,
    qstash::duration::backoff,
    retry::{Decision, RETRIES_PER_ROUND, RetryPolicy, Round, classify, millis},
    telemetry::Metric,
};

use super::{data::Function, stack::Stack};

/// The consumer's answer to an event that it handled.
const DONE: u16 = 200;
/// The consumer's answer to an event that was rejected for good. QStash does not retry it.
const REJECTED: u16 = 489;
/// How long a handler works at most.
const HANDLER_TIMEOUT: Millis = 8_000;

/// What is wrong at the consumer, or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// The consumer has other signing keys than QStash.
    SigningKeys,
    /// No routes are applied.
    NoRoutes,
    /// The destination answers 503.
    Unavailable,
    /// The destination does not answer in time.
    TimeOut,
    /// The destination answers 401.
    Unauthorized,
    /// Lambda turns requests to the consumer away.
    Throttled,
}

/// An event on its way.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// What is wrong.
    pub trouble: Trouble,
    /// Until when.
    pub heals: Millis,
    /// Why the event waits, as its record's last error says.
    pub cause: &'static str,
    /// Whether failure callbacks reach a requeuer that accepts them.
    pub has_requeuer: bool,
    /// Its place in the index of those that wait, once it has a record.
    pub record: Option<usize>,
}

/// A record in the index of events that wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) first_seen: Millis,
    pub(super) closed: Millis,
    pub(super) cause: &'static str,
}

/// An entry of QStash's dead-letter queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) at: Millis,
    event: Event,
    status: u16,
    round: Round,
}

impl Event {
    /// Returns an event whose delivery succeeds.
    pub fn healthy() -> Self {
        Self::troubled(Trouble::None)
    }

    /// Returns an event that fails again and again.
    pub fn troubled(trouble: Trouble) -> Self {
        Self { trouble, heals: Millis::MAX, cause: "shop", has_requeuer: true, record: None }
    }
}

impl Entry {
    /// Returns whether our own consumer answered as to a stranger, as `FailurePath::is_misconfigured` does.
    pub(super) fn is_misconfigured(&self) -> bool {
        matches!(self.status, 401 | 403 | 404)
    }
}

impl Stack {
    /// Has QStash deliver an event that was published at a time.
    pub fn deliver(&mut self, event: Event, at: Millis) {
        self.round(event, at, None);
    }

    /// One round: an attempt, and QStash's retries after its waits. `round` is what the callback's URL carries.
    fn round(&mut self, mut event: Event, begin: Millis, round: Option<Round>) {
        let mut at = begin + self.latency();
        for retry in 1.. {
            match self.attempt(&mut event, at) {
                DONE => return self.close(&event, at),
                status if status == REJECTED || retry > RETRIES_PER_ROUND => {
                    return self.give_up(event, status, at, round);
                }
                _ => at += millis(backoff(retry)) + self.latency(),
            }
        }
    }

    /// One attempt; returns the status that QStash sees. Only a consumer that accepts QStash's signature makes a record.
    fn attempt(&mut self, event: &mut Event, at: Millis) -> u16 {
        let trouble = if at < event.heals { event.trouble } else { Trouble::None };
        let (end, counts, status): (_, &[(Metric, u64)], _) = match trouble {
            Trouble::Throttled => {
                self.throttle(Function::Consumer, at);
                return 429;
            }
            Trouble::SigningKeys => {
                self.invoke(Function::Consumer, at, &[(Metric::SignatureRefused, 1)]);
                return 401;
            }
            Trouble::None => (at, &[(Metric::Delivered, 1)], DONE),
            Trouble::NoRoutes => (at, &[(Metric::Failed, 1), (Metric::Unconfigured, 1)], 503),
            Trouble::Unavailable => (at, &[(Metric::Failed, 1)], 503),
            Trouble::TimeOut => (at + HANDLER_TIMEOUT, &[(Metric::Failed, 1)], 503),
            Trouble::Unauthorized => (at, &[(Metric::Failed, 1)], REJECTED),
        };
        self.claim(event, at);
        self.invoke(Function::Consumer, end, counts);
        status
    }

    fn claim(&mut self, event: &mut Event, at: Millis) {
        if event.record.is_none() {
            event.record = Some(self.open.len());
            self.open.push(Open { first_seen: at, closed: Millis::MAX, cause: event.cause });
        }
    }

    fn close(&mut self, event: &Event, at: Millis) {
        if let Some(record) = event.record {
            self.open[record].closed = at;
        }
    }

    /// QStash moves a message to its dead-letter queue and calls the requeuer. Without one the sweep finds the entry.
    fn give_up(&mut self, event: Event, status: u16, at: Millis, round: Option<Round>) {
        let at = at + self.latency();
        let round = round.unwrap_or(Round { number: 0, since: at });
        let entry = Entry { at, event, status, round };
        if !event.has_requeuer {
            return self.entries.push(entry);
        }
        let called = at + self.latency();
        let mut counts = vec![(self.resolve(entry, called), 1)];
        counts.extend(entry.is_misconfigured().then_some((Metric::Misconfigured, 1)));
        self.invoke(Function::Requeuer, called, &counts);
    }

    /// Resolves an entry as `FailurePath::settle` does; returns the metric that counts it.
    pub(super) fn resolve(&mut self, entry: Entry, at: Millis) -> Metric {
        let draw = self.random.share();
        match RetryPolicy::default().decide(entry.round, classify(entry.status, true), None, at, draw) {
            Decision::Again(wait) => {
                let next = Round { number: entry.round.number + 1, ..entry.round };
                if at + millis(wait) < self.end {
                    self.round(entry.event, at + millis(wait), Some(next));
                }
                Metric::Requeued
            }
            Decision::Bury(_) => {
                self.close(&entry.event, at);
                Metric::DeadLettered
            }
        }
    }

    /// What QStash takes to call a function.
    fn latency(&mut self) -> Millis {
        self.random.within(100..2_000)
    }
}
