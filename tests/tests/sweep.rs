//! The sweep: what no callback brought is taken over, and what is somebody else's is left alone.

use futures::future::join_all;
use serde_json::json;
use surehook::{ledger::Status, outside, qstash::client::Destination, web::Moment};
use surehook_dlq_processor::Command;
use surehook_local::{Stack, StackOptions, qstash::Fault, receiver::Reaction};
use tokio::time::Instant;

use crate::{
    failure_path::{lose_notice, refuse},
    support::{
        accepted, bury, connect,
        consumer::moment,
        end_lease, event,
        fuse::{Fuse, store_at},
        letters, operate, options, processor,
        proxy::{Proxy, Verdict},
        publish, qstash, qstash_at, quiet_stack, received, record, stack, stack_with,
    },
};

/// The lease keeps two runs apart, but a run may be taken for dead. Each of these takes the lease over from the one before.
#[tokio::test]
async fn sweeps_at_once_do_no_harm() {
    let stack = quiet_stack().await;
    stack.receiver.react(|received| {
        Reaction::status(if String::from_utf8_lossy(&received.body).contains(" bad") { 422 } else { 503 })
    });
    let again: Vec<String> = (0..6).map(|number| event(&format!("again {number}"))).collect();
    let bad: Vec<String> = (0..6).map(|number| event(&format!("{number} bad"))).collect();
    for body in again.iter().chain(&bad) {
        publish(&stack, "t", body).await;
    }
    stack.qstash.idle().await;
    stack.receiver.react(|_| Reaction::status(200));
    let fuse = Fuse::new(&stack);
    let processor = processor(&stack, &fuse);
    let sweeps = (0..3).map(|run| processor.sweep(Moment { now: outside::now() + run * 200_000, ..moment() }, 0.5));
    let sweeps: Vec<_> = join_all(sweeps).await.into_iter().map(Result::unwrap).collect();
    stack.qstash.idle().await;
    assert!(sweeps.iter().all(|swept| !swept.is_another_at_work), "{sweeps:?}");
    let requeued: u64 = sweeps.iter().map(|swept| swept.requeued).sum();
    assert_eq!((requeued, letters(&stack).await.len()), (6, 6), "{sweeps:?}");
    for body in &again {
        assert_eq!(accepted(&stack, body), 1);
        assert_eq!(record(&stack, body).await.unwrap().status, Status::Done);
    }
    assert_eq!(stack.qstash.dlq_len(), 0);
}

#[tokio::test]
async fn a_sweep_that_was_cut_short_is_continued_where_it_stopped() {
    let stack = quiet_stack().await;
    stack.receiver.react(|_| Reaction::status(489));
    let elsewhere = Destination::Url(format!("{}/elsewhere", stack.receiver.url));
    for _ in 0..25 {
        let none = [("Upstash-Retries".to_owned(), "0".to_owned())];
        qstash(&stack).publish(&elsewhere, &none, "{}".into()).await.unwrap();
    }
    stack.qstash.idle().await;
    let page = qstash(&stack).dlq_page(None, 10, usize::MAX).await.unwrap();
    assert!(page.cursor.is_some());
    stack.store().put_sweep_place(None, page.cursor.as_deref()).await.unwrap();
    let fuse = Fuse::new(&stack);
    let no_time = Moment { now: outside::now(), started: Instant::now(), deadline: Some(Instant::now()) };
    processor(&stack, &fuse).call(Command::Sweep, no_time, 0.5).await.unwrap();
    assert_eq!(stack.store().sweep_place(None).await.unwrap(), page.cursor, "one without time keeps the place");
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(swept["swept"]["entries"], 15, "the first page was seen before");
    let next = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(
        (next["swept"]["entries"].as_u64(), stack.qstash.dlq_len()),
        (Some(25), 25),
        "and then from the beginning"
    );
}

#[tokio::test]
async fn a_sweep_without_time_leaves_everything_to_the_next() {
    let stack = quiet_stack().await;
    refuse(&stack, 422, u32::MAX);
    publish(&stack, "t", &event("later")).await;
    stack.qstash.idle().await;
    let fuse = Fuse::new(&stack);
    let started = Instant::now();
    // Lambda ends this process now, so that there is time for nothing.
    let moment = Moment { now: outside::now(), started, deadline: Some(started) };
    let swept = processor(&stack, &fuse).call(Command::Sweep, moment, 0.5).await.unwrap();
    let swept = serde_json::to_value(swept).unwrap();
    assert_eq!(swept["swept"]["cutShort"], true, "{swept}");
    assert_eq!(letters(&stack).await.len(), 0);
    operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(letters(&stack).await.len(), 1, "the next sweep has the time");
}

