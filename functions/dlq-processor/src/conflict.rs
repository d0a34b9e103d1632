//! Conflicts: dead letters whose content came under the key of another event.
//!
//! The consumer rejects such content, and the failure path keeps it as a dead letter under a key of its own, which follows from the key
//! of the event and from the content. `replay --as-new` opens the record of that key. The consumer then claims this record whenever the
//! same content comes, so that it is delivered once, as an event of its own. A sender can't choose such a key, and can't open its record.

use surehook::{
    Millis,
    identity::{EventKey, Identified},
    ledger::DeadLetter,
    web::Moment,
};

use crate::{Processor, ProcessorError, reply::Conflict};

/// Returns the key of the event with which a letter collided; `None` if the letter is no conflict by the routes of today.
pub(crate) fn collided_with<'a>(letter: &DeadLetter, named: Option<&'a Identified>) -> Option<&'a EventKey> {
    let of_conflict = |named: &&Identified| named.key.of_conflict(&named.content) == letter.key;
    named.filter(of_conflict).map(|named| &named.key)
}

impl Processor {
    /// Returns the event with which a letter collides, if the consumer handles the letter as an event of its own; an error if that is not
    /// what the operator asked for. A replay that has begun is always finished.
    pub(crate) async fn check_conflict(
        &self,
        letter: &DeadLetter,
        named: Option<&Identified>,
        as_new: bool,
        moment: Moment,
    ) -> Result<Option<EventKey>, ProcessorError> {
        let with = self.collides_with(letter, named, moment.now).await?;
        if letter.replaying.is_some() {
            return Ok(with);
        }
        match with {
            Some(with) if !as_new => Err(ProcessorError::Conflict(with)),
            None if as_new => Err(ProcessorError::NoConflict),
            with => Ok(with),
        }
    }

    /// Has the record of the first event outlive that of the event that is replayed as new at `due`. The consumer looks at the first
    /// record first. If it ended earlier, the replayed event would be claimed under it and delivered once more.
    pub(crate) async fn keep_original(&self, with: &EventKey, due: Millis) -> Result<(), ProcessorError> {
        let expires_at = (due + 2 * self.policy.retention) / 1_000;
        Ok(self.path.store.keep_record(with, expires_at).await?)
    }

    /// Returns the event with which a letter collides now: its record must live, and be of other content.
    async fn collides_with(
        &self,
        letter: &DeadLetter,
        named: Option<&Identified>,
        now: Millis,
    ) -> Result<Option<EventKey>, ProcessorError> {
        let Some((named, with)) = named.zip(collided_with(letter, named)) else { return Ok(None) };
        let record = self.path.store.living_record(with, now).await?;
        Ok(record.filter(|record| record.content != named.content).map(|_| with.clone()))
    }

    /// Explains a conflict; `None` for a letter that is none.
    pub(crate) async fn conflict_of(
        &self,
        letter: &DeadLetter,
        named: Option<&Identified>,
        now: Millis,
    ) -> Result<Option<Conflict>, ProcessorError> {
        let Some(with) = collided_with(letter, named) else { return Ok(None) };
        let record = self.path.store.living_record(with, now).await?;
        let status = record.map(|record| record.status.word().to_owned());
        Ok(Some(Conflict { with: with.to_string(), status }))
    }
}
