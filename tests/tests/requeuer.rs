//! The requeuer: every callback that QStash may send, and what becomes of its entry.

use serde_json::{Value, json};
use surehook::{
    failure::FailurePath,
    ledger::Status,
    outside,
    qstash::client::Destination,
    retry::RetryPolicy,
    web::{Moment, Outcome},
};
use surehook_local::{Stack, qstash::Fault, receiver::Reaction};

use crate::{
    failure_path::{callback, refuse},
    support::{
        accepted, apply, connect,
        consumer::moment,
        event, key,
        ledger::claim,
        letters, operate, post, publish, publish_with, qstash, quiet_stack, received, record,
        requeuer::{call_back_at, requeuer},
        signature, stack, url,
    },
};

async fn call_requeuer(stack: &Stack, callback: &Value) -> crate::support::Answered {
    let url = stack.function_url("requeuer");
    let body = callback.to_string();
    post(&url, Some(signature(stack, &url, body.as_bytes())), body.as_bytes()).await
}

/// A stack in which an event was given up with 503, and its callback was lost: the test brings it.
async fn given_up(name: &str) -> (Stack, String) {
    let stack = quiet_stack().await;
    refuse(&stack, 503, 4);
    let body = event(name);
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    assert_eq!(stack.qstash.dlq_len(), 1);
    (stack, body)
}

#[tokio::test]
async fn the_late_callback_leaves_the_entry_of_a_later_round_alone() {
    let (stack, body) = given_up("late").await;
    let late = callback(&stack).await;
    refuse(&stack, 503, 4);
    assert_eq!(call_requeuer(&stack, &late).await.word(), "requeued");
    stack.qstash.idle().await;
    let next = callback(&stack).await;
    assert_ne!(next["dlqId"], late["dlqId"], "the second round was given up too");
    assert_eq!(call_requeuer(&stack, &late).await.word(), "settled");
    assert_eq!((callback(&stack).await, received(&stack, &body).len()), (next, 8), "nothing was moved or sent");
}

/// A table deletes expired records up to two days late. Such a record says nothing about an event that comes now.
#[tokio::test]
async fn an_event_whose_expired_record_says_done_is_delivered_and_not_lost() {
    let (stack, body) = given_up("expired").await;
    let (store, key, now) = (stack.store(), key(&stack, &body), outside::now());
    let content = record(&stack, &body).await.unwrap().content;
    let held = store.claim(&key, &surehook::ledger::Claim { content, ..claim("earlier", now) }).await.unwrap();
    store.complete(&key, &held, &[], now, now / 1_000 - 1).await.unwrap();
    let answer = call_requeuer(&stack, &callback(&stack).await).await;
    assert_eq!(answer.word(), "requeued");
    stack.qstash.idle().await;
    assert_eq!((accepted(&stack, &body), stack.qstash.dlq_len()), (1, 0));
}

#[tokio::test]
async fn the_callback_for_a_live_lease_is_told_when_to_come_again() {
    let (stack, body) = given_up("lease").await;
    let callback = callback(&stack).await;
    let content = record(&stack, &body).await.unwrap().content;
    let held = surehook::ledger::Claim { content, ..claim("somebody", outside::now()) };
    stack.store().claim(&key(&stack, &body), &held).await.unwrap();
    let answer = call_requeuer(&stack, &callback).await;
    assert_eq!((answer.status, answer.word(), stack.qstash.dlq_len()), (409, "in-progress", 1));
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=12).contains(&after), "{after}");
}

#[tokio::test]
async fn the_redacted_event_is_kept_as_a_letter_and_replayed_by_qstash() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    refuse(&stack, 503, 4);
    let body = event("redacted");
    publish_with(&stack, "t", &[("upstash-redact-fields", "body, header[X-Strapi-Event]")], &body).await;
    stack.qstash.idle().await;
    let letter = letters(&stack).await.remove(0);
    assert_eq!((letter["reason"].as_str(), stack.qstash.dlq_len()), (Some("redacted"), 1), "its entry stays");
    operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!((letters(&stack).await.len(), stack.qstash.dlq_len()), (1, 1), "sweeps leave both alone");
    let ids = json!({"command": "replay", "selection": {"ids": [letter["id"]]}});
    for _ in 0..2 {
        operate(&stack, ids.clone()).await;
        stack.qstash.idle().await;
    }
    assert_eq!((accepted(&stack, &body), stack.qstash.dlq_len(), letters(&stack).await.len()), (1, 0, 0));
    assert_eq!(record(&stack, &body).await.unwrap().status, Status::Done);
    assert_eq!(received(&stack, &body).last().unwrap().header("x-strapi-event"), Some("entry.create"));
}

