//! Spans of time as QStash writes and reads them.

use std::time::{Duration, UNIX_EPOCH};

use crate::Millis;

/// QStash ignores a `Retry-After` of more than a day and uses its own backoff.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// Reads `10`, `10s`, `1d10h30m`, `6m5s` or `500ms`; a bare number counts seconds.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (span, tail) = leading_span(rest)?;
        total = total.checked_add(span)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// One `<number><unit>` and what follows it. Fractions are Go's: `1.5s`.
fn leading_span(text: &str) -> Option<(Duration, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text.get(..digits)?.parse().ok()?;
    let rest = &text[digits..];
    let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let unit = match &rest[..letters] {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let span = Duration::try_from_secs_f64(number * unit).ok()?;
    Some((span, &rest[letters..]))
}

/// How long QStash waits after failed attempt number `attempt`: `e^(2.5 n)` seconds, at most a day. Source: QStash
/// documentation, "Retry".
pub fn backoff(attempt: u32) -> Duration {
    Duration::from_secs_f64((2.5 * f64::from(attempt)).exp().min(LONGEST_RETRY_AFTER.as_secs_f64()))
}

/// Writes a span as `Upstash-Delay` takes it: whole seconds, rounded up.
pub fn write(span: Duration) -> String {
    format!("{}s", span.as_secs() + u64::from(span.subsec_nanos() > 0))
}

/// Reads a `Retry-After`: seconds, an HTTP date, or a Go duration; `None` where it is unreadable or longer than a day.
pub fn parse_retry_after(text: &str, now: Millis) -> Option<Duration> {
    let span = parse(text).or_else(|| until_http_date(text, now))?;
    (span <= LONGEST_RETRY_AFTER).then_some(span)
}

fn until_http_date(text: &str, now: Millis) -> Option<Duration> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now).ok()?);
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_both_spellings_are_read() {
        for (text, seconds) in [
            ("10", 10.0),
            ("50s", 50.0),
            ("1d10h30m", 124_200.0),
            ("6m5s", 365.0),
            ("500ms", 0.5),
            ("1.5s", 1.5),
            ("0", 0.0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_not_a_span() {
        for text in ["", "s", "10x", "-1s", "1h-", "..s", "é", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn spans_are_written_in_whole_seconds_rounded_up() {
        assert_eq!(write(Duration::from_millis(1_001)), "2s");
        assert_eq!(write(Duration::ZERO), "0s");
    }

    #[test]
    fn retry_after_may_be_a_date_but_not_longer_than_a_day() {
        let now = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110
        let wait = |text| parse_retry_after(text, now);
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("Wed, 09 Nov 1994 08:49:37 GMT"), None);
        assert_eq!(wait("86400"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(wait("86401"), None);
    }
}
