//! The world that is explored: the table, QStash, and everybody who is at work.

use std::collections::{BTreeMap, BTreeSet};

use surehook::{
    Millis,
    ledger::{Claim, Lease, Record, Refused, Status},
};

use crate::{
    Ledger,
    bounds::Left,
    rules::{Rules, strip},
};

/// Names a message or an entry of QStash's dead-letter queue.
pub type MessageId = u8;

/// One state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// What becomes of each event.
    pub events: Vec<Event>,
    /// Invocations of the consumer.
    pub workers: Vec<Worker>,
    /// Requeuer, sweep and operator at work.
    pub helpers: Vec<Helper>,
    /// Writes that were sent and not answered: each may still take effect, once, at any time, or never.
    pub limbo: Vec<(usize, Write)>,
    /// How often everything that was done had time to expire.
    pub epoch: u8,
    /// Seconds, where clocks are bounded; otherwise time is whatever a clock says.
    pub time: u8,
    /// The next id of a worker, a message or an entry.
    pub next: u8,
    /// What may still go wrong.
    pub left: Left,
}

/// One event: its items in the table, its messages in QStash, and what only the checker knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Event {
    /// The item `ledger`.
    pub record: Option<Record>,
    /// The items `dead-letter#<fence>`, and whether each is being replayed.
    pub letters: BTreeMap<u64, (Letter, bool)>,
    /// The items `replay#…`, each of which names the replay that it is about.
    pub pending: BTreeMap<u64, Letter>,
    /// Messages that QStash will deliver.
    pub queued: BTreeSet<MessageId>,
    /// Entries of QStash's dead-letter queue.
    pub dlq: BTreeSet<MessageId>,
    /// Replays that QStash's deduplication may know.
    pub published: BTreeSet<Letter>,
    /// What only the checker knows.
    pub known: Known,
}

/// One burial. A letter is stored under its fence alone, and fences begin anew with each life of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Letter {
    /// The fence of the record that died.
    pub fence: u64,
    /// The life in which it died; in the table, the time of its burial.
    pub life: u8,
}

/// What only the checker knows of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Known {
    /// Lives of the record so far.
    pub lives: u8,
    /// Commits of `done` in the present life of the record.
    pub commits: u8,
    /// Whether the effect happened, in any life.
    pub effected: bool,
    /// Whether an operator purged it, or QStash forgot a message of it.
    pub given_away: bool,
    /// What must never happen, and did.
    pub broken: Option<Broken>,
}

/// What must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Broken {
    /// A second commit in one life.
    SecondCommit,
    /// A write by somebody who no longer holds the lease had an effect.
    StaleWrite,
    /// A claim was granted in a life that was done.
    StartedAfterDone,
    /// A life began while the one before it had not expired.
    RenewedAlive,
}

/// An invocation of the consumer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    pub(crate) event: usize,
    pub(crate) message: MessageId,
    pub(crate) claim: Claim,
    pub(crate) started: u8,
    pub(crate) phase: Phase,
    pub(crate) unanswered: bool,
}

/// What a worker does next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Take the lease.
    Claim,
    /// Begin a new life over an expired record.
    Renew(u64, i64),
    /// Run the handler.
    Handle(Lease),
    /// Write `done`.
    Commit(Lease),
    /// Write `retryable`; whether for good.
    Fail(Lease, bool),
}

/// Who works on the failure path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Helper {
    pub(crate) event: usize,
    pub(crate) now: Millis,
    pub(crate) step: Step,
}

/// What a helper does next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Requeuer or sweep: look at the record of an entry.
    Look(MessageId),
    /// Have QStash deliver the entry again.
    Again(MessageId),
    /// Read the record that is to be buried.
    Bury(MessageId),
    /// Write the burial.
    Buried(MessageId, Write),
    /// Delete the entry at QStash.
    Delete(MessageId),
    /// Open a dead event and mark its letter.
    Replay(Letter, Option<Write>),
    /// Publish a letter.
    Publish(Letter),
    /// Remove the record that nobody would complete.
    Unrecord(Letter),
    /// Remove the letter.
    EndReplay(Letter),
    /// Forget that a replay is under way.
    Forget(Letter),
    /// Remove a dead event for good.
    Purge(Letter, Option<Write>),
    /// Show an event that was found abandoned.
    Strand(Write),
}

/// A write to the table.
#[allow(clippy::large_enum_variant, reason = "a world holds a handful of them")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Write {
    /// `claim`.
    Claim(Claim),
    /// `renew`, with the fence and the expiry that were read.
    Renew(Claim, u64, i64),
    /// `complete`, and the handler's own writes where they are in the transaction.
    Complete(Lease, Millis, i64),
    /// `fail`.
    Fail(Lease, Millis),
    /// A transaction of the failure path: the record from what was read to something new, and its letter.
    Swap(Option<Record>, Record, Beside),
    /// `strand`: the whole record, where that lease still runs it.
    Strand(Lease, Record),
    /// An item is deleted, where it still belongs to this replay.
    Delete(Item, Letter),
}

/// What the end of a replay deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    /// The record that nobody would complete.
    Record,
    /// The letter.
    Letter,
    /// The item that says that the replay is under way.
    Pending,
}

/// What a transaction does to the letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Beside {
    /// Writes it.
    Put,
    /// Marks it as being replayed.
    Mark(Letter),
    /// Removes it.
    Remove(Letter),
}

