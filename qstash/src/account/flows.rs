//! Flow control: how many messages of one key are delivered at the same time, and how many within a period.
//!
//! A key goes by the limits of the message that came last, unless they are pinned.

use std::{collections::VecDeque, time::Duration};

use surehook::{Millis, retry::millis};

use super::{Account, timeline::Due};
use crate::options::{FlowControl, Limits};

/// Keys that are remembered; those that nothing waits for go when there are more.
pub(super) const MOST_KEYS: usize = 10_000;

/// A flow-control key.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// The limits of the last message, or those that were unpinned since.
    asked: Limits,
    pub(crate) pinned_parallelism: Option<u32>,
    pub(crate) pinned_rate: Option<(u32, Duration)>,
    pub(crate) paused: bool,
    /// Messages in line.
    pub(super) waiting: VecDeque<u64>,
    pub(crate) running: u32,
    /// Messages of this period.
    pub(crate) count: u32,
    pub(crate) period_start: Millis,
    /// When the timeline calls next.
    called_at: Option<Millis>,
}

impl Flow {
    /// The limits that count.
    pub(crate) fn limits(&self) -> Limits {
        let (rate, period) = match self.pinned_rate {
            Some((rate, period)) => (Some(rate), period),
            None => (self.asked.rate, self.asked.period),
        };
        Limits { parallelism: self.pinned_parallelism.or(self.asked.parallelism), rate, period }
    }

    /// Whether nothing is lost if it is forgotten: nobody waits, nothing runs, nothing is set by hand, and its period is over.
    fn is_idle(&self, now: Millis) -> bool {
        let is_set = self.pinned_parallelism.is_some() || self.pinned_rate.is_some() || self.paused;
        self.waiting.is_empty() && self.running == 0 && !is_set && now >= self.period_end()
    }

    fn period_end(&self) -> Millis {
        self.period_start.saturating_add(millis(self.limits().period))
    }

    /// Takes a place if there is one; otherwise, when there is one again for certain.
    fn enter(&mut self, now: Millis) -> Result<(), Option<Millis>> {
        let limits = self.limits();
        if now >= self.period_end() {
            (self.period_start, self.count) = (now, 0);
        }
        if self.paused || limits.parallelism.is_some_and(|most| self.running >= most) {
            return Err(None);
        }
        if limits.rate.is_some_and(|most| self.count >= most) {
            return Err(Some(self.period_end()));
        }
        self.running += 1;
        self.count += 1;
        Ok(())
    }

    /// Removes pins. Their limits apply until the next message brings its own, as QStash documents.
    pub(crate) fn unpin(&mut self, parallelism: bool, rate: bool) {
        if let Some(pinned) = self.pinned_parallelism.take_if(|_| parallelism) {
            self.asked.parallelism = Some(pinned);
        }
        if let Some((pinned, period)) = self.pinned_rate.take_if(|_| rate) {
            (self.asked.rate, self.asked.period) = (Some(pinned), period);
        }
    }

    /// The period ends now and the next begins.
    pub(crate) fn reset_rate(&mut self, now: Millis) {
        (self.period_start, self.count) = (now, 0);
    }
}

impl Account {
    /// A message was published: its key goes by its limits from now on.
    pub(super) fn ask_flow(&mut self, control: &FlowControl, now: Millis) {
        self.flow_of(control, now).asked = control.limits;
        self.pump_flow(&control.key, now);
    }

    /// The key of a message.
    pub(super) fn flow_of(&mut self, control: &FlowControl, now: Millis) -> &mut Flow {
        self.ensure_flow(&control.key, control.limits, now)
    }

    fn ensure_flow(&mut self, key: &str, asked: Limits, now: Millis) -> &mut Flow {
        if self.flows.len() >= self.most_flows && !self.flows.contains_key(key) {
            self.flows.retain(|_, flow| !flow.is_idle(now));
            // Not again before there are twice as many: a walk for each new key would take as long as all keys before it.
            self.most_flows = MOST_KEYS.max(self.flows.len() * 2);
        }
        self.flows.entry(key.to_owned()).or_insert_with(|| Flow { asked, ..Flow::default() })
    }

    /// Lets messages of a key go while its limits allow.
    pub(crate) fn pump_flow(&mut self, key: &str, now: Millis) {
        if let Some(flow) = self.flows.get_mut(key) {
            flow.called_at = flow.called_at.filter(|at| *at > now);
        }
        while let Some(number) = self.next_of_flow(key, now) {
            let period = self.flows.get(key).map(|flow| flow.period_start);
            if let Some(pending) = self.pending.get_mut(&number) {
                pending.in_flow = period;
            }
            self.ready.push_back(number);
        }
    }

    fn next_of_flow(&mut self, key: &str, now: Millis) -> Option<u64> {
        let flow = self.flows.get_mut(key)?;
        while let Some(number) = flow.waiting.front().copied() {
            // Those that were cancelled in line are gone.
            if !self.pending.contains_key(&number) {
                flow.waiting.pop_front();
                continue;
            }
            return match flow.enter(now) {
                Ok(()) => flow.waiting.pop_front(),
                Err(again) => {
                    self.call_flow(key, again);
                    None
                }
            };
        }
        None
    }

    /// Has the timeline call when there is a place again, unless it does already.
    fn call_flow(&mut self, key: &str, at: Option<Millis>) {
        // The period may end sooner than it did when the call was asked for; the later call does no harm.
        let is_news = |flow: &&mut Flow| flow.called_at.is_none_or(|called| at.is_some_and(|at| at < called));
        if let (Some(at), Some(flow)) = (at, self.flows.get_mut(key).filter(is_news)) {
            flow.called_at = Some(at);
            self.timeline.put(at, Due::Flow(key.to_owned()));
        }
    }

    /// An attempt of a key ended.
    pub(super) fn leave_flow(&mut self, number: u64, now: Millis) {
        self.leave(number, now, false);
    }

    /// A message that its key had let through makes no attempt: it does not count for the rate either.
    pub(super) fn give_back_flow(&mut self, number: u64, now: Millis) {
        self.leave(number, now, true);
    }

    fn leave(&mut self, number: u64, now: Millis, gives_back: bool) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let Some(period) = pending.in_flow.take() else { return };
        let Some(key) = pending.message.options.flow.as_ref().map(|control| control.key.clone()) else { return };
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.running = flow.running.saturating_sub(1);
            // What counted in a period that is over can't be given back to this one.
            let counts = gives_back && period == flow.period_start;
            flow.count = flow.count.saturating_sub(u32::from(counts));
        }
        self.pump_flow(&key, now);
    }

    /// Messages of a key that wait for it.
    pub(crate) fn wait_list(&self, key: &str) -> usize {
        let waiting = self.flows.get(key).map(|flow| &flow.waiting);
        waiting.map_or(0, |waiting| waiting.iter().filter(|number| self.pending.contains_key(number)).count())
    }

    /// Changes a key, which exists from now on, and lets go what may go then.
    pub(crate) fn change_flow(&mut self, key: &str, now: Millis, change: impl FnOnce(&mut Flow)) {
        let flow = self.ensure_flow(key, Limits::default(), now);
        change(flow);
        // Its period may end at another time now.
        flow.called_at = None;
        self.pump_flow(key, now);
    }
}
