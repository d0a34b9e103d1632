//! The QStash server keeps to the protocol, as far as the main job needs it.

use std::time::Duration;

use serde_json::{Value, json};
use surehook_local::{
    Stack, StackOptions,
    qstash::{State, TOKEN},
    receiver::Reaction,
};

use crate::support::{Answered, answered, event, options, qstash};

/// A stack without functions: QStash and a receiver.
async fn bare() -> Stack {
    Stack::start(StackOptions { program: None, ..options() }).await.unwrap()
}

async fn call(stack: &Stack, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
    let url = format!("{}{path}", stack.qstash.url);
    let mut request = reqwest::Client::new().request(method.parse().unwrap(), url).bearer_auth(TOKEN);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answered(request.body(body.to_owned()).send().await.unwrap()).await
}

async fn publish(stack: &Stack, headers: &[(&str, &str)], body: &str) -> Answered {
    let path = format!("/v2/publish/{}/in?a=1&upstash-label=x&b=2", stack.receiver.url);
    call(stack, "POST", &path, headers, body).await
}

#[tokio::test]
async fn a_url_gets_the_bytes_headers_and_query_that_were_published() {
    let stack = bare().await;
    let headers = [("Content-Type", "application/x-own"), ("Upstash-Forward-X-Own", "1"), ("X-Other", "2")];
    let answer = publish(&stack, &headers, "body").await;
    assert_eq!(answer.status, 201);
    stack.qstash.idle().await;
    let received = stack.receiver.received().remove(0);
    assert_eq!((received.path.as_str(), &received.body[..]), ("/in?a=1&b=2", &b"body"[..]));
    assert_eq!((received.header("content-type"), received.header("x-own")), (Some("application/x-own"), Some("1")));
    assert_eq!(received.header("x-other"), None);
    assert_eq!(received.header("upstash-message-id"), answer.body["messageId"].as_str());
    assert!(received.header("upstash-signature").is_some());
}

#[tokio::test]
async fn the_old_version_of_the_publish_call_is_accepted_too() {
    let stack = bare().await;
    qstash(&stack).add_endpoints("t", &[format!("{}/t", stack.receiver.url)]).await.unwrap();
    let answer = call(&stack, "POST", "/v1/publish/t", &[], "x").await;
    assert!(answer.body[0]["messageId"].is_string(), "a topic is answered with an array");
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received()[0].header("upstash-topic-name"), Some("t"));
}

#[tokio::test]
async fn bad_calls_are_refused_as_the_real_one_refuses_them() {
    let stack = bare().await;
    let encoded = call(&stack, "POST", "/v2/publish/https%3A%2F%2Fh.example%2F", &[], "").await;
    assert_eq!(encoded.status, 400);
    assert!(encoded.body["error"].as_str().unwrap().contains("invalid scheme"));
    assert_eq!(call(&stack, "POST", "/v2/publish/nobody", &[], "").await.status, 404);
    assert_eq!(publish(&stack, &[("Upstash-Delay", "soon")], "").await.status, 400);
    assert_eq!(call(&stack, "DELETE", "/v2/dlq/", &[], "").await.status, 400);
    let url = format!("{}/v2/keys", stack.qstash.url);
    assert_eq!(reqwest::Client::new().get(url).bearer_auth("wrong").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn failed_attempts_are_repeated_as_often_as_asked_and_no_more() {
    let stack = bare().await;
    stack.receiver.react(|_| Reaction::status(500));
    publish(&stack, &[("Upstash-Retries", "2")], "x").await;
    stack.qstash.idle().await;
    let retried: Vec<_> = stack
        .receiver
        .received()
        .iter()
        .map(|received| received.header("upstash-retried").unwrap().to_owned())
        .collect();
    assert_eq!(retried, ["0", "1", "2"]);
    assert_eq!(stack.qstash.dlq_len(), 1);
}

#[tokio::test]
async fn the_non_retryable_pair_ends_in_the_dead_letter_queue_at_once() {
    let stack = bare().await;
    stack.receiver.react(|_| Reaction::status(489));
    publish(&stack, &[("Upstash-Retries", "1")], "x").await;
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 2, "the status alone is not enough");
}

#[tokio::test]
async fn retry_after_beats_the_backoff() {
    let stack = Stack::start(StackOptions { program: None, speed: 1.0, ..options() }).await.unwrap();
    stack.receiver.react(|received| Reaction {
        status: if received.number == 0 { 503 } else { 200 },
        retry_after: Some(0),
        ..Reaction::default()
    });
    let mut news = stack.qstash.news();
    publish(&stack, &[], "x").await;
    stack.qstash.idle().await;
    let mut waits = Vec::new();
    while let Ok(news) = news.try_recv() {
        if let State::Retry { wait, .. } = news.state {
            waits.push(wait);
        }
    }
    assert_eq!(waits, [Duration::ZERO], "and not the 12 s of the backoff");
}

#[tokio::test]
async fn a_deduplication_id_is_delivered_once() {
    let stack = bare().await;
    let id = [("Upstash-Deduplication-Id", "one")];
    let first = publish(&stack, &id, "x").await;
    let second = publish(&stack, &id, "x").await;
    assert_eq!((second.status, second.body["deduplicated"].as_bool()), (202, Some(true)));
    assert_eq!(second.body["messageId"], first.body["messageId"]);
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 1);
}

