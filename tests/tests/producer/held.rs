//! Topics without endpoints: their events are stored, QStash is asked once per topic, and what waits too long is dead-lettered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use surehook::{
    outside,
    store::{
        held::{Hold, MAX_HELD},
        outbox::OutboxRow,
    },
    web::Outcome,
};
use surehook_dlq_processor::reply::Sweep;
use surehook_local::{Stack, stack::TABLE};

use super::{order, producer};
use crate::support::{
    consumer::moment,
    fuse::store_at,
    letters, operate,
    proxy::{Proxy, Verdict, calls},
    qstash, stack,
};

const DAY: i64 = 86_400_000;

fn row(number: i64, at: i64) -> OutboxRow {
    let id = format!("row-{number}");
    OutboxRow {
        body: json!({"id": id, "topic": "orders", "eventType": "a", "data": number}).to_string().into(),
        headers: vec![("Content-Type".into(), "application/json".into())],
        topic: "orders".into(),
        at,
        id,
    }
}

async fn add_endpoint(stack: &Stack) {
    qstash(stack).add_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
}

async fn sweep(stack: &Stack) -> Sweep {
    let swept = operate(stack, json!({"command": "sweep"})).await;
    serde_json::from_value(swept["swept"].clone()).unwrap()
}

async fn held(stack: &Stack) -> Vec<(String, u64)> {
    let topics = stack.store().held_topics().await.unwrap();
    topics.into_iter().map(|topic| (topic.name, topic.rows)).collect()
}

/// Named after a defect: the sender got 400 for a mistake of the operator, and GitHub and Strapi never send such an event again.
#[tokio::test]
async fn an_event_of_a_topic_without_endpoints_is_accepted_and_arrives_when_it_has_one() {
    let stack = stack().await;
    let producer = producer(&stack.qstash.url, stack.store(), Duration::from_secs(30));
    for id in ["o-1", "o-2", "o-3"] {
        let answer = producer.call(order(id), moment(), "fresh".into()).await;
        assert_eq!((answer.status(), answer.outcome), (202, Outcome::Accepted { message_ids: Vec::new() }));
    }
    assert_eq!(held(&stack).await, [("orders".to_owned(), 3)]);
    let swept = sweep(&stack).await;
    assert_eq!((swept.held_topics, swept.outbox_left, swept.published, swept.failed), (1, 3, 0, 0), "{swept:?}");
    assert!(swept.left.iter().any(|left| left.contains("orders") && left.contains("no endpoints")), "{swept:?}");
    add_endpoint(&stack).await;
    let swept = sweep(&stack).await;
    assert_eq!((swept.held_topics, swept.outbox_left, swept.published), (0, 0, 3), "{swept:?}");
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 3);
    assert_eq!(held(&stack).await, []);
}

