//! The failure path: what becomes of an entry of QStash's dead-letter queue.
//!
//! Requeuer (told by a callback) and sweep (finding what no callback brought) both come here, possibly at the same time,
//! possibly again after a crash. Every step may be repeated: QStash lets an entry be used once, a burial is conditional,
//! deleting twice is deleting. Nothing is deleted at QStash before it stands in the table or is known to be done.
//!
//! [`case`] says which event an entry is about, [`letter`] what is kept of one that is given up.

mod case;
mod letter;

use std::time::Duration;

use crate::{
    Millis,
    ledger::{Failure, Record, Refused, Status},
    qstash::{ClientError, Clients, DlqEntry, client::EVENT_HEADER, duration, lenient},
    retry::{self, BuryReason, Decision, FailureClass, RetryPolicy},
    store::{LedgerError, Store, StoreError},
    web::{EndpointUrl, Outcome, answer::WHOLE_WISH},
};

pub use case::{Case, first_callback};
use case::{Event, answered};
use letter::{burial, last_failure, letter};

/// What the failure path needs.
#[derive(Debug, Clone)]
pub struct FailurePath {
    /// The table.
    pub store: Store,
    /// QStash, in each region that the stack uses.
    pub qstash: Clients,
    /// Our consumer's bases, which tell our endpoints from others.
    pub bases: Vec<EndpointUrl>,
    /// When to deliver again.
    pub policy: RetryPolicy,
    /// How long an event is kept that no route took.
    pub retention: Duration,
}

impl FailurePath {
    /// Returns whether our own consumer answered as to a stranger. Only QStash can make such an entry, so keys, URLs or topics of this stack
    /// are wrong. A domain that the configuration lacks is known by the consumer's own word.
    pub fn is_misconfigured(&self, entry: &DlqEntry) -> bool {
        let url = EndpointUrl::parse(&entry.url).ok();
        let is_below = url.is_some_and(|url| self.bases.iter().any(|base| url.path_below(base).is_some()));
        let is_ours = is_below || answered(entry, Outcome::SignatureRefused.word());
        is_ours && matches!(entry.status(), 401 | 403 | 404)
    }
}

/// What was done about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// QStash delivers the event again, after so long.
    Requeued(Duration),
    /// The event stands as this dead letter.
    Buried(String),
    /// No route took the event. It stands as this dead letter, which expires.
    Unmatched(String),
    /// The event needed nothing: it is done, or dead already, or the entry was used before.
    Nothing,
    /// A worker holds the event, for so much longer.
    Busy(Duration),
}

/// Why nothing could be done now.
#[derive(Debug, thiserror::Error)]
pub enum FailureError {
    /// The table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// QStash.
    #[error(transparent)]
    QStash(#[from] ClientError),
    /// The record moved too often.
    #[error("{0}")]
    Contended(Refused),
}

impl FailurePath {
    /// Settles one entry.
    pub async fn settle(&self, case: &Case<'_>, now: Millis, draw: f64) -> Result<Settled, FailureError> {
        let (event, record) = self.look_up(case, now).await?;
        if let Some(settled) = self.settle_redacted(case, &event, record.as_ref()).await? {
            return Ok(settled);
        }
        if let Some(record) = &record {
            if matches!(record.status, Status::Done | Status::Dead | Status::Purged) {
                return self.finish(case, &event).await.map(|()| Settled::Nothing);
            }
            if record.is_leased(now) {
                return Ok(Settled::Busy(until(record.lease_until, now)));
            }
        }
        match self.decide(case, &event, now, draw) {
            Decision::Again(wait) => match self.again(case, &event, record.as_ref(), wait, now).await {
                // A delay or a number of retries above the plan's quota: asking again changes nothing.
                Err(FailureError::QStash(ClientError::Refused { status, text })) => {
                    let text = format!("QStash refused the retry with {status}: {text}");
                    let class = BuryReason::RefusedByQStash.word().to_owned();
                    self.bury(case, event, Failure { class, text }, now).await
                }
                other => other,
            },
            Decision::Bury(reason) => {
                let failure = last_failure(case.entry, &event.identified.key, record.as_ref(), reason);
                self.bury(case, event, failure, now).await
            }
        }
    }

    /// What a redacted entry needs beside its burial: its letter must name an entry that QStash still has, because that has the body.
    async fn settle_redacted(
        &self,
        case: &Case<'_>,
        event: &Event,
        record: Option<&Record>,
    ) -> Result<Option<Settled>, FailureError> {
        let (key, entry) = (&event.identified.key, &case.entry.dlq_id);
        match record {
            _ if !event.redacted => Ok(None),
            // Its replay is under way, and is finished by whoever replays.
            Some(record) if record.status == Status::Retryable && record.replay.is_some() => Ok(Some(Settled::Nothing)),
            Some(record) if record.status == Status::Dead => {
                self.store.point_letter(key, record.fence, entry, case.region).await?;
                Ok(Some(Settled::Nothing))
            }
            // The entry may have been used since its page was read.
            _ => match self.qstash.of(case.region).dlq_entry(entry).await {
                Ok(_) => Ok(None),
                Err(ClientError::NotFound) => Ok(Some(Settled::Nothing)),
                Err(error) => Err(error.into()),
            },
        }
    }

