//! The end of an attempt: `done` or `retryable`, written until it is known to stand.

use std::time::Duration;

use surehook::{
    Millis,
    config::LEASE_MARGIN,
    identity::EventKey,
    ledger::{Failure, Record, Refused, Status, rules::Attempted},
    retry::millis,
    store::LedgerError,
    telemetry::Metric,
    web::{Answer, Moment, Outcome},
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Consumer, Effects, Handler, HandlerError, Trace};

/// The pause between two tries of the same write.
const PAUSE: Duration = Duration::from_millis(50);

/// How a write that is repeated until the deadline ended.
enum Written {
    Stands(Box<Record>),
    Refused(Refused),
    Unknown,
}

impl<H: Handler> Consumer<H> {
    pub(crate) async fn commit(
        &self,
        key: &EventKey,
        record: &Record,
        result: Result<Effects, HandlerError>,
        trace: &mut Trace,
        moment: Moment,
    ) -> Answer {
        let outcome = match result {
            Ok(effects) => self.complete(key, record, effects, moment).await,
            Err(error) => self.fail(key, record, error, trace, moment).await,
        };
        Answer::about(key, outcome)
    }

    async fn complete(&self, key: &EventKey, record: &Record, effects: Effects, moment: Moment) -> Outcome {
        let ended = if effects.ignored { Outcome::Ignored } else { Outcome::Processed };
        let now = moment.at_present();
        let expires_at = (now + millis(self.retention)) / 1_000;
        let write = || self.store.complete(key, record, &effects.delivered, now, expires_at);
        match until_known(self.commit_deadline(moment), write).await {
            Written::Stands(done) => {
                let latency = u64::try_from(done.updated_at - done.first_seen).unwrap_or_default();
                self.telemetry.count(Metric::DeliveryLatency, latency, now);
                ended
            }
            Written::Refused(refused) => self.lease_lost(key, &refused, now),
            Written::Unknown => {
                // The effect happened. Any other answer than success would make QStash repeat it.
                tracing::error!(event = %key, "the event was handled, but done could not be written");
                self.telemetry.count(Metric::Unconfirmed, 1, now);
                ended
            }
        }
    }

    async fn fail(
        &self,
        key: &EventKey,
        record: &Record,
        error: HandlerError,
        trace: &mut Trace,
        moment: Moment,
    ) -> Outcome {
        let (failure, attempted, outcome) = verdict(error, record);
        failure.class.clone_into(&mut trace.reason);
        let now = moment.at_present();
        let write = || self.store.fail(key, record, &attempted, &failure, now);
        match until_known(self.commit_deadline(moment), write).await {
            Written::Stands(_) => outcome,
            Written::Refused(refused) => self.lease_lost(key, &refused, now),
            // The lease runs out by itself, and then the event is claimed again.
            Written::Unknown => Outcome::StoreAway,
        }
    }

    /// Until the lease ends, or Lambda ends the process.
    fn commit_deadline(&self, moment: Moment) -> Instant {
        moment.give_up_at(self.handler_timeout + LEASE_MARGIN)
    }

    /// Somebody else has the event now; what the record says is the answer.
    fn lease_lost(&self, key: &EventKey, refused: &Refused, now: Millis) -> Outcome {
        tracing::warn!(event = %key, record = ?refused, "the lease was lost");
        self.telemetry.count(Metric::LeaseLost, 1, now);
        match refused {
            Refused::Changed(Some(Status::Done)) | Refused::Done => Outcome::Duplicate,
            Refused::Changed(Some(Status::Dead | Status::Purged)) | Refused::Dead => Outcome::Dead,
            Refused::Changed(Some(Status::Running)) | Refused::InProgress(_) => Outcome::InProgress(Duration::ZERO),
            _ => Outcome::LeaseLost,
        }
    }
}

/// Repeats a write whose outcome is unknown. The rules make repeating safe: what stands already is a success.
async fn until_known<F, W>(deadline: Instant, write: F) -> Written
where
    F: Fn() -> W,
    W: Future<Output = Result<Record, LedgerError>>,
{
    loop {
        match timeout_at(deadline, write()).await {
            Ok(Ok(record)) => return Written::Stands(Box::new(record)),
            Ok(Err(LedgerError::Refused(refused))) => return Written::Refused(refused),
            Ok(Err(LedgerError::Store(error))) if error.is_away() => {
                tracing::warn!(error = %error, "a write failed and is repeated");
            }
            Ok(Err(LedgerError::Store(error))) => {
                tracing::error!(error = %error, "a write is refused");
                return Written::Unknown;
            }
            Err(_elapsed) => return Written::Unknown,
        }
        if Instant::now() + PAUSE >= deadline {
            return Written::Unknown;
        }
        sleep(PAUSE).await;
    }
}

/// What a failed handler leaves in the record, and what QStash is told.
fn verdict(error: HandlerError, record: &Record) -> (Failure, Attempted, Outcome) {
    let (class, text, effects, outcome) = match error {
        HandlerError::Permanent { reason, effects } => ("permanent", reason, effects, Outcome::PermanentFailure),
        HandlerError::Transient { reason, retry_after, effects } => {
            ("transient", reason, effects, Outcome::TransientFailure(retry_after))
        }
        HandlerError::Unconfigured => {
            let effects =
                Effects { delivered: record.delivered.clone(), refused: record.refused.clone(), ignored: false };
            ("unconfigured", "no routes are configured".to_owned(), effects, Outcome::NoRoutes)
        }
    };
    let attempted = Attempted { delivered: effects.delivered, refused: effects.refused };
    (Failure { class: class.to_owned(), text }, attempted, outcome)
}
