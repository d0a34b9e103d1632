//! Dead letters of a region: replayed there, and what becomes of them once the region is given up.

use serde_json::json;
use surehook::store::dynamodb::types::AttributeValue;
use surehook::{ledger::DeadLetter, qstash::Region};
use surehook_local::{receiver::Reaction, stack::TABLE};

use super::World;
use crate::support::{accepted, event, letters};

/// Makes dead letters in Europe of an event that is rejected and of one whose body is redacted, so that there are so many in all.
async fn letters_in_europe(world: &mut World, all: usize) -> (String, String) {
    world.stack.receiver.react(|_| Reaction::status(422));
    let (shown, redacted) = (event("shown"), event("redacted"));
    world.eu.publish(&shown).await;
    world.eu.publish_with(&redacted, &[("upstash-redact-fields", "body")]).await;
    world.pass(1).await;
    assert_eq!((letters(&world.stack).await.len(), world.eu.dead().await), (all, 1), "the redacted entry stays");
    world.stack.receiver.react(|_| Reaction::status(200));
    (shown, redacted)
}

/// Takes the region from each letter, as it was before letters had one.
async fn forget_regions(world: &World) {
    for letter in letters(&world.stack).await {
        let (key, fence) = DeadLetter::parse_id(letter["id"].as_str().unwrap()).unwrap();
        let text = |text: String| AttributeValue::S(text);
        let update = world.stack.dynamo.client().update_item().table_name(TABLE);
        let update = update.key("pk", text(format!("e#{key}"))).key("sk", text(format!("dead-letter#{fence:020}")));
        update.update_expression("REMOVE qstash_region").send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_are_older_than_the_names_of_regions_are_found() {
    let mut world = World::start().await;
    // Both regions get an entry of one id, because their clocks stand at the same time.
    let american = event("redacted in the United States");
    world.stack.receiver.react(|_| Reaction::status(422));
    world.us.publish_with(&event("first in the United States"), &[]).await;
    world.us.publish_with(&american, &[("upstash-redact-fields", "body")]).await;
    let (shown, redacted) = letters_in_europe(&mut world, 4).await;
    assert_eq!(world.eu.only_entry().await, world.us.only_entry().await, "the test needs equal ids");
    forget_regions(&world).await;
    world.restart(Region::UsEast1, &[Region::EuCentral1]).await;
    let replayed = world.replay_all().await;
    assert_eq!(replayed["replayed"]["refused"], json!([]), "{replayed}");
    world.pass(1).await;
    assert_eq!([&shown, &redacted, &american].map(|body| accepted(&world.stack, body)), [1, 1, 1]);
    assert_eq!((world.eu.dead().await, world.us.dead().await, letters(&world.stack).await.len()), (0, 0, 0));
    assert_eq!(world.us.messages_of(&shown).await, 1, "a body that the table has is published to the own region");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_region_a_letter_is_published_to_the_own_one_and_a_redacted_one_says_what_is_missing() {
    let mut world = World::start().await;
    let (shown, redacted) = letters_in_europe(&mut world, 2).await;
    world.restart(Region::UsEast1, &[]).await;
    let replayed = world.replay_all().await;
    let refused = replayed["replayed"]["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 1, "{replayed}");
    let why = refused[0][1].as_str().unwrap();
    assert!(why.contains("region EU_CENTRAL_1") && why.contains("EU_CENTRAL_1_QSTASH_TOKEN is not set"), "{why}");
    world.pass(1).await;
    assert_eq!((accepted(&world.stack, &shown), accepted(&world.stack, &redacted)), (1, 0));
    assert_eq!(world.us.messages_of(&shown).await, 1);
    // With the region again, the letter is as it was.
    world.restart(Region::UsEast1, &[Region::EuCentral1]).await;
    let replayed = world.replay_all().await;
    assert_eq!(replayed["replayed"]["refused"], json!([]), "{replayed}");
    world.pass(1).await;
    assert_eq!((accepted(&world.stack, &redacted), letters(&world.stack).await.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_a_region_that_is_not_configured_are_rejected() {
    let mut world = World::start().await;
    world.receiver_is_down(false);
    world.restart(Region::UsEast1, &[]).await;
    let body = event("of a region that nobody configured");
    world.eu.publish(&body).await;
    world.pass(1).await;
    assert_eq!(accepted(&world.stack, &body), 0);
    let entry = world.eu.client.dlq_page(None, 10, usize::MAX).await.unwrap();
    assert_eq!(entry.entries().next().unwrap().unwrap().status(), 401);
    // The entry waits for its region.
    world.restart(Region::UsEast1, &[Region::EuCentral1]).await;
    world.sweep().await;
    world.pass(12).await;
    assert_eq!((accepted(&world.stack, &body), world.eu.dead().await), (1, 0));
}
