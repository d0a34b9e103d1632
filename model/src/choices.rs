//! Which actions a world allows.

use surehook::ledger::Status;

use crate::{
    Ledger,
    bounds::{Clocks, HANDLER},
    step::{Action, How},
    world::{Event, Helper, Phase, Step, Worker, World},
};

impl Ledger {
    /// Everything that can happen now.
    pub(crate) fn choices(&self, world: &World, actions: &mut Vec<Action>) {
        for (index, worker) in world.workers.iter().enumerate() {
            actions.extend(self.of_worker(world, worker).into_iter().map(|how| Action::Work(index, how)));
        }
        for (index, helper) in world.helpers.iter().enumerate() {
            actions.extend(of_helper(world, helper).into_iter().map(|how| Action::Help(index, how)));
        }
        for (index, event) in world.events.iter().enumerate() {
            self.of_qstash(world, index, event, actions);
            self.of_operator(world, index, event, actions);
            self.of_time(world, index, event, actions);
        }
        actions.extend((0..world.limbo.len()).map(Action::Arrive));
        let expires = |event: &Event| event.record.as_ref().is_some_and(|record| record.expires_at.is_some());
        if world.left.epochs > 0 && world.events.iter().any(expires) {
            actions.push(Action::Epoch);
        }
        if world.left.seconds > 0 && matches!(self.clocks, Clocks::Ahead(_)) {
            actions.push(Action::Second);
        }
    }

    fn of_worker(&self, world: &World, worker: &Worker) -> Vec<How> {
        let left = &world.left;
        let bounded = matches!(self.clocks, Clocks::Ahead(_));
        let is_late = bounded && world.time >= worker.started + HANDLER;
        let writes = !matches!(worker.phase, Phase::Handle(_));
        let claims = matches!(worker.phase, Phase::Claim | Phase::Renew(..));
        let can_fail = matches!(worker.phase, Phase::Handle(_))
            || (matches!(worker.phase, Phase::Commit(_)) && self.transactional);
        [
            // A claim that is answered too late is not acted on.
            (How::Well, !(claims && is_late)),
            (How::Unanswered, writes && left.timeouts > 0),
            (How::GivesUp, worker.unanswered || (claims && is_late)),
            (How::Badly(false), can_fail && left.failures > 0),
            (How::Badly(true), can_fail && left.failures > 0),
            (How::Dies, left.crashes > 0),
        ]
        .into_iter()
        .filter_map(|(how, can)| can.then_some(how))
        .collect()
    }

    fn of_qstash(&self, world: &World, index: usize, event: &Event, actions: &mut Vec<Action>) {
        let left = &world.left;
        if left.copies > 0 {
            actions.push(Action::Copy(index));
        }
        for &message in &event.queued {
            if left.deliveries > 0 && !self.ours {
                actions.extend([true, false].map(|takes| Action::Foreign(index, message, takes)));
            } else if left.deliveries > 0 && world.workers.len() < self.workers {
                actions.extend(self.clocks(world).into_iter().map(|now| Action::Deliver(index, message, now)));
            }
            if left.exhausts > 0 {
                actions.push(Action::Exhaust(index, message));
            }
        }
        for &entry in event.dlq.iter().filter(|_| left.settles > 0 && world.helpers.len() < self.helpers) {
            actions.extend(self.clocks(world).into_iter().map(|now| Action::Settle(index, entry, now)));
        }
        if left.forgets > 0 {
            actions.extend(event.queued.iter().chain(&event.dlq).map(|&id| Action::Forget(index, id)));
        }
    }

    fn of_operator(&self, world: &World, index: usize, event: &Event, actions: &mut Vec<Action>) {
        if world.helpers.len() >= self.helpers {
            return;
        }
        for &(letter, is_replaying) in event.letters.values() {
            if world.left.replays > 0 && !is_replaying {
                actions.push(Action::Replay(index, letter));
            }
            if world.left.purges > 0 {
                actions.push(Action::Purge(index, letter));
            }
        }
        if world.left.resumes > 0 {
            actions.extend(event.pending.values().map(|&letter| Action::Resume(index, letter)));
        }
    }

    fn of_time(&self, world: &World, index: usize, event: &Event, actions: &mut Vec<Action>) {
        let Some(record) = &event.record else { return };
        if record.is_expired(Self::begin(world.epoch)) {
            actions.push(Action::Ttl(index));
        }
        let can_look = world.left.strands > 0 && world.helpers.len() < self.helpers;
        if can_look && record.status == Status::Running {
            actions.push(Action::Strand(index));
        }
    }
}

fn of_helper(world: &World, helper: &Helper) -> Vec<How> {
    let left = &world.left;
    let published = |letter| world.events[helper.event].published.contains(letter);
    [
        (How::Well, true),
        (
            How::Buries,
            match &helper.step {
                Step::Look(_) => left.rounds > 0,
                Step::Publish(letter) => published(letter),
                _ => false,
            },
        ),
        (How::Unanswered, left.timeouts > 0 && helper.step.write().is_some()),
        (How::Dies, left.crashes > 0),
    ]
    .into_iter()
    .filter_map(|(how, can)| can.then_some(how))
    .collect()
}
