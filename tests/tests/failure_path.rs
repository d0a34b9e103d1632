//! Requeuer and sweep: what fails is delivered again or kept, and never both forgotten.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use surehook::ledger::Status;
use surehook_local::{
    Stack, StackOptions,
    qstash::Fault,
    receiver::{Reaction, Received},
};

use crate::support::{
    accepted, connect, event, letters, operate, options, publish, qstash, received, record, stack, stack_with,
};

/// Refuses `/shop` with a status for so many requests, then accepts.
pub(crate) fn refuse(stack: &Stack, status: u16, times: u32) {
    let left = AtomicU32::new(times);
    stack.receiver.react(move |received: &Received| {
        let refuse = received.path == "/shop"
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        Reaction::status(if refuse { status } else { 200 })
    });
}

#[tokio::test]
async fn what_qstash_gave_up_is_delivered_again_later() {
    let stack = stack().await;
    connect(&stack, "again", &[]).await;
    refuse(&stack, 503, 9);
    let body = event("again");
    publish(&stack, "again", &body).await;
    stack.qstash.idle().await;
    let record = record(&stack, &body).await.unwrap();
    assert_eq!((record.status, record.attempts), (Status::Done, 10), "two whole rounds and a half");
    assert_eq!((accepted(&stack, &body), stack.qstash.dlq_len()), (1, 0));
}

#[tokio::test]
async fn an_event_that_had_all_its_rounds_becomes_a_dead_letter() {
    let rounds = [("RETRY_ROUNDS".to_owned(), "1".to_owned())];
    let stack = stack_with(StackOptions { environment: rounds.into(), ..options() }).await;
    connect(&stack, "rounds", &[]).await;
    refuse(&stack, 500, u32::MAX);
    let body = event("rounds");
    publish(&stack, "rounds", &body).await;
    stack.qstash.idle().await;
    let letters = letters(&stack).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0]["reason"].as_str(), letters[0]["source"].as_str()),
        (Some("rounds-used-up"), Some("strapi"))
    );
    assert_eq!(received(&stack, &body).len(), 8, "two rounds of four attempts");
    assert_eq!((record(&stack, &body).await.unwrap().status, stack.qstash.dlq_len()), (Status::Dead, 0));
}

#[tokio::test]
async fn only_the_endpoint_that_failed_is_retried_and_requeued() {
    let stack = stack().await;
    let other = format!("{}/other", stack.receiver.url);
    connect(&stack, "two", &[other]).await;
    refuse(&stack, 503, 6);
    let body = event("two");
    publish(&stack, "two", &body).await;
    stack.qstash.idle().await;
    let of = |path: &str| received(&stack, &body).iter().filter(|received| received.path == path).count();
    assert_eq!((of("/other"), of("/shop")), (1, 7));
    assert_eq!(record(&stack, &body).await.unwrap().status, Status::Done);
}

#[tokio::test]
async fn a_refused_event_is_buried_shown_mended_and_replayed() {
    let stack = stack().await;
    connect(&stack, "mend", &[]).await;
    stack.receiver.react(|_| Reaction::status(422).saying("no such field"));
    let body = event("mend");
    publish(&stack, "mend", &body).await;
    stack.qstash.idle().await;
    let id = letters(&stack).await[0]["id"].as_str().unwrap().to_owned();
    let shown = operate(&stack, json!({"command": "show", "id": id})).await;
    assert_eq!(shown["shown"]["body"].as_str(), Some(body.as_str()));
    assert!(shown["shown"]["head"]["error"].as_str().unwrap().contains("no such field"));

    let dry = operate(&stack, json!({"command": "replay", "selection": {"ids": [id]}, "dryRun": true})).await;
    assert_eq!((dry["replayed"]["ids"].as_array().unwrap().len(), letters(&stack).await.len()), (1, 1));
    stack.receiver.react(|_| Reaction::status(200));
    for _ in 0..2 {
        operate(&stack, json!({"command": "replay", "selection": {"ids": [id]}})).await;
        stack.qstash.idle().await;
    }
    assert_eq!(
        (accepted(&stack, &body), letters(&stack).await.len()),
        (1, 0),
        "the same replay twice sends nothing twice"
    );
    assert_eq!(record(&stack, &body).await.unwrap().status, Status::Done);
}

