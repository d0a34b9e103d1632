//! The sweep: takes over what no callback brought.
//!
//! QStash's dead-letter queue belongs to the whole account, so the sweep touches only entries whose URL lies below one of
//! our consumer's bases or whose failure callback is our requeuer. An entry addressed to our requeuer is itself a lost
//! notice. An error on one entry never stops the next.

use std::time::Duration;

use surehook::{
    Millis,
    failure::{Case, Settled},
    qstash::{ClientError, DlqEntry, FailureCallback, entry::DlqPage},
    routes::Routes,
    telemetry::Metric,
    web::{EndpointUrl, Moment},
};
use tokio::time::{Instant, timeout_at};

use crate::{Processor, ProcessorError, reply::Sweep};

/// Entries per page; halved while QStash can't answer a page of that size, or it takes too much memory.
const PAGE: usize = 10;
/// The largest page that is read into memory, in bytes; a single entry may be larger.
const MOST_BYTES: usize = 32 * 1_024 * 1_024;
/// Replays that one sweep finishes.
const MOST_REPLAYS: usize = 20_000;
/// Entries of others that a report names: they are always there, and must not hide what is new.
const MOST_FOREIGN: u64 = 3;
/// What a report names of all that was left alone.
const MOST_NAMED: usize = 50;
/// The longest a sweep runs; Lambda's limit, where it is shorter, wins.
const LONGEST: Duration = Duration::from_secs(240);

/// Whose an entry is.
enum Ownership {
    Ours(EndpointUrl),
    LostNotice(EndpointUrl),
    Foreign,
}

impl Processor {
    /// Sweeps once. What one sweep leaves, the next takes. No step's failure keeps the others from their work, and none may
    /// use up the time of those after it: QStash's queue may be longer than one sweep.
    pub async fn sweep(&self, moment: Moment, draw: f64) -> Result<Sweep, ProcessorError> {
        let mut report = Sweep::default();
        self.publish_outbox(moment, moment.give_up_at(LONGEST / 3), &mut report).await;
        let replays = self.finish_replays(moment, moment.give_up_at(LONGEST / 2), &mut report).await;
        report.check("unfinished replays", replays);
        let entries = self.sweep_entries(moment, moment.give_up_at(LONGEST * 7 / 8), draw, &mut report).await;
        report.check("QStash's dead-letter queue", entries);
        let stranded = self.raise_stranded(moment, moment.give_up_at(LONGEST), &mut report).await;
        report.check("waiting events", stranded);
        Ok(report)
    }

