//! What can happen next, and what it leads to.

use surehook::{
    Millis,
    ledger::{Claim, Lease, Record, Refused, Status, rules},
};

use crate::{
    Ledger,
    bounds::{APART, Clocks, EPOCH, HANDLER, MARGIN},
    rules::strip,
    world::{Event, Helper, Letter, MessageId, Phase, Step, Worker, World, Write},
};

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// QStash delivers a message; the worker's clock shows this.
    Deliver(usize, MessageId, Millis),
    /// QStash delivers a message to an endpoint that is not ours, which takes it or not.
    Foreign(usize, MessageId, bool),
    /// The event comes again, as a message of its own.
    Copy(usize),
    /// A worker goes on.
    Work(usize, How),
    /// A helper goes on.
    Help(usize, How),
    /// Requeuer or sweep takes an entry; its clock shows this.
    Settle(usize, MessageId, Millis),
    /// An operator replays a letter.
    Replay(usize, Letter),
    /// A sweep goes on with a replay.
    Resume(usize, Letter),
    /// An operator purges a letter.
    Purge(usize, Letter),
    /// QStash gives a message up.
    Exhaust(usize, MessageId),
    /// QStash forgets a message or an entry.
    Forget(usize, MessageId),
    /// A sweep finds a record abandoned.
    Strand(usize),
    /// DynamoDB deletes an expired record.
    Ttl(usize),
    /// A write whose answer was lost takes effect after all.
    Arrive(usize),
    /// Everything that was done expires.
    Epoch,
    /// A second passes.
    Second,
}

/// How a process goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// Its call is answered, or its handler succeeds.
    Well,
    /// Its call is not answered.
    Unanswered,
    /// Its handler fails, for good or not; or a condition of the handler's own does.
    Badly(bool),
    /// It stops trying.
    GivesUp,
    /// It dies.
    Dies,
    /// Requeuer or sweep buries, although another round would be left.
    Buries,
}

impl Ledger {
    /// The time at which an epoch begins; nothing that was done in it has expired.
    pub(crate) fn begin(epoch: u8) -> Millis {
        1 + Millis::from(epoch) * EPOCH
    }

    fn expires_at(world: &World) -> i64 {
        (Millis::from(world.epoch) + 1) * EPOCH / 1_000
    }

    /// What the clock of the next process may show.
    pub(crate) fn clocks(&self, world: &World) -> Vec<Millis> {
        let begin = Self::begin(world.epoch);
        match self.clocks {
            Clocks::Any(times) => {
                let late = (0..times).map(|time| begin + Millis::from(time) * APART);
                // A clock that is behind sees what has expired as still standing.
                late.chain((world.epoch > 0).then(|| Self::begin(world.epoch - 1))).collect()
            }
            Clocks::Ahead(seconds) => {
                vec![begin + 1_000 * Millis::from(world.time + seconds * (world.next % 2))]
            }
        }
    }

    fn lease(&self) -> Millis {
        match self.clocks {
            Clocks::Any(_) => APART / 2,
            Clocks::Ahead(_) => 1_000 * Millis::from(HANDLER + MARGIN),
        }
    }

    /// Carries an action out.
    pub(crate) fn step(&self, world: &mut World, action: Action) {
        let left = &mut world.left;
        match action {
            Action::Deliver(event, message, now) => self.deliver(world, event, message, now),
            Action::Foreign(event, message, takes) => {
                take(&mut left.deliveries);
                let event = &mut world.events[event];
                event.known.effected |= takes;
                if takes {
                    event.queued.remove(&message);
                } else {
                    event.give_up(message);
                }
            }
            Action::Copy(event) => {
                take(&mut left.copies);
                world.queue(event);
            }
            Action::Work(worker, how) => self.work(world, worker, how),
            Action::Help(helper, how) => self.help(world, helper, how),
            Action::Settle(event, entry, now) => {
                take(&mut left.settles);
                world.helpers.push(Helper { event, now, step: Step::Look(entry) });
            }
            Action::Replay(event, letter) => {
                take(&mut left.replays);
                self.start(world, event, Step::Replay(letter, None));
            }
            Action::Resume(event, letter) => {
                take(&mut left.resumes);
                let is_replaying = world.events[event].letters.get(&letter.fence) == Some(&(letter, true));
                self.start(world, event, if is_replaying { Step::Publish(letter) } else { Step::Forget(letter) });
            }
            Action::Purge(event, letter) => {
                take(&mut left.purges);
                self.start(world, event, Step::Purge(letter, None));
            }
            Action::Exhaust(event, message) => {
                take(&mut left.exhausts);
                world.events[event].give_up(message);
            }
            Action::Forget(event, message) => {
                take(&mut left.forgets);
                let event = &mut world.events[event];
                event.queued.remove(&message);
                event.dlq.remove(&message);
                event.known.given_away = true;
            }
            Action::Strand(event) => {
                take(&mut left.strands);
                let record = &mut world.events[event].record;
                let stranded = record.as_ref().and_then(|r| rules::strand(r, r.lease_until + 1, 1).ok());
                *record = stranded.map(strip).or(record.take());
            }
            Action::Ttl(event) => world.events[event].record = None,
            Action::Arrive(index) => {
                let (event, write) = world.limbo.remove(index);
                let _nobody_listens = world.events[event].apply(&write, self, Self::begin(world.epoch));
            }
            Action::Epoch => {
                take(&mut left.epochs);
                world.epoch += 1;
            }
            Action::Second => self.second(world),
        }
    }