#[tokio::test]
async fn a_redacted_letter_names_the_entry_that_qstash_has_now() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.receiver.react(|_| Reaction::status(422));
    let body = event("again redacted");
    publish_with(&stack, "t", &[("upstash-redact-fields", "body")], &body).await;
    stack.qstash.idle().await;
    let first = callback(&stack).await["dlqId"].as_str().unwrap().to_owned();
    // Somebody retries the entry in the console, and it fails again: a new entry, of the same event.
    qstash(&stack).dlq_retry(&first, &[]).await.unwrap();
    stack.qstash.idle().await;
    operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!((letters(&stack).await.len(), stack.qstash.dlq_len()), (1, 1));
    stack.receiver.react(|_| Reaction::status(200));
    let replayed = operate(&stack, json!({"command": "replay", "selection": {"all": true}})).await;
    assert_eq!(replayed["replayed"]["refused"], json!([]), "{replayed}");
    stack.qstash.idle().await;
    assert_eq!((accepted(&stack, &body), letters(&stack).await.len()), (1, 0));
}

#[tokio::test]
async fn a_redacted_message_of_the_message_recipe_is_delivered_after_its_replay() {
    let stack = stack().await;
    let source = "[[source]]\nname = \"cron\"\nidentity = \"message\"\n";
    let callback = ("upstash-failure-callback".to_owned(), stack.function_url("requeuer"));
    let redacted = ("upstash-redact-fields".to_owned(), "body".to_owned());
    let to = Destination::Url(stack.function_url("consumer/cron"));
    // Its source is not configured yet, so no worker ever claims it.
    qstash(&stack).publish(&to, &[callback, redacted], "{}".into()).await.unwrap();
    stack.qstash.idle().await;
    assert_eq!(letters(&stack).await.len(), 1);
    let route = format!("[[route]]\nname = \"c\"\nsource = \"cron\"\nurl = \"{}/shop\"", stack.receiver.url);
    crate::support::apply(&stack, &format!("{source}{route}")).await;
    operate(&stack, json!({"command": "replay", "selection": {"all": true}})).await;
    stack.qstash.idle().await;
    assert_eq!((accepted(&stack, "{}"), letters(&stack).await.len()), (1, 0));
}

#[tokio::test]
async fn a_redacted_letter_whose_entry_is_gone_says_so_and_stays() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    refuse(&stack, 503, 4);
    publish_with(&stack, "t", &[("upstash-redact-fields", "body")], &event("gone")).await;
    stack.qstash.idle().await;
    let entry = callback(&stack).await;
    qstash(&stack).dlq_delete(entry["dlqId"].as_str().unwrap()).await.unwrap();
    let replayed = operate(&stack, json!({"command": "replay", "selection": {"all": true}})).await;
    let refused = replayed["replayed"]["refused"][0][1].as_str().unwrap();
    assert!(refused.contains("gone from QStash"), "{refused}");
    assert_eq!((letters(&stack).await.len(), letters(&stack).await[0]["replaying"].as_bool()), (1, Some(false)));
}

