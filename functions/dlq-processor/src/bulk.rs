//! What is done to many letters: replay and purge by selection, a page at a time, and what became of them.

use std::{collections::BTreeMap, sync::OnceLock};

use futures::{StreamExt, stream};
use surehook::{
    Millis,
    ledger::{DeadLetter, Record, Status},
    store::shelves::{Order, Place},
    web::Moment,
};
use tokio::time::Instant;

use crate::{
    Cursor, Processor, ProcessorError, checked,
    command::{Filter, Selection},
    letters::LONGEST,
    replay::Replays,
    reply::{Done, Fate},
};

/// Letters that are worked on at the same time. Each may have a body of 50 MB in memory.
const AT_ONCE: usize = 4;

/// What is done with a letter.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Only see whether it is there.
    Look,
    /// Replay it by the routes that stood when the command began.
    Replay(Replays),
    Purge,
}

impl Act {
    /// Returns the act for the letter of this number, because replays before it make it wait.
    fn of_number(&self, number: usize) -> Self {
        match self {
            Self::Replay(replays) => Self::Replay(replays.of_number(number)),
            other => other.clone(),
        }
    }
}

/// A selection, and how far this answer goes.
#[derive(Debug)]
pub(crate) struct Bulk {
    pub(crate) selection: Selection,
    pub(crate) dry_run: bool,
    pub(crate) limit: usize,
    pub(crate) after: Option<Cursor>,
}

/// The letters that one answer is about.
#[derive(Debug, Default)]
struct Chosen {
    letters: Vec<Place>,
    unreadable: Vec<String>,
    next: Option<Cursor>,
    until: Option<Millis>,
}

impl Processor {
    /// Does something to each chosen letter, the oldest first. One that is refused does not stop the others.
    pub(crate) async fn each(&self, bulk: Bulk, act: Act, moment: Moment) -> Result<Done, ProcessorError> {
        let chosen = self.chosen(&bulk, moment).await?;
        let by_id = !bulk.selection.ids.is_empty();
        if bulk.dry_run && !by_id {
            let ids = chosen.letters.into_iter().map(|letter| letter.id).collect();
            let (unreadable, next, until) = (chosen.unreadable, chosen.next, chosen.until);
            return Ok(Done { ids, unreadable, next, until, dry_run: true, ..Done::default() });
        }
        let mut act = if bulk.dry_run { Act::Look } else { act };
        if let (Act::Replay(replays), false) = (&mut act, chosen.letters.is_empty()) {
            // A wrong token is noticed before the first letter is marked.
            self.path.qstash.own().keys().await?;
            replays.pace.others = self.waiting_replays(replays.pace).await;
        }
        let deadline = moment.give_up_at(LONGEST);
        // Whoever opened ten thousand letters while QStash refuses them would have them sent later, unwatched and at no pace.
        let stopped = OnceLock::new();
        let act = &act;
        let act_on = |(number, letter): (usize, Place)| {
            let stopped = &stopped;
            async move {
                if Instant::now() >= deadline || stopped.get().is_some() {
                    return (letter, None);
                }
                let result = self.act(&letter.id, act.of_number(number), moment).await;
                if let Err(error) = result.as_ref().map_err(|error| error.is_away().then(|| error.to_string())) {
                    let _first = error.map(|error| stopped.set(error));
                }
                (letter, Some(result))
            }
        };
        let chosen_letters = chosen.letters.into_iter().enumerate();
        let results: Vec<_> = stream::iter(chosen_letters).map(act_on).buffered(AT_ONCE).collect().await;
        let (unreadable, dry_run) = (chosen.unreadable, bulk.dry_run);
        let stopped = stopped.into_inner();
        let mut done = Done { unreadable, dry_run, stopped, next: chosen.next, until: chosen.until, ..Done::default() };
        let mut last = bulk.after;
        for (letter, result) in results {
            match result {
                Some(Ok(id)) => done.ids.push(id),
                Some(Err(error)) => done.refused.push((letter.id.clone(), error.to_string())),
                None if by_id => {
                    let why = done.stopped.clone().unwrap_or_else(|| ProcessorError::NoTime.to_string());
                    done.refused.push((letter.id.clone(), format!("not tried: {why}")));
                }
                None if done.stopped.is_some() && last.is_none() => break,
                // Time was over: whoever asks again goes on behind the last that had its turn.
                None => return last.map(|last| Done { next: Some(last), ..done }).ok_or(ProcessorError::NoTime),
            }
            last = Some(Cursor(letter));
        }
        Ok(done)
    }

