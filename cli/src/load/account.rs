//! What became of each event: as its destination saw it while the load ran, and as the ledger has it afterwards. An event takes a few
//! bytes here, so that a load may run for hours. Pure: who judges gets everything handed.

use std::{collections::HashMap, fmt, time::Duration};

use hdrhistogram::{CreationError, Histogram};
use surehook::{
    digest::Sha256,
    ledger::{Status, record::MOST_HISTORY},
};

use super::plan::number_in;

/// Latencies up to an hour, to three digits; what takes longer counts as an hour.
const LONGEST_LATENCY: Duration = Duration::from_secs(3_600);
const DIGITS: u8 = 3;
/// Events that a verdict lists.
const MOST_LISTED: usize = 10;
/// Events that memory is set aside for at the beginning. A long load takes more as it goes.
const MOST_SET_ASIDE: u64 = 65_536;

/// One event.
#[derive(Debug, Clone)]
struct Event {
    digest: Sha256,
    /// When it was to be published, in microseconds since the load began.
    due: u64,
    /// How often its destination answers 503 first.
    failures: u8,
    /// Messages of it that QStash took, and that it did not take.
    taken: u8,
    refused: u8,
    /// Whether its room was given back to events that are yet to be published.
    has_left: bool,
    requests: u16,
    accepted: u16,
    /// Requests after it had been accepted.
    again: u16,
    /// Requests with another body than was published.
    altered: u16,
}

/// What is to be answered to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Whether there is room for another event on its way.
    pub(super) makes_room: bool,
}

/// All events.
#[derive(Debug)]
pub(super) struct Account {
    events: Vec<Event>,
    /// Requests with a body that nobody published.
    strangers: u64,
    /// Messages that QStash did not take, and what it said to the first of them.
    pub(super) refused: u64,
    first_refusal: String,
    /// Events that were accepted.
    pub(super) arrived: u64,
    /// When the last of them was.
    pub(super) last_arrival: Duration,
    /// How long events were published, and how many had arrived by then.
    pub(super) publishing: Duration,
    pub(super) arrived_meanwhile: u64,
    /// Copies that QStash took.
    pub(super) copies: u64,
    /// From the moment at which an event was to be published until its destination accepted it, in microseconds.
    pub(super) at_once: Histogram<u64>,
    /// The same of events whose destination answered 503 first.
    pub(super) after_failures: Histogram<u64>,
    /// How late events were published.
    pub(super) lateness: Histogram<u64>,
}

/// What the ledger has of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) status: Status,
    pub(super) attempts: u64,
    /// Failed attempts that it remembers.
    pub(super) failed: usize,
}

/// What was found after the load.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Records by the numbers of their events.
    pub(super) records: HashMap<u64, Recorded>,
    /// Records of no event that was published.
    pub(super) strangers: u64,
    /// Records that can't be read.
    pub(super) unreadable: u64,
    /// Entries in QStash's dead-letter queue.
    pub(super) dead: usize,
    /// Messages that QStash has not settled.
    pub(super) waiting: usize,
}

/// What must not happen to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Lost,
    /// Somebody still has it.
    NotDelivered,
    SentAgain(u16),
    Altered(u16),
    NotRecorded,
    NotDone(Status),
    Attempts {
        recorded: u64,
        requests: u16,
        failed: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => formatter.write_str("LOST: QStash took it, and its destination never accepted it"),
            Self::NotDelivered => {
                formatter.write_str("NOT DELIVERED within --patience: QStash or a dead letter still has it")
            }
            Self::SentAgain(times) => {
                write!(formatter, "SENT AGAIN {times} times after its destination had accepted it")
            }
            Self::Altered(times) => write!(formatter, "came {times} times with another body than was published"),
            Self::NotRecorded => formatter.write_str("has no record in the ledger"),
            Self::NotDone(status) => write!(formatter, "is {} in the ledger and not done", status.word()),
            Self::Attempts { recorded, requests, failed } => write!(
                formatter,
                "has {recorded} attempts in the ledger, {failed} of them failed, and {requests} requests came"
            ),
        }
    }
}

/// A sentence, and whether it is as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) held: bool,
    pub(super) sentence: String,
}

/// An event with its faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offender {
    pub(super) number: u64,
    pub(super) faults: Vec<Fault>,
}

/// Whether the guarantee held.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) points: Vec<Point>,
    /// Some of the events that something is wrong with.
    pub(super) offenders: Vec<Offender>,
    pub(super) offending: usize,
}

impl Verdict {
    pub(super) fn held(&self) -> bool {
        self.points.iter().all(|point| point.held)
    }
}

