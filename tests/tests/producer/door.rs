//! Each sender proves who it is, in its own way.

use std::time::Duration;

use http::HeaderName;
use serde_json::json;
use surehook::{
    outside,
    sources::SourceSecrets,
    store::Store,
    web::{Incoming, Moment, Outcome},
};
use surehook_local::stack::PRODUCER_TOKEN;
use surehook_producer::Producer;

use super::{bearer, github, post, stack_with_senders, stripe, stripe_event};
use crate::support::{apply, consumer::moment, operate, qstash, stack, until};

#[tokio::test]
async fn what_github_signs_arrives_byte_for_byte() {
    let stack = stack_with_senders().await;
    let body = "{\"action\": \"opened\",\n \"n\": 1.00}";
    let answer = post(&stack, "github", &github("new-gh", "d-1", body), body).await;
    assert_eq!((answer.status, answer.body["id"].as_str()), (202, Some("d-1")), "{answer:?}");
    stack.qstash.idle().await;
    let received = stack.receiver.received();
    assert_eq!((received.len(), received[0].path.as_str(), &received[0].body[..]), (1, "/github", body.as_bytes()));
    assert!(received[0].header("x-hub-signature-256").is_some(), "its route passes it on");
    for secret in ["x-github-event", "surehook-seal"] {
        assert!(received[0].header(secret).is_none(), "{secret}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_signed_and_delivered_as_they_are() {
    let stack = stack_with_senders().await;
    let body = vec![0xff_u8, 0, b'\n', 0xc3, b'{'];
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"new-gh");
    let mac: String = aws_lc_rs::hmac::sign(&key, &body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut headers = github("new-gh", "d-raw", "");
    headers[2].1 = format!("sha256={mac}");
    assert_eq!(post(&stack, "github", &headers, body.clone()).await.status, 202);
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received()[0].body, body);
}

#[tokio::test]
async fn a_delivery_that_github_repeats_is_the_same_event_and_another_with_the_same_body_is_not() {
    let stack = stack_with_senders().await;
    for delivery in ["d-1", "d-1", "d-2"] {
        assert_eq!(post(&stack, "github", &github("new-gh", delivery, "{}"), "{}").await.status, 202);
        stack.qstash.idle().await;
    }
    assert_eq!(stack.receiver.received().len(), 2);
}

#[tokio::test]
async fn the_401_of_a_configured_topic_is_that_of_an_unknown_one() {
    let stack = stack_with_senders().await;
    let now = outside::now() / 1_000;
    let invoice = stripe_event("evt_1");
    let unknown = post(&stack, "unknown", &[], "{}").await;
    assert_eq!((unknown.status, unknown.word()), (401, "unauthorized"), "{unknown:?}");
    for (topic, headers, body) in [
        ("github", github("stolen", "d", "{}"), "{}"),
        ("github", github("new-gh", "d", "{}"), "{ }"),
        ("github", vec![bearer(PRODUCER_TOKEN)], "{}"),
        ("stripe", stripe(now - 400, &invoice), &invoice),
        ("stripe", stripe(now + 400, &invoice), &invoice),
        ("cms", vec![bearer(PRODUCER_TOKEN)], "{}"),
        ("cms", vec![], "{}"),
        ("orders", vec![bearer("cms-token")], "{}"),
        ("unknown", github("new-gh", "d", "{}"), "{}"),
    ] {
        let answer = post(&stack, topic, &headers, body.to_owned()).await;
        assert_eq!((answer.status, &answer.body), (401, &unknown.body), "{topic}");
    }
    assert_eq!((stack.qstash.pending(), stack.receiver.received().len()), (0, 0));
}

#[tokio::test]
async fn while_a_secret_is_replaced_the_old_one_is_believed_too() {
    let stack = stack_with_senders().await;
    for (secret, delivery) in [("new-gh", "d-1"), ("old-gh", "d-2")] {
        assert_eq!(post(&stack, "github", &github(secret, delivery, "{}"), "{}").await.status, 202, "{secret}");
    }
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 2, "the consumer believes the producer's seal");
}

#[tokio::test]
async fn a_source_has_a_token_of_its_own() {
    let stack = stack_with_senders().await;
    let event = crate::support::event("own token");
    assert_eq!(post(&stack, "cms", &[bearer("cms-token")], event.clone()).await.status, 202);
    let told = post(&stack, "cms", &[bearer("cms-token")], "{}").await;
    assert_eq!((told.status, told.word()), (400, "bad-request"), "not what Strapi sends");
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received()[0].body, event);
}

#[tokio::test]
async fn a_source_whose_secret_is_not_configured_takes_nothing_and_loses_nothing() {
    let stack = stack().await;
    let document =
        "[[source]]\nname = \"gh\"\nrecipe = \"github\"\nsecret = \"gh\"\n[[topic]]\nname = \"gh\"\nsource = \"gh\"\n";
    apply(&stack, document).await;
    // The first request reads the routes that were applied a moment ago.
    until("the source is known", || async { post(&stack, "gh", &github("x", "d", "{}"), "{}").await.status == 503 })
        .await;
}

