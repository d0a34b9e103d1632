//! A stack in virtual time. It writes the data points that the functions and Lambda would write, at the times of their invocations.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Duration,
};

use surehook::{Millis, store::rejected::SenderCounts, telemetry::Metric, web::Moment};
use surehook_dlq_processor::{
    faults::{FAULT_AFTER, note_causes},
    reply::Sweep,
};
use surehook_producer::senders::Sender;
use tokio::time::Instant;

use super::{
    HOUR, MINUTE,
    data::{Data, Function, LambdaMetric, Recorder, Series},
    delivery::{Entry, Open},
    random::Random,
    senders::{CONFIGURED, Producer, Request, Verdict},
};

/// How long a data point may take until CloudWatch shows it.
const MAX_DELAY: Millis = 2 * MINUTE;

/// A stack.
#[derive(Debug)]
pub struct Stack {
    /// The run's randomness.
    pub random: Random,
    /// When the run ends.
    pub end: Millis,
    /// The producer's configuration.
    pub producer: &'static Producer,
    /// Whether Lambda turns requests to the producer away.
    pub is_producer_throttled: bool,
    /// Whether QStash rejects the stack's token.
    pub is_token_rejected: bool,
    /// Whether the topic has no endpoints at QStash.
    pub is_topic_gone: bool,
    /// The events that wait, as the table's index `open` has them.
    pub(super) open: Vec<Open>,
    /// Entries of QStash's dead-letter queue that no callback resolved.
    pub(super) entries: Vec<Entry>,
    recorder: Recorder,
    environments: Vec<Environment>,
    /// How long Lambda keeps an environment that is idle.
    idle_for: Millis,
    /// The items of `config#rejected`, by environment.
    rejected: BTreeMap<u64, (Millis, SenderCounts)>,
    /// When the rows of the outbox were stored, held ones included.
    outbox: Vec<Millis>,
    /// The item `causes` of the sweep: when each cause was seen last.
    reported: BTreeMap<String, Millis>,
}

/// An environment of the producer.
#[derive(Debug, Default)]
struct Environment {
    id: u64,
    sender: Sender,
    /// When it reported last that something is not configured.
    reported: Option<Millis>,
    used: Millis,
}