impl Event {
    /// It is on its way no more. Says whether it was until now, so that its room is given back once, however often it is sent.
    fn leave(&mut self) -> bool {
        !std::mem::replace(&mut self.has_left, true)
    }

    /// Whether nobody knows what QStash said to it: whoever published it ended without a word.
    fn is_unanswered(&self) -> bool {
        self.taken == 0 && self.refused == 0
    }
}

impl Account {
    pub(super) fn new(expected: u64) -> Result<Self, CreationError> {
        let latencies = || Histogram::new_with_bounds(1, micros(LONGEST_LATENCY), DIGITS);
        Ok(Self {
            events: Vec::with_capacity(usize::try_from(expected.min(MOST_SET_ASIDE)).unwrap_or_default()),
            strangers: 0,
            refused: 0,
            first_refusal: String::new(),
            arrived: 0,
            last_arrival: Duration::ZERO,
            publishing: Duration::ZERO,
            arrived_meanwhile: 0,
            copies: 0,
            at_once: latencies()?,
            after_failures: latencies()?,
            lateness: latencies()?,
        })
    }

    /// Events so far, whether or not QStash took them.
    pub(super) fn published(&self) -> u64 {
        self.events.len() as u64
    }

    /// Notes down the next event before it is published: its destination may see it before its sender has an answer. It gets the digest and
    /// not the body, because hashing takes long, and the destination waits for whoever holds the account.
    pub(super) fn publish(&mut self, digest: Sha256, due: Duration, failures: u8) {
        let (taken, refused, has_left) = (0, 0, false);
        let (requests, accepted, again, altered) = (0, 0, 0, 0);
        let due = micros(due);
        self.events.push(Event { digest, due, failures, taken, refused, has_left, requests, accepted, again, altered });
    }

    /// No more events are published.
    pub(super) fn close(&mut self, now: Duration) {
        (self.publishing, self.arrived_meanwhile) = (now, self.arrived);
    }

    /// QStash took a message of this event.
    pub(super) fn take(&mut self, number: u64) {
        if let Some(event) = self.event(number) {
            event.taken = event.taken.saturating_add(1);
            let is_copy = event.taken > 1;
            self.copies += u64::from(is_copy);
        }
    }

    /// QStash did not take a message, or nobody knows whether it did. Says whether that makes room for another event: an event that QStash
    /// has not taken may never arrive, and nobody waits for it; one whose copy was refused still arrives, and makes room then.
    pub(super) fn refuse(&mut self, number: u64, why: String) -> bool {
        self.fail(why);
        self.event(number).is_some_and(|event| {
            event.refused = event.refused.saturating_add(1);
            event.taken == 0 && event.leave()
        })
    }

    /// A call to QStash failed, of whatever event.
    pub(super) fn fail(&mut self, why: String) {
        if self.refused == 0 {
            self.first_refusal = why;
        }
        self.refused += 1;
    }

    /// A request has come to the destination.
    pub(super) fn receive(&mut self, body: &[u8], digest: &str, now: Duration) -> Answer {
        let Some(event) = number_in(body).and_then(|number| self.event(number)) else {
            self.strangers += 1;
            return Answer { status: 400, makes_room: false };
        };
        event.requests = event.requests.saturating_add(1);
        event.again = event.again.saturating_add(u16::from(event.accepted > 0));
        event.altered = event.altered.saturating_add(u16::from(event.digest.hex() != digest));
        if event.requests <= u16::from(event.failures) {
            return Answer { status: 503, makes_room: false };
        }
        event.accepted = event.accepted.saturating_add(1);
        let makes_room = event.leave();
        if event.accepted == 1 {
            let (due, has_failed) = (event.due, event.failures > 0);
            self.arrive(due, has_failed, now);
        }
        Answer { status: 200, makes_room }
    }

    fn arrive(&mut self, due: u64, has_failed: bool, now: Duration) {
        self.arrived += 1;
        self.last_arrival = now;
        let latencies = if has_failed { &mut self.after_failures } else { &mut self.at_once };
        latencies.saturating_record(micros(now).saturating_sub(due).max(1));
    }

    fn event(&mut self, number: u64) -> Option<&mut Event> {
        self.events.get_mut(usize::try_from(number).ok()?)
    }

