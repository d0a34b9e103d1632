//! Reference 7: the four published users, each with an account and keys of its own.

use serde_json::json;
use surehook_qstash::USERS;

use crate::support::{Reply, Wire, is_signed_with};

#[tokio::test]
async fn the_tokens_and_keys_are_the_published_ones() {
    let wire = Wire::start().await;
    for (user, (token, current, next)) in [
        (
            "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
            "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
            "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
        ),
        (
            "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
            "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM",
            "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
        ),
        (
            "eyJVc2VySUQiOiJ0ZXN0VXNlcjIiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
            "sig_6jWGaWRxHsw4vMSPJprXadyvrybF",
            "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
        ),
        (
            "eyJVc2VySUQiOiJ0ZXN0VXNlcjMiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
            "sig_5T8FcSsynBjn9mMLBsXhpacRovJf",
            "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(USERS[user].token, token);
        let bearer = format!("Bearer {token}");
        let keys = wire.anonymous("GET", "/v2/keys", &[("authorization", &bearer)], b"").await.expect(200);
        assert_eq!(keys.body, json!({ "current": current, "next": next }), "user {}", user + 1);
    }
}

#[tokio::test]
async fn each_users_messages_are_signed_with_its_own_key() {
    let wire = Wire::start().await;
    for user in 0..4 {
        let path = format!("/v2/publish/{}", wire.to(&format!("/{user}")));
        wire.call_as(user, "POST", &path, &[], b"x").await.expect(201);
    }
    wire.settle().await;
    for received in wire.receiver.received() {
        let of: usize = received.target[1..].parse().unwrap();
        let signers: Vec<_> = (0..4).filter(|user| is_signed_with(&received, USERS[*user].current_key)).collect();
        assert_eq!(signers, [of]);
    }
}

#[tokio::test]
async fn what_one_user_has_the_others_do_not_see() {
    let wire = Wire::start().await;
    wire.receiver.answer(|_| Reply::status(500));
    wire.topic("t", &["/one"]).await;
    wire.enqueue("q", "/in", &[("Upstash-Retries", "0")]).await;
    wire.schedule("* * * * *", &[]).await;
    let pending = wire
        .publish(&[
            ("Upstash-Delay", "1h"),
            ("Upstash-Flow-Control-Key", "k"),
            ("Upstash-Flow-Control-Value", "rate=1"),
        ])
        .await;
    wire.publish(&[
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", "rate=1"),
        ("Upstash-Retries", "0"),
    ])
    .await;
    wire.settle().await;
    for (path, of_other) in [
        ("/v2/topics", json!([])),
        ("/v2/queues", json!([])),
        ("/v2/schedules", json!([])),
        ("/v2/flowControl", json!([])),
        ("/v2/dlq", json!({ "messages": [] })),
        ("/v2/logs", json!({ "events": [], "logs": [] })),
    ] {
        assert_eq!(wire.call_as(1, "GET", path, &[], b"").await.expect(200).body, of_other, "{path}");
        assert_ne!(wire.get(path).await, of_other, "{path}");
    }
    assert_eq!(wire.call_as(1, "DELETE", &format!("/v2/messages/{pending}"), &[], b"").await.status, 404);
    assert_eq!(wire.call_as(1, "DELETE", "/v2/messages", &[], b"").await.body, json!({ "cancelled": 0 }));
    assert_eq!(wire.call_as(1, "DELETE", "/v2/dlq", &[], b"").await.body["deleted"], json!(0));
}

#[tokio::test]
async fn copies_are_known_and_keys_rotate_for_one_user_alone() {
    let wire = Wire::start().await;
    let (path, id) = (format!("/v2/publish/{}", wire.to("/in")), [("Upstash-Deduplication-Id", "one")]);
    for user in 0..4 {
        wire.call_as(user, "POST", &path, &id, b"").await.expect(201);
    }
    wire.call_as(2, "POST", "/v2/keys/rotate", &[], b"").await.expect(200);
    for (user, known) in USERS.iter().enumerate() {
        let keys = wire.call_as(user, "GET", "/v2/keys", &[], b"").await.body;
        let current = if user == 2 { known.next_key } else { known.current_key };
        assert_eq!(keys["current"], json!(current), "{}", known.name);
    }
}

#[tokio::test]
async fn a_read_only_token_reads_everything_and_changes_nothing() {
    let wire = Wire::start().await;
    let id = wire.publish(&[("Upstash-Delay", "1h")]).await;
    let bearer = format!("Bearer {}", USERS[0].readonly_token);
    let headers = [("authorization", bearer.as_str())];
    for path in [&format!("/v2/messages/{id}"), "/v2/logs", "/v2/dlq", "/v2/schedules", "/v2/queues"] {
        wire.anonymous("GET", path, &headers, b"").await.expect(200);
    }
    let publish = format!("/v2/publish/{}", wire.to("/in"));
    for (method, path) in [
        ("POST", publish.as_str()),
        ("DELETE", &format!("/v2/messages/{id}")),
        ("POST", "/v2/keys/rotate"),
        ("POST", "/v2/queues"),
    ] {
        let refused = wire.anonymous(method, path, &headers, b"").await.expect(403);
        assert!(refused.error().contains("read-only"), "{method} {path}: {refused:?}");
    }
    let in_query = format!("/v2/logs?qstash_token={}", USERS[1].readonly_token);
    wire.anonymous("GET", &in_query, &[], b"").await.expect(200);
}
