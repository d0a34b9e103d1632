//! A day on which the receiver is down, in fast motion: functions are killed at random, callbacks get lost, deliveries come
//! doubled. Then the receiver is back, what was buried is replayed, and a pass of its own proves from the receiver's log and
//! the table that every event arrived, and that none which had succeeded was sent again.
//!
//! `TEST_EVENTS=10000` is the day at full size; `.ci/long` runs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use surehook::{identity::EventKey, ledger::Status, outside};
use surehook_local::{
    Stack, StackOptions,
    qstash::{Fault, TOKEN},
    receiver::{Reaction, Received},
    stack::{FUNCTIONS, PRODUCER_TOKEN},
};
use tokio::time::{Instant, sleep};

use crate::support::{Answered, answered, connect, end_lease, key, operate, options, qstash, stack_with};

/// How long a day takes at least, and how many events one second of it brings at most: QStash's waits of seconds, minutes and hours
/// become those of a day in fast motion.
const SHORTEST_DAY: Duration = Duration::from_secs(16);
const EVENTS_A_SECOND: f64 = 80.0;
/// How long a process is waited for that can be killed at its work.
const AMBUSH: Duration = Duration::from_millis(400);
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Events that senders have on their way at the same time.
const SENDERS: usize = 8;
/// One event of so many goes through the producer, and one of so many others is refused for good until somebody mends it.
const THROUGH_PRODUCER: usize = 5;
const REFUSED: usize = 97;

fn events() -> usize {
    outside::variable("TEST_EVENTS").and_then(|text| text.parse().ok()).unwrap_or(250)
}

fn day_of(events: usize) -> Duration {
    Duration::from_secs_f64(events as f64 / EVENTS_A_SECOND).max(SHORTEST_DAY)
}

/// Everything that happens, seen from outside.
#[derive(Debug, Default)]
struct Day {
    is_down: AtomicBool,
    is_mended: AtomicBool,
    is_over: AtomicBool,
    chance: AtomicUsize,
    published: AtomicUsize,
    /// Requests to the receiver, in order: event, `webhook-id`, status.
    log: Mutex<Vec<(usize, String, u16)>>,
    /// Events whose worker was killed while it had them.
    killed_with: Mutex<BTreeSet<usize>>,
    kills: Mutex<BTreeMap<&'static str, usize>>,
}