#[tokio::test]
async fn pages_that_are_too_large_for_memory_are_read_in_smaller_parts() {
    let stack = quiet_stack().await;
    let client = qstash(&stack);
    stack.receiver.react(|_| Reaction::status(422));
    for name in ["a", "b", "c"] {
        publish(&stack, "t", &event(&name.repeat(300_000))).await;
    }
    stack.qstash.idle().await;
    assert!(client.dlq_page(None, 10, 500_000).await.is_err_and(|error| error.is_away()));
    let one = client.dlq_page(None, 1, 500).await.unwrap();
    assert_eq!(one.messages.len(), 1, "a single entry is read whatever its size");
    operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!((letters(&stack).await.len(), received(&stack, &event(&"a".repeat(300_000))).len()), (3, 1));
}

#[tokio::test]
async fn lost_callbacks_are_made_good_by_the_sweep() {
    let stack = stack().await;
    connect(&stack, "lost", &[]).await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    refuse(&stack, 503, 4);
    let again = event("lost");
    publish(&stack, "lost", &again).await;
    stack.qstash.idle().await;
    stack
        .receiver
        .react(|received| Reaction::status(if received.body.starts_with(b"{\"event\":\"bad") { 422 } else { 200 }));
    let bad = "{\"event\":\"bad\"}";
    publish(&stack, "lost", bad).await;
    stack.qstash.idle().await;
    assert_eq!(stack.qstash.dlq_len(), 2);
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!((swept["swept"]["requeued"].as_u64(), swept["swept"]["buried"].as_u64()), (Some(1), Some(1)), "{swept}");
    stack.qstash.idle().await;
    assert_eq!((accepted(&stack, &again), stack.qstash.dlq_len(), letters(&stack).await.len()), (1, 0, 1));
}

#[tokio::test]
async fn the_sweep_leaves_entries_of_others_alone() {
    let stack = stack().await;
    let body = event("other");
    stack.receiver.react(|_| Reaction::status(489));
    let to = Destination::Url(format!("{}/elsewhere", stack.receiver.url));
    let none = [("Upstash-Retries".to_owned(), "0".to_owned())];
    qstash(&stack).publish(&to, &none, body.into()).await.unwrap();
    stack.qstash.idle().await;
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    let left = swept["swept"]["left"][0].as_str().unwrap();
    assert!(left.contains("somebody else") && !left.contains("/elsewhere"), "{left}");
    assert_eq!((swept["swept"]["notOurs"].as_u64(), stack.qstash.dlq_len()), (Some(1), 1));
}

#[tokio::test]
async fn a_lost_notice_is_handled_and_deleted() {
    let stack = stack().await;
    connect(&stack, "notice", &[]).await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    refuse(&stack, 503, 4);
    let body = event("notice");
    publish(&stack, "notice", &body).await;
    stack.qstash.idle().await;
    lose_notice(&stack).await;
    assert_eq!(stack.qstash.dlq_len(), 2, "the event and its notice");
    operate(&stack, json!({"command": "sweep"})).await;
    stack.qstash.idle().await;
    assert_eq!((accepted(&stack, &body), stack.qstash.dlq_len()), (1, 0));
}

/// Events that failed without a notice, to be requeued.
pub(crate) async fn failed(stack: &Stack, count: usize) -> Vec<String> {
    stack.receiver.react(|_| Reaction::status(503));
    let bodies: Vec<String> = (0..count).map(|number| event(&format!("failed {number}"))).collect();
    for body in &bodies {
        publish(stack, "t", body).await;
    }
    stack.qstash.idle().await;
    stack.receiver.react(|_| Reaction::status(200));
    bodies
}

/// Named after a defect: entries were resolved one after the other, seven in a second.
#[tokio::test]
async fn the_entries_of_a_page_are_resolved_at_the_same_time() {
    let stack = quiet_stack().await;
    failed(&stack, 20).await;
    let gate = Proxy::start(&stack.qstash.url, |request| match request.uri().path().contains("dlq/retry") {
        true => Verdict::Hold,
        false => Verdict::Pass,
    });
    let fuse = Fuse::new(&stack);
    let mut processor = processor(&stack, &fuse);
    processor.path.qstash = qstash_at(&gate.url).into();
    let (swept, ()) = tokio::join!(processor.sweep(moment(), 0.5), async {
        for _ in 0..20 {
            gate.gate.holds_one().await;
        }
        (0..20).for_each(|_| gate.gate.open());
    });
    assert_eq!(swept.unwrap().requeued, 20);
}

