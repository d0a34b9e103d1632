//! The sweep: takes over what no callback brought, publishes the outbox, finishes replays, and finds abandoned events.
//!
//! One run works at a time, for up to 14 minutes while work is left. A lease in the table says which.

use std::{pin::pin, time::Duration};

use surehook::{Millis, retry::millis, store::sweep_lease::SweepLease, telemetry::Metric, web::Moment};
use tokio::time::{Instant, sleep};

use crate::{
    Processor, ProcessorError,
    entries::{AT_ONCE, Turn},
    replay::{ReplayPace, Replays},
    reply::Sweep,
};

/// Replays that one sweep finishes.
const MAX_REPLAYS: usize = 20_000;
/// What a report names of all that was left alone.
const MAX_NAMED: usize = 50;
/// The longest a sweep works; Lambda's limit, where it is shorter, wins.
const MAX_WORK: Duration = Duration::from_secs(14 * 60);
/// How long a lease lasts, and so how long a run that died blocks the next.
const TERM: Duration = Duration::from_secs(90);
/// How often a run renews its lease.
const RENEWAL: Duration = Duration::from_secs(20);

impl Processor {
    /// Sweeps once, unless another run is at work; then it measures what waits and returns. What one sweep leaves, the next takes.
    pub async fn sweep(&self, moment: Moment, draw: f64) -> Result<Sweep, ProcessorError> {
        let mut report = Sweep::default();
        report.check("the stack's policy", self.state_policy(moment).await);
        let owner = format!("{:x}-{:x}", moment.now, draw.to_bits());
        match self.path.store.claim_sweep(&owner, moment.now, moment.now + millis(TERM)).await {
            Ok(Some(lease)) => self.sweep_with(&lease, moment, draw, &mut report).await,
            Ok(None) => self.measure(moment, &mut report).await,
            Err(error) => report.fail(format!("the lease of the sweep: {error}")),
        }
        Ok(report)
    }

    /// Works while the lease is held. A run that lost it stops where it is, which every step allows.
    async fn sweep_with(&self, lease: &SweepLease, moment: Moment, draw: f64, report: &mut Sweep) {
        let paced = self.paced();
        self.report_faults(moment, report).await;
        let is_lost = {
            let mut work = pin!(paced.work(moment, draw, report));
            tokio::select! {
                biased;
                () = &mut work => false,
                () = self.keep_lease(lease, moment) => true,
            }
        };
        if is_lost {
            report.cut_short = true;
            report.leave("another run took the lease of the sweep".to_owned());
        } else if let Err(error) = self.path.store.renew_sweep(lease, 0).await {
            tracing::warn!(error = %error, "the lease of the sweep could not be released; it ends by itself");
        }
    }

    /// Renews the lease again and again, and ends when another run has it.
    async fn keep_lease(&self, lease: &SweepLease, moment: Moment) {
        loop {
            sleep(RENEWAL).await;
            match self.path.store.renew_sweep(lease, moment.at_present() + millis(TERM)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(error = %error, "the lease of the sweep could not be renewed now"),
            }
        }
    }

    /// Returns the same processor, whose calls to QStash wait where the burst limit is hit.
    fn paced(&self) -> Self {
        let mut paced = self.clone();
        paced.path.qstash = self.path.qstash.paced(AT_ONCE);
        paced
    }

    /// Does all steps. No step's failure keeps the others from their work, and none may use up the time of those after it: the queue of
    /// QStash may be longer than one sweep. The rest of the outbox has the time that the queue did not need.
    async fn work(&self, moment: Moment, draw: f64, report: &mut Sweep) {
        let deadline = moment.give_up_at(MAX_WORK * 7 / 8);
        self.publish_outbox(moment, moment.give_up_at(MAX_WORK / 3), report).await;
        let replays = self.finish_replays(moment, moment.give_up_at(MAX_WORK / 2), report).await;
        report.check("unfinished replays", replays);
        let entries = self.sweep_queues(moment, deadline, draw, report).await;
        report.check("QStash's dead-letter queue", entries);
        if report.outbox_cut_short && Instant::now() < deadline {
            report.outbox_cut_short = false;
            self.publish_outbox(moment, deadline, report).await;
        }
        report.cut_short |= report.outbox_cut_short;
        let abandoned = self.raise_stranded(moment, moment.give_up_at(MAX_WORK), report).await;
        report.check("abandoned events", abandoned);
        let waiting = self.report_waiting(moment.at_present(), report).await;
        report.check("waiting events", waiting);
    }

    /// Goes through the dead-letter queue of each region. A region leaves the next one its share of the time.
    async fn sweep_queues(
        &self,
        moment: Moment,
        deadline: Instant,
        draw: f64,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        let routes = self.routes.latest(moment).await?;
        let regions: Vec<_> = self.path.qstash.each().collect();
        for (number, region) in regions.iter().copied().enumerate() {
            let regions_left = u32::try_from(regions.len() - number).unwrap_or(1);
            let now = Instant::now();
            let deadline = now + deadline.saturating_duration_since(now) / regions_left;
            let swept = self.sweep_entries(Turn { region, routes: &routes, moment, deadline, draw }, report).await;
            report.check(&format!("QStash's dead-letter queue{}", region.suffix()), swept);
        }
        Ok(())
    }

