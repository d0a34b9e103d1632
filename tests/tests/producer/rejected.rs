//! A sender that is rejected is told from strangers, and costs nothing while all is well.

use serde_json::json;
use surehook::{outside, store::rejected::SenderCounts};
use surehook_local::Stack;

use super::{PRODUCER_TOKEN, bearer, github, post, stack_with_senders, stripe, stripe_event};
use crate::support::{operate, until};

/// The counts of one source, once the producer has written some.
async fn counts(stack: &Stack, source: &str) -> SenderCounts {
    until("the source is written down", || async { read(stack, source).await.is_some() }).await;
    read(stack, source).await.unwrap()
}

async fn read(stack: &Stack, source: &str) -> Option<SenderCounts> {
    stack.store().rejected(outside::now()).await.unwrap().remove(source)
}

#[tokio::test]
async fn a_sender_with_a_wrong_secret_is_rejecting_from_its_first_event_on() {
    let stack = stack_with_senders().await;
    assert_eq!(post(&stack, "stripe", &stripe_of("whsec_other"), stripe_event("1")).await.status, 401);
    assert!(counts(&stack, "stripe").await.is_rejecting());
    let strapi = r#"{"event":"entry.create","createdAt":"2026-01-01T00:00:00.000Z"}"#;
    assert_eq!(post(&stack, "cms", &[bearer("another-token")], strapi).await.status, 401);
    assert!(counts(&stack, "cms").await.is_rejecting());
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(swept["swept"]["rejectingSources"], 2, "{swept}");
}

fn stripe_of(secret: &str) -> Vec<(String, String)> {
    let (at, body) = (outside::now() / 1_000, stripe_event("1"));
    let mac = super::mac(secret, &[&at.to_string(), ".", &body]);
    vec![("stripe-signature".to_owned(), format!("t={at},v1={mac}"))]
}

#[tokio::test]
async fn requests_of_strangers_are_written_down_nowhere() {
    let stack = stack_with_senders().await;
    // What the wait for the routes has written.
    let before = read(&stack, "github").await;
    for topic in ["github", "stripe", "cms", "wp-login.php", ".env"] {
        assert!(post(&stack, topic, &[], "").await.status >= 400);
        assert!(post(&stack, topic, &[bearer("guess")], "<xml/>").await.status >= 400);
        let odd = [("x-hub-signature-256".to_owned(), "sha256=00".to_owned())];
        assert!(post(&stack, topic, &odd, "{}").await.status >= 400);
    }
    let written = stack.store().rejected(outside::now()).await.unwrap();
    assert_eq!(
        written.into_iter().collect::<Vec<_>>(),
        before.map(|counts| ("github".to_owned(), counts)).into_iter().collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn accepted_requests_write_nothing_and_those_before_the_first_rejection_do_not_outweigh_it() {
    let stack = stack_with_senders().await;
    for id in ["1", "2", "3"] {
        let body = stripe_event(id);
        let signed = stripe(outside::now() / 1_000, &body);
        assert_eq!(post(&stack, "stripe", &signed, body).await.status, 202);
    }
    assert_eq!(read(&stack, "stripe").await, None);
    assert_eq!(post(&stack, "stripe", &stripe_of("whsec_other"), stripe_event("1")).await.status, 401);
    // Those of the same minute count.
    let SenderCounts { accepted, rejected } = counts(&stack, "stripe").await;
    assert!(accepted <= 3 && rejected == 1, "{accepted} accepted, {rejected} rejected");
}

/// The routes that the producer knows decide nothing about the alarm of a sender that posts elsewhere.
#[tokio::test]
async fn a_sender_at_an_unknown_topic_is_not_counted_as_rejected() {
    let stack = stack_with_senders().await;
    let before = read(&stack, "github").await;
    assert_eq!(post(&stack, "githubb", &github("new-gh", "d", "{}"), "{}").await.status, 401);
    assert_eq!(post(&stack, "orderz", &[bearer(PRODUCER_TOKEN)], "{}").await.status, 404);
    assert_eq!(read(&stack, "github").await, before);
}
