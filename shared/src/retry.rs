//! When a failed event is delivered again, and when it is given up: a pure function over round, age, class and a draw.

use std::time::Duration;

use crate::{Millis, qstash::duration::backoff};

/// QStash's own retries within one round; every retry from the dead-letter queue asks for them anew.
pub const RETRIES_PER_ROUND: u32 = 3;

/// The longest `Retry-After` that our consumer answers QStash with. A longer wish of a destination is granted an hour at a
/// time; without a limit, no record could be said to outlive the retries of its event.
pub const LONGEST_WISH: Duration = Duration::from_secs(3_600);

/// The longest that one attempt takes, its answer included.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(60);

/// Returns the longest that a round takes if QStash waits for `waits` before its retries. Before each retry the consumer may ask for
/// a longer wait.
pub fn round_of(waits: impl IntoIterator<Item = Duration>) -> Duration {
    waits.into_iter().fold(LONGEST_ATTEMPT, |round, wait| round + wait.max(LONGEST_WISH) + LONGEST_ATTEMPT)
}

/// The longest round of a topic that `surehook topics` has set up, with QStash's own waits of `e^(2.5 n)` seconds. Source: QStash
/// documentation, "Retry".
pub fn longest_round() -> Duration {
    round_of((1..=RETRIES_PER_ROUND).map(backoff))
}

/// What a failed message's last status says about its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The endpoint refused the event itself: the same bytes will be refused again.
    Permanent,
    /// The endpoint was away, busy or not ready.
    Transient,
    /// Our own consumer refused QStash: the key or the URL in its configuration is wrong, the event is not.
    Misconfigured,
}

/// Classifies the last answer of a message; 0 is no answer.
pub fn classify(status: u16, ours: bool) -> FailureClass {
    match status {
        401 | 403 | 404 if ours => FailureClass::Misconfigured,
        408 | 409 | 425 | 429 => FailureClass::Transient,
        400..=499 => FailureClass::Permanent,
        _ => FailureClass::Transient,
    }
}

/// How long to wait before each round.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// `base · factor^round`, never above `cap`, spread by ± `jitter` (a share).
    Exponential {
        /// The first wait.
        base: Duration,
        /// What each further wait is multiplied with.
        factor: f64,
        /// The longest wait before jitter.
        cap: Duration,
        /// How far a wait is spread, from 0 to 1.
        jitter: f64,
    },
    /// An explicit list, one wait per round.
    List(Vec<Duration>),
}

/// The policy that the requeuer and the sweep share.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The waits.
    pub schedule: Schedule,
    /// How many rounds an event gets after its first.
    pub rounds: u32,
    /// How old an event may become, counted from its first failure, before its last attempt; `None` is as old as all waits
    /// make it.
    pub max_age: Option<Duration>,
}

impl Default for RetryPolicy {
    /// 1 h, 2 h, 4 h … 24 h, six rounds: two and a half days, with jitter.
    fn default() -> Self {
        let schedule = Schedule::Exponential {
            base: Duration::from_secs(3_600),
            factor: 2.0,
            cap: Duration::from_secs(86_400),
            jitter: 0.2,
        };
        Self { schedule, rounds: 6, max_age: None }
    }
}

/// How often and since when an event fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Rounds that were begun by us; 0 for the sender's own message.
    pub number: u32,
    /// When the event failed first.
    pub since: Millis,
}

/// What to do with a failed event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Deliver again after so long.
    Again(Duration),
    /// Give up, and why.
    Bury(BuryReason),
}

/// Why an event is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BuryReason {
    /// The endpoint refused it for good.
    Permanent,
    /// It had all its rounds.
    RoundsUsedUp,
    /// It is too old for another round.
    TooOld,
    /// Its body is hidden from us, so nothing but its entry can be kept.
    Redacted,
    /// QStash refused to take it from the outbox.
    RefusedByQStash,
    /// Its topic had no endpoints for as long as retries last.
    NoEndpoints,
    /// No route took it, and its source keeps such events.
    Unmatched,
}

impl BuryReason {
    /// The word that stands in dead letters and filters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::RoundsUsedUp => "rounds-used-up",
            Self::TooOld => "too-old",
            Self::Redacted => "redacted",
            Self::RefusedByQStash => "refused-by-qstash",
            Self::NoEndpoints => "no-endpoints",
            Self::Unmatched => "unmatched",
        }
    }
}

impl RetryPolicy {
    /// Decides. `retry_after` is what the failed answer asked for, `draw` lies in `[0, 1)`; anything else counts as 0.5. The
    /// last attempt comes when the event reaches its greatest age, whoever asked for more.
    pub fn decide(
        &self,
        round: Round,
        class: FailureClass,
        retry_after: Option<Duration>,
        now: Millis,
        draw: f64,
    ) -> Decision {
        if class == FailureClass::Permanent {
            return Decision::Bury(BuryReason::Permanent);
        }
        if round.number >= self.rounds {
            return Decision::Bury(BuryReason::RoundsUsedUp);
        }
        let age = Duration::from_millis(u64::try_from(now.saturating_sub(round.since)).unwrap_or_default());
        let Some(left) = self.greatest_age().checked_sub(age).filter(|left| !left.is_zero()) else {
            return Decision::Bury(BuryReason::TooOld);
        };
        let wait = self.wait(round.number, draw);
        Decision::Again(retry_after.map_or(wait, |wished| wished.max(wait)).min(left))
    }

