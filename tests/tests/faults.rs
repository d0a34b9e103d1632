//! Faults of the configuration that no event of the ledger shows.

use serde_json::json;
use surehook_local::{qstash::Fault, stack::FUNCTIONS};

use crate::{
    deployed::on_lambda::{OnLambda, PRODUCER_TOKEN},
    support::{apply, event, operate, publish, quiet_stack, until},
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
