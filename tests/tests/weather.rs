//! DynamoDB in bad weather: it throttles, fails, hangs, loses connections and answers. The consumer answers in time, and
//! loses nothing.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use surehook::{
    breaker::{Breaker, FEWEST_FAILURES, Tally},
    ledger::Status,
    outside,
    store::{
        Store,
        dynamodb::{
            Client, Config,
            config::{BehaviorVersion, Builder, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig},
        },
        limited,
    },
    web::{Answer, Moment, Outcome},
};
use surehook_consumer::{Consumer, deliver::Deliverer};
use surehook_local::{Stack, receiver::Reaction, stack::TABLE};
use tokio::time::Instant;

use crate::support::{
    accepted, apply_paths,
    consumer::{
        Counting, breakers, consumer, consumer_with, incoming, incoming_at, loaded_routes, routes_cache, times_counted,
        with_handler,
    },
    event,
    proxy::{Proxy, Verdict, calls},
    received, record, stack, webhook_ids,
};

/// What DynamoDB says in bad weather.
const WEATHER: [Verdict; 7] = [
    Verdict::Answer(
        400,
        r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}"#,
    ),
    Verdict::Answer(400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#RequestLimitExceeded","message":"slow down"}"#),
    Verdict::Answer(400, r#"{"__type":"com.amazon.coral.availability#ThrottlingException","message":"slow down"}"#),
    Verdict::Answer(500, r#"{"__type":"InternalServerError"}"#),
    Verdict::Answer(503, "no JSON at all"),
    Verdict::CutBefore,
    Verdict::Hang,
];

/// A store with the limits of production, behind a proxy.
fn store_at(url: &str) -> Store {
    Store::new(Client::from_conf(limited(config_at(url)).build()), TABLE)
}

/// A store that would wait for minutes: what ends its calls in time is the consumer.
fn patient_store_at(url: &str) -> Store {
    let time_outs = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(60))
        .operation_timeout(Duration::from_secs(120))
        .build();
    let config = config_at(url).timeout_config(time_outs).retry_config(RetryConfig::standard().with_max_attempts(100));
    Store::new(Client::from_conf(config.build()), TABLE)
}

fn config_at(url: &str) -> Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .endpoint_url(url)
}

/// The time that Lambda gives; far more than the consumer allows itself.
fn moment() -> (Moment, Instant) {
    let (started, limit) = (Instant::now(), Instant::now() + Duration::from_secs(20));
    (Moment { now: outside::now(), started, deadline: Some(limit) }, limit)
}

/// The handler may take this long, and what comes before it as well.
fn hasty<H>(handler_timeout: Duration, consumer: Consumer<H>) -> Consumer<H> {
    Consumer { handler_timeout, ..consumer }
}

