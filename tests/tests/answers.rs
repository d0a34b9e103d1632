//! Every row of the table of answers, through the real process.

use serde_json::json;
use surehook::{
    ledger::{
        Claim, Failure, Status,
        rules::{Attempted, Burial},
    },
    outside,
};
use surehook_local::{Stack, StackOptions, receiver::Reaction};

use crate::support::{
    Answered, apply, apply_paths, deliver, event, key, options, post,
    proxy::{Proxy, Verdict},
    received, record, signature, signature_at, signature_by, stack, stack_with,
};

#[tokio::test]
async fn processed_then_duplicate() {
    let stack = stack().await;
    let body = event("processed");
    let first = deliver(&stack, "/strapi", body.as_bytes()).await;
    assert_eq!((first.status, first.word()), (200, "processed"));
    assert_eq!(first.body["event"], key(&stack, &body).as_str());
    let second = deliver(&stack, "/strapi", body.as_bytes()).await;
    assert_eq!((second.status, second.word()), (200, "duplicate"));
    assert_eq!(received(&stack, &body).len(), 1);
}

#[tokio::test]
async fn ignored_when_no_route_matches() {
    let stack = stack().await;
    let body = r#"{"event":"media.create","createdAt":"x","media":{}}"#;
    let answer = deliver(&stack, "/strapi", body.as_bytes()).await;
    assert_eq!((answer.status, answer.word()), (200, "ignored"));
    assert!(stack.receiver.received().is_empty());
}

#[tokio::test]
async fn a_route_that_was_just_applied_is_never_ignored() {
    let stack = stack().await;
    let body = r#"{"event":"media.create","createdAt":"y","media":{}}"#;
    apply(&stack, &format!("[[route]]\nname = \"m\"\nsource = \"strapi\"\nurl = \"{}/m\"", stack.receiver.url)).await;
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "processed");
}

#[tokio::test]
async fn unsigned_forged_expired_and_foreign_deliveries_never_reach_the_handler() {
    let stack = stack().await;
    let body = event("refused");
    let bytes = body.as_bytes();
    let url = stack.function_url("consumer/strapi");
    let now = outside::now() / 1_000;
    let forged = signature_by("sig_other", &url, bytes, now);
    for signature in [
        None,
        Some("nonsense".to_owned()),
        Some(forged),
        Some(signature_at(&stack, &url, bytes, now - 301)),
        Some(signature(&stack, &stack.function_url("consumer/other"), bytes)),
        Some(signature(&stack, "https://elsewhere.example/strapi", bytes)),
        Some(signature(&stack, &url, b"another body")),
    ] {
        let answer = post(&url, signature, bytes).await;
        assert_eq!((answer.status, answer.word()), (401, "signature-refused"));
    }
    assert!(stack.receiver.received().is_empty());
    assert!(record(&stack, &body).await.is_none());
}

#[tokio::test]
async fn in_progress_while_another_worker_holds_the_event() {
    let stack = stack().await;
    let proxy = holding(&stack).await;
    let body = event("held");
    let (first, second) = tokio::join!(deliver(&stack, "/strapi", body.as_bytes()), async {
        proxy.gate.holds_one().await;
        let second = deliver(&stack, "/strapi", body.as_bytes()).await;
        proxy.gate.open();
        second
    });
    assert_eq!(first.status, 200);
    assert_eq!((second.status, second.word()), (409, "in-progress"));
    let wait: u64 = second.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
}

#[tokio::test]
async fn permanent_failure_is_the_pair_that_is_never_retried() {
    let stack = stack().await;
    stack.receiver.react(|_| Reaction::status(422).saying("no such field"));
    let body = event("permanent");
    let answer = deliver(&stack, "/strapi", body.as_bytes()).await;
    assert!(answer.is_final() && answer.word() == "permanent-failure", "{answer:?}");
    let record = record(&stack, &body).await.unwrap();
    assert_eq!(record.status, Status::Retryable);
    assert!(record.last_error.unwrap().text.contains("no such field"));
    assert!(!answer.body.to_string().contains("no such field"), "internal text stays inside");
}

