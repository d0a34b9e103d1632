//! The outbox: events that the producer took while QStash was away are published, the oldest first.

use std::collections::{BTreeSet, VecDeque};

use futures::future::join_all;
use surehook::{
    Millis,
    digest::Sha256,
    identity::{Delivered, Endpoint, cut, identify_foreign},
    ledger::{Cause, DeadLetter, Failure, Refused, Response, record::MOST_ERROR_TEXT, rules::Burial},
    qstash::{ClientError, client::Destination},
    retry::BuryReason,
    store::{
        LedgerError, SHARDS, Store, StoreError,
        outbox::{Kept, OutboxRow, Position},
    },
    web::Moment,
};
use tokio::time::Instant;

use crate::{Processor, ProcessorError, replay::TOPIC_SCHEME, reply::Sweep};

/// Rows of one shard that are read at a time.
const ROWS: i32 = 25;
/// Rows that are published at the same time.
const AT_ONCE: usize = 10;

/// What became of a row.
enum Fate {
    /// QStash has it.
    Published,
    /// QStash refuses it for good; it stands as a dead letter.
    Buried,
    /// Its topic has no endpoints.
    Waits {
        /// The topic.
        topic: String,
        /// What to tell.
        why: String,
    },
    /// QStash did not take it now, and why.
    Away(String),
    /// Something went wrong.
    Failed(String),
}

impl Processor {
    /// Publishes what it can, the oldest first, several at a time. An error on one row or one shard never stops the next. Rows that
    /// QStash has a fault with must not hold up all that came after them: only when it does not take a younger one either is it away.
    pub(crate) async fn publish_outbox(&self, moment: Moment, deadline: Instant, report: &mut Sweep) {
        let mut queue = Queue::new(&self.path.store, moment.now);
        while Instant::now() < deadline {
            let rows = queue.oldest(AT_ONCE, report).await;
            if rows.is_empty()
                || (self.settle_rows(rows, moment, &mut queue, report).await
                    && !self.probe(moment, &mut queue, report).await)
            {
                break;
            }
        }
        queue.leave_rest(report);
    }

    /// Whether QStash takes the youngest row that was read.
    async fn probe(&self, moment: Moment, queue: &mut Queue<'_>, report: &mut Sweep) -> bool {
        let Some(row) = queue.youngest() else { return false };
        !self.settle_rows(vec![row], moment, queue, report).await
    }

    /// Settles rows at the same time. Answers whether QStash took none of them, and may be away.
    async fn settle_rows(
        &self,
        rows: Vec<Result<Kept, StoreError>>,
        moment: Moment,
        queue: &mut Queue<'_>,
        report: &mut Sweep,
    ) -> bool {
        let now = moment.at_present();
        let since: Vec<Option<Millis>> = rows.iter().map(at).collect();
        let fates = join_all(rows.into_iter().map(|row| self.settle_row(row, now))).await;
        let is_away = fates.iter().all(|fate| matches!(fate, Fate::Away(_)));
        for (fate, since) in fates.into_iter().zip(since) {
            if let Fate::Waits { topic, .. } = &fate {
                queue.waiting.insert(topic.clone());
            }
            tell(fate, since, now, report);
        }
        is_away
    }

    async fn settle_row(&self, row: Result<Kept, StoreError>, now: Millis) -> Fate {
        let settled = match row {
            Ok(kept) => self.take_row(&kept, now).await,
            Err(error) => Err(error.into()),
        };
        settled.unwrap_or_else(|error| Fate::Failed(format!("an outbox row: {error}")))
    }

    async fn take_row(&self, kept: &Kept, now: Millis) -> Result<Fate, ProcessorError> {
        let fate = self.publish_row(&kept.row, now).await?;
        if matches!(fate, Fate::Published | Fate::Buried) {
            self.path.store.delete_outbox(kept).await?;
        }
        Ok(fate)
    }

    async fn publish_row(&self, row: &OutboxRow, now: Millis) -> Result<Fate, ProcessorError> {
        let to = Destination::Topic(row.topic.clone());
        match self.path.qstash.publish(&to, &row.headers, row.body.clone()).await {
            Ok(ids) if !ids.is_empty() => Ok(Fate::Published),
            Err(error @ ClientError::Refused { .. }) => self.bury_row(row, &error, now).await.map(|()| Fate::Buried),
            Ok(_) | Err(ClientError::NotFound) => {
                tracing::error!(topic = row.topic, "the topic has no endpoints; its outbox rows wait");
                let why = format!("outbox row {}: its topic {} has no endpoints", row.id, row.topic);
                Ok(Fate::Waits { topic: row.topic.clone(), why })
            }
            Err(error) => {
                tracing::warn!(error = %error, "an outbox row could not be published now");
                Ok(Fate::Away(format!("outbox row {}: {error}", row.id)))
            }
        }
    }

    /// Two events of one id and different bodies, as a sender makes them that posts again after a time-out: the second gets
    /// a letter of its own.
    async fn bury_row(&self, row: &OutboxRow, error: &ClientError, now: Millis) -> Result<(), ProcessorError> {
        let (burial, letter) = letter_of(row, error, now);
        let second = DeadLetter { key: letter.key.of_conflict(&burial.content), ..letter.clone() };
        match self.path.store.bury(&burial, letter, &row.body).await {
            Err(LedgerError::Refused(Refused::Conflict)) => {
                settled(self.path.store.bury(&burial, second, &row.body).await)
            }
            other => settled(other),
        }
    }
}

