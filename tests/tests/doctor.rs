//! `surehook doctor`, as a process: each mistake that is planted is found, with what will happen and how to mend it.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use serde_json::{Value, json};
use surehook::{outside, routes::Routes};
use surehook_local::{Stack, StackOptions, stack::FUNCTIONS};
use surehook_tests::{account::Account, template::Template};

use crate::{
    deployed::Deployed,
    support::{apply, bury, connect, event, key, ledger, noise, options, publish, qstash, stack, stack_with, surehook},
};

/// What the doctor says of a stack, with some variables otherwise.
async fn examined(stack: &Stack, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, Value) {
    let mut command = surehook(stack, &[&["doctor", "--json"], arguments].concat());
    let output = command.envs(variables.iter().copied()).output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code(), report)
}

/// The codes of what was found. Everything that is found says what happens or what to do.
async fn found(stack: &Stack, arguments: &[&str], variables: &[(&str, &str)]) -> BTreeSet<String> {
    let (code, report) = examined(stack, arguments, variables).await;
    let findings = report["findings"].as_array().unwrap();
    for finding in findings {
        assert!(!finding["mend"].as_str().unwrap().is_empty(), "{finding}");
    }
    let has = |severity: &str| findings.iter().any(|finding| finding["severity"] == severity);
    let expected = if has("error") { 2 } else { i32::from(has("warning")) };
    assert_eq!(code, Some(expected), "{report}");
    codes(&report)
}