#[tokio::test]
async fn what_a_destination_said_outlives_that_another_was_not_ready() {
    let stack = stack().await;
    apply_paths(&stack, &["strict", "busy"]).await;
    let body = event("strict and busy");
    for (status, word) in [(503, "transient-failure"), (503, "transient-failure"), (200, "permanent-failure")] {
        stack.receiver.react(move |received| match received.path.as_str() {
            "/strict" => Reaction::status(422).saying("no such field"),
            _ => Reaction::status(status),
        });
        assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), word);
        let error = record(&stack, &body).await.unwrap().last_error.unwrap();
        assert!(error.text.contains("strict: 422 no such field"), "{error:?}");
    }
}

#[tokio::test]
async fn malformed_payloads_and_bodies_over_the_limit_are_the_pair_too() {
    let limit = [("MAX_BODY_BYTES".to_owned(), "1000".to_owned())];
    let stack = stack_with(StackOptions { environment: limit.into(), ..options() }).await;
    let malformed = deliver(&stack, "/strapi", b"{\"event\":").await;
    assert!(malformed.is_final() && malformed.word() == "malformed", "{malformed:?}");
    let payload = deliver(&stack, "/payload", b"{\"data\":1}").await;
    assert!(payload.is_final() && payload.word() == "malformed", "{payload:?}");
    let large = deliver(&stack, "/strapi", event(&"x".repeat(1_000)).as_bytes()).await;
    assert!(large.is_final() && large.word() == "too-large", "{large:?}");
}

#[tokio::test]
async fn other_content_under_the_same_id_is_a_conflict() {
    let stack = stack().await;
    let body = |data: u32| json!({"id": "1", "topic": "orders", "eventType": "a", "data": data}).to_string();
    assert_eq!(deliver(&stack, "/payload", body(1).as_bytes()).await.word(), "processed");
    assert_eq!(deliver(&stack, "/payload", body(1).as_bytes()).await.word(), "duplicate");
    let conflict = deliver(&stack, "/payload", body(2).as_bytes()).await;
    assert!(conflict.is_final() && conflict.word() == "conflict", "{conflict:?}");
}

#[tokio::test]
async fn transient_failure_passes_the_destinations_retry_after_on() {
    let stack = stack().await;
    stack.receiver.react(|_| Reaction { status: 429, retry_after: Some(17), ..Reaction::default() });
    let body = event("transient");
    let answer = deliver(&stack, "/strapi", body.as_bytes()).await;
    assert_eq!((answer.status, answer.word(), answer.header("retry-after")), (503, "transient-failure", Some("17")));
    stack.receiver.react(|_| Reaction::status(200));
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "processed");
}

#[tokio::test]
async fn a_destination_that_is_away_is_a_transient_failure() {
    let stack = stack().await;
    apply(&stack, "[[route]]\nname = \"x\"\nsource = \"strapi\"\nurl = \"http://127.0.0.1:1/\"").await;
    let body = r#"{"event":"media.create","createdAt":"z","media":{}}"#;
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.status, 503);
}

#[tokio::test]
async fn store_away_says_when_to_come_again() {
    let mut stack = stack().await;
    let body = event("away");
    stack.dynamo.cut_off();
    let answer = deliver(&stack, "/strapi", body.as_bytes()).await;
    assert_eq!((answer.status, answer.word()), (503, "store-away"));
    assert!(answer.header("retry-after").is_some());
    assert!(stack.receiver.received().is_empty());
}

