//! Reference 5.1: pending messages.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{DAY, HOUR, START, Wire, encoded};

/// A message with everything, which waits for an hour; and its id.
async fn full(wire: &Wire) -> String {
    let (callback, failure) = (wire.to("/cb"), wire.to("/failed"));
    let headers = [
        ("Content-Type", "a/b"),
        ("Upstash-Method", "PUT"),
        ("Upstash-Forward-X", "1"),
        ("Upstash-Retries", "5"),
        ("Upstash-Delay", "1h"),
        ("Upstash-Retry-Delay", "1000"),
        ("Upstash-Callback", &callback),
        ("Upstash-Callback-Forward-C", "2"),
        ("Upstash-Failure-Callback", &failure),
        ("Upstash-Failure-Callback-Forward-F", "3"),
        ("Upstash-Label", "l, m"),
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", "parallelism=2, rate=3, period=1m"),
    ];
    wire.publish(&headers).await
}

#[tokio::test]
async fn a_message_has_every_documented_field() {
    let wire = Wire::start().await;
    let id = full(&wire).await;
    let expected = json!({
        "messageId": id,
        "url": wire.to("/in"),
        "method": "PUT",
        "header": { "Content-Type": ["a/b"], "X": ["1"] },
        "body": "body",
        "maxRetries": 5,
        "notBefore": START + HOUR,
        "createdAt": START,
        "callback": wire.to("/cb"),
        "failureCallback": wire.to("/failed"),
        "callbackHeader": { "C": ["2"] },
        "failureCallbackHeader": { "F": ["3"] },
        "callerIP": "127.0.0.1",
        "callerIp": "127.0.0.1",
        "label": "l",
        "labels": ["l", "m"],
        "flowControlKey": "k",
        "rate": 3,
        "period": 60,
        "parallelism": 2,
        "retryDelayExpression": "1000",
    });
    assert_eq!(wire.message(&id).await, expected);
}

#[tokio::test]
async fn what_is_empty_is_absent() {
    let wire = Wire::start().await;
    let call = format!("/v2/publish/{}", wire.to("/in"));
    let id = wire.call("POST", &call, &[("Upstash-Delay", "1h")], b"").await.expect(201).id();
    let message = wire.message(&id).await;
    let mut fields: Vec<_> = message.as_object().unwrap().keys().map(String::as_str).collect();
    fields.retain(|field| *field != "header");
    fields.sort_unstable();
    assert_eq!(fields, ["callerIP", "callerIp", "createdAt", "maxRetries", "messageId", "method", "notBefore", "url"]);
}

#[tokio::test]
async fn a_body_that_is_no_text_is_shown_in_base64() {
    let wire = Wire::start().await;
    let call = format!("/v2/publish/{}", wire.to("/in"));
    let id = wire.call("POST", &call, &[("Upstash-Delay", "1h")], b"\xff\x00").await.expect(201).id();
    let message = wire.message(&id).await;
    assert_eq!((message.get("body"), &message["bodyBase64"]), (None, &json!(STANDARD.encode(b"\xff\x00"))));
}

#[tokio::test]
async fn topic_endpoint_queue_and_schedule_are_named() {
    let wire = Wire::start().await;
    let endpoints = json!({ "endpoints": [{ "url": wire.to("/in"), "name": "first" }] });
    wire.send_json("POST", "/v2/topics/t/endpoints", &endpoints).await.expect(200);
    let answer = wire.call("POST", "/v2/enqueue/q/t", &[("Upstash-Delay", "1h")], b"").await.expect(201);
    let message = wire.message(answer.body[0]["messageId"].as_str().unwrap()).await;
    let named = ["topicName", "endpointName", "queueName"].map(|field| message[field].clone());
    assert_eq!(named, [json!("t"), json!("first"), json!("q")]);
    wire.schedule("* * * * *", &[("Upstash-Schedule-Id", "s"), ("Upstash-Delay", "1h")]).await;
    wire.at(20_000).await;
    let id = wire.log("scheduleId=s").await[0]["messageId"].as_str().unwrap().to_owned();
    assert_eq!(wire.message(&id).await["scheduleId"], json!("s"));
}

