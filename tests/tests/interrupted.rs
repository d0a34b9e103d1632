//! Whatever fails between any two steps of consumer, requeue, bury, replay and sweep, what follows mends it.
//!
//! A step is a request to DynamoDB, QStash or a destination. Each path runs through a fuse that lets one of them fail: with
//! an error, with its connection cut before or after it took effect, or with the process killed before or after it. Then
//! what follows in life follows: QStash delivers again, the callback is repeated, or the sweep comes by. The points are
//! found by counting up until the path gets through, not listed by hand, and they are printed.

use std::time::Duration;

use serde_json::json;
use surehook::{
    ledger::Status,
    outside,
    qstash::SigningKeys,
    secret::Secret,
    store::outbox::OutboxRow,
    telemetry::Telemetry,
    web::{Incoming, Moment},
};
use surehook_dlq_processor::{Command, Processor, Selection};
use surehook_local::{Stack, qstash::Faults, receiver::Reaction};
use surehook_requeuer::Requeuer;
use tokio::time::Instant;

use crate::{
    failure_path::{callback, lose_notice},
    support::{
        accepted, connect, event,
        fuse::{Fault, Fuse},
        letters, operate, publish, received, record, signature, stack, url,
    },
};

const MOST_STEPS: usize = 80;

fn moment() -> Moment {
    Moment { now: outside::now(), started: Instant::now(), deadline: None }
}

fn processor(stack: &Stack, fuse: &Fuse) -> Processor {
    Processor {
        path: fuse.failure_path(stack),
        requeuer: url(&stack.function_url("requeuer")),
        retention: Duration::from_secs(14 * 86_400),
        telemetry: Telemetry::new("test", "dlq-processor", false),
    }
}

/// One callback to a requeuer whose calls go through the fuse.
async fn requeue(stack: &Stack, fuse: &Fuse) {
    let base = stack.function_url("requeuer");
    let requeuer = Requeuer {
        keys: SigningKeys::new(vec![Secret::new(stack.qstash.keys().0).unwrap()]).unwrap(),
        base: Some(url(&base)),
        path: fuse.failure_path(stack).into(),
        telemetry: Telemetry::new("test", "requeuer", false),
    };
    let body = callback(stack).await.to_string();
    let mut headers = http::HeaderMap::new();
    headers.insert("upstash-signature", signature(stack, &base, body.as_bytes()).parse().unwrap());
    let request = Incoming {
        method: "POST".into(),
        path: String::new(),
        query: String::new(),
        domain: None,
        headers,
        body: body.into(),
        request_id: outside::new_id(),
    };
    requeuer.call(request, moment(), 0.5).await;
}

/// A stack in which callbacks are lost, so that only the test and the sweep act.
async fn quiet_stack() -> Stack {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.qstash.set_faults(Faults { lose_callbacks: true, ..Faults::default() });
    stack
}

/// Publishes an event and lets QStash give it up with this status.
async fn give_up(stack: &Stack, name: &str, status: u16) -> String {
    stack.receiver.react(move |_| Reaction::status(status));
    let body = event(name);
    publish(stack, "t", &body).await;
    stack.qstash.idle().await;
    body
}

/// A test for each way to fail: `path` runs once for every step, `prepare` makes an event for it, and `check` looks at what
/// became of it.
macro_rules! at_every_step {
    ($path_name:ident, $prepare:path, $path:path, $check:path) => {
        mod $path_name {
            use super::*;

            #[tokio::test]
            async fn error() {
                interrupt(Fault::Error).await;
            }

            #[tokio::test]
            async fn cut_before() {
                interrupt(Fault::CutBefore).await;
            }

            #[tokio::test]
            async fn cut_after() {
                interrupt(Fault::CutAfter).await;
            }

            #[tokio::test]
            async fn killed() {
                interrupt(Fault::Killed).await;
            }

            async fn interrupt(fault: Fault) {
                let stack = quiet_stack().await;
                let fuse = Fuse::new(&stack);
                let mut hits = Vec::new();
                for step in 0..MOST_STEPS {
                    let name = format!("{fault:?} {step}");
                    let body: String = $prepare(&stack, &name).await;
                    fuse.arm(step, fault);
                    $path(&stack, &fuse).await;
                    let hit = fuse.disarm();
                    $check(&stack, &body, &name).await;
                    match hit {
                        Some(hit) => hits.push(hit),
                        None => break,
                    }
                }
                let name = stringify!($path_name);
                println!("{name}: {fault:?} at each of {} points: {}", hits.len(), hits.join(", "));
                assert!((3..MOST_STEPS - 1).contains(&hits.len()), "{} steps", hits.len());
            }
        }
    };
}

at_every_step!(requeue_interrupted, prepare_refused, requeue, check_arrives_once);
at_every_step!(bury_interrupted, prepare_rejected, requeue, check_one_letter);
at_every_step!(replay_interrupted, prepare_buried, replay_all, check_replayed_once);
at_every_step!(sweep_interrupted, prepare_mess, sweep, check_mess_is_gone);

