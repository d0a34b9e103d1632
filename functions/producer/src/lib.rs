//! The producer: takes events from senders that cannot speak QStash.
//!
//! It answers 202 only when the event is durable: QStash has named a message, or a row stands in the outbox, which the
//! sweep publishes. Both carry the same deduplication id.

pub mod config;
mod wire;

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use surehook::{
    Millis,
    digest::Sha256,
    payload::Payload,
    qstash::{Client, ClientError, client::Destination},
    secret::Secret,
    store::{
        Store,
        outbox::{MOST_BODY, OutboxRow},
    },
    telemetry::{Line, Telemetry},
    web::{Answer, Incoming, Moment, Outcome},
};
use tokio::time::timeout;

pub use wire::run;

/// What the producer needs, built once in Lambda's init phase.
#[derive(Debug, Clone)]
pub struct Producer {
    /// Names this deployment in deduplication ids, which are shared by a whole QStash account.
    pub stack: String,
    /// What senders prove themselves with.
    pub token: Secret,
    /// The topics that may be posted to.
    pub topics: Vec<String>,
    /// QStash.
    pub qstash: Client,
    /// The table, for the outbox.
    pub store: Store,
    /// How long QStash may take before the outbox serves.
    pub patience: Duration,
    /// The largest body that is taken, in bytes.
    pub max_body_bytes: usize,
    /// Where the line of each invocation goes.
    pub telemetry: Telemetry,
}

/// What a sender posts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Producer {
    /// Takes one event. `fresh_id` is its id unless the sender gave one.
    pub async fn call(&self, request: Incoming, moment: Moment, fresh_id: String) -> Answer {
        let outcome = match self.take(&request, moment, fresh_id).await {
            Ok(outcome) | Err(outcome) => outcome,
        };
        let duration = moment.started.elapsed();
        self.telemetry.line(&Line { source: &request.path, outcome: outcome.word(), duration, ..Line::default() });
        outcome.into()
    }

    async fn take(&self, request: &Incoming, moment: Moment, fresh_id: String) -> Result<Outcome, Outcome> {
        let topic = self.admit(request)?;
        let id = event_id(request, fresh_id)?;
        let row = self.row(topic, id, request, moment.now)?;
        match self.publish(&row).await {
            Ok(message_ids) if !message_ids.is_empty() => Ok(Outcome::Accepted { id: row.id, message_ids }),
            Ok(_nobody) => Err(no_endpoints(topic)),
            Err(error) if error.is_away() => self.keep(row, &error).await,
            Err(ClientError::NotFound) => Err(no_endpoints(topic)),
            Err(error) => {
                tracing::error!(error = %error, "QStash refuses an event");
                Err(Outcome::BadRequest("QStash refuses this event for good; the function's log says why".to_owned()))
            }
        }
    }

    /// Who asks, how, and for which topic.
    fn admit<'a>(&self, request: &'a Incoming) -> Result<&'a str, Outcome> {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| self.token.matches(token)) {
            return Err(Outcome::Unauthorized);
        }
        if request.method != "POST" {
            return Err(Outcome::MethodNotAllowed);
        }
        let topic = request.path.trim_matches('/');
        if !self.topics.iter().any(|known| known == topic) {
            return Err(Outcome::UnknownTopic(topic.to_owned()));
        }
        if request.body.len() > self.max_body_bytes {
            return Err(Outcome::PayloadTooLarge(self.max_body_bytes));
        }
        Ok(topic)
    }

    /// The event as it is published, whether now or from the outbox.
    fn row(&self, topic: &str, id: String, request: &Incoming, now: Millis) -> Result<OutboxRow, Outcome> {
        let body = payload(topic, &id, &request.body, now)?;
        Ok(OutboxRow { headers: self.headers(topic, &id, request), id, at: now, topic: topic.to_owned(), body })
    }

    fn headers(&self, topic: &str, id: &str, request: &Incoming) -> Vec<(String, String)> {
        // The body is part of it: an id that is used again for something else must reach the consumer, which keeps it as a
        // conflict, instead of being dropped by QStash after we said 202.
        let parts = [self.stack.as_bytes(), topic.as_bytes(), id.as_bytes(), &request.body[..]];
        let mut headers = vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("Upstash-Deduplication-Id".to_owned(), Sha256::of_parts(&parts).hex()),
        ];
        for name in ["X-Webhook-ID", "X-Webhook-Retry", "traceparent"] {
            let value = request.header(name).map(str::to_owned);
            headers.extend(value.map(|value| (format!("Upstash-Forward-{name}"), value)));
        }
        headers
    }

    async fn publish(&self, row: &OutboxRow) -> Result<Vec<String>, ClientError> {
        let to = Destination::Topic(row.topic.clone());
        match timeout(self.patience, self.qstash.publish(&to, &row.headers, row.body.clone())).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ClientError::Unavailable { status: 0, text: "no answer in time".to_owned() }),
        }
    }

    /// QStash is away: the row is the promise. Where it can't be kept either, the sender keeps the event.
    async fn keep(&self, row: OutboxRow, error: &ClientError) -> Result<Outcome, Outcome> {
        tracing::warn!(error = %error, "QStash is away; the event goes to the outbox");
        if row.body.len() > MOST_BODY {
            return Err(Outcome::QStashAway);
        }
        match timeout(self.patience, self.store.put_outbox(&row)).await {
            Ok(Ok(())) => Ok(Outcome::Accepted { id: row.id, message_ids: Vec::new() }),
            Ok(Err(error)) => {
                tracing::error!(error = %error, "the outbox is away too; the sender must keep the event");
                Err(Outcome::StoreAway)
            }
            Err(_elapsed) => Err(Outcome::StoreAway),
        }
    }
}

