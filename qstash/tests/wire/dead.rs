//! Reference 5.2: the dead-letter queue.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{HOUR, Pairs, Reply, START, Wire, encoded, texts};

/// A server whose destination refuses everything.
async fn refusing() -> Wire {
    let wire = Wire::start().await;
    wire.receiver.answer(|received| {
        let status = if received.target.starts_with("/gone") { 410 } else { 500 };
        Reply::status(status).with("x-why", "a").with("x-why", "b").saying("why")
    });
    wire
}

/// Publishes something that fails at once.
async fn kill(wire: &Wire, path: &str, headers: Pairs<'_>) -> String {
    let answer = wire.publish_to(path, &[headers, &[("Upstash-Retries", "0")]].concat()).await.expect(201);
    wire.settle().await;
    answer.id()
}

/// A server with so many dead, of different times.
async fn with_dead(count: usize) -> Wire {
    let wire = refusing().await;
    for number in 0..count {
        wire.at(number as i64).await;
        kill(&wire, &format!("/{number}"), &[]).await;
    }
    wire
}

#[tokio::test]
async fn an_entry_is_the_message_with_the_last_answer() {
    let wire = refusing().await;
    let id = kill(&wire, "/in", &[("Content-Type", "a/b"), ("Upstash-Label", "l")]).await;
    let mut entry = wire.dead().await.remove(0);
    let answer_headers = entry["responseHeader"].take();
    assert_eq!(answer_headers["X-Why"], json!(["a", "b"]));
    let expected = json!({
        "messageId": id,
        "dlqId": format!("{START}-0"),
        "url": wire.to("/in"),
        "method": "POST",
        "header": { "Content-Type": ["a/b"] },
        "body": "body",
        "maxRetries": 0,
        "notBefore": START,
        "createdAt": START,
        "callerIP": "127.0.0.1",
        "callerIp": "127.0.0.1",
        "label": "l",
        "labels": ["l"],
        "responseStatus": 500,
        "responseHeader": null,
        "responseBody": "why",
    });
    assert_eq!(entry, expected);
}

#[tokio::test]
async fn an_answer_that_is_no_text_is_shown_in_base64() {
    let wire = Wire::start().await;
    wire.receiver.answer(|_| Reply::status(500).saying(b"\xff\x00".to_vec()));
    kill(&wire, "/in", &[]).await;
    let entry = wire.dead().await.remove(0);
    assert_eq!((entry.get("responseBody"), &entry["responseBodyBase64"]), (None, &json!(STANDARD.encode(b"\xff\x00"))));
}

#[tokio::test]
async fn an_entry_is_found_by_its_id_and_deleted_once() {
    let wire = with_dead(1).await;
    let entry = wire.dead().await.remove(0);
    let path = format!("/v2/dlq/{}", entry["dlqId"].as_str().unwrap());
    assert_eq!(wire.get(&path).await, entry);
    assert_eq!(wire.delete(&path).await.expect(200).body, Value::Null);
    assert_eq!(wire.delete(&path).await.status, 404);
    assert_eq!(wire.call("GET", &path, &[], b"").await.status, 404);
}

#[tokio::test]
async fn pages_are_as_long_as_asked_for_and_the_last_has_no_cursor() {
    let wire = with_dead(5).await;
    let mut seen = Vec::new();
    let mut query = String::new();
    loop {
        let page = wire.get(&format!("/v2/dlq?count=2{query}")).await;
        seen.push(texts(page["messages"].as_array().unwrap(), "url"));
        match page.get("cursor") {
            Some(cursor) => query = format!("&cursor={}", cursor.as_str().unwrap()),
            None => break,
        }
    }
    let pages = [&["/0", "/1"][..], &["/2", "/3"], &["/4"]];
    let expected = pages.map(|page| page.iter().map(|path| wire.to(path)).collect::<Vec<_>>());
    assert_eq!(seen, expected, "the oldest first");
}

#[tokio::test]
async fn an_order_of_older_clients_is_ignored() {
    let wire = with_dead(2).await;
    let page = wire.get("/v2/dlq?order=latestFirst").await;
    assert_eq!(texts(page["messages"].as_array().unwrap(), "url"), [wire.to("/0"), wire.to("/1")]);
}

#[tokio::test]
async fn a_page_has_a_hundred_entries_at_most() {
    let wire = refusing().await;
    for _ in 0..101 {
        wire.publish(&[("Upstash-Retries", "0")]).await;
    }
    wire.settle().await;
    for query in ["", "?count=100", "?count=1000"] {
        let page = wire.get(&format!("/v2/dlq{query}")).await;
        assert_eq!((page["messages"].as_array().unwrap().len(), page["cursor"].is_string()), (100, true), "{query}");
    }
}

