//! What must hold in every state, and what follows once nothing fails any more.

use surehook::{
    Millis,
    ledger::{Record, Status},
};

use crate::{
    Ledger,
    bounds::{APART, Clocks, EPOCH, Left},
    step::{Action, How},
    world::{Broken, Event, Phase, World},
};

/// Steps after which a world that is left in peace must have come to rest.
const MOST_STEPS: usize = 300;

/// A name, and whether a world keeps what the name says.
pub(crate) type Promise = (&'static str, fn(&Ledger, &World) -> bool);

/// The invariants.
pub(crate) const ALWAYS: [Promise; 9] = [
    ("done is committed once in a life", |_, world| is_unbroken(world, Broken::SecondCommit)),
    ("a write without the lease has no effect", |_, world| is_unbroken(world, Broken::StaleWrite)),
    ("nothing that is done is claimed in the same life", |_, world| is_unbroken(world, Broken::StartedAfterDone)),
    ("a new life begins only when the old one has expired", |_, world| is_unbroken(world, Broken::RenewedAlive)),
    ("a dead letter stands whenever the record is dead, and else only within a replay", |_, world| {
        world.events.iter().all(has_its_letter)
    }),
    ("only what is finished expires", |_, world| {
        world.events.iter().filter_map(|e| e.record.as_ref()).all(expires_rightly)
    }),
    ("nothing accepted is lost", |_, world| world.events.iter().all(is_kept)),
    ("one handler at a time, where clocks differ by less than the margin", |ledger, world| is_alone(ledger, world)),
    ("left in peace, every event ends done or dead, or is shown as stranded", |ledger, world| {
        ledger.comes_to_rest(world, true) && ledger.comes_to_rest(world, false)
    }),
];

/// What must be reachable: a model in which nothing happens proves nothing.
pub(crate) const SOMETIMES: [Promise; 15] = [
    ("an event is done", |_, world| any(world, |event| stands(event, Status::Done))),
    ("an event is dead", |_, world| any(world, |event| stands(event, Status::Dead))),
    ("an event is purged", |_, world| any(world, |event| stands(event, Status::Purged))),
    ("a lease is taken over", |_, world| {
        any(world, |event| event.record.as_ref().is_some_and(|r| r.status == Status::Running && r.fence > 1))
    }),
    ("a lease that was taken over is taken over", |ledger, world| {
        world.left.failures == ledger.left.failures
            && any(world, |event| event.record.as_ref().is_some_and(|r| r.status == Status::Running && r.fence > 2))
    }),
    ("two workers are at it", |_, world| world.workers.len() > 1),
    ("two helpers are at it", |_, world| world.helpers.len() > 1),
    ("an expired record begins a new life", |_, world| {
        any(world, |event| event.known.lives > 1 && stands(event, Status::Running))
    }),
    ("an event is buried in its second life", |_, world| {
        any(world, |event| event.letters.values().any(|(letter, _)| letter.life > 1))
    }),
    ("an expired record is deleted", |ledger, world| {
        ledger.ours && any(world, |event| event.known.lives > 0 && event.record.is_none())
    }),
    ("what was purged expires", |_, world| {
        world.epoch > 0 && any(world, |event| stands(event, Status::Purged) && event.known.lives == 1)
    }),
    ("an event is delivered anew by the requeuer", |ledger, world| world.left.rounds < ledger.left.rounds),
    ("a replay is cut short, and its event done", |_, world| {
        world.helpers.is_empty() && any(world, |event| !event.pending.is_empty() && stands(event, Status::Done))
    }),
    ("an abandoned event is shown", |ledger, world| {
        world.left.strands < ledger.left.strands
            && world.left.failures == ledger.left.failures
            && any(world, |event| event.record.as_ref().is_some_and(|record| record.open_since.is_some()))
    }),
    ("a write takes effect that nobody listens to", |ledger, world| {
        world.left.timeouts < ledger.left.timeouts && world.limbo.is_empty()
    }),
];

fn any(world: &World, holds: impl Fn(&Event) -> bool) -> bool {
    world.events.iter().any(holds)
}

fn stands(event: &Event, status: Status) -> bool {
    event.record.as_ref().is_some_and(|record| record.status == status)
}

fn is_unbroken(world: &World, broken: Broken) -> bool {
    world.events.iter().all(|event| event.known.broken != Some(broken))
}

fn has_its_letter(event: &Event) -> bool {
    let dead = event.record.as_ref().filter(|record| record.status == Status::Dead).map(|record| record.fence);
    let letter_stands =
        dead.is_none_or(|fence| event.letters.get(&fence).is_some_and(|(_, is_replaying)| !is_replaying));
    letter_stands && event.letters.values().all(|(letter, is_replaying)| *is_replaying || dead == Some(letter.fence))
}

fn expires_rightly(record: &Record) -> bool {
    record.expires_at.is_none() || matches!(record.status, Status::Done | Status::Purged)
}

/// Somebody still has the event: QStash, its letter; or its effect happened; or it was given away.
fn is_kept(event: &Event) -> bool {
    let at_qstash = !event.queued.is_empty() || !event.dlq.is_empty();
    at_qstash || !event.letters.is_empty() || event.known.effected || event.known.given_away
}

fn is_alone(ledger: &Ledger, world: &World) -> bool {
    let handled =
        |event| world.workers.iter().filter(|w| w.event == event && matches!(w.phase, Phase::Handle(_))).count();
    matches!(ledger.clocks, Clocks::Any(_)) || (0..world.events.len()).all(|event| handled(event) <= 1)
}

impl Ledger {
    /// Lets a world go on without any further failure, and says whether all of its events come to a good end. Writes that
    /// nobody heard of again arrive, or do not.
    fn comes_to_rest(&self, world: &World, arrives: bool) -> bool {
        let mut world = world.clone();
        world.left = Left { rounds: world.left.rounds, ..Left::default() };
        while arrives && !world.limbo.is_empty() {
            self.step(&mut world, Action::Arrive(0));
        }
        for step in 0..MOST_STEPS {
            // Long after every lease.
            let late = Self::begin(world.epoch) + EPOCH / 2 + Millis::try_from(step).unwrap_or(0) * APART;
            match self.peaceful(&world, late) {
                Some(action) => self.step(&mut world, action),
                None => return world.events.iter().all(|event| has_ended(event) && is_kept(event)),
            }
        }
        false
    }

    /// What happens next where nothing fails: who is at work finishes, then QStash delivers, then the sweep comes.
    fn peaceful(&self, world: &World, late: Millis) -> Option<Action> {
        if !world.workers.is_empty() {
            return Some(Action::Work(0, How::Well));
        }
        if !world.helpers.is_empty() {
            return Some(Action::Help(0, How::Well));
        }
        (0..world.events.len()).find_map(|index| {
            let event = &world.events[index];
            let deliver = event.queued.first().map(|&message| match self.ours {
                true => Action::Deliver(index, message, late),
                false => Action::Foreign(index, message, true),
            });
            let settle = || event.dlq.first().map(|&entry| Action::Settle(index, entry, late));
            let resume = || event.pending.values().next().map(|&letter| Action::Resume(index, letter));
            let strand = || stands(event, Status::Running).then_some(Action::Strand(index));
            deliver.or_else(settle).or_else(resume).or_else(strand)
        })
    }
}

/// Done, dead with its letter, purged; or listed as waiting, which only befalls what was handled without anybody's
/// knowledge, or given away.
fn has_ended(event: &Event) -> bool {
    let replays_are_over = event.pending.is_empty() && event.letters.values().all(|(_, is_replaying)| !is_replaying);
    let rests = event.queued.is_empty() && event.dlq.is_empty() && replays_are_over;
    let excused = event.known.effected || event.known.given_away;
    rests
        && has_its_letter(event)
        && match event.record.as_ref() {
            // An endpoint that is not ours keeps no record.
            None => excused,
            Some(record) => match record.status {
                Status::Done => event.known.effected,
                Status::Dead | Status::Purged => true,
                Status::Retryable => record.open_since.is_some() && excused,
                Status::Running => false,
            },
        }
}
