//! Reference 1.4, what a delivery shows: the options of a publish call, each as a header.

use serde_json::{Value, json};

use crate::support::{DAY, HOUR, MINUTE, Pairs, Reply, SECOND, START, Wire};

#[tokio::test]
async fn the_content_type_is_stored_and_delivered_unchanged() {
    let wire = Wire::start().await;
    for value in ["application/json", "text/plain;charset=UTF-8", "application/x-own; a=\"b\"", "nonsense"] {
        wire.receiver.forget();
        let id = wire.publish(&[("Content-Type", value), ("Upstash-Delay", "0s")]).await;
        wire.settle().await;
        assert_eq!(wire.receiver.only().header("content-type"), Some(value), "{value}");
        assert_eq!(wire.log(&format!("messageId={id}")).await[0]["header"]["Content-Type"], json!([value]));
    }
}

#[tokio::test]
async fn forwarded_headers_lose_their_prefix_and_others_stay_behind() {
    let wire = Wire::start().await;
    let headers = [
        ("Upstash-Forward-X-Own", "1"),
        ("Upstash-Forward-Authorization", "Bearer theirs"),
        ("Upstash-Forward-X-Many", "a"),
        ("Upstash-Forward-X-Many", "b"),
        ("X-Other", "2"),
    ];
    wire.publish(&headers).await;
    wire.settle().await;
    let received = wire.receiver.only();
    assert_eq!((received.header("x-own"), received.header("x-other")), (Some("1"), None));
    assert_eq!(received.header("authorization"), Some("Bearer theirs"));
    assert!(received.headers.get_all("x-many").iter().eq(["a", "b"]));
    assert!(!received.headers.keys().any(|name| name.as_str().starts_with("upstash-forward")));
}

#[tokio::test]
async fn all_headers_are_forwarded_on_request_but_not_those_of_the_call() {
    let wire = Wire::start().await;
    wire.publish(&[("Upstash-Header-Forward", "true"), ("X-Github-Event", "push"), ("Upstash-Forward-X-Own", "1")])
        .await;
    wire.publish_to("/not", &[("Upstash-Header-Forward", "false"), ("X-Github-Event", "push")]).await;
    wire.settle().await;
    let received = wire.receiver.at("/in").remove(0);
    assert_eq!((received.header("x-github-event"), received.header("x-own")), (Some("push"), Some("1")));
    assert_eq!((received.header("authorization"), received.header("upstash-header-forward")), (None, None));
    assert_eq!(wire.receiver.at("/not")[0].header("x-github-event"), None);
}

#[tokio::test]
async fn the_method_of_the_delivery_is_the_one_that_is_named_and_post_otherwise() {
    let wire = Wire::start().await;
    wire.publish(&[]).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        wire.publish(&[("Upstash-Method", method)]).await;
        wire.settle().await;
        let received = wire.receiver.received().pop().unwrap();
        assert_eq!((received.method.as_str(), &received.body[..]), (method, &b"body"[..]));
    }
    assert_eq!(wire.receiver.received()[0].method, "POST");
}

/// Publishes and tells when the message is due and when it really comes, in milliseconds from the start.
async fn due_and_delivered(headers: Pairs<'_>) -> (i64, i64) {
    let wire = Wire::start().await;
    wire.settle().await;
    let id = wire.publish(headers).await;
    let created = wire.log(&format!("messageId={id}&state=CREATED")).await.remove(0);
    let due = created["nextDeliveryTime"].as_i64().unwrap() - START;
    wire.at((due - 1).max(0)).await;
    assert_eq!(wire.receiver.count() == 0, due > 0, "{headers:?}: not a millisecond early");
    wire.at(due).await;
    (due, wire.attempts(&id).await[0])
}

#[tokio::test]
async fn a_delay_is_one_or_more_numbers_with_units() {
    for (text, millis) in [
        ("50s", 50 * SECOND),
        ("3m", 3 * MINUTE),
        ("2h", 2 * HOUR),
        ("7d", 7 * DAY),
        ("1d10h30m", DAY + 10 * HOUR + 30 * MINUTE),
        ("1m1s", MINUTE + SECOND),
        ("0s", 0),
    ] {
        assert_eq!(due_and_delivered(&[("Upstash-Delay", text)]).await, (millis, millis), "{text}");
    }
}

#[tokio::test]
async fn a_time_in_unix_seconds_wins_over_the_delay_and_a_past_one_means_now() {
    let (later, past) = (((START + HOUR) / 1_000).to_string(), ((START - HOUR) / 1_000).to_string());
    for (not_before, millis) in [(later, HOUR), (past, 0)] {
        for delay in [&[][..], &[("Upstash-Delay", "2d")]] {
            let headers = [&[("Upstash-Not-Before", not_before.as_str())], delay].concat();
            assert_eq!(due_and_delivered(&headers).await, (millis, millis), "{headers:?}");
        }
    }
}

#[tokio::test]
async fn not_before_is_stored_in_milliseconds() {
    let wire = Wire::start().await;
    let id = wire.publish(&[("Upstash-Not-Before", &((START + HOUR) / 1_000).to_string())]).await;
    assert_eq!(wire.message(&id).await["notBefore"], json!(START + HOUR));
}

