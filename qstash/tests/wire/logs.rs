//! Reference 5.3: the log.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{DAY, HOUR, Reply, START, Wire, encoded, texts};

/// A message with everything that failed twice, and its entries, the oldest first.
async fn full(wire: &Wire) -> Vec<Value> {
    wire.receiver.answer(|_| Reply::status(503).with("x-why", "a").saying("why"));
    let (callback, failure) = (wire.to("/cb"), wire.to("/failed"));
    let headers = [
        ("Content-Type", "a/b"),
        ("Upstash-Method", "PUT"),
        ("Upstash-Retries", "1"),
        ("Upstash-Timeout", "9s"),
        ("Upstash-Retry-Delay", "1000"),
        ("Upstash-Callback", &callback),
        ("Upstash-Callback-Forward-C", "2"),
        ("Upstash-Failure-Callback", &failure),
        ("Upstash-Failure-Callback-Forward-F", "3"),
        ("Upstash-Label", "l, m"),
    ];
    let id = wire.publish(&headers).await;
    wire.at(DAY).await;
    wire.log(&format!("messageId={id}")).await
}

#[tokio::test]
async fn every_entry_says_what_the_message_is() {
    let wire = Wire::start().await;
    for entry in full(&wire).await {
        for (field, value) in [
            ("header", json!({ "Content-Type": ["a/b"] })),
            ("body", json!(STANDARD.encode("body"))),
            ("url", json!(wire.to("/in"))),
            ("timeout", json!(9_000)),
            ("method", json!("PUT")),
            ("callback", json!(wire.to("/cb"))),
            ("callbackHeaders", json!({ "C": ["2"] })),
            ("failureCallback", json!(wire.to("/failed"))),
            ("failureCallbackHeaders", json!({ "F": ["3"] })),
            ("maxRetries", json!(1)),
            ("retryDelayExpression", json!("1000")),
            ("retryDelayExpr", json!("1000")),
            ("label", json!("l")),
            ("labels", json!(["l", "m"])),
        ] {
            assert_eq!(entry[field], value, "{field} of {}", entry["state"]);
        }
        assert!(entry["messageId"].is_string() && entry.get("topicName").is_none());
    }
}

#[tokio::test]
async fn an_entry_says_when_it_was_what_came_back_and_what_comes_next() {
    let wire = Wire::start().await;
    let entries = full(&wire).await;
    let rows: Vec<_> = entries
        .iter()
        .map(|one| {
            (
                one["state"].as_str().unwrap(),
                one["time"].as_i64().unwrap() - START,
                one["nextDeliveryTime"].as_i64().map(|at| at - START),
                one["responseStatus"].as_i64(),
            )
        })
        .collect();
    let expected = [
        ("CREATED", 0, Some(0), None),
        ("ACTIVE", 0, None, None),
        ("ERROR", 0, None, Some(503)),
        ("RETRY", 0, Some(1_000), Some(503)),
        ("ACTIVE", 1_000, None, None),
        ("ERROR", 1_000, None, Some(503)),
        ("FAILED", 1_000, None, Some(503)),
    ];
    assert_eq!(rows, expected);
    for entry in entries.iter().filter(|one| one["responseStatus"].is_i64()) {
        assert_eq!(entry["responseBody"], json!(STANDARD.encode("why")));
        assert_eq!(
            (&entry["responseHeaders"]["X-Why"], &entry["responseHeader"]["X-Why"]),
            (&json!(["a"]), &json!(["a"]))
        );
    }
}

#[tokio::test]
async fn an_entry_says_why_no_answer_came() {
    let wire = Wire::start().await;
    wire.call("POST", "/v2/publish/http://127.0.0.1:1/", &[("Upstash-Retries", "0")], b"").await.expect(201);
    wire.settle().await;
    let errors = wire.log("state=ERROR").await;
    assert!(errors[0]["error"].as_str().unwrap().contains("could not connect"));
}

#[tokio::test]
async fn topic_endpoint_queue_and_schedule_are_named() {
    let (wire, _) = two().await;
    let entry = wire.log("label=l").await.remove(0);
    let named = ["topicName", "endpointName", "queueName", "scheduleId"].map(|field| entry[field].clone());
    assert_eq!(named, ["t", "first", "q", "s"].map(|name| json!(name)));
}

#[tokio::test]
async fn both_endpoints_answer_the_same_entries_under_both_keys() {
    let wire = Wire::start().await;
    wire.publish(&[]).await;
    wire.settle().await;
    for path in ["/v2/logs", "/v2/events"] {
        let page = wire.get(path).await;
        let states = texts(page["events"].as_array().unwrap(), "state");
        assert_eq!(states, ["DELIVERED", "ACTIVE", "CREATED"], "{path}: the newest first");
        assert_eq!(page["events"], page["logs"], "{path}");
    }
}