    async fn look_up(&self, case: &Case<'_>, now: Millis) -> Result<(Event, Option<Record>), StoreError> {
        let mut event = self.name_event(case);
        let record = self.store.living_record(&event.identified.key, now).await?;
        let content = &event.identified.content;
        event.conflict = record.as_ref().is_some_and(|record| record.content != *content);
        let is_unproved = event.is_refused || (event.signs && !event.conflict && !event.was_admitted(record.as_ref()));
        if !event.conflict && !is_unproved {
            return Ok((event, record));
        }
        // What no worker has admitted may be a forgery. It must take neither the place of the event whose name it bears, nor that of
        // another message that bears it.
        event.identified.key = match is_unproved {
            true => event.identified.key.of_unproved(&case.entry.message_id),
            false => event.identified.key.of_conflict(content),
        };
        let record = self.store.living_record(&event.identified.key, now).await?;
        // A conflict's own record is open only if an operator has replayed its letter as a new event. From then on it fails and is retried
        // as any event.
        event.conflict &= !record.as_ref().is_some_and(|record| record.is_replayed_conflict(now));
        Ok((event, record))
    }

    fn decide(&self, case: &Case<'_>, event: &Event, now: Millis, draw: f64) -> Decision {
        if event.redacted {
            return Decision::Bury(BuryReason::Redacted);
        }
        if event.is_unmatched && !event.conflict {
            return Decision::Bury(BuryReason::Unmatched);
        }
        let ours = event.endpoint.source().is_some();
        let class = if event.conflict { FailureClass::Permanent } else { retry::classify(case.entry.status(), ours) };
        let header = |name| lenient::header(&case.entry.response_header, name);
        let whole = header(WHOLE_WISH).filter(|_| ours);
        let wished = whole.or_else(|| header("retry-after"));
        let wished = wished.and_then(|text| duration::parse_retry_after(text, now));
        self.policy.decide(case.round, class, wished, now, draw)
    }

    /// Has the entry's region of QStash deliver it again: bytes, headers and endpoint stay as they were.
    async fn again(
        &self,
        case: &Case<'_>,
        event: &Event,
        record: Option<&Record>,
        wait: Duration,
        now: Millis,
    ) -> Result<Settled, FailureError> {
        let headers = [
            ("Upstash-Delay".to_owned(), duration::write(wait)),
            ("Upstash-Retries".to_owned(), retry::RETRIES_PER_ROUND.to_string()),
            ("Upstash-Failure-Callback".to_owned(), case.next_callback().to_string()),
            (format!("Upstash-Forward-{EVENT_HEADER}"), case.first_message.clone()),
        ];
        match self.qstash.of(case.region).dlq_retry(&case.entry.dlq_id, &headers).await {
            Ok(message) => {
                self.note_round(case, event, record, now + retry::millis(wait), message).await;
                Ok(Settled::Requeued(wait))
            }
            Err(ClientError::NotFound) => Ok(Settled::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the record what comes next, for whoever asks why an event is not done. Nothing depends on it, so a failure is
    /// no failure.
    async fn note_round(
        &self,
        case: &Case<'_>,
        event: &Event,
        record: Option<&Record>,
        next_at: Millis,
        message: Option<String>,
    ) {
        let Some(record) = record else { return };
        let message = message.unwrap_or_else(|| record.message_id.clone());
        let noted = self.store.note_round(&event.identified.key, record, case.round.number + 1, next_at, &message);
        if let Err(error) = noted.await {
            tracing::warn!(error = %error, "the next round could not be noted in the record");
        }
    }

    async fn bury(
        &self,
        case: &Case<'_>,
        event: Event,
        failure: Failure,
        now: Millis,
    ) -> Result<Settled, FailureError> {
        let letter = letter(case, &event, &failure, now);
        let burial = burial(case.entry, &event, failure, now);
        let is_unmatched = letter.reason == BuryReason::Unmatched.word();
        let expires_at = is_unmatched.then(|| (now + retry::millis(self.retention)) / 1_000);
        match self.store.bury_until(&burial, letter, &event.body, expires_at).await {
            Ok(letter) => {
                // The letter stands; an entry that could not be deleted now is deleted by the sweep.
                if let Err(error) = self.finish(case, &event).await {
                    tracing::warn!(error = %error, "the entry of a dead letter could not be deleted now");
                }
                Ok(if is_unmatched { Settled::Unmatched(letter.id()) } else { Settled::Buried(letter.id()) })
            }
            Err(LedgerError::Refused(Refused::Done | Refused::Dead)) => {
                self.finish(case, &event).await.map(|()| Settled::Nothing)
            }
            Err(LedgerError::Refused(Refused::InProgress(lease))) => Ok(Settled::Busy(until(lease, now))),
            Err(LedgerError::Refused(refused)) => Err(FailureError::Contended(refused)),
            Err(LedgerError::Store(error)) => Err(error.into()),
        }
    }

    /// Deletes an entry that is not needed any more. The only copy of a redacted body stays where it is.
    async fn finish(&self, case: &Case<'_>, event: &Event) -> Result<(), FailureError> {
        if event.redacted {
            return Ok(());
        }
        Ok(self.qstash.of(case.region).dlq_delete(&case.entry.dlq_id).await?)
    }
}

fn until(lease: Millis, now: Millis) -> Duration {
    Duration::from_millis(u64::try_from(lease - now).unwrap_or_default())
}
