//! Cancelling messages, and hurrying them.

use std::sync::Arc;

use super::{Account, Entry, Stage, timeline::Due};
use crate::{
    clock::Moment,
    message::{Message, State},
};

impl Account {
    /// Cancels one message. An attempt that is being made is not torn down, but nothing follows it. `false` where it is not pending.
    pub(crate) fn cancel(&mut self, id: &str, moment: Moment) -> bool {
        let number = self.numbers.get(id).copied();
        number.is_some_and(|number| self.cancel_number(number, moment))
    }

    /// Cancels all messages of which that is true; how many there were.
    pub(crate) fn cancel_where(&mut self, moment: Moment, wanted: impl Fn(&Message) -> bool) -> usize {
        let pending = self.pending.iter();
        let numbers: Vec<u64> = pending.filter(|(_, one)| wanted(&one.message)).map(|(number, _)| *number).collect();
        numbers.into_iter().filter(|number| self.cancel_number(*number, moment)).count()
    }

    fn cancel_number(&mut self, number: u64, moment: Moment) -> bool {
        let Some(pending) = self.pending.get_mut(&number).filter(|pending| !pending.is_cancelled) else {
            return false;
        };
        pending.is_cancelled = true;
        let (message, stage, due) = (Arc::clone(&pending.message), pending.stage, pending.due);
        let attempts = pending.retried;
        self.note(Entry::new(moment.now, &message, State::CancelRequested, attempts));
        if stage == Stage::Active {
            return true;
        }
        if stage == Stage::Waiting {
            self.timeline.remove(due, Due::Message(number));
        }
        self.note(Entry::new(moment.now, &message, State::Cancelled, attempts));
        self.end(&message, State::Cancelled, moment);
        true
    }

    /// Makes a waiting message due now. `false` where it does not wait for its time.
    pub(crate) fn hurry(&mut self, id: &str, moment: Moment) -> bool {
        let Some(number) = self.numbers.get(id).copied() else { return false };
        let waiting = self.pending.get_mut(&number).filter(|pending| pending.stage == Stage::Waiting);
        let Some(pending) = waiting else { return false };
        let due = std::mem::replace(&mut pending.due, moment.now);
        self.timeline.remove(due, Due::Message(number));
        self.timeline.put(moment.now, Due::Message(number));
        true
    }
}
