//! A rejected request that looks like its sender's own is kept, and published once the secret is mended.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::StreamExt;
use http::HeaderMap;
use serde_json::{Value, json};
use surehook::{
    outside,
    sources::SourceSecrets,
    store::kept::{KEPT_FOR, MAX_KEPT, MAX_KEPT_BODY, Slot},
    web::{Incoming, Moment, Outcome},
};
use surehook_local::Stack;
use surehook_producer::{Producer, kept::RejectedRequests, recheck::Rechecked};
use tokio::time::Instant;

use super::{SECRETS, bearer, github, post, producer, stack_with_senders, stripe_event};
use crate::support::{
    Answered, Ran,
    fuse::store_at,
    proxy::{Proxy, Verdict, calls},
    surehook, until,
};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
const STRAPI: &str =
    r#"{"event":"entry.create","createdAt":"2026-01-01T00:00:00.000Z","model":"order","entry":{"id":7}}"#;

async fn kept(stack: &Stack, source: &str) -> Vec<Slot> {
    stack.store().kept_requests(source, None, outside::now()).await.unwrap().0
}

/// A producer that has these secrets, as after they were mended.
async fn mended(stack: &Stack, secrets: &str) -> Producer {
    let mut producer = producer(&stack.qstash.url, stack.store(), PATIENCE);
    producer.door.secrets = SourceSecrets::parse(secrets).unwrap();
    producer
}

fn moment() -> Moment {
    Moment { now: outside::now(), started: Instant::now(), deadline: None }
}

async fn recheck(stack: &Stack, producer: &Producer, source: &str, publishes: bool) -> Vec<Rechecked> {
    let routes = stack.store().routes(true).await.unwrap();
    let known = routes.known(source).unwrap();
    let mut found = Vec::new();
    for slot in kept(stack, source).await {
        found.push(producer.recheck(&known, &slot, publishes, moment()).await);
    }
    found
}

async fn rejected(stack: &Stack, topic: &str, headers: &[(String, String)], body: &str) -> Answered {
    let answer = post(stack, topic, headers, body.to_owned()).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    answer
}

