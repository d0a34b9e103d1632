//! Which events a load consists of: number, body, moment, copy, failures. All of it follows from the options and the seed, so that a load
//! can be run again, and an event be known again by its number. Pure.

use std::time::Duration;

use bytes::Bytes;
use surehook::digest::Sha256;

/// What stands before an event's number in its body.
const NUMBER: &str = "\"number\":";
/// Nobody looks for the number further inside a body than this.
const HEAD: usize = 256;
/// The smallest body that an event fits into, and the largest that the consumer takes.
const SMALLEST_BODY: usize = 256;
const LARGEST_BODY: usize = 4_500_000;
/// A copy is published within so much time after its event, so that some copies meet a worker that has the event, and others a record
/// that is done.
const COPY_WITHIN: Duration = Duration::from_secs(1);
/// The longest span of an option, a week: the table is in memory, and no clock counts to the longest span that can be written.
const LONGEST_SPAN: Duration = Duration::from_secs(7 * 86_400);

/// How fast events are published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rate {
    /// So many in each second, whatever becomes of those before.
    Steady(f64),
    /// As fast as the destination accepts them.
    Max,
}

/// What a load consists of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) rate: Rate,
    pub(super) duration: Duration,
    pub(super) sizes: Vec<usize>,
    /// The share of events that are published twice, from 0 to 1.
    pub(super) duplicates: f64,
    /// The share of events whose destination is not ready at first, from 0 to 1.
    pub(super) failing: f64,
    pub(super) seed: u64,
}

/// What a draw is for: each has numbers of its own.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Purpose {
    Copy,
    CopyMoment,
    Failing,
    Failures,
}

impl Plan {
    /// When an event is to be published; `None` when the load is over by then.
    pub(super) fn at(&self, number: u64) -> Option<Duration> {
        let Rate::Steady(rate) = self.rate else { return None };
        #[allow(clippy::cast_precision_loss, reason = "numbers of events are far below 2^52")]
        let at = Duration::try_from_secs_f64(number as f64 / rate).ok()?;
        (at < self.duration).then_some(at)
    }

    /// Events that there will be, where that is known.
    pub(super) fn expected(&self) -> Option<u64> {
        let Rate::Steady(rate) = self.rate else { return None };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both factors are checked options")]
        let about = (rate * self.duration.as_secs_f64()) as u64;
        // Floating point may be one off; `at` decides.
        (about.saturating_sub(1)..).find(|number| self.at(*number).is_none())
    }

    /// An event as Strapi would send it, filled up to its size with text that no other event has.
    pub(super) fn body(&self, number: u64) -> Bytes {
        let size = self.sizes[usize::try_from(number).unwrap_or_default() % self.sizes.len()];
        let mut body = format!(
            "{{\"event\":\"entry.create\",\"createdAt\":\"2026-01-01T00:00:00.000Z\",\"model\":\"load\",\"uid\":\"api::load.load\",\
             \"entry\":{{\"seed\":{},{NUMBER}{number},\"text\":\"",
            self.seed
        )
        .into_bytes();
        let text = Sha256::of_parts(&[&self.seed.to_be_bytes(), &number.to_be_bytes()]).hex();
        let end = b"\"}}";
        let filling = text.bytes().cycle().take(size.saturating_sub(body.len() + end.len()));
        body.extend(filling);
        body.extend_from_slice(end);
        body.into()
    }

    /// How long after its event a copy of it is published; `None` for events that are published once.
    pub(super) fn copy_after(&self, number: u64) -> Option<Duration> {
        let is_copied = self.draw(number, Purpose::Copy) < self.duplicates;
        is_copied.then(|| COPY_WITHIN.mul_f64(self.draw(number, Purpose::CopyMoment)))
    }

    /// How often the destination answers 503 before it accepts an event.
    pub(super) fn failures(&self, number: u64) -> u8 {
        let is_failing = self.draw(number, Purpose::Failing) < self.failing;
        let twice = self.draw(number, Purpose::Failures) < 0.5;
        u8::from(is_failing) + u8::from(is_failing && twice)
    }

    /// A number in `[0, 1)` that is the same for the same event and seed.
    fn draw(&self, number: u64, purpose: Purpose) -> f64 {
        let digest = Sha256::of_parts(&[&self.seed.to_be_bytes(), &number.to_be_bytes(), &[purpose as u8]]);
        let first = digest.as_bytes().iter().take(4).fold(0_u32, |drawn, byte| (drawn << 8) | u32::from(*byte));
        f64::from(first) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The number of the event whose body this is; `None` where it is nobody's.
pub(super) fn number_in(body: &[u8]) -> Option<u64> {
    let head = String::from_utf8_lossy(&body[..body.len().min(HEAD)]);
    let (_, rest) = head.split_once(NUMBER)?;
    rest.split(',').next()?.parse().ok()
}

/// `max`, 0, or events in a second.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let most = 100_000.0;
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Rate::Max),
        Ok(0.0) => Ok(Rate::Max),
        Ok(rate) if (0.01..=most).contains(&rate) => Ok(Rate::Steady(rate)),
        _ => Err(format!("a rate is a number of events per second up to {most}, or max")),
    }
}

