//! Senders that sign and publish straight to QStash, with their headers forwarded: the consumer judges them by the same recipes.

use std::collections::BTreeSet;

use http::HeaderMap;
use serde_json::json;
use surehook::{
    digest::Sha256,
    ledger::Claim,
    outside,
    sources::{
        SourceSecrets,
        seal::{SEAL_HEADER, SEAL_SECRET, Sealed},
    },
    web::{Answer, Incoming, Moment},
};
use surehook_consumer::{Attempt, Consumer, Effects, Event, Handler, HandlerError};
use surehook_local::{Stack, qstash::TOKEN};
use tokio::time::Instant;

use super::{SECRETS, document, github, stack_with_senders, stripe, stripe_event};
use crate::support::{
    apply,
    consumer::{consumer, with_handler},
    ledger::claim,
    letters, operate, signature_at,
};

const DAY: i64 = 86_400_000;

/// A handler that fails, so that the event comes again.
struct Failing;

impl Handler for Failing {
    async fn handle(&self, _: &Event, attempt: &Attempt) -> Result<Effects, HandlerError> {
        Err(HandlerError::transient("not today", attempt))
    }
}

/// A handler that takes everything.
struct Taking;

impl Handler for Taking {
    async fn handle(&self, _: &Event, _: &Attempt) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }
}

async fn judging<H>(stack: &Stack, secrets: &str, handler: H) -> Consumer<H> {
    let secrets = SourceSecrets::parse(secrets).unwrap();
    Consumer { secrets, ..with_handler(consumer(stack, stack.store()).await, handler) }
}

/// A delivery of QStash at a time, with the sender's headers and more.
fn delivery(stack: &Stack, source: &str, now: i64, headers: &[(String, String)], body: &str) -> Incoming {
    let url = stack.function_url(&format!("consumer/{source}"));
    let signed = signature_at(stack, &url, body.as_bytes(), now / 1_000);
    let own = [("upstash-signature".to_owned(), signed), ("upstash-message-id".to_owned(), "msg_1".to_owned())];
    let all = own.iter().chain(headers);
    Incoming {
        method: "POST".into(),
        path: format!("/{source}"),
        query: String::new(),
        domain: None,
        headers: all.map(|(name, value)| (http::HeaderName::try_from(name).unwrap(), value.parse().unwrap())).collect(),
        body: body.to_owned().into(),
        request_id: outside::new_id(),
    }
}

async fn call<H: Handler>(consumer: &Consumer<H>, request: Incoming, now: i64) -> Answer {
    consumer.call(request, Moment { now, started: Instant::now(), deadline: None }).await
}

fn with(mut headers: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    headers.push((name.to_owned(), value.to_owned()));
    headers
}

#[tokio::test]
async fn what_a_sender_signs_and_publishes_itself_arrives() {
    let stack = stack_with_senders().await;
    let mut request = reqwest::Client::new().post(format!("{}/v2/publish/github", stack.qstash.url)).bearer_auth(TOKEN);
    for (name, value) in github("old-gh", "d-1", "{}") {
        request = request.header(format!("Upstash-Forward-{name}"), value);
    }
    assert!(request.body("{}").send().await.unwrap().status().is_success());
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 1);
}

/// Who has our QStash token and not the sender's secret gets no event to a destination; a person sees what was tried.
#[tokio::test]
async fn what_a_sender_did_not_sign_becomes_a_dead_letter_that_says_why() {
    let stack = stack_with_senders().await;
    let mut request = reqwest::Client::new().post(format!("{}/v2/publish/github", stack.qstash.url)).bearer_auth(TOKEN);
    for (name, value) in github("stolen", "d-1", "{}") {
        request = request.header(format!("Upstash-Forward-{name}"), value);
    }
    assert!(request.body("{}").send().await.unwrap().status().is_success());
    stack.qstash.idle().await;
    let letters = letters(&stack).await;
    assert_eq!((letters.len(), stack.receiver.received().len()), (1, 0));
    let error = letters[0]["error"].as_str().unwrap();
    assert!(error.contains("sender-refused") && error.contains("does not belong"), "{error}");
    let replayed = operate(&stack, json!({"command": "replay", "selection": {"all": true}})).await;
    assert_eq!(replayed["replayed"]["ids"].as_array().unwrap().len(), 1, "{replayed}");
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 0, "a replay believes nobody");
    assert_eq!(crate::support::letters(&stack).await.len(), 1);
}

