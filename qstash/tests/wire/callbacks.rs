//! Reference 4: who is told what became of an attempt, and in which words.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use surehook_qstash::{Plan, Settings};

use crate::support::{DAY, Pairs, Reply, START, Wire, stepped};

/// A destination whose `/in` fails so often and then succeeds.
async fn failing(times: usize) -> Wire {
    let wire = Wire::start().await;
    let left = std::sync::atomic::AtomicUsize::new(times);
    wire.receiver.answer(move |received| {
        let fails = received.target.starts_with("/in") && left.load(std::sync::atomic::Ordering::SeqCst) > 0;
        if fails {
            left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        }
        Reply::status(if fails { 503 } else { 200 }).with("x-answer", "a").with("x-answer", "b").saying("said")
    });
    wire
}

/// Publishes to `/in` with both callbacks, and gives the bodies that came to `/cb` and `/failed` in the end.
async fn told(wire: &Wire, headers: Pairs<'_>) -> (Vec<Value>, Vec<Value>) {
    let (callback, failure) = (wire.to("/cb"), wire.to("/failed"));
    let both = [("Upstash-Callback", callback.as_str()), ("Upstash-Failure-Callback", &failure)];
    wire.publish(&[&both[..], headers].concat()).await;
    wire.at(5 * DAY).await;
    let bodies = |path: &str| wire.receiver.at(path).iter().map(|received| received.json()).collect();
    (bodies("/cb"), bodies("/failed"))
}

#[tokio::test]
async fn a_callback_fires_after_every_attempt_until_one_succeeds() {
    let wire = failing(2).await;
    let (callbacks, failures) = told(&wire, &[]).await;
    let told: Vec<_> = callbacks.iter().map(|one| (one["status"].clone(), one.get("retried").cloned())).collect();
    assert_eq!(told, [(json!(503), None), (json!(503), Some(json!(1))), (json!(200), Some(json!(2)))]);
    assert!(failures.is_empty());
}

#[tokio::test]
async fn the_last_callback_of_a_failure_has_retried_all_it_may_and_the_failure_callback_fires_once() {
    let wire = failing(usize::MAX).await;
    let (callbacks, failures) = told(&wire, &[("Upstash-Retries", "2")]).await;
    let last = callbacks.last().unwrap();
    assert_eq!((callbacks.len(), &last["retried"], &last["maxRetries"]), (3, &json!(2), &json!(2)));
    assert_eq!(failures.len(), 1);
}

#[tokio::test]
async fn a_callback_has_every_documented_field() {
    let wire = failing(1).await;
    let headers =
        [("Content-Type", "a/b"), ("Upstash-Forward-X", "1"), ("Upstash-Forward-X", "2"), ("Upstash-Method", "PUT")];
    let (callbacks, _) = told(&wire, &headers).await;
    let callback = &callbacks[0];
    let source = wire.receiver.at("/in")[0].header("upstash-message-id").unwrap().to_owned();
    for (field, value) in [
        ("status", json!(503)),
        ("body", json!(STANDARD.encode("said"))),
        ("maxRetries", json!(3)),
        ("sourceMessageId", json!(source)),
        ("url", json!(wire.to("/in"))),
        ("method", json!("PUT")),
        ("sourceHeader", json!({ "Content-Type": ["a/b"], "X": ["1", "2"] })),
        ("sourceBody", json!(STANDARD.encode("body"))),
        ("notBefore", json!(START)),
        ("createdAt", json!(START)),
        ("callerIP", json!("127.0.0.1")),
    ] {
        assert_eq!(callback[field], value, "{field}");
    }
    assert_eq!(callback["header"]["X-Answer"], json!(["a", "b"]), "names as Go writes them, values in arrays");
    for absent in ["retried", "dlqId", "topicName", "endpointName", "scheduleId"] {
        assert!(callback.get(absent).is_none(), "{absent}");
    }
    assert_eq!(callbacks[1]["retried"], json!(1));
}

