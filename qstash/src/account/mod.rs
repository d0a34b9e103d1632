//! One user's QStash: everything that it remembers, and its rules. Nothing here does input or output, and time is an argument, so
//! a story of three days is a test of a millisecond.
//!
//! A message's way: [`publish`] accepts it and puts it on the [`timeline`]; when it is due, [`line`] leads it through its queue,
//! its flow control and the plan's parallelism, and hands it out as a [`Start`]; whoever delivers it brings the answer back to
//! [`settle`], which sends it to the timeline again, to the dead-letter queue, or out.

mod cancel;
mod dlq;
mod flows;
mod line;
mod log;
mod publish;
mod queues;
mod schedules;
mod settle;
mod timeline;
mod topics;

#[cfg(test)]
mod defects;
#[cfg(test)]
mod never_stranded;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod story;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use surehook::{Millis, digest::Sha256, qstash::DEVELOPMENT_KEY_PREFIX};
use tokio::sync::broadcast;

pub(crate) use dlq::DlqId;
pub(crate) use flows::Flow;
pub(crate) use line::Start;
pub(crate) use log::{Entry, Log};
pub(crate) use publish::{Order, Published, Refused};
pub(crate) use queues::Queue;
pub(crate) use schedules::Schedule;
pub(crate) use topics::{Endpoint, Topic};

use crate::{
    chance::{id, purpose},
    choices::Choices,
    clock::Moment,
    message::{Dead, Message, News, State},
    options::Rules,
    plan::Plan,
    users::User,
};
use timeline::{Due, Timeline};

/// What one user has.
#[derive(Debug)]
pub(crate) struct Account {
    index: usize,
    pub(crate) common: Common,
    pub(crate) keys: Keys,
    /// How many messages were ever accepted.
    accepted: u64,
    /// How many of them were published, and not callbacks.
    published: u64,
    /// How many ids of schedules, and how many keys, were ever made.
    made: u64,
    last_dlq_id: DlqId,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) queues: BTreeMap<String, Queue>,
    pub(crate) schedules: BTreeMap<String, Schedule>,
    pub(crate) flows: BTreeMap<String, Flow>,
    /// How many keys there may be before those that nothing is lost with are forgotten.
    most_flows: usize,
    /// Messages that are not settled, by number.
    pub(crate) pending: BTreeMap<u64, Pending>,
    /// Their numbers by id.
    numbers: HashMap<String, u64>,
    pub(crate) dlq: BTreeMap<DlqId, Dead>,
    pub(crate) log: Log,
    seen: publish::Seen,
    today: publish::Today,
    timeline: Timeline,
    /// Messages that only wait for a place among the plan's parallel deliveries.
    ready: VecDeque<u64>,
    /// Attempts that are being made.
    pub(crate) running: usize,
    pub(crate) counts: Counts,
}

/// The signing keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) current: String,
    pub(crate) next: String,
}

/// How many messages there were of each kind, since the start.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) created: u64,
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
}

/// A message that is not settled.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) message: Arc<Message>,
    /// Attempts that have failed.
    pub(crate) retried: u32,
    pub(crate) stage: Stage,
    /// When it is due, while it waits for that.
    pub(crate) due: Millis,
    /// Whether this attempt was held back on purpose already.
    held: bool,
    /// The period in which its flow control let it through, while it is counted there.
    in_flow: Option<Millis>,
    /// Whether somebody asked to cancel it during an attempt.
    is_cancelled: bool,
}

/// Where a pending message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// On the timeline.
    Waiting,
    /// Due, and in a line for its queue, its flow control or the plan's parallelism.
    Lined,
    /// Being delivered.
    Active,
}

/// What is the same for all accounts of a server.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) plan: Plan,
    pub(crate) choices: Arc<Choices>,
    pub(crate) seed: u64,
    pub(crate) log_entries: usize,
    pub(crate) news: broadcast::Sender<News>,
}