#[tokio::test]
async fn there_is_one_attempt_and_as_many_retries_as_were_asked_for() {
    for (headers, attempts) in [
        (&[][..], 4),
        (&[("Upstash-Retries", "0")], 1),
        (&[("Upstash-Retries", "1")], 2),
        (&[("Upstash-Retries", "5")], 6),
    ] {
        let wire = Wire::start().await;
        wire.receiver.answer_all(500);
        wire.publish(headers).await;
        wire.at(5 * DAY).await;
        let retried: Vec<_> =
            wire.receiver.received().iter().map(|one| one.header("upstash-retried").unwrap().to_owned()).collect();
        assert_eq!(retried, (0..attempts).map(|number| number.to_string()).collect::<Vec<_>>(), "{headers:?}");
        assert_eq!(wire.qstash.dlq_len(), 1, "{headers:?}");
    }
}

#[tokio::test]
async fn a_timeout_shortens_the_plans_wait_and_never_lengthens_it() {
    let wire = Wire::start().await;
    for (value, millis) in [
        ("30s", 30 * SECOND),
        ("5m", 5 * MINUTE),
        ("1h", HOUR),
        ("1h1m1s", HOUR + MINUTE + SECOND),
        ("9h", 2 * HOUR),
        ("1d", 2 * HOUR),
    ] {
        let id = wire.publish(&[("Upstash-Timeout", value)]).await;
        assert_eq!(wire.log(&format!("messageId={id}")).await[0]["timeout"], json!(millis), "{value}");
    }
    let id = wire.publish(&[]).await;
    assert_eq!(wire.log(&format!("messageId={id}")).await[0]["timeout"], json!(2 * HOUR), "the plan's own");
}

/// A pending message that was published so.
async fn pending(headers: Pairs<'_>) -> Value {
    let wire = Wire::start().await;
    let id = wire.publish(&[headers, &[("Upstash-Delay", "1h")]].concat()).await;
    wire.message(&id).await
}

#[tokio::test]
async fn the_first_label_is_the_label_and_all_of_them_are_the_labels() {
    for (value, label, labels) in [("one", "one", json!(["one"])), ("a, b,c", "a", json!(["a", "b", "c"]))] {
        let message = pending(&[("Upstash-Label", value)]).await;
        assert_eq!((&message["label"], &message["labels"]), (&json!(label), &labels), "{value}");
    }
    let message = pending(&[]).await;
    assert!(message.get("label").is_none() && message.get("labels").is_none());
}

/// The digest that stands for a redacted value.
fn redacted(value: &str) -> String {
    let digest = surehook::digest::Sha256::of(value.as_bytes()).hex();
    format!("REDACTED:{digest}")
}

#[tokio::test]
async fn redacted_fields_are_shown_as_digests_and_delivered_whole() {
    let (body, own, other) = (redacted("body"), redacted("1"), redacted("2"));
    for (value, shown) in [
        ("body", [body.as_str(), "1", "2"]),
        ("header", ["body", &own, &other]),
        ("headers", ["body", &own, &other]),
        ("header[X-Own]", ["body", &own, "2"]),
        ("body, header[x-other]", [&body, "1", &other]),
    ] {
        let wire = Wire::start().await;
        let headers =
            [("Upstash-Forward-X-Own", "1"), ("Upstash-Forward-X-Other", "2"), ("Upstash-Redact-Fields", value)];
        let id = wire.publish(&[&headers[..], &[("Upstash-Delay", "1h")]].concat()).await;
        let message = wire.message(&id).await;
        let seen = [&message["body"], &message["header"]["X-Own"][0], &message["header"]["X-Other"][0]];
        assert_eq!(seen.map(|text| text.as_str().unwrap()), shown, "{value}");
        wire.at(HOUR).await;
        let received = wire.receiver.only();
        assert_eq!((&received.body[..], received.header("x-own")), (&b"body"[..], Some("1")), "{value}");
    }
}

#[tokio::test]
async fn the_log_and_the_dead_show_digests_too() {
    let wire = Wire::start().await;
    wire.receiver.answer(|_| Reply::status(500));
    let headers = [("Upstash-Retries", "0"), ("Upstash-Forward-X", "1"), ("Upstash-Redact-Fields", "body,headers")];
    wire.publish(&headers).await;
    wire.settle().await;
    for shown in [wire.dead().await.remove(0), wire.log("state=FAILED").await.remove(0)] {
        assert_eq!((&shown["body"], &shown["header"]["X"][0]), (&json!(redacted("body")), &json!(redacted("1"))));
    }
}

#[tokio::test]
async fn telemetry_is_ignored() {
    let wire = Wire::start().await;
    let names = ["Upstash-Telemetry-Sdk", "Upstash-Telemetry-Platform", "Upstash-Telemetry-Runtime"];
    wire.publish(&names.map(|name| (name, "any text"))).await;
    wire.settle().await;
    let received = wire.receiver.only();
    assert!(names.iter().all(|name| received.headers.get(*name).is_none()));
}
