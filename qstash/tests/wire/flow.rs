//! Reference 5.5: flow control, and the parallelism of all.

use serde_json::{Value, json};

use crate::support::{HOUR, MINUTE, START, Wire};

/// Publishes with the key `k` and these limits.
async fn publish(wire: &Wire, value: &str, path: &str) -> String {
    let headers = [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", value)];
    wire.publish_to(path, &headers).await.expect(201).id()
}

async fn key(wire: &Wire) -> Value {
    wire.get("/v2/flowControl/k").await
}

async fn act(wire: &Wire, action: &str) -> u16 {
    wire.post(&format!("/v2/flowControl/k/{action}")).await.status
}

/// When messages came, in milliseconds from the start.
async fn times(wire: &Wire) -> Vec<i64> {
    wire.log("state=ACTIVE").await.iter().map(|entry| entry["time"].as_i64().unwrap() - START).collect()
}

#[tokio::test]
async fn a_key_has_every_documented_field() {
    let wire = Wire::start().await;
    wire.receiver.hold();
    for _ in 0..5 {
        publish(&wire, "parallelism=2, rate=4, period=1m", "/in").await;
    }
    wire.receiver.arrived(2).await;
    let expected = json!({
        "flowControlKey": "k",
        "waitListSize": 3,
        "parallelismMax": 2,
        "parallelismCount": 2,
        "rateMax": 4,
        "rateCount": 2,
        "ratePeriod": 60,
        "ratePeriodStart": START / 1_000,
        "isPinnedParallelism": false,
        "isPinnedRate": false,
        "isPaused": false,
    });
    assert_eq!(key(&wire).await, expected);
    wire.receiver.release();
}

#[tokio::test]
async fn keys_are_listed_and_searched() {
    let wire = Wire::start().await;
    for name in ["orders-eu", "orders-us", "mails"] {
        wire.publish(&[("Upstash-Flow-Control-Key", name), ("Upstash-Flow-Control-Value", "rate=1")]).await;
    }
    for (query, names) in [
        ("", &["mails", "orders-eu", "orders-us"][..]),
        ("?search=orders", &["orders-eu", "orders-us"]),
        ("?search=eu", &["orders-eu"]),
        ("?search=none", &[]),
    ] {
        let found = wire.get(&format!("/v2/flowControl{query}")).await;
        assert_eq!(crate::support::texts(found.as_array().unwrap(), "flowControlKey"), names, "{query}");
    }
    assert_eq!(wire.call("GET", "/v2/flowControl/none", &[], b"").await.status, 404);
}

#[tokio::test]
async fn a_key_of_any_text_is_named_percent_encoded() {
    let wire = Wire::start().await;
    wire.publish(&[("Upstash-Flow-Control-Key", "a b/c"), ("Upstash-Flow-Control-Value", "rate=1")]).await;
    assert_eq!(wire.get("/v2/flowControl/a%20b%2Fc").await["flowControlKey"], json!("a b/c"));
}

#[tokio::test]
async fn a_rate_lets_so_many_go_in_each_period_over_all_urls() {
    let wire = Wire::start().await;
    for number in 0..5 {
        publish(&wire, "rate=2, period=10s", &format!("/{number}")).await;
    }
    wire.at(MINUTE).await;
    assert_eq!(times(&wire).await, [0, 0, 10_000, 10_000, 20_000]);
}

#[tokio::test]
async fn a_period_is_a_second_unless_it_is_said() {
    let wire = Wire::start().await;
    for _ in 0..3 {
        publish(&wire, "rate=1", "/in").await;
    }
    wire.at(MINUTE).await;
    assert_eq!(times(&wire).await, [0, 1_000, 2_000]);
}

#[tokio::test]
async fn parallelism_holds_back_all_but_so_many() {
    let wire = Wire::start().await;
    wire.receiver.hold();
    for number in 0..3 {
        publish(&wire, "parallelism=2", &format!("/{number}")).await;
    }
    wire.publish_to("/free", &[]).await.expect(201);
    wire.receiver.arrived(3).await;
    assert!(wire.receiver.at("/2").is_empty() && wire.receiver.at("/free").len() == 1);
    wire.receiver.release();
    wire.settle().await;
    assert_eq!(wire.receiver.at("/2").len(), 1);
}

#[tokio::test]
async fn a_paused_key_waits_until_it_is_resumed() {
    let wire = Wire::start().await;
    assert_eq!(act(&wire, "pause").await, 200);
    publish(&wire, "rate=10", "/in").await;
    wire.at(HOUR).await;
    assert_eq!(
        (wire.receiver.count(), &key(&wire).await["isPaused"], &key(&wire).await["waitListSize"]),
        (0, &json!(true), &json!(1))
    );
    assert_eq!(act(&wire, "resume").await, 200);
    wire.settle().await;
    assert_eq!((wire.receiver.count(), &key(&wire).await["isPaused"]), (1, &json!(false)));
}

#[tokio::test]
async fn pinned_limits_apply_until_a_message_comes_after_the_unpin() {
    let wire = Wire::start().await;
    for (action, parallelism, rate, period, pinned) in [
        ("pin?parallelism=7", 7, 2, 3_600, (true, false)),
        ("pin?rate=9&period=2m", 7, 9, 120, (true, true)),
        ("pin?rate=8", 7, 8, 1, (true, true)),
        ("unpin?parallelism=true", 7, 8, 1, (false, true)),
        ("unpin?rate=true", 1, 8, 1, (false, false)),
        ("pin?parallelism=3&rate=4&period=5", 3, 4, 5, (true, true)),
        ("unpin?parallelism=true&rate=true", 3, 4, 5, (false, false)),
    ] {
        publish(&wire, "parallelism=1, rate=2, period=1h", "/in").await;
        assert_eq!(act(&wire, action).await, 200, "{action}");
        let key = key(&wire).await;
        let limits = ["parallelismMax", "rateMax", "ratePeriod"].map(|field| key[field].as_u64().unwrap());
        assert_eq!(limits, [parallelism, rate, period], "{action}");
        assert_eq!(
            (&key["isPinnedParallelism"], &key["isPinnedRate"]),
            (&json!(pinned.0), &json!(pinned.1)),
            "{action}"
        );
    }
    publish(&wire, "parallelism=1, rate=2, period=1h", "/in").await;
    let key = key(&wire).await;
    assert_eq!((&key["parallelismMax"], &key["rateMax"], &key["ratePeriod"]), (&json!(1), &json!(2), &json!(3_600)));
}

#[tokio::test]
async fn a_pin_resets_the_rate_and_lets_waiting_messages_go() {
    let wire = Wire::start().await;
    for _ in 0..5 {
        publish(&wire, "rate=1, period=1h", "/in").await;
    }
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 1);
    act(&wire, "pin?rate=3&period=1m").await;
    wire.at(2 * MINUTE).await;
    assert_eq!(times(&wire).await, [0, 0, 0, 0, MINUTE], "the pin starts a period with no message in it");
}

