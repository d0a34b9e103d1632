//! The dead-letter queue.

use std::{fmt, ops::Bound, str::FromStr, sync::Arc};

use surehook::Millis;

use super::{
    Account, Published, Refused,
    publish::{Checked, Target},
};
use crate::{
    clock::Moment,
    message::{Dead, Origin},
    options::Given,
};

/// The id of an entry: when it was given up, and which of that millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DlqId {
    pub(crate) at: Millis,
    sequence: u64,
}

impl fmt::Display for DlqId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.at, self.sequence)
    }
}

impl FromStr for DlqId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, sequence) = text.split_once('-').ok_or(())?;
        let id = Self { at: at.parse().map_err(|_| ())?, sequence: sequence.parse().map_err(|_| ())? };
        // One spelling only: what is shown is what is known.
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

impl Account {
    /// An id that no entry ever had: who is told of an entry knows it by its id.
    pub(super) fn next_dlq_id(&mut self, now: Millis) -> DlqId {
        let last = self.last_dlq_id;
        let sequence = if last.at == now { last.sequence + 1 } else { 0 };
        self.last_dlq_id = DlqId { at: now, sequence };
        self.last_dlq_id
    }

    pub(super) fn forget_dead(&mut self, moment: Moment) {
        let Some(retention) = self.common.plan.dlq_retention else { return };
        let oldest = DlqId { at: moment.now - moment.span(retention), sequence: 0 };
        while self.dlq.first_key_value().is_some_and(|(id, _)| *id < oldest) {
            self.dlq.pop_first();
        }
    }

    /// Entries after one, the oldest first.
    pub(crate) fn dead_after(&self, after: Option<DlqId>) -> impl DoubleEndedIterator<Item = (&DlqId, &Dead)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.dlq.range((from, Bound::Unbounded))
    }

    /// Makes a new message with a new id of an entry, what this call gives over what is stored, and removes the entry. An entry can be used once, so a
    /// retry is never the copy of another message. `None` where there is no such entry.
    pub(crate) fn retry_dead(
        &mut self,
        id: DlqId,
        given: &Given,
        moment: Moment,
    ) -> Result<Option<Published>, Refused> {
        let Some(Dead { message, .. }) = self.dlq.get(&id).cloned() else { return Ok(None) };
        let options = message.options.as_ref().clone().overridden(given, self.rules())?;
        self.check_delay(&options, moment)?;
        self.check_queue(message.origin.queue.as_deref())?;
        let checked = Checked {
            seen_as: None,
            targets: vec![Target { url: message.url.clone(), endpoint: message.endpoint.clone() }],
            origin: Origin { holds: None, ..message.origin.as_ref().clone() },
            options: Arc::new(options),
            body: message.body.clone(),
        };
        let published = self.accept_checked(checked, moment)?;
        self.dlq.remove(&id);
        Ok(Some(published))
    }
}
