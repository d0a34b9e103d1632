//! The end of an attempt: `done` or `retryable`, written until it is known to stand.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use surehook::{
    Millis,
    config::LEASE_MARGIN,
    identity::EventKey,
    ledger::{Failure, Record, Refused, Status, rules::Attempted},
    retry::millis,
    store::{CommitError, StoreError},
    telemetry::{Metric, Tally},
    web::{Answer, Moment, Outcome},
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Attempt, Consumer, Effects, Handler, HandlerError, Trace, cause::innermost};

/// The pause between two tries of the same write.
const PAUSE: Duration = Duration::from_millis(50);

/// The attempt that is being ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending<'a> {
    pub(crate) key: &'a EventKey,
    pub(crate) record: &'a Record,
    pub(crate) attempt: &'a Attempt,
    pub(crate) moment: Moment,
    pub(crate) tally: &'a Tally,
}

/// How a write that is repeated until the deadline ended.
enum Written {
    Stands(Box<Record>),
    Refused(Refused),
    /// It will never be written as it is.
    Never(CommitError),
    /// No answer came in time: it may stand or not.
    Unknown,
}

impl<H: Handler> Consumer<H> {
    pub(crate) async fn commit(
        &self,
        ending: Ending<'_>,
        result: Result<Effects, HandlerError>,
        trace: &mut Trace,
    ) -> Answer {
        let outcome = match result {
            Ok(effects) if effects.writes.is_empty() => self.complete(ending, effects).await,
            Ok(effects) => self.complete_with(ending, effects, trace).await,
            Err(error) => self.fail(ending, error, trace).await,
        };
        Answer::about(ending.key, outcome)
    }

    async fn complete(&self, ending: Ending<'_>, effects: Effects) -> Outcome {
        let Ending { key, record, moment, tally, .. } = ending;
        let (now, expires_at) = self.ends_at(moment);
        let write = async || Ok(self.store.complete(key, record, &effects.delivered, now, expires_at).await?);
        match until_known(self.commit_deadline(moment), write).await {
            Written::Stands(done) => completed(&effects, &done, tally),
            Written::Refused(refused) => lease_lost(key, &refused, tally),
            Written::Never(_) | Written::Unknown => {
                // The effect happened. Any other answer than success would make QStash repeat it.
                tracing::error!(event = %key, "the event was handled, but done could not be written");
                tally.add(Metric::Unconfirmed, 1);
                handled(&effects)
            }
        }
    }

    /// The effect is in the same transaction as `done`. So an unknown outcome is never a success here: the next delivery
    /// finds `done`, or does it all.
    async fn complete_with(&self, ending: Ending<'_>, effects: Effects, trace: &mut Trace) -> Outcome {
        let Ending { key, record, attempt, moment, tally } = ending;
        let (now, expires_at) = self.ends_at(moment);
        let write = || self.store.complete_with(key, record, &effects.delivered, &effects.writes, now, expires_at);
        match until_known(self.commit_deadline(moment), write).await {
            Written::Stands(done) => completed(&effects, &done, tally),
            Written::Refused(refused) => lease_lost(key, &refused, tally),
            Written::Unknown => unconfirmed(ending, &effects.delivered),
            Written::Never(error) => {
                let error = self.not_written(error, attempt).having_reached(&effects);
                self.fail(ending, error, trace).await
            }
        }
    }

    /// What became of the attempt where DynamoDB will not take the handler's writes.
    fn not_written(&self, error: CommitError, attempt: &Attempt) -> HandlerError {
        match error {
            CommitError::Condition(failed) => {
                let judge = AssertUnwindSafe(|| self.handler.condition_failed(&failed, attempt));
                catch_unwind(judge).unwrap_or_else(|_panic| HandlerError::panicked(attempt))
            }
            // A missing table or permission can be mended; a request that is wrong in itself can't.
            CommitError::Store(error) if !error.is_invalid() => HandlerError::transient(&why(&error), attempt),
            CommitError::Store(error) => HandlerError::permanent(&why(&error), attempt),
            other => HandlerError::permanent(&other.to_string(), attempt),
        }
    }