#[tokio::test]
async fn each_refusal_of_a_sender_is_final_and_leaves_no_record() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let now = outside::now();
    for headers in [github("stolen", "d-1", "{}"), github("new-gh", "d-1", "{ }"), vec![]] {
        let answer = call(&consumer, delivery(&stack, "github", now, &headers, "{}"), now).await;
        assert_eq!((answer.status(), answer.outcome.word()), (489, "sender-refused"));
        let key = answer.event.unwrap();
        assert!(stack.store().record(&key).await.unwrap().is_none());
    }
    let unknowing = judging(&stack, "{}", Taking).await;
    let answer = call(&unknowing, delivery(&stack, "github", now, &github("new-gh", "d-1", "{}"), "{}"), now).await;
    assert_eq!((answer.status(), answer.outcome.word()), (503, "secret-missing"), "it waits until we know the secret");
}

#[tokio::test]
async fn a_timestamp_may_be_as_old_as_its_event_is_remembered() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let now = outside::now();
    for (id, age, status) in [
        ("evt_fresh", 299_000, 200),
        // Published with a delay, or held back by QStash, or tried while the table was away.
        ("evt_delayed", 13 * DAY, 200),
        ("evt_stale", 14 * DAY, 489),
        ("evt_early", -400_000, 489),
    ] {
        let body = stripe_event(id);
        let headers = stripe((now - age) / 1_000, &body);
        let answer = call(&consumer, delivery(&stack, "stripe", now, &headers, &body), now).await;
        assert_eq!(answer.status(), status, "{id}");
        let record = stack.store().record(&answer.event.unwrap()).await.unwrap();
        assert_eq!(record.is_some(), status == 200, "{id}: what is refused was never claimed");
    }
}

/// A sender whose clock is ahead is refused, and believed when a replay comes later.
#[tokio::test]
async fn an_event_from_the_future_can_be_replayed_when_its_time_has_come() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let (now, body) = (outside::now(), stripe_event("evt_early"));
    let headers = stripe(now / 1_000 + 400, &body);
    assert_eq!(call(&consumer, delivery(&stack, "stripe", now, &headers, &body), now).await.status(), 489);
    let later = now + DAY;
    assert_eq!(call(&consumer, delivery(&stack, "stripe", later, &headers, &body), later).await.status(), 200);
}

/// A retry days later finds a timestamp that is old and a secret that is gone: both were judged when the event came first.
#[tokio::test]
async fn a_retry_days_later_is_not_refused_although_the_secret_was_replaced() {
    let stack = stack_with_senders().await;
    let (now, body) = (outside::now(), stripe_event("evt_1"));
    let headers = stripe(now / 1_000, &body);
    let first = judging(&stack, SECRETS, Failing).await;
    assert_eq!(call(&first, delivery(&stack, "stripe", now, &headers, &body), now).await.status(), 503);
    let later = now + 3 * DAY;
    let replaced = judging(&stack, r#"{"gh": "x", "st": "another"}"#, Taking).await;
    let request = delivery(&stack, "stripe", later, &with(headers.clone(), "upstash-retried", "1"), &body);
    assert_eq!(call(&replaced, request, later).await.outcome.word(), "processed");
    let forged = delivery(&stack, "stripe", later, &headers, &stripe_event("evt_2"));
    assert_eq!(call(&replaced, forged, later).await.outcome.word(), "sender-refused");
}

#[tokio::test]
async fn a_retry_of_a_conflict_that_was_replayed_as_new_is_not_refused_although_the_secret_was_replaced() {
    let stack = stack_with_senders().await;
    let (now, body) = (outside::now(), stripe_event("evt_1"));
    let first = judging(&stack, SECRETS, Taking).await;
    let answer = call(&first, delivery(&stack, "stripe", now, &stripe(now / 1_000, &body), &body), now).await;
    let key = answer.event.unwrap();
    let record = stack.store().record(&key).await.unwrap().unwrap();
    let other = body.replace("evt_1\"", "evt_1\", \"other\": 1");
    let content = Sha256::of(other.as_bytes()).base64url();
    assert_eq!(record.content, Sha256::of(body.as_bytes()).base64url());
    // An attempt of its own began, and its worker died.
    let claim = Claim { content: content.clone(), event_type: record.event_type.clone(), ..claim("w", now - DAY) };
    stack.store().claim(&key.of_conflict(&content), &claim).await.unwrap();
    let replaced = judging(&stack, r#"{"gh": "x", "st": "another"}"#, Taking).await;
    for (body, word) in [(&other, "processed"), (&other.replace("other", "third"), "sender-refused")] {
        let request = delivery(&stack, "stripe", now, &stripe(now / 1_000, &other), body);
        assert_eq!(call(&replaced, request, now).await.outcome.word(), word);
    }
}

/// Named after a defect: what was claimed and then found stale was believed the second time, whoever had signed it.
#[tokio::test]
async fn what_was_refused_is_refused_again_and_a_record_that_has_expired_admits_nobody() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let (now, body) = (outside::now(), stripe_event("evt_old"));
    let old = stripe((now - 30 * DAY) / 1_000, &body);
    let forged = vec![("stripe-signature".to_owned(), old[0].1.replace("v1=", "v1=0"))];
    for headers in [&old, &forged, &old] {
        let answer = call(&consumer, delivery(&stack, "stripe", now, headers, &body), now).await;
        assert_eq!(answer.outcome.word(), "sender-refused");
    }
    let done = stripe_event("evt_done");
    let signed = stripe(now / 1_000, &done);
    assert_eq!(call(&consumer, delivery(&stack, "stripe", now, &signed, &done), now).await.outcome.word(), "processed");
    let after = now + 15 * DAY;
    for headers in [signed, vec![("stripe-signature".to_owned(), "t=1,v1=00".to_owned())]] {
        let answer = call(&consumer, delivery(&stack, "stripe", after, &headers, &done), after).await;
        assert_eq!(answer.outcome.word(), "sender-refused", "its record has expired, and is still there");
    }
}

/// Nobody signs paths: below another one the same bytes would be another event.
#[tokio::test]
async fn an_event_that_was_signed_comes_to_one_endpoint() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let (now, body) = (outside::now(), stripe_event("evt_1"));
    let headers = stripe(now / 1_000, &body);
    for path in ["stripe/again", "stripe?n=2"] {
        let url = stack.function_url(&format!("consumer/{path}"));
        let mut request = delivery(&stack, "stripe", now, &headers, &body);
        let signed = signature_at(&stack, &url, body.as_bytes(), now / 1_000);
        request.headers.insert("upstash-signature", signed.parse().unwrap());
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        (request.path, request.query) = (format!("/{path}"), query.to_owned());
        assert_eq!(call(&consumer, request, now).await.outcome.word(), "sender-refused", "{path}");
    }
}

