//! Looking at dead letters: list, show, stats; and purge.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::future::try_join_all;
use surehook::{Millis, ledger::DeadLetter, retry::millis, store::SHARDS, web::Moment};

use tokio::time::Instant;

use crate::{
    Processor, ProcessorError,
    command::{Done, Filter, Head, Page, Selection, Shown, Stats},
};

const DAY: Millis = 86_400_000;
/// How long a function goes on with chosen letters before it answers what is left; the command line takes its time.
const LONGEST: Duration = Duration::from_secs(240);

/// What can be done with a letter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Replay,
    Purge,
}

impl Processor {
    /// Heads that a filter takes, the newest first, a page at a time.
    pub async fn list(&self, filter: &Filter, limit: usize, after: Option<&str>) -> Result<Page, ProcessorError> {
        let after = after.and_then(parse_cursor);
        let mut letters = Vec::new();
        for day in self.days(filter).await? {
            let of_day = self.day(day).await?.into_iter();
            letters.extend(of_day.filter(|letter| filter.takes(letter) && comes_after(letter, after.as_ref())));
            if letters.len() > limit {
                break;
            }
        }
        let more = letters.len() > limit;
        letters.truncate(limit);
        let next = letters.last().filter(|_| more).map(|last| format!("{}/{}", last.at, last.id()));
        Ok(Page { letters: letters.iter().map(head).collect(), next })
    }

    /// The days that may hold what a filter takes, the newest first.
    async fn days(&self, filter: &Filter) -> Result<Vec<i64>, ProcessorError> {
        let days = self.path.store.letter_days().await?;
        let inside = |day: &i64| {
            filter.since.is_none_or(|since| *day >= since / DAY) && filter.until.is_none_or(|until| *day <= until / DAY)
        };
        Ok(days.into_iter().filter(inside).collect())
    }

    /// One day's heads, the newest first.
    async fn day(&self, day: i64) -> Result<Vec<DeadLetter>, ProcessorError> {
        let shards = try_join_all((0..SHARDS).map(|shard| self.path.store.letters_of(day, shard))).await?;
        let mut letters: Vec<DeadLetter> = shards.into_iter().flatten().collect();
        letters.sort_by_key(|letter| std::cmp::Reverse(order(letter)));
        Ok(letters)
    }

    /// One letter, whole.
    pub async fn show(&self, id: &str, reveal: bool) -> Result<Shown, ProcessorError> {
        let (letter, body) = self.find(id).await?;
        let record = self.path.store.record(&letter.key).await?;
        let (text, base64) = match String::from_utf8(body) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
        };
        let history = record.iter().flat_map(|record| &record.history);
        Ok(Shown {
            event: letter.key.to_string(),
            method: letter.method.clone(),
            headers: letter.shown_headers(reveal),
            message_id: letter.message_id.clone(),
            rounds: letter.rounds,
            body_sha256: letter.body_sha256.clone(),
            body: text,
            body_base64: base64,
            delivered: record.as_ref().map(|record| record.delivered.clone()).unwrap_or_default(),
            history: history.map(|entry| (entry.at, entry.fence, entry.class.clone())).collect(),
            head: head(&letter),
        })
    }

    /// Reads a letter by its id.
    pub(crate) async fn find(&self, id: &str) -> Result<(DeadLetter, Vec<u8>), ProcessorError> {
        let missing = || ProcessorError::NoSuchLetter(id.to_owned());
        let (key, fence) = DeadLetter::parse_id(id).ok_or_else(missing)?;
        self.path.store.letter(&key, fence).await?.ok_or_else(missing)
    }

    /// The ids that a selection means.
    pub(crate) async fn chosen(&self, selection: &Selection) -> Result<Vec<String>, ProcessorError> {
        if !selection.ids.is_empty() {
            return Ok(selection.ids.clone());
        }
        if selection.filter.is_empty() && !selection.all {
            return Err(ProcessorError::NothingChosen);
        }
        let page = self.list(&selection.filter, usize::MAX, None).await?;
        Ok(page.letters.into_iter().map(|head| head.id).collect())
    }

    /// Does something with every chosen letter, one after the other; one that refuses does not stop the next.
    pub(crate) async fn each(
        &self,
        selection: &Selection,
        dry_run: bool,
        act: Act,
        moment: Moment,
    ) -> Result<Done, ProcessorError> {
        let mut done = Done { dry_run, ..Done::default() };
        let deadline = moment.deadline.map(|_| moment.give_up_at(LONGEST));
        for id in self.chosen(selection).await? {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                done.left += 1;
                continue;
            }
            let result = match act {
                _ if dry_run => Ok(()),
                Act::Replay => self.replay_one(&id, moment).await,
                Act::Purge => self.purge_one(&id, moment).await,
            };
            match result {
                Ok(()) => done.ids.push(id),
                Err(error) => done.refused.push((id, error.to_string())),
            }
        }
        Ok(done)
    }

    /// Removes a letter for good. Its record stays, so that late deliveries find it.
    async fn purge_one(&self, id: &str, moment: Moment) -> Result<(), ProcessorError> {
        let store = &self.path.store;
        match self.find(id).await {
            Ok((letter, _)) => {
                let expires_at = (moment.now + millis(self.retention)) / 1_000;
                Ok(store.purge(&letter, moment.now, expires_at).await?)
            }
            Err(ProcessorError::NoSuchLetter(id)) => {
                // A purge that was cut short has left chunks and no head.
                let (key, fence) = DeadLetter::parse_id(&id).ok_or(ProcessorError::NoSuchLetter(id.clone()))?;
                let released = store.release_all_chunks(&key, fence, moment.now).await?;
                if released > 0 { Ok(()) } else { Err(ProcessorError::NoSuchLetter(id)) }
            }
            Err(error) => Err(error),
        }
    }

    /// Counts letters by what they have in common.
    pub async fn stats(&self) -> Result<Stats, ProcessorError> {
        let mut stats = Stats::default();
        for day in self.path.store.letter_days().await? {
            for letter in self.day(day).await? {
                stats.letters += 1;
                *stats.by_reason.entry(letter.reason).or_default() += 1;
                *stats.by_source.entry(letter.source).or_default() += 1;
                *stats.by_fingerprint.entry(letter.fingerprint).or_default() += 1;
            }
        }
        Ok(stats)
    }
}

fn order(letter: &DeadLetter) -> (Millis, String) {
    (letter.at, letter.id())
}

fn parse_cursor(text: &str) -> Option<(Millis, String)> {
    let (at, id) = text.split_once('/')?;
    Some((at.parse().ok()?, id.to_owned()))
}

fn comes_after(letter: &DeadLetter, cursor: Option<&(Millis, String)>) -> bool {
    cursor.is_none_or(|cursor| order(letter) < *cursor)
}

fn head(letter: &DeadLetter) -> Head {
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
