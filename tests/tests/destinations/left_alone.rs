//! The circuit breaker: opened by failures, shared through the table, probed by one, closed again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use surehook::{
    breaker::{Breaker, FEWEST_FAILURES},
    outside,
    web::{Answer, Moment},
};
use surehook_consumer::{
    Consumer,
    breakers::{Health, Permit},
    deliver::Deliverer,
};
use surehook_local::{Stack, receiver::Reaction};
use tokio::time::Instant;

use crate::support::{
    apply, apply_paths,
    consumer::{self, consumer, consumer_with, incoming_at},
    event,
    raw::RawServer,
    received, record, stack, until,
};

/// Enough fresh events to open a breaker.
const ENOUGH: u32 = FEWEST_FAILURES;
const MINUTE: i64 = 60_000;
/// Later than whatever took its time in this process: a doubt bears the time at which its delivery ended.
const LATER: i64 = 10_000;

async fn call(consumer: &Consumer<Deliverer>, stack: &Stack, body: &str, now: i64) -> Answer {
    let moment = Moment { now, started: Instant::now(), deadline: None };
    consumer.call(incoming_at(stack, body, now), moment).await
}

async fn breakers(stack: &Stack) -> BTreeMap<String, Breaker> {
    stack.store().breakers().await.unwrap()
}

async fn only_breaker(stack: &Stack) -> Option<Breaker> {
    breakers(stack).await.into_values().next()
}

/// Fails enough events at a destination to open its breaker.
async fn open(stack: &Stack, consumer: &Consumer<Deliverer>, now: i64) {
    stack.receiver.react(|_| Reaction::status(503).saying("down"));
    for n in 0..ENOUGH {
        assert_eq!(call(consumer, stack, &event(&format!("opens {n}")), now).await.status(), 503);
    }
    probe_until_it_opens(stack, consumer, now).await;
}

/// The consumer hears of the doubt a moment after the table has it; its next event is the probe.
async fn probe_until_it_opens(stack: &Stack, consumer: &Consumer<Deliverer>, now: i64) {
    until("the breaker opens", || async {
        let sent = stack.receiver.received().len();
        call(consumer, stack, &event(&format!("may be the probe {sent}")), now + LATER).await;
        only_breaker(stack).await.is_some_and(|breaker| breaker.opened == 1)
    })
    .await;
}

async fn down_stack() -> (Stack, Consumer<Deliverer>, i64) {
    let stack = stack().await;
    apply_paths(&stack, &["shop"]).await;
    let consumer = consumer(&stack, stack.store()).await;
    let now = outside::now();
    open(&stack, &consumer, now).await;
    (stack, consumer, now)
}

#[tokio::test]
async fn while_it_is_open_events_are_answered_at_once_with_retry_after_and_nothing_is_sent() {
    let (stack, consumer, now) = down_stack().await;
    let body = event("held back");
    let answer = call(&consumer, &stack, &body, now + 1_000).await;
    assert_eq!((answer.status(), answer.outcome.word()), (503, "transient-failure"));
    let wait: i64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((59..=180).contains(&wait), "{wait}: the rest, and up to as much again to spread them");
    assert!(received(&stack, &body).is_empty());
    let error = record(&stack, &body).await.unwrap().last_error.unwrap().text;
    assert!(error.contains("left alone for a while") && error.ends_with("failing: 503"), "{error}");
}

#[tokio::test]
async fn a_retry_that_qstash_brings_late_anyway_is_not_brought_sooner() {
    let (stack, consumer, now) = down_stack().await;
    let mut request = incoming_at(&stack, &event("second retry"), now + 1_000);
    request.headers.insert("upstash-retried", "1".parse().unwrap());
    let answer = consumer.call(request, Moment { now: now + 1_000, started: Instant::now(), deadline: None }).await;
    assert!(!answer.headers().contains_key("retry-after"), "QStash's own wait of two and a half minutes is longer");
}

