//! The sweep's way through QStash's dead-letter queue.
//!
//! The queue belongs to the whole account, so the sweep touches only entries whose URL lies below one of our consumer's bases or whose
//! failure callback is our requeuer. An entry addressed to our requeuer is itself a lost notice. The entries of a page are resolved at the
//! same time, because the ledger decides each step; notices come after the entries that they name. An error on one entry never
//! stops the next.

use std::time::Duration;

use futures::{StreamExt, stream};
use surehook::{
    Millis,
    failure::{Case, Settled},
    qstash::{Client, ClientError, DlqEntry, FailureCallback, clients::RegionClient, entry::DlqPage},
    routes::Routes,
    web::{EndpointUrl, Moment},
};
use tokio::time::{Instant, timeout_at};

use crate::{Processor, ProcessorError, reply::Sweep, sweep::seconds};

/// Entries of a page that are resolved at the same time.
pub(crate) const AT_ONCE: usize = 32;
/// Entries of a page, if they fit into memory. Source: QStash documentation, "List DLQ messages": the default and the maximum.
pub(crate) const PAGE: usize = 100;
/// The largest page that is read into memory, in bytes; a single entry may be larger.
const MAX_BYTES: usize = 32 * 1_024 * 1_024;
/// How long entries that are being resolved at the deadline may go on.
const GRACE: Duration = Duration::from_secs(30);
/// Entries of other applications that a report names: they are always there, and must not hide what is new.
const MAX_FOREIGN: u64 = 3;

/// Whose an entry is.
enum Ownership {
    Ours(EndpointUrl),
    LostNotice(EndpointUrl),
    Foreign,
}

/// What all entries of a sweep are resolved with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) region: &'a RegionClient,
    pub(crate) routes: &'a Routes,
    pub(crate) moment: Moment,
    pub(crate) deadline: Instant,
    pub(crate) draw: f64,
}

/// Why a walk through the queue ended.
enum Stop {
    /// There is no further page, or the walk came to where it was to end.
    End,
    /// Time ran out; the walk goes on at this page.
    Time(Option<String>),
    /// QStash does not answer for this page.
    Failed(Option<String>, ClientError),
}

/// An entry of ours, as far as a report needs it.
struct Entry {
    id: String,
    published: Option<Millis>,
    is_misconfigured: bool,
}

/// What became of one entry.
enum Seen {
    /// There was no time for it.
    NoTime,
    /// It is a lost notice, whose turn comes after the entries of its page.
    Notice,
    /// It belongs to another application, at this origin.
    Foreign(String, String),
    /// It was resolved, or could not be.
    Resolved(Entry, Result<Settled, ProcessorError>),
    /// It can't be read.
    Unreadable(serde_json::Error),
}

impl Processor {
    /// Goes through the queue from where the last sweep stopped, otherwise from its beginning. A page that QStash does not answer for is
    /// where the next sweep begins. If it fails then too, that sweep goes through the pages before it, so that these do not wait.
    pub(crate) async fn sweep_entries(&self, turn: Turn<'_>, report: &mut Sweep) -> Result<(), ProcessorError> {
        let (store, region) = (&self.path.store, turn.region.region);
        let began_at = store.sweep_place(region).await?;
        match self.walk(began_at.clone(), None, turn, report).await {
            Stop::End if began_at.is_none() => Ok(()),
            Stop::End => Ok(store.put_sweep_place(region, None).await?),
            Stop::Time(place) => {
                report.cut_short = true;
                Ok(store.put_sweep_place(region, place.as_deref()).await?)
            }
            Stop::Failed(place, error) => {
                // A cursor that QStash does not know any more is no place.
                let next = place.clone().filter(|_| error.is_away());
                store.put_sweep_place(region, next.as_deref()).await?;
                if place.is_some() && place == began_at {
                    self.walk_before(place, turn, report).await;
                }
                Err(error.into())
            }
        }
    }

    /// Goes through the pages before one that failed.
    async fn walk_before(&self, failed: Option<String>, turn: Turn<'_>, report: &mut Sweep) {
        match self.walk(None, failed.as_deref(), turn, report).await {
            Stop::End => {}
            Stop::Time(_) => report.cut_short = true,
            Stop::Failed(_, error) => {
                report.fail(format!("QStash's dead-letter queue{}: {error}", turn.region.suffix()))
            }
        }
    }

