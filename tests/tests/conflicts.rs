//! Conflicts: content that came under the id of another event.

use serde_json::{Value, json};
use surehook::identity::EventKey;
use surehook_local::{Stack, qstash::Fault, receiver::Reaction};

use crate::{
    failure_path::refuse,
    support::{apply, letters, operate, publish, qstash, received, run, stack},
};

fn body(data: u32) -> String {
    json!({"id": "1", "topic": "conflict", "eventType": "a", "data": data}).to_string()
}

async fn send(stack: &Stack, data: u32) {
    publish(stack, "conflict", &body(data)).await;
    stack.qstash.idle().await;
}

/// A stack on which two events came under one id; the id of the letter of the second, and its message.
async fn collided() -> (Stack, String, String) {
    let stack = stack().await;
    let route = "[[route]]\nname = \"shop\"\nsource = \"payload\"\nurl = ";
    apply(&stack, &format!("{route}\"{}/shop\"\n", stack.receiver.url)).await;
    let client = qstash(&stack);
    client.add_endpoints("conflict", &[stack.function_url("consumer/payload")]).await.unwrap();
    let headers = json!({"Upstash-Failure-Callback": stack.function_url("requeuer")});
    client.set_default_headers("conflict", &headers).await.unwrap();
    send(&stack, 1).await;
    send(&stack, 2).await;
    let id = letters(&stack).await.remove(0)["id"].as_str().unwrap().to_owned();
    let shown = run(&stack, &["dead-letters", "show", &id, "--json"]).await.json();
    let message = shown["messageId"].as_str().unwrap().to_owned();
    (stack, id, message)
}

async fn why(stack: &Stack, subject: &str) -> Value {
    run(stack, &["why", subject, "--json"]).await.json()
}

#[tokio::test]
async fn a_conflict_says_with_which_event_it_collides() {
    let (stack, id, message) = collided().await;
    let story = why(&stack, &message).await;
    assert_eq!(story["letters"][0]["id"].as_str(), Some(id.as_str()), "why MESSAGE finds the dead letter: {story}");
    let with = story["conflict"]["with"].as_str().unwrap();
    let first = why(&stack, with).await;
    assert_eq!((first["status"].as_str(), first["acceptedBy"].clone()), (Some("done"), json!(["shop"])), "{first}");
    assert!(story["replay"].as_str().unwrap().contains("--as-new"), "{story}");
    let shown = run(&stack, &["dead-letters", "show", &id]).await;
    for printed in [shown.out, run(&stack, &["why", &id]).await.out] {
        let sentence = format!("with event {with} (done), which came before with the same id and other content");
        assert!(printed.contains(&sentence), "{printed}");
    }
    let replayed = run(&stack, &["dead-letters", "replay", &id]).await;
    assert!(
        replayed.code == Some(1) && replayed.err.contains(with) && replayed.err.contains("--as-new"),
        "{replayed:?}"
    );
}

#[tokio::test]
async fn a_conflict_that_is_replayed_as_new_is_delivered_once() {
    let (stack, id, message) = collided().await;
    let replayed = run(&stack, &["dead-letters", "replay", &id, "--as-new", "--canary", "1", "--json"]).await;
    assert_eq!((replayed.code, replayed.json()["done"].as_u64()), (Some(0), Some(1)), "{replayed:?}");
    let again = run(&stack, &["dead-letters", "replay", &id, "--as-new"]).await;
    assert!(again.code == Some(1) && again.err.contains("there is no dead letter"), "{again:?}");
    for data in [2, 1, 2] {
        send(&stack, data).await;
    }
    operate(&stack, json!({"command": "sweep"})).await;
    stack.qstash.idle().await;
    assert_eq!((received(&stack, &body(1)).len(), received(&stack, &body(2)).len()), (1, 1));
    assert_eq!(letters(&stack).await.len(), 0, "content that was delivered as an event of its own is a duplicate");
    let story = why(&stack, &message).await;
    assert_eq!((story["status"].as_str(), story["event"].as_str()), (Some("done"), id.split('-').next()), "{story}");
    // A third content is a conflict all the same.
    send(&stack, 3).await;
    assert_eq!((letters(&stack).await.len(), received(&stack, &body(3)).len()), (1, 0));
}

