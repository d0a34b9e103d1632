//! When a destination that keeps failing is left alone: the rules of the circuit breaker, pure.
//!
//! ```text
//!           enough of a window's deliveries fail
//!  closed ──────────────────────────────────────▶ half-open ◀─────────────┐
//!    ▲                                              │    │ the probe fails │ its time is over
//!    └──────────── the probe succeeds ──────────────┘    └───────▶ open ───┘   (twice as long each time)
//! ```
//!
//! The state is shared by all execution environments through the table (`store::breakers`), and written only when something
//! fails or a probe ends: a healthy destination has none. Nothing rests on it but time and load: an event that meets an open breaker
//! waits as one does whose destination answers 503.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Millis, identity::cut, retry::millis};

/// Deliveries are counted for so long; then the count begins anew.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Fewer failures in a window open nothing, whatever their share: an event or two may be the cause themselves.
pub const FEWEST_FAILURES: u32 = 10;
/// The share of failures, in percent, that opens.
pub const FAILING_PERCENT: u64 = 50;
/// A breaker is open for this long at most, unless its first wait is longer, so that a destination that is back is found out soon.
pub const LONGEST_OPEN: Duration = Duration::from_secs(300);
/// A breaker is open for this many first waits at most, so that a short first wait keeps all waits short.
const MAX_FIRST_WAITS: u32 = 5;
/// No honest clock opens a breaker, or takes a probe, for longer than this.
const LONGEST_BELIEVED: Duration = Duration::from_secs(7_200);
/// What is kept of the last failure, in bytes.
const MOST_REASON: usize = 200;

/// How long a breaker stays open at first; each time that a probe fails it stays twice as long, up to five
/// times the first wait and up to [`LONGEST_OPEN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// The first time.
    pub wait: Duration,
}

/// Deliveries to one destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// No answer, or one that says "not now".
    pub failed: u32,
    /// Any other answer: a destination that refuses an event is up.
    pub succeeded: u32,
}

/// What is known of a destination that has failed lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// When the window of counting began.
    pub window: Millis,
    /// Deliveries in this window that failed.
    pub failed: u32,
    /// Deliveries in this window that did not.
    pub succeeded: u32,
    /// Until when nothing is sent; `None` while it is closed.
    pub open_until: Option<Millis>,
    /// How often it has opened since it was closed.
    pub opened: u32,
    /// What was wrong last.
    pub reason: String,
    /// Grows with each write: whoever writes must have seen the last.
    pub version: Millis,
}

/// What a breaker says to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Send it.
    Closed,
    /// Don't, until then.
    Open(Millis),
    /// One may try.
    HalfOpen,
}

impl Breaker {
    /// What it says to a delivery now.
    pub fn passage(&self, now: Millis) -> Passage {
        match self.open_until {
            None => Passage::Closed,
            // A clock that is far ahead must not shut a destination for everybody.
            Some(until) if now < until && until - now <= millis(LONGEST_BELIEVED) => Passage::Open(until),
            Some(_) => Passage::HalfOpen,
        }
    }

    /// Counts failures, and what succeeded beside them. `None` where there is nothing to write: it is open already.
    pub fn count(known: Option<&Self>, tally: Tally, reason: &str, now: Millis) -> Option<Self> {
        match known.map(|breaker| (breaker, breaker.passage(now))) {
            // Once it has opened, only a probe decides.
            Some((_, Passage::Open(_) | Passage::HalfOpen)) => None,
            Some((breaker, Passage::Closed)) if now < breaker.window + millis(WINDOW) => {
                let counted = Self {
                    failed: breaker.failed.saturating_add(tally.failed),
                    succeeded: breaker.succeeded.saturating_add(tally.succeeded),
                    reason: kept(reason),
                    version: breaker.next_version(now),
                    ..breaker.clone()
                };
                Some(counted.doubting_if_failing(now))
            }
            other => Some(Self::fresh(tally, reason, now, other.map(|(old, _)| old)).doubting_if_failing(now)),
        }
    }

    fn fresh(tally: Tally, reason: &str, now: Millis, old: Option<&Self>) -> Self {
        Self {
            window: now,
            failed: tally.failed,
            succeeded: tally.succeeded,
            open_until: None,
            opened: 0,
            reason: kept(reason),
            version: old.map_or(now, |old| old.next_version(now)),
        }
    }

    /// Half-open where enough fails. It opens only if the next delivery, the probe, fails too: successes of workers that saw no failure
    /// are not in the count.
    fn doubting_if_failing(self, now: Millis) -> Self {
        let all = u64::from(self.failed) + u64::from(self.succeeded);
        let is_failing = self.failed >= FEWEST_FAILURES && u64::from(self.failed) * 100 >= all * FAILING_PERCENT;
        Self { open_until: is_failing.then_some(now), ..self }
    }

    /// Open, because a probe failed.
    pub fn opening(&self, reason: &str, now: Millis, policy: BreakerPolicy) -> Self {
        let doubled = policy.wait.saturating_mul(1_u32.checked_shl(self.opened).unwrap_or(u32::MAX));
        let longest = policy.wait.saturating_mul(MAX_FIRST_WAITS).min(LONGEST_OPEN.max(policy.wait));
        let wait = doubled.min(longest);
        Self {
            open_until: Some(now.saturating_add(millis(wait))),
            opened: self.opened.saturating_add(1),
            reason: kept(reason),
            version: self.next_version(now),
            ..self.clone()
        }
    }

