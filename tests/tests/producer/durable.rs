//! QStash away, slow, over quota or lost for words: the outbox, in time and in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use surehook::store::{
    held::HeldTopic,
    outbox::{Lane, OutboxRow},
};
use surehook_dlq_processor::reply::Sweep;
use surehook_local::Stack;

use super::{order, producer};
use crate::support::{
    consumer::moment,
    fuse::store_at,
    operate,
    proxy::{Proxy, Verdict},
    qstash, stack,
};

async fn rows(stack: &Stack) -> usize {
    let mut count = 0;
    let held = stack.store().held_topics().await.unwrap();
    for lane in Lane::ordinary().chain(held.iter().map(HeldTopic::lane)) {
        count += stack.store().outbox(&lane, 100, None).await.unwrap().rows.len();
    }
    count
}

async fn connected() -> Stack {
    let stack = stack().await;
    qstash(&stack).add_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
    stack
}

/// Only an answer that names a message, or a row, is a 202. Mistakes of the operator are not reported to the sender: no endpoints, a
/// wrong token, a host that is not QStash.
#[tokio::test]
async fn whatever_qstash_says_a_202_is_durable() {
    let stack = connected().await;
    for (number, (verdict, status, is_row)) in [
        (Verdict::Answer(503, "{}"), 202, true),
        (Verdict::Answer(429, "{\"error\":\"quota exceeded\"}"), 202, true),
        (Verdict::Answer(402, "{}"), 202, true),
        (Verdict::Answer(401, "{\"error\":\"invalid token\"}"), 202, true),
        (Verdict::Answer(200, "{}"), 202, true),
        (Verdict::Answer(200, "<html>"), 202, true),
        (Verdict::CutBefore, 202, true),
        (Verdict::CutAfter, 202, true),
        (Verdict::Pass, 202, false),
        (Verdict::Answer(200, "[]"), 202, true),
        (Verdict::Answer(404, "{\"error\":\"topic not found\"}"), 202, true),
        (Verdict::Answer(404, "<html>"), 202, true),
        (Verdict::Answer(403, "{}"), 202, true),
        (Verdict::Answer(405, "<html>"), 202, true),
        (Verdict::Answer(302, ""), 202, true),
        (Verdict::Answer(400, "{\"error\":\"invalid header\"}"), 400, false),
        (Verdict::Answer(413, ""), 400, false),
        (Verdict::Answer(412, "{\"error\":\"quota maxMessageSize exceeded\"}"), 400, false),
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = Proxy::start(&stack.qstash.url, move |_| verdict);
        let before = rows(&stack).await;
        let producer = producer(&proxy.url, stack.store(), Duration::from_secs(30));
        let answer = producer.call(order(&format!("o-{number}")), moment(), "fresh".into()).await;
        assert_eq!((answer.status(), rows(&stack).await - before), (status, usize::from(is_row)), "{verdict:?}");
    }
    operate(&stack, json!({"command": "sweep"})).await;
    stack.qstash.idle().await;
    let mut ids: Vec<String> =
        stack.receiver.received().iter().map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect();
    ids.sort();
    assert_eq!(ids.len(), 15, "each event that was answered 202, once: {ids:#?}");
    assert_eq!(rows(&stack).await, 0);
}

#[tokio::test]
async fn a_qstash_that_hangs_costs_a_part_of_the_time_and_no_event() {
    let stack = connected().await;
    let hanging = Proxy::start(&stack.qstash.url, |_| Verdict::Hang);
    let within = Duration::from_millis(2_000);
    let answer = producer(&hanging.url, stack.store(), within).call(order("slow"), moment(), "fresh".into()).await;
    assert_eq!((answer.status(), rows(&stack).await), (202, 1));
}

/// When the table hangs too the sender is told in time that it keeps the event. Time is the tests' own: nothing waits.
#[tokio::test]
async fn an_answer_comes_in_time_whatever_hangs() {
    let stack = connected().await;
    let (qstash, table) = (
        Proxy::start(&stack.qstash.url, |_| Verdict::Hang),
        Proxy::start(&stack.dynamo.url, |request| {
            if crate::support::proxy::calls(request, "PutItem") { Verdict::Hang } else { Verdict::Pass }
        }),
    );
    let store = store_at(&table.url);
    let answer =
        producer(&qstash.url, store, Duration::from_millis(600)).call(order("lost"), moment(), "fresh".into()).await;
    assert_eq!((answer.status(), answer.headers().contains_key("retry-after")), (503, true));
}

