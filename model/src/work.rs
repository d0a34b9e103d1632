//! The consumer, step by step: claim or renew, handle, commit or fail.

use surehook::{
    Millis,
    ledger::{Claim, Lease, Record, Refused, Status},
};

use crate::{
    Ledger,
    step::{How, take},
    world::{MessageId, Phase, Worker, World, Write},
};

impl Ledger {
    /// QStash delivers a message: an invocation begins.
    pub(crate) fn deliver(&self, world: &mut World, event: usize, message: MessageId, now: Millis) {
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

    /// A worker goes on.
    pub(crate) fn work(&self, world: &mut World, index: usize, how: How) {
        match how {
            How::Dies => {
                take(&mut world.left.crashes);
                world.workers.remove(index);
            }
            How::GivesUp => self.give_up(world, index),
            How::Unanswered => {
                take(&mut world.left.timeouts);
                let write = self.write_of(world, index);
                world.workers[index].unanswered = true;
                world.lose(world.workers[index].event, write);
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

fn lease_of(record: &Record) -> Lease {
    Lease { owner: record.owner.clone(), fence: record.fence }
}