#[tokio::test]
async fn an_event_that_was_buried_before_its_source_was_configured_leaves_nothing_open() {
    let rounds = [("RETRY_ROUNDS".to_owned(), "0".to_owned())];
    let stack = stack_with(StackOptions { environment: rounds.into(), ..options() }).await;
    let client = qstash(&stack);
    client.add_endpoints("early", &[stack.function_url("consumer/github")]).await.unwrap();
    let headers = json!({"Upstash-Failure-Callback": stack.function_url("requeuer")});
    client.set_default_headers("early", &headers).await.unwrap();
    publish(&stack, "early", "{\"id\":1}").await;
    stack.qstash.idle().await;
    let error = letters(&stack).await[0]["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("503 source-unconfigured: source \"github\""), "{error}");
    let document = format!(
        "[[source]]\nname = \"github\"\nidentity = \"/id\"\n\
         [[route]]\nname = \"g\"\nsource = \"github\"\nurl = \"{}/g\"",
        stack.receiver.url
    );
    crate::support::apply(&stack, &document).await;
    operate(&stack, json!({"command": "replay", "selection": {"all": true}})).await;
    stack.qstash.idle().await;
    assert_eq!((accepted(&stack, "{\"id\":1}"), letters(&stack).await.len()), (1, 0));
    assert!(stack.store().stranded(i64::MAX, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_kept_whole() {
    let limit = [("MAX_BODY_BYTES".to_owned(), "1000".to_owned())];
    let stack = stack_with(StackOptions { environment: limit.into(), ..options() }).await;
    connect(&stack, "limit", &[]).await;
    let body = event(&"x".repeat(2_000));
    publish(&stack, "limit", &body).await;
    stack.qstash.idle().await;
    let letter = letters(&stack).await.remove(0);
    assert_eq!((letter["reason"].as_str(), letter["error"].as_str()), (Some("permanent"), Some("489 too-large")));
    let shown = operate(&stack, json!({"command": "show", "id": letter["id"]})).await;
    assert_eq!(shown["shown"]["body"].as_str(), Some(body.as_str()));
}

#[tokio::test]
async fn a_conflict_is_kept_whole_however_often_it_is_replayed() {
    let stack = stack().await;
    let client = qstash(&stack);
    client.add_endpoints("conflict", &[stack.function_url("consumer/payload")]).await.unwrap();
    let headers = json!({"Upstash-Failure-Callback": stack.function_url("requeuer")});
    client.set_default_headers("conflict", &headers).await.unwrap();
    let body = |data: u32| json!({"id": "1", "topic": "conflict", "eventType": "a", "data": data}).to_string();
    publish(&stack, "conflict", &body(1)).await;
    stack.qstash.idle().await;
    publish(&stack, "conflict", &body(2)).await;
    stack.qstash.idle().await;
    for _ in 0..3 {
        let letter = letters(&stack).await.remove(0);
        let shown = operate(&stack, json!({"command": "show", "id": letter["id"]})).await;
        assert_eq!(shown["shown"]["body"].as_str(), Some(body(2).as_str()));
        operate(&stack, json!({"command": "replay", "selection": {"all": true}})).await;
        stack.qstash.idle().await;
        operate(&stack, json!({"command": "sweep"})).await;
        stack.qstash.idle().await;
    }
    assert_eq!((letters(&stack).await.len(), received(&stack, &body(2)).len()), (1, 0));
}

#[tokio::test]
async fn letters_of_one_cause_share_a_fingerprint() {
    let stack = stack().await;
    connect(&stack, "cause", &[]).await;
    stack.receiver.react(|received| Reaction::status(422).saying(&format!("order {} is unknown", received.number)));
    for name in ["one", "two", "three"] {
        publish(&stack, "cause", &event(name)).await;
    }
    stack.qstash.idle().await;
    let counted = operate(&stack, json!({"command": "causes"})).await;
    assert_eq!(counted["caused"]["letters"], 3);
    assert_eq!(counted["caused"]["causes"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_purged_event_is_gone_and_late_deliveries_find_its_record() {
    let stack = stack().await;
    connect(&stack, "purge", &[]).await;
    stack.receiver.react(|_| Reaction::status(422));
    let body = event("purge");
    publish(&stack, "purge", &body).await;
    stack.qstash.idle().await;
    operate(&stack, json!({"command": "purge", "selection": {"filter": {"source": "strapi"}}})).await;
    assert!(letters(&stack).await.is_empty());
    stack.receiver.react(|_| Reaction::status(200));
    publish(&stack, "purge", &body).await;
    stack.qstash.idle().await;
    assert_eq!(accepted(&stack, &body), 0);
    assert_eq!(record(&stack, &body).await.unwrap().status, Status::Purged);
}

/// Publishes the notice of the oldest entry while no delivery gets through, so that it ends in the dead-letter queue.
pub(crate) async fn lose_notice(stack: &Stack) {
    let notice = callback(stack).await.to_string();
    let to = surehook::qstash::client::Destination::Url(stack.function_url("requeuer"));
    let once = [("Upstash-Retries".to_owned(), "0".to_owned())];
    stack.qstash.set_faults(&[Fault::LoseCallback, Fault::CutBefore]);
    qstash(stack).publish(&to, &once, notice.into()).await.unwrap();
    stack.qstash.idle().await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
}

/// The callback that QStash would send for the oldest entry.
pub(crate) async fn callback(stack: &Stack) -> Value {
    let entry = qstash(stack).dlq_page(None, 1, usize::MAX).await.unwrap().entries().next().unwrap().unwrap();
    json!({"dlqId": entry.dlq_id, "sourceMessageId": entry.message_id, "url": entry.url, "status": entry.status()})
}

#[tokio::test]
async fn a_letter_of_a_source_that_was_unconfigured_is_routed_by_what_it_is_today() {
    let rounds = [("RETRY_ROUNDS".to_owned(), "0".to_owned())];
    let stack = stack_with(StackOptions { environment: rounds.into(), ..options() }).await;
    let client = qstash(&stack);
    client.add_endpoints("typed", &[stack.function_url("consumer/github")]).await.unwrap();
    let headers = json!({"Upstash-Failure-Callback": stack.function_url("requeuer")});
    client.set_default_headers("typed", &headers).await.unwrap();
    let body = "{\"id\":1,\"action\":\"opened\"}";
    publish(&stack, "typed", body).await;
    stack.qstash.idle().await;
    assert_eq!(letters(&stack).await[0]["eventType"], json!(null));
    let document = |events: &str| {
        format!(
            "[[source]]\nname = \"github\"\nidentity = \"/id\"\nevent_type = \"/action\"\n\
             [[route]]\nname = \"g\"\nsource = \"github\"\nevents = [\"{events}\"]\nurl = \"{}/g\"",
            stack.receiver.url
        )
    };
    crate::support::apply(&stack, &document("closed")).await;
    let refused = operate(&stack, json!({"command": "replay", "selection": {"all": true}})).await;
    assert!(refused["replayed"]["refused"][0][1].as_str().unwrap().contains("no route takes it (opened"), "{refused}");
    crate::support::apply(&stack, &document("open*")).await;
    operate(&stack, json!({"command": "replay", "selection": {"all": true}})).await;
    stack.qstash.idle().await;
    assert_eq!((accepted(&stack, body), letters(&stack).await.len()), (1, 0));
}

#[tokio::test]
async fn a_letter_names_what_was_said_last_and_not_an_older_failure() {
    let rounds = [("RETRY_ROUNDS".to_owned(), "0".to_owned())];
    let stack = stack_with(StackOptions { environment: rounds.into(), ..options() }).await;
    connect(&stack, "last", &[]).await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    refuse(&stack, 503, 4);
    publish(&stack, "last", &event("last")).await;
    stack.qstash.idle().await;
    // Then nobody answers any more.
    let entry = qstash(&stack).dlq_page(None, 1, usize::MAX).await.unwrap().entries().next().unwrap().unwrap();
    stack.qstash.set_faults(&[Fault::LoseCallback, Fault::CutBefore]);
    qstash(&stack).dlq_retry(&entry.dlq_id, &[]).await.unwrap();
    stack.qstash.idle().await;
    operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(letters(&stack).await[0]["error"], "no answer");
}

#[tokio::test]
async fn a_letter_whose_event_was_ended_otherwise_is_still_purged() {
    let stack = stack().await;
    let letter = crate::support::bury(&stack, &event("ended"), "x").await;
    let long_ago = surehook::outside::now() - 30 * 86_400_000;
    stack.store().begin_replay(&letter, long_ago).await.unwrap();
    let now = surehook::outside::now();
    stack.store().dismiss(&letter.key, now - 1_000, now, now / 1_000 + 60).await.unwrap();
    operate(&stack, json!({"command": "purge", "selection": {"ids": [letter.id()]}})).await;
    assert_eq!(letters(&stack).await.len(), 0);
}