#[tokio::test]
async fn one_run_sweeps_at_a_time_and_a_run_that_died_blocks_the_next_for_one_term() {
    let stack = quiet_stack().await;
    failed(&stack, 3).await;
    let now = outside::now();
    stack.store().claim_sweep("another", now, now + 90_000).await.unwrap().unwrap();
    assert_eq!(stack.store().claim_sweep("third", now + 1, now + 90_000).await.unwrap(), None);
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(
        (swept["swept"]["isAnotherAtWork"].as_bool(), swept["swept"]["entries"].as_u64()),
        (Some(true), Some(0))
    );
    let fuse = Fuse::new(&stack);
    let processor = processor(&stack, &fuse);
    let later = Moment { now: now + 90_000, ..moment() };
    assert_eq!(processor.sweep(later, 0.5).await.unwrap().requeued, 3, "its term is over");
    let next = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(next["swept"]["isAnotherAtWork"], false, "a run that ends gives the lease back: {next}");
}

#[tokio::test]
async fn a_run_that_lost_its_lease_can_not_renew_it() {
    let stack = quiet_stack().await;
    let store = stack.store();
    let first = store.claim_sweep("first", 1_000, 2_000).await.unwrap().unwrap();
    assert!(store.renew_sweep(&first, 3_000).await.unwrap());
    assert_eq!(store.claim_sweep("second", 2_999, 9_000).await.unwrap(), None);
    let second = store.claim_sweep("second", 3_000, 9_000).await.unwrap().unwrap();
    assert!(!store.renew_sweep(&first, 9_999).await.unwrap());
    let second = store.claim_sweep("second", 3_001, 9_000).await.unwrap().unwrap_or(second);
    assert!(store.renew_sweep(&second, 0).await.unwrap());
    assert_eq!(store.claim_sweep("first", 1, 2).await.unwrap().unwrap().fence, 4);
}

/// What a start measures while another run works: an alarm must not end because a sweep is busy.
#[tokio::test]
async fn a_start_that_finds_another_run_at_work_measures_what_waits() {
    let stack = quiet_stack().await;
    let row = surehook::store::outbox::OutboxRow {
        id: "o".into(),
        at: outside::now() - 3_600_000,
        topic: "nobody".into(),
        headers: Vec::new(),
        body: "{}".into(),
    };
    stack.store().put_outbox(&row).await.unwrap();
    stack.store().hold(&row).await.unwrap();
    stack.store().claim_sweep("another", outside::now(), outside::now() + 90_000).await.unwrap().unwrap();
    let swept = operate(&stack, json!({"command": "sweep"})).await["swept"].clone();
    assert_eq!((swept["outboxLeft"].as_u64(), swept["published"].as_u64()), (Some(2), Some(0)), "{swept}");
    assert!(swept["outboxAge"].as_u64() >= Some(3_600), "{swept}");
    end_lease(&stack).await;
}

/// Named after a defect: one page that QStash could not answer made each sweep begin at the first.
#[tokio::test]
async fn a_page_that_qstash_does_not_answer_for_keeps_neither_the_place_nor_the_pages_before_it() {
    let stack = quiet_stack().await;
    stack.receiver.react(|_| Reaction::status(489));
    for number in 0..25 {
        let elsewhere = Destination::Url(format!("{}/elsewhere/{number}", stack.receiver.url));
        let none = [("Upstash-Retries".to_owned(), "0".to_owned())];
        qstash(&stack).publish(&elsewhere, &none, "{}".into()).await.unwrap();
    }
    stack.qstash.idle().await;
    let cursor = qstash(&stack).dlq_page(None, 10, usize::MAX).await.unwrap().cursor.unwrap();
    stack.store().put_sweep_place(None, Some(&cursor)).await.unwrap();
    let bad = cursor.clone();
    let proxy = Proxy::start(&stack.qstash.url, move |request| {
        match request.uri().query().is_some_and(|query| query.contains(&bad)) {
            true => Verdict::Answer(503, "{}"),
            false => Verdict::Pass,
        }
    });
    let fuse = Fuse::new(&stack);
    let mut processor = processor(&stack, &fuse);
    processor.path.qstash = qstash_at(&proxy.url).into();
    for _ in 0..2 {
        let swept = processor.sweep(moment(), 0.5).await.unwrap();
        assert!(swept.failed >= 1 && swept.entries >= 10, "the pages before it had their turn: {swept:?}");
        assert_eq!(stack.store().sweep_place(None).await.unwrap().as_deref(), Some(cursor.as_str()));
    }
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!((swept["swept"]["entries"].as_u64(), swept["swept"]["failed"].as_u64()), (Some(15), Some(0)), "{swept}");
}