/// The sender's own id, so that its retries are the same event; else a fresh one.
fn event_id(request: &Incoming, fresh: String) -> Result<String, Outcome> {
    let given = ["idempotency-key", "webhook-id"].into_iter().find_map(|name| request.header(name));
    match given.map(str::trim) {
        None | Some("") => Ok(fresh),
        Some(id) if id.len() <= 256 => Ok(id.to_owned()),
        Some(_) => Err(Outcome::BadRequest("Idempotency-Key may have at most 256 characters".to_owned())),
    }
}

/// Our payload around the sender's data, which stays as it is, byte for byte.
fn payload(topic: &str, id: &str, body: &[u8], now: Millis) -> Result<Bytes, Outcome> {
    let posted: Posted<'_> = serde_json::from_slice(body).map_err(|error| {
        Outcome::BadRequest(format!("the body must be JSON with \"eventType\" (a string) and \"data\": {error}"))
    })?;
    if posted.event_type.trim().is_empty() {
        return Err(Outcome::BadRequest("\"eventType\" must not be empty".to_owned()));
    }
    let payload = Payload {
        id: Some(Cow::Borrowed(id)),
        topic: Some(Cow::Borrowed(topic)),
        event_type: posted.event_type,
        data: posted.data,
        timestamp: now,
        retry_count: 0,
    };
    serde_json::to_vec(&payload).map(Bytes::from).map_err(|error| Outcome::BadRequest(error.to_string()))
}

fn no_endpoints(topic: &str) -> Outcome {
    Outcome::BadRequest(format!("topic \"{topic}\" has no endpoints at QStash: add one before you send events"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_published_byte_for_byte() {
        let body = payload("t", "1", br#"{"eventType":"a.b","data":{"n": 1.00}}"#, 5).unwrap();
        let expected = r#"{"id":"1","topic":"t","eventType":"a.b","data":{"n": 1.00},"timestamp":5,"retryCount":0}"#;
        assert_eq!(body, expected);
    }

    #[test]
    fn what_can_not_be_an_event_is_refused_with_a_sentence() {
        for body in ["", "[]", "{}", r#"{"eventType":" ","data":1}"#, r#"{"eventType":1,"data":1}"#] {
            let refused = payload("t", "1", body.as_bytes(), 5).unwrap_err();
            assert!(matches!(&refused, Outcome::BadRequest(sentence) if sentence.contains("eventType")), "{body}");
        }
    }
}