#[tokio::test]
async fn a_failure_callback_names_the_entry_of_the_dead() {
    let wire = failing(usize::MAX).await;
    let (callbacks, failures) = told(&wire, &[("Upstash-Retries", "0")]).await;
    assert_eq!(failures[0]["dlqId"], wire.dead().await[0]["dlqId"]);
    assert!(callbacks[0].get("dlqId").is_none());
    for field in ["status", "body", "maxRetries", "sourceMessageId", "url", "method", "sourceHeader", "sourceBody"] {
        assert_eq!(failures[0][field], callbacks[0][field], "{field}");
    }
}

#[tokio::test]
async fn topic_endpoint_and_schedule_are_named_where_there_are_any() {
    let wire = Wire::start().await;
    let endpoints = json!({ "endpoints": [{ "url": wire.to("/in"), "name": "first" }] });
    wire.send_json("POST", "/v2/topics/t/endpoints", &endpoints).await.expect(200);
    let headers = [("upstash-cron", "* * * * *"), ("upstash-schedule-id", "s"), ("upstash-callback", &wire.to("/cb"))];
    wire.call("POST", "/v2/schedules/t", &headers, b"").await.expect(201);
    wire.at(20_000).await;
    let callback = wire.receiver.at("/cb")[0].json();
    assert_eq!(
        ["topicName", "endpointName", "scheduleId"].map(|field| callback[field].clone()),
        [json!("t"), json!("first"), json!("s")]
    );
}