fn retry_after(answer: Answer) -> Option<String> {
    let response = ApiGatewayV2httpResponse::from(answer);
    response.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn whatever_ails_dynamodb_the_answer_is_503_with_retry_after_and_in_time() {
    let stack = stack().await;
    for (number, weather) in WEATHER.into_iter().enumerate() {
        // The routes are away from the start, or only the claim is.
        for operation in ["", "UpdateItem"] {
            let proxy =
                Proxy::start(
                    &stack.dynamo.url,
                    move |request| {
                        if calls(request, operation) { weather } else { Verdict::Pass }
                    },
                );
            let store = patient_store_at(&proxy.url);
            let routes = routes_cache(store.clone(), breakers(store.clone()));
            let consumer = hasty(Duration::from_millis(500), consumer_with(&stack, store, routes));
            let body = event(&format!("weather {number} {operation}"));
            let (moment, limit) = moment();
            let answer = consumer.call(incoming(&stack, &body), moment).await;
            assert_eq!(answer.outcome, Outcome::StoreAway, "{weather:?} {operation}");
            assert!(retry_after(answer).is_some(), "{weather:?} {operation}");
            assert!(Instant::now() < limit, "{weather:?} {operation}");
            assert_eq!((received(&stack, &body).len(), record(&stack, &body).await), (0, None));
        }
    }
}

#[tokio::test]
async fn a_moment_of_throttling_is_ridden_out() {
    let stack = stack().await;
    let calls_made = AtomicUsize::new(0);
    let proxy = Proxy::start(&stack.dynamo.url, move |request| {
        let first = calls(request, "UpdateItem") && calls_made.fetch_add(1, Ordering::SeqCst) == 0;
        if first { WEATHER[0] } else { Verdict::Pass }
    });
    let consumer = consumer(&stack, store_at(&proxy.url)).await;
    let body = event("ridden out");
    assert_eq!(consumer.call(incoming(&stack, &body), moment().0).await.outcome, Outcome::Processed);
    assert_eq!(accepted(&stack, &body), 1);
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_recognised_as_ones_own() {
    let stack = stack().await;
    let claims = AtomicUsize::new(0);
    let proxy = Proxy::start(&stack.dynamo.url, move |request| {
        let first = calls(request, "UpdateItem") && claims.fetch_add(1, Ordering::SeqCst) == 0;
        if first { Verdict::CutAfter } else { Verdict::Pass }
    });
    let consumer = consumer(&stack, store_at(&proxy.url)).await;
    let body = event("unknown claim");
    assert_eq!(consumer.call(incoming(&stack, &body), moment().0).await.outcome, Outcome::Processed);
    let record = record(&stack, &body).await.unwrap();
    assert_eq!((record.status, record.fence, record.attempts), (Status::Done, 1, 1));
}

/// A consumer that can claim, but whose DynamoDB then takes no such operation any more.
async fn cut_off_at(stack: &Stack, operation: &'static str, weather: Verdict) -> (Proxy, Consumer<Deliverer>) {
    let proxy =
        Proxy::start(&stack.dynamo.url, move |request| if calls(request, operation) { weather } else { Verdict::Pass });
    let store = store_at(&proxy.url);
    (proxy, hasty(Duration::from_secs(3), consumer(stack, store).await))
}

#[tokio::test]
async fn an_effect_outside_the_table_is_answered_2xx_though_done_could_not_be_written() {
    let stack = stack().await;
    let (_proxy, consumer) = cut_off_at(&stack, "PutItem", WEATHER[0]).await;
    let body = event("unconfirmed");
    let answer = consumer.call(incoming(&stack, &body), moment().0).await;
    assert_eq!(answer.outcome, Outcome::Processed, "any other answer would repeat the effect");
    assert_eq!(accepted(&stack, &body), 1);
    assert_eq!(record(&stack, &body).await.unwrap().status, Status::Running);
}

#[tokio::test]
async fn who_accepted_gets_it_again_under_the_same_id_where_that_could_not_be_written() {
    let stack = stack().await;
    apply_paths(&stack, &["ready", "busy"]).await;
    stack.receiver.react(|received| Reaction::status(if received.path == "/busy" { 503 } else { 200 }));
    let (_proxy, unlucky) = cut_off_at(&stack, "PutItem", WEATHER[0]).await;
    let body = event("half delivered");
    let first = incoming(&stack, &body);
    assert_eq!(unlucky.call(first, moment().0).await.outcome, Outcome::StoreAway);
    assert!(record(&stack, &body).await.unwrap().delivered.is_empty());
    stack.receiver.react(|_| Reaction::status(200));
    let lucky = consumer(&stack, stack.store()).await;
    let later = outside::now() + 60_000;
    let again = Moment { now: later, ..moment().0 };
    assert_eq!(lucky.call(incoming_at(&stack, &body, later), again).await.outcome, Outcome::Processed);
    assert_eq!((received(&stack, &body).len(), webhook_ids(&stack, &body).len()), (4, 1));
}

#[tokio::test]
async fn an_effect_inside_the_table_is_never_taken_for_granted() {
    let stack = stack().await;
    let conflict = Verdict::Answer(
        400,
        r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","message":"x","CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict"}]}"#,
    );
    for weather in [WEATHER[0], conflict] {
        let (_proxy, consumer) = cut_off_at(&stack, "TransactWriteItems", weather).await;
        let consumer = with_handler(consumer, Counting);
        let body = event(&format!("inside {weather:?}"));
        let answer = consumer.call(incoming(&stack, &body), moment().0).await;
        assert_eq!(answer.outcome, Outcome::StoreAway, "{weather:?}: nobody knows that it happened");
        assert_eq!(times_counted(&stack, &body).await, 0);
        assert_eq!(record(&stack, &body).await.unwrap().status, Status::Running);
    }
}

/// The shop's breaker asks for a probe, and this is what becomes of it that somebody takes leave for one.
async fn consumer_whose_probes(stack: &Stack, weather: Verdict) -> (Consumer<Deliverer>, Proxy) {
    let store = stack.store();
    let tally = Tally { failed: FEWEST_FAILURES, succeeded: 0 };
    let doubted = Breaker::count(None, tally, "503", outside::now() - 1_000).unwrap();
    store.put_breaker(&id(stack, "shop").await, None, &doubted).await.unwrap().unwrap();
    let judge = move |request: &_| if calls(request, "PutItem") { weather } else { Verdict::Pass };
    let proxy = Proxy::start(&stack.dynamo.url, judge);
    let routes = loaded_routes(store.clone(), breakers(patient_store_at(&proxy.url))).await;
    (consumer_with(stack, store, routes), proxy)
}

async fn id(stack: &Stack, route: &str) -> String {
    stack.store().routes(true).await.unwrap().by_name(route).unwrap().id.clone()
}

#[tokio::test]
async fn a_table_that_takes_no_writes_shuts_nobody_out() {
    let stack = stack().await;
    apply_paths(&stack, &["shop"]).await;
    let denied = r#"{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","message":"no"}"#;
    let (consumer, _proxy) = consumer_whose_probes(&stack, Verdict::Answer(400, denied)).await;
    let answer = consumer.call(incoming(&stack, &event("nobody notes a probe down")), moment().0).await;
    assert_eq!(answer.outcome.word(), "processed");
}

#[tokio::test]
async fn a_table_that_is_silent_about_one_breaker_does_not_forget_who_accepted() {
    let stack = stack().await;
    apply_paths(&stack, &["good", "shop"]).await;
    let (consumer, _proxy) = consumer_whose_probes(&stack, Verdict::Hang).await;
    let body = event("silent about a breaker");
    let answer = hasty(Duration::from_millis(500), consumer).call(incoming(&stack, &body), moment().0).await;
    assert_eq!(answer.outcome.word(), "transient-failure");
    assert_eq!(record(&stack, &body).await.unwrap().delivered, [id(&stack, "good").await]);
    let paths: Vec<String> = received(&stack, &body).into_iter().map(|received| received.path).collect();
    assert_eq!(paths, ["/good"]);
}
