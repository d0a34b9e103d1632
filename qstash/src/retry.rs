//! What an answer means: delivered, again later, or given up. Pure.

use std::time::Duration;

use surehook::{
    Millis,
    qstash::{duration, lenient},
};

use crate::{choices::Choices, message::Answer, options::Options};

/// Headers whose values tell when to come again, in the order in which they count.
const WAIT_HEADERS: [&str; 4] =
    ["retry-after", "x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"];

/// What becomes of a message after an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    Delivered,
    Again(Wait),
    GivenUp,
}

/// A wait, and whose clock counts it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wait {
    /// QStash's own: the server's clock.
    Own(Duration),
    /// What the receiver asked for: the receiver's clock.
    Asked(Duration),
}

impl Wait {
    pub(crate) fn span(self) -> Duration {
        match self {
            Self::Own(span) | Self::Asked(span) => span,
        }
    }
}

/// What the answer to attempt number `retried` (0 first) means. `now` is the receiver's time.
pub(crate) fn outcome(options: &Options, retried: u32, answer: &Answer, choices: &Choices, now: Millis) -> Outcome {
    if answer.is_success() {
        Outcome::Delivered
    } else if is_final(answer, choices) || retried >= options.retries {
        Outcome::GivenUp
    } else {
        Outcome::Again(wait(options, retried, answer, now))
    }
}

/// 489 counts only together with its header.
fn is_final(answer: &Answer, choices: &Choices) -> bool {
    let value = lenient::header(&answer.headers, "upstash-nonretryable-error");
    let is_marked = value.is_some_and(|value| value.eq_ignore_ascii_case("true"));
    is_marked && (answer.status == 489 || choices.header_alone_is_final)
}

/// What the answer asks for, else what the message does, else `e^(2.5 n)` seconds. Source: QStash documentation, "Retry".
fn wait(options: &Options, retried: u32, answer: &Answer, now: Millis) -> Wait {
    let asked = |name: &&str| duration::parse_retry_after(lenient::header(&answer.headers, name)?, now);
    if let Some(span) = WAIT_HEADERS.iter().find_map(asked) {
        return Wait::Asked(span);
    }
    let own = options.retry_delay.as_ref().map(|expression| expression.wait(retried));
    Wait::Own(own.unwrap_or_else(|| duration::backoff(retried + 1)))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{
        options::{Given, Rules},
        plan::Plan,
    };

    const NOW: Millis = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT

    fn options(pairs: &[(&str, &str)]) -> Options {
        let choices = Choices::default();
        let rules = Rules { plan: &Plan::PAYG, choices: &choices };
        Options::read(&Given::of_pairs(pairs.iter().copied()), rules).unwrap()
    }

    fn answer(status: u16, headers: &[(&str, &str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
        Answer { status, headers, ..Answer::default() }
    }

    fn judged(options: &Options, retried: u32, answer: &Answer) -> Outcome {
        outcome(options, retried, answer, &Choices::default(), NOW)
    }

    #[test]
    fn after_each_failed_attempt_the_wait_is_the_documented_one() {
        let options = Options { retries: 9, ..options(&[]) };
        let wait = |attempt: u32| match judged(&options, attempt - 1, &answer(500, &[])) {
            Outcome::Again(Wait::Own(span)) => span.as_millis(),
            other => panic!("{other:?}"),
        };
        // Section 2.3 of the reference, row by row.
        assert_eq!([1, 2, 3, 4, 5, 6].map(wait), [12_182, 148_413, 1_808_042, 22_026_465, 86_400_000, 86_400_000]);
    }

    #[test]
    fn every_header_and_every_spelling_of_a_wait_is_read() {
        let options = options(&[("Upstash-Retry-Delay", "7000")]);
        for name in ["Retry-After", "X-RateLimit-Reset", "X-RateLimit-Reset-Requests", "X-RateLimit-Reset-Tokens"] {
            for (value, millis) in [
                ("10", 10_000),
                ("0", 0),
                ("6m5s", 365_000),
                ("1h2m3s4ms5us", 3_723_004),
                ("100ns", 0),
                ("15µs", 0),
                ("Sun, 06 Nov 1994 08:50:37 GMT", 60_000),
                ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
            ] {
                let outcome = judged(&options, 0, &answer(503, &[(name, value)]));
                let Outcome::Again(Wait::Asked(span)) = outcome else { panic!("{name}: {value}: {outcome:?}") };
                assert_eq!(span.as_millis(), millis, "{name}: {value}");
            }
            for ignored in ["86401", "25h", "soon", "-1", "Wed, 09 Nov 1994 08:49:37 GMT"] {
                let own = Outcome::Again(Wait::Own(Duration::from_secs(7)));
                assert_eq!(judged(&options, 0, &answer(503, &[(name, ignored)])), own, "{name}: {ignored}");
            }
        }
    }

    #[test]
    fn the_four_headers_count_in_their_order_on_every_failure() {
        let both = [("x-ratelimit-reset", "5"), ("retry-after", "9")];
        for status in [300, 302, 400, 404, 408, 429, 489, 500, 503, 0] {
            let again = Outcome::Again(Wait::Asked(Duration::from_secs(9)));
            assert_eq!(judged(&options(&[]), 0, &answer(status, &both)), again, "{status}");
        }
        let unreadable = [("retry-after", "soon"), ("x-ratelimit-reset", "5")];
        let again = Outcome::Again(Wait::Asked(Duration::from_secs(5)));
        assert_eq!(judged(&options(&[]), 0, &answer(429, &unreadable)), again);
    }

    #[test]
    fn only_a_status_of_2xx_delivers() {
        for status in (100..600).filter(|status| StatusCode::from_u16(*status).is_ok()) {
            let delivered = judged(&options(&[]), 0, &answer(status, &[])) == Outcome::Delivered;
            assert_eq!(delivered, (200..300).contains(&status), "{status}");
        }
    }

    #[test]
    fn only_the_pair_is_final_unless_it_is_so_chosen() {
        let marked = [("Upstash-NonRetryable-Error", "true")];
        let options = options(&[]);
        assert_eq!(judged(&options, 0, &answer(489, &marked)), Outcome::GivenUp);
        for other in [answer(489, &[]), answer(400, &marked), answer(489, &[("Upstash-NonRetryable-Error", "no")])] {
            assert!(matches!(judged(&options, 0, &other), Outcome::Again(_)), "{other:?}");
        }
        let choices = Choices { header_alone_is_final: true, ..Choices::default() };
        assert_eq!(outcome(&options, 0, &answer(400, &marked), &choices, NOW), Outcome::GivenUp);
    }

    #[test]
    fn there_are_as_many_attempts_as_retries_and_one() {
        let options = options(&[("Upstash-Retries", "1")]);
        assert!(matches!(judged(&options, 0, &answer(500, &[])), Outcome::Again(_)));
        assert_eq!(judged(&options, 1, &answer(500, &[])), Outcome::GivenUp);
    }
}
