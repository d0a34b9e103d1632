//! The outbox: events that the producer took while QStash was away are published, the oldest first.

use surehook::{
    Millis,
    digest::Sha256,
    identity::{Delivered, Endpoint, cut, identify_foreign},
    ledger::{Cause, DeadLetter, Failure, Refused, Response, record::MOST_ERROR_TEXT, rules::Burial},
    qstash::{ClientError, client::Destination},
    retry::BuryReason,
    store::{LedgerError, SHARDS, StoreError, outbox::OutboxRow},
    web::Moment,
};
use tokio::time::Instant;

use crate::{Processor, ProcessorError, replay::TOPIC_SCHEME, reply::Sweep};

/// Rows read at a time.
const ROWS: i32 = 25;

/// What became of a row.
enum Published {
    /// QStash has it, or it was buried.
    Gone,
    /// Its topic has no endpoints.
    Waits,
    /// No row can be published now.
    QStashAway,
}

impl Processor {
    /// Publishes what it can. An error on one row or one shard never stops the next.
    pub(crate) async fn publish_outbox(&self, moment: Moment, deadline: Instant, report: &mut Sweep) {
        for shard in 0..SHARDS {
            if let Err(error) = self.publish_shard(shard, moment, deadline, report).await {
                report.fail(format!("a part of the outbox: {error}"));
            }
        }
    }

    /// Publishes the rows of a shard until QStash is away or time is up. A row that must wait does not stop those behind it.
    async fn publish_shard(
        &self,
        shard: u8,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        let mut from = None;
        loop {
            let page = self.path.store.outbox(shard, ROWS, from).await?;
            let count = page.rows.len();
            for (index, row) in page.rows.into_iter().enumerate() {
                let is_over = Instant::now() >= deadline;
                if is_over || matches!(self.settle_row(row, moment.at_present(), report).await, Published::QStashAway) {
                    report.outbox_left += (count - index) as u64;
                    return Ok(());
                }
            }
            from = page.next;
            if from.is_none() {
                return Ok(());
            }
        }
    }

    async fn settle_row(&self, row: Result<OutboxRow, StoreError>, now: Millis, report: &mut Sweep) -> Published {
        let result = match row {
            Ok(row) => self.take_row(&row, now, report).await,
            Err(error) => Err(error.into()),
        };
        let published = result.unwrap_or_else(|error| {
            report.fail(format!("an outbox row: {error}"));
            Published::Waits
        });
        report.outbox_left += u64::from(matches!(published, Published::Waits));
        published
    }

    async fn take_row(&self, row: &OutboxRow, now: Millis, report: &mut Sweep) -> Result<Published, ProcessorError> {
        let published = self.publish_row(row, now, report).await?;
        if matches!(published, Published::Gone) {
            self.path.store.delete_outbox(row).await?;
        }
        Ok(published)
    }

    async fn publish_row(&self, row: &OutboxRow, now: Millis, report: &mut Sweep) -> Result<Published, ProcessorError> {
        let to = Destination::Topic(row.topic.clone());
        match self.path.qstash.publish(&to, &row.headers, row.body.clone()).await {
            Ok(ids) if !ids.is_empty() => report.published += 1,
            Err(error @ ClientError::Refused { .. }) => {
                self.bury_row(row, &error, now).await?;
                report.outbox_buried += 1;
            }
            Ok(_) | Err(ClientError::NotFound) => {
                tracing::error!(topic = row.topic, "the topic has no endpoints; its outbox rows wait");
                report.leave(format!("outbox row {}: its topic {} has no endpoints", row.id, row.topic));
                return Ok(Published::Waits);
            }
            Err(error) => {
                tracing::warn!(error = %error, "an outbox row could not be published now");
                report.leave(format!("outbox row {}: {error}", row.id));
                return Ok(Published::QStashAway);
            }
        }
        Ok(Published::Gone)
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