    async fn fail(&self, ending: Ending<'_>, error: HandlerError, trace: &mut Trace) -> Outcome {
        let Ending { key, record, moment, tally, .. } = ending;
        let (failure, attempted, outcome) = verdict(error, record);
        failure.class.clone_into(&mut trace.reason);
        let now = moment.at_present();
        let write = async || Ok(self.store.fail(key, record, &attempted, &failure, now).await?);
        match until_known(self.commit_deadline(moment), write).await {
            Written::Stands(_) => outcome,
            Written::Refused(refused) => lease_lost(key, &refused, tally),
            // The lease runs out by itself, and then the event is claimed again.
            Written::Never(_) | Written::Unknown => unconfirmed(ending, &attempted.delivered),
        }
    }

    /// The present, and when DynamoDB may forget a record that is done now, in seconds.
    fn ends_at(&self, moment: Moment) -> (Millis, i64) {
        let now = moment.at_present();
        (now, (now + millis(self.retention)) / 1_000)
    }

    /// Until when an end of the attempt is written: the end of the lease, or of the process.
    fn commit_deadline(&self, moment: Moment) -> Instant {
        moment.give_up_at(self.handler_timeout + LEASE_MARGIN)
    }
}

fn completed(effects: &Effects, done: &Record, tally: &Tally) -> Outcome {
    tally.add(Metric::DeliveryLatency, u64::try_from(done.updated_at - done.first_seen).unwrap_or_default());
    tally.add(Metric::Attempts, done.attempts);
    handled(effects)
}

/// The attempt could not be ended. Destinations that accepted the event, but are not known to have done so, will get it
/// again.
fn unconfirmed(ending: Ending<'_>, delivered: &[String]) -> Outcome {
    if delivered.iter().any(|id| !ending.record.delivered.contains(id)) {
        tracing::error!(event = %ending.key, "destinations accepted the event, but that could not be written");
        ending.tally.add(Metric::Unconfirmed, 1);
    }
    Outcome::StoreAway
}

/// Somebody else has the event now; what the record says is the answer.
fn lease_lost(key: &EventKey, refused: &Refused, tally: &Tally) -> Outcome {
    tracing::warn!(event = %key, record = ?refused, "the lease was lost");
    tally.add(Metric::LeaseLost, 1);
    match refused {
        Refused::Changed(Some(Status::Done)) | Refused::Done => Outcome::Duplicate,
        Refused::Changed(Some(Status::Dead | Status::Purged)) | Refused::Dead => Outcome::Dead,
        Refused::Changed(Some(Status::Running)) | Refused::InProgress(_) => Outcome::InProgress(Duration::ZERO),
        _ => Outcome::LeaseLost,
    }
}

fn handled(effects: &Effects) -> Outcome {
    if effects.ignored { Outcome::Ignored } else { Outcome::Processed }
}

/// The innermost error says what DynamoDB minds.
fn why(error: &StoreError) -> String {
    format!("{error}: {}", innermost(error))
}

/// Repeats a write whose outcome is unknown. The rules make repeating safe: what stands already is a success.
async fn until_known<F, W>(deadline: Instant, write: F) -> Written
where
    F: Fn() -> W,
    W: Future<Output = Result<Record, CommitError>>,
{
    loop {
        match timeout_at(deadline, write()).await {
            Ok(Ok(record)) => return Written::Stands(Box::new(record)),
            Ok(Err(CommitError::Refused(refused))) => return Written::Refused(refused),
            Ok(Err(CommitError::Store(error))) if error.is_away() => {
                tracing::warn!(error = %error, "a write failed and is repeated");
            }
            Ok(Err(error)) => {
                tracing::error!(error = %error, "a write is refused");
                return Written::Never(error);
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
        HandlerError::Unmatched => {
            let effects = Effects::so_far(&record.delivered, &record.refused);
            ("unmatched", "no route takes it".to_owned(), effects, Outcome::Unmatched)
        }
        HandlerError::Unconfigured => {
            let effects = Effects::so_far(&record.delivered, &record.refused);
            ("unconfigured", "no routes are configured".to_owned(), effects, Outcome::NoRoutes)
        }
    };
    let attempted = Attempted { delivered: effects.delivered, refused: effects.refused, failed: effects.failed };
    (Failure { class: class.to_owned(), text }, attempted, outcome)
}
