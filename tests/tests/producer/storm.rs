//! QStash is cut off for a third of the time, and the producer is killed again and again. Then a pass of its own proves from the senders'
//! notes and the receiver's log that each event that was answered 202 was handled once, and none that was answered 4xx.
//!
//! `TEST_EVENTS=5000` is the storm at full size; `.ci/long` runs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use serde_json::json;
use surehook::outside;
use surehook_local::{Stack, StackOptions, qstash::Fault, stack::PRODUCER_TOKEN};
use tokio::time::sleep;

use super::{SECRETS, github};
use crate::support::{answered, apply, operate, options, qstash, stack_with, until};

/// Kills in all, and requests that are under way at the same time.
const KILLS: usize = 20;
const SENDERS: usize = 8;
/// One event of so many is bad, one of so many others is signed by its sender, and one of so many comes in a batch.
const BAD: usize = 7;
const SIGNED: usize = 3;

/// What the senders know.
#[derive(Default)]
struct Notes {
    /// Events by the last status that they were answered with.
    answered: Mutex<BTreeMap<usize, u16>>,
    sent: AtomicUsize,
    is_over: AtomicBool,
    in_outbox: AtomicUsize,
}

fn events() -> usize {
    outside::variable("TEST_EVENTS").and_then(|text| text.parse().ok()).unwrap_or(300).min(5_000)
}

/// What is bad about an event, if anything.
fn is_bad(number: usize) -> bool {
    number.is_multiple_of(BAD)
}

fn is_signed(number: usize) -> bool {
    number.is_multiple_of(SIGNED)
}

fn request(stack: &Stack, client: &reqwest::Client, number: usize) -> reqwest::RequestBuilder {
    let producer = stack.function_url("producer");
    if is_signed(number) {
        let body = json!({"n": number}).to_string();
        let secret = if is_bad(number) { "stolen" } else { "new-gh" };
        let request = client.post(format!("{producer}/github"));
        let headers = github(secret, &format!("d-{number}"), &body);
        return headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)).body(body);
    }
    let body = match is_bad(number) {
        true => json!({"data": {"n": number}}),
        false => json!({"eventType": "order.paid", "data": {"n": number}}),
    };
    let request = client.post(format!("{producer}/orders")).bearer_auth(PRODUCER_TOKEN);
    request.header("idempotency-key", format!("o-{number}")).body(body.to_string())
}