/// The monotonic time that stands for the epoch.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Stack {
    /// Creates a stack that runs until `end`.
    pub fn new(mut random: Random, end: Millis) -> Self {
        let environments = (0..=random.below(4)).map(|_| Environment::default()).collect();
        let idle_for = random.within(5 * MINUTE..45 * MINUTE);
        Self {
            random,
            end,
            producer: &CONFIGURED,
            is_producer_throttled: false,
            is_token_rejected: false,
            is_topic_gone: false,
            open: Vec::new(),
            entries: Vec::new(),
            recorder: Recorder::default(),
            environments,
            idle_for,
            rejected: BTreeMap::new(),
            outbox: Vec::new(),
            reported: BTreeMap::new(),
        }
    }

    /// Returns all data points.
    pub fn into_data(self) -> Data {
        self.recorder.into()
    }

    /// Writes what an invocation counts in its line, and what Lambda writes about it.
    pub fn invoke(&mut self, function: Function, at: Millis, counts: &[(Metric, u64)]) {
        for (metric, value) in counts {
            self.record(Series::Own(*metric, function), at, *value);
        }
        self.record(Series::Lambda(LambdaMetric::Errors, function), at, 0);
        self.record(Series::Lambda(LambdaMetric::Throttles, function), at, 0);
    }

    /// Writes that Lambda turned a request away.
    pub fn throttle(&mut self, function: Function, at: Millis) {
        self.record(Series::Lambda(LambdaMetric::Throttles, function), at, 1);
    }

    fn record(&mut self, series: Series, at: Millis, value: u64) {
        let delay = self.random.within(0..MAX_DELAY);
        self.recorder.record(series, at, delay, value);
    }

    /// Sends a request to the producer; returns whether its event is at QStash. The table of `durable.rs` and the match in
    /// `Producer::admit` say what each outcome writes.
    pub fn post(&mut self, request: &Request, at: Millis) -> bool {
        if self.is_producer_throttled {
            self.throttle(Function::Producer, at);
            return false;
        }
        let verdict = self.producer.judge(request, at);
        self.count_sender(verdict, at);
        let stored = [(Metric::Accepted, 1), (Metric::Outboxed, 1)];
        let counts = match verdict {
            Verdict::Accepted if self.is_token_rejected || self.is_topic_gone => {
                self.outbox.push(at);
                &stored[..]
            }
            Verdict::Accepted => &stored[..1],
            Verdict::SecretMissing => &[(Metric::Rejected, 1)],
            Verdict::UnknownTopic => &[(Metric::Failed, 1)],
            Verdict::Sender | Verdict::Stranger => &[(Metric::SignatureRefused, 1)],
        };
        self.invoke(Function::Producer, at, counts);
        verdict == Verdict::Accepted && !self.is_token_rejected && !self.is_topic_gone
    }

    /// Does what `Senders` of the producer does: counts by environment, writes the counts of a source that rejects, and reports what is not
    /// configured, each at most once a minute.
    fn count_sender(&mut self, verdict: Verdict, at: Millis) {
        let fresh = self.random.bits();
        let environment = self.random.below(self.environments.len());
        let environment = &mut self.environments[environment];
        if at - environment.used > self.idle_for {
            *environment = Environment { id: fresh, ..Environment::default() };
        }
        environment.used = at;
        match verdict {
            Verdict::Accepted => environment.sender.count(at).accepted += 1,
            Verdict::Sender => environment.sender.count(at).rejected += 1,
            Verdict::SecretMissing | Verdict::UnknownTopic if is_due(&mut environment.reported, at) => {
                return self.record(Series::Own(Metric::Unconfigured, Function::Producer), at, 1);
            }
            _ => return,
        }
        if let Some(counts) = environment.sender.due(moment(at)) {
            self.rejected.insert(environment.id, (at, counts));
        }
    }

    /// Runs a sweep. It writes what the real report counts.
    pub fn sweep(&mut self, at: Millis) {
        let end = at + self.random.within(500..20_000);
        let mut report = Sweep { rejecting_sources: self.rejecting(at), ..Sweep::default() };
        self.sweep_outbox(at, &mut report);
        self.sweep_queue(at, &mut report);
        self.sweep_waiting(at, &mut report);
        self.invoke(Function::DlqProcessor, end, &report.counts());
    }

    /// Returns how many sources are rejecting, as `report_rejecting` does. All requests of a run have one source.
    fn rejecting(&self, now: Millis) -> u64 {
        let mut sum = SenderCounts::default();
        for (_, counts) in self.rejected.values().filter(|(at, _)| *at > now - HOUR) {
            sum.accepted += counts.accepted;
            sum.rejected += counts.rejected;
        }
        u64::from(sum.is_rejecting())
    }

    /// Leaves the rows that QStash does not take, as `publish_outbox` does. A topic without endpoints counts by itself.
    fn sweep_outbox(&mut self, now: Millis, report: &mut Sweep) {
        let Some(oldest) = self.outbox.iter().min() else { return };
        report.outbox_left = self.outbox.len() as u64;
        report.outbox_age = seconds(now - oldest);
        report.held_topics = u64::from(self.is_topic_gone);
    }

    /// Resolves the entries that no callback resolved, as `sweep_entries` does. With a wrong token QStash shows no page.
    fn sweep_queue(&mut self, now: Millis, report: &mut Sweep) {
        if self.is_token_rejected {
            report.failed += 1;
            return;
        }
        for entry in self.entries.extract_if(.., |entry| entry.at <= now).collect::<Vec<_>>() {
            report.entries += 1;
            report.misconfigured += u64::from(entry.is_misconfigured());
            match self.resolve(entry, now) {
                Metric::Requeued => report.requeued += 1,
                _ => report.buried += 1,
            }
        }
    }

    /// Measures what waits, as `report_waiting` and `report_causes` do.
    fn sweep_waiting(&mut self, now: Millis, report: &mut Sweep) {
        let waiting: Vec<&Open> =
            self.open.iter().filter(|event| (event.first_seen..event.closed).contains(&now)).collect();
        report.oldest_waiting = waiting.iter().map(|event| seconds(now - event.first_seen)).max().unwrap_or_default();
        let is_fault = |event: &&&Open| event.first_seen < now - FAULT_AFTER;
        let causes: BTreeSet<String> = waiting.iter().filter(is_fault).map(|event| event.cause.to_owned()).collect();
        report.new_faults = note_causes(&mut self.reported, causes.iter(), now).0.len() as u64;
    }
}

/// A moment of virtual time.
fn moment(now: Millis) -> Moment {
    Moment { now, started: *EPOCH + Duration::from_millis(u64::try_from(now).unwrap()), deadline: None }
}

/// Returns whether the last time is at least a minute ago, and notes the present if so.
fn is_due(last: &mut Option<Millis>, now: Millis) -> bool {
    let is_due = last.is_none_or(|last| now - last >= MINUTE);
    if is_due {
        *last = Some(now);
    }
    is_due
}

fn seconds(span: Millis) -> u64 {
    u64::try_from(span / 1_000).unwrap()
}
