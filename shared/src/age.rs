//! Ages of the things that a process remembers.
//!
//! Lambda freezes an execution environment between two invocations. The monotonic clock stops with it, and only the wall clock is
//! corrected afterwards. An age therefore counts by both clocks. Deadlines inside an invocation stay monotonic, so that a step of the
//! wall clock ends no attempt.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Millis, web::Moment};

/// The beginning of an age, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Age {
    monotonic: Instant,
    wall: Millis,
}

impl Age {
    /// Begins at the present of an invocation.
    pub fn begin(moment: Moment) -> Self {
        Self { monotonic: Instant::now(), wall: moment.at_present() }
    }

    /// Returns the time since the beginning, by the clock that ran further. A wall clock that went back counts as 0.
    pub fn elapsed(&self, moment: Moment) -> Duration {
        self.monotonic.elapsed().max(self.by_wall_clock(moment))
    }

    /// Returns how much further the wall clock ran than the monotonic clock, which is the time that the process was frozen.
    pub fn frozen(&self, moment: Moment) -> Duration {
        self.by_wall_clock(moment).saturating_sub(self.monotonic.elapsed())
    }

    fn by_wall_clock(&self, moment: Moment) -> Duration {
        let elapsed = moment.at_present().saturating_sub(self.wall);
        Duration::from_millis(u64::try_from(elapsed).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Millis = 1_700_000_000_000;
    const HOUR: Duration = Duration::from_secs(3_600);

    /// A moment whose clocks ran this far since both stood at the beginning of the tests.
    fn moment(origin: Instant, monotonic: Duration, wall: Millis) -> Moment {
        Moment { now: WALL + wall, started: origin + monotonic, deadline: None }
    }

    #[test]
    fn an_age_counts_by_the_clock_that_ran_further() {
        let origin = Instant::now();
        let age = Age::begin(moment(origin, Duration::ZERO, 0));
        let frozen = age.elapsed(moment(origin, Duration::ZERO, 3_600_000));
        assert!(frozen >= HOUR && frozen < HOUR * 2, "{frozen:?}");
        let awake = Age { monotonic: origin.checked_sub(HOUR).unwrap(), wall: WALL };
        assert!(awake.elapsed(moment(origin, Duration::ZERO, 0)) >= HOUR);
    }

    #[test]
    fn a_wall_clock_that_went_back_counts_as_0() {
        let origin = Instant::now();
        let age = Age::begin(moment(origin, Duration::ZERO, 0));
        let now = moment(origin, Duration::ZERO, -3_600_000);
        assert!(age.elapsed(now) < HOUR);
        assert_eq!(age.frozen(now), Duration::ZERO);
    }

    #[test]
    fn frozen_time_is_the_lead_of_the_wall_clock() {
        let origin = Instant::now();
        let age = Age { monotonic: origin.checked_sub(HOUR).unwrap(), wall: WALL };
        let frozen = age.frozen(moment(origin, Duration::ZERO, 3 * 3_600_000));
        assert!(frozen <= HOUR * 2 && frozen > HOUR, "{frozen:?}");
    }
}
