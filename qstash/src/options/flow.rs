//! `Upstash-Flow-Control-Key` and `-Value`.

use std::time::Duration;

use surehook::qstash::duration;

use crate::choices::LONGEST_PERIOD_SECONDS;

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlowControl {
    pub(crate) key: String,
    pub(crate) limits: Limits,
}

/// How many at the same time, and how many within a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) parallelism: Option<u32>,
    pub(crate) rate: Option<u32>,
    pub(crate) period: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { parallelism: None, rate: None, period: Duration::from_secs(1) }
    }
}

impl Limits {
    /// Reads `parallelism=<n>`, `rate=<n>`, `period=<span or seconds>` in any order, separated by commas.
    pub(crate) fn read(value: &str) -> Result<Self, String> {
        let mut limits = Self::default();
        for part in value.split(',').filter(|part| !part.trim().is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("\"{part}\" is not <name>=<value>"))?;
            limits.set(name.trim(), value.trim())?;
        }
        if limits.parallelism.is_none() && limits.rate.is_none() {
            return Err("parallelism or rate is needed".to_owned());
        }
        Ok(limits)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "parallelism" => self.parallelism = Some(positive(name, value)?),
            "rate" => self.rate = Some(positive(name, value)?),
            "period" => self.period = period(value)?,
            other => return Err(format!("\"{other}\" is not parallelism, rate or period")),
        }
        Ok(())
    }
}

/// A whole number above 0.
pub(crate) fn positive(name: &str, value: &str) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name} must be a number above 0, not \"{value}\""))
}

/// A period of a rate: a span or seconds, a week at most.
pub(crate) fn period(value: &str) -> Result<Duration, String> {
    let span = duration::parse(value).filter(|span| (1..=LONGEST_PERIOD_SECONDS).contains(&span.as_secs()));
    span.ok_or_else(|| format!("period must be between 1s and 7d, not \"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_any_order() {
        let both = Limits::read("rate=5, period=1m,parallelism=3").unwrap();
        assert_eq!((both.parallelism, both.rate, both.period.as_secs()), (Some(3), Some(5), 60));
        assert_eq!(Limits::read("rate=5").unwrap().period.as_secs(), 1);
        assert_eq!(Limits::read("rate=5,period=9").unwrap().period.as_secs(), 9);
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for bad in ["", "period=1s", "rate=0", "rate=x", "speed=1", "rate=1,period=8d", "rate=1,period=0", "rate"] {
            assert!(Limits::read(bad).is_err(), "{bad}");
        }
    }
}
