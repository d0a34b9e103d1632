//! What happened, the newest last: as much as fits into its bounds.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use surehook::Millis;

use super::DlqId;
use crate::message::{Answer, Dead, Message, State};

/// Bodies, headers and URLs that the log may keep alive, in bytes.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Something that happened to a message.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its place in the log: what a cursor names.
    pub(crate) sequence: u64,
    pub(crate) at: Millis,
    pub(crate) message: Arc<Message>,
    pub(crate) state: State,
    /// Attempts so far, this one included.
    pub(crate) attempts: u32,
    pub(crate) answer: Option<Arc<Answer>>,
    /// When it is tried again.
    pub(crate) next: Option<Millis>,
    pub(crate) dlq_id: Option<DlqId>,
}

impl Entry {
    pub(super) fn new(at: Millis, message: &Arc<Message>, state: State, attempts: u32) -> Self {
        Self { sequence: 0, at, message: Arc::clone(message), state, attempts, answer: None, next: None, dlq_id: None }
    }

    pub(super) fn with_answer(self, answer: &Arc<Answer>) -> Self {
        Self { answer: Some(Arc::clone(answer)), ..self }
    }

    pub(super) fn next_at(self, next: Millis) -> Self {
        Self { next: Some(next), ..self }
    }

    /// How a message ended up in the dead-letter queue.
    pub(crate) fn of_dead(id: DlqId, dead: &Dead) -> Self {
        let state = State::Failed { status: dead.answer.status };
        Self { dlq_id: Some(id), ..Self::new(id.at, &dead.message, state, dead.attempts).with_answer(&dead.answer) }
    }

    /// What it keeps alive. Entries of one message share it, so this is what it could be at most.
    fn bytes(&self) -> usize {
        let message = &self.message;
        let size = message.body.len() + message.url.len() + message.options.headers.size();
        size + self.answer.as_ref().map_or(0, |answer| answer.size())
    }
}

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    most: usize,
    bytes: usize,
    written: u64,
}

impl Log {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), most, bytes: 0, written: 0 }
    }

    pub(super) fn push(&mut self, mut entry: Entry) {
        self.written += 1;
        entry.sequence = self.written;
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        // What just happened stays, whatever its size.
        while self.entries.len() > 1 && (self.entries.len() > self.most || self.bytes > MOST_BYTES) {
            self.drop_oldest();
        }
    }

    pub(super) fn forget(&mut self, oldest: Option<Millis>) {
        while oldest.is_some_and(|oldest| self.entries.front().is_some_and(|entry| entry.at < oldest)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes();
        }
    }

    /// The newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// The sequence of the oldest entry; 0 for an empty log.
    pub(crate) fn oldest(&self) -> u64 {
        self.entries.front().map_or(0, |entry| entry.sequence)
    }

    /// The last entry of each message, the newest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = &Entry> {
        let mut seen = HashSet::new();
        self.newest_first().filter(move |entry| seen.insert(entry.message.number))
    }

    /// What happened to one message, the oldest first.
    pub(crate) fn of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.message.id == id)
    }
}
