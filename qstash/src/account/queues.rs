//! Queues: first in, first out, so many at the same time. The next message waits until the one before is settled, its retries and
//! its callbacks included.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use surehook::Millis;

use super::{Account, Refused};
use crate::{clock::Moment, message::Message};

/// Deliveries of a queue at the same time, unless it says otherwise.
const PARALLELISM: usize = 1;

/// A queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) parallelism: usize,
    pub(crate) paused: bool,
    pub(crate) created_at: Millis,
    pub(crate) updated_at: Millis,
    /// Messages in line.
    pub(super) waiting: VecDeque<u64>,
    /// Messages that have a place, and how much of each is not settled: itself and its callbacks.
    places: BTreeMap<u64, u32>,
}

impl Queue {
    fn new(name: &str, now: Millis) -> Self {
        Self {
            name: name.to_owned(),
            parallelism: PARALLELISM,
            paused: false,
            created_at: now,
            updated_at: now,
            waiting: VecDeque::new(),
            places: BTreeMap::new(),
        }
    }

    /// Whether a message was admitted before: a retry does not stand in line again.
    pub(super) fn has_place(&self, number: u64) -> bool {
        self.places.contains_key(&number)
    }

    /// Whether no message is in line and none has a place.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.places.is_empty()
    }

    fn may_admit(&self) -> bool {
        !self.paused && self.places.len() < self.parallelism
    }
}

impl Account {
    /// Makes a queue, or changes it.
    pub(crate) fn put_queue(
        &mut self,
        name: &str,
        parallelism: Option<usize>,
        paused: Option<bool>,
        now: Millis,
    ) -> Result<(), Refused> {
        self.check_queue(Some(name))?;
        let most = self.common.plan.queues.1;
        if parallelism.is_some_and(|parallelism| parallelism > most) {
            return Err(Refused::quota("maxQueueParallelism", most));
        }
        let queue = self.queues.entry(name.to_owned()).or_insert_with(|| Queue::new(name, now));
        queue.parallelism = parallelism.unwrap_or(queue.parallelism);
        queue.paused = paused.unwrap_or(queue.paused);
        queue.updated_at = now;
        self.pump_queue(name, now);
        Ok(())
    }

    /// Whether there is such a queue, or may be.
    pub(super) fn check_queue(&self, name: Option<&str>) -> Result<(), Refused> {
        let most = self.common.plan.queues.0;
        match name {
            Some(name) if !surehook::qstash::client::is_name(name) => Err(Refused::Name(name.to_owned())),
            Some(name) if !self.queues.contains_key(name) && self.queues.len() >= most => {
                Err(Refused::quota("maxQueues", most))
            }
            _ => Ok(()),
        }
    }

    /// The first message makes its queue.
    pub(super) fn ensure_queue(&mut self, name: Option<&str>, now: Millis) {
        if let Some(name) = name.filter(|name| !self.queues.contains_key(*name)) {
            self.queues.insert(name.to_owned(), Queue::new(name, now));
        }
    }

    /// Removes a queue. Its messages go with it: they would never get their turn. How many went; `None` where there is no such queue.
    pub(crate) fn remove_queue(&mut self, name: &str, moment: Moment) -> Option<usize> {
        self.queues.remove(name)?;
        Some(self.cancel_where(moment, |message| message.origin.queue.as_deref() == Some(name)))
    }

    /// Messages of each queue that are not settled.
    pub(crate) fn lags(&self) -> BTreeMap<&str, usize> {
        let mut lags = BTreeMap::new();
        for origin in self.pending.values().map(|pending| &pending.message.origin) {
            if let Some(queue) = origin.queue.as_deref() {
                *lags.entry(queue).or_default() += 1;
            }
        }
        lags
    }

    /// Admits messages while there are places.
    pub(super) fn pump_queue(&mut self, name: &str, now: Millis) {
        while let Some(number) = self.admit(name) {
            self.enter_flow(number, now);
        }
    }

    fn admit(&mut self, name: &str) -> Option<u64> {
        let queue = self.queues.get_mut(name).filter(|queue| queue.may_admit())?;
        // Those that were cancelled in line are gone.
        while let Some(number) = queue.waiting.pop_front() {
            if self.pending.contains_key(&number) {
                queue.places.insert(number, 1);
                return Some(number);
            }
        }
        None
    }

    /// A callback keeps the place of its message.
    pub(super) fn keep_place(&mut self, callback: &Arc<Message>) {
        if let Some(outstanding) = self.place_of(callback) {
            *outstanding += 1;
        }
    }

    /// A message or a callback is settled; with the last of them the place is free.
    pub(super) fn leave_queue(&mut self, message: &Arc<Message>, now: Millis) {
        let Some(outstanding) = self.place_of(message) else { return };
        *outstanding -= 1;
        if *outstanding > 0 {
            return;
        }
        let Some(place) = message.place() else { return };
        if let Some(queue) = self.queues.get_mut(&place.queue) {
            queue.places.remove(&place.number);
        }
        self.pump_queue(&place.queue, now);
    }

    fn place_of(&mut self, message: &Message) -> Option<&mut u32> {
        let place = message.place()?;
        self.queues.get_mut(&place.queue)?.places.get_mut(&place.number)
    }
}
