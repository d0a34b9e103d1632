//! What can happen next, and what it leads to.

use surehook::{
    Millis,
    ledger::{Lease, rules},
};

use crate::{
    Ledger,
    bounds::{APART, Clocks, EPOCH, HANDLER, MARGIN},
    rules::strip,
    world::{Event, Helper, Letter, MessageId, Phase, Step, World, Write},
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
    /// Requeuer or sweep buries, although another round would be left; or QStash publishes a replay anew.
    Buries,
}

impl Ledger {
    /// The time at which an epoch begins; nothing that was done in it has expired.
    pub(crate) fn begin(epoch: u8) -> Millis {
        1 + Millis::from(epoch) * EPOCH
    }

    pub(crate) fn expires_at(world: &World) -> i64 {
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

    pub(crate) fn lease(&self) -> Millis {
        match self.clocks {
            Clocks::Any(_) => APART / 2,
            Clocks::Ahead(_) => 1_000 * Millis::from(HANDLER + MARGIN),
        }
    }

    /// Carries an action out.
    pub(crate) fn step(&self, world: &mut World, action: Action) {
        match action {
            Action::Deliver(event, message, now) => self.deliver(world, event, message, now),
            Action::Foreign(event, message, takes) => world.deliver_elsewhere(event, message, takes),
            Action::Copy(event) => world.copy(event),
            Action::Exhaust(event, message) => world.exhaust(event, message),
            Action::Forget(event, message) => world.forget(event, message),
            Action::Work(worker, how) => self.work(world, worker, how),
            Action::Help(helper, how) => self.help(world, helper, how),
            Action::Settle(event, entry, now) => world.settle(event, entry, now),
            Action::Replay(event, letter) => world.replay(event, letter),
            Action::Resume(event, letter) => world.resume(event, letter),
            Action::Purge(event, letter) => world.purge(event, letter),
            Action::Strand(event) => world.strand(event),
            Action::Ttl(event) => world.events[event].record = None,
            Action::Arrive(index) => self.arrive(world, index),
            Action::Epoch => world.expire(),
            Action::Second => world.second(),
        }
    }

    /// Nobody listens to the answer any more.
    fn arrive(&self, world: &mut World, index: usize) {
        let (event, write) = world.limbo.remove(index);
        world.events[event].arrive(&write, self, Self::begin(world.epoch));
    }
}

impl World {
    /// QStash takes one more message of an event.
    pub(crate) fn queue(&mut self, event: usize) {
        self.events[event].queued.insert(self.next);
        self.next += 1;
    }

    /// A write is sent, and nobody hears what became of it. In one order, so that the same writes are the same world.
    pub(crate) fn lose(&mut self, event: usize, write: Option<Write>) {
        self.limbo.extend(write.map(|write| (event, write)));
        self.limbo.sort_by_cached_key(|entry| format!("{entry:?}"));
    }

    fn copy(&mut self, event: usize) {
        take(&mut self.left.copies);
        self.queue(event);
    }

    fn deliver_elsewhere(&mut self, event: usize, message: MessageId, takes: bool) {
        take(&mut self.left.deliveries);
        let event = &mut self.events[event];
        event.known.effected |= takes;
        if takes {
            event.queued.remove(&message);
        } else {
            event.give_up(message);
        }
    }

    fn exhaust(&mut self, event: usize, message: MessageId) {
        take(&mut self.left.exhausts);
        self.events[event].give_up(message);
    }

    fn forget(&mut self, event: usize, message: MessageId) {
        take(&mut self.left.forgets);
        let event = &mut self.events[event];
        event.queued.remove(&message);
        event.dlq.remove(&message);
        event.known.given_away = true;
    }

    fn settle(&mut self, event: usize, entry: MessageId, now: Millis) {
        take(&mut self.left.settles);
        self.helpers.push(Helper { event, now, step: Step::Look(entry) });
    }

    fn replay(&mut self, event: usize, letter: Letter) {
        take(&mut self.left.replays);
        self.start(event, Step::Replay(letter, None));
    }

    fn resume(&mut self, event: usize, letter: Letter) {
        take(&mut self.left.resumes);
        let is_replaying = self.events[event].letters.get(&letter.fence) == Some(&(letter, true));
        self.start(event, if is_replaying { Step::Publish(letter) } else { Step::Forget(letter) });
    }

    fn purge(&mut self, event: usize, letter: Letter) {
        take(&mut self.left.purges);
        self.start(event, Step::Purge(letter, None));
    }

    fn start(&mut self, event: usize, step: Step) {
        self.helpers.push(Helper { event, now: Ledger::begin(self.epoch), step });
    }

    fn strand(&mut self, event: usize) {
        take(&mut self.left.strands);
        // Who looks through the table may see a record as it was a while ago; that is a look that came earlier.
        let Some(record) = &self.events[event].record else { return };
        if let Ok(stranded) = rules::strand(record, record.lease_until + 1, 1) {
            let lease = Lease { owner: record.owner.clone(), fence: record.fence };
            self.start(event, Step::Strand(Write::Strand(lease, strip(stranded))));
        }
    }

    fn expire(&mut self) {
        take(&mut self.left.epochs);
        self.epoch += 1;
    }

    /// A second passes; handlers whose time is over are cut off.
    fn second(&mut self) {
        take(&mut self.left.seconds);
        self.time += 1;
        for worker in &mut self.workers {
            if let Phase::Handle(lease) = &worker.phase
                && self.time >= worker.started + HANDLER
            {
                worker.phase = Phase::Fail(lease.clone(), false);
            }
        }
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

pub(crate) fn take(left: &mut u8) {
    *left = left.saturating_sub(1);
}