/// A sender sends until it is answered for good: with 202, or with 4xx.
async fn send(notes: &Notes, stack: &Stack, client: &reqwest::Client, number: usize) {
    loop {
        let sent = request(stack, client, number).header("content-type", "application/json").send().await;
        let answer = answered(sent.unwrap()).await;
        notes.answered.lock().unwrap().insert(number, answer.status);
        if answer.status == 202 && answer.body.get("messageId").is_none() {
            notes.in_outbox.fetch_add(1, Ordering::SeqCst);
        }
        if answer.status == 202 || (400..500).contains(&answer.status) {
            notes.sent.fetch_add(1, Ordering::SeqCst);
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// QStash is away while the middle third of the events is sent.
async fn cut_off(notes: &Notes, stack: &Stack, total: usize) {
    let reached = |share: usize| async move { notes.sent.load(Ordering::SeqCst) >= total * share / 3 };
    reaches(|| reached(1)).await;
    stack.qstash.set_faults(&[Fault::Away]);
    reaches(|| reached(2)).await;
    stack.qstash.set_faults(&[]);
    reaches(|| reached(3)).await;
    notes.is_over.store(true, Ordering::SeqCst);
}

/// As long as it takes; the limit is for a test that has failed already.
async fn reaches<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    for _ in 0..60_000 {
        if holds().await {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the storm does not end");
}

/// Kills the producer at its work, evenly over the storm.
async fn kill(notes: &Notes, stack: &Stack, total: usize) -> usize {
    let mut killed = 0;
    while killed < KILLS && !notes.is_over.load(Ordering::SeqCst) {
        let is_due = notes.sent.load(Ordering::SeqCst) * KILLS >= killed * total;
        // One at a time: with all of them gone the host would answer for the producer.
        let first = AtomicBool::new(true);
        if is_due {
            killed += stack.function("producer").unwrap().kill_busy(|_| first.swap(false, Ordering::SeqCst));
        }
        sleep(Duration::from_millis(1)).await;
    }
    killed
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_that_was_answered_202_is_handled_once_and_none_that_was_refused() {
    let total = events();
    let secrets = ("SOURCE_SECRETS".to_owned(), SECRETS.to_owned());
    let stack = stack_with(StackOptions { environment: vec![secrets], concurrency: 8, ..options() }).await;
    apply(&stack, &(document(&stack))).await;
    for (topic, source) in [("github", "github"), ("orders", "payload")] {
        let endpoint = stack.function_url(&format!("consumer/{source}"));
        qstash(&stack).add_endpoints(topic, &[endpoint]).await.unwrap();
    }
    let client = reqwest::Client::new();
    // The process that stands ready has started before they were applied.
    until("the routes are known", || super::senders_are_known(&stack)).await;
    let notes = Notes::default();
    let sending = stream::iter(0..total).for_each_concurrent(SENDERS, |number| send(&notes, &stack, &client, number));
    let (_, _, killed) = tokio::join!(sending, cut_off(&notes, &stack, total), kill(&notes, &stack, total));
    reaches(|| async {
        let swept = operate(&stack, json!({"command": "sweep"})).await;
        stack.qstash.idle().await;
        swept["swept"]["outboxLeft"].as_u64() == Some(0) && swept["swept"]["published"].as_u64() == Some(0)
    })
    .await;
    verify(&notes, &stack, total, killed).await;
}

fn document(stack: &Stack) -> String {
    let route = |name: &str| {
        format!("[[route]]\nname = \"{name}\"\nsource = \"{name}\"\nurl = \"{}/{name}\"\n", stack.receiver.url)
    };
    let source = |name: &str, recipe: &str, secret: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\nrecipe = \"{recipe}\"\nsecret = \"{secret}\"\n[[topic]]\nname = \"{name}\"\nsource = \"{name}\"\n"
        )
    };
    let sources = source("github", "github", "gh") + &source("cms", "strapi", "cms");
    format!("{sources}{}{}", route("github"), route("payload"))
}

fn number_in(body: &[u8]) -> usize {
    let text = String::from_utf8_lossy(body);
    let digits = text.split("\"n\":").nth(1).unwrap();
    digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// The proof.
async fn verify(notes: &Notes, stack: &Stack, total: usize, killed: usize) {
    let answered = notes.answered.lock().unwrap().clone();
    let mut handled: BTreeMap<usize, usize> = BTreeMap::new();
    for received in stack.receiver.received() {
        *handled.entry(number_in(&received.body)).or_default() += 1;
    }
    let with =
        |status: u16| answered.iter().filter(move |(_, answered)| **answered == status).map(|(number, _)| *number);
    let accepted: BTreeSet<usize> = with(202).collect();
    let refused: BTreeSet<usize> = with(400).chain(with(401)).collect();
    assert_eq!(refused, (0..total).filter(|number| is_bad(*number)).collect(), "the bad ones, and nobody else");
    assert_eq!(accepted.len() + refused.len(), total);
    let wrong: Vec<_> = accepted.iter().filter(|number| handled.get(number) != Some(&1)).collect();
    assert!(wrong.is_empty(), "answered 202, but not handled once: {wrong:?}");
    let leaked: Vec<_> = refused.iter().filter(|number| handled.contains_key(number)).collect();
    assert!(leaked.is_empty(), "answered 4xx, and handled all the same: {leaked:?}");
    let in_outbox = notes.in_outbox.load(Ordering::SeqCst);
    println!(
        "{total} events, {killed} kills of the producer: {} answered 202, {in_outbox} of them through the outbox, each handled once; {} \
         refused, none handled",
        accepted.len(),
        refused.len()
    );
    assert!(killed >= KILLS.min(total / 20), "{killed} kills");
    assert!(in_outbox >= total / 6, "{in_outbox} through the outbox");
    assert_eq!(stack.qstash.dlq_len(), 0);
}