    /// Half-open, and this delivery is the probe: it is open to all others until the probe must have ended. A prober that dies
    /// is followed by the next.
    pub fn probing(&self, longest: Duration, now: Millis) -> Self {
        Self { open_until: Some(now.saturating_add(millis(longest))), version: self.next_version(now), ..self.clone() }
    }

    /// Grows over deletions too, because clocks do: a state that was removed and came anew is not taken for the old one.
    fn next_version(&self, now: Millis) -> Millis {
        now.max(self.version + 1)
    }
}

fn kept(reason: &str) -> String {
    cut(reason.to_owned(), MOST_REASON)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = 1_790_000_000_000;
    const POLICY: BreakerPolicy = BreakerPolicy { wait: Duration::from_secs(60) };

    fn failed(known: Option<&Breaker>, failed: u32, succeeded: u32, now: Millis) -> Option<Breaker> {
        Breaker::count(known, Tally { failed, succeeded }, "503 down", now)
    }

    fn open() -> Breaker {
        failed(None, FEWEST_FAILURES, 0, NOW).unwrap().probing(Duration::from_secs(10), NOW).opening("503", NOW, POLICY)
    }

    #[test]
    fn enough_failures_that_are_a_large_enough_share_raise_doubts() {
        let passage = |failures, successes| failed(None, failures, successes, NOW).unwrap().passage(NOW);
        assert_eq!(passage(9, 0), Passage::Closed);
        assert_eq!(passage(10, 0), Passage::HalfOpen);
        assert_eq!(passage(10, 10), Passage::HalfOpen);
        assert_eq!(passage(10, 11), Passage::Closed);
    }

    #[test]
    fn only_a_probe_that_fails_opens() {
        let doubted = failed(None, FEWEST_FAILURES, 0, NOW).unwrap();
        assert_eq!(failed(Some(&doubted), 1, 0, NOW), None, "others may have failed for reasons of their own");
        assert_eq!(open().passage(NOW), Passage::Open(NOW + 60_000));
    }

    #[test]
    fn failures_count_together_within_a_window_and_not_beyond() {
        let first = failed(None, 9, 0, NOW).unwrap();
        assert_eq!(failed(Some(&first), 1, 0, NOW + 59_999).unwrap().passage(NOW + 59_999), Passage::HalfOpen);
        let later = failed(Some(&first), 1, 0, NOW + 60_000).unwrap();
        assert_eq!((later.passage(NOW + 60_000), later.failed), (Passage::Closed, 1));
    }

    #[test]
    fn nothing_is_written_while_it_is_open() {
        assert_eq!(failed(Some(&open()), 1, 0, NOW + 1), None);
    }

    #[test]
    fn one_probes_while_the_others_wait() {
        let until = NOW + 60_000;
        assert_eq!(open().passage(until - 1), Passage::Open(until));
        assert_eq!(open().passage(until), Passage::HalfOpen);
        let probing = open().probing(Duration::from_secs(10), until);
        assert_eq!(probing.passage(until + 1), Passage::Open(until + 10_000));
        assert_eq!(probing.passage(until + 10_000), Passage::HalfOpen, "the prober died");
    }

    #[test]
    fn a_clock_that_is_far_ahead_shuts_nobody_out() {
        let ahead = open().opening("503", NOW + 86_400_000, POLICY);
        assert_eq!(ahead.passage(NOW), Passage::HalfOpen);
    }

    #[test]
    fn each_probe_that_fails_doubles_the_wait_up_to_five_minutes() {
        let (mut breaker, mut waits) = (open(), Vec::new());
        for _ in 0..5 {
            let now = breaker.open_until.unwrap();
            breaker = breaker.probing(Duration::from_secs(10), now).opening("503", now, POLICY);
            waits.push((breaker.open_until.unwrap() - now) / 1_000);
        }
        assert_eq!(waits, [120, 240, 300, 300, 300]);
    }

    #[test]
    fn a_short_first_wait_keeps_all_waits_short() {
        for (first, longest) in [(100, 500_i64), (10_000, 50_000), (60_000, 300_000), (900_000, 900_000)] {
            let policy = BreakerPolicy { wait: Duration::from_millis(first) };
            let mut breaker = failed(None, FEWEST_FAILURES, 0, NOW).unwrap();
            for _ in 0..10 {
                breaker = breaker.opening("503", NOW, policy);
            }
            assert_eq!(breaker.open_until.unwrap() - NOW, longest, "{first} ms");
        }
    }

    proptest! {
        /// Whatever happens, nobody waits longer than five minutes for a probe, and versions grow.
        #[test]
        fn it_never_stays_open_for_longer_than_five_minutes(
            steps in proptest::collection::vec((0_i64..400_000, 0_u32..30, 0_u32..30), 1..40)
        ) {
            let (mut now, mut known): (Millis, Option<Breaker>) = (NOW, None);
            for (pause, failures, successes) in steps {
                now += pause;
                let is_probed = known.as_ref().is_some_and(|old: &Breaker| old.passage(now) == Passage::HalfOpen);
                let next = match &known {
                    Some(old) if is_probed => Some(old.opening("503", now, POLICY)),
                    other => failed(other.as_ref(), failures, successes, now),
                };
                if let Some(next) = next {
                    prop_assert!(known.as_ref().is_none_or(|old| next.version > old.version));
                    prop_assert!(next.open_until.is_none_or(|until| until - now <= 300_000));
                    known = Some(next);
                }
            }
        }
    }
}