/// The whole way of the issue: a wrong secret, one event, the mended secret.
#[tokio::test]
async fn a_rejected_webhook_is_published_once_its_secret_is_mended() {
    let stack = stack_with_senders().await;
    let mut lone = kept(&stack, "github").await.len();
    rejected(&stack, "github", &github("mistyped", "d-1", r#"{"action":"opened"}"#), r#"{"action":"opened"}"#).await;
    lone = kept(&stack, "github").await.len() - lone;
    assert_eq!(lone, 1);
    let before = recheck(&stack, &mended(&stack, SECRETS).await, "github", true).await;
    assert!(before.iter().all(|one| matches!(one, Rechecked::Rejected(_))), "{before:?}");
    let secrets = SECRETS.replace("old-gh", "mistyped");
    let producer = mended(&stack, &secrets).await;
    let asked = recheck(&stack, &producer, "github", false).await;
    assert_eq!(asked.iter().filter(|one| matches!(one, Rechecked::Passes)).count(), 1, "{asked:?}");
    let published = recheck(&stack, &producer, "github", true).await;
    assert_eq!(published.iter().filter(|one| matches!(one, Rechecked::Published)).count(), 1, "{published:?}");
    until("it arrives", || async { stack.receiver.received().iter().any(|one| one.path == "/github") }).await;
    let again = recheck(&stack, &producer, "github", true).await;
    assert!(again.iter().all(|one| matches!(one, Rechecked::Rejected(_))), "it is kept no longer: {again:?}");
}

/// A bearer token is not kept, and is verified all the same.
#[tokio::test]
async fn a_rejected_token_is_recognised_and_stands_nowhere() {
    let stack = stack_with_senders().await;
    rejected(&stack, "cms", &[bearer("the-real-token"), ("cookie".into(), "session=secret".into())], STRAPI).await;
    let [slot] = &kept(&stack, "cms").await[..] else { panic!("one request is kept") };
    let shown = format!("{slot:?}");
    assert!(!shown.contains("the-real-token") && !shown.contains("session=secret"), "{shown}");
    let item = serde_json::to_string(&format!("{:?}", stack_items(&stack).await)).unwrap();
    assert!(!item.contains("the-real-token") && !item.contains("session=secret"));
    let producer = mended(&stack, &SECRETS.replace("cms-token", "the-real-token")).await;
    assert!(matches!(recheck(&stack, &producer, "cms", true).await[..], [Rechecked::Published]));
    until("it arrives", || async { stack.receiver.received().iter().any(|one| one.path == "/cms") }).await;
}

async fn stack_items(stack: &Stack) -> Vec<Value> {
    let scan = stack.dynamo.client().scan().table_name(surehook_local::stack::TABLE).send().await.unwrap();
    scan.items().iter().map(|item| json!(format!("{item:?}"))).collect()
}

#[tokio::test]
async fn a_rejected_request_keeps_the_header_that_names_its_event() {
    let stack = stack_with_senders().await;
    let headers = [bearer("the-real-token"), ("idempotency-key".into(), "k-1".into())];
    rejected(&stack, "cms", &headers, STRAPI).await;
    let [slot] = &kept(&stack, "cms").await[..] else { panic!("one request is kept") };
    assert_eq!(slot.request.headers["idempotency-key"], "k-1");
}

/// A signature that was made long ago is judged as of its arrival.
#[tokio::test]
async fn a_timestamp_is_judged_at_the_time_of_arrival() {
    let stack = stack_with_senders().await;
    let (at, body) = (outside::now() / 1_000, stripe_event("1"));
    let mac = super::mac("whsec_other", &[&at.to_string(), ".", &body]);
    rejected(&stack, "stripe", &[("stripe-signature".to_owned(), format!("t={at},v1={mac}"))], &body).await;
    let producer = mended(&stack, &SECRETS.replace("whsec_st", "whsec_other")).await;
    let routes = stack.store().routes(true).await.unwrap();
    let (source, slot) = (routes.known("stripe").unwrap(), kept(&stack, "stripe").await.remove(0));
    let a_day_later = Moment { now: outside::now() + 86_400_000, ..moment() };
    let rechecked = producer.recheck(&source, &slot, true, a_day_later).await;
    assert!(matches!(rechecked, Rechecked::Published), "{rechecked:?}");
}

#[tokio::test]
async fn a_sender_whose_secret_is_missing_is_kept_too() {
    let secrets = SECRETS.replace("\"cms\": \"cms-token\", ", "");
    let stack = stack_with_senders().await;
    let (name, value) = bearer("cms-token");
    let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
    let request = Incoming {
        method: "POST".into(),
        path: "/cms".into(),
        query: String::new(),
        domain: None,
        headers,
        body: STRAPI.into(),
        request_id: "r".into(),
    };
    let answer = mended(&stack, &secrets).await.call(request, moment(), outside::new_id()).await;
    assert_eq!(answer.outcome, Outcome::SecretMissing("cms".into()));
    let producer = mended(&stack, SECRETS).await;
    assert!(matches!(recheck(&stack, &producer, "cms", true).await[..], [Rechecked::Published]));
}

#[tokio::test]
async fn strangers_and_large_bodies_are_not_kept_and_a_source_has_no_more_than_its_slots() {
    let stack = stack_with_senders().await;
    rejected(&stack, "cms", &[bearer("guess")], "<html>").await;
    rejected(&stack, "cms", &[bearer("guess")], &STRAPI.replace("order", &"x".repeat(MAX_KEPT_BODY))).await;
    assert!(kept(&stack, "cms").await.is_empty());
    rejected(&stack, "cms", &[bearer("guess")], STRAPI).await;
    let slot = kept(&stack, "cms").await.remove(0);
    let store = stack.store();
    assert!(!store.keep_request("cms", slot.number, &slot.request).await.unwrap(), "a slot holds one request");
    let mut later = slot.request.clone();
    later.at += KEPT_FOR + 1_000;
    assert!(store.keep_request("cms", slot.number, &later).await.unwrap(), "an expired one makes room");
    assert!(
        store.kept_requests("cms", None, later.at + KEPT_FOR).await.unwrap().0.is_empty(),
        "expired ones are not seen"
    );
}

/// The command, as an operator types it.
#[tokio::test]
async fn the_command_says_what_passes_and_what_does_not() {
    let stack = stack_with_senders().await;
    rejected(&stack, "cms", &[bearer("the-real-token")], STRAPI).await;
    rejected(&stack, "cms", &[bearer("a-forger")], STRAPI).await;
    let mended = SECRETS.replace("cms-token", "the-real-token");
    let dry = command(&stack, &mended, &["cms", "--dry-run"]).await;
    assert!(dry.out.contains("1 pass; run the command without --dry-run"), "{dry:?}");
    let real = command(&stack, &mended, &["cms", "--json"]).await;
    let report = real.json();
    assert_eq!((report["published"].as_u64(), real.code), (Some(1), Some(3)), "{report}");
    assert_eq!(report["rejected"].as_object().unwrap().len(), 1, "{report}");
    let unknown = command(&stack, &mended, &["nobody"]).await;
    assert!(unknown.err.contains("neither built in nor in the routes document"), "{unknown:?}");
    let secretless = command(&stack, "{}", &["cms"]).await;
    assert!(secretless.err.contains("set SOURCE_SECRETS with \"cms\""), "{secretless:?}");
}

async fn command(stack: &Stack, secrets: &str, arguments: &[&str]) -> Ran {
    let arguments = [&["sources", "recheck"], arguments].concat();
    let output = surehook(stack, &arguments).env("SOURCE_SECRETS", secrets).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// An attacker who forges requests of a source makes few writes, and none for a minute once it is full.
#[tokio::test]
async fn a_full_source_costs_a_few_tries_and_then_none_for_a_minute() {
    let stack = stack_with_senders().await;
    rejected(&stack, "cms", &[bearer("guess")], STRAPI).await;
    let (store, first) = (stack.store(), kept(&stack, "cms").await.remove(0));
    let fill = futures::stream::iter(0..MAX_KEPT).map(|slot| store.keep_request("cms", slot, &first.request));
    let filled: Vec<_> = fill.buffer_unordered(32).collect().await;
    assert_eq!(filled.into_iter().filter(|one| *one.as_ref().unwrap()).count(), usize::from(MAX_KEPT) - 1);
    let puts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&puts);
    let proxy = Proxy::start(&stack.dynamo.url, move |request| {
        counted.fetch_add(usize::from(calls(request, "PutItem")), Ordering::SeqCst);
        Verdict::Pass
    });
    let keeper = RejectedRequests::new(store_at(&proxy.url), PATIENCE, "an environment");
    let at = |now| Moment { now, ..moment() };
    keeper.keep("cms", &first.request, at(0)).await;
    let tries = puts.load(Ordering::SeqCst);
    assert!((1..10).contains(&tries), "{tries}");
    keeper.keep("cms", &first.request, at(59_000)).await;
    assert_eq!(puts.load(Ordering::SeqCst), tries, "none for a minute");
    keeper.keep("cms", &first.request, at(61_000)).await;
    assert_eq!(puts.load(Ordering::SeqCst), 2 * tries);
}