    /// Does it to one letter; answers its id, which may have been asked for by its event's key.
    async fn act(&self, id: &str, act: Act, moment: Moment) -> Result<String, ProcessorError> {
        match act {
            Act::Look => self.find(id).await.map(|(letter, _)| letter.id()),
            Act::Replay(replays) => Box::pin(self.replay_one(id, &replays, moment)).await,
            Act::Purge => self.purge_one(id, moment).await,
        }
    }

    /// The letters that a selection means, as many as one answer names.
    async fn chosen(&self, bulk: &Bulk, moment: Moment) -> Result<Chosen, ProcessorError> {
        let selection = &bulk.selection;
        if !selection.ids.is_empty() {
            let letters = selection.ids.iter().map(|id| Place { at: 0, id: id.trim().to_owned() }).collect();
            return Ok(Chosen { letters, ..Chosen::default() });
        }
        if selection.filter.is_empty() && !selection.all {
            return Err(ProcessorError::NothingChosen);
        }
        // What fails again while this runs is a new letter, and not meant.
        let until = selection.filter.until.unwrap_or(moment.now);
        let filter = checked(Filter { until: Some(until), ..selection.filter.clone() })?;
        let walk = filter.walk(Order::OldestFirst, bulk.after.clone());
        let picked = self.pick(&filter, walk, bulk.limit, moment.give_up_at(LONGEST / 2)).await?;
        let letters = picked.letters.iter().map(Place::behind).collect();
        Ok(Chosen { letters, unreadable: picked.unreadable, next: picked.next, until: Some(until) })
    }

    /// Removes a letter for good. Its record stays, so that late deliveries find it.
    async fn purge_one(&self, id: &str, moment: Moment) -> Result<String, ProcessorError> {
        let store = &self.path.store;
        match self.find(id).await {
            Ok((letter, _)) => {
                store.purge(&letter, moment.now, self.forgotten_at(moment)).await?;
                Ok(letter.id())
            }
            Err(ProcessorError::NoSuchLetter(id)) => {
                // A purge that was cut short has left chunks and no head.
                let (key, fence) = DeadLetter::parse_id(&id).ok_or(ProcessorError::NoSuchLetter(id.clone()))?;
                let released = store.release_all_chunks(&key, fence, moment.now).await?;
                if released > 0 { Ok(id) } else { Err(ProcessorError::NoSuchLetter(id)) }
            }
            Err(error) => Err(error),
        }
    }

    /// When a record that is finished now may be forgotten, in seconds since the epoch.
    pub(crate) fn forgotten_at(&self, moment: Moment) -> i64 {
        (moment.now + self.policy.retention) / 1_000
    }

    /// What became of letters that were replayed.
    pub async fn outcomes(&self, ids: Vec<String>) -> Result<BTreeMap<String, Fate>, ProcessorError> {
        let fates = stream::iter(ids).map(|id| async move {
            let fate = self.outcome(&id).await?;
            Ok((id, fate))
        });
        let fates: Vec<Result<(String, Fate), ProcessorError>> = fates.buffered(AT_ONCE * 2).collect().await;
        fates.into_iter().collect()
    }

    async fn outcome(&self, id: &str) -> Result<Fate, ProcessorError> {
        let Some((key, fence)) = DeadLetter::parse_id(id) else { return Ok(Fate::Unknown) };
        Ok(self.path.store.record(&key).await?.map_or(Fate::Unknown, |record| fate(&record, fence)))
    }
}

/// A record's word on the letter of this fence: whatever failed since has a higher one.
fn fate(record: &Record, letter: u64) -> Fate {
    let failed_since = record.history.iter().any(|entry| entry.fence > letter);
    match record.status {
        Status::Done => Fate::Done,
        Status::Dead if record.fence > letter => Fate::Failed,
        Status::Retryable | Status::Running if failed_since => Fate::Failed,
        Status::Retryable | Status::Running => Fate::Waiting,
        Status::Dead | Status::Purged => Fate::Unknown,
    }
}
