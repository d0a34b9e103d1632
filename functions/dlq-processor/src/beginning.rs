//! Ids that are given by their beginning.
//!
//! Only lists that an operator's command can read as a whole are searched: dead letters, events that wait, and QStash's dead-letter
//! queue. A done event is in none of them, so that its whole key is needed.

use std::collections::BTreeSet;

use surehook::{
    Millis,
    identity::EventKey,
    store::shelves::{Order, Walk},
};
use tokio::time::Instant;

use crate::{Processor, ProcessorError, entries, letters::LONGEST};

/// Characters that a beginning has at least. Shorter ones are more likely a slip than an id.
const MIN_LENGTH: usize = 4;
/// Events that wait that are searched.
const MAX_WAITING: usize = 10_000;
/// Pages of QStash's dead-letter queue that are searched.
const MAX_PAGES: usize = 20;
/// Ids that an error names.
const MAX_NAMED: usize = 5;

/// Returns the only id of those that begin with a text; `None` if there is none.
fn only<T: ToString>(beginning: &str, found: BTreeSet<T>) -> Result<Option<T>, ProcessorError> {
    if found.len() < 2 {
        return Ok(found.into_iter().next());
    }
    let named = found.iter().take(MAX_NAMED).map(T::to_string).collect();
    Err(ProcessorError::Ambiguous(beginning.to_owned(), named))
}

/// Returns whether a text may be the beginning of an event's key.
fn may_begin_key(text: &str) -> bool {
    text.len() >= MIN_LENGTH && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

impl Processor {
    /// Returns the event whose dead letters' ids have this beginning.
    pub(crate) async fn event_of_letter(&self, beginning: &str) -> Result<Option<EventKey>, ProcessorError> {
        if !may_begin_key(beginning) {
            return Ok(None);
        }
        only(beginning, self.dead_events(beginning).await?)
    }

    /// Returns the waiting event whose key has this beginning.
    pub(crate) async fn event_that_waits(&self, beginning: &str) -> Result<Option<EventKey>, ProcessorError> {
        if !may_begin_key(beginning) {
            return Ok(None);
        }
        only(beginning, self.waiting_events(|key, _| key.as_str().starts_with(beginning)).await?)
    }

    /// Returns the event, dead or waiting, whose key has this beginning.
    pub(crate) async fn event_of_beginning(&self, beginning: &str) -> Result<Option<EventKey>, ProcessorError> {
        if !may_begin_key(beginning) {
            return Ok(None);
        }
        let mut found = self.dead_events(beginning).await?;
        found.extend(self.waiting_events(|key, _| key.as_str().starts_with(beginning)).await?);
        only(beginning, found)
    }

    /// Returns the message whose id has this beginning, or that of its entry in QStash's dead-letter queue. Messages are known of waiting
    /// events and of that queue.
    pub(crate) async fn message_of_beginning(&self, beginning: &str) -> Result<Option<String>, ProcessorError> {
        if beginning.len() < MIN_LENGTH {
            return Ok(None);
        }
        let mut found = self.failed_messages(beginning).await?;
        let mut waiting = BTreeSet::new();
        self.waiting_events(|_, message| {
            if message.starts_with(beginning) {
                waiting.insert(message.to_owned());
            }
            false
        })
        .await?;
        found.extend(waiting);
        only(beginning, found)
    }

    async fn dead_events(&self, beginning: &str) -> Result<BTreeSet<EventKey>, ProcessorError> {
        let deadline = Instant::now() + LONGEST;
        let mut shelves = self.path.store.shelves(Walk::all(Order::NewestFirst)).await?;
        let mut found = BTreeSet::new();
        while let Some(letter) = shelves.next().await? {
            if letter.key.as_str().starts_with(beginning) {
                found.insert(letter.key);
            }
            if Instant::now() >= deadline {
                return Err(ProcessorError::NoTime);
            }
        }
        Ok(found)
    }

    async fn waiting_events(
        &self,
        mut is_meant: impl FnMut(&EventKey, &str) -> bool,
    ) -> Result<BTreeSet<EventKey>, ProcessorError> {
        let store = &self.path.store;
        let waiting = store.stranded(Millis::MAX, MAX_WAITING).await?;
        let unconfirmed = store.unconfirmed(MAX_WAITING).await?;
        let mut found = BTreeSet::new();
        if waiting.len().max(unconfirmed.len()) >= MAX_WAITING {
            return Err(ProcessorError::TooManyToSearch);
        }
        for event in waiting.into_iter().chain(unconfirmed) {
            let message = event.record.as_ref().map(|record| record.message_id.as_str()).unwrap_or_default();
            if is_meant(&event.key, message) {
                found.insert(event.key);
            }
        }
        Ok(found)
    }

    /// Returns messages of QStash's dead-letter queue. Where it is longer than this reads, the only one found may not be the only one.
    async fn failed_messages(&self, beginning: &str) -> Result<BTreeSet<String>, ProcessorError> {
        let mut found = BTreeSet::new();
        for region in self.path.qstash.each() {
            let (mut cursor, mut count) = (None, entries::PAGE);
            for _ in 0..MAX_PAGES {
                let page = entries::page(&region.client, cursor.as_deref(), &mut count).await?;
                let readable = page.entries().flatten();
                let is_meant = |id: &str| id.starts_with(beginning);
                let meant = readable.filter(|entry| is_meant(&entry.message_id) || is_meant(&entry.dlq_id));
                found.extend(meant.map(|entry| entry.message_id));
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            if cursor.is_some() {
                return Err(ProcessorError::TooManyToSearch);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_several_ids_names_them() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(only("ab12", ids(&[])).unwrap(), None);
        assert_eq!(only("ab12", ids(&["ab12c"])).unwrap().as_deref(), Some("ab12c"));
        let error = only("ab12", ids(&["ab12c", "ab12d"])).unwrap_err().to_string();
        assert_eq!(error, "\"ab12\" is the beginning of several ids: ab12c, ab12d; write more of it");
        for bad in ["", "abc", "ABCD", "msg_1", "abcd-1"] {
            assert!(!may_begin_key(bad), "{bad}");
        }
    }
}
