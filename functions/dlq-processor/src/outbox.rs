//! The outbox: events that QStash did not take are published. They *start* in order of age; no order is promised.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use surehook::{
    Millis,
    qstash::{ClientError, client::Destination},
    store::outbox::{Kept, OutboxRow},
    web::Moment,
};
use tokio::time::Instant;

use crate::{
    Processor, ProcessorError,
    outbox_letter::End,
    queue::{Queue, Row, at},
    reply::Sweep,
};

/// Rows that are published at the same time, at most. Publishing has no burst limit at QStash.
pub(crate) const AT_ONCE: usize = 32;
/// The same at first, and while nothing is known of QStash: an unavailable QStash is asked for no more rows than these.
const AT_FIRST: usize = 8;

/// How long a start that only measures may take.
const MAX_MEASURE: Duration = Duration::from_secs(30);

/// What became of a row.
#[derive(Debug)]
pub(crate) enum Fate {
    /// QStash has it.
    Published,
    /// QStash rejects it for good; it stands as a dead letter.
    Buried,
    /// Its topic has no endpoints; it is held under its topic.
    Held,
    /// QStash did not take it now, and why.
    Unavailable(String),
    /// Something went wrong.
    Failed(ProcessorError),
}

/// How many rows may run at the same time, and how QStash answered lately.
#[derive(Debug)]
struct Window {
    limit: usize,
    /// Rows in succession that QStash or the table did not take.
    failed: usize,
}

impl Window {
    /// Each failure in succession takes a place, so that an unavailable QStash sees no more calls than there are places.
    fn has_room(&self, running: usize) -> bool {
        running + self.failed < self.limit
    }

    fn is_shut(&self) -> bool {
        self.failed >= self.limit
    }

    fn note(&mut self, fate: &Fate) {
        match fate {
            Fate::Unavailable(_) => self.failed += 1,
            Fate::Failed(error) if error.is_away() => self.failed += 1,
            Fate::Published => (self.failed, self.limit) = (0, AT_ONCE.min(self.limit + 1)),
            _ => self.failed = 0,
        }
        if self.failed > 0 {
            self.limit = self.limit.min(AT_FIRST.max(self.failed));
        }
    }
}

impl Processor {
    /// Publishes what waits, the oldest first, then what is held.
    pub(crate) async fn publish_outbox(&self, moment: Moment, deadline: Instant, report: &mut Sweep) {
        (report.outbox_left, report.outbox_age, report.held_topics) = (0, 0, 0);
        let mut queue = Queue::waiting(&self.path.store, moment.now);
        // Held topics have their turn however many rows wait.
        let now = Instant::now();
        let drained_by = now + deadline.saturating_duration_since(now) * 3 / 4;
        let is_available = self.drain(&mut queue, moment, drained_by, report).await;
        queue.leave_rest(report);
        let asked = queue.without_endpoints;
        let held = self.publish_held(&asked, is_available, moment, deadline, report).await;
        report.check("held rows of the outbox", held);
    }

    /// Counts what waits and what is held, without asking QStash.
    pub(crate) async fn measure_outbox(&self, moment: Moment, report: &mut Sweep) {
        let mut queue = Queue::waiting(&self.path.store, moment.now);
        queue.fill(report).await;
        queue.leave_rest(report);
        let held = self.publish_held(&BTreeSet::new(), false, moment, moment.give_up_at(MAX_MEASURE), report).await;
        report.check("held rows of the outbox", held);
    }

    /// Publishes the rows of a queue until none is left, time is over, or QStash is unavailable; `false` for the latter. A row that
    /// QStash fails at does not block those behind it: QStash counts as unavailable only if it does not take the youngest row either.
    pub(crate) async fn drain(
        &self,
        queue: &mut Queue<'_>,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> bool {
        let mut window = Window { limit: AT_FIRST, failed: 0 };
        loop {
            self.run_window(queue, &mut window, moment, deadline, report).await;
            if !window.is_shut() {
                report.outbox_cut_short |= Instant::now() >= deadline;
                return true;
            }
            let Some(youngest) = queue.youngest() else { return false };
            let settled = self.settle_row(youngest, queue.is_held, false, moment.at_present()).await;
            window.failed = 0;
            settled.note(&mut window, queue, moment, report);
            if window.failed > 0 {
                return false;
            }
        }
    }