fn tell(fate: Fate, since: Option<Millis>, now: Millis, report: &mut Sweep) {
    match fate {
        Fate::Published => report.published += 1,
        Fate::Buried => report.outbox_buried += 1,
        Fate::Waits { why, .. } | Fate::Away(why) => {
            report.wait(since, now);
            report.leave(why);
        }
        Fate::Failed(why) => {
            report.wait(since, now);
            report.fail(why);
        }
    }
}

/// The rows of all shards, by age. A page of each is in memory.
struct Queue<'s> {
    store: &'s Store,
    now: Millis,
    shards: Vec<Shard>,
    /// Topics without endpoints: QStash is not asked for each of their rows.
    waiting: BTreeSet<String>,
}

#[derive(Default)]
struct Shard {
    rows: VecDeque<Result<Kept, StoreError>>,
    /// Where the next page begins.
    from: Option<Position>,
    is_read: bool,
}

impl<'s> Queue<'s> {
    fn new(store: &'s Store, now: Millis) -> Self {
        Self { store, now, shards: (0..SHARDS).map(|_| Shard::default()).collect(), waiting: BTreeSet::new() }
    }

    /// Counts the rows that were read and not taken.
    fn leave_rest(&self, report: &mut Sweep) {
        for row in self.shards.iter().flat_map(|shard| &shard.rows) {
            report.wait(at(row), self.now);
        }
    }

    /// Takes the oldest rows. Of one that can't be read nobody knows how old it is: it comes first.
    async fn oldest(&mut self, count: usize, report: &mut Sweep) -> Vec<Result<Kept, StoreError>> {
        let mut oldest = Vec::new();
        while oldest.len() < count {
            self.fill(report).await;
            let next = self.shards.iter_mut().filter(|shard| !shard.rows.is_empty()).min_by_key(|shard| shard.age());
            match next.and_then(|shard| shard.rows.pop_front()) {
                Some(Ok(kept)) if self.waiting.contains(&kept.row.topic) => report.wait(Some(kept.row.at), self.now),
                Some(row) => oldest.push(row),
                None => break,
            }
        }
        oldest
    }

    /// Takes the youngest row that was read.
    fn youngest(&mut self) -> Option<Result<Kept, StoreError>> {
        let shard = self.shards.iter_mut().max_by_key(|shard| shard.rows.back().and_then(at))?;
        shard.rows.pop_back()
    }

    /// Reads the next page of each shard of which no row is left.
    async fn fill(&mut self, report: &mut Sweep) {
        for (number, shard) in (0..SHARDS).zip(&mut self.shards) {
            while shard.rows.is_empty() && !shard.is_read {
                match self.store.outbox(number, ROWS, shard.from.take()).await {
                    Ok(page) => {
                        shard.is_read = page.next.is_none();
                        (shard.rows, shard.from) = (page.rows.into(), page.next);
                    }
                    Err(error) => {
                        shard.is_read = true;
                        report.fail(format!("a part of the outbox: {error}"));
                    }
                }
            }
        }
    }
}

/// When a row was taken, where it can be read.
fn at(row: &Result<Kept, StoreError>) -> Option<Millis> {
    row.as_ref().ok().map(|kept| kept.row.at)
}

impl Shard {
    fn age(&self) -> Option<Millis> {
        self.rows.front().and_then(at)
    }
}

/// A row whose letter stands already is one whose deletion was cut short.
fn settled(buried: Result<DeadLetter, LedgerError>) -> Result<(), ProcessorError> {
    match buried {
        Ok(_) | Err(LedgerError::Refused(Refused::Dead | Refused::Done)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn letter_of(row: &OutboxRow, error: &ClientError, now: Millis) -> (Burial, DeadLetter) {
    let url = format!("{TOPIC_SCHEME}{}", row.topic);
    let endpoint = Endpoint::Foreign(url.clone());
    let named = identify_foreign(&endpoint, Delivered::bare(&row.body, &row.id));
    let reason = BuryReason::RefusedByQStash.word().to_owned();
    let status = if let ClientError::Refused { status, .. } = error { *status } else { 0 };
    let text = cut(error.to_string(), MOST_ERROR_TEXT);
    let cause = Cause { error: &text, status, source: "", event_type: "", endpoint: &url };
    let letter = DeadLetter {
        key: named.key,
        fence: 0,
        at: now,
        first_failed: now,
        reason: reason.clone(),
        status,
        fingerprint: cause.fingerprint(),
        error: text.clone(),
        url: url.clone(),
        path: None,
        source: String::new(),
        event_type: None,
        method: "POST".to_owned(),
        headers: row.headers.iter().map(|(name, value)| (name.clone(), vec![value.clone()])).collect(),
        message_id: row.id.clone(),
        first_message_id: row.id.clone(),
        rounds: 0,
        size: row.body.len() as u64,
        body_sha256: Sha256::of(&row.body).hex(),
        redacted: false,
        about: None,
        dlq_id: String::new(),
        replaying: None,
        response: Response::default(),
    };
    let burial = Burial {
        content: named.content,
        source: String::new(),
        event_type: None,
        message_id: row.id.clone(),
        failure: Failure { class: reason, text },
        now,
    };
    (burial, letter)
}
