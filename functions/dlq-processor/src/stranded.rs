//! Events that wait although nobody will bring them again: the sweep raises them, an operator lists them.

use surehook::{Millis, identity::EventKey, ledger::Record, retry::millis, store::stranded::Segment, web::Moment};
use tokio::time::Instant;

use crate::{
    Processor, ProcessorError,
    command::{StrandedEvent, Sweep},
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
        for segment in Segment::all().filter(|_| deep) {
            self.path.store.strand(segment, before, now, || true).await?;
        }
        Ok(self.path.store.stranded(before, limit).await?.into_iter().map(shown).collect())
    }

    /// Looks through one part of the table, then names what waits.
    pub(crate) async fn raise_stranded(
        &self,
        moment: Moment,
        deadline: Instant,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        let now = moment.at_present();
        let in_time = || Instant::now() < deadline;
        self.path.store.strand(Segment::at(now), self.stranded_before(now), now, in_time).await?;
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

    fn stranded_before(&self, now: Millis) -> Millis {
        now - millis(self.path.policy.horizon())
    }
}

fn shown((key, record): (EventKey, Record)) -> StrandedEvent {
    StrandedEvent {
        event: key.to_string(),
        source: record.source,
        since: record.open_since.unwrap_or(record.updated_at),
        attempts: record.attempts,
        error: record.last_error.map(|failure| format!("{}: {}", failure.class, failure.text)),
    }
}