#[tokio::test]
async fn qstash_is_asked_once_for_a_held_topic_however_many_rows_it_has() {
    let stack = stack().await;
    for number in 0..60 {
        assert_eq!(stack.store().hold(&row(number, outside::now())).await.unwrap(), Hold::Held);
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let proxy = Proxy::start(&stack.qstash.url, move |request| {
        seen.fetch_add(usize::from(request.uri().path().contains("publish")), Ordering::SeqCst);
        Verdict::Pass
    });
    let fuse = crate::support::fuse::Fuse::new(&stack);
    let mut processor = crate::support::processor(&stack, &fuse);
    processor.path.qstash = crate::support::qstash_at(&proxy.url).into();
    let swept = processor.sweep(moment(), 0.5).await.unwrap();
    assert_eq!((swept.outbox_left, asked.swap(0, Ordering::SeqCst)), (60, 1), "{swept:?}");
    add_endpoint(&stack).await;
    let swept = processor.sweep(moment(), 0.5).await.unwrap();
    assert_eq!((swept.published, swept.outbox_left, asked.load(Ordering::SeqCst)), (60, 0, 60), "{swept:?}");
}

/// Rows that were stored while QStash was unavailable, before anybody knew that their topic has no endpoints.
#[tokio::test]
async fn rows_of_the_outbox_are_moved_under_their_topic_when_it_is_found_without_endpoints() {
    let stack = stack().await;
    for number in 0..40 {
        stack.store().put_outbox(&row(number, outside::now())).await.unwrap();
    }
    assert_eq!((sweep(&stack).await.outbox_left, held(&stack).await), (40, vec![("orders".to_owned(), 40)]));
    add_endpoint(&stack).await;
    let swept = sweep(&stack).await;
    assert_eq!((swept.published, held(&stack).await.len()), (40, 0), "{swept:?}");
}

#[tokio::test]
async fn what_is_held_longer_than_retries_last_becomes_a_dead_letter_that_can_be_replayed() {
    let stack = stack().await;
    let now = outside::now();
    for (number, at) in [(1, now - 30 * DAY), (2, now - 29 * DAY), (3, now)] {
        stack.store().hold(&row(number, at)).await.unwrap();
    }
    let swept = sweep(&stack).await;
    assert_eq!((swept.outbox_buried, held(&stack).await), (2, vec![("orders".to_owned(), 1)]), "{swept:?}");
    let reasons: Vec<_> = letters(&stack).await.iter().map(|letter| letter["reason"].clone()).collect();
    assert_eq!(reasons, ["no-endpoints", "no-endpoints"]);
    add_endpoint(&stack).await;
    let done = operate(&stack, json!({"command": "replay", "selection": {"filter": {"reason": "no-endpoints"}}})).await;
    assert_eq!(done["replayed"]["ids"].as_array().unwrap().len(), 2, "{done}");
    stack.qstash.idle().await;
    assert_eq!((stack.receiver.received().len(), letters(&stack).await.len()), (2, 0));
}

#[tokio::test]
async fn a_sender_keeps_its_events_while_too_many_of_its_topic_are_held() {
    let stack = stack().await;
    let max = i64::try_from(MAX_HELD).unwrap();
    stack.store().count_held("orders", max - 1).await.unwrap();
    let producer = producer(&stack.qstash.url, stack.store(), Duration::from_secs(30));
    let post = async |id| producer.call(order(id), moment(), "fresh".into()).await;
    assert_eq!(post("the last").await.status(), 202);
    let answer = post("one too many").await;
    assert_eq!((answer.status(), answer.outcome.word()), (503, "topic-full"));
    assert!(answer.headers().contains_key("retry-after") && answer.body().contains("no endpoints"));
    add_endpoint(&stack).await;
    assert_eq!(post("with an endpoint").await.status(), 202);
}

#[tokio::test]
async fn an_event_that_can_not_be_held_stays_with_its_sender() {
    let stack = stack().await;
    for operation in ["GetItem", "PutItem", "UpdateItem"] {
        let table = Proxy::start(&stack.dynamo.url, move |request| match calls(request, operation) {
            true => Verdict::Answer(500, r#"{"__type":"InternalServerError"}"#),
            false => Verdict::Pass,
        });
        let producer = producer(&stack.qstash.url, store_at(&table.url), Duration::from_secs(30));
        let answer = producer.call(order(operation), moment(), "fresh".into()).await;
        assert_eq!((answer.status(), answer.outcome.word()), (503, "store-away"), "{operation}");
    }
}

/// A topic that is removed from the list although it has a row would never be looked at again.
#[tokio::test]
async fn a_row_that_comes_while_its_topic_is_removed_from_the_list_is_not_forgotten() {
    let stack = stack().await;
    let store = stack.store();
    store.count_held("orders", 1).await.unwrap();
    let topic = store.held_topics().await.unwrap().remove(0);
    let proxy = Proxy::start(&stack.dynamo.url, |request| match calls(request, "DeleteItem") {
        true => Verdict::Hold,
        false => Verdict::Pass,
    });
    let late = store_at(&proxy.url);
    let (closed, _) = tokio::join!(late.close_held(&topic), async {
        proxy.gate.holds_one().await;
        store.hold(&row(1, 1)).await.unwrap();
        proxy.gate.open();
    });
    closed.unwrap();
    assert_eq!(held(&stack).await, [("orders".to_owned(), 2)], "the list says too many, and is corrected later");
    add_endpoint(&stack).await;
    assert_eq!(sweep(&stack).await.published, 1);
    sweep(&stack).await;
    assert_eq!(held(&stack).await, []);
}

/// A row that can't be read is reported, and those behind it are published.
#[tokio::test]
async fn a_held_row_that_can_not_be_read_does_not_hide_the_others() {
    let stack = stack().await;
    add_endpoint(&stack).await;
    stack.store().hold(&row(1, outside::now())).await.unwrap();
    let text = |text: &str| surehook::store::dynamodb::types::AttributeValue::S(text.into());
    let request = stack.dynamo.client().put_item().table_name(TABLE).item("pk", text("outbox-held#orders"));
    request.item("sk", text("0000000000000#broken")).send().await.unwrap();
    let swept = sweep(&stack).await;
    assert_eq!((swept.published, swept.failed), (1, 1), "{swept:?}");
    assert_eq!(held(&stack).await.len(), 1, "it stays listed, and is reported again");
}