#[tokio::test]
async fn a_missing_sender_secret_names_its_source_to_nobody() {
    let stack = stack_with_senders().await;
    let producer =
        producer_with(&stack.qstash.url, stack.store(), r#"{"seal": "a seal of these tests, and of nothing else"}"#);
    let answer = producer.call(posted("/cms", &[bearer("cms-token")], "{}"), moment(), "fresh".into()).await;
    assert_eq!((answer.status(), &answer.outcome), (503, &Outcome::SecretMissing("cms".into())));
    assert!(!answer.body().contains("cms") && !answer.body().contains("SOURCE_SECRETS"), "{}", answer.body());
}

/// The document may say that the topic's source, or `payload`, has a secret of its own.
#[tokio::test]
async fn without_the_table_at_a_cold_start_the_producers_token_is_enough_only_if_no_sender_has_a_secret() {
    let mut stack = stack().await;
    qstash(&stack).add_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
    let store = stack.store();
    stack.dynamo.cut_off();
    let seal = r#"{"seal": "a seal of these tests, and of nothing else"}"#;
    for (secrets, status) in
        [(r#"{"payload": "a secret of its own"}"#, 503), (super::SECRETS, 503), (seal, 202), ("{}", 202)]
    {
        let producer = producer_with(&stack.qstash.url, store.clone(), secrets);
        let answer = producer.call(super::order("cold"), moment(), "fresh".into()).await;
        assert_eq!(answer.status(), status, "{secrets}: {answer:?}");
    }
}

/// A producer that has other secrets than the stack's.
fn producer_with(qstash: &str, store: Store, secrets: &str) -> Producer {
    let mut producer = super::producer(qstash, store, Duration::from_secs(5));
    producer.door.secrets = SourceSecrets::parse(secrets).unwrap();
    producer
}

fn posted(path: &str, headers: &[(String, String)], body: &str) -> Incoming {
    let header = |(name, value): &(String, String)| (HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    let (path, body) = (path.to_owned(), body.to_owned().into());
    Incoming { path, body, headers: headers.iter().map(header).collect(), ..super::order("x") }
}

/// A moment that is this much later than the present, by the wall clock.
fn later(milliseconds: i64) -> Moment {
    Moment { now: outside::now() + milliseconds, ..moment() }
}

/// A refusal may be a loss, so that routes that were replaced a moment ago refuse nobody for long.
#[tokio::test]
async fn a_source_is_known_as_soon_as_it_is_applied() {
    let stack = stack_with_senders().await;
    let producer = producer_with(&stack.qstash.url, stack.store(), super::SECRETS);
    let call = async |topic: &str, moment| {
        let request = posted(topic, &github("new-gh", "d-1", "{}"), "{}");
        producer.call(request, moment, "fresh".into()).await.status()
    };
    assert_eq!((call("/github", moment()).await, call("/later", moment()).await), (202, 401));
    let added = "[[source]]\nname = \"later\"\nrecipe = \"github\"\nsecret = \"gh\"\n[[topic]]\nname = \"later\"\nsource = \"later\"\n";
    apply(&stack, &(super::document(&stack) + added)).await;
    qstash(&stack).add_endpoints("later", &[stack.function_url("consumer/later")]).await.unwrap();
    assert_eq!(call("/later", later(1_000)).await, 202, "a second later");
}

/// A body that is wrong for the routes of yesterday may be right for those of today.
#[tokio::test]
async fn what_a_source_takes_is_known_as_soon_as_it_is_applied() {
    let stack = stack_with_senders().await;
    qstash(&stack).add_endpoints("orders", &[stack.function_url("consumer/strapi")]).await.unwrap();
    let producer = producer_with(&stack.qstash.url, stack.store(), super::SECRETS);
    let event = crate::support::event("no payload of ours");
    let call = async |moment| {
        let request = posted("/orders", &[bearer(PRODUCER_TOKEN)], &event);
        producer.call(request, moment, "fresh".into()).await.status()
    };
    assert_eq!(call(moment()).await, 400, "it is none of our payloads");
    apply(&stack, "[[topic]]\nname = \"orders\"\nsource = \"strapi\"\n").await;
    assert_eq!(call(later(1_000)).await, 202, "a second later it is Strapi's");
}

#[tokio::test]
async fn while_the_table_is_away_known_senders_are_served_by_qstash() {
    let mut stack = stack_with_senders().await;
    assert_eq!(post(&stack, "github", &github("new-gh", "d-1", "{}"), "{}").await.status, 202);
    stack.qstash.idle().await;
    stack.dynamo.cut_off();
    assert_eq!(post(&stack, "github", &github("new-gh", "d-2", "{}"), "{}").await.status, 202);
    // Once the routes that refuse it are a second old, they may have been replaced.
    until("nobody is refused by them", || async {
        post(&stack, "github", &github("stolen", "d-3", "{}"), "{}").await.word() == "store-away"
    })
    .await;
    assert_eq!(post(&stack, "github", &github("new-gh", "d-4", "{}"), "{}").await.status, 202);
}

/// The outage lasts longer than Stripe's tolerance: the event was fresh when it arrived, and nobody asks again.
#[tokio::test]
async fn an_event_that_waited_in_the_outbox_for_hours_is_not_stale() {
    let stack = stack_with_senders().await;
    let body = stripe_event("evt_waited");
    let hours_ago = outside::now() - 5 * 3_600_000;
    let mut request = super::order("x");
    request.headers = super::stripe(hours_ago / 1_000, &body)
        .into_iter()
        .map(|(name, value)| (http::HeaderName::try_from(name).unwrap(), value.parse().unwrap()))
        .collect();
    (request.path, request.body) = ("/stripe".into(), body.clone().into());
    let producer = super::producer("http://127.0.0.1:1", stack.store(), std::time::Duration::from_secs(5));
    let moment = surehook::web::Moment { now: hours_ago, started: tokio::time::Instant::now(), deadline: None };
    let answer = producer.call(request, moment, "fresh".into()).await;
    assert_eq!((answer.status(), answer.outcome.word()), (202, "accepted"));
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(swept["swept"]["published"], 1, "{swept}");
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received()[0].body, body);
}