/// Three dead, of which each filter finds the first one only; with the ids of that one.
async fn three() -> (Wire, String, String) {
    let wire = refusing().await;
    wire.topic("t", &["/gone?x=1"]).await;
    let headers = [
        ("Upstash-Retries", "0"),
        ("Upstash-Label", "l,m"),
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", "rate=1"),
        ("Upstash-Schedule-Id", "s"),
        ("Upstash-Queue-Name", "q"),
        ("upstash-cron", "* * * * *"),
    ];
    wire.call("POST", "/v2/schedules/t", &headers, b"body").await.expect(201);
    wire.at(20_000).await;
    wire.delete("/v2/schedules/s").await.expect(200);
    wire.at(HOUR).await;
    kill(&wire, "/two", &[("Upstash-Label", "other")]).await;
    kill(&wire, "/three", &[]).await;
    let first = wire.dead().await.remove(0);
    let text = |field: &str| first[field].as_str().unwrap().to_owned();
    (wire, text("messageId"), text("dlqId"))
}

const FILTERS: [&str; 15] = [
    "messageId=<message>",
    "dlqIds=<entry>",
    "dlqIds=<entry>&dlqIds=1-0",
    "dlqIds=1-0,<entry>",
    "url=<url>",
    "topicName=t",
    "scheduleId=s",
    "queueName=q",
    "toDate=1780000020000",
    "fromDate=1780000020000&toDate=1780000020000",
    "responseStatus=410",
    "responseStatus=404,410",
    "label=l",
    "label=none,m",
    "flowControlKey=k",
];

fn filled(filter: &str, wire: &Wire, message: &str, entry: &str) -> String {
    let url = encoded(&wire.to("/gone?x=1"));
    filter.replace("<message>", message).replace("<entry>", entry).replace("<url>", &url)
}

#[tokio::test]
async fn each_filter_lists_what_it_finds() {
    let (wire, message, entry) = three().await;
    for filter in FILTERS {
        let page = wire.get(&format!("/v2/dlq?{}", filled(filter, &wire, &message, &entry))).await;
        assert_eq!(texts(page["messages"].as_array().unwrap(), "dlqId"), [entry.as_str()], "{filter}");
    }
    for (filter, count) in [
        ("callerIp=127.0.0.1", 3),
        ("callerIp=10.0.0.1", 0),
        ("label=l&responseStatus=500", 0),
        ("fromDate=1780000020001", 2),
    ] {
        let page = wire.get(&format!("/v2/dlq?{filter}")).await;
        assert_eq!(page["messages"].as_array().unwrap().len(), count, "{filter}");
    }
}

#[tokio::test]
async fn each_filter_deletes_what_it_finds_and_nothing_else() {
    for filter in FILTERS {
        let (wire, message, entry) = three().await;
        let answer = wire.delete(&format!("/v2/dlq?{}", filled(filter, &wire, &message, &entry))).await.expect(200);
        assert_eq!(answer.body["deleted"], json!(1), "{filter}");
        assert!(wire.dead().await.iter().all(|one| one["dlqId"] != json!(entry)), "{filter}");
        assert_eq!(wire.qstash.dlq_len(), 2, "{filter}");
    }
}

#[tokio::test]
async fn each_filter_retries_what_it_finds_and_nothing_else() {
    for filter in FILTERS.into_iter().filter(|filter| !filter.contains("1-0")) {
        let (wire, message, entry) = three().await;
        wire.receiver.forget();
        let answer = wire.post(&format!("/v2/dlq/retry?{}", filled(filter, &wire, &message, &entry))).await.expect(201);
        assert_eq!(answer.body["responses"].as_array().unwrap().len(), 1, "{filter}");
        assert!(answer.body["responses"][0]["messageId"].is_string(), "{filter}");
        wire.settle().await;
        assert_eq!(wire.receiver.targets(), ["/gone?x=1"], "{filter}");
    }
}

#[tokio::test]
async fn deleting_by_filter_is_bounded_by_count_and_goes_on_at_a_cursor() {
    let wire = with_dead(5).await;
    let first = wire.delete("/v2/dlq?count=3").await.expect(200).body;
    assert_eq!((&first["deleted"], first["cursor"].is_string()), (&json!(3), true));
    let cursor = first["cursor"].as_str().unwrap();
    let rest = wire.delete(&format!("/v2/dlq?count=3&cursor={cursor}")).await.expect(200).body;
    assert_eq!((&rest["deleted"], rest.get("cursor"), wire.qstash.dlq_len()), (&json!(2), None, 0));
}

#[tokio::test]
async fn ids_may_stand_in_the_body() {
    let wire = with_dead(3).await;
    let ids: Vec<String> = texts(&wire.dead().await, "dlqId");
    for (given, deleted) in [(json!([]), 0), (json!(["1-0"]), 0), (json!([ids[0], ids[2]]), 2)] {
        let answer = wire.send_json("DELETE", "/v2/dlq", &json!({ "dlqIds": given })).await.expect(200);
        assert_eq!(answer.body["deleted"], json!(deleted), "{given}");
    }
    let retried = wire.send_json("POST", "/v2/dlq/retry", &json!({ "dlqIds": [ids[1]] })).await.expect(201);
    assert_eq!((retried.body["responses"].as_array().unwrap().len(), wire.qstash.dlq_len()), (1, 0));
    wire.settle().await;
    let again = wire.receiver.received().pop().unwrap();
    assert_eq!(
        (&again.body[..], again.header("content-type")),
        (&b"body"[..], None),
        "the call's own body is not sent"
    );
}

