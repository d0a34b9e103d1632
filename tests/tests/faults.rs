//! Faults of the configuration that no event of the ledger shows.

use serde_json::json;
use surehook::qstash::client::Destination;
use surehook_local::{qstash::Fault, receiver::Reaction, stack::FUNCTIONS};

use crate::{
    deployed::on_lambda::{OnLambda, PRODUCER_TOKEN},
    support::{apply, event, fuse::Fuse, operate, publish, qstash, quiet_stack, until},
};

#[tokio::test]
async fn entries_that_our_own_consumer_rejected_are_counted_as_misconfigured() {
    let stack = quiet_stack().await;
    stack.qstash.set_faults(&[Fault::LoseCallback, Fault::ExpiredToken]);
    publish(&stack, "t", &event("rejected")).await;
    stack.qstash.idle().await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(swept["swept"]["misconfigured"], 1, "{swept}");
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(swept["swept"]["misconfigured"], 0, "{swept}");
}

/// The domain is missing in `ConsumerDomains`, so that neither the consumer nor the failure path takes it for its own.
#[tokio::test]
async fn an_entry_of_a_domain_that_is_not_configured_is_misconfigured_by_the_consumers_own_word() {
    let stack = quiet_stack().await;
    let elsewhere = stack.function_url("consumer/strapi").replace("127.0.0.1", "localhost");
    let retries = [("Upstash-Retries".to_owned(), "0".to_owned())];
    let to = Destination::Url(elsewhere);
    qstash(&stack).publish(&to, &retries, event("elsewhere").into()).await.unwrap();
    let missing = Destination::Url(format!("{}/missing", stack.receiver.url));
    stack.receiver.react(|_| Reaction::status(404));
    qstash(&stack).publish(&missing, &retries, "{}".into()).await.unwrap();
    stack.qstash.idle().await;
    let path = Fuse::new(&stack).failure_path(&stack);
    let page = qstash(&stack).dlq_page(None, 10, usize::MAX).await.unwrap();
    let mut found: Vec<_> =
        page.entries().map(Result::unwrap).map(|entry| (entry.status(), path.is_misconfigured(&entry))).collect();
    found.sort_unstable();
    assert_eq!(found, [(401, true), (404, false)], "another application's 404 is not ours");
}

#[tokio::test]
async fn an_authenticated_event_without_routes_topic_or_source_is_counted_as_unconfigured() {
    let lambda = OnLambda::start(&FUNCTIONS).await;
    let (stack, log) = (lambda.stack(), &lambda.deployed.log);
    apply(stack, "").await;
    crate::support::connect(stack, "t", &[]).await;
    publish(stack, "t", &event("no routes")).await;
    until("the consumer reports it", || async { log.sum("consumer", "Unconfigured") > 0 }).await;
    let unknown = reqwest::Client::new().post(stack.function_url("producer/orderz")).bearer_auth(PRODUCER_TOKEN);
    assert_eq!(unknown.body("{}").send().await.unwrap().status().as_u16(), 404);
    until("the producer reports it", || async {
        log.lines().iter().any(|line| line.function == "producer" && line.line.contains("\"Unconfigured\":1"))
    })
    .await;
    let stranger = reqwest::Client::new().post(stack.function_url("producer/orderz")).bearer_auth("unspeakable-guess");
    assert_eq!(stranger.body("{}").send().await.unwrap().status().as_u16(), 401);
}
