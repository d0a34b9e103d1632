//! Events that wait are measured from when they were first seen, by cause, and silent sources are found.

use serde_json::{Value, json};
use surehook::{
    ledger::{Claim, Failure},
    outside,
    web::Moment,
};
use surehook_dlq_processor::{Processor, reply::Sweep};
use surehook_local::Stack;
use tokio::time::Instant;

use crate::{
    stranded::place,
    support::{
        apply, bury, deliver, event,
        fuse::Fuse,
        key,
        ledger::{claim, nothing},
        operate, processor, quiet_stack, stack,
    },
    sweep::failed,
};

const MINUTE: i64 = 60_000;

/// An event of this source that was first seen at a time, failed then with this error, and is due at another.
async fn fail(stack: &Stack, name: &str, source: &str, error: &str, seen: i64, due: i64) {
    let (store, key) = (stack.store(), key(stack, &event(name)));
    let first = Claim { source: source.into(), ..claim("w", seen) };
    let failure = Failure { class: "transient".into(), text: error.into() };
    let held = store.claim(&key, &first).await.unwrap();
    store.fail(&key, &held, &nothing(), &failure, seen).await.unwrap();
    if due > seen {
        let again = Claim { now: due, lease_until: due + 1, ..first };
        let held = store.claim(&key, &again).await.unwrap();
        store.fail(&key, &held, &nothing(), &failure, due).await.unwrap();
    }
}

async fn sweep(processor: &Processor, now: i64) -> Sweep {
    processor.sweep(Moment { now, started: Instant::now(), deadline: None }, 0.5).await.unwrap()
}

