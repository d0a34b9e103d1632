//! The producer: takes events from senders that cannot speak QStash.
//!
//! | module | what it is for |
//! |---|---|
//! | [`door`] | whose event is this, and does its sender prove it? |
//! | [`events`] | from a request to the events in it |
//! | [`durable`] | QStash, or else the outbox |
//!
//! It answers 202 only when the event is durable.

pub mod config;
pub mod door;
pub mod durable;
pub mod events;
mod wire;

use futures::{StreamExt, stream};
use surehook::{
    signing::SigningSecrets,
    store::outbox::OutboxRow,
    telemetry::{Line, Metric, Telemetry},
    web::{Answer, Incoming, Moment, Outcome},
};

use door::{Admitted, Door};
use durable::Durable;
use events::{Events, Posted};
pub use wire::run;

/// Events of one batch that are made durable at the same time.
const AT_ONCE: usize = 25;

/// What the producer needs, built once in Lambda's init phase.
#[derive(Debug, Clone)]
pub struct Producer {
    /// Names this deployment in deduplication ids, which are shared by a whole QStash account.
    pub stack: String,
    /// What senders are judged by.
    pub door: Door,
    /// What seals the verdict.
    pub seals: SigningSecrets,
    /// Where events become durable.
    pub durable: Durable,
    /// The largest body that is taken, in bytes.
    pub max_body_bytes: usize,
    /// Where the line of each invocation goes.
    pub telemetry: Telemetry,
}

impl Producer {
    /// Takes what one request brings. `fresh_id` is its id unless the sender or its source gives one.
    pub async fn call(&self, request: Incoming, moment: Moment, fresh_id: String) -> Answer {
        let mut source = String::new();
        let outcome = match self.take(&request, moment, &fresh_id, &mut source).await {
            Ok(outcome) | Err(outcome) => outcome,
        };
        self.tell(&source, &outcome, moment);
        outcome.into()
    }

    async fn take(
        &self,
        request: &Incoming,
        moment: Moment,
        fresh_id: &str,
        source: &mut String,
    ) -> Result<Outcome, Outcome> {
        let topic = self.topic(request)?;
        let admitted = self.door.admit(topic, request, moment).await?;
        admitted.source.name.clone_into(source);
        match self.events(topic, &admitted, request, moment, fresh_id)? {
            Events::One(row) => Ok(self.durable.keep(row, moment).await),
            Events::Batch(rows) => Ok(Outcome::Batch(self.keep_all(rows, moment).await)),
        }
    }

    fn topic<'r>(&self, request: &'r Incoming) -> Result<&'r str, Outcome> {
        if request.method != "POST" {
            return Err(Outcome::MethodNotAllowed);
        }
        if request.body.len() > self.max_body_bytes {
            return Err(Outcome::PayloadTooLarge(self.max_body_bytes));
        }
        Ok(request.path.trim_matches('/'))
    }

    fn events(
        &self,
        topic: &str,
        admitted: &Admitted,
        request: &Incoming,
        moment: Moment,
        fresh_id: &str,
    ) -> Result<Events, Outcome> {
        let Admitted { source, routes } = admitted;
        let (stack, seals, now, routes) = (self.stack.as_str(), &self.seals, moment.now, routes.as_deref());
        Posted { stack, topic, source, routes, request, now, seals, fresh_id }.events()
    }

    async fn keep_all(&self, rows: Vec<Result<OutboxRow, Outcome>>, moment: Moment) -> Vec<Outcome> {
        if rows.iter().any(Result::is_err) {
            return rows.into_iter().map(|row| row.err().unwrap_or(Outcome::NotTaken)).collect();
        }
        let keeping = rows.into_iter().flatten().map(|row| self.durable.keep(row, moment));
        stream::iter(keeping).buffered(AT_ONCE).collect().await
    }

    fn tell(&self, source: &str, outcome: &Outcome, moment: Moment) {
        if let Outcome::Unauthorized(_) = outcome {
            self.telemetry.count(Metric::SignatureRefused, 1, moment.now);
        }
        let message_id = match outcome {
            Outcome::Accepted { message_ids, .. } => message_ids.first().map(String::as_str).unwrap_or_default(),
            _ => "",
        };
        let (duration, reason) = (moment.started.elapsed(), outcome.reason());
        self.telemetry.line(&Line { source, message_id, outcome: outcome.word(), reason, duration, ..Line::default() });
    }
}