impl Account {
    pub(crate) fn new(index: usize, user: &User, common: Common) -> Self {
        Self {
            index,
            keys: Keys { current: user.current_key.to_owned(), next: user.next_key.to_owned() },
            accepted: 0,
            published: 0,
            made: 0,
            last_dlq_id: DlqId::default(),
            topics: BTreeMap::new(),
            queues: BTreeMap::new(),
            schedules: BTreeMap::new(),
            flows: BTreeMap::new(),
            most_flows: flows::MOST_KEYS,
            pending: BTreeMap::new(),
            numbers: HashMap::new(),
            dlq: BTreeMap::new(),
            log: Log::new(common.log_entries),
            seen: publish::Seen::default(),
            today: publish::Today::default(),
            timeline: Timeline::default(),
            ready: VecDeque::new(),
            running: 0,
            counts: Counts::default(),
            common,
        }
    }

    fn rules(&self) -> Rules<'_> {
        Rules { plan: &self.common.plan, choices: &self.common.choices }
    }

    /// The pending message of that id.
    pub(crate) fn pending_of(&self, id: &str) -> Option<&Pending> {
        self.pending.get(self.numbers.get(id)?)
    }

    /// Messages that are not settled, and aborted calls that have not arrived.
    pub(crate) fn unsettled(&self) -> usize {
        self.pending.len() + self.timeline.late_ones()
    }

    /// Forgets everything but messages that are being delivered right now, whose answers lead to nothing. Ids go on, so that none comes twice.
    pub(crate) fn reset(&mut self) {
        let fresh = Self::new(self.index, &crate::users::USERS[self.index], self.common.clone());
        let (accepted, published, made) = (self.accepted, self.published, self.made);
        let (last_dlq_id, running) = (self.last_dlq_id, self.running);
        *self = Self { accepted, published, made, last_dlq_id, running, ..fresh };
    }

    /// A fresh id that is no message's.
    fn make_id(&mut self, purpose: u64, prefix: &str, length: usize) -> String {
        self.made += 1;
        id(self.common.seed, &[purpose, self.index as u64, self.made], prefix, length)
    }

    /// When something becomes due next.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.timeline.next()
    }

    /// Moves on what is due by now.
    pub(crate) fn advance(&mut self, moment: Moment) -> Vec<Start> {
        let mut late = Vec::new();
        while let Some(due) = self.timeline.take(moment.now) {
            match due {
                Due::Message(number) => self.line_up(number, moment.now),
                Due::Schedule(id) => self.run_schedule(&id, moment),
                Due::Flow(key) => self.pump_flow(&key, moment.now),
                Due::Late(number) => late.extend(self.timeline.late(number)),
            }
        }
        late
    }

    /// Forgets what is too old to be kept.
    pub(crate) fn forget(&mut self, moment: Moment) {
        self.forget_dead(moment);
        let oldest = self.common.plan.log_retention.map(|retention| moment.now - moment.span(retention));
        self.log.forget(oldest);
    }

    /// Signing keys: the next becomes the current one, and there is a fresh next one.
    pub(crate) fn rotate(&mut self) {
        let fresh = self.make_id(purpose::KEY, DEVELOPMENT_KEY_PREFIX, 20);
        self.keys.current = std::mem::replace(&mut self.keys.next, fresh);
    }

    /// Notes what happened, for the log and for whoever listens.
    fn note(&mut self, entry: Entry) {
        match entry.state {
            State::Created { .. } => self.counts.created += 1,
            State::Delivered { .. } => self.counts.delivered += 1,
            State::Failed { .. } => self.counts.failed += 1,
            State::Cancelled => self.counts.cancelled += 1,
            _ => {}
        }
        // Nobody listens most of the time, and texts cost.
        if self.common.news.receiver_count() > 0 {
            let _gone = self.common.news.send(self.news_of(&entry));
        }
        self.log.push(entry);
    }

    fn news_of(&self, entry: &Entry) -> News {
        let message = &entry.message;
        News {
            message_id: message.id.clone(),
            url: message.url.clone(),
            state: entry.state,
            topic: message.origin.topic.clone(),
            body_sha256: Sha256::hex(&message.digest),
            is_callback: message.origin.kind != crate::message::Kind::Message,
            user: self.index,
        }
    }
}
