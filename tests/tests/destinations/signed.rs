//! What is sent, the official Standard Webhooks libraries verify, with the secret that `surehook routes secret` shows.

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use surehook_local::{Stack, StackOptions, receiver::Received, stack::SIGNING_SECRET, strapi::captures};

use crate::support::{apply, apply_paths, connect, options, publish, run, stack, stack_with};

/// A master that replaces that of the stack.
const NEW_MASTER: &str = "whsec_dGhlIG1hc3RlciB0aGF0IHJlcGxhY2VzIGl0";

/// Publishes every capture to a stack with this configuration, and returns what its shop got.
async fn deliver_captures(stack: &Stack) -> Vec<Received> {
    apply_paths(stack, &["shop"]).await;
    connect(stack, "signed", &[]).await;
    for capture in captures() {
        publish(stack, "signed", &capture.body).await;
    }
    stack.qstash.idle().await;
    let received = stack.receiver.received();
    assert_eq!(received.len(), captures().len());
    received
}

async fn rotating_stack() -> Stack {
    let masters = ("SIGNING_SECRETS".to_owned(), format!("{NEW_MASTER},{SIGNING_SECRET}"));
    stack_with(StackOptions { environment: vec![masters], ..options() }).await
}

async fn shown_secrets(stack: &Stack, route: &str) -> Vec<String> {
    let shown = run(stack, &["routes", "secret", route]).await;
    shown.out.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_rust_library_verifies_every_capture_with_the_secret_that_is_shown() {
    let stack = stack().await;
    let received = deliver_captures(&stack).await;
    let secrets = shown_secrets(&stack, "shop").await;
    let webhook = Webhook::new(&secrets[0]).unwrap();
    for delivery in &received {
        webhook.verify(&delivery.body, &delivery.headers).unwrap();
        assert!(webhook.verify(b"{}", &delivery.headers).is_err(), "another body");
    }
}

#[tokio::test]
async fn each_secret_of_a_rotation_verifies() {
    let stack = rotating_stack().await;
    let received = deliver_captures(&stack).await;
    let secrets = shown_secrets(&stack, "shop").await;
    assert_eq!(secrets.len(), 2);
    for secret in &secrets {
        let webhook = Webhook::new(secret).unwrap();
        assert!(received.iter().all(|delivery| webhook.verify(&delivery.body, &delivery.headers).is_ok()));
    }
}

#[tokio::test]
async fn one_destinations_secret_verifies_nothing_of_another() {
    let stack = stack().await;
    deliver_captures(&stack).await;
    let route = format!("[[route]]\nname = \"depot\"\nsource = \"payload\"\nurl = \"{}/shop\"\n", stack.receiver.url);
    apply(&stack, &route).await;
    let other = Webhook::new(&shown_secrets(&stack, "depot").await[0]).unwrap();
    assert!(stack.receiver.received().iter().all(|delivery| other.verify(&delivery.body, &delivery.headers).is_err()));
}

#[tokio::test]
async fn the_default_handler_does_not_start_without_a_master_secret() {
    let environment = vec![("SIGNING_SECRETS".to_owned(), String::new())];
    let error = Stack::start(StackOptions { environment, ..options() }).await.unwrap_err().to_string();
    assert!(error.contains("SIGNING_SECRETS is missing") && error.contains("openssl rand"), "{error}");
}

/// What the libraries of other languages are given: each delivery, and each secret that must verify it.
async fn for_other_languages(stack: &Stack) -> Value {
    let received = deliver_captures(stack).await;
    let headers = |delivery: &Received| {
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| (name, delivery.header(name).unwrap().to_owned()))
            .into_iter()
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let deliveries = received.iter().map(
        |delivery| json!({"headers": headers(delivery), "body": String::from_utf8(delivery.body.to_vec()).unwrap()}),
    );
    json!({"secrets": shown_secrets(stack, "shop").await, "deliveries": deliveries.collect::<Vec<_>>()})
}

/// `.ci/signatures` installs the libraries and runs this; `TEST_VERIFIERS` lists commands that read the deliveries from a file.
#[tokio::test]
#[ignore = "needs the official libraries for JavaScript and Python, which .ci/signatures installs"]
async fn the_libraries_of_other_languages_verify_every_capture() {
    let deliveries = for_other_languages(&rotating_stack().await).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deliveries.json");
    std::fs::write(&file, deliveries.to_string()).unwrap();
    let verifiers = surehook::outside::variable("TEST_VERIFIERS").expect("TEST_VERIFIERS lists commands, one per line");
    for verifier in verifiers.lines() {
        let command = format!("{verifier} {}", file.display());
        let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        println!("{verifier}: {said}");
        assert!(output.status.success() && said.contains("82 signatures verified"), "{verifier}: {said}");
    }
}
