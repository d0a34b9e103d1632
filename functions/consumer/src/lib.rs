//! The consumer: QStash calls it with every event.
//!
//! verify → identify → admit → claim → handle → complete (or fail). [`Consumer::call`] is the whole of it; [`handler`] is where a
//! user's own work goes, [`deliver`] the handler that is there by default. The consumer never waits for anything but its
//! handler and the table, and never answers anything but an [`Answer`].

mod admit;
pub mod breakers;
mod cause;
mod commit;
pub mod config;
pub mod deliver;
pub mod handler;
pub mod heard;
pub mod routes;
pub mod unmatched;
mod wire;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use surehook::{
    Millis,
    config::LEASE_MARGIN,
    identity::{Delivered, Endpoint, EventKey, cut},
    ledger::{Claim, Record, Refused},
    qstash::{KeyRing, Verified, client::EVENT_HEADER},
    retry::millis,
    routes::Routes,
    sources::{CANARY, SourceSecrets},
    store::{LedgerError, Store, StoreError},
    telemetry::{Line, Metric, Tally, Telemetry, trace_id},
    web::{Answer, EndpointUrl, Incoming, Moment, Outcome},
};
use tokio::time::{Instant, timeout_at};

use commit::Ending;
pub use handler::{Attempt, Effects, Event, Handler, HandlerError};
use heard::HeardSources;
use routes::RoutesCache;
use unmatched::UnmatchedTypes;
pub use wire::{build, deliverer, run, run_with};

/// What the consumer needs, built once in Lambda's init phase.
#[derive(Debug)]
pub struct Consumer<H> {
    /// The keys that QStash signs with.
    pub keys: KeyRing,
    /// Our public URLs.
    pub bases: Vec<EndpointUrl>,
    /// The table.
    pub store: Store,
    /// Sources and routes.
    pub routes: Arc<RoutesCache>,
    /// The secrets of senders, and of the producer's seal.
    pub secrets: SourceSecrets,
    /// What to do with an event.
    pub handler: H,
    /// How long the handler may take.
    pub handler_timeout: Duration,
    /// How long a done record is kept.
    pub retention: Duration,
    /// The largest body that is taken, in bytes.
    pub max_body_bytes: usize,
    /// Event types that no route took lately.
    pub unmatched: UnmatchedTypes,
    /// Sources with a `silence` that were heard lately.
    pub heard: HeardSources,
    /// Where the line of each invocation goes.
    pub telemetry: Telemetry,
}

/// An event that knows its name.
#[derive(Debug)]
struct Named {
    event: Event,
    /// Digest of what must be equal when the key is.
    content: String,
}

/// What QStash brought, and where.
#[derive(Debug, Clone, Copy)]
struct Delivery<'a> {
    endpoint: &'a Endpoint,
    verified: &'a Verified,
    request: &'a Incoming,
    moment: Moment,
}

/// What one invocation learns, for its log line.
#[derive(Debug, Default)]
struct Trace {
    source: String,
    event_type: String,
    message_id: String,
    trace: String,
    attempt: u64,
    reason: String,
    /// How long the source may be silent.
    silence: Option<Millis>,
}

impl<H: Handler> Consumer<H> {
    /// Takes one delivery.
    pub async fn call(&self, request: Incoming, moment: Moment) -> Answer {
        let mut trace = Trace { trace: trace_id(&request.headers).to_owned(), ..Trace::default() };
        let tally = Tally::default();
        let answer = match self.take(request, moment, &mut trace, &tally).await {
            Ok(answer) | Err(answer) => answer,
        };
        if let Some(silence) = trace.silence.filter(|_| ended(&answer.outcome).is_some_and(|end| end != Metric::Failed))
        {
            self.heard.note(&self.store, &trace.source, silence, moment).await;
        }
        self.tell(&answer, &trace, &tally, moment);
        answer
    }

    async fn take(
        &self,
        request: Incoming,
        moment: Moment,
        trace: &mut Trace,
        tally: &Tally,
    ) -> Result<Answer, Answer> {
        let verified = self.verify(&request, moment, trace, tally).await?;
        if verified.body().len() > self.max_body_bytes {
            return Err(Outcome::TooLarge.into());
        }
        let named = timeout_at(self.limit(moment), self.name_event(&verified, &request, trace, moment)).await;
        let Named { event, content } = named.unwrap_or_else(|_elapsed| Err(Outcome::StoreAway.into()))?;
        let retried = request.retried();
        let claim = self.claim_of(&event, content, request.request_id, trace, moment);
        let (key, record) = self.claim(event.key.clone(), &claim, moment).await?;
        let event = Event { key, ..event };
        trace.attempt = record.attempts;
        let attempt = self.attempt_of(&record, retried, moment);
        let result = self.handle(&event, &attempt, moment, tally).await;
        let is_unmatched = event.source != CANARY && handler::is_unmatched(&result);
        let ending = Ending { key: &event.key, record: &record, attempt: &attempt, moment, tally };
        let answer = self.commit(ending, result, trace).await;
        if is_unmatched {
            self.unmatched.note(&self.store, &event.source, event.event_type.as_deref(), moment.now).await;
        }
        Ok(answer)
    }

