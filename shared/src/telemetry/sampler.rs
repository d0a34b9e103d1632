//! Refusals are counted all, but told a few times a minute: who floods us must not flood the log, which is paid by the byte.

use crate::Millis;

/// After so long a flood counts as a new one, in milliseconds.
const WINDOW: Millis = 60_000;

/// Tells the first, second, fourth, eighth… refusal of a minute. So a million refusals are some twenty lines, and what was told
/// last is never less than half of what has happened.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    began: Millis,
    in_window: u64,
    untold: u64,
}

impl Sampler {
    /// Counts one; `Some` where it is to be told, with the number of those since the last that was told.
    pub(super) fn see(&mut self, now: Millis) -> Option<u64> {
        if now.saturating_sub(self.began) >= WINDOW {
            (self.began, self.in_window) = (now, 0);
        }
        self.in_window += 1;
        self.untold += 1;
        self.in_window.is_power_of_two().then(|| std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_that_tell_most_of_it() {
        let mut sampler = Sampler::default();
        let told: Vec<u64> = (0..100_000).filter_map(|_| sampler.see(1_000_000)).collect();
        assert_eq!(told.len(), 17);
        assert_eq!(told.iter().sum::<u64>(), 65_536);
    }

    #[test]
    fn what_was_not_told_is_told_in_the_next_minute() {
        let mut sampler = Sampler::default();
        for _ in 0..7 {
            sampler.see(1_000_000);
        }
        assert_eq!(sampler.see(1_000_000 + WINDOW), Some(4), "three untold and this one");
        assert_eq!(sampler.see(1_000_001 + WINDOW), Some(1));
    }
}