async fn prepare_refused(stack: &Stack, name: &str) -> String {
    prepare_failed(stack, name, 503).await
}

async fn prepare_rejected(stack: &Stack, name: &str) -> String {
    prepare_failed(stack, name, 422).await
}

async fn prepare_failed(stack: &Stack, name: &str, status: u16) -> String {
    let body = give_up(stack, name, status).await;
    stack.receiver.react(|_| Reaction::status(200));
    body
}

async fn prepare_buried(stack: &Stack, name: &str) -> String {
    let body = prepare_failed(stack, name, 422).await;
    operate(stack, json!({"command": "sweep"})).await;
    assert_eq!(letters(stack).await.len(), 1);
    body
}

async fn replay_all(stack: &Stack, fuse: &Fuse) {
    let selection = Selection { all: true, ..Selection::default() };
    let _cut_short = processor(stack, fuse).call(Command::Replay { selection, dry_run: false }, moment(), 0.5).await;
}

async fn sweep(stack: &Stack, fuse: &Fuse) {
    let _cut_short = processor(stack, fuse).call(Command::Sweep, moment(), 0.5).await;
}

/// An event to requeue with its lost notice, one to bury, and an outbox row.
async fn prepare_mess(stack: &Stack, name: &str) -> String {
    let again = give_up(stack, name, 503).await;
    lose_notice(stack).await;
    give_up(stack, &format!("{name} bad"), 422).await;
    let id = format!("row {name}");
    let body = json!({"id": id, "topic": "t", "eventType": "a", "data": name}).to_string();
    let dedup = ("Upstash-Deduplication-Id".to_owned(), id.replace(' ', "-"));
    let json = ("Content-Type".to_owned(), "application/json".to_owned());
    let row =
        OutboxRow { id, at: outside::now(), topic: "outbox".into(), headers: vec![dedup, json], body: body.into() };
    let endpoint = stack.function_url("consumer/payload");
    crate::support::qstash(stack).add_endpoints("outbox", &[endpoint]).await.unwrap();
    stack.store().put_outbox(&row).await.unwrap();
    stack.receiver.react(|_| Reaction::status(200));
    again
}

/// What follows a kill: the next sweeps. Two, because the first may find work that a killed process has just moved.
async fn follow_up(stack: &Stack) {
    stack.qstash.idle().await;
    for _ in 0..2 {
        operate(stack, json!({"command": "sweep"})).await;
        stack.qstash.idle().await;
    }
}

async fn check_arrives_once(stack: &Stack, body: &str, point: &str) {
    follow_up(stack).await;
    assert_eq!(accepted(stack, body), 1, "{point}");
    assert_eq!(record(stack, body).await.unwrap().status, Status::Done, "{point}");
    assert_eq!((stack.qstash.dlq_len(), letters(stack).await.len()), (0, 0), "{point}");
}

async fn check_one_letter(stack: &Stack, body: &str, point: &str) {
    follow_up(stack).await;
    let letters = letters(stack).await;
    assert_eq!((letters.len(), stack.qstash.dlq_len()), (1, 0), "{point}");
    assert_eq!(record(stack, body).await.unwrap().status, Status::Dead, "{point}");
    let shown = operate(stack, json!({"command": "show", "id": letters[0]["id"]})).await;
    assert_eq!(shown["shown"]["body"].as_str(), Some(body), "{point}");
    operate(stack, json!({"command": "purge", "selection": {"all": true}})).await;
}

async fn check_replayed_once(stack: &Stack, body: &str, point: &str) {
    follow_up(stack).await;
    // Killed before its first step took effect, the replay never began, and the operator asks again.
    operate(stack, json!({"command": "replay", "selection": {"all": true}})).await;
    follow_up(stack).await;
    assert_eq!(accepted(stack, body), 1, "{point}");
    assert_eq!(record(stack, body).await.unwrap().status, Status::Done, "{point}");
    assert_eq!((letters(stack).await.len(), stack.qstash.dlq_len()), (0, 0), "{point}");
    assert!(stack.store().pending_replays().await.unwrap().is_empty(), "{point}");
}

async fn check_mess_is_gone(stack: &Stack, again: &str, point: &str) {
    follow_up(stack).await;
    assert_eq!(accepted(stack, again), 1, "{point}");
    let row = json!({"id": format!("row {point}"), "topic": "t", "eventType": "a", "data": point}).to_string();
    assert_eq!(received(stack, &row).len(), 1, "{point}: the outbox row arrives once");
    assert_eq!((letters(stack).await.len(), stack.qstash.dlq_len()), (1, 0), "{point}");
    operate(stack, json!({"command": "purge", "selection": {"all": true}})).await;
}
