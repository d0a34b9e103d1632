//! Events that wait although nobody will bring them again: the sweep raises them, an operator lists them.

use surehook::{
    Millis,
    identity::EventKey,
    retry::millis,
    store::stranded::{Segment, TablePlace, Waiting},
    web::Moment,
};
use tokio::time::Instant;

use crate::{
    Processor, ProcessorError,
    reply::{Done, StrandedEvent, Sweep},
};

/// Stranded events that one sweep names in its log.
const MOST_NAMED: usize = 10;
/// How many one sweep counts.
const MOST_COUNTED: usize = 1_000;

impl Processor {
    /// Events that have waited longer than every retry can take. `deep` looks through the whole table first for those whose
    /// worker died without a word; otherwise the sweeps have found them, each in its part of the table.
    pub async fn stranded(&self, now: Millis, limit: usize, deep: bool) -> Result<Vec<StrandedEvent>, ProcessorError> {
        let before = self.stranded_before(now);
        let mut unreadable = Vec::new();
        if deep {
            let mut after = None;
            loop {
                let looked = self.path.store.strand(Segment::WHOLE, after, before, now).await?;
                unreadable.extend(looked.unreadable);
                after = looked.next;
                if after.is_none() {
                    break;
                }
            }
        }
        let waiting = self.path.store.stranded(before, limit).await?;
        Ok(unreadable.into_iter().chain(waiting).take(limit).map(shown).collect())
    }

    /// Ends events that an operator has seen to elsewhere.
    pub(crate) async fn dismiss(&self, events: Vec<String>, moment: Moment) -> Done {
        let mut done = Done::default();
        for event in events {
            match self.dismiss_one(&event, moment).await {
                Ok(()) => done.ids.push(event),
                Err(error) => done.refused.push((event, error.to_string())),
            }
        }
        done
    }

    async fn dismiss_one(&self, event: &str, moment: Moment) -> Result<(), ProcessorError> {
        let key = EventKey::parse(event).ok_or_else(|| ProcessorError::NotAKey(event.to_owned()))?;
        let (before, forgotten) = (self.stranded_before(moment.now), self.forgotten_at(moment));
        Ok(self.path.store.dismiss(&key, before, moment.now, forgotten).await?)
    }

    /// Looks through one part of the table, then names what waits.
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
        result?;
        self.count_stranded(moment.at_present(), report).await
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
            for event in looked.unreadable.into_iter().map(shown) {
                report.fail(format!("event {}: {}", event.event, event.error.unwrap_or_default()));
            }
            place = match looked.next {
                None => return (place.next(), Ok(())),
                after => place.behind(after),
            };
        }
    }

    /// Counts and names events that have waited longer than every retry can take.
    pub(crate) async fn count_stranded(&self, now: Millis, report: &mut Sweep) -> Result<(), ProcessorError> {
        let stranded = self.stranded(now, MOST_COUNTED, false).await?;
        for event in stranded.iter().take(MOST_NAMED) {
            tracing::error!(
                event = event.event,
                since = event.since,
                "an event has waited longer than every retry can take"
            );
        }
        report.stranded = stranded.len() as u64;
        Ok(())
    }

    pub(crate) fn stranded_before(&self, now: Millis) -> Millis {
        now - millis(self.path.policy.horizon())
    }
}

fn shown(Waiting { key, since, record }: Waiting) -> StrandedEvent {
    let event = key.to_string();
    match record {
        Ok(record) => StrandedEvent {
            event,
            source: record.source,
            since,
            attempts: record.attempts,
            error: record.last_error.as_ref().map(ToString::to_string),
        },
        Err(error) => {
            StrandedEvent { event, source: String::new(), since, attempts: 0, error: Some(error.to_string()) }
        }
    }
}
