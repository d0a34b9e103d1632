//! What waits although nobody will bring it again is found and shown.

use serde_json::json;
use surehook::{
    outside,
    store::{OPEN_SHARDS, dynamodb::types::AttributeValue},
};
use surehook_local::{Stack, stack::TABLE};

use crate::support::{
    deliver, event, key,
    ledger::{claim, failure, nothing},
    operate, stack,
};

/// When the first of these events failed: longer ago than every retry can take.
const LONG_AGO: i64 = 1_700_000_000_000;

/// An event that failed at this time.
async fn fail(stack: &Stack, name: &str, at: i64) {
    let (store, key) = (stack.store(), key(stack, &event(name)));
    let held = store.claim(&key, &claim("w", at)).await.unwrap();
    store.fail(&key, &held, &nothing(), &failure(), at).await.unwrap();
}

/// Notes an event's place in the index, as a version with other places would.
pub(crate) async fn place(stack: &Stack, name: &str, shard: u8) {
    let pk = AttributeValue::S(format!("e#{}", key(stack, &event(name))));
    let request = stack.dynamo.client().update_item().table_name(TABLE).update_expression("SET #open = :open");
    let request = request.key("pk", pk).key("sk", AttributeValue::S("ledger".into()));
    let request = request.expression_attribute_names("#open", "open");
    request.expression_attribute_values(":open", AttributeValue::S(format!("open#{shard}"))).send().await.unwrap();
}

/// The partitions of the index are asked some at a time, and what each round found is cut to the limit.
#[tokio::test]
async fn what_waits_is_listed_the_oldest_first_wherever_it_stands() {
    let stack = stack().await;
    let count = i64::from(OPEN_SHARDS) * 2;
    for n in 0..count {
        // Neither in the order of their times nor in that of their keys.
        fail(&stack, &n.to_string(), LONG_AGO + n * 37 % count).await;
    }
    let listed = async |before, limit| {
        let found = stack.store().stranded(before, limit).await.unwrap();
        found.iter().map(|waiting| waiting.since - LONG_AGO).collect::<Vec<_>>()
    };
    assert_eq!(listed(i64::MAX, 1_000).await, Vec::from_iter(0..count));
    assert_eq!(listed(i64::MAX, 50).await, Vec::from_iter(0..50));
    assert_eq!(listed(LONG_AGO + 10, 50).await, Vec::from_iter(0..10));
}

/// The eight places of older versions are among those of today.
#[tokio::test]
async fn what_waits_is_found_in_every_place_of_the_index_and_leaves_it_when_it_is_taken_up() {
    let stack = stack().await;
    for shard in 0..OPEN_SHARDS {
        let name = format!("at {shard}");
        fail(&stack, &name, LONG_AGO).await;
        place(&stack, &name, shard).await;
    }
    let store = stack.store();
    assert_eq!(store.stranded(i64::MAX, 1_000).await.unwrap().len(), usize::from(OPEN_SHARDS));
    for shard in 0..OPEN_SHARDS {
        let key = key(&stack, &event(&format!("at {shard}")));
        store.claim(&key, &claim("w", LONG_AGO + 1)).await.unwrap();
    }
    assert!(store.stranded(i64::MAX, 1_000).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_event_whose_worker_died_and_that_qstash_forgot_is_listed_as_stranded() {
    let stack = stack().await;
    let body = event("forgotten");
    let long_ago = outside::now() - 30 * 86_400_000;
    stack.store().claim(&key(&stack, &body), &claim("dead", long_ago)).await.unwrap();
    let shallow = operate(&stack, json!({"command": "stranded"})).await;
    assert_eq!(shallow["stranded"], json!([]), "only a look through the table finds it");
    let deep = operate(&stack, json!({"command": "stranded", "deep": true})).await;
    assert_eq!(deep["stranded"].as_array().unwrap().len(), 1, "{deep}");
    assert_eq!(deep["stranded"][0]["since"], long_ago + 11_000);
    assert_eq!(operate(&stack, json!({"command": "sweep"})).await["swept"]["stranded"], 1);
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "conflict", "it is still the same record");
}

#[tokio::test]
async fn a_waiting_record_that_can_not_be_read_is_shown_and_hides_no_other() {
    let stack = stack().await;
    let long_ago = outside::now() - 30 * 86_400_000;
    for name in ["sound", "damaged"] {
        stack.store().claim(&key(&stack, &event(name)), &claim("dead", long_ago)).await.unwrap();
    }
    let damaged = key(&stack, &event("damaged"));
    let request = stack.dynamo.client().update_item().table_name(TABLE).update_expression("REMOVE content_sha256");
    let request =
        request.key("pk", AttributeValue::S(format!("e#{damaged}"))).key("sk", AttributeValue::S("ledger".into()));
    request.send().await.unwrap();
    let deep = operate(&stack, json!({"command": "stranded", "deep": true})).await;
    let shown = deep["stranded"].as_array().unwrap();
    assert_eq!(shown.len(), 2, "{deep}");
    let broken = shown.iter().find(|shown| shown["event"] == damaged.as_str()).unwrap();
    assert!(broken["error"].as_str().unwrap().contains("content_sha256"), "{broken}");
}

/// What an older version does not know it would drop with its next write.
#[tokio::test]
async fn a_record_that_a_newer_version_wrote_is_left_as_it_is() {
    let stack = stack().await;
    let body = event("newer");
    let key = key(&stack, &body);
    stack.store().claim(&key, &claim("dead", 1_000)).await.unwrap();
    let request = stack.dynamo.client().update_item().table_name(TABLE).update_expression("SET v = :v");
    let request =
        request.key("pk", AttributeValue::S(format!("e#{key}"))).key("sk", AttributeValue::S("ledger".into()));
    request.expression_attribute_values(":v", AttributeValue::N("2".into())).send().await.unwrap();
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "store-away", "QStash comes again");
    let error = stack.store().record(&key).await.unwrap_err().to_string();
    assert!(error.contains("newer version (v 2)"), "{error}");
    assert!(crate::support::received(&stack, &body).is_empty());
}