#[tokio::test]
async fn another_environment_learns_of_it_with_its_routes_or_by_its_first_failure() {
    let (stack, _opener, now) = down_stack().await;
    let sent = stack.receiver.received().len();
    let informed = consumer(&stack, stack.store()).await;
    call(&informed, &stack, &event("informed"), now + 1_000).await;
    assert_eq!(stack.receiver.received().len(), sent, "read with the routes");

    let stack = crate::support::stack().await;
    apply_paths(&stack, &["shop"]).await;
    let (opener, ignorant) = (consumer(&stack, stack.store()).await, consumer(&stack, stack.store()).await);
    open(&stack, &opener, now).await;
    call(&ignorant, &stack, &event("first"), now + 1_000).await;
    until("it has heard", || async {
        let sent = stack.receiver.received().len();
        call(&ignorant, &stack, &event(&format!("after {sent}")), now + 1_000).await;
        stack.receiver.received().len() == sent
    })
    .await;
}

#[tokio::test]
async fn after_its_time_one_event_probes_and_a_success_closes_it() {
    let (stack, consumer, now) = down_stack().await;
    let sent = stack.receiver.received().len();
    stack.receiver.react(|_| Reaction::status(200));
    let probe = event("probe");
    assert_eq!(call(&consumer, &stack, &probe, now + 2 * MINUTE).await.outcome.word(), "processed");
    // The consumer hears of it a moment after the table has it.
    until("it is closed", || async {
        call(&consumer, &stack, &event("usual"), now + 2 * MINUTE).await.outcome.word() == "processed"
    })
    .await;
    assert_eq!(stack.receiver.received().len(), sent + 2);
}

#[tokio::test]
async fn a_probe_that_fails_keeps_it_open_for_twice_as_long() {
    let (stack, consumer, now) = down_stack().await;
    let probed_at = now + 2 * MINUTE;
    call(&consumer, &stack, &event("probe"), probed_at).await;
    until("it is open again", || async { only_breaker(&stack).await.is_some_and(|b| b.opened == 2) }).await;
    let rest = only_breaker(&stack).await.unwrap().open_until.unwrap() - probed_at;
    assert!((2 * MINUTE..3 * MINUTE).contains(&rest), "{rest}");
}

/// Named after a defect: a probe lost its leave after 32 seconds, and its success could close nothing.
#[tokio::test]
async fn a_probe_that_takes_a_minute_is_the_only_one_and_closes_the_breaker() {
    let (stack, _opener, now) = down_stack().await;
    let routes = stack.store().routes(true).await.unwrap();
    let (route, later) = (&routes.routes[0], now + 2 * MINUTE);
    let known = [consumer::breakers(stack.store()), consumer::breakers(stack.store())];
    for breakers in &known {
        breakers.read().await.unwrap();
    }
    let permit = known[0].ask(route, Duration::from_secs(60), later).await.unwrap();
    assert!(matches!(permit, Permit::Probe(_)), "{permit:?}");
    assert!(known[1].ask(route, Duration::from_secs(60), later + 59_000).await.is_err());
    known[0].note(route, permit, &Health::Up, false, later + 59_000);
    until("it is closed", || async { breakers(&stack).await.is_empty() }).await;
}

/// Named after a defect: time that a slow table had used up was charged to the destination.
#[tokio::test]
async fn silence_in_the_little_time_that_is_left_is_no_trouble() {
    let stack = stack().await;
    let silent = RawServer::start(|connection| connection.be_silent());
    apply(&stack, &format!("[[route]]\nname = \"x\"\nsource = \"strapi\"\nurl = \"{}\"\n", silent.url)).await;
    let mut consumer = consumer(&stack, stack.store()).await;
    let now = outside::now();
    let body = event("hardly any time");
    let late = Moment { now, started: Instant::now() - Duration::from_millis(6_500), deadline: None };
    assert_eq!(consumer.call(incoming_at(&stack, &body, now), late).await.outcome.word(), "transient-failure");
    let error = record(&stack, &body).await.unwrap().last_error.unwrap().text;
    assert_eq!(error, "x: no answer in the little time that was left");
    consumer.handler_timeout = Duration::from_millis(1_500);
    call(&consumer, &stack, &event("all the time that there is"), now).await;
    until("a failure is counted", || async { only_breaker(&stack).await.is_some() }).await;
    assert_eq!(only_breaker(&stack).await.unwrap().failed, 1, "the second alone");
}

#[tokio::test]
async fn of_many_environments_one_probes() {
    let (stack, _opener, now) = down_stack().await;
    let sent = stack.receiver.received().len();
    let mut consumers = Vec::new();
    for _ in 0..8 {
        consumers.push(Arc::new(consumer(&stack, stack.store()).await));
    }
    let bodies: Vec<String> = (0..8).map(|n| event(&format!("herd {n}"))).collect();
    let calls = consumers.iter().zip(&bodies).map(|(consumer, body)| call(consumer, &stack, body, now + 2 * MINUTE));
    futures::future::join_all(calls).await;
    assert_eq!(stack.receiver.received().len(), sent + 1);
}