#[tokio::test]
async fn entries_can_be_listed_read_used_once_and_deleted() {
    let stack = bare().await;
    stack.receiver.react(|received| Reaction::status(if received.number < 3 { 500 } else { 200 }).saying("why"));
    for name in ["a", "b", "c"] {
        publish(&stack, &[("Upstash-Retries", "0"), ("Upstash-Forward-X", name)], &event(name)).await;
        stack.qstash.idle().await;
    }
    let client = qstash(&stack);
    let page = client.dlq_page(None, 2, usize::MAX).await.unwrap();
    let rest = client.dlq_page(page.cursor.as_deref(), 2, usize::MAX).await.unwrap();
    assert_eq!((page.messages.len(), rest.messages.len(), rest.cursor), (2, 1, None));
    let listed: Vec<_> = page.entries().map(Result::unwrap).collect();
    let entry = client.dlq_entry(&listed[0].dlq_id).await.unwrap();
    assert_eq!((entry.status(), entry.response_body().as_slice(), entry.header("x")), (500, &b"why"[..], Some("a")));
    assert_eq!(entry.body().unwrap(), event("a").as_bytes());

    let over = [("Upstash-Forward-Y".to_owned(), "2".to_owned())];
    client.dlq_retry(&entry.dlq_id, &over).await.unwrap();
    assert!(client.dlq_retry(&entry.dlq_id, &over).await.is_err(), "an entry can be used once");
    stack.qstash.idle().await;
    let again = stack.receiver.received().pop().unwrap();
    assert_eq!((again.header("x"), again.header("y")), (Some("a"), Some("2")));
    assert_ne!(again.header("upstash-message-id"), Some(entry.message_id.as_str()));

    client.dlq_delete(&listed[1].dlq_id).await.unwrap();
    client.dlq_delete(&listed[1].dlq_id).await.unwrap();
    assert_eq!(stack.qstash.dlq_len(), 1);
}

#[tokio::test]
async fn default_headers_of_a_topic_serve_where_the_call_says_nothing() {
    let stack = bare().await;
    stack.receiver.react(|_| Reaction::status(500));
    let client = qstash(&stack);
    client.add_endpoints("t", &[format!("{}/t", stack.receiver.url)]).await.unwrap();
    client.set_default_headers("t", &json!({"Upstash-Retries": "0"})).await.unwrap();
    call(&stack, "POST", "/v2/publish/t", &[], "x").await;
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 1);
    call(&stack, "POST", "/v2/publish/t", &[("Upstash-Retries", "1")], "x").await;
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 3);
}

#[tokio::test]
async fn rotating_keys_makes_the_next_one_current() {
    let stack = bare().await;
    let (_, next) = stack.qstash.keys();
    let rotated = call(&stack, "POST", "/v2/keys/rotate", &[], "").await;
    assert_eq!(rotated.body["current"], Value::String(next));
}
