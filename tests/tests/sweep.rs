//! The sweep: what no callback brought is taken over, and what is somebody else's is left alone.

use futures::future::join_all;
use serde_json::json;
use surehook::{ledger::Status, outside, qstash::client::Destination, web::Moment};
use surehook_dlq_processor::Command;
use surehook_local::{qstash::Fault, receiver::Reaction};
use tokio::time::Instant;

use crate::{
    failure_path::{lose_notice, refuse},
    support::{
        accepted, connect, event, fuse::Fuse, letters, operate, processor, publish, qstash, quiet_stack, received,
        record, stack,
    },
};

#[tokio::test]
async fn two_sweeps_at_once_do_no_harm() {
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
    let sweeps = join_all((0..3).map(|_| operate(&stack, json!({"command": "sweep"})))).await;
    let sum = |name: &str| sweeps.iter().map(|swept| swept["swept"][name].as_u64().unwrap()).sum::<u64>();
    stack.qstash.idle().await;
    assert_eq!((sum("requeued"), letters(&stack).await.len()), (6, 6), "{sweeps:?}");
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
    stack.store().put_sweep_place(page.cursor.as_deref()).await.unwrap();
    let fuse = Fuse::new(&stack);
    let no_time = Moment { now: outside::now(), started: Instant::now(), deadline: Some(Instant::now()) };
    processor(&stack, &fuse).call(Command::Sweep, no_time, 0.5).await.unwrap();
    assert_eq!(stack.store().sweep_place().await.unwrap(), page.cursor, "one without time keeps the place");
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