/// Named after a defect: a forgery was buried under the name of the event that it said it was, which was then answered "dead".
#[tokio::test]
async fn a_forgery_does_not_take_the_place_of_the_event_whose_name_it_bears() {
    let stack = stack_with_senders().await;
    let (body, forged) = (stripe_event("evt_next"), json!({"id": "evt_next", "type": "forged"}).to_string());
    for body in [&forged, &body] {
        let mut request =
            reqwest::Client::new().post(format!("{}/v2/publish/stripe", stack.qstash.url)).bearer_auth(TOKEN);
        request = request.header("Upstash-Forward-Stripe-Signature", "t=1700000000,v1=00");
        assert!(request.body(body.clone()).send().await.unwrap().status().is_success());
        stack.qstash.idle().await;
    }
    assert_eq!(letters(&stack).await.len(), 2);
    let signed = stripe(outside::now() / 1_000, &body);
    let answer = super::post(&stack, "stripe", &signed, body.clone()).await;
    assert_eq!(answer.status, 202);
    stack.qstash.idle().await;
    let arrived: Vec<_> = stack.receiver.received().into_iter().map(|got| got.body).collect();
    assert_eq!(arrived, [body], "the real one, and nothing else");
}

/// Named after a defect: an event that waits for its retry could be had ignored by whoever changed the header with its type.
#[tokio::test]
async fn a_waiting_event_keeps_its_type() {
    let stack = stack_with_senders().await;
    let now = outside::now();
    let first = judging(&stack, SECRETS, Failing).await;
    let signed = github("new-gh", "d-1", "{}");
    assert_eq!(call(&first, delivery(&stack, "github", now, &signed, "{}"), now).await.status(), 503);
    let (mut unsigned, second) = (signed, judging(&stack, SECRETS, Taking).await);
    unsigned[2].1 = "sha256=00".to_owned();
    for (kind, word) in [("ping", "sender-refused"), ("issues", "processed")] {
        unsigned[0].1 = kind.to_owned();
        let answer = call(&second, delivery(&stack, "github", now, &unsigned, "{}"), now).await;
        assert_eq!(answer.outcome.word(), word, "{kind}");
    }
}

