//! A scripted migration. The old region delivers, fails and calls back for three more days, while new events go to the new region.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use surehook::{ledger::Status, qstash::Region};
use surehook_local::{qstash::Fault, receiver::Reaction, stack::PRODUCER_TOKEN};

use super::World;
use crate::support::{accepted, event, letters, received, record};

/// What is published to the old region before the migration, and to the new one after it.
struct Sent {
    old: Vec<String>,
    new: Vec<String>,
    /// Events that came through the producer, by number.
    orders: Vec<usize>,
}

/// The receiver answers these with 422 until it is repaired.
const REFUSED: &str = "refused";

async fn order(world: &World, number: usize) {
    let request = reqwest::Client::new().post(format!("{}/orders", world.stack.function_url("producer")));
    let body = json!({"eventType": "order.paid", "data": {"n": number}});
    let request = request.bearer_auth(PRODUCER_TOKEN).header("idempotency-key", format!("order-{number}"));
    let status = request.body(body.to_string()).send().await.unwrap().status();
    assert_eq!(status, 202, "order {number}");
}

fn orders_accepted(world: &World, number: usize) -> usize {
    let is_order = |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        body["data"]["n"] == json!(number) && body["eventType"] == "order.paid"
    };
    let received = world.stack.receiver.received();
    received.iter().filter(|sent| sent.status == 200 && is_order(&sent.body)).count()
}

/// Publishes three ordinary events, one that is rejected for good, and one whose body QStash does not show.
async fn publish_five(world: &World, region: Region) -> Vec<String> {
    let side = world.side(region);
    let mut bodies: Vec<String> = (0..3).map(|number| event(&format!("{region} {number}"))).collect();
    bodies.push(event(&format!("{region} {REFUSED}")));
    for body in &bodies {
        side.publish(body).await;
    }
    bodies.push(event(&format!("{region} redacted")));
    side.publish_with(&bodies[4], &[("upstash-redact-fields", "body")]).await;
    bodies
}

/// Five days of a stack that moves from Europe to the United States on the first of them.
async fn live_through(world: &mut World) -> Sent {
    let is_down = std::sync::Arc::clone(&world.is_down);
    let is_refused = |body: &[u8]| String::from_utf8_lossy(body).contains(REFUSED);
    world.stack.receiver.react(move |received| match is_down.load(Ordering::SeqCst) {
        true if is_refused(&received.body) => Reaction::status(422),
        true => Reaction::status(503),
        false => Reaction::status(200),
    });
    let old = publish_five(world, Region::EuCentral1).await;
    order(world, 1).await;
    world.pass(5).await;
    world.restart(Region::UsEast1, &[Region::EuCentral1]).await;
    let new = publish_five(world, Region::UsEast1).await;
    order(world, 2).await;
    world.eu.qstash.set_faults(&[Fault::LoseCallback]);
    world.pass(24).await;
    world.eu.qstash.set_faults(&[Fault::RepeatCallback, Fault::Duplicate]);
    world.pass(24).await;
    world.eu.qstash.set_faults(&[]);
    assert!(world.eu.qstash.pending() > 0, "the old region still delivers on the third day");
    assert!(world.us.qstash.pending() > 0, "and so does the new one");
    world.pass(12).await;
    world.receiver_is_down(false);
    world.pass(36).await;
    Sent { old, new, orders: vec![1, 2] }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_sent_twice_while_the_old_region_goes_on_for_three_days() {
    let mut world = World::start().await;
    let sent = live_through(&mut world).await;
    let mut reasons: Vec<String> =
        letters(&world.stack).await.iter().map(|letter| letter["reason"].as_str().unwrap().to_owned()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["permanent", "permanent", "redacted", "redacted"], "one of each in each region");
    let replayed = world.replay_all().await;
    assert_eq!(replayed["replayed"]["refused"], json!([]), "{replayed}");
    world.pass(1).await;
    world.sweep().await;
    for body in sent.old.iter().chain(&sent.new) {
        assert_eq!(accepted(&world.stack, body), 1, "{body}");
        assert_eq!(record(&world.stack, body).await.unwrap().status, Status::Done, "{body}");
        assert!(received(&world.stack, body).len() > 1, "{body} failed before");
    }
    for number in &sent.orders {
        assert_eq!(orders_accepted(&world, *number), 1, "order {number}");
    }
    assert_eq!((world.eu.dead().await, world.us.dead().await), (0, 0));
    assert_eq!((world.eu.qstash.pending(), world.us.qstash.pending()), (0, 0));
    assert!(letters(&world.stack).await.is_empty());
    assert!(world.stack.store().stranded(i64::MAX, 10).await.unwrap().is_empty(), "something still waits");
    assert!(world.stack.store().pending_replays(10).await.unwrap().is_empty());
    stays_in_its_region(&world, &sent).await;
}

/// Each event was requeued and replayed where it was published.
async fn stays_in_its_region(world: &World, sent: &Sent) {
    for (bodies, own, other) in [(&sent.old, &world.eu, &world.us), (&sent.new, &world.us, &world.eu)] {
        // The log shows no redacted body.
        for body in &bodies[..4] {
            assert_eq!(other.messages_of(body).await, 0, "{body}");
            assert!(own.messages_of(body).await > 1, "{body}");
        }
    }
}