impl Letter {
    /// The id of its replay.
    pub(crate) fn replay_id(self) -> String {
        format!("r{}.{}", self.life, self.fence)
    }
}

impl Event {
    /// A write takes effect that nobody listens to any more.
    pub(crate) fn arrive(&mut self, write: &Write, ledger: &Ledger, real: Millis) {
        match write {
            Write::Delete(item, letter) => self.delete_item(*item, *letter),
            write => drop(self.apply(write, ledger, real)),
        }
    }

    /// Applies a write as DynamoDB would, notes what must never happen, and answers. `real` is the time at which nothing of
    /// the present epoch has expired.
    pub(crate) fn apply(&mut self, write: &Write, ledger: &Ledger, real: Millis) -> Result<Record, Refused> {
        let after = self.answer(write, ledger.rules)?;
        // A rule that finds its work done returns the record as it stands: nothing was written.
        if self.record.as_ref() == Some(&after) {
            return Ok(after);
        }
        self.watch(write, ledger, real);
        if let Write::Swap(_, new, beside) = write {
            self.put_beside(*beside, new.fence);
        }
        // In the table the time of the last write tells lives apart.
        let after = Record { first_seen: self.known.lives.into(), ..strip(after) };
        self.record = Some(after.clone());
        Ok(after)
    }

    fn answer(&self, write: &Write, rules: Rules) -> Result<Record, Refused> {
        let record = self.record.as_ref();
        match write {
            Write::Claim(claim) => rules.claim(record, claim),
            Write::Renew(claim, fence, expires_at) => rules.renew(record, claim, *fence, *expires_at),
            Write::Complete(lease, now, expires_at) => rules.complete(record, lease, *now, *expires_at),
            Write::Fail(lease, now) => rules.fail(record, lease, *now),
            Write::Swap(old, new, beside) if rules.is_as_read(old.as_ref(), record) && self.allows(*beside, rules) => {
                Ok(new.clone())
            }
            Write::Strand(lease, stranded) if holds(record, lease) => Ok(stranded.clone()),
            Write::Swap(..) | Write::Strand(..) | Write::Delete(..) => {
                Err(Refused::Changed(record.map(|record| record.status)))
            }
        }
    }

    /// Deletes an item that is still about this replay, and nothing that a later one put in its place.
    pub(crate) fn delete_item(&mut self, item: Item, letter: Letter) {
        let id = Some(letter.replay_id());
        match item {
            Item::Record => {
                self.record.take_if(|record| record.status == Status::Retryable && record.replay == id);
            }
            Item::Letter if self.letters.get(&letter.fence) == Some(&(letter, true)) => {
                self.letters.remove(&letter.fence);
            }
            Item::Pending if self.pending.get(&letter.fence) == Some(&letter) => {
                self.pending.remove(&letter.fence);
            }
            Item::Letter | Item::Pending => {}
        }
    }

    /// The condition on the letter in the same transaction.
    fn allows(&self, beside: Beside, rules: Rules) -> bool {
        match beside {
            Beside::Put => true,
            Beside::Mark(letter) => {
                self.letters.get(&letter.fence).is_some_and(|(found, _)| rules.is_letter(letter, *found))
            }
            Beside::Remove(letter) => {
                self.letters.get(&letter.fence).is_none_or(|(found, _)| rules.is_letter(letter, *found))
            }
        }
    }

    fn put_beside(&mut self, beside: Beside, fence: u64) {
        match beside {
            Beside::Put => drop(self.letters.insert(fence, (Letter { fence, life: self.known.lives }, false))),
            Beside::Mark(letter) => {
                self.letters.insert(letter.fence, (letter, true));
                self.pending.insert(letter.fence, letter);
            }
            Beside::Remove(letter) => {
                self.letters.remove(&letter.fence);
                self.known.given_away = true;
            }
        }
    }

    /// Looks at a write that takes effect, and at the record that it finds.
    fn watch(&mut self, write: &Write, ledger: &Ledger, real: Millis) {
        let before = self.record.as_ref();
        // A burial over what is finished finds it expired, and begins a new life too.
        let is_finished = |record: &Record| matches!(record.status, Status::Done | Status::Purged);
        let is_alive = |record: &Record| is_finished(record) && !record.is_expired(real);
        let broken = match write {
            Write::Renew(..) if before.is_none_or(|record| !record.is_expired(real)) => Some(Broken::RenewedAlive),
            Write::Swap(..) if before.is_some_and(is_alive) => Some(Broken::RenewedAlive),
            Write::Claim(_) if before.is_some_and(|record| record.status == Status::Done) => {
                Some(Broken::StartedAfterDone)
            }
            Write::Complete(..) if self.known.commits > 0 => Some(Broken::SecondCommit),
            Write::Complete(lease, ..) | Write::Fail(lease, _) | Write::Strand(lease, _) if !holds(before, lease) => {
                Some(Broken::StaleWrite)
            }
            _ => None,
        };
        if before.is_none_or(is_finished) {
            self.known.commits = 0;
            self.known.lives += 1;
        }
        if matches!(write, Write::Complete(..)) {
            self.known.commits += 1;
            self.known.effected |= ledger.transactional;
        }
        self.known.broken = self.known.broken.or(broken);
    }
}

fn holds(record: Option<&Record>, lease: &Lease) -> bool {
    record.is_some_and(|record| record.status == Status::Running && record.is_held_by(&lease.owner, lease.fence))
}
