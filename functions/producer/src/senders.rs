//! Senders that are accepted and rejected, as this environment sees them.
//!
//! A sender whose secret is wrong is rejected with 401, and most senders never send the event again. The producer therefore writes down
//! which sources it rejects, so that the sweep can raise an alarm. Accepted requests cost no call, unless one of the same source was
//! rejected in the last hour: then the counts are written again, so that one stray request does not ring for an hour.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use surehook::{
    Millis,
    age::Age,
    environment::Background,
    store::{Store, rejected::SenderCounts},
    telemetry::{Metric, Telemetry},
    web::Moment,
};

/// The shortest time between two writes about one source.
const PAUSE: Duration = Duration::from_secs(60);
/// Minutes that the counts cover.
const WINDOW: Millis = 60;

/// Counts of all sources.
#[derive(Debug, Clone)]
pub struct Senders {
    store: Store,
    background: Background,
    telemetry: Telemetry,
    /// Tells this environment from the others.
    environment: Arc<str>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    sources: BTreeMap<String, Sender>,
    /// When a source without a configuration was reported last.
    unconfigured: Option<Age>,
}

/// One source, as one environment sees it.
#[derive(Debug, Default)]
pub struct Sender {
    /// Counts by minute since the epoch, the oldest first.
    minutes: VecDeque<(Millis, SenderCounts)>,
    written: Option<Age>,
}

impl Senders {
    /// Returns counts of nothing yet. `environment` is an id that no other environment has.
    pub fn new(store: Store, background: Background, telemetry: Telemetry, environment: &str) -> Self {
        Self { store, background, telemetry, environment: environment.into(), known: Arc::default() }
    }

    /// Counts an accepted request. The counts are written only if a plausible request was rejected in the last hour.
    pub(crate) fn accept(&self, source: &str, moment: Moment) {
        let counts = self.with(|known| {
            let sender = known.sender(source);
            sender.count(moment.now).accepted += 1;
            sender.due(moment)
        });
        if let Some(counts) = counts {
            self.write_soon(source, counts, moment.now);
        }
    }

    /// Counts a plausible request that was rejected, and writes the counts of its source, at most once a minute.
    pub(crate) fn reject(&self, source: &str, moment: Moment) {
        let counts = self.with(|known| {
            let sender = known.sender(source);
            sender.count(moment.now).rejected += 1;
            sender.due(moment)
        });
        let Some(counts) = counts else { return };
        tracing::error!(
            source,
            "a request that looks like the sender's own was rejected: compare its secret with SOURCE_SECRETS"
        );
        self.write_soon(source, counts, moment.now);
    }

    /// Reports an authenticated request to a topic that is not configured, at most once a minute.
    pub(crate) fn report_unconfigured(&self, moment: Moment) {
        if self.with(|known| is_due(&mut known.unconfigured, moment)) {
            self.telemetry.count(Metric::Unconfigured, 1, moment.now);
        }
    }

    /// Reports a plausible request of a source whose secret is not configured, at most once a minute. The answer does not name the
    /// source, so that the log does.
    pub(crate) fn report_missing_secret(&self, source: &str, moment: Moment) {
        if self.with(|known| is_due(&mut known.unconfigured, moment)) {
            tracing::error!(
                source,
                "SOURCE_SECRETS lacks \"seal\", or a secret of this source that its scheme can use"
            );
            self.telemetry.count(Metric::Unconfigured, 1, moment.now);
        }
    }

    fn write_soon(&self, source: &str, counts: SenderCounts, now: Millis) {
        let (senders, source) = (self.clone(), source.to_owned());
        drop(self.background.spawn(async move { senders.write(&source, counts, now).await }));
    }