    /// How long after its first failure an event may be delivered again. There is always such a limit: otherwise an endpoint
    /// that asks for a day each time could put off its event for longer than its record lives.
    pub fn greatest_age(&self) -> Duration {
        self.max_age.unwrap_or_else(|| {
            let longest = 1.0 - f64::EPSILON;
            let waits: Duration = (0..self.rounds).map(|number| self.wait(number, longest).max(LONGEST_WISH)).sum();
            waits + longest_round() * self.rounds.saturating_sub(1)
        })
    }

    /// The wait before round `number + 1`.
    fn wait(&self, number: u32, draw: f64) -> Duration {
        match &self.schedule {
            Schedule::List(waits) => {
                let index = usize::try_from(number).unwrap_or(usize::MAX);
                waits.get(index).or(waits.last()).copied().unwrap_or_default()
            }
            Schedule::Exponential { base, factor, cap, jitter } => {
                let exponent = i32::try_from(number).unwrap_or(i32::MAX);
                let raw = (base.as_secs_f64() * factor.powi(exponent)).min(cap.as_secs_f64());
                let draw = if (0.0..1.0).contains(&draw) { draw } else { 0.5 };
                let spread = 1.0 + jitter.clamp(0.0, 1.0) * (2.0 * draw - 1.0);
                Duration::try_from_secs_f64(raw * spread).unwrap_or(*cap)
            }
        }
    }

    /// The longest time from an event's first delivery to its last: the round before its first failure, its greatest age,
    /// and the round that begins then. Done records must outlive it.
    pub fn horizon(&self) -> Duration {
        self.greatest_age() + longest_round() * (1 + self.rounds.min(1))
    }
}

