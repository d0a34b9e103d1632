//! Reference 1.4: options in the query, and options that are refused.

use serde_json::{Value, json};
use surehook_qstash::{Choices, Settings};

use crate::support::{DAY, HOUR, Pairs, START, Wire, encoded, stepped};

const CALLBACK: &str = "http://127.0.0.1:1/cb";

/// Options, and what shows that each was understood.
fn options() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    vec![
        ("upstash-method", "PUT", "method", json!("PUT")),
        ("upstash-delay", "2h", "notBefore", json!(START + 2 * HOUR)),
        ("upstash-not-before", "1780086400", "notBefore", json!(START + DAY)),
        ("upstash-retries", "4", "maxRetries", json!(4)),
        ("upstash-retry-delay", "1000 * (1 + retried)", "retryDelayExpression", json!("1000 * (1 + retried)")),
        ("upstash-callback", CALLBACK, "callback", json!(CALLBACK)),
        ("upstash-failure-callback", CALLBACK, "failureCallback", json!(CALLBACK)),
        ("upstash-forward-x-own", "1", "header", json!({"X-Own": ["1"]})),
        ("upstash-label", "a,b", "labels", json!(["a", "b"])),
        (
            "upstash-redact-fields",
            "body",
            "body",
            json!(format!("REDACTED:{}", surehook::digest::Sha256::of(b"body").hex())),
        ),
    ]
}

#[tokio::test]
async fn any_option_may_stand_in_the_query_in_lower_case() {
    let wire = Wire::start().await;
    for (name, value, field, shown) in options() {
        let delay = if name == "upstash-delay" { "" } else { "&upstash-delay=1h" };
        let path = format!("/in?{name}={}{delay}", encoded(value));
        let id = wire.publish_to(&path, &[]).await.expect(201).id();
        assert_eq!(wire.message(&id).await[field], shown, "{name}");
    }
}

#[tokio::test]
async fn the_same_options_are_headers() {
    let wire = Wire::start().await;
    for (name, value, field, shown) in options() {
        let delay = if name == "upstash-delay" { &[][..] } else { &[("upstash-delay", "1h")] };
        let id = wire.publish(&[&[(name, value)], delay].concat()).await;
        assert_eq!(wire.message(&id).await[field], shown, "{name}");
    }
}

#[tokio::test]
async fn flow_control_and_copies_may_be_asked_for_in_the_query_too() {
    let wire = Wire::start().await;
    let query =
        "upstash-flow-control-key=k&upstash-flow-control-value=rate%3D2%2Cperiod%3D1m&upstash-deduplication-id=d";
    let path = format!("/in?{query}&upstash-delay=1h&upstash-timeout=10s");
    let id = wire.publish_to(&path, &[]).await.expect(201).id();
    let message = wire.message(&id).await;
    assert_eq!(
        (&message["flowControlKey"], &message["rate"], &message["period"]),
        (&json!("k"), &json!(2), &json!(60))
    );
    assert_eq!(wire.log(&format!("messageId={id}")).await[0]["timeout"], json!(10_000));
    assert_eq!(wire.publish_to(&path, &[]).await.expect(202).id(), id);
}

#[tokio::test]
async fn a_header_beats_the_query() {
    let wire = Wire::start().await;
    let headers = [("Upstash-Retries", "1"), ("Upstash-Delay", "1h")];
    let id = wire.publish_to("/in?upstash-retries=2", &headers).await.expect(201).id();
    assert_eq!(wire.message(&id).await["maxRetries"], json!(1));
}

#[tokio::test]
async fn a_value_that_can_not_be_meant_is_refused_by_the_name_of_its_header() {
    let wire = Wire::start().await;
    for (name, values) in [
        ("Upstash-Method", &["HEAD", "SEND"][..]),
        ("Upstash-Delay", &["soon", "5", "-1s", "1.5s", "5x", "1h-", "500ms"]),
        ("Upstash-Not-Before", &["tomorrow", "1.5", "2026-05-28"]),
        ("Upstash-Retries", &["-1", "many", "1.5"]),
        ("Upstash-Retry-Delay", &["1 +", "x", "retried retried", "pow(2)", "1 % 2"]),
        ("Upstash-Timeout", &["soon", "0s", "-1s"]),
        ("Upstash-Callback", &["nowhere", "ftp://h.example/", "h.example/cb"]),
        ("Upstash-Failure-Callback", &["nowhere", "ftp://h.example/"]),
        ("Upstash-Redact-Fields", &["bodies", "header[X"]),
    ] {
        for value in values {
            let refused = wire.publish_to("/in", &[(name, value)]).await;
            assert_eq!(refused.status, 400, "{name}: {value}: {refused:?}");
            assert!(refused.error().contains(name), "{name}: {value}: {refused:?}");
        }
    }
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 0, "what is refused leaves nothing behind");
}