#[tokio::test]
async fn unconfigured_sources_and_routes_make_events_wait() {
    let stack = stack().await;
    let answer = deliver(&stack, "/github/hooks", b"{}").await;
    assert_eq!((answer.status, answer.word()), (503, "source-unconfigured"));
    assert!(answer.body["detail"].as_str().unwrap().contains("github"));
    // Another process: the first one need not ask for the routes again within a second.
    let stack = crate::support::stack_with(crate::support::options()).await;
    apply(&stack, "").await;
    // The process still knows the old routes for what they match, so this asks for what they do not.
    let answer = deliver(&stack, "/strapi", br#"{"event":"media.create","createdAt":"1","media":{}}"#).await;
    assert_eq!((answer.status, answer.word()), (503, "no-routes"));
}

#[tokio::test]
async fn the_dead_are_answered_200_because_they_are_kept() {
    let stack = stack().await;
    stack.receiver.react(|_| Reaction::status(422));
    let body = event("dead");
    deliver(&stack, "/strapi", body.as_bytes()).await;
    bury(&stack, &body).await;
    let answer = deliver(&stack, "/strapi", body.as_bytes()).await;
    assert_eq!((answer.status, answer.word()), (200, "dead"));
}

#[tokio::test]
async fn a_lost_lease_answers_what_the_record_now_says() {
    let stack = stack().await;
    let proxy = holding(&stack).await;
    for (now, status, word) in [
        (Status::Running, 409, "in-progress"),
        (Status::Done, 200, "duplicate"),
        (Status::Retryable, 503, "lease-lost"),
        (Status::Dead, 200, "dead"),
    ] {
        let body = event(now.word());
        let (answer, ()) = tokio::join!(deliver(&stack, "/strapi", body.as_bytes()), async {
            proxy.gate.holds_one().await;
            take_over(&stack, &body, now).await;
            proxy.gate.open();
        });
        assert_eq!((answer.status, answer.word()), (status, word));
        assert_eq!(record(&stack, &body).await.unwrap().status, now, "the old worker wrote nothing");
    }
}

/// Another worker takes the event while its first worker is still at it, as it may once the lease has run out.
async fn take_over(stack: &Stack, body: &str, target: Status) {
    let (store, key) = (stack.store(), key(stack, body));
    let old = store.record(&key).await.unwrap().unwrap();
    let now = old.lease_until + 1;
    if target == Status::Dead {
        return bury_at(stack, body, now).await;
    }
    let claim = Claim {
        owner: "another".into(),
        content: old.content.clone(),
        source: old.source.clone(),
        event_type: None,
        message_id: "m".into(),
        now,
        lease_until: now + 60_000,
    };
    let taken = store.claim(&key, &claim).await.unwrap();
    let nothing = Attempted::default();
    let failure = Failure { class: "transient".into(), text: "x".into() };
    match target {
        Status::Done => drop(store.complete(&key, &taken, &[], now, now / 1_000 + 60).await.unwrap()),
        Status::Retryable => drop(store.fail(&key, &taken, &nothing, &failure, now).await.unwrap()),
        _ => {}
    }
}

async fn bury(stack: &Stack, body: &str) {
    bury_at(stack, body, outside::now()).await;
}

async fn bury_at(stack: &Stack, body: &str, now: i64) {
    let (store, key) = (stack.store(), key(stack, body));
    let record = store.record(&key).await.unwrap().unwrap();
    let failure = Failure { class: "permanent".into(), text: "x".into() };
    let burial = Burial {
        content: record.content,
        source: "strapi".into(),
        event_type: None,
        message_id: "m".into(),
        failure,
        now,
    };
    let letter = crate::contract::letter(&key, now);
    store.bury(&burial, letter, body.as_bytes()).await.unwrap();
}

/// A destination that answers when it is told to.
async fn holding(stack: &Stack) -> Proxy {
    let proxy = Proxy::start(&stack.receiver.url, |_| Verdict::Hold);
    apply(stack, &format!("[[route]]\nname = \"slow\"\nsource = \"strapi\"\nurl = \"{}/\"\n", proxy.url)).await;
    proxy
}

#[tokio::test]
async fn answers_are_json_and_carry_nothing_but_fixed_words() {
    let stack = stack().await;
    let Answered { headers, body, .. } = deliver(&stack, "/strapi", event("words").as_bytes()).await;
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["event", "status"]);
}
