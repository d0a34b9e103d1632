//! Reference 3: what a delivery is signed with, and what its token says.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use surehook_qstash::USERS;

use crate::support::{DAY, START, Wire, claims, digest, is_signed_with};

const NOW: i64 = START / 1_000;

#[tokio::test]
async fn a_token_says_what_is_documented() {
    let wire = Wire::start().await;
    wire.publish_to("/in?a=1", &[]).await.expect(201);
    wire.settle().await;
    let received = wire.receiver.only();
    let claims = claims(&received);
    for (claim, value) in [
        ("iss", json!("Upstash")),
        ("sub", json!(wire.to("/in?a=1"))),
        ("iat", json!(NOW)),
        ("exp", json!(NOW + 300)),
        ("body", json!(digest(b"body"))),
    ] {
        assert_eq!(claims[claim], value, "{claim}");
    }
    assert!([json!(NOW), json!(0)].contains(&claims["nbf"]), "both are known: {claims}");
    let id = claims["jti"].as_str().unwrap();
    assert!(id.starts_with("jwt_") && id.len() == 32, "{id}");
}

#[tokio::test]
async fn the_head_of_a_token_names_the_algorithm_and_nothing_else() {
    let wire = Wire::start().await;
    wire.publish(&[]).await;
    wire.settle().await;
    let received = wire.receiver.only();
    let head = received.header("upstash-signature").unwrap().split('.').next().unwrap().to_owned();
    let head: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    assert_eq!(head, json!({ "alg": "HS256", "typ": "JWT" }));
}

#[tokio::test]
async fn the_body_claim_is_the_digest_of_the_bytes_in_padded_base64url() {
    let wire = Wire::start().await;
    for (body, known) in [
        (&b""[..], "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="),
        (b"{}", "RBNvo1WzZ4oRRq0W9-hknpT7T8If536DEMBg9hyq_4o="),
        (b"\xff\x00\xfe", digest(b"\xff\x00\xfe").as_str()),
    ] {
        wire.receiver.forget();
        wire.call("POST", &format!("/v2/publish/{}", wire.to("/in")), &[], body).await.expect(201);
        wire.settle().await;
        assert_eq!(claims(&wire.receiver.only())["body"], json!(known), "{body:?}");
    }
}

#[tokio::test]
async fn the_mac_is_made_with_the_whole_text_of_the_published_current_key() {
    let wire = Wire::start().await;
    wire.publish(&[]).await;
    wire.settle().await;
    let received = wire.receiver.only();
    let user = USERS[0];
    assert!(is_signed_with(&received, user.current_key));
    assert!(!is_signed_with(&received, user.next_key));
    assert!(!is_signed_with(&received, user.current_key.trim_start_matches("sig_")));
}

#[tokio::test]
async fn every_attempt_has_a_token_of_its_own() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    let id = wire.publish(&[("Upstash-Retries", "5")]).await;
    wire.at(2 * DAY).await;
    let times = wire.attempts(&id).await;
    let tokens: Vec<_> = wire.receiver.received().iter().map(claims).collect();
    for (time, token) in times.iter().zip(&tokens) {
        let now = (START + time) / 1_000;
        assert_eq!((&token["iat"], &token["exp"]), (&json!(now), &json!(now + 300)));
    }
    let ids: std::collections::BTreeSet<_> = tokens.iter().map(|token| token["jti"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 6);
}

#[tokio::test]
async fn keys_are_shown_and_rotate_from_next_to_current() {
    let wire = Wire::start().await;
    let user = USERS[0];
    assert_eq!(wire.get("/v2/keys").await, json!({ "current": user.current_key, "next": user.next_key }));
    let rotated = wire.post("/v2/keys/rotate").await.expect(200).body;
    assert_eq!(rotated["current"], json!(user.next_key));
    let fresh = rotated["next"].as_str().unwrap();
    assert!(fresh.starts_with("sig_") && fresh.len() == 32 && fresh != user.next_key);
    assert_eq!(wire.get("/v2/keys").await, rotated);
}

#[tokio::test]
async fn a_message_is_signed_with_the_key_that_is_current_when_it_is_delivered() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    wire.publish(&[("Upstash-Retry-Delay", "1000"), ("Upstash-Retries", "2")]).await;
    let mut keys = vec![USERS[0].current_key.to_owned()];
    for retry in 1..3 {
        wire.settle().await;
        let rotated = wire.post("/v2/keys/rotate").await.body;
        keys.push(rotated["current"].as_str().unwrap().to_owned());
        wire.at(retry * 1_000).await;
    }
    for (received, key) in wire.receiver.received().iter().zip(&keys) {
        assert!(is_signed_with(received, key), "{:?}", received.header("upstash-retried"));
    }
}

#[tokio::test]
async fn the_subject_is_the_endpoint_of_a_topic_and_not_its_name() {
    let wire = Wire::start().await;
    wire.topic("t", &["/one?x=1", "/two"]).await;
    wire.post("/v2/publish/t").await.expect(201);
    wire.settle().await;
    for path in ["/one?x=1", "/two"] {
        assert_eq!(claims(&wire.receiver.at(path)[0])["sub"], json!(wire.to(path)));
    }
}

#[tokio::test]
async fn the_subject_of_callbacks_is_their_own_url() {
    let wire = Wire::start().await;
    wire.receiver.answer(|received| crate::support::Reply::status(if received.target == "/in" { 500 } else { 200 }));
    let (callback, failure) = (wire.to("/cb?x=1"), wire.to("/failed"));
    let headers =
        [("Upstash-Callback", callback.as_str()), ("Upstash-Failure-Callback", &failure), ("Upstash-Retries", "0")];
    wire.publish(&headers).await;
    wire.settle().await;
    for path in ["/cb?x=1", "/failed"] {
        let received = wire.receiver.at(path).remove(0);
        let claims = claims(&received);
        assert_eq!(
            (&claims["sub"], &claims["body"]),
            (&json!(wire.to(path)), &json!(digest(&received.body))),
            "{path}"
        );
        assert!(is_signed_with(&received, USERS[0].current_key), "{path}");
    }
}

#[tokio::test]
async fn the_subject_of_a_schedule_is_its_destination() {
    let wire = Wire::start().await;
    wire.schedule("* * * * *", &[]).await;
    wire.at(20_000).await;
    assert_eq!(claims(&wire.receiver.only())["sub"], json!(wire.to("/in")));
}