#[tokio::test]
async fn pages_are_as_long_as_asked_for_and_cursors_are_texts() {
    let wire = Wire::start().await;
    for _ in 0..2 {
        wire.publish(&[]).await;
    }
    wire.settle().await;
    let first = wire.get("/v2/logs?count=4").await;
    let cursor = first["cursor"].as_str().unwrap();
    let rest = wire.get(&format!("/v2/logs?count=4&cursor={cursor}")).await;
    assert_eq!((first["logs"].as_array().unwrap().len(), rest["logs"].as_array().unwrap().len()), (4, 2));
    assert!(rest.get("cursor").is_none());
    assert_eq!(wire.call("GET", "/v2/logs?cursor=x", &[], b"").await.status, 400);
}

#[tokio::test]
async fn a_page_has_a_hundred_entries_unless_more_are_asked_for() {
    let wire = Wire::start().await;
    for _ in 0..1_001 {
        wire.publish(&[("Upstash-Delay", "1h")]).await;
    }
    for (query, count) in [("", 100), ("?count=1000", 1_000), ("?count=5000", 1_000)] {
        let page = wire.get(&format!("/v2/logs{query}")).await;
        assert_eq!(page["logs"].as_array().unwrap().len(), count, "{query}");
    }
}

/// Entries of two messages, of which each filter finds those of the first one only; with its id.
async fn two() -> (Wire, String) {
    let wire = Wire::start().await;
    let endpoints = json!({ "endpoints": [{ "url": wire.to("/in?x=1,2"), "name": "first" }] });
    wire.send_json("POST", "/v2/topics/t/endpoints", &endpoints).await.expect(200);
    let headers = [
        ("upstash-cron", "* * * * *"),
        ("Upstash-Schedule-Id", "s"),
        ("Upstash-Queue-Name", "q"),
        ("Upstash-Label", "l,m"),
    ];
    wire.call("POST", "/v2/schedules/t", &headers, b"").await.expect(201);
    wire.at(20_000).await;
    wire.delete("/v2/schedules/s").await.expect(200);
    wire.at(HOUR).await;
    let other = [("Upstash-Label", "other"), ("Upstash-Retries", "0")];
    wire.call("POST", "/v2/publish/http://127.0.0.2:1/else", &other, b"").await.expect(201);
    wire.settle().await;
    let id = wire.log("label=l").await[0]["messageId"].as_str().unwrap().to_owned();
    (wire, id)
}

#[tokio::test]
async fn each_filter_finds_the_entries_it_names() {
    let (wire, id) = two().await;
    let (url, port) = (encoded(&wire.to("/in?x=1,2")), wire.receiver.url.trim_start_matches("http://").to_owned());
    for filter in [
        "messageId=<id>",
        "messageId=<id>&messageId=msg_unknown",
        "messageId=msg_unknown,<id>",
        "url=<url>",
        "topicName=t",
        "scheduleId=s",
        "queueName=q",
        "fromDate=1780000000000&toDate=1780000020000",
        "toDate=1780000020000",
        "label=l",
        "label=none,m",
        "host=127.0.0.1",
        "host=<host>",
        "path=/in",
        "label=m&state=CREATED,ACTIVE,DELIVERED&host=127.0.0.1",
    ] {
        let filled = filter.replace("<id>", &id).replace("<url>", &url).replace("<host>", &port);
        let found = wire.log(&filled).await;
        assert_eq!(texts(&found, "state"), ["CREATED", "ACTIVE", "DELIVERED"], "{filter}");
        assert!(found.iter().all(|entry| entry["messageId"] == json!(id)), "{filter}");
    }
}

#[tokio::test]
async fn a_filter_by_queue_finds_only_what_shows_that_queue() {
    let wire = Wire::start().await;
    wire.enqueue("q", "/in", &[("Upstash-Callback", &wire.to("/cb"))]).await;
    wire.settle().await;
    let found = wire.log("queueName=q").await;
    assert_eq!(texts(&found, "queueName"), vec!["q"; found.len()], "callbacks belong to no queue: {found:#?}");
}

#[tokio::test]
async fn filters_that_nothing_meets_find_nothing() {
    let (wire, _) = two().await;
    for filter in
        ["messageId=", "topicName=u", "label=l&path=/else", "state=NONE", "host=127.0.0.3", "fromDate=9999999999999"]
    {
        assert!(wire.log(filter).await.is_empty(), "{filter}");
    }
    assert_eq!(wire.call("GET", "/v2/logs?lable=l", &[], b"").await.status, 400, "a misspelt filter is told of");
}

#[tokio::test]
async fn the_log_is_read_only() {
    let wire = Wire::start().await;
    for path in ["/v2/logs", "/v2/events"] {
        assert_eq!(wire.delete(path).await.status, 405, "{path}");
    }
}
