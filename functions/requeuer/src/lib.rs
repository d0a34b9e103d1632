//! The requeuer: QStash calls it when it gives a message up.
//!
//! The callback is only a notice, verified like any delivery; the entry of QStash's dead-letter queue is the truth. What
//! becomes of the entry is the failure path's business ([`surehook::failure`]), which the sweep shares.

pub mod config;
mod wire;

use std::{sync::Arc, time::Duration};

use surehook::{
    failure::{Case, FailureError, FailurePath, Settled},
    identity::EventKey,
    qstash::{Client, ClientError, DlqEntry, FailureCallback, KeyRing, Verified},
    store::routes_cache::RoutesCache,
    telemetry::{Line, Metric, Tally, Telemetry, trace_id},
    web::{Answer, EndpointUrl, Incoming, Moment, Outcome},
};
use tokio::time::timeout_at;

pub use wire::run;

/// How long one callback may take. QStash waits for minutes; Lambda's limit, where it is shorter, wins.
const LONGEST: Duration = Duration::from_secs(25);

/// What the requeuer needs, built once in Lambda's init phase.
#[derive(Debug, Clone)]
pub struct Requeuer {
    /// The keys that QStash signs with.
    pub keys: Arc<KeyRing>,
    /// Our public URLs; without any, the domain that Lambda names serves.
    pub bases: Vec<EndpointUrl>,
    /// The failure path.
    pub path: Arc<FailurePath>,
    /// The routes, which say by what names events go.
    pub routes: Arc<RoutesCache<()>>,
    /// Where the line of each invocation goes.
    pub telemetry: Telemetry,
}

/// What one invocation learns, for its log line.
#[derive(Debug, Default)]
struct Trace {
    event: Option<EventKey>,
    message_id: String,
    trace: String,
    reason: &'static str,
}

impl Requeuer {
    /// Takes one failure callback. `draw` spreads the waits.
    pub async fn call(&self, request: Incoming, moment: Moment, draw: f64) -> Answer {
        let (mut trace, tally) = (Trace::default(), Tally::default());
        trace_id(&request.headers).clone_into(&mut trace.trace);
        let work = self.take(request, moment, draw, &mut trace, &tally);
        let outcome = match timeout_at(moment.give_up_at(LONGEST), work).await {
            Ok(Ok(outcome) | Err(outcome)) => outcome,
            // Whatever was done may be repeated.
            Err(_elapsed) => Outcome::StoreAway,
        };
        self.tell(&outcome, &trace, &tally, moment);
        outcome.into()
    }

    async fn take(
        &self,
        request: Incoming,
        moment: Moment,
        draw: f64,
        trace: &mut Trace,
        tally: &Tally,
    ) -> Result<Outcome, Outcome> {
        let verified = self.keys.verify(&request, &self.bases, moment, tally).await;
        let verified = verified.map_err(|refusal| {
            trace.reason = refusal.word();
            Outcome::SignatureRefused
        })?;
        let Ok(callback) = FailureCallback::parse(verified.body()) else {
            tracing::error!("a failure callback can't be read; the sweep will take its entry");
            return Ok(Outcome::UndecodableCallback);
        };
        callback.source_message_id.clone_into(&mut trace.message_id);
        // Entries of two regions may have the same id.
        let region = verified.region();
        let Some(entry) = entry_of(self.path.qstash.of(region), &callback).await? else {
            return Ok(Outcome::Settled);
        };
        if self.path.is_misconfigured(&entry) {
            tally.add(Metric::Misconfigured, 1);
        }
        let routes = self.routes.current(0, moment).await.map_err(|error| failed(&error.into()))?;
        trace.event = Some(self.path.key_of(&entry, &routes));
        let requeuer = self.own_url(&verified);
        let case = Case::new(&entry, verified.url(), &requeuer, &routes, moment.now).in_region(region);
        let settled = self.path.settle(&case, moment.now, draw).await.map_err(|error| failed(&error))?;
        Ok(report(settled, tally))
    }

    /// Our own URL, as QStash called it, without the query that carries the round.
    fn own_url(&self, verified: &Verified) -> EndpointUrl {
        self.bases.first().cloned().unwrap_or_else(|| verified.url().clone())
    }

    fn tell(&self, outcome: &Outcome, trace: &Trace, tally: &Tally, moment: Moment) {
        let Trace { event, message_id, trace, reason } = trace;
        let counts = tally.counts();
        let event = event.as_ref();
        self.telemetry.line(Line { event, message_id, trace, reason, counts, ..Line::of(outcome, moment) });
    }
}

/// The entry that a callback names; `None` if it was used already, or is not what the callback says.
async fn entry_of(qstash: &Client, callback: &FailureCallback) -> Result<Option<DlqEntry>, Outcome> {
    let Some(id) = callback.dlq_id.as_deref().filter(|id| !id.is_empty()) else {
        tracing::error!("a failure callback names no entry; the sweep will take it");
        return Ok(None);
    };
    match qstash.dlq_entry(id).await {
        Ok(entry) if entry.message_id == callback.source_message_id && entry.url == callback.url => Ok(Some(entry)),
        Ok(_other) => {
            tracing::error!("a failure callback and its entry differ; the entry is left to the sweep");
            Ok(None)
        }
        Err(ClientError::NotFound) => Ok(None),
        Err(error) => Err(failed(&error.into())),
    }
}

fn report(settled: Settled, tally: &Tally) -> Outcome {
    match settled {
        Settled::Requeued(wait) => {
            tracing::info!(wait_s = wait.as_secs(), "the event is delivered again later");
            tally.add(Metric::Requeued, 1);
            Outcome::Requeued
        }
        Settled::Buried(letter) => {
            tracing::error!(letter, "the event was given up: see `surehook dead-letters show`");
            tally.add(Metric::DeadLettered, 1);
            Outcome::Buried
        }
        Settled::Unmatched(letter) => {
            tracing::info!(letter, "no route takes the event: it is kept as a dead letter that expires");
            tally.add(Metric::Unmatched, 1);
            Outcome::Buried
        }
        Settled::Nothing => Outcome::Settled,
        Settled::Busy(rest) => Outcome::InProgress(rest),
    }
}

fn failed(error: &FailureError) -> Outcome {
    tracing::error!(error = %error, "a failed event could not be settled now");
    match error {
        FailureError::QStash(_) => Outcome::QStashAway,
        FailureError::Store(_) | FailureError::Contended(_) => Outcome::StoreAway,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The alarm *Dead letters* sums `DeadLettered`.
    #[test]
    fn an_unmatched_event_that_is_kept_rings_no_alarm() {
        for (settled, metric) in
            [(Settled::Unmatched("x".into()), Metric::Unmatched), (Settled::Buried("x".into()), Metric::DeadLettered)]
        {
            let tally = Tally::default();
            assert_eq!(report(settled, &tally), Outcome::Buried);
            assert_eq!(tally.counts(), [(metric, 1)]);
        }
    }
}
