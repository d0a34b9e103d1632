//! Reference 2.2 and 5.5: queues.

use serde_json::{Value, json};

use crate::support::{DAY, HOUR, Reply, START, Wire};

async fn put(wire: &Wire, queue: Value) -> u16 {
    wire.send_json("POST", "/v2/queues", &queue).await.status
}

#[tokio::test]
async fn a_queue_has_every_documented_field() {
    let wire = Wire::start().await;
    wire.at(1_000).await;
    assert_eq!(put(&wire, json!({ "queueName": "q", "parallelism": 2 })).await, 200);
    wire.at(2_000).await;
    assert_eq!(put(&wire, json!({ "queueName": "q", "parallelism": 3, "paused": true })).await, 200);
    wire.enqueue("q", "/in", &[]).await;
    let expected = json!({
        "name": "q",
        "parallelism": 3,
        "createdAt": START + 1_000,
        "updatedAt": START + 2_000,
        "lag": 1,
        "paused": true,
    });
    assert_eq!(wire.get("/v2/queues/q").await, expected);
    assert_eq!(wire.get("/v2/queues").await, json!([expected]));
}

#[tokio::test]
async fn a_queue_is_made_by_its_first_message_with_parallelism_1() {
    let wire = Wire::start().await;
    assert_eq!(wire.get("/v2/queues").await, json!([]));
    wire.enqueue("new.q", "/in", &[]).await;
    let queue = wire.get("/v2/queues/new.q").await;
    assert_eq!(
        (&queue["parallelism"], &queue["paused"], &queue["createdAt"]),
        (&json!(1), &json!(false), &json!(START))
    );
}

#[tokio::test]
async fn an_unknown_queue_is_not_found() {
    let wire = Wire::start().await;
    for (method, path) in [
        ("GET", "/v2/queues/q"),
        ("DELETE", "/v2/queues/q"),
        ("POST", "/v2/queues/q/pause"),
        ("POST", "/v2/queues/q/resume"),
    ] {
        assert_eq!(wire.call(method, path, &[], b"").await.status, 404, "{method} {path}");
    }
}

#[tokio::test]
async fn bad_names_and_too_many_at_a_time_are_refused() {
    let wire = Wire::start().await;
    for (queue, status) in [
        (json!({ "queueName": "a b" }), 400),
        (json!({ "queueName": "" }), 400),
        (json!({ "parallelism": 1 }), 400),
        (json!({ "queueName": "q", "parallelism": 0 }), 400),
        (json!({ "queueName": "q", "parallelism": -1 }), 400),
        (json!({ "queueName": "q", "parallelism": 11 }), 412),
        (json!({ "queueName": "q", "parallelism": 10 }), 200),
    ] {
        assert_eq!(put(&wire, queue.clone()).await, status, "{queue}");
    }
    let call = format!("/v2/enqueue/a%20b/{}", wire.to("/in"));
    assert_eq!(wire.post(&call).await.status, 400);
}

#[tokio::test]
async fn a_paused_queue_holds_its_messages_until_it_is_resumed() {
    let wire = Wire::start().await;
    wire.enqueue("q", "/zero", &[]).await;
    wire.settle().await;
    wire.post("/v2/queues/q/pause").await.expect(200);
    wire.enqueue("q", "/one", &[]).await;
    wire.enqueue("q", "/two", &[]).await;
    wire.at(DAY).await;
    assert_eq!(
        (wire.receiver.targets(), &wire.get("/v2/queues/q").await["lag"]),
        (vec!["/zero".to_owned()], &json!(2))
    );
    wire.post("/v2/queues/q/resume").await.expect(200);
    wire.settle().await;
    assert_eq!(wire.receiver.targets(), ["/zero", "/one", "/two"]);
    assert_eq!(wire.get("/v2/queues/q").await["lag"], json!(0));
}