    /// Measures what waits while another run works, because alarms must see it at every start.
    async fn measure(&self, moment: Moment, report: &mut Sweep) {
        report.is_another_at_work = true;
        self.report_faults(moment, report).await;
        report.leave("another run of the sweep is at work; this one only measured what waits".to_owned());
        self.measure_outbox(moment, report).await;
        let waiting = self.report_waiting(moment.at_present(), report).await;
        report.check("waiting events", waiting);
    }

    /// Reports the faults that the sweep can't resolve. It comes first, because a long sweep must not delay an alarm.
    async fn report_faults(&self, moment: Moment, report: &mut Sweep) {
        let rejecting = self.report_rejecting(moment.now, report).await;
        report.check("rejected senders", rejecting);
        let silent = self.report_silent(moment, report).await;
        report.check("silent sources", silent);
    }

    /// Finishes replays that were cut short. A letter that stands under the name of one but is not being replayed was buried
    /// anew, and waits for its operator.
    async fn finish_replays(
        &self,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        let pending = self.path.store.pending_replays(MAX_REPLAYS).await?;
        if pending.is_empty() {
            return Ok(());
        }
        let routes = self.routes.latest(moment).await?;
        let replays = Replays { pace: ReplayPace::default(), routes, as_new: false };
        for pending in pending {
            let id = &pending.letter;
            if Instant::now() >= deadline {
                report.cut_short = true;
                return Ok(());
            }
            let result = match self.find(id).await {
                Ok((letter, _)) if letter.replaying.as_ref() == Some(&pending.replay) => {
                    self.replay_one(id, &replays, moment).await.map(|_| true)
                }
                Ok(_) | Err(ProcessorError::NoSuchLetter(_) | ProcessorError::Renewed(..)) => {
                    self.path.store.forget_pending(&pending).await?;
                    Ok(false)
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(finished) => report.replays_finished += u64::from(finished),
                // These wait for an operator, and no sweep changes that.
                Err(
                    error @ (ProcessorError::NoRoute { .. }
                    | ProcessorError::NoEndpoints(_)
                    | ProcessorError::EntryGone(_)
                    | ProcessorError::NoRegion(_)),
                ) => {
                    report.leave(format!("the replay of letter {id}: {error}"));
                }
                Err(error) => report.fail(format!("the replay of letter {id}: {error}")),
            }
        }
        Ok(())
    }
}

/// Returns the seconds since a time; 0 for one in the future.
pub(crate) fn seconds(since: Millis, now: Millis) -> u64 {
    u64::try_from(now.saturating_sub(since)).unwrap_or_default() / 1_000
}

impl Sweep {
    /// Returns what a sweep counts. Each number is written by every sweep, because an alarm tells a sweep without failures from none.
    pub fn counts(&self) -> Vec<(Metric, u64)> {
        let mut counts = vec![
            (Metric::Requeued, self.requeued),
            (Metric::DeadLettered, self.buried + self.outbox_buried),
            (Metric::Stranded, self.stranded),
            (Metric::SweepFailed, self.failed),
            (Metric::OutboxWaiting, self.outbox_left),
            (Metric::OutboxAge, self.outbox_age),
            (Metric::SourceRejecting, self.rejecting_sources),
            (Metric::Misconfigured, self.misconfigured),
            (Metric::Unconfigured, self.held_topics),
        ];
        // The alarm "Sweep silent" counts the runs that worked.
        counts.retain(|(metric, _)| *metric != Metric::SweepFailed || !self.is_another_at_work);
        // CloudWatch charges for a metric only in the hours in which it is written.
        let seldom = [
            (Metric::Unmatched, self.unmatched),
            (Metric::OldestWaiting, self.oldest_waiting),
            (Metric::NewFault, self.new_faults),
            (Metric::DlqOldest, self.dlq_oldest),
        ];
        counts.extend(seldom.into_iter().filter(|(_, value)| *value > 0));
        counts.extend(self.silent_sources.map(|sources| (Metric::SourceSilent, sources)));
        counts
    }

    /// Counts an outbox row that waits on, and how long it has waited where that is known.
    pub(crate) fn wait(&mut self, since: Option<Millis>, now: Millis) {
        self.outbox_left += 1;
        self.outbox_age = self.outbox_age.max(since.map_or(0, |since| seconds(since, now)));
    }

    /// Counts many rows that wait on, the oldest of them since this time.
    pub(crate) fn wait_many(&mut self, rows: u64, since: Option<Millis>, now: Millis) {
        self.wait(since, now);
        self.outbox_left += rows.saturating_sub(1);
    }

    /// Counts a step that failed; the others go on.
    pub(crate) fn check(&mut self, what: &str, result: Result<(), ProcessorError>) {
        if let Err(error) = result {
            self.fail(format!("{what}: {error}"));
        }
    }

    pub(crate) fn fail(&mut self, what: String) {
        tracing::error!(what, "the sweep could not do this now");
        self.failed += 1;
        self.leave(what);
    }

    /// Names something that was left alone, and why. Counts tell of those that there is no room for.
    pub(crate) fn leave(&mut self, what: String) {
        if self.left.len() < MAX_NAMED && !self.left.contains(&what) {
            self.left.push(what);
        }
    }
}