    async fn verify(
        &self,
        request: &Incoming,
        moment: Moment,
        trace: &mut Trace,
        tally: &Tally,
    ) -> Result<Verified, Answer> {
        self.keys.verify(request, &self.bases, moment, tally).await.map_err(|refusal| {
            refusal.word().clone_into(&mut trace.reason);
            Outcome::SignatureRefused.into()
        })
    }

    /// Names the event and admits its sender. None is refused by routes that were replaced: who mended them in time must not find a
    /// dead letter.
    async fn name_event(
        &self,
        verified: &Verified,
        request: &Incoming,
        trace: &mut Trace,
        moment: Moment,
    ) -> Result<Named, Answer> {
        let endpoint = Endpoint::of(verified.url(), &request.bases(&self.bases));
        let source = endpoint.source().unwrap_or_default();
        source.clone_into(&mut trace.source);
        // No signature covers it, so it gets no more room in the record than a real one needs.
        trace.message_id = cut(request.header("upstash-message-id").unwrap_or_default().to_owned(), 128);
        let least = request.least_routes();
        let known = self.routes.knowing(|routes| routes.known(source).is_some(), least, moment).await;
        let routes = known.map_err(away)?;
        let delivery = Delivery { endpoint: &endpoint, verified, request, moment };
        let refused = match self.name_by(&routes, delivery, trace).await {
            Err(answer) if matches!(answer.outcome, Outcome::SenderRefused(_) | Outcome::Malformed) => answer,
            named => return named,
        };
        let current = self.routes.current(least, moment).await.map_err(away)?;
        let named = if current.version == routes.version {
            Err(refused)
        } else {
            self.name_by(&current, delivery, trace).await
        };
        named.inspect_err(|answer| answer.outcome.reason().clone_into(&mut trace.reason))
    }

    async fn name_by(&self, routes: &Routes, delivery: Delivery<'_>, trace: &mut Trace) -> Result<Named, Answer> {
        let Delivery { endpoint, verified, request, .. } = delivery;
        let source = endpoint.source().unwrap_or_default();
        let message = request.header(EVENT_HEADER).unwrap_or(&trace.message_id);
        let identified = routes.identify(
            endpoint,
            Delivered::new(&request.headers, verified.body(), message).with_digest(verified.digest()),
        );
        let known = routes.known(source).zip(identified);
        let (known, identified) = known.ok_or_else(|| Answer::from(Outcome::SourceUnconfigured(source.to_owned())))?;
        trace.silence = known.silence;
        identified.event_type.clone().unwrap_or_default().clone_into(&mut trace.event_type);
        if identified.malformed {
            return Err(Answer::about(&identified.key, Outcome::Malformed));
        }
        let event = Event {
            key: identified.key,
            source: source.to_owned(),
            event_type: identified.event_type,
            headers: request.headers.clone(),
            body: verified.body().clone(),
        };
        let named = Named { event, content: identified.content };
        self.admit(&known, &named, delivery).await?;
        Ok(named)
    }

    fn claim_of(&self, event: &Event, content: String, owner: String, trace: &Trace, moment: Moment) -> Claim {
        Claim {
            owner,
            content,
            source: event.source.clone(),
            event_type: event.event_type.clone(),
            message_id: trace.message_id.clone(),
            now: moment.now,
            lease_until: moment.now + millis(self.handler_timeout + LEASE_MARGIN),
        }
    }

    /// Takes the lease, and returns it with the key of the record that it is for.
    async fn claim(&self, key: EventKey, claim: &Claim, moment: Moment) -> Result<(EventKey, Record), Answer> {
        let Ok((key, claimed)) = timeout_at(self.limit(moment), self.claim_event(key.clone(), claim)).await else {
            return Err(Answer::about(&key, Outcome::StoreAway));
        };
        match claimed {
            Ok(record) => Ok((key, record)),
            Err(LedgerError::Refused(refused)) => Err(Answer::about(&key, self.refusal(&refused, moment))),
            Err(LedgerError::Store(error)) if error.is_invalid() => {
                tracing::error!(error = %error, "DynamoDB can never take this event");
                Err(Answer::about(&key, Outcome::PermanentFailure))
            }
            Err(LedgerError::Store(error)) => Err(Answer { event: Some(key), ..away(error) }),
        }
    }