#[tokio::test]
async fn a_message_is_found_while_it_is_pending_only() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    let id = wire.publish(&[("Upstash-Retries", "1")]).await;
    let path = format!("/v2/messages/{id}");
    wire.settle().await;
    assert_eq!(wire.call("GET", &path, &[], b"").await.status, 200, "it waits for its retry");
    wire.at(DAY).await;
    assert_eq!(wire.call("GET", &path, &[], b"").await.status, 404, "it failed");
    assert_eq!(wire.call("GET", "/v2/messages/msg_unknown", &[], b"").await.status, 404);
}

#[tokio::test]
async fn one_message_is_cancelled_once() {
    let wire = Wire::start().await;
    let path = format!("/v2/messages/{}", full(&wire).await);
    assert_eq!(wire.delete(&path).await.expect(200).body, json!({ "cancelled": 1 }));
    assert_eq!(wire.delete(&path).await.status, 404);
    assert_eq!(wire.delete("/v2/messages/msg_unknown").await.status, 404);
}

/// Two messages of which every filter finds the first one only.
async fn two() -> (Wire, String) {
    let wire = Wire::start().await;
    wire.topic("t", &["/in?x=1,2"]).await;
    let first = [
        ("Upstash-Delay", "1h"),
        ("Upstash-Label", "l,m"),
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", "rate=1"),
    ];
    let answer = wire.call("POST", "/v2/enqueue/q/t", &first, b"").await.expect(201);
    wire.at(HOUR / 2).await;
    let other = [("Upstash-Delay", "2d"), ("Upstash-Label", "other")];
    wire.call("POST", "/v2/publish/http://other.example:81/else", &other, b"").await.expect(201);
    (wire, answer.body[0]["messageId"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn each_filter_cancels_what_it_finds_and_nothing_else() {
    for filter in [
        "messageIds=<id>",
        "messageIds=<id>&messageIds=msg_unknown",
        "messageIds=msg_unknown,<id>",
        "topicName=t",
        "queueName=q",
        "host=127.0.0.1",
        "path=/in",
        "label=l",
        "label=m",
        "label=nothing,l",
        "flowControlKey=k",
        "toDate=1780000000000",
        "fromDate=1780000000000&toDate=1780000000000",
        "label=l&queueName=q&topicName=t",
    ] {
        let (wire, id) = two().await;
        let filter = filter.replace("<id>", &id);
        assert_eq!(
            wire.delete(&format!("/v2/messages?{filter}")).await.expect(200).body,
            json!({ "cancelled": 1 }),
            "{filter}"
        );
        assert_eq!(wire.call("GET", &format!("/v2/messages/{id}"), &[], b"").await.status, 404, "{filter}");
        assert_eq!(wire.qstash.pending(), 1, "{filter}");
    }
}

#[tokio::test]
async fn filters_that_nothing_meets_cancel_nothing() {
    let (wire, _) = two().await;
    for filter in [
        "messageIds=msg_unknown",
        "messageIds=",
        "topicName=u",
        "queueName=p",
        "host=127.0.0.2",
        "path=/",
        "label=n",
        "flowControlKey=x",
        "scheduleId=s",
        "callerIp=10.0.0.1",
        "callerIP=10.0.0.1",
        "toDate=1",
        "fromDate=9999999999999",
        "label=l&queueName=p",
        "url=http://127.0.0.1/",
    ] {
        assert_eq!(
            wire.delete(&format!("/v2/messages?{filter}")).await.expect(200).body,
            json!({ "cancelled": 0 }),
            "{filter}"
        );
    }
    assert_eq!(wire.qstash.pending(), 2);
}

#[tokio::test]
async fn a_url_is_compared_as_a_whole_and_the_caller_by_both_names() {
    for filter in ["url", "callerIp", "callerIP"] {
        let (wire, _) = two().await;
        let (value, count) = if filter == "url" { (wire.to("/in?x=1,2"), 1) } else { ("127.0.0.1".to_owned(), 2) };
        let answer = wire.delete(&format!("/v2/messages?{filter}={}", encoded(&value))).await.expect(200);
        assert_eq!(answer.body, json!({ "cancelled": count }), "{filter}");
    }
}

#[tokio::test]
async fn messages_of_a_schedule_are_cancelled_by_its_id() {
    let wire = Wire::start().await;
    wire.schedule("* * * * *", &[("Upstash-Schedule-Id", "s"), ("Upstash-Delay", "1h")]).await;
    full(&wire).await;
    wire.at(20_000).await;
    assert_eq!(wire.delete("/v2/messages?scheduleId=s").await.expect(200).body, json!({ "cancelled": 1 }));
}

#[tokio::test]
async fn no_filter_cancels_everything() {
    let (wire, _) = two().await;
    assert_eq!(wire.delete("/v2/messages").await.expect(200).body, json!({ "cancelled": 2 }));
    assert_eq!(wire.qstash.pending(), 0);
}

#[tokio::test]
async fn count_is_ignored_as_the_sdks_say() {
    let (wire, _) = two().await;
    assert_eq!(wire.delete("/v2/messages?count=1").await.expect(200).body, json!({ "cancelled": 2 }));
    assert_eq!(wire.qstash.pending(), 0);
}

#[tokio::test]
async fn ids_may_stand_in_the_body() {
    let (wire, id) = two().await;
    for (ids, cancelled) in [(json!([]), 0), (json!(["msg_unknown"]), 0), (json!([id]), 1)] {
        let answer = wire.send_json("DELETE", "/v2/messages", &json!({ "messageIds": ids })).await.expect(200);
        assert_eq!(answer.body, json!({ "cancelled": cancelled }));
    }
}

#[tokio::test]
async fn a_call_that_is_misspelt_does_not_mean_everything() {
    let (wire, _) = two().await;
    for path in ["/v2/messages/", "/v2/messages?lable=l", "/v2/messages?count=all", "/v2/messages?fromDate=yesterday"] {
        assert_eq!(wire.delete(path).await.status, 400, "{path}");
    }
    for body in [json!({}), json!({ "messageIds": "all" }), Value::Null] {
        assert_eq!(wire.send_json("DELETE", "/v2/messages", &body).await.status, 400, "{body}");
    }
    assert_eq!(wire.qstash.pending(), 2);
}

#[tokio::test]
async fn a_waiting_message_is_retried_now_without_an_attempt_more() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    let id = wire.publish(&[("Upstash-Delay", "1h"), ("Upstash-Retries", "1")]).await;
    let path = format!("/v2/messages/{id}/retry");
    for attempts in [1, 2] {
        wire.post(&path).await.expect(200);
        wire.settle().await;
        assert_eq!(wire.receiver.count(), attempts);
    }
    assert_eq!(wire.dead().await.len(), 1, "its one retry was used");
    assert_eq!(wire.post(&path).await.status, 404, "it is not pending any more");
}

#[tokio::test]
async fn a_message_of_a_queue_can_not_be_retried_now() {
    let wire = Wire::start().await;
    let queued = wire.enqueue("q", "/in", &[("Upstash-Delay", "1h")]).await;
    let refused = wire.post(&format!("/v2/messages/{queued}/retry")).await.expect(400);
    assert!(refused.error().contains("queue"), "{refused:?}");
    assert_eq!(wire.post("/v2/messages/msg_unknown/retry").await.status, 404);
    assert_eq!(wire.post("/v2/messages//retry").await.status, 400);
}

#[tokio::test]
async fn ids_override_the_other_filters_of_a_bulk_call() {
    let wire = Wire::start().await;
    let id = full(&wire).await;
    let path = format!("/v2/messages?label=none&messageIds={id}");
    assert_eq!(wire.delete(&path).await.expect(200).body, json!({ "cancelled": 1 }));
}
