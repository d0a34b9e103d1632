//! Accepted means durable: QStash has named a message, or a row stands in the outbox, which the sweep publishes. Both carry the same
//! deduplication id.

use std::time::Duration;

use surehook::{
    qstash::{Client, ClientError, client::Destination},
    store::{
        Store,
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
    /// The table, where QStash is away.
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
        match self.publish(row, self.half(moment)).await {
            Ok(message_ids) if !message_ids.is_empty() => Outcome::Accepted { message_ids },
            Ok(_) | Err(ClientError::NotFound) => no_endpoints(&row.topic),
            Err(error) if error.is_away() => {
                tracing::warn!(error = %error, "QStash is away; the event goes to the outbox");
                self.put(row, moment.give_up_at(self.within)).await
            }
            Err(error) => {
                tracing::error!(error = %error, "QStash refuses an event");
                Outcome::BadRequest(
                    "QStash refuses this event for good: it may be larger than its plan allows; the function's log says why"
                        .to_owned(),
                )
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

    /// The row is the promise. Where it can't be kept either, the sender keeps the event.
    async fn put(&self, row: &OutboxRow, until: Instant) -> Outcome {
        if row.body.len() > MOST_BODY {
            return Outcome::QStashAway;
        }
        match timeout_at(until, self.store.put_outbox(row)).await {
            Ok(Ok(())) => Outcome::Accepted { message_ids: Vec::new() },
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
}

fn no_endpoints(topic: &str) -> Outcome {
    Outcome::BadRequest(format!("topic \"{topic}\" has no endpoints at QStash: add one before you send events"))
}
