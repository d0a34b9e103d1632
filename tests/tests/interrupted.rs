//! Whatever fails between any two steps of consumer, requeue, bury, replay and sweep, what follows mends it.
//!
//! A step is a request to DynamoDB, QStash or a destination. Each path runs through a fuse that lets one of them fail: with
//! an error, with its connection cut before or after it took effect, or with the process killed before or after it. Then
//! what follows in life follows: QStash delivers again, the callback is repeated, or the sweep comes by. The points are
//! found by counting up until the path gets through, not listed by hand, and they are printed.

use serde_json::json;
use surehook::{
    ledger::{DeadLetter, Status},
    outside,
    store::outbox::OutboxRow,
    web::Moment,
};
use surehook_dlq_processor::Command;
use surehook_local::{Stack, receiver::Reaction};
use tokio::time::Instant;

use crate::{
    failure_path::{callback, lose_notice},
    support::{
        accepted, end_lease, event,
        fuse::{Fault, Fuse},
        key,
        ledger::claim,
        letters, noise, operate, processor, publish, publish_with, quiet_stack, received, record,
        requeuer::{call_back, requeuer},
    },
};

const MOST_STEPS: usize = 120;

fn moment() -> Moment {
    Moment { now: outside::now(), started: Instant::now(), deadline: None }
}

/// One callback to a requeuer whose calls go through the fuse.
async fn requeue(stack: &Stack, fuse: &Fuse) {
    let requeuer = requeuer(stack, fuse.failure_path(stack), fuse.store());
    call_back(&requeuer, stack, &callback(stack).await).await;
}

/// Publishes an event and lets QStash give it up with this status.
async fn give_up(stack: &Stack, body: String, status: u16) -> String {
    stack.receiver.react(move |_| Reaction::status(status));
    publish(stack, "t", &body).await;
    stack.qstash.idle().await;
    stack.receiver.react(|_| Reaction::status(200));
    body
}

/// An event whose letter has its body in chunks: digits of noise, which do not compress below what a head holds.
fn large_event(name: &str) -> String {
    let noise: String = noise(100_000).iter().map(|byte| format!("{byte:02x}")).collect();
    event(&format!("{name} {noise}"))
}

/// A test for each way to fail: `path` runs once for every step, `prepare` makes an event for it, and `check` looks at what
/// became of it.
macro_rules! at_every_step {
    ($path_name:ident: $steps:literal steps, $prepare:path, $path:path, $check:path) => {
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
                    fuse.run($path(&stack, &fuse)).await;
                    let hit = fuse.disarm();
                    $check(&stack, &body, &name).await;
                    match hit {
                        Some(hit) => hits.push(hit),
                        None => break,
                    }
                }
                let name = stringify!($path_name);
                println!("{name}: {fault:?} at each of {} points: {}", hits.len(), hits.join(", "));
                assert_eq!(hits.len(), $steps, "where a path has changed, say so here and in docs/guarantees.md");
            }
        }
    };
}

at_every_step!(requeue_interrupted: 5 steps, prepare_refused, requeue, check_arrives_once);
at_every_step!(bury_interrupted: 8 steps, prepare_rejected, requeue, check_one_letter);
at_every_step!(replay_interrupted: 20 steps, prepare_buried, replay_all, check_replayed_once);
at_every_step!(redacted_replay_interrupted: 24 steps, prepare_redacted, replay_all, check_replayed_once);
at_every_step!(sweep_interrupted: 105 steps, prepare_mess, sweep, check_mess_is_gone);
at_every_step!(resumption_interrupted: 107 steps, prepare_leftovers, sweep, check_leftovers_are_gone);
at_every_step!(stranding_interrupted: 67 steps, prepare_abandoned, look_deep, check_is_shown);

async fn prepare_refused(stack: &Stack, name: &str) -> String {
    give_up(stack, event(name), 503).await
}

async fn prepare_rejected(stack: &Stack, name: &str) -> String {
    give_up(stack, large_event(name), 422).await
}

async fn prepare_buried(stack: &Stack, name: &str) -> String {
    let body = prepare_rejected(stack, name).await;
    operate(stack, json!({"command": "sweep"})).await;
    assert_eq!(letters(stack).await.len(), 1);
    body
}

/// A letter whose body only QStash has.
async fn prepare_redacted(stack: &Stack, name: &str) -> String {
    let body = event(name);
    stack.receiver.react(|_| Reaction::status(422));
    publish_with(stack, "t", &[("upstash-redact-fields", "body")], &body).await;
    stack.qstash.idle().await;
    stack.receiver.react(|_| Reaction::status(200));
    operate(stack, json!({"command": "sweep"})).await;
    assert_eq!(letters(stack).await.len(), 1);
    body
}

async fn replay_all(stack: &Stack, fuse: &Fuse) {
    let command = serde_json::from_value(json!({"command": "replay", "selection": {"all": true}})).unwrap();
    let _cut_short = processor(stack, fuse).call(command, moment(), 0.5).await;
}

async fn sweep(stack: &Stack, fuse: &Fuse) {
    let _cut_short = processor(stack, fuse).call(Command::Sweep, moment(), 0.5).await;
}