    /// Compares what was published with what arrived and with the ledger. An event that QStash did not take for sure may have arrived or
    /// not: nothing is promised of it.
    pub(super) fn judge(&self, found: &Found) -> Verdict {
        let numbered = (0_u64..).zip(&self.events).filter(|(_, event)| event.taken > 0);
        let is_kept = found.waiting + found.dead > 0;
        let judged =
            numbered.map(|(number, event)| (number, event, faults(event, found.records.get(&number), is_kept)));
        let (mut all, mut tally, mut offending, mut offenders) = (0, Tally::default(), 0, Vec::new());
        for (number, event, faults) in judged {
            all += 1;
            tally.count(event, &faults);
            offending += usize::from(!faults.is_empty());
            if !faults.is_empty() && offenders.len() < MOST_LISTED {
                offenders.push(Offender { number, faults });
            }
        }
        Verdict { points: self.points(all, &tally, found), offenders, offending }
    }

    fn points(&self, all: u64, tally: &Tally, found: &Found) -> Vec<Point> {
        let point = |held: bool, sentence: String| Point { held, sentence };
        let Tally { once, again, done, as_seen } = *tally;
        let (records, strangers, unreadable) = (found.records.len() as u64, found.strangers, found.unreadable);
        let unsure = self.published() - all;
        let unanswered = self.events.iter().filter(|event| event.is_unanswered()).count();
        let told = if self.refused == 0 { String::new() } else { format!(": {}", self.first_refusal) };
        vec![
            point(
                all > 0 && once == all,
                format!("{once} of {all} events were accepted exactly once, bytes unchanged"),
            ),
            point(again == 0, format!("{again} events were sent again after they had succeeded")),
            point(done == all, format!("{done} of {all} events are done in the ledger")),
            point(as_seen == all, format!("{as_seen} of {all} records account for every attempt and request")),
            point(
                records >= all && records <= all + unsure && strangers + unreadable == 0,
                format!(
                    "{} records for {all} events, {unreadable} of them unreadable",
                    records + strangers + unreadable
                ),
            ),
            point(
                found.dead + found.waiting == 0,
                format!("{} entries in the dead-letter queue, {} messages wait", found.dead, found.waiting),
            ),
            point(self.strangers == 0, format!("{} requests had a body that nobody published", self.strangers)),
            point(self.refused == 0, format!("{} messages were not taken by QStash{told}", self.refused)),
            point(unanswered == 0, format!("{unanswered} events were published without an answer of QStash")),
        ]
    }
}

/// Events that are as they must be.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    once: u64,
    again: u64,
    done: u64,
    as_seen: u64,
}

impl Tally {
    fn count(&mut self, event: &Event, faults: &[Fault]) {
        let has = |is: fn(&Fault) -> bool| faults.iter().any(is);
        let is_absent = has(|fault| *fault == Fault::NotRecorded);
        self.once += u64::from(event.accepted == 1 && event.altered == 0);
        self.again += u64::from(event.again > 0);
        self.done += u64::from(!is_absent && !has(|fault| matches!(fault, Fault::NotDone(_))));
        self.as_seen += u64::from(!is_absent && !has(|fault| matches!(fault, Fault::Attempts { .. })));
    }
}

/// `is_kept` says whether QStash still has any event.
fn faults(event: &Event, recorded: Option<&Recorded>, is_kept: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    faults.extend((event.accepted == 0).then(|| not_accepted(recorded, is_kept)));
    faults.extend((event.again > 0).then_some(Fault::SentAgain(event.again)));
    faults.extend((event.altered > 0).then_some(Fault::Altered(event.altered)));
    let Some(recorded) = recorded else {
        faults.push(Fault::NotRecorded);
        return faults;
    };
    let Recorded { status, attempts, failed } = *recorded;
    faults.extend((status != Status::Done).then_some(Fault::NotDone(status)));
    let is_off = is_attempt_missing(event.requests, recorded);
    faults.extend(is_off.then_some(Fault::Attempts { recorded: attempts, requests: event.requests, failed }));
    faults
}

/// What was never accepted is lost where nobody has it any more, and above all where the ledger believes that it is done.
fn not_accepted(recorded: Option<&Recorded>, is_kept: bool) -> Fault {
    match recorded.map(|recorded| recorded.status) {
        Some(Status::Dead) => Fault::NotDelivered,
        None | Some(Status::Running | Status::Retryable) if is_kept => Fault::NotDelivered,
        _ => Fault::Lost,
    }
}

/// Each request belongs to an attempt, and of the attempts of what is done all but the last failed: a worker that ended without a word would
/// leave one that neither failed nor succeeded. There may be more attempts than requests, because a destination that keeps failing is
/// left alone.
fn is_attempt_missing(requests: u16, recorded: &Recorded) -> bool {
    let Recorded { status, attempts, failed } = *recorded;
    let ended = failed as u64 + u64::from(matches!(status, Status::Done | Status::Running));
    let is_forgotten = failed == MOST_HISTORY;
    attempts < u64::from(requests) || (attempts != ended && !is_forgotten)
}

/// Microseconds, as histograms count.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
