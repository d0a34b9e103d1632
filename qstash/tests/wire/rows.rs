//! The rows of the page: counters, list and search are about the same messages.

use serde_json::{Value, json};

use surehook_qstash::Settings;

use crate::support::{Reply, Wire, stepped};

/// A server with five delivered messages, and two failed ones.
async fn with_seven() -> Wire {
    let wire = Wire::start().await;
    wire.receiver.answer(|received| Reply::status(if received.target.starts_with("/bad") { 500 } else { 200 }));
    for path in ["/1", "/2", "/3", "/4", "/5", "/bad/6", "/bad/7"] {
        wire.publish_to(path, &[("Upstash-Retries", "0")]).await.expect(201);
        wire.settle().await;
    }
    wire
}

fn urls(rows: &Value) -> Vec<String> {
    let messages = rows["messages"].as_array().unwrap().iter();
    messages.map(|row| row["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_counters_the_list_and_the_search_are_about_the_same_messages() {
    let wire = with_seven().await;
    let listed = wire.get("/_surehook/state").await["listed"].take();
    let expected = json!({ "all": 7, "waiting": 0, "active": 0, "delivered": 5, "failed": 2, "cancelled": 0 });
    assert_eq!(listed, expected);
    for (query, total) in
        [("", 7), ("?state=failed", 2), ("?state=delivered", 5), ("?search=BAD+failed", 2), ("?search=nothing", 0)]
    {
        assert_eq!(wire.get(&format!("/_surehook/messages{query}")).await["total"], json!(total), "{query}");
    }
    for bad in ["?state=dead", "?after=x", "?count=-1"] {
        assert_eq!(wire.call("GET", &format!("/_surehook/messages{bad}"), &[], b"").await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn older_messages_are_reached_page_by_page() {
    let wire = with_seven().await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let rows = wire.get(&format!("/_surehook/messages?count=3{after}")).await;
        seen.extend(urls(&rows));
        let Some(next) = rows["next"].as_u64() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, ["7", "6", "5", "4", "3", "2", "1"]);
}

#[tokio::test]
async fn a_failed_message_that_has_left_the_dead_letter_queue_has_no_entry_to_retry() {
    let wire = with_seven().await;
    let failed = wire.get("/_surehook/messages?state=failed").await["messages"].take();
    let [gone, left] = [0, 1].map(|at| failed[at].clone());
    let id = gone["dlqId"].as_str().unwrap();
    wire.call("DELETE", &format!("/v2/dlq/{id}"), &[], b"").await.expect(200);
    let failed = wire.get("/_surehook/messages?state=failed").await["messages"].take();
    assert_eq!([&failed[0]["dlqId"], &failed[1]["dlqId"]], [&Value::Null, &left["dlqId"]]);
    let detail = wire.get(&format!("/_surehook/messages/{}", gone["messageId"].as_str().unwrap())).await;
    assert_eq!((&detail["state"], &detail["dlqId"]), (&json!("FAILED"), &Value::Null));
}

#[tokio::test]
async fn older_dead_letters_are_reached_and_found_and_shown_when_the_log_has_forgotten_them() {
    let wire = Wire::with(Settings { log_entries: 1, ..stepped() }).await;
    wire.receiver.answer_all(500);
    for path in ["/1", "/2", "/3"] {
        wire.publish_to(path, &[("Upstash-Retries", "0")]).await.expect(201);
        wire.settle().await;
    }
    let first = wire.get("/_surehook/dlq?count=2").await;
    assert_eq!((urls(&first), &first["total"]), (vec!["3".to_owned(), "2".to_owned()], &json!(3)));
    let rest = wire.get(&format!("/_surehook/dlq?count=2&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!((urls(&rest), &rest["next"]), (vec!["1".to_owned()], &Value::Null));
    let found = wire.get(&format!("/_surehook/dlq?search={}", wire.to("/1"))).await;
    assert_eq!((urls(&found), &found["total"]), (vec!["1".to_owned()], &json!(1)));
    let row = &rest["messages"][0];
    let detail = wire.get(&format!("/_surehook/messages/{}", row["messageId"].as_str().unwrap())).await;
    assert_eq!((&detail["state"], &detail["dlqId"]), (&json!("FAILED"), &row["dlqId"]));
    assert_eq!(wire.call("GET", "/_surehook/dlq?after=x", &[], b"").await.status, 400);
}