impl Day {
    /// A number that looks like chance.
    fn draw(&self, below: usize) -> usize {
        let seed = self.chance.fetch_add(1, Ordering::Relaxed) as u64;
        let mixed = (seed ^ (seed >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33).unwrap() % below
    }

    fn react(&self, received: &Received) -> Reaction {
        let event = number_in(&received.body);
        let is_refused = event.is_multiple_of(REFUSED) && !self.is_mended.load(Ordering::SeqCst);
        let status = match self.is_down.load(Ordering::SeqCst) {
            true => 503,
            false if is_refused => 422,
            false => 200,
        };
        let id = received.header("webhook-id").unwrap_or_default().to_owned();
        self.log.lock().unwrap().push((event, id, status));
        Reaction::status(status).saying(&format!("event {event} at {}", outside::now()))
    }

    /// Lies in wait for a function until one of its processes is at work, and kills it.
    async fn kill(&self, stack: &Stack, function: &'static str) {
        let since = Instant::now();
        while !self.strike(stack, function) && since.elapsed() < AMBUSH {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Kills about half of the processes that are at work.
    fn strike(&self, stack: &Stack, function: &'static str) -> bool {
        let killed = stack.function(function).unwrap().kill_busy(|payload| {
            let meant = self.draw(2) == 0;
            if meant && function == "consumer" {
                self.killed_with.lock().unwrap().insert(number_in(body_of(payload).as_bytes()));
            }
            meant
        });
        *self.kills.lock().unwrap().entry(function).or_default() += killed;
        killed > 0
    }
}

fn body_of(payload: &[u8]) -> String {
    let event: Value = serde_json::from_slice(payload).unwrap();
    event["body"].as_str().unwrap_or_default().to_owned()
}

fn number_in(body: &[u8]) -> usize {
    let text = String::from_utf8_lossy(body);
    let digits = text.split("\"n\":").nth(1).unwrap_or_default();
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(usize::MAX)
}

fn through_producer(number: usize) -> bool {
    number.is_multiple_of(THROUGH_PRODUCER)
}

fn strapi_body(number: usize) -> String {
    json!({"event": "entry.create", "createdAt": "2026-01-01T00:00:00.000Z", "model": "m", "uid": "u", "entry": {"n": number}})
        .to_string()
}

/// What a sender does: it sends until somebody has taken the event.
async fn send(day: &Day, stack: &Stack, client: &reqwest::Client, number: usize) {
    loop {
        let request = match through_producer(number) {
            true => client
                .post(format!("{}/orders", stack.function_url("producer")))
                .bearer_auth(PRODUCER_TOKEN)
                .header("idempotency-key", format!("order-{number}"))
                .body(json!({"eventType": "order.paid", "data": {"n": number}}).to_string()),
            false => client
                .post(format!("{}/v2/publish/strapi.create", stack.qstash.url))
                .bearer_auth(TOKEN)
                .header("upstash-deduplication-id", format!("strapi-{number}"))
                .body(strapi_body(number)),
        };
        let answer: Answered = answered(request.header("content-type", "application/json").send().await.unwrap()).await;
        if answer.status < 300 {
            day.published.fetch_add(1, Ordering::SeqCst);
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Publishes everything; the receiver goes down early, and comes back when a day has passed and enough was buried.
async fn live_through(day: &Day, stack: &Stack, total: usize) {
    let client = reqwest::Client::new();
    let pause = day_of(total).div_f64(total as f64) * u32::try_from(SENDERS).unwrap();
    let publishing = stream::iter(0..total).for_each_concurrent(SENDERS, async |number| {
        send(day, stack, &client, number).await;
        sleep(pause).await;
    });
    let outage = async {
        reaches("the first events", || async { day.published.load(Ordering::SeqCst) >= total / 20 }).await;
        day.is_down.store(true, Ordering::SeqCst);
        sleep(day_of(total)).await;
        reaches("a tenth is buried", || async { letters(stack).await >= total / 10 }).await;
        day.is_down.store(false, Ordering::SeqCst);
    };
    tokio::join!(publishing, outage);
    println!("{} requests to the receiver so far", day.log.lock().unwrap().len());
}

/// Waits as long as it takes: the limit is for a test that has failed already.
async fn reaches<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    println!("waiting: {what}");
    let since = Instant::now();
    while !holds().await {
        sleep(Duration::from_millis(500)).await;
        assert!(since.elapsed() < Duration::from_secs(1_800), "{what}: did not come to pass");
    }
}

/// How many dead letters there are, as the operator sees them, who asks again if the processor is killed over it.
async fn letters(stack: &Stack) -> usize {
    for _ in 0..1_000 {
        let counted = command(stack, json!({"command": "causes"})).await;
        if let Some(letters) = counted.and_then(|counted| counted["caused"]["letters"].as_u64()) {
            return usize::try_from(letters).unwrap();
        }
    }
    panic!("the processor counts no letters, however often it is asked")
}

/// A command to a processor that may be killed over it.
async fn command(stack: &Stack, command: Value) -> Option<Value> {
    let answer = stack.function("dlq-processor").unwrap().invoke(command.to_string().into()).await.ok()?;
    serde_json::from_slice(&answer).ok()
}

/// Faults and kills, changing all the time, and the schedule of the sweeps, until the day is over.
async fn misfortune(day: &Day, stack: &Stack) {
    while !day.is_over.load(Ordering::SeqCst) {
        let drawn = [
            (day.draw(3) == 0, Fault::LoseCallback),
            (day.draw(3) == 0, Fault::RepeatCallback),
            (day.draw(4) == 0, Fault::Duplicate),
        ];
        let faults: Vec<Fault> = drawn.into_iter().filter_map(|(strikes, fault)| strikes.then_some(fault)).collect();
        stack.qstash.set_faults(&faults);
        sleep(Duration::from_millis(100 + day.draw(300) as u64)).await;
        day.kill(stack, FUNCTIONS[day.draw(FUNCTIONS.len())]).await;
    }
    stack.qstash.set_faults(&[]);
}

async fn schedule(day: &Day, stack: &Stack) {
    while !day.is_over.load(Ordering::SeqCst) {
        if command(stack, json!({"command": "sweep"})).await.is_none() {
            end_lease(stack).await;
        }
        sleep(SWEEP_PAUSE).await;
    }
}

/// Replays until no letter is left, however often the processor is killed.
async fn replay_everything(day: &Day, stack: &Stack) -> usize {
    let mut replayed = 0;
    day.is_mended.store(true, Ordering::SeqCst);
    reaches("QStash has delivered what it had", || async { stack.qstash.pending() == 0 }).await;
    while !day.is_over.load(Ordering::SeqCst) {
        let selection = json!({"command": "replay", "selection": {"all": true}, "limit": 100});
        let done = command(stack, selection).await.unwrap_or_default();
        replayed += done["replayed"]["ids"].as_array().map_or(0, Vec::len);
        let is_last = done["replayed"]["next"].is_null() && !done.is_null();
        day.is_over.store(is_last, Ordering::SeqCst);
    }
    replayed
}

/// What is left when nobody is killed any more: two sweeps, each followed by what QStash delivers.
async fn settle(stack: &Stack) {
    reaches("everything is settled", || async {
        stack.qstash.idle().await;
        end_lease(stack).await;
        operate(stack, json!({"command": "sweep"})).await;
        stack.qstash.idle().await;
        let left = operate(stack, json!({"command": "replay", "selection": {"all": true}})).await;
        stack.qstash.dlq_len() == 0 && left["replayed"]["ids"] == json!([]) && stack.qstash.pending() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_survives_a_day_without_its_receiver() {
    let total = events();
    let stack = day_stack(total).await;
    let day = Arc::new(Day::default());
    let reacting = Arc::clone(&day);
    stack.receiver.react(move |received| reacting.react(received));
    let (_, _, buried) = tokio::join!(misfortune(&day, &stack), schedule(&day, &stack), async {
        live_through(&day, &stack, total).await;
        let buried = letters(&stack).await;
        let replayed = replay_everything(&day, &stack).await;
        println!("{buried} were buried when the receiver came back, {replayed} replays were answered");
        buried
    });
    settle(&stack).await;
    assert!(buried > 0, "the day buried nothing");
    verify(&day, &stack, total).await;
}

async fn day_stack(total: usize) -> Stack {
    let environment = [("RETRY_LIST".to_owned(), "2h,5h".to_owned())].into();
    let speed = 86_400.0 / day_of(total).as_secs_f64();
    let stack = stack_with(StackOptions { environment, speed, parallelism: 32, ..options() }).await;
    connect(&stack, "strapi.create", &[]).await;
    let client = qstash(&stack);
    client.add_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
    let callback = json!({"Upstash-Failure-Callback": stack.function_url("requeuer"), "Upstash-Retries": "1"});
    for topic in ["strapi.create", "orders"] {
        client.set_default_headers(topic, &callback).await.unwrap();
    }
    stack
}

/// The proof.
async fn verify(day: &Day, stack: &Stack, total: usize) {
    let mut accepted: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut sent_again = BTreeSet::new();
    let log = day.log.lock().unwrap().clone();
    for (number, id, status) in &log {
        if accepted.contains_key(number) {
            sent_again.insert(*number);
        }
        if *status == 200 {
            accepted.entry(*number).or_default().push(id.clone());
        }
    }
    let excused = day.killed_with.lock().unwrap().clone();
    for number in 0..total {
        let ids = accepted.get(&number).unwrap_or_else(|| panic!("event {number} never arrived"));
        let record = stack.store().record(&key_of(stack, &log, number)).await.unwrap();
        assert_eq!(record.unwrap().status, Status::Done, "event {number}");
        assert!(ids.iter().all(|id| *id == ids[0]), "event {number} went by several ids: {ids:?}");
    }
    let unexcused: Vec<_> = sent_again.difference(&excused).collect();
    assert!(unexcused.is_empty(), "sent again although they had succeeded: {unexcused:?}");
    assert_eq!((letters(stack).await, stack.qstash.dlq_len()), (0, 0));
    assert!(stack.store().stranded(i64::MAX, 10).await.unwrap().is_empty(), "something still waits");
    assert!(stack.store().pending_replays(10).await.unwrap().is_empty());
    let kills = day.kills.lock().unwrap().clone();
    println!(
        "{total} events, {} requests to the receiver, kills {kills:?}; all arrived; {} were sent again because their worker was \
         killed before it could write that they had succeeded",
        log.len(),
        sent_again.len()
    );
    assert!(FUNCTIONS.iter().all(|function| kills.get(function).is_some_and(|kills| *kills > 0)), "{kills:?}");
}

/// The key of an event: for those of the producer, whose bodies are its own, the id under which they came.
fn key_of(stack: &Stack, log: &[(usize, String, u16)], number: usize) -> EventKey {
    if through_producer(number) {
        let sent = log.iter().find(|(sent, _, _)| *sent == number).unwrap();
        return EventKey::parse(&sent.1).unwrap();
    }
    key(stack, &strapi_body(number))
}