#[tokio::test]
async fn one_event_that_fails_again_and_again_opens_nothing() {
    let stack = stack().await;
    apply_paths(&stack, &["shop"]).await;
    let consumer = consumer(&stack, stack.store()).await;
    stack.receiver.react(|_| Reaction::status(500));
    let (body, now) = (event("poisonous"), outside::now());
    for _ in 0..3 * ENOUGH {
        call(&consumer, &stack, &body, now).await;
    }
    assert_eq!(received(&stack, &body).len(), usize::try_from(3 * ENOUGH).unwrap());
    until("it was counted", || async { only_breaker(&stack).await.is_some() }).await;
    assert_eq!(only_breaker(&stack).await.unwrap().failed, 1);
}

#[tokio::test]
async fn a_destination_that_is_left_alone_does_not_hold_up_the_others() {
    let stack = stack().await;
    apply_paths(&stack, &["shop", "depot"]).await;
    let consumer = consumer(&stack, stack.store()).await;
    stack.receiver.react(|received| Reaction::status(if received.path == "/shop" { 503 } else { 200 }));
    let now = outside::now();
    for n in 0..ENOUGH {
        call(&consumer, &stack, &event(&format!("n {n}")), now).await;
    }
    probe_until_it_opens(&stack, &consumer, now).await;
    let body = event("for the depot");
    call(&consumer, &stack, &body, now + 1_000).await;
    let paths: Vec<String> = received(&stack, &body).into_iter().map(|received| received.path).collect();
    assert_eq!(paths, ["/depot"]);
}

#[tokio::test]
async fn a_healthy_destination_costs_no_write_and_a_refusal_is_no_trouble() {
    let stack = stack().await;
    apply_paths(&stack, &["shop"]).await;
    let store = stack.store().metered();
    let routes = consumer::loaded_routes(stack.store(), consumer::breakers(store.clone())).await;
    let consumer = consumer_with(&stack, store.clone(), routes);
    let now = outside::now();
    call(&consumer, &stack, &event("healthy"), now).await;
    assert_eq!(store.capacity().written, 2.0);
    stack.receiver.react(|_| Reaction::status(422));
    for n in 0..2 * ENOUGH {
        call(&consumer, &stack, &event(&format!("refused {n}")), now).await;
    }
    stack.receiver.react(|_| Reaction::status(503));
    call(&consumer, &stack, &event("counted"), now).await;
    until("the failure is counted", || async { only_breaker(&stack).await.is_some() }).await;
    let breaker = only_breaker(&stack).await.unwrap();
    assert_eq!((breaker.failed, breaker.succeeded), (1, 2 * ENOUGH + 1), "and takes the successes along");
}

#[tokio::test]
async fn a_burst_whose_successes_nobody_counted_shuts_nobody_out() {
    let stack = stack().await;
    apply_paths(&stack, &["shop"]).await;
    let now = outside::now();
    // Each environment has one event, and only those that fail tell the table, which may miss one that comes late in a race.
    until("it is in doubt", || async {
        let n = stack.receiver.received().len();
        stack.receiver.react(move |_| Reaction::status(if n.is_multiple_of(4) { 503 } else { 200 }));
        call(&consumer(&stack, stack.store()).await, &stack, &event(&format!("burst {n}")), now).await;
        only_breaker(&stack).await.is_some_and(|breaker| breaker.open_until.is_some())
    })
    .await;
    stack.receiver.react(|_| Reaction::status(200));
    let next = consumer(&stack, stack.store()).await;
    assert_eq!(call(&next, &stack, &event("next"), now + LATER).await.outcome.word(), "processed");
    until("the doubt is gone", || async { breakers(&stack).await.values().all(|b| b.open_until.is_none()) }).await;
}

#[tokio::test]
async fn routes_show_says_who_is_left_alone() {
    let (stack, ..) = down_stack().await;
    let shown = crate::support::run(&stack, &["routes", "show"]).await;
    assert!(shown.out.contains("left alone until") && shown.out.contains(": 503"), "{shown:?}");
}
