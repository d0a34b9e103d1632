//! Handled once: copies, crashes, capacity, bytes.

use std::time::Duration;

use futures::future::join_all;
use surehook::{ledger::Status, web::Outcome};
use surehook_consumer::{Attempt, Effects, Event, Handler, HandlerError};
use surehook_local::{StackOptions, receiver::Reaction, strapi::captures};

use crate::support::{
    accepted, connect,
    consumer::{consumer, incoming, moment, with_handler},
    deliver, event, key, options, post, publish, received, record, signature, stack, stack_with, until,
};

#[tokio::test]
async fn of_32_copies_of_one_delivery_one_runs_the_handler() {
    let stack = stack_with(StackOptions { concurrency: 8, ..options() }).await;
    stack.receiver.react(|_| Reaction::status(200).after(Duration::from_millis(200)));
    let body = event("copies");
    let url = stack.function_url("consumer/strapi");
    let token = signature(&stack, &url, body.as_bytes());
    let answers = join_all((0..32).map(|_| post(&url, Some(token.clone()), body.as_bytes()))).await;
    let count = |status, word| answers.iter().filter(|a| (a.status, a.word()) == (status, word)).count();
    assert_eq!(count(200, "processed"), 1);
    assert_eq!(count(200, "duplicate") + count(409, "in-progress"), 31);
    assert_eq!(received(&stack, &body).len(), 1);
    for answer in join_all((0..32).map(|_| post(&url, Some(token.clone()), body.as_bytes()))).await {
        assert_eq!((answer.status, answer.word()), (200, "duplicate"));
    }
}

#[tokio::test]
async fn an_event_whose_worker_is_killed_is_handled_after_the_lease() {
    let short = [("HANDLER_TIMEOUT".to_owned(), "1s".to_owned())];
    let stack = stack_with(StackOptions { environment: short.into(), ..options() }).await;
    connect(&stack, "killed", &[]).await;
    let body = event("killed");
    stack.receiver.react(|received| match received.number {
        0 => Reaction::status(503).after(Duration::from_secs(5)),
        _ => Reaction::status(200),
    });
    publish(&stack, "killed", &body).await;
    until("the first delivery", || async { !received(&stack, &body).is_empty() }).await;
    assert_eq!(stack.function("consumer").unwrap().kill_busy(|_| true), 1);
    stack.qstash.idle().await;
    let record = record(&stack, &body).await.unwrap();
    assert_eq!((record.status, record.attempts, record.fence), (Status::Done, 2, 2));
    assert_eq!(accepted(&stack, &body), 1);
    let ids: Vec<_> = received(&stack, &body).iter().map(|r| r.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids[0], ids[1], "the destination can tell that it is the same event");
}

#[tokio::test]
async fn a_handler_that_outlives_the_function_is_cut_off_and_retried() {
    let limits = StackOptions { time_limit: Duration::from_secs(2), ..options() };
    let stack = stack_with(limits).await;
    let body = event("slow");
    stack.receiver.react(|_| Reaction::status(200).after(Duration::from_secs(20)));
    let answer = deliver(&stack, "/strapi", body.as_bytes()).await;
    assert_eq!((answer.status, answer.word()), (503, "transient-failure"), "answered before Lambda's limit");
    assert_eq!(record(&stack, &body).await.unwrap().status, Status::Retryable);
}

#[tokio::test]
async fn a_destination_that_accepted_is_not_asked_again_when_another_hangs() {
    let short = [("HANDLER_TIMEOUT".to_owned(), "1s".to_owned())];
    let stack = stack_with(StackOptions { environment: short.into(), ..options() }).await;
    let route = |name: &str| {
        format!("[[route]]\nname = \"{name}\"\nsource = \"strapi\"\nurl = \"{}/{name}\"\n", stack.receiver.url)
    };
    crate::support::apply(&stack, &(route("quick") + &route("hangs"))).await;
    stack.receiver.react(|received| match received.path.as_str() {
        "/hangs" if received.number < 2 => Reaction::status(200).after(Duration::from_secs(20)),
        _ => Reaction::status(200),
    });
    let body = event("hangs");
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "transient-failure");
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "processed");
    let paths: Vec<String> = received(&stack, &body).into_iter().map(|received| received.path).collect();
    assert_eq!(paths.iter().filter(|path| *path == "/quick").count(), 1, "{paths:?}");
    assert_eq!(paths.iter().filter(|path| *path == "/hangs").count(), 2, "{paths:?}");
}

#[tokio::test]
async fn every_capture_arrives_with_its_bytes_unchanged() {
    let stack = stack().await;
    connect(&stack, "strapi.all", &[]).await;
    crate::support::apply(
        &stack,
        &format!("[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"{}/shop\"", stack.receiver.url),
    )
    .await;
    let captures = captures();
    for capture in &captures {
        publish(&stack, "strapi.all", &capture.body).await;
    }
    stack.qstash.idle().await;
    let mut sent: Vec<String> = captures.iter().map(|capture| capture.digest()).collect();
    let mut arrived: Vec<String> = stack.receiver.received().into_iter().map(|received| received.body_sha256).collect();
    sent.sort();
    arrived.sort();
    assert_eq!(arrived, sent);
    assert!(captures.iter().any(|capture| capture.body.len() > 120_000));
}

#[tokio::test]
async fn bodies_that_are_not_text_arrive_unchanged_too() {
    let stack = stack().await;
    let document = format!(
        "[[source]]\nname = \"bin\"\nidentity = \"body\"\n[[route]]\nname = \"b\"\nsource = \"bin\"\nurl = \"{}/b\"",
        stack.receiver.url
    );
    crate::support::apply(&stack, &document).await;
    let body: Vec<u8> = (0..=255).collect();
    let url = stack.function_url("consumer/bin");
    let answer = post(&url, Some(signature(&stack, &url, &body)), &body).await;
    assert_eq!(answer.word(), "processed", "{answer:?}");
    assert_eq!(stack.receiver.received()[0].body, body);
}

#[tokio::test]
async fn one_delivery_costs_two_write_units_no_read_units_and_under_a_kilobyte() {
    let stack = stack().await;
    let store = stack.store().metered();
    let consumer = consumer(&stack, store.clone()).await;
    let body = captures().into_iter().find(|capture| capture.body.len() > 120_000).unwrap().body;
    let answer = consumer.call(incoming(&stack, &body), moment()).await;
    assert_eq!(answer.outcome, Outcome::Processed);
    let capacity = store.capacity();
    assert_eq!((capacity.written, capacity.read), (2.0, 0.0));
    let size = store.record_size(&key(&stack, &body)).await.unwrap();
    assert!((1..1_024).contains(&size), "{size} bytes");
}

/// A handler that has a defect.
struct Panicking;

impl Handler for Panicking {
    async fn handle(&self, _: &Event, _: &Attempt) -> Result<Effects, HandlerError> {
        panic!("a defect of the handler")
    }
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_transient_failure() {
    let stack = stack().await;
    let consumer = with_handler(consumer(&stack, stack.store()).await, Panicking);
    let body = event("panic");
    let answer = consumer.call(incoming(&stack, &body), moment()).await;
    assert_eq!(answer.outcome, Outcome::TransientFailure(None));
    let record = record(&stack, &body).await.unwrap();
    assert_eq!((record.status, record.history.len()), (Status::Retryable, 1));
}
