//! Reference 1.7, 2.3 and 2.4: when the next attempt comes.

use surehook::Millis;

use crate::support::{DAY, HOUR, MINUTE, Pairs, Reply, SECOND, Wire};

/// The waits between the attempts of a message that is always answered so.
async fn waits(headers: Pairs<'_>, reply: Reply) -> Vec<Millis> {
    let wire = Wire::start().await;
    wire.receiver.answer(move |_| reply.clone());
    let id = wire.publish(headers).await;
    wire.at(5 * DAY).await;
    wire.attempts(&id).await.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// The only wait of a message that is tried twice.
async fn wait(headers: Pairs<'_>, reply: Reply) -> Millis {
    let waits = waits(&[headers, &[("Upstash-Retries", "1")]].concat(), reply).await;
    assert_eq!(waits.len(), 1, "two attempts");
    waits[0]
}

#[tokio::test]
async fn the_backoff_is_the_documented_one() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    let id = wire.publish(&[("Upstash-Retries", "5")]).await;
    for (number, (row, wait)) in [
        ("12.182 s", 12_182),
        ("148.413 s", 148_413),
        ("1808.042 s", 1_808_042),
        ("22026.466 s, cut to whole milliseconds", 22_026_465),
        ("a day from the fifth on", DAY),
    ]
    .into_iter()
    .enumerate()
    {
        let due = wire.due(&id).await;
        wire.at(due - 1).await;
        assert_eq!(wire.receiver.count(), number + 1, "{row}: not a millisecond early");
        wire.at(due).await;
        let attempts = wire.attempts(&id).await;
        assert_eq!(attempts[number + 1] - attempts[number], wait, "{row}");
    }
}

#[tokio::test]
async fn the_default_of_three_retries_fails_after_about_33_minutes() {
    let waits = waits(&[], Reply::status(500)).await;
    assert_eq!((waits.len(), waits.iter().sum::<Millis>() / MINUTE), (3, 32));
}

#[tokio::test]
async fn expressions_give_the_documented_sequences() {
    for (expression, expected) in [
        ("1000", [1_000, 1_000, 1_000, 1_000, 1_000]),
        ("1000 * (1 + retried)", [1_000, 2_000, 3_000, 4_000, 5_000]),
        ("pow(2, retried) * 1000", [1_000, 2_000, 4_000, 8_000, 16_000]),
        ("max(1000, pow(2, retried) * 100)", [1_000, 1_000, 1_000, 1_000, 1_600]),
        // Whole milliseconds of 2718.28, 7389.06 and 20085.5.
        ("min(30000, exp(retried) * 1000)", [1_000, 2_718, 7_389, 20_085, 30_000]),
    ] {
        let headers = [("Upstash-Retry-Delay", expression), ("Upstash-Retries", "5")];
        assert_eq!(waits(&headers, Reply::status(500)).await, expected, "{expression}");
    }
}

#[tokio::test]
async fn every_operator_and_function_computes() {
    for (expression, expected) in [
        ("1000 + 500 - 200", 1_300),
        ("7000 / 2", 3_500),
        ("2 * (3 + 4) * 100", 1_400),
        ("sqrt(1000000)", 1_000),
        ("abs(0 - 1500)", 1_500),
        ("floor(1999.9)", 1_999),
        ("ceil(1000.1)", 1_001),
        ("round(1000.5)", 1_001),
        ("min(5, 10) * 100", 500),
        ("max(5, 10) * 100", 1_000),
        ("exp(0) * 1000", 1_000),
        ("pow(10, 3)", 1_000),
        ("0 - 5", 0),
        ("sqrt(0 - 1)", 0),
        ("100000000", DAY),
        ("1 / 0", DAY),
    ] {
        assert_eq!(wait(&[("Upstash-Retry-Delay", expression)], Reply::status(500)).await, expected, "{expression}");
    }
}

const WAIT_HEADERS: [&str; 4] =
    ["Retry-After", "X-RateLimit-Reset", "X-RateLimit-Reset-Requests", "X-RateLimit-Reset-Tokens"];

#[tokio::test]
async fn each_header_of_an_answer_may_say_when_to_come_again() {
    for name in WAIT_HEADERS {
        for (value, millis) in [
            ("10", 10 * SECOND),
            ("0", 0),
            ("6m5s", 6 * MINUTE + 5 * SECOND),
            ("1h2m3s4ms", HOUR + 2 * MINUTE + 3 * SECOND + 4),
            ("1500us", 1),
            ("2000000ns", 2),
            ("1.5s", 1_500),
            // A minute after the clock's start, and an hour before it.
            ("Thu, 28 May 2026 20:27:40 GMT", MINUTE),
            ("Thu, 28 May 2026 19:26:40 GMT", 0),
            ("86400", DAY),
            ("24h", DAY),
        ] {
            let reply = Reply::status(503).with(name, value);
            assert_eq!(wait(&[("Upstash-Retry-Delay", "7000")], reply).await, millis, "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn what_is_longer_than_a_day_or_unreadable_is_ignored() {
    for name in WAIT_HEADERS {
        for value in ["86401", "24h1s", "soon", "-1", "Sat, 30 May 2026 20:26:40 GMT"] {
            let reply = Reply::status(503).with(name, value);
            assert_eq!(wait(&[("Upstash-Retry-Delay", "7000")], reply.clone()).await, 7_000, "{name}: {value}");
            assert_eq!(wait(&[], reply).await, 12_182, "{name}: {value}: the normal backoff");
        }
    }
}

#[tokio::test]
async fn micro_may_be_spelt_in_greek() {
    let wire = Wire::start().await;
    // Header values are bytes; receivers in Go write this one in UTF-8.
    wire.receiver.answer(|_| Reply::status(503).with("Retry-After", "3000µs"));
    let id = wire.publish(&[("Upstash-Retries", "1")]).await;
    wire.at(DAY).await;
    assert_eq!(wire.attempts(&id).await, [0, 3]);
}

#[tokio::test]
async fn the_four_headers_count_in_the_listed_order() {
    for (first, name) in WAIT_HEADERS.iter().enumerate() {
        let later = WAIT_HEADERS.iter().enumerate().skip(first).rev();
        let reply = later.fold(Reply::status(429), |reply, (index, name)| reply.with(name, &(10 + index).to_string()));
        let millis = (10 + first as i64) * SECOND;
        assert_eq!(wait(&[], reply).await, millis, "{name} before those after it");
    }
}

#[tokio::test]
async fn a_header_counts_on_every_answer_that_is_no_success() {
    for status in [300, 302, 400, 404, 408, 429, 489, 500, 502, 503] {
        let reply = Reply::status(status).with("retry-after", "5");
        assert_eq!(wait(&[], reply).await, 5 * SECOND, "{status}");
    }
}
