//! What waits although nobody will bring it again is found and shown.

use serde_json::json;
use surehook::{outside, store::dynamodb::types::AttributeValue};
use surehook_local::stack::TABLE;

use crate::support::{deliver, event, key, ledger::claim, operate, stack};

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
