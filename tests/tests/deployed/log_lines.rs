//! What the functions write, and what they never write.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use surehook::outside;
use surehook_local::stack::FUNCTIONS;

use super::{
    every_path::{self, TRACE, traced, traceparent},
    on_lambda::{OnLambda, PRODUCER_TOKEN},
};
use crate::support::{
    key, operate,
    proxy::{Proxy, Verdict},
    signature_by, until,
};

/// Every word that there is for how an invocation ended. One that is not brought about proves nothing.
const OUTCOMES: [(&str, &[&str]); 4] = [
    (
        "consumer",
        &[
            "conflict",
            "dead",
            "duplicate",
            "ignored",
            "in-progress",
            "lease-lost",
            "malformed",
            "no-routes",
            "permanent-failure",
            "processed",
            "secret-missing",
            "sender-refused",
            "signature-refused",
            "source-unconfigured",
            "store-away",
            "too-large",
            "transient-failure",
        ],
    ),
    (
        "dlq-processor",
        &[
            "body", "causes", "dismiss", "failed", "list", "outcomes", "purge", "replay", "show", "stranded", "sweep",
            "why",
        ],
    ),
    (
        "producer",
        &[
            "accepted",
            "bad-request",
            "method-not-allowed",
            "partly-accepted",
            "payload-too-large",
            "qstash-away",
            "refused",
            "rejected-by-qstash",
            "secret-missing",
            "store-away",
            "unauthorized",
            "unknown-topic",
        ],
    ),
    (
        "requeuer",
        &[
            "buried",
            "in-progress",
            "qstash-away",
            "requeued",
            "settled",
            "signature-refused",
            "store-away",
            "undecodable-callback",
        ],
    ),
];

/// What anybody can bring about, and is told a few times a minute only.
const SAMPLED: [(&str, &str); 6] = [
    ("consumer", "signature-refused"),
    ("producer", "method-not-allowed"),
    ("producer", "payload-too-large"),
    ("producer", "secret-missing"),
    ("producer", "unauthorized"),
    ("requeuer", "signature-refused"),
];

/// Forged requests to each of two functions.
const FLOOD: usize = 2_000;
/// Each of four processes tells the first, second, fourth, eighth… of its 500 in a minute, and the flood may last into the next.
const MOST_LINES: usize = 2 * 4 * 2 * 9;

/// Requests that one process takes one by one.
const MANY: usize = 300;

type Counts = BTreeMap<(String, String), usize>;

fn counted(ended: impl Iterator<Item = (String, String)>) -> Counts {
    let mut counts = Counts::new();
    ended.for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}

fn unsampled(counts: &Counts) -> Counts {
    let is_sampled = |(function, word): &(String, String)| SAMPLED.contains(&(function.as_str(), word.as_str()));
    counts.iter().filter(|(ended, _)| !is_sampled(ended)).map(|(ended, count)| (ended.clone(), *count)).collect()
}

/// How invocations ended, by what was answered.
fn answered(lambda: &OnLambda) -> Counts {
    counted(lambda.front.book.lock().unwrap().answers.iter().cloned())
}

/// How invocations ended, by what was written.
fn written(lambda: &OnLambda) -> Counts {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    counted(lambda.deployed.log.invocations().iter().map(|line| (text(line, "function"), text(line, "outcome"))))
}

#[tokio::test]
async fn every_path_writes_one_line_and_none_says_what_it_must_not() {
    let lambda = OnLambda::start(&FUNCTIONS).await;
    let holder = Proxy::start(&lambda.stack().receiver.url, |_| Verdict::Hold);
    every_path::routes(lambda.stack(), &holder).await;
    every_path::consumer(&lambda, &holder).await;
    every_path::requeuer(&lambda).await;
    every_path::producer(&lambda).await;
    every_path::processor(&lambda).await;
    every_path::no_routes(lambda.stack()).await;
    let answered = answered(&lambda);
    let expected = OUTCOMES.iter().flat_map(|(function, words)| words.iter().map(|word| (*function, *word)));
    let expected: BTreeSet<(String, String)> =
        expected.map(|(function, word)| (function.to_owned(), word.to_owned())).collect();
    assert_eq!(answered.keys().cloned().collect::<BTreeSet<_>>(), expected, "what was brought about");
    until("every line is there", || async {
        let written = written(&lambda);
        written.len() == expected.len()
            && unsampled(&written).values().sum::<usize>() >= unsampled(&answered).values().sum()
    })
    .await;
    assert_eq!(unsampled(&written(&lambda)), unsampled(&answered), "one line for each invocation");
    assert_eq!(lambda.deployed.log.breaches(&lambda.secrets()), [""; 0]);
    all_can_be_read(&lambda);
    the_event_is_named(&lambda);
}