/// Named after a defect: a destination that answered 503 to all rang after days, because events were measured from their last failure.
#[tokio::test]
async fn an_event_that_fails_again_and_again_waits_since_it_was_first_seen() {
    let stack = quiet_stack().await;
    let now = outside::now();
    fail(&stack, "a", "strapi", "shop: 503 down", now - 41 * MINUTE, now - MINUTE).await;
    let swept = operate(&stack, json!({"command": "sweep"})).await["swept"].clone();
    let waited = swept["oldestWaiting"].as_u64().unwrap();
    assert!((41 * 60..43 * 60).contains(&waited), "{swept}");
    let left = swept["left"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n");
    assert!(left.contains("source strapi: 1 event waits") && left.contains("shop: 503 down"), "{left}");
}

/// QStash's third retry comes after 33 minutes, and heals most faults.
#[tokio::test]
async fn a_cause_is_reported_once_when_its_first_event_has_waited_for_40_minutes() {
    let stack = quiet_stack().await;
    let fuse = Fuse::new(&stack);
    let (processor, now) = (processor(&stack, &fuse), outside::now());
    fail(&stack, "a", "strapi", "shop: 503 order 17 failed", now - 39 * MINUTE, 0).await;
    assert_eq!(sweep(&processor, now).await.new_faults, 0);
    let red = sweep(&processor, now + 2 * MINUTE).await;
    assert_eq!((red.new_faults, red.oldest_waiting), (1, 41 * 60), "{red:?}");
    fail(&stack, "b", "strapi", "shop: 503 order 18 failed", now - 41 * MINUTE, 0).await;
    assert_eq!(sweep(&processor, now + 7 * MINUTE).await.new_faults, 0, "the same cause");
    fail(&stack, "c", "strapi", "stock: timed out", now - 41 * MINUTE, 0).await;
    let second = sweep(&processor, now + 12 * MINUTE).await;
    assert_eq!(second.new_faults, 1, "a second fault rings while the first is red: {second:?}");
    for minutes in [17, 40, 70, 100, 130] {
        assert_eq!(sweep(&processor, now + minutes * MINUTE).await.new_faults, 0, "after {minutes} minutes");
    }
    assert_eq!(sweep(&processor, now + 200 * MINUTE).await.new_faults, 2, "no sweep saw them for more than an hour");
}

/// The index is sorted by when events are due, and an event of many rounds is due last.
#[tokio::test]
async fn the_oldest_event_is_found_behind_a_hundred_younger_ones_of_its_partition() {
    let stack = quiet_stack().await;
    let now = outside::now();
    for number in 0..101 {
        let name = format!("young {number}");
        fail(&stack, &name, "strapi", "shop: 503", now - 5 * MINUTE, 0).await;
        place(&stack, &name, 3).await;
    }
    fail(&stack, "old", "strapi", "shop: 503", now - 300 * MINUTE, now - MINUTE).await;
    place(&stack, "old", 3).await;
    let waiting = stack.store().waiting(0, now - 40 * MINUTE).await.unwrap();
    assert_eq!(waiting.oldest, Some(now - 300 * MINUTE));
    assert_eq!(waiting.causes.values().map(|cause| cause.events).collect::<Vec<_>>(), [1]);
}

/// Nothing is written for a source without a `silence`.
#[tokio::test]
async fn a_source_that_is_silent_for_longer_than_it_may_be_is_counted() {
    let unused = stack().await;
    deliver(&unused, "strapi", event("quiet").as_bytes()).await;
    assert!(unused.store().heard().await.unwrap().is_empty(), "a feature that is not used costs nothing");
    let stack = stack().await;
    let url = &stack.receiver.url;
    let route = format!("[[route]]\nname = \"r\"\nsource = \"strapi\"\nurl = \"{url}/r\"\n");
    let document = format!("[[source]]\nname = \"strapi\"\nrecipe = \"strapi\"\nsilence = \"6h\"\n{route}");
    apply(&stack, &document).await;
    let fuse = Fuse::new(&stack);
    let (processor, now) = (processor(&stack, &fuse), outside::now());
    let silent = async |minutes: i64| sweep(&processor, now + minutes * MINUTE).await.silent_sources;
    assert_eq!(silent(395).await, Some(0), "never heard, but applied less than 6 h 36 min ago");
    assert_eq!(silent(400).await, Some(1));
    deliver(&stack, "strapi", event("heard").as_bytes()).await;
    assert_eq!((silent(395).await, silent(400).await), (Some(0), Some(1)));
    apply(&stack, &document).await;
    assert_eq!(silent(400).await, Some(1), "routes that are applied again end no silence");
}

/// The event of a dead letter was first seen long ago. It waits anew, and the operator knows of it.
#[tokio::test]
async fn a_replayed_event_does_not_wait_since_it_was_first_seen() {
    let stack = quiet_stack().await;
    let (now, store) = (outside::now(), stack.store());
    let body = event("buried");
    let letter = bury(&stack, &body, "shop: 503").await;
    let later = now + 5 * 24 * 60 * MINUTE;
    store.begin_replay_due(&letter, later, later + 60 * MINUTE).await.unwrap();
    let waiting = store.waiting(0, later - 40 * MINUTE).await.unwrap();
    assert!(waiting.causes.is_empty() && waiting.oldest >= Some(later), "{waiting:?}");
}

/// An entry that a sweep finds and can't take, because a worker holds its event.
#[tokio::test]
async fn an_entry_that_stays_in_qstashs_queue_is_measured() {
    let stack = quiet_stack().await;
    failed(&stack, 1).await;
    let fuse = Fuse::new(&stack);
    let (processor, later) = (processor(&stack, &fuse), outside::now() + 120 * MINUTE);
    let worker = Claim { lease_until: later + 60 * MINUTE, ..claim("another", later) };
    for event in stack.store().waiting(i64::MAX, 0).await.unwrap().stranded {
        stack
            .store()
            .claim(&event.key, &Claim { content: event.record.unwrap().content, ..worker.clone() })
            .await
            .unwrap();
    }
    let swept = sweep(&processor, later).await;
    assert!((119 * 60..=121 * 60).contains(&swept.dlq_oldest), "{swept:?}");
}
