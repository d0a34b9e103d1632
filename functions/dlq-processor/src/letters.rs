//! Looking at dead letters: list, causes, show, body.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use surehook::{
    identity::EventKey,
    ledger::DeadLetter,
    store::shelves::{Order, Place, Walk},
    web::{Moment, shown_headers::shown_headers},
};
use tokio::time::Instant;

use crate::{
    Cursor, Processor, ProcessorError,
    attempts::failed_attempts,
    command::Filter,
    replay::named_today,
    reply::{Answered, CauseCount, Causes, Head, Page, Part, Shown},
    why::name_of,
};

/// How long a function goes on with many letters before it answers where the rest begins.
pub(crate) const LONGEST: Duration = Duration::from_secs(240);
/// Letters that one answer lists at most: with the longest heads it stays below the 6 MB that a function may answer.
const MOST_LISTED: usize = 1_000;
/// Bytes of a body that `show` answers, and of one part: in base64, and escaped as JSON, they stay below 6 MB.
const MOST_SHOWN: usize = 512 * 1_024;
const PART: usize = 3 * 1_024 * 1_024;

/// Letters of a walk, and where it goes on.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    pub(crate) letters: Vec<DeadLetter>,
    pub(crate) unreadable: Vec<String>,
    pub(crate) next: Option<Cursor>,
}

impl Processor {
    /// Heads that a filter takes, the newest first, a page at a time.
    pub async fn list(
        &self,
        filter: &Filter,
        limit: usize,
        after: Option<Cursor>,
        moment: Moment,
    ) -> Result<Page, ProcessorError> {
        let walk = filter.walk(Order::NewestFirst, after);
        let picked = self.pick(filter, walk, limit, moment.give_up_at(LONGEST)).await?;
        let Picked { letters, unreadable, next } = picked;
        Ok(Page { letters: letters.iter().map(head).collect(), unreadable, next })
    }

    /// The letters of a walk that a filter takes, as many as one answer may list.
    pub(crate) async fn pick(
        &self,
        filter: &Filter,
        walk: Walk,
        limit: usize,
        deadline: Instant,
    ) -> Result<Picked, ProcessorError> {
        let limit = limit.clamp(1, MOST_LISTED);
        let mut shelves = self.path.store.shelves(walk).await?;
        let mut picked = Picked::default();
        while let Some(letter) = shelves.next().await? {
            let place = Place::behind(&letter);
            if filter.takes(&letter) {
                picked.letters.push(letter);
            }
            if picked.letters.len() == limit || Instant::now() >= deadline {
                picked.next = shelves.next().await?.map(|_more| Cursor(place));
                break;
            }
        }
        picked.unreadable = shelves.unreadable;
        Ok(picked)
    }

    /// Counts letters by what they died of.
    pub async fn causes(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        moment: Moment,
    ) -> Result<Causes, ProcessorError> {
        let deadline = moment.give_up_at(LONGEST);
        let mut shelves = self.path.store.shelves(filter.walk(Order::NewestFirst, after)).await?;
        let mut causes = Causes::default();
        while let Some(letter) = shelves.next().await? {
            if filter.takes(&letter) {
                causes.count(&letter);
            }
            if Instant::now() >= deadline || causes.causes.len() >= MOST_LISTED {
                causes.next = Some(Cursor(Place::behind(&letter)));
                break;
            }
        }
        causes.unreadable = shelves.unreadable;
        Ok(causes)
    }

    /// One letter, whole but for the rest of a large body.
    pub async fn show(&self, id: &str, reveal: bool, now: surehook::Millis) -> Result<Shown, ProcessorError> {
        let (letter, mut body) = self.find(id).await?;
        let record = self.path.store.record(letter.about.as_ref().unwrap_or(&letter.key)).await?;
        let routes = self.path.store.routes(true).await?;
        let conflict = self.conflict_of(&letter, named_today(&letter, &body, &routes).as_ref(), now).await?;
        let body_is_whole = body.len() <= MOST_SHOWN && !letter.redacted;
        body.truncate(body.len().min(MOST_SHOWN));
        let (text, base64) = if letter.redacted { (None, None) } else { start_of(body, body_is_whole) };
        Ok(Shown {
            event: letter.about.as_ref().unwrap_or(&letter.key).to_string(),
            redacted: letter.redacted,
            first_failed: letter.first_failed,
            method: letter.method.clone(),
            headers: shown_headers(&letter.headers, reveal),
            message_id: letter.message_id.clone(),
            first_message_id: letter.first_message_id.clone(),
            rounds: letter.rounds,
            body_sha256: letter.body_sha256.clone(),
            body: text,
            body_base64: base64,
            body_is_whole,
            response: Answered {
                status: letter.status,
                headers: shown_headers(&letter.response.headers, reveal),
                body: letter.response.body.clone(),
                size: letter.response.size,
            },
            delivered: record.iter().flat_map(|record| &record.delivered).map(|id| name_of(&routes, id)).collect(),
            history: record.as_ref().map(|record| failed_attempts(record, &routes)).unwrap_or_default(),
            conflict,
            head: head(&letter),
        })
    }

