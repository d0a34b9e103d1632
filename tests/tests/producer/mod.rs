//! The producer and its senders.
//!
//! | module | what must hold |
//! |---|---|
//! | [`accepted`] | accepted means durable; what can't be is refused with a sentence |
//! | [`batches`] | several events in one request, an outcome for each |
//! | [`client`] | `surehook publish`, `sources` and `topics sync` |
//! | [`door`] | each sender proves who it is, in its own way |
//! | [`durable`] | QStash away, slow, over quota or lost for words: the outbox, in time and in order |
//! | [`held`] | topics without endpoints: stored, asked for once, dead-lettered at the end |
//! | [`libraries`] | what the official libraries of senders sign is believed |
//! | [`rejected`] | a sender that is rejected is told from strangers |
//! | [`storm`] | QStash cut off for a third of the time, the producer killed again and again |
//! | [`straight`] | senders that sign and publish straight to QStash are judged by the consumer |

mod accepted;
mod batches;
mod client;
mod door;
mod durable;
mod held;
mod kept;
mod libraries;
mod rejected;
mod storm;
mod straight;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use surehook::{
    environment::Background,
    outside,
    secret::Secret,
    sources::SourceSecrets,
    store::{Store, routes_cache::RoutesCache},
    telemetry::{Form, Telemetry},
    web::Incoming,
};
use surehook_local::{Stack, StackOptions, stack::PRODUCER_TOKEN};
use surehook_producer::{Producer, door::Door, durable::Durable, kept::RejectedRequests, senders::Senders};

use crate::support::{Answered, answered, apply, options, qstash, qstash_at, stack_with, until};

/// The secrets of the senders of these tests, as the functions have them.
pub(crate) const SECRETS: &str = r#"{"gh": ["new-gh", "old-gh"], "st": "whsec_st", "cms": "cms-token", "seal": "a seal of these tests, and of nothing else"}"#;

/// Sources that sign, those that show a token, and topics for all.
pub(crate) fn document(stack: &Stack) -> String {
    let source = |name: &str, recipe: &str, secret: &str| {
        let url = &stack.receiver.url;
        format!(
            "[[source]]\nname = \"{name}\"\nrecipe = \"{recipe}\"\nsecret = \"{secret}\"\n\
             [[topic]]\nname = \"{name}\"\nsource = \"{name}\"\n\
             [[route]]\nname = \"{name}\"\nsource = \"{name}\"\nurl = \"{url}/{name}\"\nforward = [\"X-Hub-Signature-256\", \"X-GitHub-Delivery\"]\n"
        )
    };
    source("github", "github", "gh") + &source("stripe", "stripe", "st") + &source("cms", "strapi", "cms")
}

/// A stack with those sources, whose topics deliver to the consumer.
async fn stack_with_senders() -> Stack {
    stack_with_senders_and(Vec::new()).await
}

/// The same, with more variables.
async fn stack_with_senders_and(mut environment: Vec<(String, String)>) -> Stack {
    environment.push(("SOURCE_SECRETS".to_owned(), SECRETS.to_owned()));
    let stack = stack_with(StackOptions { environment, ..options() }).await;
    apply(&stack, &document(&stack)).await;
    for source in ["github", "stripe", "cms"] {
        let client = qstash(&stack);
        client.add_endpoints(source, &[stack.function_url(&format!("consumer/{source}"))]).await.unwrap();
        let headers = json!({"Upstash-Failure-Callback": stack.function_url("requeuer"), "Upstash-Retries": "1"});
        client.set_default_headers(source, &headers).await.unwrap();
    }
    // The producer started before they were applied.
    until("they are known", || senders_are_known(&stack)).await;
    stack
}

/// Returns whether the producer has read the document. It says so only to a sender that it authenticates, whose event is no event.
async fn senders_are_known(stack: &Stack) -> bool {
    post(stack, "cms", &[bearer("cms-token")], "{}").await.status == 400
}

fn mac(secret: &str, parts: &[&str]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
    parts.iter().for_each(|part| context.update(part.as_bytes()));
    context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What GitHub sends.
pub(crate) fn github(secret: &str, delivery: &str, body: &str) -> Vec<(String, String)> {
    let headers = [
        ("x-github-event", "issues".to_owned()),
        ("x-github-delivery", delivery.to_owned()),
        ("x-hub-signature-256", format!("sha256={}", mac(secret, &[body]))),
    ];
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What Stripe sends at a time in seconds.
fn stripe(at: i64, body: &str) -> Vec<(String, String)> {
    let signature = format!("t={at},v1={}", mac("whsec_st", &[&at.to_string(), ".", body]));
    vec![("stripe-signature".to_owned(), signature)]
}

fn stripe_event(id: &str) -> String {
    json!({"id": id, "object": "event", "type": "invoice.paid"}).to_string()
}

/// Posts to a topic of the producer.
pub(crate) async fn post(
    stack: &Stack,
    topic: &str,
    headers: &[(String, String)],
    body: impl Into<reqwest::Body>,
) -> Answered {
    let mut request = reqwest::Client::new().post(format!("{}/{topic}", stack.function_url("producer"))).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    answered(request.send().await.unwrap()).await
}

/// A token, as a header.
fn bearer(token: &str) -> (String, String) {
    ("authorization".to_owned(), format!("Bearer {token}"))
}

/// A producer in this process, whose QStash and table are where the test says.
fn producer(qstash: &str, store: Store, within: Duration) -> Producer {
    Producer {
        stack: "test".into(),
        door: Door {
            routes: Arc::new(RoutesCache::new(store.clone(), (), Background::default())),
            secrets: SourceSecrets::parse(SECRETS).unwrap(),
            tokens: vec![Secret::new(PRODUCER_TOKEN).unwrap()],
            topics: vec!["orders".into()],
            patience: within,
        },
        senders: Senders::new(
            store.clone(),
            Background::default(),
            Telemetry::new("test", "producer", Form::Text),
            &outside::new_id(),
        ),
        rejected: RejectedRequests::new(store.clone(), within, &outside::new_id()),
        durable: Durable { qstash: qstash_at(qstash), store, within },
        max_body_bytes: 4_500_000,
        telemetry: Telemetry::new("test", "producer", Form::Text),
    }
}

/// A request with our own payload to `orders`.
fn order(id: &str) -> Incoming {
    order_of(id, &json!({"eventType": "order.paid", "data": {"id": id}}))
}

fn order_of(id: &str, body: &Value) -> Incoming {
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {PRODUCER_TOKEN}").parse().unwrap());
    headers.insert("idempotency-key", id.parse().unwrap());
    Incoming {
        method: "POST".into(),
        path: "/orders".into(),
        query: String::new(),
        domain: None,
        headers,
        body: body.to_string().into(),
        request_id: outside::new_id(),
    }
}
