//! The producer: accepted means durable.

use serde_json::json;
use surehook::{ledger::Status, store::dynamodb::types::AttributeValue};
use surehook_local::{
    Stack, StackOptions,
    qstash::Fault,
    stack::{PRODUCER_TOKEN, TABLE},
};

use crate::support::{Answered, answered, operate, options, qstash, stack_with};

async fn send(stack: &Stack, topic: &str, id: Option<&str>, body: &str) -> Answered {
    let url = format!("{}/{topic}", stack.function_url("producer"));
    let mut request = reqwest::Client::new().post(url).bearer_auth(PRODUCER_TOKEN).body(body.to_owned());
    if let Some(id) = id {
        request = request.header("idempotency-key", id);
    }
    answered(request.header("content-type", "application/json").send().await.unwrap()).await
}

async fn connected() -> Stack {
    let environment = vec![("TOPICS".to_owned(), "orders,nobody".to_owned())];
    let stack = stack_with(StackOptions { environment, ..options() }).await;
    let endpoint = stack.function_url("consumer/payload");
    qstash(&stack).add_endpoints("orders", &[endpoint]).await.unwrap();
    stack
}

const EVENT: &str = r#"{"eventType":"order.created","data":{"n": 1.00}}"#;

#[tokio::test]
async fn an_accepted_event_arrives_with_its_data_unchanged() {
    let stack = connected().await;
    let answer = send(&stack, "orders", Some("o-1"), EVENT).await;
    assert_eq!((answer.status, answer.word(), answer.body["id"].as_str()), (202, "accepted", Some("o-1")));
    assert!(answer.body["messageId"].as_str().unwrap().starts_with("msg_"));
    stack.qstash.idle().await;
    let received = stack.receiver.received();
    assert_eq!((received.len(), received[0].path.as_str()), (1, "/warehouse"));
    let body = std::str::from_utf8(&received[0].body).unwrap();
    assert!(body.contains(r#""data":{"n": 1.00}"#) && body.contains(r#""id":"o-1""#), "{body}");
}

#[tokio::test]
async fn a_senders_retry_is_the_same_event() {
    let stack = connected().await;
    for _ in 0..3 {
        assert_eq!(send(&stack, "orders", Some("o-2"), EVENT).await.status, 202);
    }
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 1);
}

#[tokio::test]
async fn while_qstash_is_away_the_outbox_keeps_events_and_the_sweep_publishes_them() {
    let stack = connected().await;
    stack.qstash.set_faults(&[Fault::Away]);
    let answer = send(&stack, "orders", Some("o-3"), EVENT).await;
    assert_eq!((answer.status, answer.body["id"].as_str(), answer.body.get("messageId")), (202, Some("o-3"), None));
    assert!(stack.receiver.received().is_empty());
    stack.qstash.set_faults(&[]);
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(swept["swept"]["published"], 1, "{swept}");
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 1);
    assert_eq!(operate(&stack, json!({"command": "sweep"})).await["swept"]["published"], 0);
}

