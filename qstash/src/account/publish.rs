//! Accepting messages: checked as a whole first, so that a refused call leaves nothing behind.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use surehook::{Millis, digest::Sha256, retry::millis};

use super::{Account, Entry, Pending, Stage, timeline::Due};
use crate::{
    chance::{id, purpose},
    choices::{DEDUPLICATION_SECONDS, MESSAGE_ID_LENGTH},
    clock::Moment,
    destination::{Destination, DestinationError},
    message::{Message, Origin, State},
    options::{Deduplication, Given, Invalid, Options},
};

/// What a call asks to be delivered.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) destination: Destination,
    pub(crate) given: Given,
    pub(crate) body: Bytes,
    pub(crate) origin: Origin,
}

/// An order that can be carried out.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(super) targets: Vec<Target>,
    pub(super) origin: Origin,
    pub(super) options: Arc<Options>,
    pub(super) body: Bytes,
    pub(super) seen_as: Option<String>,
}

/// Where one message goes, and the name of the endpoint.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) endpoint: Option<String>,
}

/// What a call is answered with: one message, or those of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// Whether the destination was a topic, which is answered with an array, even of one.
    pub(crate) many: bool,
    pub(crate) deduplicated: bool,
    /// Ids and URLs.
    pub(crate) messages: Vec<(String, String)>,
}

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error("topic {0} not found")]
    NoTopic(String),
    #[error("invalid value for Upstash-Cron: {0}")]
    Cron(#[from] crate::cron::CronError),
    #[error("Upstash-Cron is missing")]
    NoCron,
    #[error("Upstash-Cron belongs to /v2/schedules/<destination>, not to a publish call")]
    CronHere,
    #[error("\"{0}\" is not a name: use letters, digits, '-', '_' and '.'")]
    Name(String),
    #[error("quota {quota} exceeded, current limit: {limit}")]
    Quota { quota: &'static str, limit: u64 },
    /// The messages of the day are used up.
    #[error("daily message quota exceeded, current limit: {limit}")]
    Daily {
        limit: u64,
        /// When the next day begins, in milliseconds since 1970.
        reset: Millis,
    },
}

impl Refused {
    pub(super) fn quota(quota: &'static str, limit: usize) -> Self {
        Self::Quota { quota, limit: limit as u64 }
    }
}

/// Messages that are recognised when they come again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    by_key: HashMap<String, Published>,
    /// Keys in the order in which they are forgotten.
    until: VecDeque<(Millis, String)>,
}

impl Seen {
    fn forget(&mut self, now: Millis) {
        while self.until.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, key)) = self.until.pop_front() {
                self.by_key.remove(&key);
            }
        }
    }

    fn remember(&mut self, key: String, published: Published, until: Millis) {
        self.until.push_back((until, key.clone()));
        self.by_key.insert(key, published);
    }
}

/// How many messages were accepted today.
#[derive(Debug, Default)]
pub(crate) struct Today {
    day: Millis,
    messages: u64,
}

const DAY: Millis = 86_400_000;
/// The last time at which anything is due: the end of the year 9999, so that no sum of times overflows.
const LAST: Millis = 253_402_300_799_000;

impl Account {
    /// Accepts a message for each endpoint, or recognises a copy.
    pub(crate) fn publish(&mut self, order: Order, moment: Moment) -> Result<Published, Refused> {
        let checked = self.check(order, moment)?;
        self.accept_checked(checked, moment)
    }

    /// Accepts the messages of a batch, each as it is. Where the batch is taken `whole`, a header, a name or a quota of one of them refuses all; a topic
    /// that does not exist is told of in its place.
    pub(crate) fn publish_all(
        &mut self,
        orders: Vec<Result<Order, Refused>>,
        whole: bool,
        moment: Moment,
    ) -> Result<Vec<Result<Published, Refused>>, Refused> {
        if !whole {
            return Ok(orders.into_iter().map(|order| self.publish(order?, moment)).collect());
        }
        let mut all = Vec::with_capacity(orders.len());
        for order in orders {
            match order.and_then(|order| self.check(order, moment)) {
                Err(Refused::NoTopic(name)) => all.push(Err(Refused::NoTopic(name))),
                checked => all.push(Ok(checked?)),
            }
        }
        self.check_together(all.iter().flatten(), moment)?;
        Ok(all.into_iter().map(|checked| self.accept_checked(checked?, moment)).collect())
    }

