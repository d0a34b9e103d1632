//! `/_surehook`: a clock that is stepped, messages that are hurried, a fresh start, and who may call at all.

use serde_json::{Value, json};
use surehook_qstash::{Callers, Pace, Rule, Settings, USERS, Visitors};

use crate::support::{DAY, HOUR, Reply, START, Wire, stepped};

async fn step(wire: &Wire, step: &Value) -> Value {
    wire.send_json("POST", "/_surehook/clock", step).await.expect(200).body
}

#[tokio::test]
async fn a_stepped_clock_stands_still_and_says_what_is_next() {
    let wire = Wire::start().await;
    let clock = json!({ "now": START, "mode": "stepped", "speed": 0.0, "shownSpeed": 0.0, "next": null });
    assert_eq!(wire.get("/_surehook/clock").await, clock);
    wire.publish(&[("Upstash-Delay", "1h")]).await;
    assert_eq!(wire.get("/_surehook/clock").await["next"], json!(START + HOUR));
}

#[tokio::test]
async fn a_clock_is_stepped_by_a_span_to_a_time_and_to_what_is_next() {
    let wire = Wire::start().await;
    for hours in ["1h", "2h", "3h", "4h"] {
        wire.publish(&[("Upstash-Delay", hours)]).await;
    }
    for (given, now, delivered) in [
        (json!({ "advance": "30m" }), HOUR / 2, 0),
        (json!({ "next": true }), HOUR, 1),
        (json!({ "to": START + 2 * HOUR }), 2 * HOUR, 2),
        (json!({ "to": START }), 2 * HOUR, 2),
        (json!({ "next": 2 }), 4 * HOUR, 4),
        (json!({ "next": true }), 4 * HOUR, 4),
        (json!({ "advance": "1d" }), 4 * HOUR + DAY, 4),
    ] {
        assert_eq!(step(&wire, &given).await["now"], json!(START + now), "{given}");
        assert_eq!(wire.receiver.count(), delivered, "{given}");
    }
}

