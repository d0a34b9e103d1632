//! The guard of a replay: watches in the ledger what becomes of letters that were sent, and says when to stop.

use std::{collections::VecDeque, time::Duration};

use surehook_dlq_processor::{Command, Reply, reply::Fate};
use tokio::time::{Instant, sleep};

use super::{Asker, unexpected};
use crate::{Failure, text::span};

/// How often the ledger is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// Letters that are asked about with one command.
const PAGE: usize = 100;

/// What became of the letters that were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Not followed by the ledger.
    pub(crate) unknown: u64,
}

/// Why a replay stops before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    TooManyFailed(Tally),
    NoOutcome {
        waiting: usize,
        patience: Duration,
    },
    NotFollowed,
    NothingSent,
    /// QStash or the table is away.
    Away(String),
    Interrupted,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooManyFailed(Tally { done, failed, .. }) => {
                write!(formatter, "{failed} of {} failed again: mend their destination first", done + failed)
            }
            Self::NoOutcome { waiting, patience } => {
                let patience = span(*patience);
                write!(formatter, "{waiting} of those that were sent have had no outcome for {patience} (--patience)")
            }
            Self::NotFollowed => formatter.write_str(
                "the ledger does not follow what becomes of these letters: their endpoint is not Surehook's consumer, or \
                 their body is redacted. Replay them without --canary and --max-failures",
            ),
            Self::NothingSent => formatter.write_str("none of the canaries could be sent"),
            Self::Away(why) => formatter.write_str(why),
            Self::Interrupted => formatter.write_str("interrupted"),
        }
    }
}

/// Watches letters that were sent.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The share of failures that is borne, from 0 to 1.
    pub(crate) most: f64,
    /// How long nothing may happen.
    pub(crate) patience: Duration,
    waiting: VecDeque<String>,
    tally: Tally,
}

impl Guard {
    pub(crate) fn new(most: f64, patience: Duration) -> Self {
        Self { most, patience, waiting: VecDeque::new(), tally: Tally::default() }
    }

    /// Begins to watch letters that were sent.
    pub(crate) fn watch(&mut self, ids: &[String]) {
        self.waiting.extend(ids.iter().cloned());
    }

    /// Letters whose outcome is known.
    pub(crate) fn judged(&self) -> u64 {
        self.tally.done + self.tally.failed
    }

    /// Letters that were sent and have no outcome yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Waits until at most `left` letters have no outcome; says why to stop, if there is a reason. A share is a share only of
    /// `enough` outcomes.
    pub(crate) async fn settle(
        &mut self,
        asker: &Asker,
        left: usize,
        enough: u64,
        interrupted: impl Fn() -> bool,
        news: impl Fn(&Self),
    ) -> Result<Option<Stop>, Failure> {
        let mut last_news = Instant::now();
        loop {
            match self.look(asker).await {
                Ok(true) => last_news = Instant::now(),
                Ok(false) => {}
                // A ledger that throttles is asked again.
                Err(error) if last_news.elapsed() >= self.patience => return Err(error),
                Err(_not_now) => {}
            }
            news(self);
            if let Some(stop) = self.verdict(enough) {
                return Ok(Some(stop));
            }
            if self.waiting.len() <= left {
                let nothing_known = self.judged() == 0 && self.tally.unknown > 0;
                return Ok(nothing_known.then_some(Stop::NotFollowed));
            }
            if last_news.elapsed() >= self.patience {
                return Ok(Some(Stop::NoOutcome { waiting: self.waiting.len(), patience: self.patience }));
            }
            if interrupted() {
                return Ok(Some(Stop::Interrupted));
            }
            sleep(INTERVAL).await;
        }
    }

    /// Asks the ledger about every letter that has no outcome yet; says whether there was news.
    async fn look(&mut self, asker: &Asker) -> Result<bool, Failure> {
        let before = self.waiting.len();
        for _ in 0..before.div_ceil(PAGE) {
            let ids: Vec<String> = self.waiting.iter().take(PAGE).cloned().collect();
            let Reply::Outcomes(fates) = asker.ask(Command::Outcomes { ids: ids.clone() }).await? else {
                return Err(unexpected());
            };
            self.waiting.drain(..ids.len());
            for id in ids {
                let fate = fates.get(&id).copied().unwrap_or(Fate::Unknown);
                self.count(id, fate);
            }
        }
        Ok(self.waiting.len() < before)
    }

    fn count(&mut self, id: String, fate: Fate) {
        match fate {
            Fate::Done => self.tally.done += 1,
            Fate::Failed => self.tally.failed += 1,
            Fate::Unknown => self.tally.unknown += 1,
            Fate::Waiting => self.waiting.push_back(id),
        }
    }

    fn verdict(&self, enough: u64) -> Option<Stop> {
        let (judged, failed) = (self.judged(), self.tally.failed);
        // The last outcomes are all there will be.
        let is_enough = judged >= enough || self.waiting.is_empty();
        #[allow(clippy::cast_precision_loss, reason = "counts of letters are far below 2^52")]
        let too_many = judged > 0 && failed as f64 / judged as f64 > self.most;
        (is_enough && too_many).then_some(Stop::TooManyFailed(self.tally))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(fates: &[Fate]) -> Guard {
        let mut guard = Guard::new(0.1, Duration::from_secs(1));
        for (number, fate) in fates.iter().enumerate() {
            guard.count(number.to_string(), *fate);
        }
        guard
    }

    #[test]
    fn more_than_the_share_that_is_borne_stops_a_replay() {
        let mut fates = vec![Fate::Done; 9];
        fates.push(Fate::Failed);
        assert_eq!(guard(&fates).verdict(10), None, "one of ten is borne");
        fates.push(Fate::Failed);
        let tally = Tally { done: 9, failed: 2, unknown: 0 };
        assert_eq!(guard(&fates).verdict(10), Some(Stop::TooManyFailed(tally)));
    }

    #[test]
    fn one_failure_is_no_share_while_others_have_no_outcome_yet() {
        assert_eq!(guard(&[Fate::Failed, Fate::Waiting]).verdict(10), None);
        assert!(guard(&[Fate::Failed]).verdict(10).is_some(), "it was all there will be");
    }
}
