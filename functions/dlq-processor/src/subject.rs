//! What an operator asks about: a key, an id or a message, and the event that it names.

use surehook::{identity::EventKey, ledger::DeadLetter, qstash::DlqEntry, routes::Routes};

use crate::{Processor, ProcessorError};

impl Processor {
    /// Returns the event that a subject names, and the message if that is what was asked about. A subject that is no complete id is looked
    /// for as the beginning of one.
    pub(crate) async fn event_of(
        &self,
        subject: &str,
        routes: &Routes,
        deep: bool,
    ) -> Result<(EventKey, Option<String>), ProcessorError> {
        let named = EventKey::parse(subject).or_else(|| DeadLetter::parse_id(subject).map(|(key, _)| key));
        let named = if named.is_some() { named } else { self.event_of_beginning(subject).await? };
        if let Some(key) = named {
            return Ok((key, None));
        }
        match self.event_of_message(subject, routes, deep).await {
            Err(ProcessorError::Unknown(_)) => {}
            found => return Ok((found?, Some(subject.to_owned()))),
        }
        let unknown = || ProcessorError::Unknown(subject.to_owned());
        let message = self.message_of_beginning(subject).await?.ok_or_else(unknown)?;
        Ok((self.event_of_message(&message, routes, deep).await?, Some(message)))
    }

    /// The event that a message brought: QStash says where it went and with which body, and those name the event.
    async fn event_of_message(&self, id: &str, routes: &Routes, deep: bool) -> Result<EventKey, ProcessorError> {
        let qstash = &self.path.qstash;
        let unknown = || ProcessorError::Unknown(id.to_owned());
        if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(unknown());
        }
        if let Some(message) = qstash.message(id).await? {
            return self.name_of(&message, routes).await;
        }
        if let Some(entry) = qstash.dlq_find(id).await? {
            return self.name_of(&entry, routes).await;
        }
        for logged in qstash.logs(id).await {
            if let Some(body) = logged.body() {
                let message = DlqEntry::of_message(&logged.message_id, &logged.url, logged.header, &body);
                return self.name_of(&message, routes).await;
            }
        }
        let found = if deep { self.path.store.event_of_message(id).await? } else { None };
        found.ok_or_else(unknown)
    }

    /// Returns the event of a message. A message whose sender was not authenticated, and one whose content collides with another event's,
    /// became a dead letter under a key of its own.
    async fn name_of(&self, message: &DlqEntry, routes: &Routes) -> Result<EventKey, ProcessorError> {
        let (named, store) = (self.path.named(message, routes), &self.path.store);
        let unproved = named.key.of_unproved(&message.message_id);
        if store.record(&unproved).await?.is_some() {
            return Ok(unproved);
        }
        let record = store.record(&named.key).await?;
        if record.is_some_and(|record| record.content == named.content) {
            return Ok(named.key);
        }
        let conflict = named.key.of_conflict(&named.content);
        Ok(if store.record(&conflict).await?.is_some() { conflict } else { named.key })
    }
}