    /// Starts a row as soon as another ends, until none is left or the window is shut, and waits for those that run.
    async fn run_window(
        &self,
        queue: &mut Queue<'_>,
        window: &mut Window,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) {
        let mut running = FuturesUnordered::new();
        loop {
            while window.has_room(running.len()) && Instant::now() < deadline {
                let Some(row) = queue.next(report).await else { break };
                let is_known = row.as_ref().is_ok_and(|kept| queue.without_endpoints.contains(&kept.row.topic));
                running.push(self.settle_row(row, queue.is_held, is_known, moment.at_present()));
            }
            let Some(settled) = running.next().await else { return };
            settled.note(window, queue, moment, report);
        }
    }

    /// Settles one row. `is_known` says that its topic is known to have no endpoints, so that QStash is not asked.
    async fn settle_row(&self, row: Row, is_held: bool, is_known: bool, now: Millis) -> SettledRow {
        let since = at(&row);
        match row {
            Ok(kept) => {
                let fate = if is_known { Ok(Fate::Held) } else { self.publish_row(&kept.row, now).await };
                let fate = match fate {
                    Ok(fate) => self.move_row(&kept, fate, is_held).await,
                    Err(error) => Fate::Failed(error),
                };
                SettledRow { fate, since, topic: kept.row.topic }
            }
            Err(error) => SettledRow { fate: Fate::Failed(error.into()), since, topic: String::new() },
        }
    }

    /// Deletes a row that is published, dead-lettered, or stands under its topic. Nothing is deleted before that.
    async fn move_row(&self, kept: &Kept, fate: Fate, is_held: bool) -> Fate {
        let store = &self.path.store;
        let moved = match fate {
            Fate::Published | Fate::Buried => store.delete_outbox(kept).await,
            Fate::Held if !is_held => self.hold_row(kept).await,
            _ => Ok(()),
        };
        moved.map_or_else(|error| Fate::Failed(error.into()), |()| fate)
    }

    pub(crate) async fn publish_row(&self, row: &OutboxRow, now: Millis) -> Result<Fate, ProcessorError> {
        let to = Destination::Topic(row.topic.clone());
        match self.path.qstash.own().publish(&to, &row.headers, row.body.clone()).await {
            Ok(ids) if !ids.is_empty() => Ok(Fate::Published),
            Err(error @ ClientError::Refused { .. }) => {
                self.bury_row(row, &End::rejected(&error), now).await.map(|()| Fate::Buried)
            }
            Ok(_) | Err(ClientError::NotFound) => Ok(Fate::Held),
            Err(error) => {
                tracing::warn!(error = %error, "an outbox row could not be published now");
                Ok(Fate::Unavailable(format!("outbox row {}: {error}", row.id)))
            }
        }
    }
}

/// A row that was settled, and what is to be counted of it.
#[derive(Debug)]
struct SettledRow {
    fate: Fate,
    since: Option<Millis>,
    topic: String,
}

impl SettledRow {
    fn note(self, window: &mut Window, queue: &mut Queue<'_>, moment: Moment, report: &mut Sweep) {
        window.note(&self.fate);
        match self.fate {
            Fate::Published => report.published += 1,
            Fate::Buried => report.outbox_buried += 1,
            // Held rows are counted by topic.
            Fate::Held => {
                queue.without_endpoints.insert(self.topic);
                return;
            }
            Fate::Unavailable(why) => {
                report.wait(self.since, moment.now);
                return report.leave(why);
            }
            Fate::Failed(error) => {
                report.wait(self.since, moment.now);
                return report.fail(format!("an outbox row: {error}"));
            }
        }
        *queue.removed.entry(self.topic).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> Fate {
        Fate::Unavailable(String::new())
    }

    #[test]
    fn an_unavailable_qstash_sees_no_more_rows_than_at_first() {
        let mut window = Window { limit: AT_FIRST, failed: 0 };
        (0..100).for_each(|_| window.note(&Fate::Published));
        assert_eq!((window.limit, window.has_room(AT_ONCE - 1), window.has_room(AT_ONCE)), (AT_ONCE, true, false));
        window.note(&unavailable());
        assert_eq!((window.has_room(AT_FIRST - 1), window.has_room(AT_FIRST - 2)), (false, true));
        (1..AT_FIRST).for_each(|_| window.note(&unavailable()));
        assert!(window.is_shut() && !window.has_room(0));
    }
}
