//! What waits although nobody will bring it again is found and shown.

use serde_json::json;
use surehook::outside;

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
