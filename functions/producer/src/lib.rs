//! The producer: takes events from senders that cannot speak QStash.
//!
//! | module | what it is for |
//! |---|---|
//! | [`door`] | whose event is this, and does its sender prove it? |
//! | [`events`] | from a request to the events in it |
//! | [`senders`] | which sources are accepted and rejected, for the alarm |
//! | [`kept`] | rejected requests that look like their sender's own |
//! | [`recheck`] | verifies those again, once the secret is mended |
//! | [`durable`] | QStash, or else the outbox |
//!
//! It answers 202 only when the event is durable.

pub mod config;
pub mod door;
pub mod durable;
pub mod events;
pub mod kept;
pub mod recheck;
pub mod senders;
mod wire;

use futures::{StreamExt, stream};
use surehook::{
    identity::cut,
    qstash::client::is_name,
    sources::seal::SEAL_SECRET,
    store::{kept::KeptRequest, outbox::OutboxRow},
    telemetry::{Line, Metric, Tally, Telemetry, trace_id},
    web::{Answer, Incoming, Moment, Outcome, Part},
};

use door::{Admitted, Door, Suspect};
use durable::Durable;
use events::{Events, Posted};
use kept::RejectedRequests;
use senders::Senders;
pub use wire::{connect, run};

/// Bytes of a stranger's topic that a log line has.
const LONGEST_NAME: usize = 64;
/// Events of one batch that are made durable at the same time.
const AT_ONCE: usize = 25;

/// What the producer needs, built once in Lambda's init phase.
#[derive(Debug, Clone)]
pub struct Producer {
    /// Names this deployment in deduplication ids, which are shared by a whole QStash account.
    pub stack: String,
    /// What senders are judged by.
    pub door: Door,
    /// Counts of accepted and rejected requests.
    pub senders: Senders,
    /// Keeps rejected requests that look like their sender's own.
    pub rejected: RejectedRequests,
    /// Where events become durable.
    pub durable: Durable,
    /// The largest body that is taken, in bytes.
    pub max_body_bytes: usize,
    /// Where the line of each invocation goes.
    pub telemetry: Telemetry,
}

/// What one invocation learns of its sender, for its log line.
#[derive(Debug, Default)]
struct Trace {
    source: String,
    is_believed: bool,
}

impl Producer {
    /// Takes what one request brings. `fresh_id` is its id unless the sender or its source gives one.
    pub async fn call(&self, request: Incoming, moment: Moment, fresh_id: String) -> Answer {
        let mut trace = Trace::default();
        let taken = self.take(&request, moment, &fresh_id, &mut trace).await;
        let part = taken.unwrap_or_else(Part::from);
        self.tell(&trace, &part.outcome, &request, moment);
        part.into()
    }

    async fn take(
        &self,
        request: &Incoming,
        moment: Moment,
        fresh_id: &str,
        trace: &mut Trace,
    ) -> Result<Part, Outcome> {
        let topic = self.topic(request)?;
        // Until its source is known the topic tells an operator whose sender is turned away.
        if is_name(topic) {
            trace.source = cut(topic.to_owned(), LONGEST_NAME);
        }
        let admitted = self.admit(topic, request, moment, fresh_id).await?;
        admitted.source.name.clone_into(&mut trace.source);
        trace.is_believed = true;
        let events = match self.events(topic, &admitted, request, moment, fresh_id) {
            // It may be right for the routes of this moment.
            Err(refused) => {
                let again = self.door.judge_again(admitted.routes, refused, topic, request, moment).await?;
                self.events(topic, &again, request, moment, fresh_id)?
            }
            Ok(events) => events,
        };
        Ok(self.make_durable(events, moment).await)
    }

    async fn make_durable(&self, events: Events, moment: Moment) -> Part {
        match events {
            Events::One(row) => self.durable.keep(row, moment).await,
            Events::Batch(rows) => Outcome::Batch(self.keep_all(rows, moment).await).into(),
        }
    }

    /// Authenticates the sender, and counts how that ended. A rejected request that looks like a sender's own is kept.
    async fn admit(
        &self,
        topic: &str,
        request: &Incoming,
        moment: Moment,
        fresh_id: &str,
    ) -> Result<Admitted, Outcome> {
        let rejected = match self.door.admit(topic, request, moment).await {
            Ok(admitted) => {
                self.senders.accept(&admitted.source.name, moment);
                return Ok(admitted);
            }
            Err(rejected) => rejected,
        };
        let source = match self.door.suspect(topic, &rejected, request, moment).await {
            Suspect::Sender(source) => {
                self.senders.reject(&source.name, moment);
                Some(source)
            }
            Suspect::SecretMissing(source) => {
                self.senders.report_missing_secret(&source.name, moment);
                Some(source)
            }
            Suspect::UnknownTopic => {
                self.senders.report_unconfigured(moment);
                None
            }
            Suspect::Stranger => None,
        };
        if let Some(source) = source {
            let kept = KeptRequest::new(&source, topic, request, fresh_id, moment.now);
            self.rejected.keep(&source.name, &kept, moment).await;
        }
        Err(rejected)
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
        let (stack, seals) = (self.stack.as_str(), self.door.secrets.named(SEAL_SECRET));
        let (now, routes) = (moment.now, routes.as_deref());
        Posted { stack, topic, source, routes, request, now, seals, fresh_id }.events()
    }

    async fn keep_all(&self, rows: Vec<Result<OutboxRow, Outcome>>, moment: Moment) -> Vec<Part> {
        if rows.iter().any(Result::is_err) {
            return rows.into_iter().map(|row| row.err().unwrap_or(Outcome::NotTaken).into()).collect();
        }
        let keeping = rows.into_iter().flatten().map(|row| self.durable.keep(row, moment));
        stream::iter(keeping).buffered(AT_ONCE).collect().await
    }

    fn tell(&self, sender: &Trace, outcome: &Outcome, request: &Incoming, moment: Moment) {
        let message_id = match outcome {
            Outcome::Accepted { message_ids } => message_ids.first().map(String::as_str).unwrap_or_default(),
            _ => "",
        };
        let line = Line::of(outcome, moment);
        // Anybody can post to a topic whose sender we have no secret of, or while the table is away.
        let is_anybodys = !sender.is_believed && matches!(outcome, Outcome::SecretMissing(_) | Outcome::StoreAway);
        let refused = line.refused.or(is_anybodys.then_some(Metric::Rejected));
        let tally = Tally::default();
        if refused.is_none() {
            count(outcome, &tally);
        }
        let (source, counts, trace) = (sender.source.as_str(), tally.counts(), trace_id(&request.headers));
        self.telemetry.line(Line { source, message_id, trace, refused, counts, ..line });
    }
}

fn count(outcome: &Outcome, tally: &Tally) {
    match outcome {
        Outcome::Accepted { message_ids } => {
            tally.add(Metric::Accepted, 1);
            if message_ids.is_empty() {
                tally.add(Metric::Outboxed, 1);
            }
        }
        Outcome::Batch(parts) => parts.iter().for_each(|part| count(&part.outcome, tally)),
        Outcome::RejectedByQStash => {
            tally.add(Metric::RejectedByQStash, 1);
            tally.add(Metric::Failed, 1);
        }
        _ => tally.add(Metric::Failed, 1),
    }
}
