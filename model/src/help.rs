//! The failure path, step by step: settle, bury, replay, purge.

use surehook::ledger::{
    Failure, Refused, Status,
    rules::{self, Burial},
};

use crate::{
    Ledger,
    rules::{Rules, strip},
    step::{How, take},
    world::{Beside, Event, Helper, Item, Letter, MessageId, Step, World, Write},
};

impl Ledger {
    /// A helper goes on.
    pub(crate) fn help(&self, world: &mut World, index: usize, how: How) {
        match how {
            How::Dies => {
                take(&mut world.left.crashes);
                world.helpers.remove(index);
            }
            How::Unanswered => {
                take(&mut world.left.timeouts);
                let helper = &world.helpers[index];
                world.lose(helper.event, helper.step.write());
            }
            how => {
                let helper = world.helpers[index].clone();
                match self.next(world, &helper, how) {
                    Some(step) => world.helpers[index].step = step,
                    None => drop(world.helpers.remove(index)),
                }
            }
        }
    }

    fn next(&self, world: &mut World, helper: &Helper, how: How) -> Option<Step> {
        let real = Self::begin(world.epoch);
        let event = &mut world.events[helper.event];
        match &helper.step {
            Step::Look(entry) => world.look(helper, *entry, how),
            Step::Again(entry) => world.again(helper, *entry),
            Step::Bury(entry) => event.bury(*entry, helper, self.rules),
            Step::Buried(entry, write) => match event.apply(write, self, real) {
                Ok(_) => Some(Step::Delete(*entry)),
                Err(_) => Some(Step::Bury(*entry)),
            },
            Step::Delete(entry) => event.delete(*entry),
            Step::Replay(letter, None) => event.open(*letter, helper),
            Step::Replay(letter, Some(write)) => match event.apply(write, self, real) {
                Ok(_) => Some(Step::Publish(*letter)),
                Err(_) => Some(Step::Replay(*letter, None)),
            },
            Step::Publish(letter) => {
                world.publish(helper, *letter, how);
                Some(if self.ours { self.rules.ends_replay_with(*letter) } else { Step::Unrecord(*letter) })
            }
            Step::Unrecord(letter) => {
                event.delete_item(Item::Record, *letter);
                Some(self.rules.ends_replay_with(*letter))
            }
            Step::EndReplay(letter) => {
                event.delete_item(Item::Letter, *letter);
                self.rules.then_forgets(*letter)
            }
            Step::Forget(letter) => {
                event.delete_item(Item::Pending, *letter);
                self.rules.then_ends_replay(*letter)
            }
            Step::Strand(write) => {
                let _taken_up = event.apply(write, self, real);
                None
            }
            Step::Purge(letter, None) => event.purge(*letter, helper),
            Step::Purge(letter, Some(write)) => match event.apply(write, self, real) {
                Ok(_) => None,
                Err(_) => Some(Step::Purge(*letter, None)),
            },
        }
    }
}

impl World {
    /// What is to be done about an entry of QStash's dead-letter queue.
    fn look(&self, helper: &Helper, entry: MessageId, how: How) -> Option<Step> {
        let record = self.events[helper.event].record.as_ref().filter(|record| !record.is_expired(helper.now));
        match record {
            Some(r) if matches!(r.status, Status::Done | Status::Dead | Status::Purged) => Some(Step::Delete(entry)),
            Some(record) if record.is_leased(helper.now) => None,
            _ if how == How::Buries || self.left.rounds == 0 => Some(Step::Bury(entry)),
            _ => Some(Step::Again(entry)),
        }
    }

    /// QStash lets an entry be used once.
    fn again(&mut self, helper: &Helper, entry: MessageId) -> Option<Step> {
        take(&mut self.left.rounds);
        if self.events[helper.event].dlq.remove(&entry) {
            self.queue(helper.event);
        }
        None
    }

    /// QStash remembers a deduplication id for a while only: [`How::Buries`] is when it has forgotten.
    fn publish(&mut self, helper: &Helper, letter: Letter, how: How) {
        let is_new = self.events[helper.event].published.insert(letter);
        if is_new || how == How::Buries {
            self.queue(helper.event);
        }
    }
}

impl Event {
    fn bury(&self, entry: MessageId, helper: &Helper, rules: Rules) -> Option<Step> {
        match rules.bury(self.record.as_ref(), &burial(helper)) {
            Ok(dead) => Some(Step::Buried(entry, Write::Swap(self.record.clone(), strip(dead), Beside::Put))),
            Err(Refused::Done | Refused::Dead) => Some(Step::Delete(entry)),
            Err(_) => None,
        }
    }

    fn delete(&mut self, entry: MessageId) -> Option<Step> {
        self.dlq.remove(&entry);
        None
    }

    fn open(&self, letter: Letter, helper: &Helper) -> Option<Step> {
        let stands = self.letters.get(&letter.fence).is_some_and(|(found, _)| *found == letter);
        let open = rules::replay(self.record.as_ref(), letter.fence, &letter.replay_id(), helper.now).ok();
        let write = Write::Swap(self.record.clone(), strip(open.filter(|_| stands)?), Beside::Mark(letter));
        Some(self.unless_it_stands(write, Step::Publish(letter), |write| Step::Replay(letter, Some(write))))
    }

    fn purge(&self, letter: Letter, helper: &Helper) -> Option<Step> {
        let expires_at = helper.now / 1_000 + crate::bounds::EPOCH / 1_000;
        let id = letter.replay_id();
        let purged = rules::purge(self.record.as_ref(), letter.fence, &id, helper.now, expires_at).ok()?;
        let write = Write::Swap(self.record.clone(), strip(purged), Beside::Remove(letter));
        Some(self.unless_it_stands(write, Step::Forget(letter), |write| Step::Purge(letter, Some(write))))
    }

    fn unless_it_stands(&self, write: Write, then: Step, otherwise: impl Fn(Write) -> Step) -> Step {
        match &write {
            Write::Swap(Some(old), new, _) if old == new => then,
            _ => otherwise(write),
        }
    }
}

impl Step {
    /// The write to the table that this step sends.
    pub(crate) fn write(&self) -> Option<Write> {
        Some(match self {
            Self::Buried(_, write)
            | Self::Replay(_, Some(write))
            | Self::Purge(_, Some(write))
            | Self::Strand(write) => write.clone(),
            Self::Unrecord(letter) => Write::Delete(Item::Record, *letter),
            Self::EndReplay(letter) => Write::Delete(Item::Letter, *letter),
            Self::Forget(letter) => Write::Delete(Item::Pending, *letter),
            _ => return None,
        })
    }
}

fn burial(helper: &Helper) -> Burial {
    Burial {
        content: "c".to_owned(),
        source: String::new(),
        event_type: None,
        message_id: String::new(),
        failure: Failure { class: String::new(), text: String::new() },
        now: helper.now,
    }
}
