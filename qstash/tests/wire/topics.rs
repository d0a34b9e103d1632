//! Reference 5.4: topics (URL groups).

use serde_json::{Value, json};

use crate::support::{DAY, START, Wire};

async fn put(wire: &Wire, name: &str, endpoints: Value) -> u16 {
    let body = json!({ "endpoints": endpoints });
    wire.send_json("POST", &format!("/v2/topics/{name}/endpoints"), &body).await.status
}

async fn remove(wire: &Wire, name: &str, endpoints: Value) -> u16 {
    let body = json!({ "endpoints": endpoints });
    wire.send_json("DELETE", &format!("/v2/topics/{name}/endpoints"), &body).await.status
}

async fn endpoints(wire: &Wire, name: &str) -> Value {
    wire.get(&format!("/v2/topics/{name}")).await["endpoints"].clone()
}

#[tokio::test]
async fn a_topic_has_every_documented_field() {
    let wire = Wire::start().await;
    wire.at(1_000).await;
    assert_eq!(put(&wire, "t", json!([{ "url": "https://a.example/" }])).await, 200);
    wire.at(2_000).await;
    assert_eq!(put(&wire, "t", json!([{ "url": "https://b.example/", "name": "second" }])).await, 200);
    let expected = json!({
        "name": "t",
        "createdAt": START + 1_000,
        "updatedAt": START + 2_000,
        "endpoints": [{ "url": "https://a.example/" }, { "url": "https://b.example/", "name": "second" }],
    });
    assert_eq!(wire.get("/v2/topics/t").await, expected);
    assert_eq!(wire.get("/v2/topics").await, json!([expected]));
}

#[tokio::test]
async fn topics_are_listed_by_a_bare_array_and_an_unknown_one_is_not_found() {
    let wire = Wire::start().await;
    assert_eq!(wire.get("/v2/topics").await, json!([]));
    assert_eq!(wire.call("GET", "/v2/topics/t", &[], b"").await.status, 404);
}

#[tokio::test]
async fn an_endpoint_is_replaced_by_its_name_or_its_url() {
    let wire = Wire::start().await;
    put(&wire, "t", json!([{ "url": "https://a.example/", "name": "first" }])).await;
    put(&wire, "t", json!([{ "url": "https://b.example/", "name": "first" }])).await;
    assert_eq!(endpoints(&wire, "t").await, json!([{ "url": "https://b.example/", "name": "first" }]));
    put(&wire, "t", json!([{ "url": "https://b.example/", "name": "second" }])).await;
    assert_eq!(endpoints(&wire, "t").await, json!([{ "url": "https://b.example/", "name": "second" }]));
}

#[tokio::test]
async fn endpoints_are_removed_by_name_or_url_and_the_topic_goes_with_the_last() {
    let wire = Wire::start().await;
    put(&wire, "t", json!([{ "url": "https://a.example/", "name": "first" }, { "url": "https://b.example/" }])).await;
    wire.at(1_000).await;
    assert_eq!(remove(&wire, "t", json!([{ "name": "first" }])).await, 200);
    assert_eq!(endpoints(&wire, "t").await, json!([{ "url": "https://b.example/" }]));
    assert_eq!(wire.get("/v2/topics/t").await["updatedAt"], json!(START + 1_000));
    assert_eq!(remove(&wire, "t", json!([{ "url": "https://b.example/" }])).await, 200);
    assert_eq!(wire.call("GET", "/v2/topics/t", &[], b"").await.status, 404);
}

#[tokio::test]
async fn deleting_a_topic_is_fine_also_where_there_is_none() {
    let wire = Wire::start().await;
    wire.topic("t", &["/one"]).await;
    for _ in 0..2 {
        assert_eq!(wire.delete("/v2/topics/t").await.status, 200);
    }
    assert_eq!(wire.post("/v2/publish/t").await.status, 404);
}

#[tokio::test]
async fn a_name_is_letters_digits_and_three_marks() {
    let wire = Wire::start().await;
    for (name, status) in [("a-b_c.D9", 200), ("a%20b", 400), ("a,b", 400), ("", 400)] {
        assert_eq!(put(&wire, name, json!([{ "url": "https://a.example/" }])).await, status, "\"{name}\"");
    }
}

#[tokio::test]
async fn endpoints_that_can_not_be_called_are_refused() {
    let wire = Wire::start().await;
    for bad in [
        json!([]),
        json!([{ "url": "ftp://a.example/" }]),
        json!([{ "url": "a.example" }]),
        json!([{ "name": "x" }]),
        json!({}),
    ] {
        assert_eq!(put(&wire, "t", bad.clone()).await, 400, "{bad}");
    }
    assert_eq!(remove(&wire, "t", json!([{ "url": "https://a.example/" }])).await, 404, "there is no such topic");
    wire.topic("t", &["/one"]).await;
    assert_eq!(remove(&wire, "t", json!([{}])).await, 400);
}

#[tokio::test]
async fn default_headers_serve_where_the_call_says_nothing() {
    let wire = Wire::start().await;
    wire.topic("t", &["/one"]).await;
    let headers = json!({ "Upstash-Retries": "0", "Upstash-Forward-X": ["a", "b"], "upstash-label": ["l"] });
    wire.at(1_000).await;
    wire.send_json("PATCH", "/v2/topics/t", &json!({ "headers": headers })).await.expect(200);
    assert_eq!(wire.get("/v2/topics/t").await["updatedAt"], json!(START + 1_000));
    for (own, retries, x) in
        [(&[][..], 0, json!(["a", "b"])), (&[("Upstash-Retries", "5"), ("Upstash-Forward-X", "c")], 5, json!(["c"]))]
    {
        let answer =
            wire.call("POST", "/v2/publish/t", &[own, &[("Upstash-Delay", "1d")]].concat(), b"").await.expect(201);
        let message = wire.message(answer.body[0]["messageId"].as_str().unwrap()).await;
        assert_eq!(
            (&message["maxRetries"], &message["header"]["X"], &message["label"]),
            (&json!(retries), &x, &json!("l")),
            "{own:?}"
        );
    }
}

#[tokio::test]
async fn default_headers_of_an_unknown_topic_are_not_found() {
    let wire = Wire::start().await;
    assert_eq!(wire.send_json("PATCH", "/v2/topics/t", &json!({ "headers": {} })).await.status, 404);
    wire.topic("t", &["/one"]).await;
    assert_eq!(wire.send_json("PATCH", "/v2/topics/t", &json!({ "headers": { "a": 1 } })).await.status, 400);
}

#[tokio::test]
async fn every_endpoint_has_a_message_and_retries_of_its_own() {
    let wire = Wire::start().await;
    wire.receiver.answer(|received| crate::support::Reply::status(if received.target == "/bad" { 500 } else { 200 }));
    wire.topic("t", &["/good", "/bad"]).await;
    wire.call("POST", "/v2/publish/t", &[("Upstash-Retries", "1")], b"x").await.expect(201);
    wire.at(DAY).await;
    assert_eq!((wire.receiver.at("/good").len(), wire.receiver.at("/bad").len()), (1, 2));
}