/// Each line is one that Lambda and CloudWatch read.
fn all_can_be_read(lambda: &OnLambda) {
    for line in lambda.deployed.log.lines() {
        let read: Value = serde_json::from_str(&line.line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        let is_count_alone = read.get("_aws").is_some() && read.get("outcome").is_none();
        for name in ["timestamp", "level", "message"].into_iter().filter(|_| !is_count_alone) {
            assert!(read[name].is_string(), "{name} in {read}");
        }
    }
    for line in lambda.deployed.log.invocations() {
        assert_eq!((line["stack"].as_str(), line["level"].as_str()), (Some("local"), Some("INFO")), "{line}");
        assert!(line["duration_ms"].is_u64(), "{line}");
        metrics_are_there(&line);
    }
}

/// Source: AWS, "Specification: Embedded metric format": a metric that is declared and missing makes the whole line unreadable.
fn metrics_are_there(line: &Value) {
    let Some(directive) = line.get("_aws") else { return };
    assert!(directive["Timestamp"].is_u64(), "{line}");
    let declared = &directive["CloudWatchMetrics"][0];
    let names = declared["Metrics"].as_array().unwrap().iter().map(|metric| metric["Name"].as_str().unwrap());
    let mut names = names.peekable();
    assert!(names.peek().is_some(), "{line}");
    names.for_each(|name| assert!(line[name].is_u64(), "{name} in {line}"));
    for dimension in declared["Dimensions"][0].as_array().unwrap() {
        assert!(line[dimension.as_str().unwrap()].is_string(), "{dimension} in {line}");
    }
}

/// The line of an event says which it was, and its trace goes on to the destination.
fn the_event_is_named(lambda: &OnLambda) {
    let lines = lambda.deployed.log.invocations();
    let line = lines.iter().find(|line| line["trace"] == TRACE && line["outcome"] == "processed").unwrap();
    assert_eq!(line["event"], key(lambda.stack(), &traced()).as_str());
    for (name, value) in [("source", "strapi"), ("event_type", "entry.create"), ("message_id", "msg_told")] {
        assert_eq!(line[name], value, "{line}");
    }
    for name in ["attempt", "Delivered", "Attempts"] {
        assert_eq!(line[name], 1, "{name} in {line}");
    }
    let received = lambda.stack().receiver.received();
    let received = received.iter().find(|received| received.body == traced()).unwrap();
    assert_eq!(received.header("traceparent"), Some(traceparent().as_str()));
}

/// Brings about a flood, four requests at a time.
async fn flood(request: reqwest::RequestBuilder) {
    let requests = stream::iter(0..FLOOD).map(|_| request.try_clone().unwrap().send());
    let statuses = requests.buffer_unordered(4).map(|answer| answer.unwrap().status().as_u16());
    assert_eq!(statuses.collect::<BTreeSet<_>>().await, BTreeSet::from([401]));
}

#[tokio::test]
async fn a_flood_of_refusals_does_not_flood_the_log() {
    let lambda = OnLambda::start(&["consumer", "producer"]).await;
    let (host, client) = (lambda.stack().host.as_ref().unwrap().url.clone(), reqwest::Client::new());
    let (consumer, producer) =
        (format!("{host}/lambda-url/consumer/strapi"), format!("{host}/lambda-url/producer/orders"));
    let forged = signature_by("sig_unspeakable_stranger", &consumer, b"{}", outside::now() / 1_000);
    let signed = client.post(consumer).header("upstash-signature", &forged).body("{}");
    let shown = client.post(producer).bearer_auth("unspeakable-stranger").body("{}");
    tokio::join!(flood(signed), flood(shown));
    let log = &lambda.deployed.log;
    for function in ["consumer", "producer"] {
        until("half of it is told", || async { log.sum(function, "SignatureRefused") * 2 >= FLOOD as u64 }).await;
        assert!(log.sum(function, "SignatureRefused") <= FLOOD as u64);
    }
    assert!(log.lines().len() <= MOST_LINES, "{} lines", log.lines().len());
    assert_eq!(log.breaches(&forged.split('.').map(str::to_owned).collect()), [""; 0]);
}

/// The template sets `METRICS` to `false` with `Observability=none`.
#[tokio::test]
async fn without_metrics_lines_are_the_same_json_and_cloudwatch_makes_no_metrics() {
    let lambda = OnLambda::start_with(&["dlq-processor"], [("METRICS", "false")]).await;
    operate(lambda.stack(), json!({ "command": "sweep" })).await;
    let log = &lambda.deployed.log;
    until("its line is there", || async { !log.invocations().is_empty() }).await;
    let line = &log.invocations()[0];
    assert_eq!((&line["outcome"], &line["Stranded"]), (&json!("sweep"), &json!(0)), "{line}");
    assert!(log.lines().iter().all(|line| !line.line.contains("_aws")), "{line}");
}

#[tokio::test]
async fn an_answer_that_can_not_be_read_is_not_quoted() {
    let lambda = OnLambda::start(&FUNCTIONS).await;
    every_path::mumbled(&lambda).await;
    let told = unsampled(&answered(&lambda));
    until("every line is there", || async { unsampled(&written(&lambda)) == told }).await;
    assert_eq!(lambda.deployed.log.breaches(&lambda.secrets()), [""; 0]);
}

/// While the routes can't be read nobody is refused for good, and a stranger is told to come again.
#[tokio::test]
async fn a_flood_while_the_table_is_away_does_not_flood_the_log_either() {
    let lambda = OnLambda::start(&["producer"]).await;
    let order = r#"{"eventType": "order.created", "data": {}}"#;
    let post = reqwest::Client::new().post(lambda.stack().function_url("producer/orders")).body(order);
    let strange = async || {
        let stranger = post.try_clone().unwrap().bearer_auth("unspeakable-stranger");
        stranger.send().await.unwrap().status().as_u16()
    };
    lambda.table.becomes(Verdict::Answer(500, "{}"));
    until("the routes that are known are a moment old", || async { strange().await == 503 }).await;
    for _ in 0..MANY {
        assert_eq!(strange().await, 503);
    }
    // The topic has no endpoint, so that the event is stored.
    lambda.table.becomes(Verdict::Pass);
    post.bearer_auth(PRODUCER_TOKEN).send().await.unwrap();
    // They came one by one to one process: when its last line is there, all are.
    let log = &lambda.deployed.log;
    until("the last line is there", || async { log.invocations().iter().any(|line| line["outcome"] == "accepted") })
        .await;
    assert!(log.lines().len() <= MANY / 2, "{} lines", log.lines().len());
}
