//! Functions whose environment was frozen between two invocations: their wall clock ran on, and their monotonic clock did not.

use std::sync::Arc;

use surehook_local::stack::PRODUCER_TOKEN;

use super::{Deployed, pairs};
use crate::{
    producer::{SECRETS, document, github, post as post_to_producer},
    support::{
        Answered, apply, apply_paths, event, post, qstash, received, relay::Relay, signature_at, wall_clock::WallClock,
    },
};

/// Functions over relays, with a wall clock of their own.
struct Frozen {
    deployed: Deployed,
    clock: Arc<WallClock>,
    table: Relay,
    qstash: Relay,
}

impl Frozen {
    async fn start(functions: &[&'static str]) -> Self {
        let clock = Arc::new(WallClock::new());
        let (mut relays, variables) = (None, clock.variables());
        let deployed = Deployed::start(functions, |stack| {
            let (table, qstash) = relays.insert((Relay::to(&stack.dynamo.url), Relay::to(&stack.qstash.url)));
            let places = pairs([
                ("AWS_ENDPOINT_URL_DYNAMODB", &table.url),
                ("QSTASH_URL", &qstash.url),
                ("SOURCE_SECRETS", SECRETS),
            ]);
            move |_| variables.iter().chain(&places).cloned().collect()
        })
        .await;
        let (table, qstash) = relays.unwrap();
        Self { deployed, clock, table, qstash }
    }

    /// Delivers a Strapi event at the time of the functions.
    async fn deliver(&self, body: &str) -> Answered {
        let stack = &self.deployed.stack;
        let url = stack.function_url("consumer/strapi");
        post(&url, Some(signature_at(stack, &url, body.as_bytes(), self.clock.seconds())), body.as_bytes()).await
    }

    /// The paths of the receiver that got a new event.
    async fn paths_of(&self, name: &str) -> Vec<String> {
        let body = event(name);
        assert_eq!(self.deliver(&body).await.word(), "processed", "{name}");
        let mut paths: Vec<_> = received(&self.deployed.stack, &body).into_iter().map(|sent| sent.path).collect();
        paths.sort();
        paths
    }
}

#[tokio::test]
async fn a_source_that_was_applied_while_the_producer_was_frozen_is_accepted_at_once() {
    let frozen = Frozen::start(&["producer"]).await;
    let stack = &frozen.deployed.stack;
    qstash(stack).add_endpoints("github", &[format!("{}/github", stack.receiver.url)]).await.unwrap();
    let push = |delivery: &str| github("new-gh", delivery, "{}");
    assert_eq!(post_to_producer(stack, "github", &push("1"), "{}").await.status, 401, "its source is unknown");
    apply(stack, &document(stack)).await;
    frozen.clock.freeze_for(600);
    assert_eq!(post_to_producer(stack, "github", &push("2"), "{}").await.status, 202);
}

#[tokio::test]
async fn a_destination_that_was_added_while_the_consumer_was_frozen_gets_the_next_event() {
    let frozen = Frozen::start(&["consumer"]).await;
    let stack = &frozen.deployed.stack;
    apply_paths(stack, &["a"]).await;
    assert_eq!(frozen.paths_of("before").await, ["/a"]);
    apply_paths(stack, &["a", "b"]).await;
    frozen.clock.freeze_for(121);
    assert_eq!(frozen.paths_of("added").await, ["/a", "/b"]);
    apply_paths(stack, &["b"]).await;
    frozen.clock.freeze_for(121);
    assert_eq!(frozen.paths_of("removed").await, ["/b"]);
}

#[tokio::test]
async fn a_freeze_of_half_a_minute_empties_the_pools_and_a_shorter_one_does_not() {
    let frozen = Frozen::start(&["consumer", "producer"]).await;
    let stack = &frozen.deployed.stack;
    let shop = Relay::to(&stack.receiver.url);
    apply(stack, &format!("[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"{}/shop\"\n", shop.url)).await;
    qstash(stack).add_endpoints("orders", &[format!("{}/orders", stack.receiver.url)]).await.unwrap();
    let mut connections = Vec::new();
    // The host's deadlines go by its own clock. From a lead of half a minute on the functions take them for unknown.
    for seconds in [60, 29, 31] {
        frozen.clock.freeze_for(seconds);
        assert_eq!(frozen.deliver(&event(&format!("after {seconds} s"))).await.word(), "processed");
        let order = [("authorization".to_owned(), format!("Bearer {PRODUCER_TOKEN}"))];
        let posted = post_to_producer(stack, "orders", &order, r#"{"eventType": "a", "data": 1}"#).await;
        assert_eq!(posted.status, 202);
        connections.push([shop.connections(), frozen.qstash.connections(), frozen.table.connections()]);
    }
    let [first, short, long] = connections[..] else { unreachable!("three freezes") };
    assert_eq!(short, first, "29 s");
    // Both functions connect to the table, and a read beside another one may make a second connection.
    assert_eq!(([long[0], long[1]], long[2] > first[2]), ([first[0] + 1, first[1] + 1], true), "31 s");
}
