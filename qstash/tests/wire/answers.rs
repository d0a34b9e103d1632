//! Reference 1.5 and 1.6: what publish calls and batches are answered with.

use serde_json::{Value, json};
use surehook_qstash::{Choices, Plan, Settings};

use crate::support::{Wire, stepped};

#[tokio::test]
async fn one_destination_is_answered_with_an_object() {
    let wire = Wire::start().await;
    let answer = wire.publish_to("/in", &[]).await.expect(201);
    assert_eq!(answer.body["url"], json!(wire.to("/in")));
    let id = answer.id();
    assert!(id.starts_with("msg_") && id.len() == 57, "{id}");
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[tokio::test]
async fn the_status_can_be_chosen() {
    let choices = Choices { publish_status: 200, ..Choices::default() };
    let wire = Wire::with(Settings { choices, ..stepped() }).await;
    wire.publish_to("/in", &[]).await.expect(200);
}

#[tokio::test]
async fn a_topic_is_answered_with_a_bare_array_even_of_one() {
    let wire = Wire::start().await;
    for paths in [&["/one"][..], &["/one", "/two", "/three"]] {
        wire.topic("t", paths).await;
        let answer = wire.post("/v2/publish/t").await.expect(201).body;
        let urls: Vec<Value> = answer.as_array().unwrap().iter().map(|one| one["url"].clone()).collect();
        assert_eq!(urls, paths.iter().map(|path| json!(wire.to(path))).collect::<Vec<_>>());
        assert!(answer.as_array().unwrap().iter().all(|one| one["messageId"].is_string()));
    }
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_not_found() {
    let wire = Wire::start().await;
    for call in ["/v2/publish/nobody", "/v2/enqueue/q/nobody"] {
        assert_eq!(wire.post(call).await.status, 404, "{call}");
    }
    assert_eq!(wire.get("/v2/queues").await, json!([]), "a refused call makes no queue");
}

/// A server whose plan has two messages a day.
async fn of_two_messages() -> Wire {
    let plan = Plan { messages_per_day: Some(2), ..Plan::FREE };
    Wire::with(Settings { plan, ..stepped() }).await
}

#[tokio::test]
async fn the_daily_quota_is_answered_429_with_the_headers_of_a_daily_limit() {
    let wire = of_two_messages().await;
    wire.publish(&[]).await;
    wire.publish(&[]).await;
    let refused = wire.publish_to("/in", &[]).await.expect(429);
    // The day ends at midnight UTC, 2026-05-29.
    for (name, value) in [("RateLimit-Limit", "2"), ("RateLimit-Remaining", "0"), ("RateLimit-Reset", "1780012800")] {
        assert_eq!(refused.headers[name], value, "{name}");
    }
    assert!(refused.headers.get("burst-ratelimit-limit").is_none(), "publishing has no burst limit");
    assert!(refused.error().contains("current limit: 2"));
    wire.at(12_800_000).await;
    wire.publish(&[]).await;
}

#[tokio::test]
async fn every_endpoint_of_a_topic_and_every_item_of_a_batch_counts() {
    let wire = of_two_messages().await;
    wire.topic("t", &["/one", "/two", "/three"]).await;
    wire.post("/v2/publish/t").await.expect(429);
    let item = json!({ "destination": wire.to("/in") });
    wire.send_json("POST", "/v2/batch", &json!([item, item, item])).await.expect(429);
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 0, "a quota rejects the call as a whole");
}

#[tokio::test]
async fn a_batch_that_needs_more_queues_than_there_may_be_is_rejected_as_a_whole() {
    let plan = Plan { queues: (1, 1), ..Plan::FREE };
    let wire = Wire::with(Settings { plan, ..stepped() }).await;
    let items = ["q", "p"].map(|queue| json!({ "destination": wire.to("/in"), "queue": queue }));
    wire.send_json("POST", "/v2/batch", &json!(items)).await.expect(412);
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 0);
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order_with_an_array_for_a_topic() {
    let wire = Wire::start().await;
    wire.topic("t", &["/one", "/two"]).await;
    let headers = json!({ "Content-Type": "text/a", "Upstash-Forward-X": "1" });
    let items = json!([
        { "destination": wire.to("/a"), "body": "A", "headers": headers },
        { "destination": "t", "body": "T", "queue": null },
        { "destination": wire.to("/b?x=1"), "queue": "q", "headers": null, "body": null },
        { "destination": wire.to("/c"), "headers": { "UPSTASH-METHOD": "PUT" } },
    ]);
    let answer = wire.send_json("POST", "/v2/batch", &items).await.expect(200).body;
    let urls = [&answer[0]["url"], &answer[1][0]["url"], &answer[1][1]["url"], &answer[2]["url"], &answer[3]["url"]];
    assert_eq!(urls, ["/a", "/one", "/two", "/b?x=1", "/c"].map(|path| json!(wire.to(path))).each_ref());
    wire.settle().await;
    let first = wire.receiver.at("/a").remove(0);
    assert_eq!(
        (&first.body[..], first.header("content-type"), first.header("x")),
        (&b"A"[..], Some("text/a"), Some("1"))
    );
    assert_eq!((&wire.receiver.at("/one")[0].body[..], &wire.receiver.at("/b?x=1")[0].body[..]), (&b"T"[..], &b""[..]));
    assert_eq!(wire.receiver.at("/c")[0].method, "PUT");
}

#[tokio::test]
async fn an_item_may_name_its_queue() {
    let wire = Wire::start().await;
    let delay = json!({ "Upstash-Delay": "1h" });
    let item = |queue: Value| json!({ "destination": wire.to("/in"), "queue": queue, "headers": delay });
    let answer =
        wire.send_json("POST", "/v2/batch", &json!([item(json!("q")), item(Value::Null)])).await.expect(200).body;
    let id = |index: usize| answer[index]["messageId"].as_str().unwrap().to_owned();
    assert_eq!(wire.message(&id(0)).await["queueName"], json!("q"));
    assert!(wire.message(&id(1)).await.get("queueName").is_none());
}

#[tokio::test]
async fn the_content_type_of_the_call_is_not_that_of_its_items() {
    let wire = Wire::start().await;
    wire.send_json("POST", "/v2/batch", &json!([{ "destination": wire.to("/in"), "body": "x" }])).await.expect(200);
    wire.settle().await;
    assert_eq!(wire.receiver.only().header("content-type"), None);
}

/// What a batch of a good item and this one is answered with, and how many messages came.
async fn beside_a_good_one(choices: Choices, bad: Value) -> (u16, Value, usize) {
    let wire = Wire::with(Settings { plan: Plan::FREE, choices, ..stepped() }).await;
    let answer = wire.send_json("POST", "/v2/batch", &json!([{ "destination": wire.to("/in") }, bad])).await;
    wire.settle().await;
    (answer.status, answer.body, wire.receiver.count())
}

#[tokio::test]
async fn a_bad_header_name_or_quota_rejects_the_whole_batch() {
    for (bad, status) in [
        (json!({ "destination": "http://h.example/", "headers": { "Upstash-Delay": "8d" } }), 412),
        (json!({ "destination": "http://h.example/", "headers": { "Upstash-Delay": "soon" } }), 400),
        (json!({ "destination": "http://h.example/", "queue": "no name" }), 400),
        (json!({ "destination": "h.example/in" }), 400),
        (json!({ "destination": "http://h.example/", "body": "x".repeat(1_048_577) }), 412),
        (json!({ "body": "without destination" }), 400),
    ] {
        let (answered, body, delivered) = beside_a_good_one(Choices::default(), bad.clone()).await;
        assert_eq!((answered, delivered), (status, 0), "{body}");
    }
}

#[tokio::test]
async fn an_unknown_topic_is_told_of_in_its_place_while_the_others_go_out() {
    let (status, body, delivered) = beside_a_good_one(Choices::default(), json!({ "destination": "nobody" })).await;
    assert_eq!((status, delivered), (200, 1));
    assert!(body[0]["messageId"].is_string() && body[1]["error"].as_str().unwrap().contains("nobody"), "{body}");
}

#[tokio::test]
async fn an_error_of_each_item_in_its_place_can_be_chosen() {
    let choices = Choices { batch_all_or_nothing: false, ..Choices::default() };
    let bad = json!({ "destination": "http://h.example/", "headers": { "Upstash-Delay": "soon" } });
    let (status, body, delivered) = beside_a_good_one(choices, bad).await;
    assert_eq!((status, delivered), (200, 1));
    assert!(body[1]["error"].as_str().unwrap().contains("Upstash-Delay"), "{body}");
}

#[tokio::test]
async fn what_is_no_array_of_items_is_no_batch() {
    let wire = Wire::start().await;
    for body in [&b""[..], b"{}", b"[1]", b"not json"] {
        assert_eq!(wire.call("POST", "/v2/batch", &[], body).await.status, 400, "{body:?}");
    }
    assert_eq!(wire.call("POST", "/v2/batch", &[], b"[]").await.expect(200).body, json!([]));
}
