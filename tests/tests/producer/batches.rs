//! Several events in one request, an outcome for each.

use serde_json::{Value, json};
use surehook_local::stack::PRODUCER_TOKEN;

use super::{bearer, order_of, post, producer};
use crate::support::{
    consumer::moment,
    fuse::store_at,
    proxy::{Proxy, Verdict},
    qstash, stack,
};

fn item(id: &str) -> Value {
    json!({"id": id, "eventType": "order.paid", "data": {"id": id}})
}

#[tokio::test]
async fn each_event_of_an_array_and_of_lines_arrives() {
    let stack = stack().await;
    qstash(&stack).add_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
    let array = json!([item("a-1"), item("a-2")]).to_string();
    let lines = format!("{}\n{}\n", item("l-1"), item("l-2"));
    let ndjson = ("content-type".to_owned(), "application/x-ndjson".to_owned());
    for (headers, body) in [(vec![bearer(PRODUCER_TOKEN)], array), (vec![bearer(PRODUCER_TOKEN), ndjson], lines)] {
        let answer = post(&stack, "orders", &headers, body).await;
        assert_eq!((answer.status, answer.word()), (202, "accepted"), "{answer:?}");
        for event in answer.body["events"].as_array().unwrap() {
            assert_eq!((event["code"].as_u64(), event["status"].as_str()), (Some(202), Some("accepted")));
            assert!(event["messageId"].as_str().unwrap().starts_with("msg_") && event["id"].is_string());
        }
    }
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 4);
}

#[tokio::test]
async fn one_bad_event_keeps_its_batch_out_and_is_named() {
    let stack = stack().await;
    qstash(&stack).add_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
    let body = json!([item("a-1"), {"data": 1}, item("a-1")]).to_string();
    let answer = post(&stack, "orders", &[bearer(PRODUCER_TOKEN)], body).await;
    assert_eq!((answer.status, answer.word()), (400, "refused"), "{answer:?}");
    let told: Vec<(u64, &str)> = answer.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["code"].as_u64().unwrap(), event["status"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(424, "not-taken"), (400, "bad-request"), (400, "bad-request")]);
    stack.qstash.idle().await;
    assert!(stack.receiver.received().is_empty());
}

/// QStash takes some, and neither it nor the outbox the others: the sender is told which, and sends all again.
#[tokio::test]
async fn what_can_not_be_made_durable_is_told_apart_from_what_was() {
    let stack = stack().await;
    qstash(&stack).add_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
    let limited = Proxy::start(&stack.qstash.url, {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Verdict::Pass,
            _ => Verdict::Answer(429, "{}"),
        }
    });
    let outbox = Proxy::start(&stack.dynamo.url, |request| {
        if crate::support::proxy::calls(request, "PutItem") {
            Verdict::Answer(400, "{\"__type\":\"ProvisionedThroughputExceededException\"}")
        } else {
            Verdict::Pass
        }
    });
    let store = store_at(&outbox.url);
    let batch = json!([item("b-1"), item("b-2"), item("b-3")]);
    let answer = producer(&limited.url, store, std::time::Duration::from_secs(30))
        .call(order_of("key", &batch), moment(), "fresh".into())
        .await;
    let body: Value = serde_json::from_str(&answer.body()).unwrap();
    let codes: Vec<u64> =
        body["events"].as_array().unwrap().iter().map(|event| event["code"].as_u64().unwrap()).collect();
    assert_eq!((answer.status(), answer.outcome.word()), (503, "partly-accepted"), "{body}");
    assert_eq!((codes.iter().filter(|code| **code == 202).count(), codes.len()), (1, 3), "{body}");
    assert!(answer.headers().contains_key("retry-after"));
    let again = producer(&stack.qstash.url, stack.store(), std::time::Duration::from_secs(30));
    assert_eq!(again.call(order_of("key", &batch), moment(), "fresh".into()).await.status(), 202);
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 3, "what was taken before is not doubled");
}