    /// Whether the plan has room for all of these, of which copies need none.
    fn check_together<'a>(&mut self, all: impl Iterator<Item = &'a Checked>, moment: Moment) -> Result<(), Refused> {
        self.seen.forget(moment.now);
        let (mut messages, mut queues, mut keys) = (0, BTreeSet::new(), BTreeSet::new());
        for checked in all {
            let is_new = |key: &String| !self.seen.by_key.contains_key(key) && keys.insert(key.clone());
            if !checked.seen_as.as_ref().is_none_or(is_new) {
                continue;
            }
            messages += checked.targets.len() as u64;
            queues.extend(checked.origin.queue.as_ref().filter(|name| !self.queues.contains_key(*name)));
        }
        if !queues.is_empty() && self.queues.len() + queues.len() > self.common.plan.queues.0 {
            return Err(Refused::quota("maxQueues", self.common.plan.queues.0));
        }
        self.room_today(messages, moment).map(|_used| ())
    }

    /// Whether an order can be carried out. Nothing is changed.
    pub(crate) fn check(&self, order: Order, moment: Moment) -> Result<Checked, Refused> {
        let Order { destination, given, body, origin } = order;
        let (targets, origin, given) = self.resolve(&destination, origin, given)?;
        let options = Options::read(&given, self.rules())?;
        self.check_size(body.len())?;
        self.check_delay(&options, moment)?;
        self.check_queue(origin.queue.as_deref())?;
        let seen_as = self.seen_as(&destination, &options, &body);
        Ok(Checked { targets, origin, options: Arc::new(options), body, seen_as })
    }

    /// The URLs that a destination means, and what the topic adds to the call.
    fn resolve(
        &self,
        destination: &Destination,
        origin: Origin,
        given: Given,
    ) -> Result<(Vec<Target>, Origin, Given), Refused> {
        let name = match destination {
            Destination::Url(url) => return Ok((vec![Target { url: url.clone(), endpoint: None }], origin, given)),
            Destination::Topic(name) => name,
        };
        let topic = self.topics.get(name).ok_or_else(|| Refused::NoTopic(name.clone()))?;
        let target = |known: &super::Endpoint| Target { url: known.url.clone(), endpoint: known.name.clone() };
        let targets = topic.endpoints.iter().map(target).collect();
        Ok((targets, Origin { topic: Some(name.clone()), ..origin }, given.over(&topic.defaults)))
    }

    pub(crate) fn check_size(&self, size: usize) -> Result<(), Refused> {
        let limit = self.common.plan.message_size;
        if size > limit { Err(Refused::quota("maxMessageSize", limit)) } else { Ok(()) }
    }

    /// The plan's longest delay, however the delay is given.
    pub(super) fn check_delay(&self, options: &Options, moment: Moment) -> Result<(), Refused> {
        let wait = wait(options, moment);
        match self.common.plan.delay {
            Some(limit) if wait > millis(limit) => Err(Refused::Quota { quota: "maxDelay", limit: limit.as_secs() }),
            _ => Ok(()),
        }
    }

    pub(super) fn seen_as(&self, destination: &Destination, options: &Options, body: &Bytes) -> Option<String> {
        match &options.deduplication {
            Deduplication::Off => None,
            Deduplication::Id(id) => Some(format!("id:{id}")),
            Deduplication::Content => {
                let method = if self.common.choices.deduplicate_by_method { options.method.as_str() } else { "" };
                let mut parts = vec![destination.text().as_bytes(), method.as_bytes(), body];
                let mut headers: Vec<_> = options.headers.iter().collect();
                headers.sort_unstable();
                parts.extend(headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
                Some(format!("content:{}", Sha256::of_parts(&parts).hex()))
            }
        }
    }

    /// Accepts what was checked.
    pub(crate) fn accept_checked(&mut self, checked: Checked, moment: Moment) -> Result<Published, Refused> {
        let Checked { targets, origin, options, body, seen_as } = checked;
        self.seen.forget(moment.now);
        if let Some(known) = seen_as.as_ref().and_then(|key| self.seen.by_key.get(key)) {
            return Ok(Published { deduplicated: true, ..known.clone() });
        }
        self.today = self.room_today(targets.len() as u64, moment)?;
        let many = origin.topic.is_some();
        self.ensure_queue(origin.queue.as_deref(), moment.now);
        let (origin, digest) = (Arc::new(origin), Sha256::of(&body));
        let mut messages = Vec::with_capacity(targets.len());
        for Target { url, endpoint } in targets {
            let (body, options, origin) = (body.clone(), Arc::clone(&options), Arc::clone(&origin));
            let message = Blank { key: None, url, endpoint, origin, options, body, digest };
            let message = self.accept(message, moment);
            messages.push((message.id.clone(), message.url.clone()));
        }
        let published = Published { many, deduplicated: false, messages };
        if let Some(key) = seen_as {
            let until = moment.now.saturating_add(moment.span(Duration::from_secs(DEDUPLICATION_SECONDS)));
            self.seen.remember(key, published.clone(), until);
        }
        Ok(published)
    }

    /// The day with so many messages more, if the plan has that many.
    pub(crate) fn room_today(&self, messages: u64, moment: Moment) -> Result<Today, Refused> {
        let day = moment.now.div_euclid(DAY);
        let used = if self.today.day == day { self.today.messages } else { 0 } + messages;
        match self.common.plan.messages_per_day {
            Some(limit) if used > limit => Err(Refused::Daily { limit, reset: moment.shown((day + 1) * DAY) }),
            _ => Ok(Today { day, messages: used }),
        }
    }

    /// Makes a message of what it consists of, and puts it on its way.
    pub(super) fn accept(&mut self, blank: Blank, moment: Moment) -> Arc<Message> {
        let Blank { key, url, endpoint, origin, options, body, digest } = blank;
        self.accepted += 1;
        let (key, id) = self.name(key);
        if let Some(control) = &options.flow {
            self.ask_flow(control, moment.now);
        }
        let created_at = moment.now;
        let not_before = due(&options, moment);
        let message = Message {
            number: self.accepted,
            key,
            id,
            url,
            origin,
            endpoint,
            options,
            body,
            digest,
            created_at,
            not_before,
        };
        let message = Arc::new(message);
        let delay = Duration::from_millis(u64::try_from(not_before - created_at).unwrap_or_default());
        let created = Entry::new(created_at, &message, State::Created { delay }, 0).next_at(not_before);
        self.note(created);
        self.wait_until(not_before, &message);
        message
    }

    /// What chance knows a message by, and its id.
    fn name(&mut self, key: Option<u64>) -> (u64, String) {
        let (kind, key) = match key {
            Some(key) => (purpose::CALLBACK, key),
            None => {
                self.published += 1;
                (purpose::MESSAGE, self.published)
            }
        };
        (key, id(self.common.seed, &[kind, self.index as u64, key], "msg_", MESSAGE_ID_LENGTH))
    }

    /// Puts a new message on the timeline.
    fn wait_until(&mut self, due: Millis, message: &Arc<Message>) {
        let number = message.number;
        let message = Arc::clone(message);
        self.numbers.insert(message.id.clone(), number);
        let stage = Stage::Waiting;
        let pending = Pending { message, retried: 0, stage, due, held: false, in_flow: None, is_cancelled: false };
        self.pending.insert(number, pending);
        self.timeline.put(due, Due::Message(number));
    }
}

/// A message before it has its number, its id and its times.
#[derive(Debug)]
pub(super) struct Blank {
    /// What chance knows it by; that of the next published message unless given.
    pub(super) key: Option<u64>,
    pub(super) url: String,
    pub(super) endpoint: Option<String>,
    pub(super) origin: Arc<Origin>,
    pub(super) options: Arc<Options>,
    pub(super) body: Bytes,
    pub(super) digest: Sha256,
}

/// How long a message waits. `Upstash-Not-Before` beats the delay, a time in the past is now, and its distance from what callers are shown as the
/// present is counted like a delay.
fn wait(options: &Options, moment: Moment) -> Millis {
    let until = |at: i64| at.saturating_mul(1_000).saturating_sub(moment.shown(moment.now)).max(0);
    options.not_before.map_or_else(|| millis(options.delay), until)
}

/// When a message is due.
fn due(options: &Options, moment: Moment) -> Millis {
    moment.now.saturating_add(wait(options, moment)).min(LAST)
}