    async fn write(&self, source: &str, counts: SenderCounts, now: Millis) {
        if let Err(error) = self.store.put_rejected(source, &self.environment, counts, now).await {
            tracing::warn!(error = %error, "a rejected sender could not be written down; the next try is in a minute");
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn sender(&mut self, source: &str) -> &mut Sender {
        self.sources.entry(source.to_owned()).or_default()
    }
}

impl Sender {
    /// Returns the counts of this minute, and forgets those that are older than an hour.
    pub fn count(&mut self, now: Millis) -> &mut SenderCounts {
        let minute = now.div_euclid(60_000);
        self.minutes.retain(|(known, _)| (minute - WINDOW + 1..=minute).contains(known));
        if self.minutes.back().is_none_or(|(known, _)| *known != minute) {
            self.minutes.push_back((minute, SenderCounts::default()));
        }
        let last = self.minutes.len() - 1;
        &mut self.minutes[last].1
    }

    /// Returns the counts if they are to be written now: at most once a minute, and only if a request was rejected.
    pub fn due(&mut self, moment: Moment) -> Option<SenderCounts> {
        let counts = self.sum();
        (counts.rejected > 0 && is_due(&mut self.written, moment)).then_some(counts)
    }

    /// Sums the minutes since the first rejection of the last hour. Requests that were accepted before it say nothing about a secret that
    /// was replaced since.
    fn sum(&self) -> SenderCounts {
        let add = |sum: SenderCounts, (_, counts): &(Millis, SenderCounts)| SenderCounts {
            accepted: sum.accepted + counts.accepted,
            rejected: sum.rejected + counts.rejected,
        };
        let since = self.minutes.iter().skip_while(|(_, counts)| counts.rejected == 0);
        since.fold(SenderCounts::default(), add)
    }
}

/// Returns whether the last time is at least a minute ago, and notes the present if so.
fn is_due(last: &mut Option<Age>, moment: Moment) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed(moment) >= PAUSE);
    if is_due {
        *last = Some(Age::begin(moment));
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    #[test]
    fn counts_cover_the_last_hour() {
        let mut sender = Sender::default();
        sender.count(0).accepted += 1;
        sender.count(1).rejected += 1;
        sender.count(HOUR - 1).rejected += 1;
        assert_eq!(sender.sum(), SenderCounts { accepted: 1, rejected: 2 });
        sender.count(HOUR).accepted += 1;
        assert_eq!(sender.sum(), SenderCounts { accepted: 1, rejected: 1 });
        assert_eq!(sender.minutes.len(), 2);
    }

    /// A secret that is replaced at one side only must ring at the first event, whatever came before.
    #[test]
    fn requests_that_were_accepted_before_the_first_rejection_do_not_count() {
        let mut sender = Sender::default();
        (0..3).for_each(|minute| sender.count(minute * 60_000).accepted += 1);
        assert_eq!(sender.sum(), SenderCounts::default());
        sender.count(180_000).rejected += 1;
        assert_eq!(sender.sum(), SenderCounts { accepted: 0, rejected: 1 });
        (4..6).for_each(|minute| sender.count(minute * 60_000).accepted += 1);
        assert_eq!(sender.sum(), SenderCounts { accepted: 2, rejected: 1 });
    }

    #[test]
    fn counts_are_written_once_a_minute_and_only_after_a_rejection() {
        let mut sender = Sender::default();
        let due =
            |sender: &mut Sender, now| sender.due(Moment { now, started: tokio::time::Instant::now(), deadline: None });
        sender.count(0).accepted += 1;
        assert_eq!(due(&mut sender, 0), None, "accepted requests alone cost nothing");
        sender.count(1).rejected += 1;
        assert_eq!(due(&mut sender, 1), Some(SenderCounts { accepted: 1, rejected: 1 }));
        sender.count(2).accepted += 1;
        assert_eq!(due(&mut sender, 2), None, "within a minute");
        let later = due(&mut sender, 61_000);
        assert_eq!(later, Some(SenderCounts { accepted: 2, rejected: 1 }), "one stray request rings no longer");
        sender.count(HOUR + 60_000).accepted += 1;
        assert_eq!(due(&mut sender, HOUR + 60_000), None, "the rejection is older than an hour");
    }

    #[test]
    fn a_source_rejects_from_half_of_its_requests_on() {
        let of = |accepted, rejected| SenderCounts { accepted, rejected }.is_rejecting();
        assert_eq!([of(0, 0), of(0, 1), of(1, 1), of(2, 1), of(99, 100)], [false, true, true, false, true]);
    }
}