#[tokio::test]
async fn a_conflict_that_is_replayed_as_new_is_retried_as_any_event() {
    let (stack, id, _) = collided().await;
    refuse(&stack, 503, 6);
    let replayed = run(&stack, &["dead-letters", "replay", &id, "--as-new"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    stack.qstash.idle().await;
    assert_eq!((received(&stack, &body(2)).len(), letters(&stack).await.len()), (7, 0), "more than one round");
}

#[tokio::test]
async fn a_conflict_that_fails_as_new_is_a_dead_letter_again() {
    let (stack, id, _) = collided().await;
    stack.receiver.react(|_| Reaction::status(422).saying("no such field"));
    run(&stack, &["dead-letters", "replay", &id, "--as-new"]).await;
    stack.qstash.idle().await;
    let letter = letters(&stack).await.remove(0);
    assert_eq!(letter["error"], "shop: 422 no such field");
    assert_eq!(letter["id"].as_str().unwrap().split('-').next(), id.split('-').next());
    stack.receiver.react(|_| Reaction::status(200));
    run(&stack, &["dead-letters", "replay", letter["id"].as_str().unwrap(), "--as-new"]).await;
    stack.qstash.idle().await;
    assert_eq!((received(&stack, &body(2)).len(), letters(&stack).await.len()), (2, 0));
}

#[tokio::test]
async fn only_a_conflict_is_replayed_as_new() {
    let stack = stack().await;
    let letter = crate::support::bury(&stack, &crate::support::event("no conflict"), "x").await.id();
    let ran = run(&stack, &["dead-letters", "replay", &letter, "--as-new"]).await;
    assert!(ran.code == Some(1) && ran.err.contains("it is no conflict"), "{ran:?}");
    assert_eq!(letters(&stack).await.len(), 1);
}

#[tokio::test]
async fn a_replay_as_new_that_was_cut_short_is_finished_by_the_sweep() {
    let (stack, id, _) = collided().await;
    let (key, fence) = surehook::ledger::DeadLetter::parse_id(&id).unwrap();
    let (letter, _) = stack.store().letter(&key, fence).await.unwrap().unwrap();
    stack.store().begin_replay(&letter, surehook::outside::now()).await.unwrap();
    operate(&stack, json!({"command": "sweep"})).await;
    stack.qstash.idle().await;
    assert_eq!((received(&stack, &body(2)).len(), letters(&stack).await.len()), (1, 0));
    assert_eq!(stack.store().record(&key).await.unwrap().unwrap().status, surehook::ledger::Status::Done);
}

/// The consumer looks at the first event's record first. If that ended, the replayed event would be delivered once more under it.
#[tokio::test]
async fn the_record_of_the_first_event_outlives_that_of_the_event_that_is_replayed_as_new() {
    let (stack, id, _) = collided().await;
    let (own, _) = surehook::ledger::DeadLetter::parse_id(&id).unwrap();
    let shown = run(&stack, &["dead-letters", "show", &id, "--json"]).await.json();
    let first = EventKey::parse(shown["conflict"]["with"].as_str().unwrap()).unwrap();
    let ends = async |key: &EventKey| stack.store().record(key).await.unwrap().unwrap().expires_at.unwrap();
    let before = ends(&first).await;
    run(&stack, &["dead-letters", "replay", &id, "--as-new"]).await;
    stack.qstash.idle().await;
    let retention = before - surehook::outside::now() / 1_000;
    assert!(ends(&first).await >= ends(&own).await + retention / 2, "longer than it was ({before}) by far");
}

/// Its messages never reached the consumer, so that no worker has claimed the record yet.
#[tokio::test]
async fn a_conflict_that_is_replayed_as_new_is_tried_in_more_rounds_before_it_is_ever_claimed() {
    let (stack, id, _) = collided().await;
    stack.qstash.set_faults(&[Fault::LoseCallback, Fault::CutBefore]);
    run(&stack, &["dead-letters", "replay", &id, "--as-new"]).await;
    stack.qstash.idle().await;
    stack.qstash.set_faults(&[]);
    operate(&stack, json!({"command": "sweep"})).await;
    stack.qstash.idle().await;
    assert_eq!((received(&stack, &body(2)).len(), letters(&stack).await.len()), (1, 0));
}