#[tokio::test]
async fn a_retry_makes_a_new_message_and_uses_the_entry_up() {
    let wire = with_dead(1).await;
    let entry = wire.dead().await.remove(0);
    wire.receiver.answer_all(200);
    wire.receiver.forget();
    let path = format!("/v2/dlq/retry/{}", entry["dlqId"].as_str().unwrap());
    let id = wire.post(&path).await.expect(201).id();
    assert_ne!(json!(id), entry["messageId"]);
    assert_eq!(wire.qstash.dlq_len(), 0);
    wire.settle().await;
    let received = wire.receiver.only();
    assert_eq!(
        (received.header("upstash-message-id"), received.header("upstash-retried")),
        (Some(id.as_str()), Some("0"))
    );
    assert_eq!(&received.body[..], b"body");
    assert_eq!(wire.post(&path).await.status, 404, "once");
}

#[tokio::test]
async fn a_retry_keeps_what_is_stored_where_the_call_does_not_say_otherwise() {
    let wire = refusing().await;
    kill(
        &wire,
        "/in",
        &[("Content-Type", "a/b"), ("Upstash-Forward-X", "1"), ("Upstash-Method", "PUT"), ("Upstash-Label", "l")],
    )
    .await;
    let path = format!("/v2/dlq/retry/{START}-0");
    let over = [("Upstash-Forward-Y", "2"), ("Upstash-Label", "m"), ("Upstash-Retries", "2"), ("Upstash-Delay", "1h")];
    let id = wire.call("POST", &path, &over, b"").await.expect(201).id();
    let message = wire.message(&id).await;
    for (field, value) in [
        ("method", json!("PUT")),
        ("header", json!({ "Content-Type": ["a/b"], "X": ["1"], "Y": ["2"] })),
        ("label", json!("m")),
        ("maxRetries", json!(2)),
        ("notBefore", json!(START + HOUR)),
        ("body", json!("body")),
    ] {
        assert_eq!(message[field], value, "{field}");
    }
}

#[tokio::test]
async fn a_retry_is_never_a_copy_because_it_uses_its_entry_up() {
    let wire = with_dead(2).await;
    wire.receiver.answer_all(200);
    let id = [("Upstash-Deduplication-Id", "one")];
    let mut answers = Vec::new();
    for entry in texts(&wire.dead().await, "dlqId") {
        answers.push(wire.call("POST", &format!("/v2/dlq/retry/{entry}"), &id, b"").await.body);
    }
    assert_ne!(answers[0]["messageId"], answers[1]["messageId"]);
    assert_eq!((answers[0].get("deduplicated"), answers[1].get("deduplicated")), (None, None));
}

#[tokio::test]
async fn retrying_several_is_all_or_nothing_and_ends_with_an_empty_cursor() {
    let wire = with_dead(3).await;
    wire.receiver.answer_all(200);
    let ids = texts(&wire.dead().await, "dlqId");
    wire.post(&format!("/v2/dlq/retry?dlqIds={},1-0", ids[0])).await.expect(404);
    assert_eq!(wire.qstash.dlq_len(), 3, "one is missing, so none is used");
    let first = wire.post("/v2/dlq/retry?count=2").await.expect(201).body;
    assert_eq!((first["responses"].as_array().unwrap().len(), first["cursor"] == json!("")), (2, false));
    let rest = wire.post(&format!("/v2/dlq/retry?cursor={}", first["cursor"].as_str().unwrap())).await.expect(201).body;
    assert_eq!((rest["responses"].as_array().unwrap().len(), &rest["cursor"]), (1, &json!("")));
}

#[tokio::test]
async fn an_empty_or_misspelt_id_is_never_taken_for_all() {
    let wire = with_dead(2).await;
    for (method, path, status) in [
        ("DELETE", "/v2/dlq/", 400),
        ("GET", "/v2/dlq/", 400),
        ("POST", "/v2/dlq/retry/", 400),
        ("DELETE", "/v2/dlq?dlqId=1-0", 400),
        ("DELETE", "/v2/dlq?count=all", 400),
        ("DELETE", "/v2/dlq?fromDate=yesterday", 400),
        ("GET", "/v2/dlq/nothing", 404),
        ("DELETE", "/v2/dlq/nothing", 404),
        ("POST", "/v2/dlq/retry/nothing", 404),
    ] {
        assert_eq!(wire.call(method, path, &[], b"").await.status, status, "{method} {path}");
    }
    assert_eq!(wire.delete("/v2/dlq?dlqIds=").await.expect(200).body["deleted"], json!(0));
    assert_eq!(wire.qstash.dlq_len(), 2);
}
