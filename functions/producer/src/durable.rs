//! Accepted means durable: QStash has named a message, or a row stands in the outbox, which the sweep publishes. Both carry the same
//! deduplication id.
//!
//! | QStash's answer | what becomes of the event |
//! |---|---|
//! | names a message | 202 |
//! | 400, 412, 413: rejects the event itself | 400 for the sender, counted as `RejectedByQStash` |
//! | 404, or no message: the topic has no endpoints | held under its topic, 202 |
//! | anything else, or none: QStash, its host or our token is not as it should be | outbox, 202 |
//!
//! A mistake of the operator is never reported to the sender, because senders take a 4xx as final. A sender gets 503 only if the table
//! takes no row, or if the topic holds too many.

use std::time::Duration;

use surehook::{
    qstash::{Client, ClientError, client::Destination},
    store::{
        Store, StoreError,
        held::Hold,
        outbox::{MOST_BODY, OutboxRow},
    },
    web::{Moment, Outcome, Part},
};
use tokio::time::{Instant, timeout_at};

/// Where events become durable.
#[derive(Debug, Clone)]
pub struct Durable {
    /// QStash, first.
    pub qstash: Client,
    /// The table, where QStash does not take an event.
    pub store: Store,
    /// How long both may take together.
    pub within: Duration,
}

impl Durable {
    /// Makes one event durable, or says why that can't be.
    pub(crate) async fn keep(&self, row: OutboxRow, moment: Moment) -> Part {
        Part { id: Some(row.id.clone()), outcome: self.make_durable(&row, moment).await }
    }

    async fn make_durable(&self, row: &OutboxRow, moment: Moment) -> Outcome {
        let end = moment.give_up_at(self.within);
        match self.publish(row, self.half(moment)).await {
            Ok(message_ids) if !message_ids.is_empty() => Outcome::Accepted { message_ids },
            Ok(_) | Err(ClientError::NotFound) => {
                tracing::error!(topic = row.topic, "the topic has no endpoints at QStash; the event is held");
                stored(row, end, self.store.hold(row)).await
            }
            Err(error) if error.is_away() => {
                tracing::warn!(error = %error, "QStash does not take the event; it goes to the outbox");
                let put = async { self.store.put_outbox(row).await.map(|()| Hold::Held) };
                stored(row, end, put).await
            }
            Err(error) => {
                tracing::error!(error = %error, "QStash rejects an event");
                Outcome::RejectedByQStash
            }
        }
    }

    /// QStash has half of the time.
    fn half(&self, moment: Moment) -> Instant {
        let end = moment.give_up_at(self.within);
        moment.started + end.saturating_duration_since(moment.started) / 2
    }

    async fn publish(&self, row: &OutboxRow, until: Instant) -> Result<Vec<String>, ClientError> {
        let to = Destination::Topic(row.topic.clone());
        match timeout_at(until, self.qstash.publish(&to, &row.headers, row.body.clone())).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ClientError::Unavailable { status: 0, text: "no answer in time".to_owned() }),
        }
    }
}

/// Waits for the write of a row. The row is the promise: if it cannot be kept either, the sender keeps the event.
async fn stored(row: &OutboxRow, until: Instant, write: impl Future<Output = Result<Hold, StoreError>>) -> Outcome {
    if row.body.len() > MOST_BODY {
        return Outcome::QStashAway;
    }
    match timeout_at(until, write).await {
        Ok(Ok(Hold::Held)) => Outcome::Accepted { message_ids: Vec::new() },
        Ok(Ok(Hold::Full)) => Outcome::TopicFull(row.topic.clone()),
        Ok(Err(error)) => {
            tracing::error!(error = %error, "the outbox is away too; the sender must keep the event");
            if error.is_invalid() { Outcome::QStashAway } else { Outcome::StoreAway }
        }
        Err(_elapsed) => {
            tracing::error!("the outbox does not answer in time; the sender must keep the event");
            Outcome::StoreAway
        }
    }
}