#[tokio::test]
async fn what_is_no_step_is_refused() {
    let wire = Wire::start().await;
    for bad in [json!({}), json!({ "advance": "soon" }), json!({ "advance": 5 }), json!({ "back": true }), json!([1])] {
        assert_eq!(wire.send_json("POST", "/_surehook/clock", &bad).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn time_that_passes_by_itself_can_not_be_stepped() {
    let wire = Wire::with(Settings::default()).await;
    assert_eq!(wire.send_json("POST", "/_surehook/clock", &json!({ "advance": "1h" })).await.status, 409);
    assert_eq!(wire.get("/_surehook/clock").await["mode"], json!("real"));
    let fast = Wire::with(Settings { pace: Pace::Times(60.0), callers: Callers::Same, ..Settings::default() }).await;
    let clock = fast.get("/_surehook/clock").await;
    assert_eq!((&clock["mode"], &clock["speed"]), (&json!("speed"), &json!(60.0)));
}

/// Three days of messages, retries, callbacks and schedules, with chaos: the log.
async fn three_days(seed: u64) -> Vec<Value> {
    let chaos = ["duplicate,share=0.3", "cut-after,share=0.3", "reorder,share=0.5,span=1m"];
    let chaos = chaos.iter().map(|rule| Rule::parse(rule).unwrap()).collect();
    let wire = Wire::with(Settings { seed, chaos, ..stepped() }).await;
    wire.receiver.answer(|received| Reply::status(if received.target == "/bad" { 503 } else { 200 }));
    let (callback, failure) = (wire.to("/cb"), wire.to("/failed"));
    let callbacks = [("Upstash-Callback", callback.as_str()), ("Upstash-Failure-Callback", &failure)];
    wire.publish_to(
        "/bad",
        &[&callbacks[..], &[("Upstash-Retries", "5"), ("Upstash-Retry-Delay", "43200000")]].concat(),
    )
    .await
    .expect(201);
    // What a call sets off and the next call would otherwise come into the log in either order.
    wire.settle().await;
    for number in 0..10 {
        wire.publish_to(&format!("/{number}"), &[]).await.expect(201);
        wire.settle().await;
    }
    wire.schedule("0 */6 * * *", &[]).await;
    step(&wire, &json!({ "advance": "3d" })).await;
    let log = wire.log("").await;
    log.into_iter().map(|entry| without_the_world(entry, &wire.receiver.url)).collect()
}

/// The destination's port and its `Date` header are not of the server's making; bodies of callbacks have both in them.
fn without_the_world(mut entry: Value, destination: &str) -> Value {
    for field in ["responseHeader", "responseHeaders", "body"] {
        entry.as_object_mut().unwrap().remove(field);
    }
    serde_json::from_str(&entry.to_string().replace(destination, "")).unwrap()
}

#[tokio::test]
async fn a_story_of_three_days_is_the_same_with_the_same_seed_and_another_with_another() {
    let first = three_days(7).await;
    let failed = first.iter().find(|entry| entry["state"] == "FAILED" && entry["url"] == "/bad").unwrap();
    assert!(failed["time"].as_i64().unwrap() > START + 2 * DAY, "it took its days: {failed}");
    assert_eq!(first, three_days(7).await);
    assert_ne!(first, three_days(8).await);
}

#[tokio::test]
async fn a_waiting_message_is_delivered_now_on_request() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    let id = wire.publish(&[("Upstash-Delay", "1h"), ("Upstash-Retries", "1")]).await;
    let now = format!("/_surehook/messages/{id}/now");
    for count in 1..=2 {
        assert_eq!(wire.post(&now).await.status, 200, "before its time, and before its retry's time");
        wire.settle().await;
        assert_eq!(wire.receiver.count(), count);
    }
    assert_eq!(wire.post(&now).await.status, 409, "it is settled");
    assert_eq!(wire.post("/_surehook/messages/msg_unknown/now").await.status, 404);
    assert_eq!(wire.attempts(&id).await, [0, 0]);
}

#[tokio::test]
async fn a_message_of_another_user_is_hurried_by_its_number() {
    let wire = Wire::start().await;
    let path = format!("/v2/publish/{}", wire.to("/in"));
    let id = wire.call_as(1, "POST", &path, &[("Upstash-Delay", "1h")], b"").await.id();
    assert_eq!(wire.post(&format!("/_surehook/messages/{id}/now")).await.status, 404);
    assert_eq!(wire.post(&format!("/_surehook/messages/{id}/now?user=2")).await.status, 200);
    for bad in ["0", "5", "x"] {
        assert_eq!(wire.post(&format!("/_surehook/messages/{id}/now?user={bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_reset_forgets_everything_of_everybody() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    wire.topic("t", &["/one"]).await;
    wire.schedule("* * * * *", &[]).await;
    wire.enqueue("q", "/in", &[("Upstash-Retries", "0"), ("Upstash-Deduplication-Id", "one")]).await;
    wire.publish(&[
        ("Upstash-Delay", "1h"),
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", "rate=1"),
    ])
    .await;
    wire.call_as(1, "POST", "/v2/keys/rotate", &[], b"").await.expect(200);
    wire.send_json("PUT", "/_surehook/chaos", &json!("away")).await.expect(200);
    wire.settle().await;
    wire.post("/_surehook/reset").await.expect(200);
    for path in ["/v2/topics", "/v2/queues", "/v2/schedules", "/v2/flowControl", "/_surehook/chaos"] {
        assert_eq!(wire.get(path).await, json!([]), "{path}");
    }
    assert!(wire.dead().await.is_empty() && wire.log("").await.is_empty());
    assert_eq!(wire.call_as(1, "GET", "/v2/keys", &[], b"").await.body["current"], json!(USERS[1].current_key));
    wire.receiver.forget();
    wire.at(DAY).await;
    assert_eq!((wire.receiver.count(), wire.qstash.pending()), (0, 0));
}

#[tokio::test]
async fn ids_go_on_after_a_reset_and_an_answer_that_comes_late_leads_to_nothing() {
    let wire = Wire::start().await;
    wire.receiver.hold();
    let headers = [("Upstash-Deduplication-Id", "one"), ("Upstash-Retries", "0")];
    let id = wire.publish(&headers).await;
    wire.receiver.arrived(1).await;
    wire.post("/_surehook/reset").await.expect(200);
    wire.receiver.answer_all(500);
    assert_ne!(wire.publish(&headers).await, id, "a copy is not recognised, and no id comes twice");
    wire.receiver.release();
    wire.settle().await;
    assert_eq!((wire.states(&id).await.len(), wire.qstash.dlq_len(), wire.qstash.pending()), (0, 1, 0));
}

#[tokio::test]
async fn the_inside_can_be_looked_at() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    let id = wire.publish(&[("Upstash-Retries", "0")]).await;
    wire.settle().await;
    let state = wire.get("/_surehook/state").await;
    assert_eq!(
        (&state["dlq"], &state["pending"], &state["plan"], &state["user"]),
        (&json!(1), &json!(0), &json!("payg"), &json!(1))
    );
    assert_eq!(state["counts"], json!({ "created": 1, "delivered": 0, "failed": 1, "cancelled": 0 }));
    assert_eq!(wire.get("/_surehook/messages").await["messages"][0]["messageId"], json!(id));
    let detail = wire.get(&format!("/_surehook/messages/{id}")).await;
    assert_eq!(detail["log"].as_array().unwrap().len(), 4);
    assert_eq!(wire.get("/_surehook/dlq").await["messages"][0]["messageId"], json!(id));
    assert_eq!(wire.call("GET", "/_surehook/messages/none", &[], b"").await.status, 404);
}

#[tokio::test]
async fn pages_of_other_origins_may_not_call() {
    let wire = Wire::start().await;
    let own = wire.qstash.url.clone();
    for (origin, status) in [
        (own.as_str(), 200),
        ("http://evil.example", 403),
        ("https://localhost", 403),
        ("http://127.0.0.1:1", 403),
        ("null", 403),
    ] {
        for path in ["/v2/keys", "/_surehook/state"] {
            assert_eq!(wire.call("GET", path, &[("Origin", origin)], b"").await.status, status, "{origin} {path}");
        }
    }
}

#[tokio::test]
async fn foreign_names_can_not_be_made_to_point_at_the_server() {
    let visitors = Visitors { host_names: vec!["dev.example".to_owned()], ..Visitors::default() };
    let wire = Wire::with(Settings { visitors, ..stepped() }).await;
    for (host, status) in [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("qstash.localhost", 200),
        ("host.docker.internal:8080", 200),
        ("dev.example:8080", 200),
        ("evil.example", 403),
        ("evil", 403),
        ("evil.example:8080", 403),
        ("dev.example.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
    ] {
        for path in ["/v2/keys", "/_surehook/state"] {
            assert_eq!(wire.call("GET", path, &[("Host", host)], b"").await.status, status, "{host} {path}");
        }
    }
}