#[tokio::test]
async fn an_empty_body_leaves_the_source_body_out() {
    let wire = Wire::start().await;
    let headers = [("Upstash-Callback", wire.to("/cb"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    wire.call("POST", &format!("/v2/publish/{}", wire.to("/in")), &headers, b"").await.expect(201);
    wire.settle().await;
    let callback = wire.receiver.at("/cb")[0].json();
    assert!(callback.get("sourceBody").is_none_or(|body| body == ""), "{callback}");
}

#[tokio::test]
async fn where_no_answer_came_the_status_is_0() {
    let wire = Wire::start().await;
    let headers = [("Upstash-Callback", wire.to("/cb")), ("Upstash-Retries", "0".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    wire.call("POST", "/v2/publish/http://127.0.0.1:1/", &headers, b"").await.expect(201);
    wire.settle().await;
    let callback = wire.receiver.only().json();
    assert_eq!((&callback["status"], &callback["header"], &callback["body"]), (&json!(0), &json!({}), &json!("")));
}

#[tokio::test]
async fn a_callback_is_a_message_of_its_own() {
    let wire = Wire::start().await;
    let headers = [
        ("Upstash-Callback", wire.to("/cb")),
        ("Upstash-Method", "PUT".to_owned()),
        ("Content-Type", "a/b".to_owned()),
    ];
    let id = wire.publish(&headers.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    wire.settle().await;
    let received = wire.receiver.at("/cb").remove(0);
    let own = received.header("upstash-message-id").unwrap();
    assert_ne!(own, id);
    assert_eq!((received.method.as_str(), received.header("content-type")), ("POST", Some("application/json")));
    assert_eq!(
        (received.header("upstash-retried"), received.header("user-agent")),
        (Some("0"), Some("Upstash-QStash"))
    );
    assert_eq!(wire.states(own).await, ["CREATED", "ACTIVE", "DELIVERED"]);
}

#[tokio::test]
async fn each_option_of_a_callback_is_its_own() {
    for (base, path) in [("Upstash-Callback", "/cb"), ("Upstash-Failure-Callback", "/failed")] {
        let wire = Wire::start().await;
        wire.receiver.answer_all(500);
        let name = |option: &str| format!("{base}-{option}");
        let (method, retries, delay, timeout) = (name("Method"), name("Retries"), name("Retry-Delay"), name("Timeout"));
        let (forward, url) = (name("Forward-X-Own"), wire.to(path));
        let headers = [
            (base, url.as_str()),
            (&method, "PATCH"),
            (&retries, "2"),
            (&delay, "5000"),
            (&timeout, "9s"),
            (&forward, "1"),
        ];
        wire.publish(&[&headers[..], &[("Upstash-Retries", "0")]].concat()).await;
        wire.at(DAY).await;
        let received = wire.receiver.at(path);
        assert!(received.iter().all(|one| one.method == "PATCH" && one.header("x-own") == Some("1")), "{base}");
        let id = received[0].header("upstash-message-id").unwrap();
        assert_eq!(wire.attempts(id).await, [0, 5_000, 10_000], "{base}: retries and their delay");
        assert_eq!(wire.log(&format!("messageId={id}")).await[0]["timeout"], json!(9_000), "{base}");
        assert_eq!(wire.receiver.at("/in")[0].header("x-own"), None, "{base}");
    }
}

#[tokio::test]
async fn the_retries_of_a_callback_are_those_of_its_message_unless_it_says_otherwise() {
    for (given, attempts) in [(&[][..], 3), (&[("Upstash-Failure-Callback-Retries", "0")], 1)] {
        let wire = Wire::start().await;
        wire.receiver.answer_all(500);
        let url = wire.to("/failed");
        wire.publish(&[&[("Upstash-Failure-Callback", url.as_str()), ("Upstash-Retries", "2")], given].concat()).await;
        wire.at(5 * DAY).await;
        assert_eq!(wire.receiver.at("/failed").len(), attempts, "{given:?}");
    }
}

#[tokio::test]
async fn a_callback_that_fails_for_good_is_among_the_dead() {
    let wire = Wire::start().await;
    wire.receiver.answer(|received| Reply::status(if received.target == "/cb" { 500 } else { 200 }));
    let url = wire.to("/cb");
    wire.publish(&[("Upstash-Callback", &url), ("Upstash-Retries", "1")]).await;
    wire.at(DAY).await;
    let dead = wire.dead().await;
    assert_eq!((dead.len(), &dead[0]["url"]), (1, &json!(url)));
}

#[tokio::test]
async fn an_answer_is_cut_to_the_size_of_a_message() {
    let wire = Wire::with(Settings { plan: Plan::FREE, ..stepped() }).await;
    wire.receiver.answer(|_| Reply::status(200).saying(vec![b'x'; 1_048_577]));
    wire.publish(&[("Upstash-Callback", &wire.to("/cb"))]).await;
    wire.settle().await;
    let body = wire.receiver.at("/cb")[0].json()["body"].as_str().unwrap().to_owned();
    assert_eq!(STANDARD.decode(body).unwrap().len(), 1_048_576);
}

#[tokio::test]
async fn times_in_a_callback_are_those_that_the_api_shows() {
    let pace = surehook_qstash::Pace::Times(1_000_000.0);
    let wire = Wire::with(Settings { pace, origin: Some(START), ..Settings::default() }).await;
    wire.receiver.answer(|received| Reply::status(if received.target == "/in" { 500 } else { 200 }));
    wire.publish(&[("Upstash-Failure-Callback", &wire.to("/failed")), ("Upstash-Retries", "0")]).await;
    wire.qstash.idle().await;
    let (told, shown) = (wire.receiver.at("/failed")[0].json(), wire.dead().await.remove(0));
    for field in ["createdAt", "notBefore"] {
        assert_eq!(told[field], shown[field], "{field}");
    }
}

#[tokio::test]
async fn a_callback_has_flow_control_and_labels_of_its_own() {
    let wire = Wire::start().await;
    let callback = wire.to("/cb");
    let headers = [
        ("Upstash-Label", "order"),
        ("Upstash-Callback", callback.as_str()),
        ("Upstash-Callback-Label", "told"),
        ("Upstash-Callback-Flow-Control-Key", "k"),
        ("Upstash-Callback-Flow-Control-Value", "rate=1, period=1h"),
    ];
    wire.publish(&headers).await;
    wire.publish(&headers).await;
    wire.settle().await;
    assert_eq!(wire.receiver.at("/cb").len(), 1, "one in each hour");
    assert_eq!(wire.get("/v2/flowControl/k").await["waitListSize"], json!(1));
    let told = wire.log("label=told&state=CREATED").await;
    assert!(
        told.len() == 2 && told.iter().all(|entry| entry["flowControlKey"].is_null() || entry["flowControlKey"] == "k")
    );
}