/// A size in bytes: `512`, `10KB`, `1MB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let units = [("KB", 1_024), ("MB", 1_024 * 1_024), ("B", 1)];
    let upper = text.trim().to_ascii_uppercase();
    let unit = units.iter().find_map(|(unit, bytes)| Some((upper.strip_suffix(unit)?, *bytes)));
    let (digits, bytes) = unit.unwrap_or((&upper, 1));
    let size = digits.trim().parse::<usize>().ok().and_then(|count| count.checked_mul(bytes));
    size.filter(|size| (SMALLEST_BODY..=LARGEST_BODY).contains(size))
        .ok_or_else(|| format!("a size is such as 512, 10KB or 1MB, from {SMALLEST_BODY} to {LARGEST_BODY} bytes"))
}

/// A share of 0 to 1 that is written as a percentage, with or without its sign.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').trim().parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.map(|percent: f64| percent / 100.0).ok_or_else(|| "a share is a percentage from 0 to 100".to_owned())
}

/// How long a load takes, or is waited for.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).ok().filter(|span| !span.is_zero() && *span <= LONGEST_SPAN);
    span.ok_or_else(|| "a span is such as 30s or 10m, more than nothing and 7 days at most".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn plan(rate: Rate) -> Plan {
        Plan { rate, duration: Duration::from_secs(2), sizes: vec![256, 1_000], duplicates: 0.1, failing: 0.2, seed: 7 }
    }

    #[test]
    fn a_steady_load_is_due_evenly_and_ends() {
        let plan = plan(Rate::Steady(4.0));
        let moments: Vec<u128> = (0..).map_while(|number| plan.at(number)).map(|at| at.as_millis()).collect();
        assert_eq!(moments, [0, 250, 500, 750, 1_000, 1_250, 1_500, 1_750]);
        assert_eq!(plan.expected(), Some(8));
        let slow = Plan { rate: Rate::Steady(0.3), ..plan };
        assert_eq!((slow.expected(), slow.at(0), slow.at(1)), (Some(1), Some(Duration::ZERO), None));
    }

    #[test]
    fn bodies_have_their_sizes_and_are_known_again() {
        let plan = plan(Rate::Max);
        for number in [0, 1, 2, 999_999] {
            let body = plan.body(number);
            assert_eq!(body.len(), plan.sizes[usize::try_from(number).unwrap() % 2]);
            assert_eq!(number_in(&body), Some(number));
            assert!(surehook::strapi::StrapiEvent::parse(&body).is_ok());
            assert_eq!(body, plan.body(number), "the same again");
        }
        let bodies: BTreeSet<Bytes> = (0..1_000).map(|number| plan.body(number)).collect();
        assert_eq!(bodies.len(), 1_000);
        let others = Plan { seed: 8, ..plan };
        assert!(!bodies.contains(&others.body(0)));
    }

    #[test]
    fn the_smallest_body_has_room_for_every_number() {
        let plan = Plan { sizes: vec![SMALLEST_BODY], seed: u64::MAX, ..plan(Rate::Max) };
        let body = plan.body(u64::MAX);
        assert_eq!((body.len(), number_in(&body)), (SMALLEST_BODY, Some(u64::MAX)));
    }

    #[test]
    fn a_body_that_is_nobodys_has_no_number() {
        for body in ["", "{}", "\"number\":x,", "\u{1f600}"] {
            assert_eq!(number_in(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn shares_come_out_and_are_the_same_with_the_same_seed() {
        let plan = plan(Rate::Max);
        let count = |what: &dyn Fn(u64) -> bool| (0..10_000).filter(|number| what(*number)).count();
        let copied = count(&|number| plan.copy_after(number).is_some());
        let (once, twice) = (count(&|number| plan.failures(number) == 1), count(&|number| plan.failures(number) == 2));
        assert!((900..1_100).contains(&copied), "{copied}");
        assert!((900..1_100).contains(&once) && (900..1_100).contains(&twice), "{once} {twice}");
        assert!((0..10_000).all(|number| plan.copy_after(number).is_none_or(|after| after < COPY_WITHIN)));
        let none = Plan { duplicates: 0.0, failing: 0.0, ..plan.clone() };
        assert!((0..1_000).all(|number| none.copy_after(number).is_none() && none.failures(number) == 0));
        let all = Plan { duplicates: 1.0, failing: 1.0, ..plan };
        assert!((0..1_000).all(|number| all.copy_after(number).is_some() && all.failures(number) > 0));
    }

    #[test]
    fn rates_sizes_and_shares_are_read() {
        for (text, expected) in [("max", Rate::Max), ("0", Rate::Max), ("2.5", Rate::Steady(2.5))] {
            assert_eq!(rate(text), Ok(expected));
        }
        assert!(["", "-1", "1000000", "nan", "fast"].iter().all(|text| rate(text).is_err()));
        for (text, expected) in [
            ("256", 256),
            ("300B", 300),
            ("1KB", 1_024),
            ("120kb", 122_880),
            ("2 MB", 2_097_152),
            ("4500000", 4_500_000),
        ] {
            assert_eq!(size(text), Ok(expected));
        }
        assert!(["", "1", "KB", "1.5KB", "5MB", "99999999999999999999MB"].iter().all(|text| size(text).is_err()));
        assert_eq!((percent("10"), percent("2.5%"), percent("100 %")), (Ok(0.1), Ok(0.025), Ok(1.0)));
        assert!(["", "-1", "101", "x", "nan"].iter().all(|text| percent(text).is_err()));
        assert_eq!(span("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(span("7d"), Ok(LONGEST_SPAN));
        assert!(["0s", "x", "-1s", "8d", "500000000000years"].iter().all(|text| span(text).is_err()));
    }
}