    async fn walk(&self, from: Option<String>, until: Option<&str>, turn: Turn<'_>, report: &mut Sweep) -> Stop {
        let (mut place, mut count) = (from, PAGE);
        loop {
            let page = match timeout_at(turn.deadline, page(&turn.region.client, place.as_deref(), &mut count)).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => return Stop::Failed(place, error),
                Err(_elapsed) => return Stop::Time(place),
            };
            if !self.resolve_page(&page, turn, report).await {
                return Stop::Time(place);
            }
            place = page.cursor;
            if place.is_none() || place.as_deref() == until {
                return Stop::End;
            }
        }
    }

    /// Resolves the entries of a page, then its lost notices; `false` if time ran out.
    async fn resolve_page(&self, page: &DlqPage, turn: Turn<'_>, report: &mut Sweep) -> bool {
        let numbers: Vec<usize> = (0..page.messages.len()).collect();
        let Some(notices) = self.resolve(page, numbers, false, turn, report).await else { return false };
        self.resolve(page, notices, true, turn, report).await.is_some()
    }

    /// Resolves the entries of these numbers; returns those that are lost notices, `None` if time ran out.
    async fn resolve(
        &self,
        page: &DlqPage,
        numbers: Vec<usize>,
        with_notices: bool,
        turn: Turn<'_>,
        report: &mut Sweep,
    ) -> Option<Vec<usize>> {
        let (base, mut notices, mut in_time) = (report.entries, Vec::new(), true);
        let resolving = numbers.into_iter().map(|number| async move {
            let draw = spread(turn.draw, base + number as u64);
            (number, self.see(page.messages[number].get(), with_notices, Turn { draw, ..turn }).await)
        });
        let mut resolving = stream::iter(resolving).buffer_unordered(AT_ONCE);
        while let Some((number, seen)) = resolving.next().await {
            match seen {
                Seen::NoTime => in_time = false,
                Seen::Notice => notices.push(number),
                seen => report.see(seen, turn.moment.at_present()),
            }
        }
        notices.sort_unstable();
        in_time.then_some(notices)
    }

    async fn see(&self, json: &str, with_notices: bool, turn: Turn<'_>) -> Seen {
        if Instant::now() >= turn.deadline {
            return Seen::NoTime;
        }
        let entry: DlqEntry = match serde_json::from_str(json) {
            Ok(entry) => entry,
            Err(error) => return Seen::Unreadable(error),
        };
        let resolving = async {
            match self.ownership(&entry) {
                Ownership::Foreign => Ok(Err(Seen::foreign(&entry))),
                Ownership::LostNotice(_) if !with_notices => Ok(Err(Seen::Notice)),
                Ownership::LostNotice(callback) => self.settle_notice(&entry, &callback, turn).await.map(Ok),
                Ownership::Ours(callback) => self.settle(&entry, &callback, turn).await.map(Ok),
            }
        };
        match timeout_at(turn.deadline + GRACE, Box::pin(resolving)).await {
            Ok(Ok(Err(seen))) => seen,
            Ok(Ok(Ok(settled))) => Seen::Resolved(self.reported(entry), Ok(settled)),
            Ok(Err(error)) => Seen::Resolved(self.reported(entry), Err(error)),
            Err(_elapsed) => Seen::NoTime,
        }
    }

    fn reported(&self, entry: DlqEntry) -> Entry {
        Entry { is_misconfigured: self.path.is_misconfigured(&entry), published: entry.created_at, id: entry.dlq_id }
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
        turn: Turn<'_>,
    ) -> Result<Settled, ProcessorError> {
        let now = turn.moment.at_present();
        let case = Case::new(entry, callback, &self.requeuer, turn.routes, now).in_region(turn.region.region);
        Ok(self.path.settle(&case, now, turn.draw).await?)
    }

    /// A failure callback that failed itself: settle the entry that it names, then delete the notice.
    async fn settle_notice(
        &self,
        notice: &DlqEntry,
        callback: &EndpointUrl,
        turn: Turn<'_>,
    ) -> Result<Settled, ProcessorError> {
        let named = notice.body().ok().and_then(|body| FailureCallback::parse(&body).ok());
        let id = named.and_then(|callback| callback.dlq_id).unwrap_or_default();
        let settled = match turn.region.client.dlq_entry(&id).await {
            Ok(entry) => self.settle(&entry, callback, turn).await?,
            // Used already; or the notice can't be read, and then its entry is swept by itself.
            Err(ClientError::NotFound | ClientError::BadName(_)) => Settled::Nothing,
            Err(error) => return Err(error.into()),
        };
        if !matches!(settled, Settled::Busy(_)) {
            turn.region.client.dlq_delete(&notice.dlq_id).await?;
        }
        Ok(settled)
    }
}