#[tokio::test]
async fn an_option_of_a_callback_is_refused_by_its_own_name() {
    let wire = Wire::start().await;
    for base in ["Upstash-Callback", "Upstash-Failure-Callback"] {
        for (option, value) in
            [("Method", "SEND"), ("Retries", "x"), ("Retry-Delay", "("), ("Timeout", "x"), ("Delay", "5s")]
        {
            let name = format!("{base}-{option}");
            let refused = wire.publish_to("/in", &[(base, CALLBACK), (&name, value)]).await.expect(400);
            assert!(refused.error().contains(&name), "{name}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn delayed_callbacks_are_accepted_where_that_is_chosen() {
    let choices = Choices { refuse_delayed_callbacks: false, ..Choices::default() };
    let wire = Wire::with(Settings { choices, ..stepped() }).await;
    wire.publish(&[("Upstash-Callback", CALLBACK), ("Upstash-Callback-Delay", "5s")]).await;
}

#[tokio::test]
async fn flow_control_that_can_not_be_meant_is_refused() {
    let wire = Wire::start().await;
    for value in ["period=1s", "rate=0", "parallelism=0", "rate=x", "speed=1", "rate=1,period=8d", "rate=1, period=0"] {
        let headers = [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", value)];
        let refused = wire.publish_to("/in", &headers).await;
        assert_eq!(refused.status, 400, "{value}");
        assert!(refused.error().contains("Upstash-Flow-Control-Value"), "{value}: {refused:?}");
    }
    for half in [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "rate=1")] {
        wire.publish_to("/in", &[half]).await.expect(400);
    }
}

#[tokio::test]
async fn flow_control_values_stand_in_any_order() {
    let wire = Wire::start().await;
    for (value, parallelism, rate, period) in [
        ("parallelism=3, rate=5, period=1m", json!(3), json!(5), json!(60)),
        ("period=30,rate=5", Value::Null, json!(5), json!(30)),
        ("rate=5", Value::Null, json!(5), json!(1)),
        ("rate=1,period=7d", Value::Null, json!(1), json!(604_800)),
        ("parallelism=2", json!(2), Value::Null, Value::Null),
    ] {
        let headers =
            [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", value), ("Upstash-Delay", "1h")];
        let id = wire.publish(&headers).await;
        let message = wire.message(&id).await;
        let shown = ["parallelism", "rate", "period"].map(|field| message[field].clone());
        assert_eq!(shown, [parallelism, rate, period], "{value}");
    }
}

async fn refusal(headers: Pairs<'_>) -> (u16, String) {
    let answer = Wire::start().await.publish_to("/in", headers).await;
    (answer.status, answer.error().to_owned())
}

#[tokio::test]
async fn a_colon_in_a_deduplication_id_is_refused_with_the_known_text() {
    let refused = refusal(&[("Upstash-Deduplication-Id", "a:b")]).await;
    assert_eq!(refused, (400, "DeduplicationId cannot contain ':'".to_owned()));
}

#[tokio::test]
async fn a_cron_expression_belongs_to_schedules_only() {
    let cron = [("Upstash-Cron", "* * * * *")];
    let (status, error) = refusal(&cron).await;
    assert!(status == 400 && error.contains("Upstash-Cron"), "{status} {error}");
    let wire = Wire::start().await;
    wire.call("POST", &format!("/v2/enqueue/q/{}", wire.to("/in")), &cron, b"").await.expect(400);
    let item = json!([{ "destination": wire.to("/in"), "headers": { "Upstash-Cron": "* * * * *" } }]);
    let answer = wire.send_json("POST", "/v2/batch", &item).await;
    let told = answer.status == 400 || answer.body[0]["error"].is_string();
    assert!(told, "a schedule that was meant is not to become a message: {answer:?}");
}

#[tokio::test]
async fn unknown_options_of_a_callback_are_refused_instead_of_ignored() {
    for base in ["Upstash-Callback", "Upstash-Failure-Callback"] {
        let name = format!("{base}-Redact-Fields");
        let (status, error) = refusal(&[(base, CALLBACK), (&name, "body")]).await;
        assert!(status == 400 && error.contains(&name) && error.contains("forward-<name>"), "{status} {error}");
    }
}

#[tokio::test]
async fn steps_of_a_workflow_are_refused_with_words_that_say_so() {
    let wire = Wire::start().await;
    for name in ["Upstash-Workflow-Init", "Upstash-Workflow-RunId"] {
        let refused = wire.publish_to("/in", &[(name, "true")]).await.expect(400);
        assert!(refused.error().contains("workflows are not served"), "{refused:?}");
    }
    let item = json!([{ "destination": wire.to("/in"), "headers": { "Upstash-Workflow-RunId": "wfr_1" } }]);
    wire.send_json("POST", "/v2/batch", &item).await.expect(400);
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 0);
}
