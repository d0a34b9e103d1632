//! Held rows of the outbox, whose topics have no endpoints: QStash is asked once per topic.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use surehook::{
    Millis,
    retry::millis,
    store::{
        StoreError,
        held::HeldTopic,
        outbox::{Kept, Position},
    },
    web::Moment,
};
use tokio::time::Instant;

use crate::{
    Processor, ProcessorError,
    outbox::{AT_ONCE, Fate},
    outbox_letter::End,
    queue::{Queue, Row, at},
    reply::Sweep,
};

/// Rows of a topic that are read at a time to be dead-lettered.
const ROWS: i32 = 100;

impl Processor {
    /// Publishes the held rows of topics that have endpoints again, and dead-letters those that are older than retries last. A topic of
    /// `asked` was found without endpoints just now. Where QStash is unavailable it is not asked.
    pub(crate) async fn publish_held(
        &self,
        asked: &BTreeSet<String>,
        is_available: bool,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        let mut open = Vec::new();
        for topic in self.path.store.held_topics().await? {
            if Instant::now() >= deadline {
                report.outbox_cut_short = true;
                break;
            }
            let is_asked = is_available && !asked.contains(&topic.name);
            let is_open = self.ask_topic(&topic, is_asked, is_available, moment, deadline, report).await;
            match is_open {
                Ok(true) => open.push(topic),
                Ok(false) => {}
                Err(error) => report.fail(format!("held rows of topic {}: {error}", topic.name)),
            }
        }
        if is_available { self.publish_open(open, moment, deadline, report).await } else { Ok(()) }
    }

    /// Looks at the oldest row of a topic, and has QStash take it if `is_asked`. Returns whether the topic has endpoints.
    async fn ask_topic(
        &self,
        topic: &HeldTopic,
        is_asked: bool,
        is_available: bool,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> Result<bool, ProcessorError> {
        let store = &self.path.store;
        let Some(oldest) = store.outbox(&topic.lane(), 1, None).await?.rows.into_iter().next() else {
            // A start that only measures runs beside another one, whose work it must not judge.
            if is_available {
                store.close_held(topic).await?;
            }
            return Ok(false);
        };
        let since = at(&oldest);
        let fate = match oldest {
            // The rows behind one that can't be read get their turn.
            Err(_unreadable) => return Ok(true),
            Ok(_) if !is_asked => Fate::Held,
            Ok(kept) => self.take_oldest(&kept, moment.at_present(), report).await?,
        };
        match fate {
            // A row that QStash fails at does not block those behind it.
            Fate::Published | Fate::Buried | Fate::Unavailable(_) => return Ok(true),
            _ if is_available => self.report_held(topic, moment, deadline, report).await?,
            _ => {}
        }
        report.wait_many(topic.rows.max(1), since, moment.now);
        Ok(false)
    }

    /// Publishes the oldest row of a topic, and removes it if QStash has it.
    async fn take_oldest(&self, kept: &Kept, now: Millis, report: &mut Sweep) -> Result<Fate, ProcessorError> {
        let fate = self.publish_row(&kept.row, now).await?;
        match fate {
            Fate::Published => report.published += 1,
            Fate::Buried => report.outbox_buried += 1,
            _ => return Ok(fate),
        }
        self.path.store.delete_outbox(kept).await?;
        self.path.store.count_held(&kept.row.topic, -1).await?;
        Ok(fate)
    }

    /// Names a topic without endpoints, and dead-letters its rows that are too old.
    async fn report_held(
        &self,
        topic: &HeldTopic,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        tracing::error!(
            topic = topic.name,
            rows = topic.rows,
            "the topic has no endpoints at QStash; its events are held"
        );
        report.held_topics += 1;
        report.leave(format!("topic {} has no endpoints at QStash: {} of its events are held", topic.name, topic.rows));
        let before = moment.at_present() - millis(self.path.policy.horizon());
        let mut from = None;
        while Instant::now() < deadline {
            from = self.bury_page(topic, before, from, moment, report).await?;
            if from.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Dead-letters one page of rows that are too old; returns where the next page begins.
    async fn bury_page(
        &self,
        topic: &HeldTopic,
        before: Millis,
        from: Option<Position>,
        moment: Moment,
        report: &mut Sweep,
    ) -> Result<Option<Position>, ProcessorError> {
        let page = self.path.store.held_before(topic, before, ROWS, from).await?;
        let end = End::no_endpoints(&topic.name);
        let burials = page.rows.into_iter().map(|row| self.bury_held(row, &end, moment.at_present()));
        let buried: Vec<_> = stream::iter(burials).buffer_unordered(AT_ONCE).collect().await;
        let mut removed = 0;
        for result in buried {
            match result {
                Ok(()) => removed += 1,
                Err(error) => report.fail(format!("a held row of topic {}: {error}", topic.name)),
            }
        }
        report.outbox_buried += removed;
        if removed > 0 {
            self.path.store.count_held(&topic.name, -i64::try_from(removed).unwrap_or_default()).await?;
        }
        Ok(page.next)
    }

    async fn bury_held(&self, row: Row, end: &End, now: Millis) -> Result<(), ProcessorError> {
        let kept = row?;
        self.bury_row(&kept.row, end, now).await?;
        Ok(self.path.store.delete_outbox(&kept).await?)
    }

    /// Publishes the rows of topics that have endpoints again.
    async fn publish_open(
        &self,
        open: Vec<HeldTopic>,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        let mut queue = Queue::held(&self.path.store, moment.now, open.iter().map(HeldTopic::lane));
        self.drain(&mut queue, moment, deadline, report).await;
        queue.leave_rest(report);
        for (topic, removed) in &queue.removed {
            self.path.store.count_held(topic, -removed).await?;
        }
        for topic in &open {
            self.path.store.close_held(topic).await?;
        }
        Ok(())
    }

    /// Moves a row under its topic: it is written there and counted before it is deleted here.
    pub(crate) async fn hold_row(&self, kept: &Kept) -> Result<(), StoreError> {
        let store = &self.path.store;
        store.hold_accepted(&kept.row).await?;
        store.count_held(&kept.row.topic, 1).await?;
        store.delete_outbox(kept).await
    }
}