    fn start(&self, world: &mut World, event: usize, step: Step) {
        world.helpers.push(Helper { event, now: Self::begin(world.epoch), step });
    }

    /// A second passes; handlers whose time is over are cut off.
    fn second(&self, world: &mut World) {
        take(&mut world.left.seconds);
        world.time += 1;
        for worker in &mut world.workers {
            if let Phase::Handle(lease) = &worker.phase
                && world.time >= worker.started + HANDLER
            {
                worker.phase = Phase::Fail(lease.clone(), false);
            }
        }
    }

    fn deliver(&self, world: &mut World, event: usize, message: MessageId, now: Millis) {
        take(&mut world.left.deliveries);
        let claim = Claim {
            owner: format!("w{}", world.next),
            content: "c".to_owned(),
            source: String::new(),
            event_type: None,
            message_id: String::new(),
            now,
            lease_until: now + self.lease(),
        };
        world.next += 1;
        let started = world.time;
        world.workers.push(Worker { event, message, claim, started, phase: Phase::Claim, unanswered: false });
    }

    fn work(&self, world: &mut World, index: usize, how: How) {
        match how {
            How::Dies => {
                take(&mut world.left.crashes);
                world.workers.remove(index);
            }
            How::GivesUp => self.give_up(world, index),
            How::Unanswered => {
                take(&mut world.left.timeouts);
                let write = self.write_of(world, index);
                let worker = &mut world.workers[index];
                worker.unanswered = true;
                world.limbo.extend(write.map(|write| (worker.event, write)));
                world.limbo.sort_by_cached_key(|entry| format!("{entry:?}"));
            }
            How::Badly(is_final) => {
                take(&mut world.left.failures);
                let worker = &mut world.workers[index];
                if let Phase::Handle(lease) | Phase::Commit(lease) = worker.phase.clone() {
                    worker.phase = Phase::Fail(lease, is_final);
                }
            }
            How::Well | How::Buries => self.advance(world, index),
        }
    }

    fn write_of(&self, world: &World, index: usize) -> Option<Write> {
        let worker = &world.workers[index];
        let now = Self::begin(world.epoch);
        Some(match &worker.phase {
            Phase::Claim => Write::Claim(worker.claim.clone()),
            Phase::Renew(fence, expires_at) => Write::Renew(worker.claim.clone(), *fence, *expires_at),
            Phase::Commit(lease) => Write::Complete(lease.clone(), now, Self::expires_at(world)),
            Phase::Fail(lease, _) => Write::Fail(lease.clone(), now),
            Phase::Handle(_) => return None,
        })
    }

    /// A worker whose write has no answer ends. Where the effect happened, it answers 2xx all the same.
    fn give_up(&self, world: &mut World, index: usize) {
        let worker = world.workers.remove(index);
        if matches!(worker.phase, Phase::Commit(_)) && !self.transactional {
            world.events[worker.event].queued.remove(&worker.message);
        }
    }

    /// A worker's step succeeds, or its write is answered.
    fn advance(&self, world: &mut World, index: usize) {
        let Some(write) = self.write_of(world, index) else {
            return self.handled(world, index);
        };
        let worker = world.workers[index].clone();
        let event = &mut world.events[worker.event];
        let answer = event.apply(&write, self, Self::begin(world.epoch));
        let next = match (&worker.phase, answer) {
            (Phase::Claim | Phase::Renew(..), Ok(record)) => Some(Phase::Handle(lease_of(&record))),
            (Phase::Claim, Err(Refused::Expired { fence, expires_at })) => Some(Phase::Renew(fence, expires_at)),
            (Phase::Fail(_, true), Ok(_)) => {
                event.give_up(worker.message);
                None
            }
            (Phase::Fail(_, false), Ok(_)) => None,
            (_, Ok(_) | Err(Refused::Done | Refused::Dead)) => {
                event.queued.remove(&worker.message);
                None
            }
            (_, Err(Refused::Changed(Some(Status::Done | Status::Dead | Status::Purged)))) => {
                event.queued.remove(&worker.message);
                None
            }
            (_, Err(_)) => None,
        };
        match next {
            Some(phase) => {
                world.workers[index].phase = phase;
                world.workers[index].unanswered = false;
            }
            None => drop(world.workers.remove(index)),
        }
    }

    fn handled(&self, world: &mut World, index: usize) {
        let worker = &mut world.workers[index];
        if let Phase::Handle(lease) = &worker.phase {
            world.events[worker.event].known.effected |= !self.transactional;
            worker.phase = Phase::Commit(lease.clone());
        }
    }
}

impl World {
    /// QStash takes one more message of an event.
    pub(crate) fn queue(&mut self, event: usize) {
        self.events[event].queued.insert(self.next);
        self.next += 1;
    }
}

impl Event {
    /// QStash gives a message up: it goes to the dead-letter queue.
    pub(crate) fn give_up(&mut self, message: MessageId) {
        if self.queued.remove(&message) {
            self.dlq.insert(message);
        }
    }
}

fn lease_of(record: &Record) -> Lease {
    Lease { owner: record.owner.clone(), fence: record.fence }
}

pub(crate) fn take(left: &mut u8) {
    *left = left.saturating_sub(1);
}