#[tokio::test]
async fn while_both_are_away_the_sender_keeps_the_event() {
    let mut stack = connected().await;
    stack.qstash.set_faults(&[Fault::Away]);
    stack.dynamo.cut_off();
    let answer = send(&stack, "orders", None, EVENT).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn what_can_not_be_accepted_is_refused_with_a_sentence() {
    let stack = connected().await;
    for (topic, body, status, part) in [
        ("orders", "not json", 400, "eventType"),
        ("orders", r#"{"data":1}"#, 400, "eventType"),
        ("unknown", EVENT, 404, "unknown"),
        ("..%2Fdlq", EVENT, 404, "TOPICS"),
    ] {
        let answer = send(&stack, topic, None, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body["detail"].as_str().unwrap().contains(part), "{answer:?}");
    }
    assert!(stack.receiver.received().is_empty());
}

#[tokio::test]
async fn strangers_and_other_methods_are_refused() {
    let stack = connected().await;
    let url = format!("{}/orders", stack.function_url("producer"));
    let client = reqwest::Client::new();
    assert_eq!(client.post(&url).body(EVENT).send().await.unwrap().status(), 401);
    assert_eq!(client.post(&url).bearer_auth("wrong").body(EVENT).send().await.unwrap().status(), 401);
    assert_eq!(client.get(&url).bearer_auth(PRODUCER_TOKEN).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_topic_without_endpoints_does_not_hold_up_the_outbox() {
    let stack = connected().await;
    for number in 0..40 {
        let topic = if number % 2 == 0 { "nobody" } else { "orders" };
        let row = surehook::store::outbox::OutboxRow {
            id: format!("row-{number}"),
            at: number,
            topic: topic.into(),
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: json!({"id": number.to_string(), "topic": topic, "eventType": "a", "data": 1}).to_string().into(),
        };
        stack.store().put_outbox(&row).await.unwrap();
    }
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!((swept["swept"]["published"].as_u64(), swept["swept"]["outboxLeft"].as_u64()), (Some(20), Some(20)));
    assert_eq!(swept["swept"]["heldTopics"], 1, "{swept}");
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 20);
}

#[tokio::test]
async fn an_id_that_is_used_again_for_something_else_is_kept_as_a_conflict() {
    let stack = connected().await;
    let headers = json!({"Upstash-Failure-Callback": stack.function_url("requeuer")});
    qstash(&stack).set_default_headers("orders", &headers).await.unwrap();
    for data in [1, 2] {
        let body = json!({"eventType": "a", "data": data}).to_string();
        assert_eq!(send(&stack, "orders", Some("same"), &body).await.status, 202);
        stack.qstash.idle().await;
    }
    assert_eq!((stack.receiver.received().len(), crate::support::letters(&stack).await.len()), (1, 1));
}

#[tokio::test]
async fn an_outbox_row_that_qstash_refuses_for_good_becomes_a_dead_letter() {
    let stack = connected().await;
    let row = surehook::store::outbox::OutboxRow {
        id: "o-4".into(),
        at: 1,
        topic: "orders".into(),
        headers: vec![("Upstash-Retries".into(), "many".into())],
        body: EVENT.into(),
    };
    stack.store().put_outbox(&row).await.unwrap();
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(swept["swept"]["outboxBuried"], 1, "{swept}");
    let letters = crate::support::letters(&stack).await;
    assert_eq!(letters[0]["reason"], "refused-by-qstash");
    let (key, _) = surehook::ledger::DeadLetter::parse_id(letters[0]["id"].as_str().unwrap()).unwrap();
    assert_eq!(stack.store().record(&key).await.unwrap().unwrap().status, Status::Dead);
}

#[tokio::test]
async fn rows_that_can_not_be_read_or_share_an_id_do_not_hold_up_the_outbox() {
    let stack = connected().await;
    let row = |at, retries: &str, data: u32| surehook::store::outbox::OutboxRow {
        id: "same".into(),
        at,
        topic: "orders".into(),
        headers: vec![("Upstash-Retries".into(), retries.into())],
        body: json!({"id": "same", "topic": "orders", "eventType": "a", "data": data}).to_string().into(),
    };
    let rows = [row(1, "many", 1), row(2, "many", 2), row(3, "1", 3)];
    for row in &rows {
        stack.store().put_outbox(row).await.unwrap();
    }
    let text = |text: &str| AttributeValue::S(text.into());
    for shard in 0..surehook::store::SHARDS {
        let request = stack.dynamo.client().put_item().table_name(TABLE).item("pk", text(&format!("outbox#{shard}")));
        request.item("sk", text("0000000000000#broken")).send().await.unwrap();
    }
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    let count = |name: &str| swept["swept"][name].as_u64().unwrap();
    assert_eq!((count("outboxBuried"), count("published")), (2, 1), "{swept}");
    assert_eq!((count("failed"), count("outboxLeft")), (8, 8), "the broken ones are told and kept: {swept}");
    assert_eq!(crate::support::letters(&stack).await.len(), 2);
}