#[tokio::test]
async fn a_reset_begins_a_period_now_under_both_names() {
    for action in ["resetRate", "reset"] {
        let wire = Wire::start().await;
        for _ in 0..3 {
            publish(&wire, "rate=1, period=1h", "/in").await;
        }
        wire.at(MINUTE).await;
        assert_eq!(act(&wire, action).await, 200);
        assert_eq!(key(&wire).await["ratePeriodStart"], json!((START + MINUTE) / 1_000), "{action}");
        wire.at(3 * HOUR).await;
        assert_eq!(times(&wire).await, [0, MINUTE, HOUR + MINUTE], "{action}: the next period is whole");
    }
}

#[tokio::test]
async fn what_can_not_be_pinned_is_refused() {
    let wire = Wire::start().await;
    for action in ["pin", "pin?parallelism=0", "pin?rate=x", "pin?rate=1&period=8d", "pin?period=1s"] {
        assert_eq!(act(&wire, action).await, 400, "{action}");
    }
    assert_eq!(act(&wire, "nothing").await, 404);
}

#[tokio::test]
async fn the_parallelism_of_all_is_shown() {
    let wire = Wire::start().await;
    wire.receiver.hold();
    wire.publish(&[]).await;
    wire.publish(&[]).await;
    let shown = wire.get("/v2/globalParallelism").await;
    assert_eq!(shown, json!({ "parallelismMax": 100, "parallelismCount": 2 }));
    wire.receiver.release();
    wire.settle().await;
    assert_eq!(wire.get("/v2/globalParallelism").await["parallelismCount"], json!(0));
}
