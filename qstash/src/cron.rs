//! Cron expressions of schedules: five fields in UTC, or in a time zone named before them (`CRON_TZ=Europe/Berlin 0 9 * * *`).

use jiff::{Timestamp, tz::TimeZone};
use surehook::Millis;

/// When a schedule is due.
#[derive(Debug, Clone)]
pub(crate) struct Cron {
    text: String,
    zone: TimeZone,
    pattern: croner::Cron,
}

/// Why an expression can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CronError {
    #[error("there is no time zone \"{0}\"")]
    Zone(String),
    #[error("the expression needs five fields, not {0}: minute hour day-of-month month day-of-week")]
    Fields(usize),
    #[error(transparent)]
    Pattern(#[from] croner::errors::CronError),
    #[error("no such time ever comes")]
    Never,
}

impl Cron {
    /// Reads an expression that comes due after `now`.
    pub(crate) fn parse(text: &str, now: Millis) -> Result<Self, CronError> {
        let (zone, fields) = match text.trim().strip_prefix("CRON_TZ=") {
            Some(rest) => rest.split_once(char::is_whitespace).ok_or(CronError::Fields(0))?,
            None => ("UTC", text.trim()),
        };
        let zone = TimeZone::get(zone).map_err(|_unknown| CronError::Zone(zone.to_owned()))?;
        let count = fields.split_whitespace().count();
        // Nicknames (@daily) are one word.
        if count != 5 && !fields.starts_with('@') {
            return Err(CronError::Fields(count));
        }
        let cron = Self { text: text.trim().to_owned(), zone, pattern: fields.parse()? };
        cron.next(now).map(|_exists| cron).ok_or(CronError::Never)
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The first time after `now`.
    pub(crate) fn next(&self, now: Millis) -> Option<Millis> {
        let now = Timestamp::from_millisecond(now).ok()?.to_zoned(self.zone.clone());
        let next = self.pattern.find_next_occurrence(&now, false).ok()?;
        Some(next.timestamp().as_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn next(cron: &str, now: &str) -> String {
        let next = Cron::parse(cron, at(now)).unwrap().next(at(now)).unwrap();
        Timestamp::from_millisecond(next).unwrap().to_string()
    }

    #[test]
    fn times_are_utc_unless_a_zone_is_named() {
        assert_eq!(next("0 9 * * *", "2026-07-01T08:59:59Z"), "2026-07-01T09:00:00Z");
        assert_eq!(next("CRON_TZ=Europe/Berlin 0 9 * * *", "2026-07-01T00:00:00Z"), "2026-07-01T07:00:00Z");
        assert_eq!(next("CRON_TZ=Europe/Berlin 0 9 * * *", "2026-12-01T00:00:00Z"), "2026-12-01T08:00:00Z");
        assert_eq!(next("*/5 * * * *", "2026-07-01T08:55:00Z"), "2026-07-01T09:00:00Z");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in
            ["", "* * * *", "* * * * * *", "61 * * * *", "CRON_TZ=Mars/Base 0 9 * * *", "CRON_TZ=UTC", "0 0 31 2 *"]
        {
            assert!(Cron::parse(bad, 0).is_err(), "{bad}");
        }
    }
}