/// An event to requeue with its lost notice, one to bury, and an outbox row.
async fn prepare_mess(stack: &Stack, name: &str) -> String {
    let again = give_up(stack, event(name), 503).await;
    lose_notice(stack).await;
    give_up(stack, event(&format!("{name} bad")), 422).await;
    let id = format!("row {name}");
    let body = json!({"id": id, "topic": "t", "eventType": "a", "data": name}).to_string();
    let dedup = ("Upstash-Deduplication-Id".to_owned(), id.replace(' ', "-"));
    let json = ("Content-Type".to_owned(), "application/json".to_owned());
    let row =
        OutboxRow { id, at: outside::now(), topic: "outbox".into(), headers: vec![dedup, json], body: body.into() };
    let endpoint = stack.function_url("consumer/payload");
    crate::support::qstash(stack).add_endpoints("outbox", &[endpoint]).await.unwrap();
    stack.store().put_outbox(&row).await.unwrap();
    again
}

/// A replay that was begun and left, and an outbox row that QStash refuses for good.
async fn prepare_leftovers(stack: &Stack, name: &str) -> String {
    let body = prepare_buried(stack, name).await;
    let (key, fence) = DeadLetter::parse_id(letters(stack).await[0]["id"].as_str().unwrap()).unwrap();
    let (letter, _) = stack.store().letter(&key, fence).await.unwrap().unwrap();
    stack.store().begin_replay(&letter, outside::now()).await.unwrap();
    let headers = vec![("Upstash-Retries".to_owned(), "many".to_owned())];
    let body_of_row = large_event(&format!("{name} row")).into();
    let id = format!("refused {name}");
    let row = OutboxRow { id, at: outside::now(), topic: "t".into(), headers, body: body_of_row };
    stack.store().put_outbox(&row).await.unwrap();
    body
}

/// An event whose worker died without a word, a month ago.
async fn prepare_abandoned(stack: &Stack, name: &str) -> String {
    let body = event(name);
    stack.store().claim(&key(stack, &body), &claim("dead", outside::now() - 30 * 86_400_000)).await.unwrap();
    body
}

async fn look_deep(stack: &Stack, fuse: &Fuse) {
    let command = Command::Stranded { limit: 100, deep: true };
    let _cut_short = processor(stack, fuse).call(command, moment(), 0.5).await;
}

/// What follows a kill: the next sweeps. Two, because the first may find work that a killed process has just moved.
async fn follow_up(stack: &Stack) {
    stack.qstash.idle().await;
    end_lease(stack).await;
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
    if let Some(letter) = letters(stack).await.first() {
        // Killed before its first step took effect, the replay never began, and the operator asks again.
        assert_eq!(letter["replaying"], false, "{point}: the sweep finishes what was begun");
        operate(stack, json!({"command": "replay", "selection": {"all": true}})).await;
        stack.qstash.idle().await;
    }
    assert_replayed(stack, body, point).await;
    assert_eq!(letters(stack).await.len(), 0, "{point}");
}

async fn assert_replayed(stack: &Stack, body: &str, point: &str) {
    assert_eq!(accepted(stack, body), 1, "{point}");
    assert_eq!(record(stack, body).await.unwrap().status, Status::Done, "{point}");
    assert_eq!(stack.qstash.dlq_len(), 0, "{point}");
    assert!(stack.store().pending_replays(10).await.unwrap().is_empty(), "{point}");
}

async fn check_leftovers_are_gone(stack: &Stack, body: &str, point: &str) {
    follow_up(stack).await;
    assert_replayed(stack, body, point).await;
    let letters = letters(stack).await;
    assert_eq!((letters.len(), letters[0]["reason"].as_str()), (1, Some("refused-by-qstash")), "{point}");
    let shown = operate(stack, json!({"command": "show", "id": letters[0]["id"]})).await;
    assert_eq!(shown["shown"]["body"].as_str(), Some(large_event(&format!("{point} row")).as_str()), "{point}");
    operate(stack, json!({"command": "purge", "selection": {"all": true}})).await;
}

async fn check_is_shown(stack: &Stack, body: &str, point: &str) {
    let deep = operate(stack, json!({"command": "stranded", "deep": true})).await;
    let shown = deep["stranded"].as_array().unwrap();
    assert_eq!((shown.len(), shown[0]["event"].as_str()), (1, Some(key(stack, body).as_str())), "{point}");
    let taken = stack.store().claim(&key(stack, body), &claim("late", outside::now())).await.unwrap();
    stack.store().complete(&key(stack, body), &taken, &[], outside::now(), outside::now() / 1_000 + 60).await.unwrap();
}

async fn check_mess_is_gone(stack: &Stack, again: &str, point: &str) {
    follow_up(stack).await;
    assert_eq!(accepted(stack, again), 1, "{point}");
    let row = json!({"id": format!("row {point}"), "topic": "t", "eventType": "a", "data": point}).to_string();
    assert_eq!(received(stack, &row).len(), 1, "{point}: the outbox row arrives once");
    assert_eq!((letters(stack).await.len(), stack.qstash.dlq_len()), (1, 0), "{point}");
    operate(stack, json!({"command": "purge", "selection": {"all": true}})).await;
}