/// Named after a defect: a copy that was refused buried the event that waited, and one letter stood for good copies and bad ones.
#[tokio::test]
async fn a_refused_copy_buries_neither_the_waiting_event_nor_another_copy() {
    let stack = stack_with_senders().await;
    let body = stripe_event("evt_waits");
    let now = outside::now();
    let first = judging(&stack, SECRETS, Failing).await;
    let signed = stripe(now / 1_000, &body);
    let waiting = call(&first, delivery(&stack, "stripe", now, &signed, &body), now).await;
    let key = waiting.event.unwrap();
    for _ in 0..2 {
        let request = reqwest::Client::new().post(format!("{}/v2/publish/stripe", stack.qstash.url)).bearer_auth(TOKEN);
        let other = json!({"id": "evt_waits", "type": "other"}).to_string();
        assert!(request.body(other).send().await.unwrap().status().is_success());
        stack.qstash.idle().await;
    }
    let record = stack.store().record(&key).await.unwrap().unwrap();
    assert_eq!(record.status, surehook::ledger::Status::Retryable);
    assert_eq!(letters(&stack).await.len(), 2, "a letter for each message");
    let entry = surehook::qstash::DlqEntry::of_message(
        "msg_x",
        &stack.function_url("consumer/stripe"),
        [].into(),
        body.as_bytes(),
    );
    let json = json!({"dlqId": "d", "messageId": "msg_x", "url": entry.url, "body": body, "responseStatus": 489,
        "responseBody": json!({"status": "sender-refused", "event": key.as_str()}).to_string()});
    let entry: surehook::qstash::DlqEntry = serde_json::from_value(json).unwrap();
    let fuse = crate::support::fuse::Fuse::new(&stack);
    let routes = stack.store().routes(true).await.unwrap();
    let requeuer = crate::support::url(&stack.function_url("requeuer"));
    let case = surehook::failure::Case::new(&entry, &requeuer, &requeuer, &routes, now);
    let settled = fuse.failure_path(&stack).settle(&case, now, 0.5).await.unwrap();
    assert!(matches!(settled, surehook::failure::Settled::Buried(_)), "{settled:?}");
    let record = stack.store().record(&key).await.unwrap().unwrap();
    assert_eq!(record.status, surehook::ledger::Status::Retryable, "although the copy has its very body");
}

/// Named after a defect: what is refused before anybody asks who sent it was buried under the name that it bears.
#[tokio::test]
async fn what_was_never_admitted_takes_no_events_name_whatever_refused_it() {
    let limit = ("MAX_BODY_BYTES".to_owned(), "1000".to_owned());
    let stack = super::stack_with_senders_and(vec![limit]).await;
    let large = json!({"id": "evt_large", "type": "x", "more": "x".repeat(2_000)}).to_string();
    let request = reqwest::Client::new().post(format!("{}/v2/publish/stripe", stack.qstash.url)).bearer_auth(TOKEN);
    assert!(request.body(large).send().await.unwrap().status().is_success());
    stack.qstash.idle().await;
    assert_eq!(letters(&stack).await.len(), 1);
    let body = stripe_event("evt_large");
    let signed = stripe(outside::now() / 1_000, &body);
    assert_eq!(super::post(&stack, "stripe", &signed, body.clone()).await.status, 202);
    stack.qstash.idle().await;
    let arrived: Vec<_> = stack.receiver.received().into_iter().map(|got| got.body).collect();
    assert_eq!(arrived, [body]);
}

/// Who mends a source must not find the events of the next minute as dead letters.
#[tokio::test]
async fn nobody_is_refused_by_routes_that_were_replaced() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let now = outside::now();
    let request = delivery(&stack, "github", now, &github("whsec_st", "d-1", "{}"), "{}");
    assert_eq!(call(&consumer, request.clone(), now).await.outcome.word(), "sender-refused");
    apply(&stack, &document(&stack).replace("secret = \"gh\"", "secret = \"st\"")).await;
    // The consumer asks for the routes' version at most once a second.
    assert_eq!(call(&consumer, request, now + 2_000).await.outcome.word(), "processed");
}

#[tokio::test]
async fn a_seal_is_believed_for_its_event_alone_and_no_longer_than_records_are_kept() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let secrets = SourceSecrets::parse(SECRETS).unwrap();
    let routes = stack.store().routes(true).await.unwrap();
    let (now, body) = (outside::now(), stripe_event("evt_1"));
    let sealed = |source: &str, body: &str, at: i64| {
        let (source, headers, body) = (routes.source(source).unwrap(), HeaderMap::new(), Sha256::of(body.as_bytes()));
        let seal =
            Sealed { source, headers: &headers, body }.seal(secrets.named(SEAL_SECRET), at, &BTreeSet::new()).unwrap();
        vec![(SEAL_HEADER.to_owned(), seal)]
    };
    for (headers, word) in [
        (sealed("github", &body, now), "sender-refused"),
        (sealed("stripe", "{}", now), "sender-refused"),
        (sealed("stripe", &body, now - 15 * DAY), "sender-refused"),
        (vec![(SEAL_HEADER.to_owned(), format!("{now}..AAAA"))], "sender-refused"),
        (sealed("stripe", &body, now - 13 * DAY), "processed"),
    ] {
        let answer = call(&consumer, delivery(&stack, "stripe", now, &headers, &body), now).await;
        assert_eq!(answer.outcome.word(), word);
    }
    let without = judging(&stack, r#"{"st": "whsec_st"}"#, Taking).await;
    let other = stripe_event("evt_2");
    let request = delivery(&stack, "stripe", now, &sealed("stripe", &other, now), &other);
    assert_eq!(call(&without, request, now).await.outcome.word(), "secret-missing", "it waits until we can open it");
}
