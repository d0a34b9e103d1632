//! The server's one clock, and how it stands to the clock of whoever calls or is called.
//!
//! Delays, backoff, schedules and rates are counted by the server's clock, which may run faster than the world or stand still
//! until it is stepped. Receivers and callers mostly live in real time: a token that is signed for next week, or a `Retry-After`
//! that passes in a millisecond, would be of no use to them. [`Callers`] says which clock is theirs, and this module translates.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use surehook::{Millis, retry::millis};
use tokio::time::Instant;

/// The slowest and the fastest pace: beyond them spans are no longer spans that a computer can count.
pub const SLOWEST: f64 = 0.001;
/// See [`SLOWEST`].
pub const FASTEST: f64 = 1_000_000.0;
/// The latest time that a clock may show at first, in milliseconds since 1970: the year 3000.
pub const LATEST_START: Millis = 32_503_680_000_000;

/// How the server's time passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many times as fast as the world; 1 is real time.
    Times(f64),
    /// Not at all, until it is stepped.
    Stepped,
}

/// Which clock callers and receivers live by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Callers {
    /// The world's. Where time passes, tokens, times that are shown, `Retry-After`, the deduplication window and retention are real; where it is
    /// stepped, tokens are.
    #[default]
    Real,
    /// The server's: everything is counted by one clock.
    Same,
}

/// One reading of the clock: what the rules of the account go by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The server's time.
    pub(crate) now: Millis,
    /// The callers' time: what tokens are signed with, and what dates in answers are compared with.
    pub(crate) callers_now: Millis,
    scale: Scale,
}

/// How the server's time looks to callers.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// The time at which both clocks agree.
    origin: Millis,
    /// How many of the server's seconds are one of the callers'.
    ratio: f64,
}

impl Scale {
    fn shown(self, at: Millis) -> Millis {
        // Exact where nothing is scaled.
        if self.ratio == 1.0 { at } else { self.origin + ((at - self.origin) as f64 / self.ratio).round() as Millis }
    }
}

impl Moment {
    /// A span of the callers' time, as the server counts it.
    pub(crate) fn span(&self, of_callers: Duration) -> Millis {
        millis(of_callers.mul_f64(self.scale.ratio))
    }

    /// How a time of the server looks to callers.
    pub(crate) fn shown(&self, at: Millis) -> Millis {
        self.scale.shown(at)
    }

    /// When one clock is everybody's.
    #[cfg(test)]
    pub(crate) fn at(now: Millis) -> Self {
        Self { now, callers_now: now, scale: Scale { origin: now, ratio: 1.0 } }
    }
}

/// The clock. Times are in milliseconds since 1970.
#[derive(Debug)]
pub(crate) struct Clock {
    pace: Pace,
    callers: Callers,
    scale: Scale,
    started: Instant,
    world: fn() -> Millis,
    shows: Mutex<Shows>,
}

/// What the clock shows, and what the world's showed when it did.
#[derive(Debug)]
struct Shows {
    now: Millis,
    world: Millis,
}

