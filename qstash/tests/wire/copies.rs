//! Reference 1.4 and 1.5: deduplication by id and by content, and how copies are answered.

use serde_json::json;
use surehook_qstash::{Choices, Settings};

use crate::support::{MINUTE, Pairs, Wire, stepped};

const ID: Pairs<'static> = &[("Upstash-Deduplication-Id", "one")];
const BY_CONTENT: (&str, &str) = ("Upstash-Content-Based-Deduplication", "true");

#[tokio::test]
async fn a_copy_is_answered_202_with_the_existing_id_and_delivered_once() {
    let wire = Wire::start().await;
    let id = wire.publish(ID).await;
    let copy = wire.publish_to("/in", ID).await.expect(202);
    assert_eq!((copy.id(), &copy.body["deduplicated"]), (id, &json!(true)));
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 1);
}

#[tokio::test]
async fn the_first_one_is_not_called_a_copy() {
    let wire = Wire::start().await;
    let first = wire.publish_to("/in", ID).await.expect(201);
    assert!(first.body.get("deduplicated").is_none());
}

#[tokio::test]
async fn an_id_is_remembered_for_ten_minutes() {
    let wire = Wire::start().await;
    let id = wire.publish(ID).await;
    wire.at(10 * MINUTE - 1).await;
    assert_eq!(wire.publish_to("/in", ID).await.expect(202).id(), id);
    wire.at(10 * MINUTE).await;
    assert_ne!(wire.publish_to("/in", ID).await.expect(201).id(), id);
}

#[tokio::test]
async fn copies_are_known_in_a_queue_in_a_batch_and_by_a_topic() {
    let wire = Wire::start().await;
    let id = wire.enqueue("q", "/in", ID).await;
    let call = format!("/v2/enqueue/q/{}", wire.to("/in"));
    assert_eq!(wire.call("POST", &call, ID, b"body").await.expect(202).id(), id);
    let item = json!([{ "destination": wire.to("/in"), "headers": { "Upstash-Deduplication-Id": "one" } }]);
    let batch = wire.send_json("POST", "/v2/batch", &item).await.expect(200);
    assert_eq!((&batch.body[0]["messageId"], &batch.body[0]["deduplicated"]), (&json!(id), &json!(true)));
}

#[tokio::test]
async fn copies_to_a_topic_are_answered_with_all_existing_ids() {
    let wire = Wire::start().await;
    wire.topic("t", &["/one", "/two"]).await;
    let first = wire.call("POST", "/v2/publish/t", ID, b"").await.expect(201).body;
    let copies = wire.call("POST", "/v2/publish/t", ID, b"").await.expect(202).body;
    for (first, copy) in first.as_array().unwrap().iter().zip(copies.as_array().unwrap()) {
        assert_eq!((&copy["messageId"], &copy["deduplicated"]), (&first["messageId"], &json!(true)));
    }
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 2);
}

#[tokio::test]
async fn content_is_destination_body_content_type_and_forwarded_headers() {
    let wire = Wire::start().await;
    let own = [BY_CONTENT, ("Content-Type", "a/b"), ("Upstash-Forward-X", "1")];
    let id = wire.publish(&own).await;
    let same = [&own[..], &[("Upstash-Retries", "0"), ("Upstash-Label", "l"), ("X-Other", "1")]].concat();
    assert_eq!(wire.publish_to("/in", &same).await.expect(202).id(), id, "options are no content");
    for (reason, path, headers) in [
        ("destination", "/other", own),
        ("query", "/in?a=1", own),
        ("content type", "/in", [BY_CONTENT, ("Content-Type", "a/c"), own[2]]),
        ("forwarded header", "/in", [BY_CONTENT, own[1], ("Upstash-Forward-X", "2")]),
    ] {
        assert_eq!(wire.publish_to(path, &headers).await.status, 201, "another {reason}");
    }
    let call = format!("/v2/publish/{}", wire.to("/in"));
    assert_eq!(wire.call("POST", &call, &own, b"other").await.status, 201, "another body");
}

#[tokio::test]
async fn pythons_spelling_of_true_is_understood_and_false_is_off() {
    for (value, status) in [("true", 202), ("True", 202), ("TRUE", 202), ("false", 201), ("False", 201)] {
        let wire = Wire::start().await;
        let headers = [("Upstash-Content-Based-Deduplication", value)];
        wire.publish(&headers).await;
        assert_eq!(wire.publish_to("/in", &headers).await.status, status, "{value}");
    }
}

#[tokio::test]
async fn whether_methods_tell_content_apart_can_be_chosen() {
    for (deduplicate_by_method, status) in [(false, 202), (true, 201)] {
        let choices = Choices { deduplicate_by_method, ..Choices::default() };
        let wire = Wire::with(Settings { choices, ..stepped() }).await;
        wire.publish(&[BY_CONTENT, ("Upstash-Method", "PUT")]).await;
        let second = wire.publish_to("/in", &[BY_CONTENT, ("Upstash-Method", "PATCH")]).await;
        assert_eq!(second.status, status, "{deduplicate_by_method}");
    }
}
