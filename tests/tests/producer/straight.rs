//! Senders that sign and publish straight to QStash, with their headers forwarded: the consumer judges them by the same recipes.

use serde_json::json;
use surehook::{
    config::LEASE_MARGIN,
    digest::Sha256,
    outside,
    qstash::{client::EVENT_HEADER, token},
    secret::Secret,
    signing::SigningSecrets,
    sources::{SourceSecrets, seal},
    web::{Answer, Incoming, Moment},
};
use surehook_consumer::{Attempt, Consumer, Effects, Event, Handler, HandlerError, Senders};
use surehook_local::{Stack, qstash::TOKEN, stack::SIGNING_SECRET};
use tokio::time::Instant;

use super::{SECRETS, github, stack_with_senders, stripe, stripe_event};
use crate::support::{
    consumer::{consumer, with_handler},
    letters, operate,
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
    let seals = SigningSecrets::new(&[Secret::new(SIGNING_SECRET).unwrap()]).ok();
    let senders = Senders { secrets: SourceSecrets::parse(secrets).unwrap(), seals };
    Consumer { senders, ..with_handler(consumer(stack, stack.store()).await, handler) }
}

/// A delivery of QStash at a time, with the sender's headers and more.
fn delivery(stack: &Stack, source: &str, now: i64, headers: &[(String, String)], body: &str) -> Incoming {
    let url = stack.function_url(&format!("consumer/{source}"));
    let key = Secret::new(stack.qstash.keys().0).unwrap();
    let signed = token::sign(&key, &url, body.as_bytes(), now / 1_000, &outside::new_id());
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
async fn a_timestamp_is_judged_when_the_event_first_arrives() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let now = outside::now();
    for (id, age, status) in [("evt_fresh", 299_000, 200), ("evt_stale", 400_000, 489), ("evt_early", -400_000, 489)] {
        let body = stripe_event(id);
        let headers = stripe((now - age) / 1_000, &body);
        let answer = call(&consumer, delivery(&stack, "stripe", now, &headers, &body), now).await;
        assert_eq!(answer.status(), status, "{id}");
        if status == 489 {
            let record = stack.store().record(&answer.event.unwrap()).await.unwrap().unwrap();
            assert!(record.last_error.unwrap().text.contains("timestamp"), "{id}");
        }
    }
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

/// The attempts before never reached the table, which was away: the first that does is a retry, and no first arrival.
#[tokio::test]
async fn a_retry_that_is_the_first_to_reach_the_table_is_not_stale() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let now = outside::now();
    for (id, name, value) in [("evt_1", "upstash-retried", "2"), ("evt_2", EVENT_HEADER, "msg_0")] {
        let body = stripe_event(id);
        let headers = with(stripe((now - DAY) / 1_000, &body), name, value);
        let answer = call(&consumer, delivery(&stack, "stripe", now, &headers, &body), now).await;
        assert_eq!(answer.outcome.word(), "processed", "{name}");
    }
    // Whoever forges such a header gains what the ledger remembers, and no more.
    let body = stripe_event("evt_3");
    let headers = with(stripe((now - 15 * DAY) / 1_000, &body), "upstash-retried", "1");
    assert_eq!(call(&consumer, delivery(&stack, "stripe", now, &headers, &body), now).await.status(), 489);
}

#[tokio::test]
async fn a_seal_is_believed_for_its_source_and_body_alone() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let seals = SigningSecrets::new(&[Secret::new(SIGNING_SECRET).unwrap()]).unwrap();
    let (now, body) = (outside::now(), stripe_event("evt_1"));
    let sealed = |source: &str, body: &str| {
        let seal = seal::seal(&seals, source, now, Sha256::of(body.as_bytes())).unwrap();
        vec![(seal::SEAL_HEADER.to_owned(), seal)]
    };
    for (headers, word) in [
        (sealed("github", &body), "sender-refused"),
        (sealed("stripe", "{}"), "sender-refused"),
        (vec![(seal::SEAL_HEADER.to_owned(), format!("{now}.AAAA"))], "sender-refused"),
        (sealed("stripe", &body), "processed"),
    ] {
        let answer = call(&consumer, delivery(&stack, "stripe", now, &headers, &body), now).await;
        assert_eq!(answer.outcome.word(), word);
    }
}

/// An attempt that dies after its claim has judged nothing; the next one judges by the same moment.
#[tokio::test]
async fn a_stale_event_is_stale_for_the_attempt_after_a_crash_too() {
    let stack = stack_with_senders().await;
    let consumer = judging(&stack, SECRETS, Taking).await;
    let (now, body) = (outside::now(), stripe_event("evt_crash"));
    let headers = stripe((now - 15 * DAY) / 1_000, &body);
    let answer = call(&consumer, delivery(&stack, "stripe", now, &headers, &body), now).await;
    let key = answer.event.unwrap();
    let record = stack.store().record(&key).await.unwrap().unwrap();
    // As the crash would have left it: claimed, and nothing said.
    assert_eq!(record.first_seen, now);
    let later = now + i64::try_from((consumer.handler_timeout + LEASE_MARGIN).as_millis()).unwrap() + 1_000;
    let again =
        call(&consumer, delivery(&stack, "stripe", later, &with(headers, "upstash-retried", "1"), &body), later).await;
    assert_eq!(again.status(), 489);
}
