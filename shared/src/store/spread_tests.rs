//! What is spread over partitions is spread evenly, for keys as they come: one partition takes 1,000 writes a second, and 64 take
//! 64 times as many only if none has more than its share. `docs/scale.md` reckons with that.
//!
//! Pearson's chi-square test. The keys are fixed, so that a run is like the other.

use super::{
    OPEN_SHARDS, SHARDS,
    item::{open_shard, partition},
    letter_item::{pending_partition, shelf},
    outbox::OutboxRow,
};
use crate::{
    Millis,
    identity::{Delivered, Endpoint, EventKey, Identity, identify},
    ledger::{DeadLetter, Response},
};

/// Events of each kind.
const EACH: usize = 40_000;
const NOW: Millis = 1_790_000_000_000;
/// What chi-square exceeds once in a thousand times with 7 degrees of freedom (NIST/SEMATECH, e-Handbook of Statistical Methods,
/// 1.3.6.7.4, "Critical Values of the Chi-Square Distribution").
const MOST_OF_8: f64 = 24.322;
/// The same with 63 degrees of freedom, of the same table.
const MOST_OF_64: f64 = 103.442;
/// The same with 255 degrees of freedom, which that table does not reach: computed with the incomplete gamma function.
const MOST_OF_256: f64 = 330.52;

/// The id and body of the event of a number.
type Events = fn(usize) -> (String, String);

/// Ids that count up.
fn numbered(n: usize) -> (String, String) {
    payload(format!("order-{n}"))
}

/// Ids (UUIDv7) of a generator that counts, a hundred in a millisecond: they share all but the last digits of their time and of their count.
fn timed(n: usize) -> (String, String) {
    payload(format!("019a2b3c-{:04x}-7000-8000-{n:012x}", n / 100))
}

fn payload(id: String) -> (String, String) {
    let body = format!(
        r#"{{"id":"{id}","topic":"orders","eventType":"order.created","data":{{"total":1}},"timestamp":{NOW},"retryCount":0}}"#
    );
    (id, body)
}

/// Webhooks of Strapi, of which each differs from its neighbours in a digit or two.
fn of_strapi(n: usize) -> (String, String) {
    let body = format!(
        r#"{{"event":"entry.update","createdAt":"2026-11-27T09:00:00.000Z","model":"article","uid":"api::article.article","entry":{{"id":{n}}}}}"#
    );
    ("one".to_owned(), body)
}

fn key(identity: &Identity, source: &str, body: &str) -> EventKey {
    let endpoint = Endpoint::Ours { source: source.to_owned(), path: format!("/{source}") };
    identify(&endpoint, identity, Delivered::bare(body.as_bytes(), "")).key
}

fn row((id, body): (String, String)) -> OutboxRow {
    OutboxRow { id, at: NOW, topic: "orders".to_owned(), headers: Vec::new(), body: body.into() }
}

fn letter(key: EventKey) -> DeadLetter {
    DeadLetter {
        key,
        fence: 5,
        at: NOW,
        first_failed: NOW,
        reason: String::new(),
        status: 503,
        error: String::new(),
        fingerprint: String::new(),
        url: String::new(),
        path: None,
        source: String::new(),
        event_type: None,
        method: String::new(),
        headers: Default::default(),
        message_id: String::new(),
        first_message_id: String::new(),
        rounds: 6,
        size: 0,
        body_sha256: String::new(),
        redacted: false,
        about: None,
        dlq_id: String::new(),
        region: None,
        replaying: None,
        response: Response::default(),
    }
}

/// How often each bucket was chosen.
#[derive(Debug)]
struct Buckets(Vec<u32>);

impl Buckets {
    fn new(number: usize) -> Self {
        Self(vec![0; number])
    }

    /// Takes a partition's name, which ends with its number.
    fn add(&mut self, partition: &str) {
        let number: usize = partition.rsplit('#').next().and_then(|digits| digits.parse().ok()).unwrap();
        self.0[number] += 1;
    }

    fn chi_square(&self) -> f64 {
        let expected = f64::from(self.0.iter().sum::<u32>()) / self.0.len() as f64;
        self.0.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
    }

    #[track_caller]
    fn check(&self, most: f64, what: &str) {
        let (found, counts) = (self.chi_square(), &self.0);
        assert!(found < most, "{what}: chi-square {found:.1}, at most {most}: {counts:?}");
    }
}

/// The indexes of what waits and of letters, replays under way, and the partitions of the events themselves: DynamoDB hashes their
/// names again, and so depends on their evenness less than we check it.
fn check_events(keys: impl Iterator<Item = EventKey>) {
    let [mut letters, mut replays] = std::array::from_fn(|_| Buckets::new(SHARDS.into()));
    let [mut waiting, mut first_bytes] = [OPEN_SHARDS.into(), 256].map(Buckets::new);
    for key in keys {
        waiting.add(&open_shard(&key));
        let name = partition(&key);
        first_bytes.0[usize::from_str_radix(&name["e#".len()..][..2], 16).unwrap()] += 1;
        let letter = letter(key);
        letters.add(&shelf(&letter));
        replays.add(&pending_partition(&letter.id()));
    }
    waiting.check(MOST_OF_64, "what waits");
    letters.check(MOST_OF_8, "letters");
    replays.check(MOST_OF_8, "replays");
    first_bytes.check(MOST_OF_256, "first bytes of events");
}

#[test]
fn events_that_are_numbered_are_spread_evenly() {
    check_events((0..EACH).map(|n| key(&Identity::Payload, "payload", &numbered(n).1)));
}

#[test]
fn events_that_are_named_by_their_time_are_spread_evenly() {
    check_events((0..EACH).map(|n| key(&Identity::Payload, "payload", &timed(n).1)));
}

#[test]
fn strapi_webhooks_that_differ_in_a_digit_are_spread_evenly() {
    check_events((0..EACH).map(|n| key(&Identity::Strapi, "strapi", &of_strapi(n).1)));
}

#[test]
fn the_outbox_is_spread_evenly_by_ids_and_by_bodies() {
    for (what, event) in [("numbered", numbered as Events), ("timed", timed), ("of Strapi", of_strapi)] {
        let mut rows = Buckets::new(SHARDS.into());
        for n in 0..EACH {
            rows.add(&row(event(n)).keys().0);
        }
        rows.check(MOST_OF_8, what);
    }
}

#[test]
fn a_spread_that_is_uneven_is_found() {
    let mut buckets = Buckets(vec![5_000; 8]);
    assert_eq!(buckets.chi_square(), 0.0);
    // A twentieth of one bucket goes to its neighbour.
    (buckets.0[0], buckets.0[1]) = (4_750, 5_250);
    assert!(buckets.chi_square() > MOST_OF_8);
}
