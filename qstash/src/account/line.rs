//! From due to delivered: through the queue, through flow control, to one of the plan's places.

use std::sync::Arc;

use surehook::{Millis, retry::millis};

use super::{Account, Entry, Stage, timeline::Due};
use crate::{
    chance::{id, purpose},
    chaos::{Chaos, Mischief},
    clock::Moment,
    message::{Message, State},
};

/// An attempt to be made.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) message: Arc<Message>,
    /// Which attempt, 0 first.
    pub(crate) retried: u32,
    pub(crate) mischief: Mischief,
    /// The key that signs it.
    pub(crate) key: String,
    pub(crate) token_id: String,
    /// When it is signed, in seconds by the receiver's clock.
    pub(crate) signed_at: i64,
    /// Whether it is an aborted call that arrives after all: its answer tells nobody anything.
    pub(crate) is_late: bool,
}

impl Account {
    /// A message's time has come.
    pub(super) fn line_up(&mut self, number: u64, now: Millis) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        pending.stage = Stage::Lined;
        let origin = Arc::clone(&pending.message.origin);
        match origin.queue.as_ref().and_then(|name| self.queues.get_mut(name)) {
            Some(queue) if !queue.has_place(number) => {
                queue.waiting.push_back(number);
                let name = queue.name.clone();
                self.pump_queue(&name, now);
            }
            _ => self.enter_flow(number, now),
        }
    }

    /// Past its queue: flow control, where the message asks for it.
    pub(super) fn enter_flow(&mut self, number: u64, now: Millis) {
        let Some(pending) = self.pending.get(&number) else { return };
        match pending.message.options.flow.clone() {
            Some(control) => {
                self.flow_of(&control, now).waiting.push_back(number);
                self.pump_flow(&control.key, now);
            }
            None => self.ready.push_back(number),
        }
    }

    /// The attempts that may begin now.
    pub(crate) fn starts(&mut self, moment: Moment, chaos: &mut Chaos) -> Vec<Start> {
        let mut starts = Vec::new();
        while self.running < self.common.plan.parallelism {
            let Some(number) = self.ready.pop_front() else { break };
            if self.hold(number, moment, chaos) {
                continue;
            }
            starts.extend(self.start(number, moment, chaos));
        }
        starts
    }

    /// Holds an attempt back, once, if chaos wants it: it gives its place away and comes again later.
    fn hold(&mut self, number: u64, moment: Moment, chaos: &mut Chaos) -> bool {
        let Some(pending) = self.pending.get_mut(&number).filter(|pending| !pending.held) else { return false };
        let held = chaos.hold(&pending.message, pending.retried).map(millis);
        let Some(span) = held.filter(|span| *span > 0) else { return false };
        pending.held = true;
        pending.stage = Stage::Waiting;
        pending.due = moment.now.saturating_add(span);
        let due = pending.due;
        self.timeline.put(due, Due::Message(number));
        self.give_back_flow(number, moment.now);
        true
    }

    /// `None` where the message was cancelled in the line.
    fn start(&mut self, number: u64, moment: Moment, chaos: &mut Chaos) -> Option<Start> {
        let pending = self.pending.get_mut(&number)?;
        pending.stage = Stage::Active;
        let (message, retried) = (Arc::clone(&pending.message), pending.retried);
        self.running += 1;
        self.note(Entry::new(moment.now, &message, State::Active, retried + 1));
        let mischief = chaos.mischief(&message, retried);
        Some(Start {
            key: if mischief.next_key { self.keys.next.clone() } else { self.keys.current.clone() },
            token_id: id(self.common.seed, &[purpose::TOKEN, self.index as u64, message.key, retried.into()], "", 28),
            signed_at: moment.callers_now / 1_000,
            message,
            retried,
            mischief,
            is_late: false,
        })
    }
}
