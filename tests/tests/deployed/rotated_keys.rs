//! Secrets by reference, and keys that are rotated without a deployment.

use std::collections::BTreeSet;

use serde_json::Value;
use surehook::{
    config::{SECRETS, SIGNING_KEYS},
    outside,
};
use surehook_local::{
    Stack, StackOptions,
    qstash::TOKEN,
    stack::{FUNCTIONS, PRODUCER_TOKEN},
};

use super::{
    Deployed,
    keeper::{Asked, Keeper, Mood},
    on_lambda::{CURRENT_KEY, MASTER, NEXT_KEY, SENDERS},
    pairs,
};
#[cfg(target_os = "linux")]
use crate::support::wall_clock::WallClock;
use crate::support::{
    Answered, accepted, apply_paths, connect, event, options, post, publish, qstash, signature_by, until,
};

/// Keys that nobody had when the functions started.
const NEWER_KEY: &str = "sig_unspeakable_newer_key";
const NEWEST_KEY: &str = "sig_unspeakable_newest_key";
/// Nobody's key.
const STRANGERS_KEY: &str = "sig_unspeakable_strangers_key";

/// Where a secret is kept.
fn place(name: &str) -> String {
    format!("/x/{name}")
}

/// Those of these variables that a stack has which names no region of QStash.
fn plain(names: &[&'static str]) -> Vec<&'static str> {
    let of_region = |name: &str| ["EU_CENTRAL_1_", "US_EAST_1_"].iter().any(|region| name.starts_with(region));
    names.iter().copied().filter(|name| !of_region(name)).collect()
}

/// Every variable that holds a secret, naming it in a store instead.
fn references(store: &str, keeper: &Keeper) -> Vec<(String, String)> {
    let named = plain(&SECRETS).into_iter().map(|name| (name.to_owned(), format!("{store}:{}", place(name))));
    named.chain(keeper.variables()).collect()
}

/// A keeper of secrets that a real Lambda takes.
fn keeper() -> Keeper {
    let keeper = Keeper::start(&[]);
    let values = [
        ("QSTASH_TOKEN", TOKEN),
        ("QSTASH_CURRENT_SIGNING_KEY", CURRENT_KEY),
        ("QSTASH_NEXT_SIGNING_KEY", NEXT_KEY),
        ("PRODUCER_TOKEN", PRODUCER_TOKEN),
        ("SIGNING_SECRETS", MASTER),
        ("SOURCE_SECRETS", SENDERS),
    ];
    values.into_iter().for_each(|(name, value)| keeper.put(&place(name), value));
    keeper
}

/// Keys are rotated at QStash, and kept from now on.
fn rotate(keeper: &Keeper, current: &str, next: &str) {
    keeper.put(&place("QSTASH_CURRENT_SIGNING_KEY"), current);
    keeper.put(&place("QSTASH_NEXT_SIGNING_KEY"), next);
}

/// A consumer as on Lambda, whose secrets are the keeper's. All events go to one of its processes, as long as they come one by one.
async fn consumer(keeper: &Keeper) -> Deployed {
    consumer_with(keeper, Vec::new()).await
}

/// The same, with more variables.
async fn consumer_with(keeper: &Keeper, more: Vec<(String, String)>) -> Deployed {
    let mut variables = references("ssm", keeper);
    variables.extend(more);
    variables.extend(pairs([("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")]));
    let deployed = Deployed::start(&["consumer"], |_| move |_| variables.clone()).await;
    apply_paths(&deployed.stack, &["shop"]).await;
    deployed
}

/// Delivers an event that was signed with a key.
async fn deliver(stack: &Stack, key: &str, name: &str) -> Answered {
    deliver_at(stack, key, name, outside::now() / 1_000).await
}

/// The same, signed at a time in seconds.
async fn deliver_at(stack: &Stack, key: &str, name: &str, at: i64) -> Answered {
    let (url, body) = (stack.function_url("consumer/strapi"), event(name));
    let signed = signature_by(key, &url, body.as_bytes(), at);
    post(&url, Some(signed), body.as_bytes()).await
}

/// The line of the last invocation, once so many are told.
async fn last_line(deployed: &Deployed, number: usize) -> Value {
    until("its line is there", || async { deployed.log.invocations().len() >= number }).await;
    deployed.log.invocations().swap_remove(number - 1)
}

/// Why functions with these variables do not start.
async fn refusal(mut environment: Vec<(String, String)>) -> String {
    environment.extend(pairs([("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")]));
    Stack::start(StackOptions { environment, ..options() }).await.unwrap_err().to_string()
}

#[tokio::test]
async fn secrets_that_are_only_named_start_all_functions_and_deliver() {
    let secrets = plain(&SECRETS).len();
    for (store, operation, calls) in [("ssm", "GetParameters", 1), ("secretsmanager", "GetSecretValue", secrets)] {
        let keeper = keeper();
        let deployed = Deployed::start(&FUNCTIONS, |stack| {
            // Our QStash signs with its own keys alone.
            let (current, next) = stack.qstash.keys();
            rotate(&keeper, &current, &next);
            let variables = references(store, &keeper);
            move |_| variables.clone()
        })
        .await;
        let asked = keeper.asked();
        assert_eq!(asked.len(), FUNCTIONS.len() * calls, "{store}: {asked:?}");
        assert!(asked.iter().all(|asked| asked.operation == operation && asked.names.len() * calls == secrets));
        arrives(&deployed.stack, store).await;
    }
}

/// One event comes from Strapi, and one from a sender with the producer's token.
async fn arrives(stack: &Stack, store: &str) {
    apply_paths(stack, &["shop"]).await;
    connect(stack, "t", &[]).await;
    let body = event(&format!("named in {store}"));
    publish(stack, "t", &body).await;
    qstash(stack).add_endpoints("orders", &[format!("{}/orders", stack.receiver.url)]).await.unwrap();
    let posted = reqwest::Client::new().post(stack.function_url("producer/orders")).bearer_auth(PRODUCER_TOKEN);
    let posted = posted.body(r#"{"eventType": "a", "data": {}}"#).send().await.unwrap();
    assert_eq!(posted.status().as_u16(), 202);
    stack.qstash.idle().await;
    let paths: BTreeSet<String> = stack.receiver.received().into_iter().map(|received| received.path).collect();
    assert_eq!((paths, accepted(stack, &body)), (BTreeSet::from(["/orders", "/shop"].map(str::to_owned)), 1));
}

#[tokio::test]
async fn everything_that_is_missing_is_named_at_once_with_what_to_type() {
    let keeper = keeper();
    let mut variables = references("ssm", &keeper);
    variables.extend(pairs([
        ("QSTASH_NEXT_SIGNING_KEY", "ssm:/x/not-there"),
        ("SIGNING_SECRETS", "secretsmanager:/x/not-there-either"),
        ("HANDLER_TIMEOUT", "never"),
    ]));
    let error = refusal(variables).await;
    for part in [
        "consumer",
        "QSTASH_NEXT_SIGNING_KEY is ssm:/x/not-there, and there is no parameter of that name",
        "aws ssm put-parameter --type SecureString --name",
        "SIGNING_SECRETS is secretsmanager:/x/not-there-either, and ",
        "HANDLER_TIMEOUT must be",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(!error.contains("unspeakable") && !error.contains("CURRENT"), "{error}");
}

#[tokio::test]
async fn a_keeper_that_denies_is_told_as_such() {
    for (store, variables) in [("ssm", 4), ("secretsmanager", 4)] {
        let keeper = keeper();
        keeper.becomes(Mood::Denies);
        let error = refusal(references(store, &keeper)).await;
        let told = error.matches("AccessDeniedException").count();
        assert!(told >= variables && error.contains(&format!("{store}:/x/SIGNING_SECRETS")), "{told} in {error}");
    }
}

#[tokio::test]
async fn an_answer_of_the_keeper_that_can_not_be_read_is_not_quoted() {
    for store in ["ssm", "secretsmanager"] {
        let keeper = keeper();
        keeper.becomes(Mood::Mumbles);
        let error = refusal(references(store, &keeper)).await;
        assert!(error.contains("QSTASH_CURRENT_SIGNING_KEY is"), "{error}");
        for secret in [CURRENT_KEY, NEXT_KEY, MASTER, "unspeakable"] {
            assert!(!error.contains(secret), "{secret} in {error}");
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn keys_that_were_rotated_twice_are_learnt_without_a_new_process() {
    let (keeper, clock) = (keeper(), WallClock::new());
    let deployed = consumer_with(&keeper, clock.variables()).await;
    let deliver = async |key, name| deliver_at(&deployed.stack, key, name, clock.seconds()).await;
    assert_eq!(deliver(CURRENT_KEY, "before").await.word(), "processed");
    rotate(&keeper, NEWER_KEY, NEWEST_KEY);
    clock.freeze_for(61);
    assert_eq!(deliver(CURRENT_KEY, "nobody asked yet").await.word(), "processed");
    assert_eq!(keeper.asked().len(), 1, "at start alone");
    assert_eq!(deliver(NEWER_KEY, "after").await.word(), "processed");
    let learnt = last_line(&deployed, 3).await;
    assert_eq!((learnt["KeysChanged"].as_u64(), learnt["Delivered"].as_u64()), (Some(1), Some(1)), "{learnt}");
    assert_eq!(deliver(NEWEST_KEY, "the next one too").await.word(), "processed");
    let next = last_line(&deployed, 4).await;
    assert_eq!((next["NextKeyUsed"].as_u64(), next.get("KeysChanged")), (Some(1), None), "{next}");
    assert_eq!(deliver(CURRENT_KEY, "too late").await.word(), "signature-refused");
    // Another process would have asked for all once more.
    let names = |asked: &Asked| asked.names.iter().cloned().collect::<BTreeSet<_>>();
    let places = |names: &[&'static str]| plain(names).into_iter().map(place).collect::<BTreeSet<_>>();
    let (all, keys) = (places(&SECRETS), places(&SIGNING_KEYS));
    assert_eq!(keeper.asked().iter().map(names).collect::<Vec<_>>(), [all, keys]);
    assert_eq!(deployed.log.breaches(&BTreeSet::from([MASTER.to_owned()])), [""; 0]);
}

#[tokio::test]
async fn a_key_is_refused_until_its_keeper_has_it() {
    let keeper = keeper();
    let deployed = consumer(&keeper).await;
    assert_eq!(deliver(&deployed.stack, NEWER_KEY, "too early").await.word(), "signature-refused");
    rotate(&keeper, NEWER_KEY, NEWEST_KEY);
    assert_eq!(
        deliver(&deployed.stack, NEWER_KEY, "too early").await.word(),
        "signature-refused",
        "in the first minute"
    );
    assert_eq!(deliver(&deployed.stack, CURRENT_KEY, "as before").await.word(), "processed");
    assert_eq!(keeper.asked().len(), 1, "at start alone");
    let deployed = consumer(&keeper).await;
    assert_eq!(deliver(&deployed.stack, NEWER_KEY, "too early").await.word(), "processed", "nothing of it was kept");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_keeper_is_asked_again_after_a_minute_although_the_environment_was_frozen() {
    let (keeper, clock) = (keeper(), WallClock::new());
    let deployed = consumer_with(&keeper, clock.variables()).await;
    let deliver = async |key, name| deliver_at(&deployed.stack, key, name, clock.seconds()).await.word().to_owned();
    // A rotation right after the start is healed by the first retry that comes after a minute.
    rotate(&keeper, NEWER_KEY, NEWEST_KEY);
    assert_eq!((deliver(NEWER_KEY, "0 s").await.as_str(), keeper.asked().len()), ("signature-refused", 1));
    clock.freeze_for(50);
    assert_eq!((deliver(NEWER_KEY, "50 s").await.as_str(), keeper.asked().len()), ("signature-refused", 1));
    clock.freeze_for(10);
    assert_eq!((deliver(NEWER_KEY, "60 s").await.as_str(), keeper.asked().len()), ("processed", 2));
    for (wait, asked) in [(0, 2), (0, 2), (60, 3), (0, 3)] {
        clock.freeze_for(wait);
        assert_eq!(
            (deliver(STRANGERS_KEY, "forged").await.as_str(), keeper.asked().len()),
            ("signature-refused", asked)
        );
    }
}

#[tokio::test]
async fn the_next_key_is_believed_and_counted() {
    let keeper = keeper();
    let deployed = consumer(&keeper).await;
    assert_eq!(deliver(&deployed.stack, CURRENT_KEY, "current").await.word(), "processed");
    assert_eq!(deliver(&deployed.stack, NEXT_KEY, "next").await.word(), "processed");
    assert_eq!(last_line(&deployed, 1).await.get("NextKeyUsed"), None);
    assert_eq!(last_line(&deployed, 2).await["NextKeyUsed"], 1);
    assert_eq!(keeper.asked().len(), 1, "at start alone");
}

#[tokio::test]
async fn a_flood_of_forged_signatures_in_a_fresh_environment_does_not_ask_the_keeper() {
    let keeper = keeper();
    let deployed = consumer(&keeper).await;
    for number in 0..200 {
        let forged = deliver(&deployed.stack, STRANGERS_KEY, &format!("forged {number}")).await;
        assert_eq!((forged.status, forged.word()), (401, "signature-refused"));
    }
    assert_eq!(keeper.asked().len(), 1, "at start alone");
    assert!(deployed.stack.receiver.received().is_empty());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn while_the_keeper_is_away_known_keys_are_believed_and_others_refused() {
    for mood in [Mood::Fails, Mood::Hangs, Mood::Denies, Mood::Mumbles] {
        let (keeper, clock) = (keeper(), WallClock::new());
        let deployed = consumer_with(&keeper, clock.variables()).await;
        keeper.becomes(mood);
        clock.freeze_for(61);
        for (number, (key, word)) in [
            (CURRENT_KEY, "processed"),
            (STRANGERS_KEY, "signature-refused"),
            (NEWER_KEY, "signature-refused"),
            (CURRENT_KEY, "processed"),
            (NEXT_KEY, "processed"),
        ]
        .into_iter()
        .enumerate()
        {
            let answer = deliver_at(&deployed.stack, key, &format!("{mood:?} {number}"), clock.seconds()).await;
            assert_eq!(answer.word(), word, "{mood:?}");
        }
        until("somebody is told", || async { deployed.log.lines().iter().any(|line| line.line.contains("read anew")) })
            .await;
        assert_eq!(deployed.log.breaches(&BTreeSet::from([MASTER.to_owned()])), [""; 0], "{mood:?}");
    }
}