impl Clock {
    /// A clock that shows `origin` now, or else what the world's clock shows.
    pub(crate) fn new(pace: Pace, callers: Callers, origin: Option<Millis>, world: fn() -> Millis) -> Self {
        let began = world();
        let origin = origin.unwrap_or(began).clamp(0, LATEST_START);
        let (pace, ratio) = match (pace, callers) {
            (Pace::Times(speed), Callers::Real) => (Pace::Times(bounded(speed)), bounded(speed)),
            (Pace::Times(speed), Callers::Same) => (Pace::Times(bounded(speed)), 1.0),
            (Pace::Stepped, _) => (Pace::Stepped, 1.0),
        };
        let shows = Mutex::new(Shows { now: origin, world: began });
        Self { pace, callers, scale: Scale { origin, ratio }, started: Instant::now(), world, shows }
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// How many times as fast as the world the times pass that are shown. Callers in real time are shown real times.
    pub(crate) fn shown_speed(&self) -> f64 {
        match self.pace {
            Pace::Times(speed) => speed / self.scale.ratio,
            Pace::Stepped => 0.0,
        }
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Millis {
        let mut shows = self.shows.lock().unwrap_or_else(PoisonError::into_inner);
        match self.pace {
            // Not what has elapsed since the start: that stands still while the machine sleeps. A world that is set back does not take us with it.
            Pace::Times(1.0) => {
                let world = (self.world)();
                shows.now += (world - shows.world).max(0);
                shows.world = world;
            }
            Pace::Times(speed) => shows.now = self.scale.origin + millis(self.started.elapsed().mul_f64(speed)),
            Pace::Stepped => {}
        }
        shows.now
    }

    /// Sets a clock that is stepped; time never runs backwards.
    pub(crate) fn step_to(&self, to: Millis) {
        let mut shows = self.shows.lock().unwrap_or_else(PoisonError::into_inner);
        shows.now = shows.now.max(to);
    }

    /// Reads both clocks.
    pub(crate) fn moment(&self) -> Moment {
        let now = self.now();
        let callers_now = match self.callers {
            Callers::Real => (self.world)(),
            Callers::Same => now,
        };
        Moment { now, callers_now, scale: self.scale }
    }

    /// How a time of the server looks to callers.
    pub(crate) fn shown(&self, at: Millis) -> Millis {
        self.scale.shown(at)
    }

    /// How long until then, in real time; `None` where time does not pass.
    pub(crate) fn until(&self, due: Millis) -> Option<Duration> {
        let Pace::Times(speed) = self.pace else {
            return None;
        };
        let left = u64::try_from(due - self.now()).unwrap_or_default();
        // A millisecond of the server may be much less of the world, and timers are no finer than one.
        Some(Duration::from_millis(left).div_f64(speed))
    }
}

fn bounded(speed: f64) -> f64 {
    speed.clamp(SLOWEST, FASTEST)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const fn noon() -> Millis {
        1_000_000
    }

    /// A world in which a second passes at each look, and once, at the third, the clock is set back.
    fn restless() -> Millis {
        static LOOKS: AtomicI64 = AtomicI64::new(0);
        match LOOKS.fetch_add(1, Ordering::SeqCst) {
            2 => 0,
            looks => looks * 1_000,
        }
    }

    #[test]
    fn a_real_clock_follows_the_worlds_and_does_not_go_back_with_it() {
        let clock = Clock::new(Pace::Times(1.0), Callers::Real, Some(50_000), restless);
        assert_eq!([clock.now(), clock.now(), clock.now()], [51_000, 51_000, 54_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_counts_faster_and_shows_callers_their_own_time() {
        let clock = Clock::new(Pace::Times(60.0), Callers::Real, None, noon);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.now(), 1_600_000);
        assert_eq!((clock.shown(1_600_000), clock.shown_speed()), (1_010_000, 1.0));
        assert_eq!(clock.moment().span(Duration::from_secs(10)), 600_000, "10 s of the caller's are 10 min here");
        assert_eq!(clock.until(1_660_000), Some(Duration::from_secs(1)));
        assert_eq!(clock.until(0), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn one_clock_for_all_translates_nothing() {
        let clock = Clock::new(Pace::Times(60.0), Callers::Same, None, noon);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!((clock.shown(5), clock.moment().span(Duration::from_secs(1))), (5, 1_000));
        assert_eq!((clock.moment().callers_now, clock.shown_speed()), (clock.now(), 60.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stepped_clock_stands_until_it_is_stepped_and_never_goes_back() {
        let clock = Clock::new(Pace::Stepped, Callers::Real, Some(1_000), noon);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!((clock.now(), clock.until(2_000)), (1_000, None));
        clock.step_to(5_000);
        clock.step_to(4_000);
        assert_eq!(clock.now(), 5_000);
    }
}