    /// Claims an event. Content that collides with another event's has a record of its own once it is a dead letter. It is claimed
    /// under that record after an operator has replayed the letter as a new event.
    async fn claim_event(&self, key: EventKey, claim: &Claim) -> (EventKey, Result<Record, LedgerError>) {
        let claimed = self.claim_or_renew(&key, claim).await;
        if !matches!(claimed, Err(LedgerError::Refused(Refused::Conflict))) {
            return (key, claimed);
        }
        let own = key.of_conflict(&claim.content);
        match self.store.record(&own).await {
            Ok(Some(record)) if record.is_replayed_conflict(claim.now) => {
                let claimed = self.claim_or_renew(&own, claim).await;
                (own, claimed)
            }
            Ok(_) => (key, claimed),
            Err(error) => (key, Err(error.into())),
        }
    }

    async fn claim_or_renew(&self, key: &EventKey, claim: &Claim) -> Result<Record, LedgerError> {
        match self.store.claim(key, claim).await {
            Err(LedgerError::Refused(Refused::Expired { fence, expires_at })) => {
                self.store.renew(key, claim, fence, expires_at).await
            }
            other => other,
        }
    }

    fn refusal(&self, refused: &Refused, moment: Moment) -> Outcome {
        match refused {
            Refused::Done => Outcome::Duplicate,
            Refused::Dead => Outcome::Dead,
            Refused::Conflict => Outcome::Conflict,
            Refused::InProgress(until) => Outcome::InProgress(rest(*until, moment.at_present())),
            Refused::Expired { .. } | Refused::Changed(_) => Outcome::InProgress(Duration::ZERO),
        }
    }

    fn attempt_of(&self, record: &Record, retried: u32, moment: Moment) -> Attempt {
        Attempt {
            number: record.attempts,
            retried,
            fence: record.fence,
            delivered: record.delivered.clone(),
            refused: record.refused.clone(),
            last_error: record.last_error.as_ref().map(|failure| failure.text.clone()).unwrap_or_default(),
            now: moment.now,
            started: moment.started,
            deadline: self.limit(moment),
        }
    }

    /// The end of the handler's time, and of all that comes before the handler: a slow table must leave time to answer, and
    /// no handler may start when its lease is nearly over.
    fn limit(&self, moment: Moment) -> Instant {
        moment.work_until(self.handler_timeout)
    }

    /// Runs the handler until its deadline. A panic is a defect of the handler, not a verdict on the event.
    async fn handle(
        &self,
        event: &Event,
        attempt: &Attempt,
        moment: Moment,
        tally: &Tally,
    ) -> Result<Effects, HandlerError> {
        let began = moment.at_present();
        if event.source == CANARY {
            return Ok(Effects { ignored: true, ..Effects::default() });
        }
        let work = AssertUnwindSafe(self.handler.handle(event, attempt)).catch_unwind();
        let result = match timeout_at(attempt.deadline, work).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => Err(HandlerError::panicked(attempt)),
            Err(_elapsed) => Err(HandlerError::transient("the handler ran out of time", attempt)),
        };
        let took = u64::try_from(moment.at_present() - began).unwrap_or_default();
        tally.add(Metric::HandlerDuration, took);
        result
    }

    fn tell(&self, answer: &Answer, trace: &Trace, tally: &Tally, moment: Moment) {
        if let Some(metric) = ended(&answer.outcome) {
            tally.add(metric, 1);
        }
        if matches!(answer.outcome, Outcome::NoRoutes | Outcome::SourceUnconfigured(_) | Outcome::SecretMissing(_)) {
            tally.add(Metric::Unconfigured, 1);
        }
        self.telemetry.line(Line {
            event: answer.event.as_ref(),
            source: &trace.source,
            event_type: &trace.event_type,
            message_id: &trace.message_id,
            trace: &trace.trace,
            attempt: trace.attempt,
            reason: &trace.reason,
            counts: tally.counts(),
            ..Line::of(&answer.outcome, moment)
        });
    }
}

/// Returns the metric that counts the end of a delivery. One that QStash did not sign is counted elsewhere.
fn ended(outcome: &Outcome) -> Option<Metric> {
    match outcome {
        Outcome::Processed => Some(Metric::Delivered),
        Outcome::Duplicate | Outcome::Dead => Some(Metric::Duplicate),
        Outcome::Ignored | Outcome::Unmatched => Some(Metric::Ignored),
        Outcome::SignatureRefused => None,
        _ => Some(Metric::Failed),
    }
}

fn rest(until: Millis, now: Millis) -> Duration {
    Duration::from_millis(u64::try_from(until - now).unwrap_or_default())
}

fn away(error: StoreError) -> Answer {
    tracing::error!(error = %error, "the table does not answer as it should");
    Outcome::StoreAway.into()
}
