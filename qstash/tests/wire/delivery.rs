//! Reference 2.1, 2.2 and 2.5: what the destination gets, and what its answer means.

use serde_json::json;
use surehook::qstash::Region;
use surehook_qstash::{Choices, Settings};

use crate::support::{DAY, Reply, Wire, stepped};

#[tokio::test]
async fn a_delivery_has_every_documented_header() {
    let wire = Wire::start().await;
    let id = wire.publish(&[("Content-Type", "a/b"), ("Upstash-Forward-X", "1"), ("Upstash-Label", "l")]).await;
    wire.settle().await;
    let received = wire.receiver.only();
    for (name, value) in [
        ("user-agent", Some("Upstash-QStash")),
        ("content-type", Some("a/b")),
        ("upstash-message-id", Some(id.as_str())),
        ("upstash-retried", Some("0")),
        ("upstash-topic-name", None),
        ("upstash-schedule-id", None),
        ("upstash-caller-ip", Some("127.0.0.1")),
        ("upstash-region", Some("EU-CENTRAL-1")),
        ("upstash-label", None),
        ("x", Some("1")),
        ("content-encoding", None),
    ] {
        assert_eq!(received.header(name), value, "{name}");
    }
    let token = received.header("upstash-signature").unwrap();
    assert_eq!(token.split('.').filter(|part| !part.is_empty() && !part.contains('=')).count(), 3);
}

#[tokio::test]
async fn a_delivery_names_the_region_of_its_server() {
    let wire = Wire::with(Settings { region: Some(Region::UsEast1), ..stepped() }).await;
    wire.publish(&[]).await;
    wire.settle().await;
    assert_eq!(wire.receiver.only().header("upstash-region"), Some("US-EAST-1"));
}

#[tokio::test]
async fn the_content_type_is_absent_where_none_was_published() {
    let wire = Wire::start().await;
    wire.publish(&[]).await;
    wire.settle().await;
    assert_eq!(wire.receiver.only().header("content-type"), None);
}

#[tokio::test]
async fn the_topic_is_named_where_there_is_one() {
    let wire = Wire::start().await;
    wire.topic("t", &["/one", "/two"]).await;
    wire.post("/v2/publish/t").await.expect(201);
    wire.settle().await;
    assert!(wire.receiver.received().iter().all(|one| one.header("upstash-topic-name") == Some("t")));
}

#[tokio::test]
async fn the_schedule_is_named_where_there_is_one() {
    let wire = Wire::start().await;
    let id = wire.schedule("* * * * *", &[]).await;
    wire.at(20_000).await;
    assert_eq!(wire.receiver.only().header("upstash-schedule-id"), Some(id.as_str()));
}

#[tokio::test]
async fn the_label_is_sent_where_that_is_chosen() {
    let choices = Choices { send_label: true, ..Choices::default() };
    let wire = Wire::with(Settings { choices, ..stepped() }).await;
    wire.publish(&[("Upstash-Label", "l")]).await;
    wire.settle().await;
    assert_eq!(wire.receiver.only().header("upstash-label"), Some("l"));
}

#[tokio::test]
async fn the_message_id_is_the_same_at_every_attempt() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    let id = wire.publish(&[("Upstash-Retries", "2")]).await;
    wire.at(DAY).await;
    let received = wire.receiver.received();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|one| one.header("upstash-message-id") == Some(id.as_str())));
}

