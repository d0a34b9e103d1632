//! Whatever fails between any two steps of the consumer, QStash's next deliveries bring the event to its end: once, where
//! the effect is in the table; and where it is at an HTTP destination, at least once and always with the same `webhook-id`.

use surehook::{
    ledger::Status,
    outside,
    web::{Answer, Moment, Outcome},
};
use surehook_consumer::{Consumer, Handler};
use surehook_local::{Stack, receiver::Reaction};
use tokio::time::Instant;

use crate::support::{
    accepted, apply,
    consumer::{Counting, breakers, consumer_with, incoming_at, routes_cache, times_counted, with_handler},
    event,
    fuse::{Fault, Fuse},
    record, stack, webhook_ids,
};

/// More than the steps of any path.
const MOST_STEPS: usize = 20;
/// Longer than a lease, in milliseconds.
const LATER: i64 = 60_000;

/// One delivery at a time of the test's choice.
async fn deliver<H: Handler>(consumer: &Consumer<H>, stack: &Stack, body: &str, now: i64) -> Answer {
    let moment = Moment { now, started: Instant::now(), deadline: None };
    consumer.call(incoming_at(stack, body, now), moment).await
}

/// Delivers through the fuse, then again without it until the consumer takes it, as QStash does.
async fn play<H: Handler>(
    stack: &Stack,
    fuse: &Fuse,
    (step, fault): (usize, Fault),
    handler: impl Fn(Consumer<surehook_consumer::deliver::Deliverer>) -> Consumer<H>,
) -> (String, Option<String>, bool) {
    let body = event(&format!("{fault:?} {step}"));
    let routes = routes_cache(fuse.store(), breakers(stack.store()));
    let consumer = handler(consumer_with(stack, fuse.store(), routes));
    let start = outside::now();
    fuse.arm(step, fault);
    let first = fuse.run(deliver(&consumer, stack, &body, start)).await;
    let hit = fuse.disarm();
    let answered = first.is_some_and(|answer| is_taken(&answer));
    let mut taken = answered;
    for round in 1..=3 {
        if !taken {
            taken = is_taken(&deliver(&consumer, stack, &body, start + round * LATER).await);
        }
    }
    assert!(taken, "{fault:?} {step}: {hit:?}");
    assert_eq!(record(stack, &body).await.unwrap().status, Status::Done, "{fault:?} {step}: {hit:?}");
    (body, hit, answered)
}

fn is_taken(answer: &Answer) -> bool {
    matches!(answer.outcome, Outcome::Processed | Outcome::Duplicate)
}

#[tokio::test]
async fn an_effect_in_the_table_happens_once_whatever_fails() {
    let stack = stack().await;
    let fuse = Fuse::new(&stack);
    let mut points = 0;
    for fault in Fault::ALL {
        let mut hits = Vec::new();
        for step in 0..MOST_STEPS {
            let (body, hit, _) = play(&stack, &fuse, (step, fault), |consumer| with_handler(consumer, Counting)).await;
            assert_eq!(times_counted(&stack, &body).await, 1, "{fault:?} {step}: {hit:?}");
            let Some(hit) = hit else { break };
            hits.push(hit);
        }
        points += hits.len();
        println!("consumer with writes of its own, {fault:?} at each of {}: {}", hits.len(), hits.join(", "));
        assert_eq!(hits, ["GetItem", "UpdateItem", "TransactWriteItems"]);
    }
    println!("consumer with writes of its own: {points} points");
}

#[tokio::test]
async fn an_effect_at_a_destination_happens_at_least_once_and_under_one_id_whatever_fails() {
    let stack = stack().await;
    let fuse = Fuse::new(&stack);
    apply(
        &stack,
        &format!("[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"{}/shop\"\n", fuse.receiver_url()),
    )
    .await;
    stack.receiver.react(|_| Reaction::status(200));
    let mut points = 0;
    for fault in Fault::ALL {
        let mut hits = Vec::new();
        for step in 0..MOST_STEPS {
            let (body, hit, answered) = play(&stack, &fuse, (step, fault), |consumer| consumer).await;
            let times = accepted(&stack, &body);
            assert_eq!(webhook_ids(&stack, &body).len(), 1, "{fault:?} {step}: {hit:?}");
            // Who answered 2xx is never followed by a second delivery. Otherwise the destination may have accepted without
            // our knowing, which HTTP cannot tell.
            assert!(times == 1 || (times == 2 && !answered), "{fault:?} {step}: {times} times, {hit:?}");
            let Some(hit) = hit else { break };
            hits.push(if times == 1 { hit } else { format!("{hit} (sent twice)") });
        }
        points += hits.len();
        println!("consumer with a destination, {fault:?} at each of {}: {}", hits.len(), hits.join(", "));
        assert_eq!(hits.len(), 4, "routes, claim, destination, complete");
    }
    println!("consumer with a destination: {points} points");
}
