//! Stranded and unconfirmed events. The sweep finds them, and an operator lists and dismisses them.

use std::time::Duration;

use futures::{StreamExt, stream};
use surehook::{
    Millis,
    identity::EventKey,
    ledger::{Record, Status, rules},
    qstash::log::{LogEnd, end_of},
    store::stranded::{Segment, TablePlace, Waiting},
    web::Moment,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    Processor, ProcessorError,
    reply::{Done, StrandedEvent, StrandedState, Sweep},
    why::AtQStash,
};

/// Messages that QStash's log is asked about at the same time.
const AT_ONCE: usize = 10;
/// The time of a look without a limit: longer than any.
const UNLIMITED: Duration = Duration::from_secs(86_400);

impl Processor {
    /// Events that have waited longer than every retry can take, and those that are not confirmed. `deep` looks through the whole
    /// table first for those whose worker ended without a word; otherwise the sweeps have found them, each in its part of the table.
    pub async fn stranded(&self, now: Millis, limit: usize, deep: bool) -> Result<Vec<StrandedEvent>, ProcessorError> {
        let (before, unlimited) = (self.stranded_before(now), Instant::now() + UNLIMITED);
        let mut unreadable = Vec::new();
        if deep {
            let mut after = None;
            loop {
                let looked = self.path.store.strand(Segment::WHOLE, after, before, now).await?;
                self.mark_unconfirmed(looked.silent, now, unlimited).await?;
                unreadable.extend(looked.unreadable);
                after = looked.next;
                if after.is_none() {
                    break;
                }
            }
        }
        let waiting = self.path.store.stranded(before, limit).await?;
        let unconfirmed = self.path.store.unconfirmed(limit).await?;
        Ok(unreadable.into_iter().chain(waiting).chain(unconfirmed).take(limit).map(shown).collect())
    }

    /// Marks the events of which QStash's log says that our consumer answered 2xx, although their records are not done: they were
    /// handled, but the table did not take that down. Those that there is no time for are left to the next look.
    async fn mark_unconfirmed(
        &self,
        silent: Vec<(EventKey, Record)>,
        now: Millis,
        deadline: Instant,
    ) -> Result<(), ProcessorError> {
        let marked =
            stream::iter(silent).map(async |(key, record)| match self.was_delivered(&record, deadline).await {
                true => self.path.store.mark_unconfirmed(&key, &record, now).await,
                false => Ok(false),
            });
        let marked: Vec<_> = marked.buffer_unordered(AT_ONCE).collect().await;
        marked.into_iter().try_for_each(|marked| Ok(marked.map(drop)?))
    }

    /// Returns `false` where the log can't be asked in time; the next look asks again. A burst limit may make the call wait.
    async fn was_delivered(&self, record: &Record, deadline: Instant) -> bool {
        let entries = timeout_at(deadline, self.path.qstash.logs(&record.message_id)).await;
        entries.is_ok_and(|entries| end_of(&entries) == Some(LogEnd::Delivered))
    }

    /// Ends events that an operator has seen to elsewhere.
    pub(crate) async fn dismiss(&self, events: Vec<String>, force: bool, moment: Moment) -> Done {
        let mut done = Done::default();
        for event in events {
            match self.dismiss_one(&event, force, moment).await {
                Ok(key) => done.ids.push(key.to_string()),
                Err(error) => done.refused.push((event, error.to_string())),
            }
        }
        done
    }

    async fn dismiss_one(&self, event: &str, force: bool, moment: Moment) -> Result<EventKey, ProcessorError> {
        let key = match EventKey::parse(event) {
            Some(key) => Some(key),
            None => self.event_that_waits(event).await?,
        };
        let key = key.ok_or_else(|| ProcessorError::NotAKey(event.to_owned()))?;
        let (before, forgotten) = (self.stranded_before(moment.now), self.forgotten_at(moment));
        let record = self.path.store.record(&key).await?;
        rules::dismiss(record.as_ref(), before, moment.now, forgotten).map_err(ProcessorError::Moved)?;
        if let Some(record) = record.filter(|record| record.status == Status::Retryable) {
            self.check_delivery(&record.message_id, force, moment.now).await?;
        }
        self.path.store.dismiss(&key, before, moment.now, forgotten).await?;
        Ok(key)
    }

    /// Refuses to end an event that QStash still brings. Where QStash does not say that the event's last message has ended, `force`
    /// is needed, because the operator may know more.
    async fn check_delivery(&self, message: &str, force: bool, now: Millis) -> Result<(), ProcessorError> {
        let missing = match self.at_qstash(message).await {
            AtQStash::Waiting(at) => return Err(ProcessorError::Due(at)),
            AtQStash::GivenUp(entry) => return Err(ProcessorError::InDlq(entry.dlq_id)),
            AtQStash::Silent(error) => error,
            AtQStash::Gone => {
                let entries = self.path.qstash.logs(message).await;
                let next = entries.iter().filter_map(|entry| entry.next_delivery_time).max();
                match end_of(&entries) {
                    Some(LogEnd::Delivered | LogEnd::Cancelled) => return Ok(()),
                    // A retry from QStash's dead-letter queue makes another message, whose id the record may not have.
                    Some(LogEnd::Failed) => {
                        "its last message failed and may have been retried as another one".to_owned()
                    }
                    None if next.is_some_and(|at| at > now) => return Err(ProcessorError::Due(next)),
                    None => "QStash's log does not say how its last message ended".to_owned(),
                }
            }
        };
        if force { Ok(()) } else { Err(ProcessorError::NotInLog { message: message.to_owned(), why: missing }) }
    }

    /// Looks through one part of the table for events whose worker ended without a word.
    pub(crate) async fn raise_stranded(
        &self,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        let store = &self.path.store;
        let began_at = store.table_place().await?;
        let (place, result) = self.look(began_at.clone(), moment, deadline, report).await;
        // What was seen so far is not looked at again, whatever ended the look.
        if place != began_at {
            store.put_table_place(&place).await?;
        }
        result
    }

    /// Looks on from a place to the end of its part, or until time is over; returns where the next sweep goes on.
    async fn look(
        &self,
        from: TablePlace,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> (TablePlace, Result<(), ProcessorError>) {
        let (mut place, now) = (from, moment.at_present());
        loop {
            if Instant::now() >= deadline {
                report.cut_short = true;
                return (place, Ok(()));
            }
            let before = self.stranded_before(now);
            let looked = match self.path.store.strand(place.segment(), place.after(), before, now).await {
                Ok(looked) => looked,
                Err(error) => return (place, Err(error.into())),
            };
            if let Err(error) = self.mark_unconfirmed(looked.silent, now, deadline).await {
                return (place, Err(error));
            }
            for event in looked.unreadable.into_iter().map(shown) {
                report.fail(format!("event {}: {}", event.event, event.error.unwrap_or_default()));
            }
            place = match looked.next {
                None => return (place.next(), Ok(())),
                after => place.behind(after),
            };
        }
    }

    pub(crate) fn stranded_before(&self, now: Millis) -> Millis {
        now - self.policy.horizon
    }
}

pub(crate) fn shown(Waiting { key, since, record }: Waiting) -> StrandedEvent {
    let event = StrandedEvent { event: key.to_string(), since, ..StrandedEvent::default() };
    match record {
        Ok(record) => StrandedEvent {
            state: if record.is_unconfirmed() { StrandedState::Unconfirmed } else { StrandedState::Stranded },
            error: record.last_error.as_ref().map(ToString::to_string),
            source: record.source,
            attempts: record.attempts,
            ..event
        },
        Err(error) => StrandedEvent { error: Some(error.to_string()), ..event },
    }
}