    /// Goes through the queue from where the last sweep was cut short, else from its beginning.
    async fn sweep_entries(
        &self,
        moment: Moment,
        deadline: Instant,
        draw: f64,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        let store = &self.path.store;
        let routes = store.routes(true).await?;
        let began_at = store.sweep_place().await?;
        let mut place = began_at.clone();
        loop {
            let page = match timeout_at(deadline, self.page(place.as_deref())).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    // Where QStash can't answer for a page again and again, the others must not wait for it.
                    store.put_sweep_place(None).await?;
                    return Err(error.into());
                }
                Err(_elapsed) => {
                    report.cut_short = true;
                    return Ok(store.put_sweep_place(place.as_deref()).await?);
                }
            };
            for entry in page.entries() {
                if Instant::now() >= deadline {
                    report.cut_short = true;
                    return Ok(store.put_sweep_place(place.as_deref()).await?);
                }
                report.entries += 1;
                match entry {
                    Ok(entry) => {
                        let draw = spread(draw, report.entries);
                        self.sweep_entry(&entry, &routes, moment, draw, report).await;
                    }
                    // What it says itself quotes the entry.
                    Err(error) => report.fail(format!(
                        "an entry that can't be read: {:?} error at column {}",
                        error.classify(),
                        error.column()
                    )),
                }
            }
            place = page.cursor;
            if place.is_none() {
                break;
            }
        }
        if began_at.is_some() {
            store.put_sweep_place(None).await?;
        }
        Ok(())
    }

    /// A page, in the largest size that QStash can answer and we can hold.
    async fn page(&self, cursor: Option<&str>) -> Result<DlqPage, ClientError> {
        let mut count = PAGE;
        loop {
            match self.path.qstash.dlq_page(cursor, count, MOST_BYTES).await {
                Err(error) if error.is_away() && count > 1 => count /= 2,
                other => return other,
            }
        }
    }

    async fn sweep_entry(&self, entry: &DlqEntry, routes: &Routes, moment: Moment, draw: f64, report: &mut Sweep) {
        let result = match self.ownership(entry) {
            Ownership::Foreign => {
                report.not_ours += 1;
                if report.not_ours <= MOST_FOREIGN {
                    // Only where it goes: the rest of somebody else's URL may be a secret.
                    let origin = EndpointUrl::parse(&entry.url).map(|url| url.origin().to_owned()).unwrap_or_default();
                    report.leave(format!("entry {} belongs to somebody else of the account: {origin}", entry.dlq_id));
                }
                return;
            }
            Ownership::Ours(callback) => self.settle(entry, &callback, routes, moment, draw).await,
            Ownership::LostNotice(callback) => self.settle_notice(entry, &callback, routes, moment, draw).await,
        };
        match result {
            Ok(settled) => report.note(entry, &settled),
            Err(error) => report.fail(format!("entry {}: {error}", entry.dlq_id)),
        }
    }

    fn ownership(&self, entry: &DlqEntry) -> Ownership {
        let url = EndpointUrl::parse(&entry.url).ok();
        if let Some(url) = url.as_ref().filter(|url| self.is_requeuer(url)) {
            return Ownership::LostNotice(url.clone());
        }
        let callback = entry.failure_callback.as_deref().and_then(|text| EndpointUrl::parse(text).ok());
        if let Some(callback) = callback.filter(|callback| self.is_requeuer(callback)) {
            return Ownership::Ours(callback);
        }
        let ours = url.is_some_and(|url| self.path.bases.iter().any(|base| url.path_below(base).is_some()));
        if ours { Ownership::Ours(self.requeuer.clone()) } else { Ownership::Foreign }
    }

    fn is_requeuer(&self, url: &EndpointUrl) -> bool {
        self.requeuers.iter().any(|own| url.origin() == own.origin() && url.path() == own.path())
    }

    async fn settle(
        &self,
        entry: &DlqEntry,
        callback: &EndpointUrl,
        routes: &Routes,
        moment: Moment,
        draw: f64,
    ) -> Result<Settled, ProcessorError> {
        let now = moment.at_present();
        let case = Case::new(entry, callback, &self.requeuer, routes, now);
        Ok(self.path.settle(&case, now, draw).await?)
    }

    /// A failure callback that failed itself: settle the entry that it names, then delete the notice.
    async fn settle_notice(
        &self,
        notice: &DlqEntry,
        callback: &EndpointUrl,
        routes: &Routes,
        moment: Moment,
        draw: f64,
    ) -> Result<Settled, ProcessorError> {
        let named = notice.body().ok().and_then(|body| FailureCallback::parse(&body).ok());
        let id = named.and_then(|callback| callback.dlq_id).unwrap_or_default();
        let settled = match self.path.qstash.dlq_entry(&id).await {
            Ok(entry) => self.settle(&entry, callback, routes, moment, draw).await?,
            // Used already; or the notice can't be read, and then its entry is swept by itself.
            Err(ClientError::NotFound | ClientError::BadName(_)) => Settled::Nothing,
            Err(error) => return Err(error.into()),
        };
        if !matches!(settled, Settled::Busy(_)) {
            self.path.qstash.dlq_delete(&notice.dlq_id).await?;
        }
        Ok(settled)
    }

    /// Finishes replays that were cut short. A letter that stands under the name of one but is not being replayed was buried
    /// anew, and waits for its operator.
    async fn finish_replays(
        &self,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        for pending in self.path.store.pending_replays(MOST_REPLAYS).await? {
            let id = &pending.letter;
            if Instant::now() >= deadline {
                report.cut_short = true;
                return Ok(());
            }
            let result = match self.find(id).await {
                Ok((letter, _)) if letter.replaying.as_ref() == Some(&pending.replay) => {
                    self.replay_one(id, None, moment).await.map(|_| true)
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
                    | ProcessorError::EntryGone(_)),
                ) => {
                    report.leave(format!("the replay of letter {id}: {error}"));
                }
                Err(error) => report.fail(format!("the replay of letter {id}: {error}")),
            }
        }
        Ok(())
    }
}

/// The draw of each of a sweep's entries. Hundreds that failed together must not come back together; multiples of the golden
/// ratio lie evenly in `[0, 1)` however many there are.
fn spread(draw: f64, number: u64) -> f64 {
    (draw + f64::from(u32::try_from(number).unwrap_or(u32::MAX)) * 0.618_033_988_749_895).fract()
}

impl Sweep {
    /// What a sweep counts. Each is written by every sweep: an alarm tells a sweep without failures from none.
    pub(crate) fn counts(&self) -> Vec<(Metric, u64)> {
        vec![
            (Metric::Requeued, self.requeued),
            (Metric::DeadLettered, self.buried + self.outbox_buried),
            (Metric::Stranded, self.stranded),
            (Metric::SweepFailed, self.failed),
            (Metric::OutboxWaiting, self.outbox_left),
            (Metric::OutboxAge, self.outbox_age),
        ]
    }

    /// Counts an outbox row that waits on, and how long it has waited where that is known.
    pub(crate) fn wait(&mut self, since: Option<Millis>, now: Millis) {
        self.outbox_left += 1;
        let age = since.and_then(|since| u64::try_from(now.saturating_sub(since)).ok()).unwrap_or_default() / 1_000;
        self.outbox_age = self.outbox_age.max(age);
    }

    /// Counts a step that failed; the others go on.
    fn check(&mut self, what: &str, result: Result<(), ProcessorError>) {
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
        if self.left.len() < MOST_NAMED && !self.left.contains(&what) {
            self.left.push(what);
        }
    }

    fn note(&mut self, entry: &DlqEntry, settled: &Settled) {
        match settled {
            Settled::Requeued(_) => self.requeued += 1,
            Settled::Buried(_) => self.buried += 1,
            Settled::Nothing => self.settled += 1,
            Settled::Busy(rest) => {
                self.busy += 1;
                self.leave(format!(
                    "entry {}: a worker holds its event for {} more ms",
                    entry.dlq_id,
                    rest.as_millis()
                ));
            }
        }
    }
}