/// A span in milliseconds.
pub fn millis(span: Duration) -> Millis {
    Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const NOW: Millis = 1_790_000_000_000;

    fn round(number: u32) -> Round {
        Round { number, since: NOW }
    }

    fn again(policy: &RetryPolicy, number: u32, draw: f64) -> Decision {
        policy.decide(round(number), FailureClass::Transient, None, NOW, draw)
    }

    #[test]
    fn statuses_have_their_documented_class() {
        for (statuses, ours, class) in [
            (&[400, 410, 413, 418, 422, 489][..], true, FailureClass::Permanent),
            (&[400, 401, 403, 404, 410, 489][..], false, FailureClass::Permanent),
            (&[401, 403, 404][..], true, FailureClass::Misconfigured),
            (&[0, 301, 408, 409, 425, 429, 500, 502, 503][..], true, FailureClass::Transient),
            (&[0, 301, 408, 409, 425, 429, 500, 502, 503][..], false, FailureClass::Transient),
        ] {
            for status in statuses {
                assert_eq!(classify(*status, ours), class, "{status} {ours}");
            }
        }
    }

    #[test]
    fn default_waits_double_from_an_hour_to_a_day() {
        let policy = RetryPolicy::default();
        let hours = |number| match again(&policy, number, 0.5) {
            Decision::Again(wait) => wait.as_secs() / 3_600,
            Decision::Bury(_) => 0,
        };
        assert_eq!((0..7).map(hours).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 24, 0]);
    }

    #[test]
    fn the_guides_two_to_the_attempt_is_a_setting() {
        let policy = RetryPolicy {
            schedule: Schedule::Exponential {
                base: Duration::from_secs(1),
                factor: 2.0,
                cap: Duration::from_secs(3_600),
                jitter: 0.0,
            },
            rounds: 5,
            max_age: Some(HOUR),
        };
        assert_eq!(again(&policy, 4, 0.0), Decision::Again(Duration::from_secs(16)));
        assert_eq!(again(&policy, 5, 0.0), Decision::Bury(BuryReason::RoundsUsedUp));
    }

    #[test]
    fn permanent_failures_and_old_events_are_buried() {
        let policy = RetryPolicy::default();
        let permanent = policy.decide(round(0), FailureClass::Permanent, None, NOW, 0.5);
        assert_eq!(permanent, Decision::Bury(BuryReason::Permanent));
        let old = Round { number: 1, since: NOW - millis(policy.greatest_age()) - 1 };
        let decision = policy.decide(old, FailureClass::Transient, None, NOW, 0.5);
        assert_eq!(decision, Decision::Bury(BuryReason::TooOld));
    }

    #[test]
    fn retry_after_is_honoured_where_it_is_longer() {
        let policy = RetryPolicy::default();
        let decide = |wished| policy.decide(round(0), FailureClass::Transient, Some(wished), NOW, 0.5);
        assert_eq!(decide(HOUR * 5), Decision::Again(HOUR * 5));
        assert_eq!(decide(Duration::from_secs(1)), Decision::Again(HOUR));
    }

    #[test]
    fn the_default_horizon_is_below_four_days() {
        // Waits of 55 h and their jitter, and seven rounds of three hours.
        let hours = RetryPolicy::default().horizon().as_secs() / 3_600;
        assert_eq!(hours, 66 + 21);
    }

    fn policies() -> impl Strategy<Value = RetryPolicy> {
        let exponential =
            (1_u64..7_200, 1.0_f64..4.0, 60_u64..200_000, 0.0_f64..1.0).prop_map(|(base, factor, cap, jitter)| {
                Schedule::Exponential { base: Duration::from_secs(base), factor, cap: Duration::from_secs(cap), jitter }
            });
        let list =
            proptest::collection::vec((1_u64..200_000).prop_map(Duration::from_secs), 1..8).prop_map(Schedule::List);
        let age = proptest::option::of((1_u32..24 * 365).prop_map(|hours| HOUR * hours));
        (prop_oneof![exponential, list], 0_u32..9, age).prop_map(|(schedule, rounds, max_age)| RetryPolicy {
            schedule,
            rounds,
            max_age,
        })
    }

    /// What QStash waits within one round when each failed attempt is answered with this `Retry-After`.
    fn round_with(wish: Duration) -> Duration {
        (1..=RETRIES_PER_ROUND).map(|attempt| if wish.is_zero() { backoff(attempt) } else { wish }).sum()
    }

    #[test]
    fn an_endpoint_that_asks_for_a_day_each_time_does_not_outlast_the_horizon() {
        let policy =
            RetryPolicy { schedule: Schedule::List(vec![Duration::from_secs(60); 6]), ..RetryPolicy::default() };
        let (day, mut now, mut rounds) = (HOUR * 24, NOW, 0);
        let decide =
            |number, now| policy.decide(Round { number, since: NOW }, FailureClass::Transient, Some(day), now, 0.5);
        while let Decision::Again(wait) = decide(rounds, now) {
            now += millis(wait + longest_round());
            rounds += 1;
        }
        assert_eq!(decide(rounds, now), Decision::Bury(BuryReason::TooOld));
        assert_eq!(rounds, 1);
        assert!(now - NOW <= millis(policy.horizon()), "{} ms", now - NOW);
    }

    #[test]
    fn the_last_attempt_comes_at_the_greatest_age() {
        let policy = RetryPolicy { max_age: Some(HOUR * 2), ..RetryPolicy::default() };
        let at = |now| policy.decide(Round { number: 1, since: NOW }, FailureClass::Transient, None, now, 0.5);
        assert_eq!(at(NOW + millis(HOUR)), Decision::Again(HOUR));
        assert_eq!(at(NOW + millis(HOUR * 2)), Decision::Bury(BuryReason::TooOld));
        assert_eq!(policy.horizon(), HOUR * 2 + longest_round() * 2);
    }

    proptest! {
        #[test]
        fn waits_never_leave_their_bounds(number in 0_u32..1_000, draw in proptest::num::f64::ANY) {
            let policy = RetryPolicy { rounds: 1_000, ..RetryPolicy::default() };
            let Decision::Again(wait) = again(&policy, number, draw) else { panic!("must be again") };
            prop_assert!(wait >= HOUR.mul_f64(0.8) && wait <= HOUR * 24 + HOUR.mul_f64(24.0 * 0.2));
        }

        #[test]
        fn no_event_is_delivered_after_the_horizon(
            policy in policies(),
            draws in proptest::collection::vec(0.0_f64..1.0, 9),
            answers in proptest::collection::vec(0_u64..=3_600, 10),
            wishes in proptest::collection::vec(0_u64..=86_400, 10),
        ) {
            let answer = |round: usize| Duration::from_secs(answers[round]);
            let first = round_with(answer(0));
            let mut age = first;
            for number in 0.. {
                let place = usize::try_from(number).unwrap();
                let draw = *draws.get(place).unwrap_or(&0.5);
                let asked = Some(Duration::from_secs(wishes[place])).filter(|wish| !wish.is_zero());
                let now = NOW + millis(age.checked_sub(first).unwrap());
                match policy.decide(round(number), FailureClass::Transient, asked, now, draw) {
                    Decision::Again(wait) => age += wait + round_with(answer(place + 1)),
                    Decision::Bury(_) => break,
                }
            }
            prop_assert!(age <= policy.horizon(), "{age:?} after {:?}", policy.horizon());
        }

        #[test]
        fn waits_never_shrink_from_round_to_round(number in 0_u32..40, draw in 0.0_f64..1.0) {
            let policy = RetryPolicy::default();
            prop_assert!(policy.wait(number + 1, draw) >= policy.wait(number, draw));
        }
    }
}