/// QStash's management calls have a burst limit, and a call beyond it is no failure.
#[tokio::test]
async fn the_sweep_keeps_to_the_burst_limit_of_qstash() {
    let stack = stack_with(StackOptions { burst_limit: Some(12), ..options() }).await;
    connect(&stack, "t", &[]).await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    failed(&stack, 20).await;
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(
        (swept["swept"]["requeued"].as_u64(), swept["swept"]["failed"].as_u64()),
        (Some(20), Some(0)),
        "{swept}"
    );
}

/// Named after a defect: a part of the table that a sweep could not finish was begun anew a day later.
#[tokio::test]
async fn each_sweep_goes_on_through_the_table_where_the_last_one_stopped() {
    let stack = quiet_stack().await;
    let store = stack.store();
    let first = store.table_place().await.unwrap();
    let fuse = Fuse::new(&stack);
    let processor = processor(&stack, &fuse);
    processor.sweep(moment(), 0.5).await.unwrap();
    assert_eq!(store.table_place().await.unwrap(), first.next(), "the next part, whenever the sweep runs");
    let stopped = first.next().behind(Some(("e#1".to_owned(), "ledger".to_owned())));
    store.put_table_place(&stopped).await.unwrap();
    let no_time = Moment { deadline: Some(Instant::now()), ..moment() };
    processor.sweep(no_time, 0.5).await.unwrap();
    assert_eq!(store.table_place().await.unwrap(), stopped, "a sweep without time keeps the place");
    let seen = std::sync::Arc::new(std::sync::Mutex::new(false));
    let noted = std::sync::Arc::clone(&seen);
    let proxy = Proxy::start(&stack.dynamo.url, move |request| {
        *noted.lock().unwrap() |= crate::support::proxy::calls(request, "Scan");
        Verdict::Pass
    });
    let mut slow = processor.clone();
    slow.path.store = store_at(&proxy.url);
    slow.sweep(moment(), 0.5).await.unwrap();
    assert!(*seen.lock().unwrap());
    assert_eq!(store.table_place().await.unwrap(), stopped.next(), "and the next one ends that part");
}

/// A key in a part is where the look goes on, and not where the part begins.
#[tokio::test]
async fn a_look_through_the_table_goes_on_behind_a_key() {
    let stack = quiet_stack().await;
    let store = stack.store();
    for name in ["a", "b", "c"] {
        let key = crate::support::key(&stack, &event(name));
        store.claim(&key, &crate::support::ledger::claim("dead", 1_000)).await.unwrap();
    }
    let whole = surehook::store::stranded::Segment::WHOLE;
    let (mut after, mut raised) = (None, 0);
    let keys: Vec<String> =
        ["a", "b", "c"].iter().map(|name| format!("e#{}", crate::support::key(&stack, &event(name)))).collect();
    let behind = |key: &String| Some((key.clone(), "ledger".to_owned()));
    let mut counts = Vec::new();
    for key in &keys {
        let looked = store.strand(whole, behind(key), 0, 1_000_000).await.unwrap();
        assert_eq!(looked.raised, 0, "nothing is old enough");
        after = looked.next;
    }
    assert_eq!(after, None);
    for key in &keys {
        let looked = store.strand(whole, behind(key), 500_000, 1_000_000).await.unwrap();
        raised += looked.raised;
        counts.push(looked.raised);
    }
    assert!(
        raised < 3 && counts.iter().all(|count| *count < 3),
        "what stands at the key and before it is not seen again"
    );
}

/// Named after a defect: each letter of a replay read the whole routes document.
#[tokio::test]
async fn a_replay_of_many_letters_reads_the_routes_once() {
    let stack = stack().await;
    for number in 0..8 {
        bury(&stack, &event(&format!("letter {number}")), "x").await;
    }
    let fuse = Fuse::new(&stack);
    let mut processor = processor(&stack, &fuse);
    let metered = stack.store().metered();
    processor.routes = surehook::store::routes_cache::RoutesCache::new(metered.clone(), (), Default::default()).into();
    processor.path.store = metered.clone();
    let replay = || serde_json::from_value(json!({"command": "replay", "selection": {"all": true}})).unwrap();
    let done = processor.call(replay(), moment(), 0.5).await.unwrap();
    let done = serde_json::to_value(done).unwrap();
    assert_eq!(done["replayed"]["ids"].as_array().unwrap().len(), 8, "{done}");
    let first = metered.capacity().read;
    assert_eq!(first, 9.0, "one read unit for each record, and one for the routes");
    processor.call(replay(), moment(), 0.5).await.unwrap();
    assert!(metered.capacity().read - first <= 1.0, "the next call reads the version alone");
}