#[tokio::test]
async fn a_requeued_event_keeps_its_name_although_its_headers_are_redacted() {
    let stack = stack().await;
    let document = format!(
        "[[source]]\nname = \"cron\"\nidentity = \"message\"\n[[route]]\nname = \"c\"\nsource = \"cron\"\nurl = \"{}/shop\"",
        stack.receiver.url
    );
    crate::support::apply(&stack, &document).await;
    refuse(&stack, 503, 5);
    let callback = ("upstash-failure-callback".to_owned(), stack.function_url("requeuer"));
    let redacted = ("upstash-redact-fields".to_owned(), "headers".to_owned());
    let to = Destination::Url(stack.function_url("consumer/cron"));
    let ids = qstash(&stack).publish(&to, &[callback, redacted], "{}".into()).await.unwrap();
    stack.qstash.idle().await;
    let names: std::collections::BTreeSet<_> =
        received(&stack, "{}").iter().map(|sent| sent.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!((names.len(), accepted(&stack, "{}")), (1, 1), "{ids:?}");
}

#[tokio::test]
async fn a_destination_that_asks_for_hours_is_not_called_before() {
    let stack = quiet_stack().await;
    stack.receiver.react(|_| Reaction { retry_after: Some(18_000), ..Reaction::status(503) });
    let body = event("patience");
    let once = [("upstash-retries", "0")];
    publish_with(&stack, "t", &once, &body).await;
    stack.qstash.idle().await;
    stack.receiver.react(|_| Reaction::status(200));
    let before = outside::now();
    assert_eq!(call_requeuer(&stack, &callback(&stack).await).await.word(), "requeued");
    let hours = (record(&stack, &body).await.unwrap().next_at.unwrap() - before) as f64 / 3_600_000.0;
    assert!((4.9..5.1).contains(&hours), "{hours} h");
}

#[tokio::test]
async fn a_requeued_event_tells_its_next_round() {
    let (stack, body) = given_up("noted").await;
    let before = outside::now();
    refuse(&stack, 503, 1);
    call_requeuer(&stack, &callback(&stack).await).await;
    stack.qstash.idle().await;
    let record = record(&stack, &body).await.unwrap();
    let hours = |at: i64| (at - before) as f64 / 3_600_000.0;
    assert_eq!((record.status, record.round), (Status::Done, 1));
    assert!((0.7..1.3).contains(&hours(record.next_at.unwrap())), "an hour, give or take a fifth");
}

#[tokio::test]
async fn the_repeated_callback_delivers_nothing_twice() {
    let stack = stack().await;
    connect(&stack, "repeat", &[]).await;
    stack.qstash.set_faults(&[Fault::RepeatCallback]);
    refuse(&stack, 503, 4);
    let body = event("repeat");
    publish(&stack, "repeat", &body).await;
    stack.qstash.idle().await;
    assert_eq!((received(&stack, &body).len(), accepted(&stack, &body)), (5, 1));
    assert_eq!((stack.qstash.dlq_len(), letters(&stack).await.len()), (0, 0));
}

#[tokio::test]
async fn the_callback_after_the_event_was_done_only_clears_the_queue() {
    let (stack, body) = given_up("done since").await;
    let callback = callback(&stack).await;
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    assert_eq!(accepted(&stack, &body), 1);
    let answer = call_requeuer(&stack, &callback).await;
    assert_eq!((answer.status, answer.word(), stack.qstash.dlq_len()), (200, "settled", 0));
    let again = call_requeuer(&stack, &callback).await;
    assert_eq!((again.status, again.word()), (200, "settled"));
    stack.qstash.idle().await;
    assert_eq!(accepted(&stack, &body), 1);
}

#[tokio::test]
async fn the_forged_callback_touches_nothing() {
    let (stack, _body) = given_up("forged").await;
    let real = callback(&stack).await;
    let url = stack.function_url("requeuer");
    let bytes = real.to_string();
    assert_eq!(post(&url, None, bytes.as_bytes()).await.status, 401);
    let for_another_round = signature(&stack, &format!("{url}?round=6"), bytes.as_bytes());
    assert_eq!(post(&url, Some(for_another_round), bytes.as_bytes()).await.status, 401);
    let mut differs = real.clone();
    differs["sourceMessageId"] = "msg_other".into();
    assert_eq!(call_requeuer(&stack, &differs).await.word(), "settled");
    assert_eq!(stack.qstash.dlq_len(), 1, "the entry is left to the sweep");
}

#[tokio::test]
async fn the_undecodable_callback_is_answered_200_and_its_entry_is_left_to_the_sweep() {
    let stack = stack().await;
    let answer = call_requeuer(&stack, &json!({"unexpected": true})).await;
    assert_eq!((answer.status, answer.word()), (200, "undecodable-callback"));
}

#[tokio::test]
async fn the_requeuer_answers_503_while_qstash_or_the_table_is_away() {
    let mut stack = stack().await;
    let any = json!({"sourceMessageId": "m", "url": "https://h.example/", "dlqId": "1-0"});
    stack.qstash.set_faults(&[Fault::Away]);
    let answer = call_requeuer(&stack, &any).await;
    assert_eq!((answer.status, answer.word()), (503, "qstash-away"));
    stack.qstash.set_faults(&[]);
    connect(&stack, "store", &[]).await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    refuse(&stack, 503, 4);
    publish(&stack, "store", &event("store")).await;
    stack.qstash.idle().await;
    let callback = callback(&stack).await;
    stack.dynamo.cut_off();
    let answer = call_requeuer(&stack, &callback).await;
    assert_eq!((answer.status, answer.word(), stack.qstash.dlq_len()), (503, "store-away", 1));
}

#[tokio::test]
async fn the_event_too_large_for_a_function_url_is_kept_by_the_sweep() {
    let stack = stack().await;
    connect(&stack, "huge", &[]).await;
    let body = event(&"x".repeat(7_000_000));
    publish(&stack, "huge", &body).await;
    stack.qstash.idle().await;
    assert_eq!(stack.qstash.dlq_len(), 2, "the event, and the callback that was too large as well");
    operate(&stack, json!({"command": "sweep"})).await;
    let letter = letters(&stack).await.remove(0);
    assert_eq!((letter["status"].as_u64(), letter["size"].as_u64()), (Some(413), Some(body.len() as u64)));
    assert_eq!(stack.qstash.dlq_len(), 0);
}

#[tokio::test]
async fn the_endpoint_that_is_not_ours_is_buried_and_replayed_like_ours() {
    let stack = stack().await;
    let other = format!("{}/other", stack.receiver.url);
    connect(&stack, "foreign", &[other]).await;
    stack.receiver.react(|received| Reaction::status(if received.path == "/other" { 410 } else { 200 }));
    let body = event("foreign");
    publish(&stack, "foreign", &body).await;
    stack.qstash.idle().await;
    let letter = letters(&stack).await.remove(0);
    assert_eq!((letter["status"].as_u64(), letter["source"].as_str()), (Some(410), Some("")));
    stack.receiver.react(|_| Reaction::status(200));
    operate(&stack, json!({"command": "replay", "selection": {"all": true}})).await;
    stack.qstash.idle().await;
    let of = |path: &str| received(&stack, &body).iter().filter(|r| r.path == path && r.status == 200).count();
    assert_eq!((of("/other"), of("/shop"), letters(&stack).await.len()), (1, 1, 0));
}

/// The first failed callback of a message buries it.
fn burying(stack: &Stack) -> FailurePath {
    FailurePath {
        store: stack.store(),
        qstash: qstash(stack).into(),
        bases: vec![url(&stack.function_url("consumer"))],
        policy: RetryPolicy { rounds: 0, ..RetryPolicy::default() },
        retention: std::time::Duration::from_secs(14 * 86_400),
    }
}

#[tokio::test]
async fn a_callback_is_decided_by_the_routes_of_its_moment_and_reads_them_only_where_they_have_changed() {
    let stack = quiet_stack().await;
    let large = format!(
        "[[route]]\nname = \"large\"\nsource = \"payload\"\nurl = \"{}/large\"\nheaders = {{ x-long = \"{}\" }}\n",
        stack.receiver.url,
        "x".repeat(50_000)
    );
    apply(&stack, &large).await;
    qstash(&stack).add_endpoints("typed", &[stack.function_url("consumer/github")]).await.unwrap();
    for id in 1..=4 {
        publish(&stack, "typed", &format!("{{\"id\":{id},\"action\":\"opened\"}}")).await;
    }
    stack.qstash.idle().await;
    let store = stack.store().metered();
    let requeuer = requeuer(&stack, burying(&stack), store.clone());
    let start = moment();
    let units_of_a_callback = async |seconds: i64| {
        let before = store.capacity().read;
        let moment = Moment { now: start.now + seconds * 1_000, ..moment() };
        let answer = call_back_at(&requeuer, &stack, &callback(&stack).await, moment).await;
        assert_eq!(answer.outcome, Outcome::Buried);
        store.capacity().read - before
    };
    let whole = units_of_a_callback(0).await;
    assert!(whole > 10.0, "{whole} units");
    assert_eq!(units_of_a_callback(0).await, 0.0, "at most once a second");
    assert_eq!(units_of_a_callback(2).await, 1.0, "only their version");
    let github = "[[source]]\nname = \"github\"\nidentity = \"/id\"\nevent_type = \"/action\"\n";
    apply(&stack, &(large + github)).await;
    let changed = units_of_a_callback(4).await;
    assert!(changed > 1.0 + 10.0, "{changed} units");
    let all = letters(&stack).await;
    let typed = all.iter().filter(|letter| letter["eventType"] == "opened").count();
    assert_eq!((all.len(), typed), (4, 1), "the last was named by the new routes: {all:?}");
}
