//! `complete_with`: a handler's own writes stand exactly if the event is done.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{StreamExt, stream};
use serde_json::json;
use surehook::{
    identity::{Delivered, Endpoint, EventKey, Identity, identify},
    ledger::{Record, Refused, Status},
    store::{
        CommitError, Writes, WritesError,
        dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update},
    },
    web::Outcome,
};
use surehook_consumer::{Attempt, Effects, Event, Handler, HandlerError};
use surehook_local::{Stack, StackOptions, stack::TABLE};

use crate::support::{
    consumer::{consumer, incoming, moment, with_handler},
    event,
    ledger::{claim, failure, nothing},
    options, post_by, record, signature, stack, stack_with, url,
};

const ORDERS: usize = 1_000;
const DELIVERIES: usize = 3;
const PROCESSES: usize = 8;
/// A process is killed each time that so many deliveries have been answered.
const BETWEEN_KILLS: usize = 100;

fn order(number: usize) -> String {
    json!({"id": format!("order-{number}"), "topic": "orders", "eventType": "order.paid", "data": {"cents": number}, "timestamp": 1_790_000_000_000_i64, "retryCount": 0})
        .to_string()
}

/// Every order so many times, well mixed: 7,919 shares no factor with the number of deliveries.
fn deliveries() -> Vec<usize> {
    let all = ORDERS * DELIVERIES;
    (0..all).map(|index| index * 7_919 % all % ORDERS).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_is_exact_after_kills() {
    let environment = [("TEST_HANDLER", "order-counter"), ("HANDLER_TIMEOUT", "1s")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let stack = stack_with(StackOptions { concurrency: PROCESSES, environment, ..options() }).await;
    let (client, url) = (reqwest::Client::new(), stack.function_url("consumer/payload"));
    let (answered, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut waiting = deliveries();
    while !waiting.is_empty() {
        let again = Mutex::new(Vec::new());
        stream::iter(waiting)
            .for_each_concurrent(PROCESSES, async |number| {
                let body = order(number);
                let answer =
                    post_by(&client, &url, Some(signature(&stack, &url, body.as_bytes())), body.as_bytes()).await;
                if answer.status != 200 {
                    again.lock().unwrap().push(number);
                }
                if answered.fetch_add(1, Ordering::SeqCst) % BETWEEN_KILLS == BETWEEN_KILLS / 2 {
                    killed.fetch_add(kill_one(&stack), Ordering::SeqCst);
                }
            })
            .await;
        waiting = again.into_inner().unwrap();
        assert!(answered.load(Ordering::SeqCst) < 50 * ORDERS * DELIVERIES, "{waiting:?} are never taken");
    }
    let (counted, cents) = total(&stack).await;
    println!("{counted} orders counted, {} deliveries, {} kills", answered.into_inner(), killed.load(Ordering::SeqCst));
    assert_eq!((counted, cents), (ORDERS, ORDERS * (ORDERS - 1) / 2));
    assert!(killed.into_inner() > 10, "kills in between");
    for number in 0..ORDERS {
        assert_eq!(record_of(&stack, number).await.status, Status::Done);
    }
}

/// Kills whatever process works on the first delivery that is under way.
fn kill_one(stack: &Stack) -> usize {
    let first = AtomicUsize::new(0);
    stack.function("consumer").unwrap().kill_busy(|_| first.fetch_add(1, Ordering::SeqCst) == 0)
}

async fn record_of(stack: &Stack, number: usize) -> Record {
    let base = url(&stack.function_url("consumer"));
    let endpoint = Endpoint::of(&url(&stack.function_url("consumer/payload")), &[base]);
    let body = order(number);
    let key = identify(&endpoint, &Identity::Payload, Delivered::bare(body.as_bytes(), "")).key;
    stack.store().record(&key).await.unwrap().unwrap()
}

/// The counter's orders and cents; nothing where nobody counted yet.
async fn total(stack: &Stack) -> (usize, usize) {
    let request = stack.dynamo.client().get_item().table_name(TABLE).consistent_read(true);
    let key = |text: &str| AttributeValue::S(text.into());
    let output = request.key("pk", key("counter#orders")).key("sk", key("total")).send().await.unwrap();
    let item = output.item.unwrap_or_default();
    let number = |name: &str| item.get(name).map_or(0, |value| value.as_n().unwrap().parse().unwrap());
    (number("orders"), number("cents"))
}

fn add_one() -> TransactWriteItem {
    let update = Update::builder()
        .table_name(TABLE)
        .key("pk", AttributeValue::S("counter#orders".into()))
        .key("sk", AttributeValue::S("total".into()))
        .update_expression("ADD orders :one")
        .expression_attribute_values(":one", AttributeValue::N("1".into()));
    TransactWriteItem::builder().update(update.build().unwrap()).build()
}

/// A write whose condition never holds.
fn impossible() -> TransactWriteItem {
    let put = Put::builder()
        .table_name(TABLE)
        .set_item(Some(HashMap::from([
            ("pk".to_owned(), AttributeValue::S("mine".into())),
            ("sk".to_owned(), AttributeValue::S("mine".into())),
        ])))
        .condition_expression("attribute_exists(pk)");
    TransactWriteItem::builder().put(put.build().unwrap()).build()
}

const NOW: i64 = 1_790_000_000_000;
const LATER: i64 = NOW + 60_000;

/// A table with an event that worker `a` holds.
async fn held() -> (Stack, EventKey, Record) {
    let stack = stack_with(StackOptions { program: None, ..options() }).await;
    let key = EventKey::parse(&"c".repeat(64)).unwrap();
    let record = stack.store().claim(&key, &claim("a", NOW)).await.unwrap();
    (stack, key, record)
}

async fn commit(
    stack: &Stack,
    key: &EventKey,
    record: &Record,
    writes: Vec<TransactWriteItem>,
) -> Result<Record, CommitError> {
    stack.store().complete_with(key, record, &[], &Writes::from(writes), LATER, LATER / 1_000 + 1_000).await
}

#[tokio::test]
async fn writes_and_done_stand_together_and_a_repetition_writes_nothing_twice() {
    let (stack, key, record) = held().await;
    for _ in 0..3 {
        let done = commit(&stack, &key, &record, vec![add_one()]).await.unwrap();
        assert_eq!(done.status, Status::Done);
    }
    assert_eq!(total(&stack).await.0, 1);
    assert_eq!(stack.store().record(&key).await.unwrap().unwrap().status, Status::Done);
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_writes_nothing_and_hears_so_whatever_its_own_conditions_say() {
    let (stack, key, record) = held().await;
    stack.store().claim(&key, &claim("b", LATER)).await.unwrap();
    for writes in [vec![add_one()], vec![add_one(), impossible()]] {
        let lost = commit(&stack, &key, &record, writes).await.unwrap_err();
        assert!(matches!(lost, CommitError::Refused(Refused::Changed(Some(Status::Running)))), "{lost:?}");
    }
    assert_eq!(total(&stack).await.0, 0);
}

#[tokio::test]
async fn a_condition_of_the_handlers_own_is_told_apart_and_leaves_the_lease() {
    let (stack, key, record) = held().await;
    let failed = commit(&stack, &key, &record, vec![add_one(), impossible()]).await.unwrap_err();
    assert!(matches!(&failed, CommitError::Condition(failed) if failed.write == 1), "{failed:?}");
    assert_eq!(total(&stack).await.0, 0);
    stack.store().fail(&key, &record, &nothing(), &failure(), LATER).await.unwrap();
}

#[tokio::test]
async fn what_is_on_our_keys_is_never_sent() {
    let (stack, key, record) = held().await;
    let update = Update::builder().table_name(TABLE).key("pk", AttributeValue::S(format!("e#{key}")));
    let update = update.key("sk", AttributeValue::S("x".into())).update_expression("SET a = pk").build().unwrap();
    let refused = commit(&stack, &key, &record, vec![TransactWriteItem::builder().update(update).build()]).await;
    assert!(matches!(refused.unwrap_err(), CommitError::Writes(WritesError::OurKey(0))));
}

/// A handler that hands over some writes, and says what a failed condition means.
struct Writing(Mutex<Vec<TransactWriteItem>>, bool);

/// A handler that has told a destination, whose writes then fail, and that panics over it.
struct Telling;

impl Handler for Telling {
    async fn handle(&self, _: &Event, _: &Attempt) -> Result<Effects, HandlerError> {
        Ok(Effects { delivered: vec!["d1".into()], ..Effects::writing(vec![impossible()]) })
    }

    fn condition_failed(&self, _: &surehook::store::ConditionFailed, _: &Attempt) -> HandlerError {
        panic!("a defect")
    }
}

#[tokio::test]
async fn who_was_told_before_a_condition_failed_is_remembered_even_after_a_panic() {
    let stack = stack().await;
    let consumer = with_handler(consumer(&stack, stack.store()).await, Telling);
    let body = event("told");
    assert_eq!(consumer.call(incoming(&stack, &body), moment()).await.outcome, Outcome::TransientFailure(None));
    let record = record(&stack, &body).await.unwrap();
    assert_eq!((record.status, record.delivered), (Status::Retryable, vec!["d1".to_owned()]));
}

impl Handler for Writing {
    async fn handle(&self, _: &Event, _: &Attempt) -> Result<Effects, HandlerError> {
        Ok(Effects::writing(self.0.lock().unwrap().clone()))
    }

    fn condition_failed(&self, _: &surehook::store::ConditionFailed, attempt: &Attempt) -> HandlerError {
        if self.1 { HandlerError::permanent("sold out", attempt) } else { HandlerError::transient("moved on", attempt) }
    }
}

#[tokio::test]
async fn the_handler_says_what_its_failed_condition_means() {
    let stack = stack().await;
    for (is_final, outcome) in [(true, Outcome::PermanentFailure), (false, Outcome::TransientFailure(None))] {
        let handler = Writing(Mutex::new(vec![impossible()]), is_final);
        let consumer = with_handler(consumer(&stack, stack.store()).await, handler);
        let body = event(&format!("condition {is_final}"));
        assert_eq!(consumer.call(incoming(&stack, &body), moment()).await.outcome, outcome);
        assert_eq!(record(&stack, &body).await.unwrap().status, Status::Retryable);
    }
}

#[tokio::test]
async fn writes_that_dynamodb_can_never_take_are_a_permanent_failure_with_the_reason() {
    let stack = stack().await;
    let wrong = Update::builder().table_name(TABLE).key("pk", AttributeValue::S("mine".into()));
    let wrong = wrong.key("sk", AttributeValue::S("x".into())).update_expression("ADD").build().unwrap();
    let wrong = TransactWriteItem::builder().update(wrong).build();
    for writes in [vec![wrong], vec![add_one(); 100]] {
        let count = writes.len();
        let consumer = with_handler(consumer(&stack, stack.store()).await, Writing(Mutex::new(writes), false));
        let body = event(&format!("{count} wrong writes"));
        let answer = consumer.call(incoming(&stack, &body), moment()).await;
        assert_eq!(answer.outcome, Outcome::PermanentFailure);
        let error = record(&stack, &body).await.unwrap().last_error.unwrap();
        assert!(error.text.contains("100 writes") || error.text.contains("Expression"), "{error:?}");
    }
    assert_eq!(total(&stack).await.0, 0);
}

#[tokio::test]
async fn a_table_that_is_missing_can_be_mended_so_the_event_waits() {
    let stack = stack().await;
    let put = Put::builder().table_name("missing").item("pk", AttributeValue::S("x".into())).build().unwrap();
    let writes = vec![TransactWriteItem::builder().put(put).build()];
    let consumer = with_handler(consumer(&stack, stack.store()).await, Writing(Mutex::new(writes), false));
    let body = event("missing table");
    assert_eq!(consumer.call(incoming(&stack, &body), moment()).await.outcome, Outcome::TransientFailure(None));
}