/// Reads a page, in the largest size that QStash can answer and that fits into memory.
pub(crate) async fn page(qstash: &Client, cursor: Option<&str>, count: &mut usize) -> Result<DlqPage, ClientError> {
    loop {
        match qstash.dlq_page(cursor, *count, MAX_BYTES).await {
            Err(ClientError::TooLarge(_)) if *count > 1 => *count /= 2,
            Err(error) if error.is_away() && *count > 1 => *count = (*count / 8).max(1),
            Ok(page) => {
                *count = count_after(&page);
                return Ok(page);
            }
            Err(error) => return Err(error),
        }
    }
}

impl Seen {
    /// Only where it goes: the rest of another application's URL may be a secret.
    fn foreign(entry: &DlqEntry) -> Self {
        let origin = EndpointUrl::parse(&entry.url).map(|url| url.origin().to_owned()).unwrap_or_default();
        Self::Foreign(entry.dlq_id.clone(), origin)
    }
}

/// Returns how many entries of the size of this page's fit into half of what is read at most.
fn count_after(page: &DlqPage) -> usize {
    let bytes: usize = page.messages.iter().map(|message| message.get().len()).sum();
    (MAX_BYTES / 2 * page.messages.len()).checked_div(bytes).unwrap_or(PAGE).clamp(1, PAGE)
}

/// The draw of each of a sweep's entries. Hundreds that failed together must not come back together; multiples of the golden
/// ratio lie evenly in `[0, 1)` however many there are.
fn spread(draw: f64, number: u64) -> f64 {
    (draw + f64::from(u32::try_from(number).unwrap_or(u32::MAX)) * 0.618_033_988_749_895).fract()
}

impl Sweep {
    fn see(&mut self, seen: Seen, now: Millis) {
        self.entries += 1;
        match seen {
            Seen::NoTime | Seen::Notice => {}
            Seen::Foreign(id, origin) => {
                self.not_ours += 1;
                if self.not_ours <= MAX_FOREIGN {
                    self.leave(format!("entry {id} belongs to somebody else of the account: {origin}"));
                }
            }
            Seen::Resolved(entry, result) => {
                self.misconfigured += u64::from(entry.is_misconfigured);
                if matches!(result, Ok(Settled::Busy(_)) | Err(_)) {
                    self.dlq_oldest = self.dlq_oldest.max(entry.published.map_or(0, |at| seconds(at, now)));
                }
                match result {
                    Ok(settled) => self.note(&entry.id, &settled),
                    Err(error) => self.fail(format!("entry {}: {error}", entry.id)),
                }
            }
            // Its own text quotes the entry.
            Seen::Unreadable(error) => self.fail(format!(
                "an entry that can't be read: {:?} error at column {}",
                error.classify(),
                error.column()
            )),
        }
    }

    fn note(&mut self, id: &str, settled: &Settled) {
        match settled {
            Settled::Requeued(_) => self.requeued += 1,
            Settled::Buried(_) => self.buried += 1,
            Settled::Unmatched(_) => self.unmatched += 1,
            Settled::Nothing => self.settled += 1,
            Settled::Busy(rest) => {
                self.busy += 1;
                self.leave(format!("entry {id}: a worker holds its event for {} more ms", rest.as_millis()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(sizes: &[usize]) -> DlqPage {
        let message = |size: &usize| serde_json::value::RawValue::from_string(format!("\"{}\"", "x".repeat(size - 2)));
        DlqPage { messages: sizes.iter().map(|size| message(size).unwrap()).collect(), cursor: None }
    }

    #[test]
    fn pages_are_as_large_as_fits_into_memory() {
        assert_eq!(count_after(&page(&[])), PAGE);
        assert_eq!(count_after(&page(&[3_000; 10])), PAGE);
        assert_eq!(count_after(&page(&[MAX_BYTES / 8, MAX_BYTES / 8])), 4);
        assert_eq!(count_after(&page(&[MAX_BYTES])), 1, "an entry may be larger than what is read at most");
    }
}