#[tokio::test]
async fn a_queue_that_is_deleted_takes_its_messages_along() {
    let wire = Wire::start().await;
    put(&wire, json!({ "queueName": "q", "paused": true })).await;
    wire.enqueue("q", "/in", &[]).await;
    wire.delete("/v2/queues/q").await.expect(200);
    wire.at(DAY).await;
    assert_eq!((wire.receiver.count(), wire.qstash.pending()), (0, 0));
}

#[tokio::test]
async fn the_next_message_waits_for_all_retries_and_callbacks_of_the_one_before() {
    let wire = Wire::start().await;
    wire.receiver.answer(|received| {
        Reply::status(if received.target == "/one" || received.target == "/failed" { 500 } else { 200 })
    });
    let (callback, failure) = (wire.to("/cb"), wire.to("/failed"));
    let first =
        [("Upstash-Retries", "1"), ("Upstash-Callback", callback.as_str()), ("Upstash-Failure-Callback", &failure)];
    wire.enqueue("q", "/one", &first).await;
    wire.enqueue("q", "/two", &[]).await;
    wire.at(DAY).await;
    assert_eq!(wire.receiver.targets(), ["/one", "/cb", "/one", "/cb", "/failed", "/failed", "/two"]);
}

#[tokio::test]
async fn a_queue_keeps_its_order() {
    let wire = Wire::start().await;
    wire.receiver.hold();
    for number in 0..10 {
        wire.enqueue("q", &format!("/{number}"), &[]).await;
    }
    wire.receiver.arrived(1).await;
    wire.receiver.release();
    wire.settle().await;
    assert_eq!(wire.receiver.targets(), (0..10).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn as_many_go_at_a_time_as_the_queue_says() {
    let wire = Wire::start().await;
    put(&wire, json!({ "queueName": "q", "parallelism": 2 })).await;
    wire.receiver.hold();
    for number in 0..4 {
        wire.enqueue("q", &format!("/{number}"), &[]).await;
    }
    wire.receiver.arrived(2).await;
    assert_eq!(wire.log("state=ACTIVE").await.len(), 2);
    put(&wire, json!({ "queueName": "q", "parallelism": 3 })).await;
    assert_eq!(wire.log("state=ACTIVE").await.len(), 3, "a new place counts at once");
    wire.receiver.release();
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 4);
}

#[tokio::test]
async fn an_upsert_that_does_not_say_keeps_what_is_known() {
    let wire = Wire::start().await;
    put(&wire, json!({ "queueName": "q", "parallelism": 5, "paused": true })).await;
    put(&wire, json!({ "queueName": "q" })).await;
    let queue = wire.get("/v2/queues/q").await;
    assert_eq!((&queue["parallelism"], &queue["paused"]), (&json!(5), &json!(true)));
    wire.at(HOUR).await;
}

#[tokio::test]
async fn paths_are_taken_as_sdks_write_them_but_never_for_a_bulk_call() {
    let wire = Wire::start().await;
    let queue = json!({ "queueName": "q", "parallelism": 1 });
    wire.send_json("POST", "/v2/queues/", &queue).await.expect(200);
    for path in ["/v2/queues/", "/v2/Queues", "/v2/Schedules", "/v2/schedules/", "/v2/topics/", "/v2/FlowControl"] {
        assert!(wire.get(path).await.is_array(), "{path}");
    }
    let schedule = format!("/v2/Schedules/{}", wire.to("/In"));
    wire.call("POST", &schedule, &[("Upstash-Cron", "* * * * *")], b"").await.expect(201);
    assert_eq!(
        wire.get("/v2/schedules").await[0]["destination"],
        json!(wire.to("/In")),
        "only the endpoint changes case"
    );
    for (method, path) in [
        ("DELETE", "/v2/dlq/"),
        ("DELETE", "/v2/DLQ/"),
        ("DELETE", "/v2/messages/"),
        ("POST", "/v2/dlq/retry/"),
        ("DELETE", "/v2/queues/"),
        ("DELETE", "/v2/topics/"),
    ] {
        assert_eq!(wire.call(method, path, &[], b"").await.status, 400, "{method} {path}");
    }
}