#[tokio::test]
async fn two_hundreds_deliver_and_all_else_fails() {
    for (status, word) in [
        (200, "DELIVERED"),
        (201, "DELIVERED"),
        (202, "DELIVERED"),
        (204, "DELIVERED"),
        (299, "DELIVERED"),
        (300, "FAILED"),
        (304, "FAILED"),
        (307, "FAILED"),
        (400, "FAILED"),
        (404, "FAILED"),
        (410, "FAILED"),
        (429, "FAILED"),
        (489, "FAILED"),
        (500, "FAILED"),
        (503, "FAILED"),
    ] {
        let wire = Wire::start().await;
        wire.receiver.answer_all(status);
        let id = wire.publish(&[("Upstash-Retries", "0")]).await;
        wire.settle().await;
        assert_eq!(wire.states(&id).await.pop().unwrap(), word, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_unless_that_is_chosen() {
    for (follow_redirects, targets) in [(false, &["/in"][..]), (true, &["/in", "/there"])] {
        let choices = Choices { follow_redirects, ..Choices::default() };
        let wire = Wire::with(Settings { choices, ..stepped() }).await;
        wire.receiver.answer(|received| match received.target.as_str() {
            "/in" => Reply::status(307).with("location", "/there"),
            _ => Reply::status(200),
        });
        wire.publish(&[("Upstash-Retries", "0")]).await;
        wire.settle().await;
        assert_eq!(
            (wire.receiver.targets(), wire.qstash.dlq_len() == 0),
            (targets.iter().map(ToString::to_string).collect(), follow_redirects)
        );
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_failure_with_the_known_text() {
    let wire = Wire::start().await;
    wire.receiver.hold();
    // The shortest time-out there is; it passes in the world's time.
    wire.publish(&[("Upstash-Timeout", "1s"), ("Upstash-Retries", "0")]).await;
    wire.settle().await;
    wire.receiver.release();
    let failed = wire.log("state=FAILED").await.remove(0);
    assert_eq!(failed["error"], json!("context deadline exceeded"));
    assert!(failed.get("responseStatus").is_none());
    assert_eq!(wire.dead().await[0]["responseStatus"], json!(0));
}

#[tokio::test]
async fn a_destination_that_can_not_be_reached_is_a_failure() {
    let wire = Wire::start().await;
    // Nobody listens at the lowest port; a label of more than 63 letters is no name, so that no name server is asked;
    // and the destination speaks no TLS.
    let unknown = format!("http://{}.example/", "x".repeat(64));
    let no_tls = wire.receiver.url.replace("http", "https");
    for url in ["http://127.0.0.1:1/", unknown.as_str(), no_tls.as_str()] {
        wire.call("POST", &format!("/v2/publish/{url}"), &[("Upstash-Retries", "0")], b"").await.expect(201);
        wire.settle().await;
        let failed = wire.log("state=FAILED").await.pop().unwrap();
        assert_eq!(failed["url"], json!(url));
        assert!(failed["error"].as_str().unwrap().starts_with("could not connect"), "{failed}");
    }
}

#[tokio::test]
async fn messages_go_out_side_by_side() {
    let wire = Wire::start().await;
    wire.receiver.hold();
    for _ in 0..3 {
        wire.publish(&[]).await;
    }
    wire.receiver.arrived(3).await;
    wire.receiver.release();
}

#[tokio::test]
async fn only_the_pair_of_status_and_header_ends_a_message_at_once() {
    for (status, value, attempts) in [
        (489, Some("true"), 1),
        (489, None, 2),
        (489, Some("false"), 2),
        (400, Some("true"), 2),
        (500, Some("true"), 2),
    ] {
        let wire = Wire::start().await;
        wire.receiver.answer(move |_| match value {
            Some(value) => Reply::status(status).with("Upstash-NonRetryable-Error", value),
            None => Reply::status(status),
        });
        wire.publish(&[("Upstash-Retries", "1")]).await;
        wire.at(DAY).await;
        assert_eq!((wire.receiver.count(), wire.qstash.dlq_len()), (attempts, 1), "{status} {value:?}");
    }
}

#[tokio::test]
async fn the_pair_ends_in_the_dead_letter_queue_and_fires_the_failure_callback() {
    let wire = Wire::start().await;
    wire.receiver.answer(|received| match received.target.as_str() {
        "/in" => Reply::status(489).with("Upstash-NonRetryable-Error", "true"),
        _ => Reply::status(200),
    });
    let id = wire.publish(&[("Upstash-Failure-Callback", &wire.to("/failed"))]).await;
    wire.settle().await;
    assert_eq!(wire.states(&id).await, ["CREATED", "ACTIVE", "ERROR", "FAILED"]);
    assert_eq!((wire.receiver.targets(), wire.qstash.dlq_len()), (vec!["/in".to_owned(), "/failed".to_owned()], 1));
}

#[tokio::test]
async fn whether_the_header_alone_ends_a_message_can_be_chosen() {
    let choices = Choices { header_alone_is_final: true, ..Choices::default() };
    let wire = Wire::with(Settings { choices, ..stepped() }).await;
    wire.receiver.answer(|_| Reply::status(400).with("Upstash-NonRetryable-Error", "true"));
    wire.publish(&[]).await;
    wire.at(DAY).await;
    assert_eq!(wire.receiver.count(), 1);
}