fn codes(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

/// Asserts that a mistake in the variables is found.
async fn finds(stack: &Stack, code: &str, variables: &[(&str, &str)]) {
    let found = found(stack, &["--no-canary"], variables).await;
    assert!(found.contains(code), "{code} for {variables:?} in {found:?}");
}

/// A stack about which there is nothing to say.
async fn healthy() -> Stack {
    // As many executions as can be reserved.
    let stack = stack_with(StackOptions { concurrency: 5, ..options() }).await;
    connect(&stack, "t", &[]).await;
    publish(&stack, "t", &event("first")).await;
    qstash(&stack).add_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
    stack.qstash.idle().await;
    stack
}

#[tokio::test]
async fn a_healthy_stack_is_proved_through_the_whole_path() {
    let stack = healthy().await;
    // Nothing was published to this one yet, and QStash shows no default headers.
    let unseen: BTreeSet<String> = ["topic-unseen".to_owned()].into();
    for arguments in [&[][..], &["--stack", "local"]] {
        let (code, report) = examined(&stack, arguments, &[]).await;
        assert_eq!((code, codes(&report)), (Some(0), unseen.clone()), "{report}");
        let right: Vec<&str> = report["right"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let of_shell = ["time: ", "size: ", "signing keys", "table: ", "permissions: ", "call: ", "canary: ", "clock"];
        let of_stack = ["URLs: ", "concurrency: 120 of the account, reserved: consumer 5, requeuer 5, producer 5"];
        let of_stack = of_stack.iter().filter(|_| !arguments.is_empty());
        for part in of_shell.iter().chain(of_stack) {
            assert!(right.iter().any(|text| text.starts_with(part)), "{part} in {right:?}");
        }
    }
    let letters = crate::support::letters(&stack).await;
    assert!(letters.is_empty() && stack.qstash.dlq_len() == 0, "the doctor leaves nothing behind");
}

#[tokio::test]
async fn mistakes_in_the_variables_are_found() {
    let stack = healthy().await;
    let (current, next) = stack.qstash.keys();
    let elsewhere = stack.function_url("consumer").replace("127.0.0.1", "hooks.example");
    for (code, variables) in [
        ("setting", &[("QSTASH_NEXT_SIGNING_KEY", "")][..]),
        ("setting", &[("PRODUCER_TOKEN", "short")]),
        ("retention", &[("RETENTION_DAYS", "1")]),
        ("keys-equal", &[("QSTASH_NEXT_SIGNING_KEY", &current)]),
        ("keys-foreign", &[("QSTASH_CURRENT_SIGNING_KEY", "sig_a"), ("QSTASH_NEXT_SIGNING_KEY", "sig_b")]),
        ("keys-rotated", &[("QSTASH_CURRENT_SIGNING_KEY", "sig_old"), ("QSTASH_NEXT_SIGNING_KEY", &current)]),
        ("keys-public", &[("CONSUMER_URL", &elsewhere)]),
        ("master-public", &[("CONSUMER_URL", &elsewhere)]),
        ("function-timeout", &[("HANDLER_TIMEOUT", "17s")]),
        ("lease-long", &[("HANDLER_TIMEOUT", "9s")]),
        ("destination-timeout", &[("HANDLER_TIMEOUT", "2s")]),
        ("producer-timeout", &[("ANSWER_WITHIN", "10s")]),
        ("body-limit", &[("MAX_BODY_BYTES", "6000000")]),
        ("table-missing", &[("TABLE_NAME", "other")]),
        ("topics-unknown", &[("QSTASH_TOKEN", "wrong")]),
        ("topic-missing", &[("TOPICS", "nowhere")]),
        ("topic-elsewhere", &[("TOPICS", "t")]),
        ("callback-elsewhere", &[("REQUEUER_URL", "http://127.0.0.1:9/requeuer")]),
        ("no-topics", &[("TOPICS", ""), ("CONSUMER_URL", "http://127.0.0.1:9/consumer")]),
    ] {
        finds(&stack, code, variables).await;
    }
    assert_ne!(next, current);
}

/// The severity of each finding.
fn severities(report: &Value) -> Vec<(&str, &str)> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|it| (it["code"].as_str().unwrap(), it["severity"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_definite_no_is_an_error_without_the_canary_too() {
    let stack = healthy().await;
    let (code, report) = examined(&stack, &["--no-canary"], &[("QSTASH_TOKEN", "wrong")]).await;
    assert_eq!(code, Some(2), "{report}");
    for finding in [("topics-unknown", "error"), ("keys-unknown", "error")] {
        assert!(severities(&report).contains(&finding), "{finding:?}: {report}");
    }
    let account = Account::start(&Template::load(), &stack.dynamo.url);
    let denied = [("AWS_ENDPOINT_URL_DYNAMODB", account.url.as_str())];
    let (code, report) = examined(&stack, &["--no-canary"], &denied).await;
    assert_eq!(code, Some(2), "{report}");
    assert!(severities(&report).contains(&("table-unknown", "error")), "{report}");
}

#[tokio::test]
async fn nothing_is_ok_with_an_empty_environment_or_without_credentials() {
    for arguments in [&["doctor", "--json"][..], &["doctor", "--json", "--stack", "x"]] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_surehook-under-test"));
        let output =
            command.args(arguments).env_clear().env("AWS_EC2_METADATA_DISABLED", "true").output().await.unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &report["right"]), (Some(2), &json!([])), "{arguments:?}: {report}");
    }
}

#[tokio::test]
async fn mistakes_at_qstash_are_found() {
    let stack = healthy().await;
    let client = qstash(&stack);
    let consumer = stack.function_url("consumer/strapi");
    let retries = json!({"Upstash-Failure-Callback": stack.function_url("requeuer"), "Upstash-Retries": "0"});
    for (topic, endpoint, headers) in [
        ("bare", consumer.clone(), json!({})),
        ("once", consumer.clone(), retries),
        ("typo", stack.function_url("consumer/strappi"), json!({})),
        ("left", "https://abc.lambda-url.eu-west-1.on.aws/strapi".to_owned(), json!({})),
        ("slip", stack.function_url("consumer/surehook-canary"), json!({})),
    ] {
        client.add_endpoints(topic, &[endpoint]).await.unwrap();
        client.set_default_headers(topic, &headers).await.unwrap();
    }
    let callback = stack.function_url("requeuer");
    for (topic, header, value) in [("often", "Upstash-Retries", "5"), ("slow", "Upstash-Retry-Delay", "7200000")] {
        client.add_endpoints(topic, std::slice::from_ref(&consumer)).await.unwrap();
        let headers = json!({"Upstash-Failure-Callback": callback, header: value});
        client.set_default_headers(topic, &headers).await.unwrap();
    }
    for topic in ["bare", "once", "often", "slow"] {
        publish(&stack, topic, &event(topic)).await;
    }
    stack.qstash.idle().await;
    let (_, report) = examined(&stack, &["--no-canary"], &[]).await;
    for (topic, has) in [("often", true), ("slow", true), ("once", false), ("t ", false)] {
        let findings = report["findings"].as_array().unwrap().iter();
        let problem = format!("QStash can retry an event of topic {topic}");
        let mut rounds = findings.filter(|it| it["code"] == "topic-round");
        assert_eq!(rounds.any(|it| it["problem"].as_str().unwrap().starts_with(&problem)), has, "{topic}: {report}");
    }
    let found = codes(&report);
    for code in ["no-failure-callback", "topic-retries", "source-unconfigured", "foreign-topic", "topic-canary"] {
        assert!(found.contains(code), "{code} in {found:?}");
    }
    client.remove_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
    finds(&stack, "topic-missing", &[]).await;
}

/// Makes a table that lacks what ours has.
async fn bad_table(stack: &Stack, name: &str, sort: &str) {
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let make = stack.dynamo.client().create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    let make = make.attribute_definitions(attribute("pk")).attribute_definitions(attribute(sort));
    make.key_schema(key("pk", KeyType::Hash)).key_schema(key(sort, KeyType::Range)).send().await.unwrap();
}

#[tokio::test]
async fn mistakes_of_the_table_are_found() {
    let stack = healthy().await;
    bad_table(&stack, "bare", "sk").await;
    bad_table(&stack, "other", "range").await;
    for (code, table) in [("table-index", "bare"), ("table-expiry", "bare"), ("table-keys", "other")] {
        finds(&stack, code, &[("TABLE_NAME", table)]).await;
    }
    let account = Account::start(&Template::load(), &stack.dynamo.url);
    finds(&stack, "table-unknown", &[("AWS_ENDPOINT_URL_DYNAMODB", &account.url)]).await;
    let waits = event("waits");
    let store = stack.store();
    let held = store.claim(&key(&stack, &waits), &ledger::claim("w", 1_000)).await.unwrap();
    store.fail(&key(&stack, &waits), &held, &ledger::nothing(), &ledger::failure(), 2_000).await.unwrap();
    finds(&stack, "stranded", &[]).await;
    let none = Stack::start(options()).await.unwrap();
    finds(&none, "no-routes", &[]).await;
}

/// Applies routes an hour ago: since then no consumer uses those before.
async fn applied_before(stack: &Stack, document: &str) {
    let store = stack.store();
    let routes = Routes::compile(document, &store.routes(true).await.unwrap()).unwrap();
    store.put_routes(&routes, document, outside::now() - 3_600_000).await.unwrap();
}

#[tokio::test]
async fn a_route_that_takes_nothing_is_found_when_ten_events_came() {
    let stack = healthy().await;
    let route = |name: &str, events: &str| {
        let url = &stack.receiver.url;
        format!("[[route]]\nname = \"{name}\"\nsource = \"strapi\"\nevents = [\"{events}\"]\nurl = \"{url}/{name}\"\n")
    };
    applied_before(&stack, &[route("shop", "entry.*"), route("typo", "entri.*")].concat()).await;
    // The first came before.
    for number in 1..=8 {
        publish(&stack, "t", &event(&number.to_string())).await;
    }
    stack.qstash.idle().await;
    assert!(!found(&stack, &["--no-canary"], &[]).await.contains("route-unmatched"), "nine events prove nothing");
    publish(&stack, "t", &event("the tenth")).await;
    stack.qstash.idle().await;
    let (_, report) = examined(&stack, &["--no-canary"], &[]).await;
    let findings = report["findings"].as_array().unwrap().iter();
    let unmatched: Vec<&Value> = findings.filter(|finding| finding["code"] == "route-unmatched").collect();
    assert_eq!(unmatched.len(), 1, "{report}");
    assert!(
        unmatched[0]["problem"].as_str().unwrap().starts_with("route \"typo\" took none of the 10 events"),
        "{report}"
    );
}

#[tokio::test]
async fn a_table_of_several_pages_is_read_as_far_as_allowed() {
    let stack = stack().await;
    let large: String = noise(300_000).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    for number in 0..8 {
        bury(&stack, &event(&format!("{large}{number}")), "503").await;
    }
    let (store, tomorrow) = (stack.store(), outside::now() + 86_400_000);
    for (since, pages, records, is_whole) in [(0, 8, 8..=8, true), (0, 1, 0..=7, false), (tomorrow, 8, 0..=0, true)] {
        let recent = store.recent(since, pages).await.unwrap();
        assert!(records.contains(&recent.records.len()), "{since}, {pages}: {}", recent.records.len());
        assert_eq!(recent.is_whole, is_whole, "{since}, {pages}");
    }
}

#[tokio::test]
async fn senders_without_their_secrets_are_found() {
    let stack = healthy().await;
    let source = "[[source]]\nname = \"github\"\nrecipe = \"github\"\nsecret = \"gh\"\n";
    apply(&stack, source).await;
    finds(&stack, "source-secret", &[]).await;
    finds(&stack, "source-secret", &[("SOURCE_SECRETS", r#"{"gh": "a secret without a seal"}"#)]).await;
    let whole = [("SOURCE_SECRETS", r#"{"gh": "a secret", "seal": "a seal of these tests, and of nothing else"}"#)];
    assert!(!found(&stack, &["--no-canary"], &whole).await.contains("source-secret"));
}

#[tokio::test]
async fn a_path_that_is_broken_is_found_and_leaves_no_dead_letter() {
    let stack = healthy().await;
    // The consumer knows itself by another name, as behind a domain that it was not told of.
    let alias = stack.function_url("consumer").replace("127.0.0.1", "localhost");
    let broken = found(&stack, &[], &[("CONSUMER_URL", &alias), ("REQUEUER_URL", "http://127.0.0.1:9/")]).await;
    for code in ["signature-refused", "canary", "unreachable"] {
        assert!(broken.contains(code), "{code} in {broken:?}");
    }
    assert_eq!(stack.qstash.dlq_len(), 0, "it would become a dead letter, and ring the alarm");
}

#[tokio::test]
async fn functions_that_do_not_belong_together_are_found() {
    let other = [("consumer", "TABLE_NAME"), ("requeuer", "QSTASH_TOKEN"), ("producer", "STACK")];
    let deployed = Deployed::start(&FUNCTIONS, |_| {
        move |name| {
            let is_other = other.iter().find(|(function, _)| *function == name);
            is_other.map(|(_, variable)| ((*variable).to_owned(), "another".to_owned())).into_iter().collect()
        }
    })
    .await;
    let (_, report) = examined(&deployed.stack, &["--stack", "local", "--no-canary"], &[]).await;
    let differing: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["code"] == "functions-differ")
        .map(|finding| finding["problem"].as_str().unwrap())
        .collect();
    assert_eq!(differing.len(), 3, "{report}");
    for (function, variable) in other {
        assert!(differing.iter().any(|text| text.contains(function) && text.starts_with(variable)), "{differing:?}");
    }
    let found = found(&deployed.stack, &["--stack", "nobody", "--no-canary"], &[]).await;
    assert!(found.contains("not-deployed"), "{found:?}");
}

/// The template before `UpdateItem` was granted together with the keys of replays.
fn without_update_of_replays() -> Template {
    let (now, before) =
        ("[dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem, dynamodb:Query]", "[dynamodb:GetItem]");
    let text = Template::text();
    assert!(text.contains(now) && text.contains(before));
    let apart = text.replace(now, "[dynamodb:PutItem, dynamodb:DeleteItem, dynamodb:Query]");
    Template::parse(&apart.replace(before, "[dynamodb:GetItem, dynamodb:UpdateItem]"))
}

#[tokio::test]
async fn a_role_that_does_not_grant_the_transaction_of_a_replay_is_found() {
    let mut account = None;
    let deployed = Deployed::start(&FUNCTIONS, |stack| {
        let started = account.insert(Account::start(&without_update_of_replays(), &stack.dynamo.url));
        let url = started.url.clone();
        move |name| {
            vec![
                ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), url.clone()),
                ("AWS_ACCESS_KEY_ID".to_owned(), name.to_owned()),
            ]
        }
    })
    .await;
    let stack = &deployed.stack;
    let (_, report) = examined(stack, &["--stack", "local", "--no-canary"], &[]).await;
    let denied = report["findings"].as_array().unwrap().iter().find(|it| it["code"] == "transactions-denied").unwrap();
    assert_eq!(denied["severity"], "error", "{denied}");
    assert!(denied["problem"].as_str().unwrap().contains("dynamodb:UpdateItem"), "{denied}");
    let account = account.unwrap();
    let shell = [("AWS_ENDPOINT_URL_DYNAMODB", account.url.as_str()), ("AWS_ACCESS_KEY_ID", "dlq-processor")];
    finds(stack, "transactions-denied", &shell).await;
}

#[tokio::test]
async fn urls_and_limits_of_deployed_functions_are_compared_with_the_settings() {
    let environment = vec![("MAX_BODY_BYTES".to_owned(), "1000".to_owned())];
    let deployed = Deployed::start(&FUNCTIONS, |stack| {
        let here = stack.functions_url.clone();
        move |name| match name {
            "consumer" => environment.clone(),
            "dlq-processor" => vec![
                ("CONSUMER_URL".to_owned(), format!("{here}/elsewhere")),
                ("REQUEUER_URL".to_owned(), "https://x.lambda-url.eu-west-1.on.aws/".to_owned()),
            ],
            _ => Vec::new(),
        }
    })
    .await;
    let found = found(&deployed.stack, &["--stack", "local", "--no-canary"], &[]).await;
    for code in ["url-elsewhere", "body-limits"] {
        assert!(found.contains(code), "{code} in {found:?}");
    }
}

#[tokio::test]
async fn a_person_reads_what_happens_and_what_to_do() {
    let stack = healthy().await;
    let output = surehook(&stack, &["doctor", "--no-canary"]).env("HANDLER_TIMEOUT", "9s").output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("WARNING  the lease lasts 12s") && text.contains("do: HANDLER_TIMEOUT of 8s or less"),
        "{text}"
    );
    assert!(text.contains("0 errors, 1 warning"), "{text}");
}