#[tokio::test]
async fn what_is_too_large_for_the_outbox_stays_with_its_sender() {
    let stack = connected().await;
    let mut large = order("large");
    let data = "x".repeat(400_000);
    large.body = json!({"eventType": "a", "data": data}).to_string().into();
    let producer = producer("http://127.0.0.1:1", stack.store(), Duration::from_secs(30));
    let answer = producer.call(large, moment(), "fresh".into()).await;
    assert_eq!((answer.status(), answer.outcome.word(), rows(&stack).await), (503, "qstash-away", 0));
    assert!(answer.body().contains("too large to be stored"), "{}", answer.body());
}

fn row(number: i64, body: &str) -> OutboxRow {
    let id = format!("row-{number}");
    OutboxRow {
        body: json!({"id": id, "topic": "orders", "eventType": "a", "data": body}).to_string().into(),
        headers: vec![("Content-Type".into(), "application/json".into())],
        topic: "orders".into(),
        at: number,
        id,
    }
}

/// The sweep's publishes, as QStash sees them begin.
#[tokio::test]
async fn rows_start_in_order_of_age_whichever_shard_they_stand_in() {
    let stack = connected().await;
    for number in (0..60).rev() {
        stack.store().put_outbox(&row(number, "x")).await.unwrap();
    }
    let fuse = crate::support::fuse::Fuse::new(&stack);
    let processor = crate::support::processor(&stack, &fuse);
    let mut news = stack.qstash.news();
    processor.sweep(moment(), 0.5).await.unwrap();
    stack.qstash.idle().await;
    let mut created = Vec::new();
    while let Ok(news) = news.try_recv() {
        if let surehook_local::qstash::State::Created { .. } = news.state {
            created.push(news.body_sha256);
        }
    }
    let digest = |number: usize| surehook::digest::Sha256::of(&row(i64::try_from(number).unwrap(), "x").body).hex();
    // A row starts when one that started 32 rows before it has ended. Among those that run, the network decides.
    for number in 0..60 {
        let place = created.iter().position(|created| *created == digest(number)).unwrap();
        assert!(number < place + 32, "row {number} was published as number {place}");
    }
    assert_eq!(created.len(), 60);
}

/// Named after a defect: rows that QStash answers with 500, for their size for example, kept all others back for ever.
#[tokio::test]
async fn rows_that_qstash_has_a_fault_with_do_not_hold_up_those_behind_them() {
    let stack = connected().await;
    for number in 0..60 {
        stack.store().put_outbox(&row(number, if number < 20 { "poison" } else { "x" })).await.unwrap();
    }
    let poison = [0, 10].map(|number| row(number, "poison").body.len().to_string());
    let proxy = Proxy::start(&stack.qstash.url, move |request| {
        let length = request.headers().get("content-length").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if poison.iter().any(|poison| poison == length) { Verdict::Answer(500, "{}") } else { Verdict::Pass }
    });
    let swept = sweep(&stack, &proxy).await;
    assert_eq!((swept.published, swept.outbox_left, rows(&stack).await), (40, 20, 20));
}

#[tokio::test]
async fn while_qstash_is_away_a_sweep_asks_it_a_few_times_and_no_more() {
    let stack = connected().await;
    for number in 0..60 {
        stack.store().put_outbox(&row(number, "x")).await.unwrap();
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let proxy = Proxy::start(&stack.qstash.url, move |request| {
        seen.fetch_add(usize::from(request.uri().path().contains("publish")), Ordering::SeqCst);
        Verdict::Answer(503, "{}")
    });
    let swept = sweep(&stack, &proxy).await;
    assert_eq!((swept.published, swept.outbox_left, asked.load(Ordering::SeqCst)), (0, 60, 9));
}

async fn sweep(stack: &Stack, proxy: &Proxy) -> Sweep {
    let fuse = crate::support::fuse::Fuse::new(stack);
    let mut processor = crate::support::processor(stack, &fuse);
    processor.path.qstash = crate::support::qstash_at(&proxy.url).into();
    processor.sweep(moment(), 0.5).await.unwrap()
}

/// Named after a defect: of two events with one id, taken in the same millisecond, the outbox kept one.
#[tokio::test]
async fn events_of_one_id_do_not_take_each_others_place_in_the_outbox() {
    let stack = connected().await;
    let other = OutboxRow { topic: "billing".into(), ..row(7, "x") };
    for row in [row(7, "x"), row(7, "y"), other, row(7, "x")] {
        stack.store().put_outbox(&row).await.unwrap();
    }
    assert_eq!(rows(&stack).await, 3, "the same event once, and the others beside it");
}