    /// A part of a letter's body: answers have an end, bodies may be larger.
    pub async fn body(&self, id: &str, offset: usize) -> Result<Part, ProcessorError> {
        let (letter, body) = self.find(id).await?;
        if letter.redacted {
            return Err(ProcessorError::OnlyAtQStash);
        }
        let (begin, end) = (offset.min(body.len()), offset.saturating_add(PART).min(body.len()));
        Ok(Part { base64: STANDARD.encode(&body[begin..end]), next: (end < body.len()).then_some(end) })
    }

    /// Reads a letter by its id, or the newest of an event by the event's key or by an unambiguous beginning of that.
    pub(crate) async fn find(&self, id: &str) -> Result<(DeadLetter, Vec<u8>), ProcessorError> {
        let missing = || ProcessorError::NoSuchLetter(id.to_owned());
        let store = &self.path.store;
        let (key, fence) = match DeadLetter::parse_id(id) {
            Some(named) => named,
            None => {
                let event = EventKey::parse(id);
                let event = if event.is_some() { event } else { self.event_of_letter(id).await? };
                let event = event.ok_or_else(missing)?;
                let newest = store.heads(&event).await?.last().ok_or_else(missing)?.fence;
                (event, newest)
            }
        };
        if let Some(found) = store.letter(&key, fence).await? {
            return Ok(found);
        }
        let newer = store.heads(&key).await?.last().map(DeadLetter::id);
        Err(newer.map_or_else(missing, |newer| ProcessorError::Renewed(id.to_owned(), newer)))
    }
}

impl Causes {
    fn count(&mut self, letter: &DeadLetter) {
        self.letters += 1;
        // Letters come the newest first: the first of a cause is the newest, the last the oldest.
        let new = || CauseCount { example: head(letter), ..CauseCount::default() };
        let cause = self.causes.entry(letter.fingerprint.clone()).or_insert_with(new);
        cause.letters += 1;
        cause.replaying += u64::from(letter.replaying.is_some());
        cause.first = letter.at;
        cause.reasons.insert(letter.reason.clone());
    }

    /// Adds the counts of the letters behind these.
    pub fn add(&mut self, older: Self) {
        self.letters += older.letters;
        self.unreadable.extend(older.unreadable);
        self.next = older.next;
        for (fingerprint, more) in older.causes {
            match self.causes.entry(fingerprint) {
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(more);
                }
                std::collections::btree_map::Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.letters += more.letters;
                    known.replaying += more.replaying;
                    known.first = more.first;
                    known.reasons.extend(more.reasons);
                }
            }
        }
    }
}

/// A body as text, or in base64. A character that was cut through at the end does not make text binary.
fn start_of(body: Vec<u8>, is_whole: bool) -> (Option<String>, Option<String>) {
    match String::from_utf8(body) {
        Ok(text) => (Some(text), None),
        Err(error) if !is_whole && error.utf8_error().error_len().is_none() => {
            let end = error.utf8_error().valid_up_to();
            (Some(String::from_utf8_lossy(&error.as_bytes()[..end]).into_owned()), None)
        }
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    }
}

pub(crate) fn head(letter: &DeadLetter) -> Head {
    Head {
        id: letter.id(),
        at: letter.at,
        reason: letter.reason.clone(),
        status: letter.status,
        error: letter.error.clone(),
        fingerprint: letter.fingerprint.clone(),
        source: letter.source.clone(),
        event_type: letter.event_type.clone(),
        url: letter.url.clone(),
        size: letter.size,
        replaying: letter.replaying.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_was_cut_through_a_character_is_still_text() {
        let cut = "aä".as_bytes()[..2].to_vec();
        assert_eq!(start_of(cut.clone(), false), (Some("a".into()), None));
        assert_eq!(start_of(cut, true), (None, Some("YcM=".into())));
        assert_eq!(start_of(vec![0xff, b'a'], false), (None, Some("/2E=".into())));
    }
}
