//! Every permission that is used is granted, and none more: the functions live through everything that can happen, each with
//! its own role of the template.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use surehook::{ledger::Status, outside};
use surehook_local::{
    Stack,
    lambda::InvokeError,
    qstash::Fault,
    receiver::{Reaction, Received},
    stack::{FUNCTIONS, PRODUCER_TOKEN},
};
use surehook_tests::{
    account::Account,
    policy::{Call, Grant, Policies},
    template::Template,
};

use super::Deployed;
use crate::failure_path::refuse;
use crate::support::{
    apply, bury, connect, deliver, event, key, ledger, letters, noise, operate, publish, publish_with, record, until,
};

/// Starts the functions, each with credentials of its own.
async fn start() -> (Deployed, Account) {
    let mut account = None;
    let deployed = Deployed::start(&FUNCTIONS, |stack| {
        let started = account.insert(Account::start(&Template::load(), &stack.dynamo.url));
        let url = started.url.clone();
        move |name| {
            super::pairs([
                ("AWS_ENDPOINT_URL_DYNAMODB", &url),
                ("AWS_ACCESS_KEY_ID", name),
                ("SOURCE_SECRETS", r#"{"gh": "a secret of these tests"}"#),
            ])
        }
    })
    .await;
    (deployed, account.unwrap())
}

fn routes(stack: &Stack) -> String {
    let url = &stack.receiver.url;
    format!(
        "[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"{url}/shop\"\n\
         [[route]]\nname = \"orders\"\nsource = \"payload\"\nurl = \"{url}/orders\"\n\
         [[topic]]\nname = \"orders\"\nsource = \"payload\"\n\
         [[source]]\nname = \"github\"\nrecipe = \"github\"\nsecret = \"gh\"\n\
         [[route]]\nname = \"hub\"\nsource = \"github\"\nurl = \"{url}/hub\"\n\
         [[source]]\nname = \"strapi\"\nrecipe = \"strapi\"\nsilence = \"6h\"\n\
         [[source]]\nname = \"unrouted\"\nidentity = \"body\"\n"
    )
}

#[tokio::test]
async fn every_permission_that_is_used_is_granted_and_none_more() {
    let (deployed, account) = start().await;
    let stack = &deployed.stack;
    apply(stack, &routes(stack)).await;
    connect(stack, "t", &[]).await;
    deliveries(stack).await;
    failures(stack).await;
    replays(&deployed).await;
    producer(&deployed).await;
    sweeps(&deployed).await;
    questions(stack).await;
    let book = account.book.lock().unwrap();
    assert_eq!(book.denied, [""; 0], "a role lacks something that its function does");
    let unused: BTreeSet<&Grant> = account.grants.difference(&book.used).collect();
    assert_eq!(unused, BTreeSet::new(), "a role allows something that its function never did");
}

/// The transaction with which a replay begins.
fn replay() -> Call {
    let item = |kind: &str, part: &str, pk: &str| json!({kind: {part: {"pk": {"S": pk}}}});
    let items = [item("Put", "Item", "e#1"), item("Update", "Key", "e#1"), item("Put", "Item", "replay#7")];
    Call::of("TransactWriteItems", &json!({"TransactItems": items}))
}

/// A call of one action on some keys of the table.
fn call(actions: &[&str], keys: &[&str]) -> Call {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Call { actions: owned(actions), resource: "table".to_owned(), keys: owned(keys) }
}

/// The policies of the template with a piece of its text replaced.
fn policies(old: &str, new: &str) -> Policies {
    let text = Template::text();
    assert!(text.contains(old), "{old}");
    Policies::of(&Template::parse(&text.replace(old, new)))
}

#[test]
fn all_keys_of_a_transaction_are_compared_for_each_of_its_actions() {
    assert_eq!(replay(), call(&["PutItem", "UpdateItem"], &["e#1", "replay#7"]));
    Policies::of(&Template::load()).judge("dlq-processor", &replay()).unwrap();
    let apart =
        policies("[dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem, dynamodb:Query]", "[dynamodb:PutItem]");
    let denied = apart.judge("dlq-processor", &replay()).unwrap_err().to_string();
    assert!(denied.contains("dynamodb:UpdateItem") && denied.contains("replay#7"), "{denied}");
}

#[test]
fn a_call_without_a_key_is_denied_where_a_statement_names_keys() {
    let policies = Policies::of(&Template::load());
    for grant in policies.grants().into_iter().filter(|grant| grant.keys.is_some()) {
        let without_key = policies.judge(grant.function, &call(&[&grant.action], &[]));
        assert!(without_key.is_err(), "{grant:?}");
    }
}

/// `docs/operations.md`, "Permissions", and the example of the order counter tell users so.
#[test]
fn a_handlers_own_writes_need_their_keys_in_the_statement_of_the_ledger() {
    let commit = call(&["PutItem", "UpdateItem"], &["e#1", "counter#orders"]);
    Policies::of(&Template::load()).judge("consumer", &commit).unwrap_err();
    policies(r#"["e#*"]"#, r#"["e#*", "counter#*"]"#).judge("consumer", &commit).unwrap();
}

/// Done, a copy, a record whose life has ended, a sender that is not who it says, and what no route takes.
async fn deliveries(stack: &Stack) {
    let body = event("ok");
    publish(stack, "t", &body).await;
    stack.qstash.idle().await;
    assert_eq!(record(stack, &body).await.unwrap().status, Status::Done);
    publish(stack, "t", &body).await;
    stack.qstash.idle().await;
    let old = event("long ago");
    let claim = ledger::claim("w", 1_000);
    let store = stack.store();
    let held = store.claim(&key(stack, &old), &claim).await.unwrap();
    store.complete(&key(stack, &old), &held, &[], 2_000, 3).await.unwrap();
    assert_eq!(deliver(stack, "/strapi", old.as_bytes()).await.word(), "processed", "a new life");
    assert_eq!(deliver(stack, "/github", b"{}").await.word(), "sender-refused");
    assert_eq!(deliver(stack, "/unrouted", b"{}").await.word(), "ignored", "its type is noted");
}

/// What is refused for good is buried by the requeuer, in chunks where it is large; what fails for now is taken up again, opens
/// its destination's breaker, and closes it.
async fn failures(stack: &Stack) {
    stack.receiver.react(|_| Reaction::status(422));
    publish(stack, "t", &large("large")).await;
    publish(stack, "t", &event("refused")).await;
    stack.qstash.idle().await;
    assert_eq!(letters(stack).await.len(), 2);
    retried_by_hand(stack).await;
    stack.receiver.react(|_| Reaction::status(503));
    for number in 0..12 {
        publish(stack, "t", &event(&format!("down {number}"))).await;
    }
    until("a breaker opens", || async {
        stack.store().breakers().await.unwrap().values().any(|breaker| breaker.opened > 0)
    })
    .await;
    stack.receiver.react(|_| Reaction::status(200));
    until("it closes", || async {
        deliver(stack, "/strapi", event(&outside::new_id()).as_bytes()).await;
        stack.store().breakers().await.unwrap().is_empty()
    })
    .await;
    stack.qstash.idle().await;
    let again = event("again");
    refuse(stack, 503, 4);
    publish(stack, "t", &again).await;
    stack.qstash.idle().await;
    assert!(record(stack, &again).await.unwrap().round > 0, "the requeuer took it up");
}

/// The entry of a redacted message is retried in QStash's console and fails again: its letter must name the new entry.
async fn retried_by_hand(stack: &Stack) {
    publish_with(stack, "t", &[("upstash-redact-fields", "body")], &event("hidden")).await;
    stack.qstash.idle().await;
    let client = crate::support::qstash(stack);
    let entry = client.dlq_page(None, 10, 1_000_000).await.unwrap().messages[0].clone();
    let id = serde_json::from_str::<Value>(entry.get()).unwrap()["dlqId"].as_str().unwrap().to_owned();
    client.dlq_retry(&id, &[]).await.unwrap();
    stack.qstash.idle().await;
    let all = letters(stack).await;
    let hidden = all.iter().find(|letter| letter["reason"] == "redacted").unwrap()["id"].as_str().unwrap();
    operate(stack, json!({"command": "purge", "selection": {"ids": [hidden]}})).await;
    client.dlq_delete(&id).await.unwrap();
}

/// A Strapi event that is kept in chunks, because it does not compress.
fn large(name: &str) -> String {
    let noise: String =
        noise(600_000).iter().map(|byte| char::from(b'!' + byte % 90)).filter(|c| !"\"\\".contains(*c)).collect();
    event(&format!("{name} {noise}"))
}

/// Replayed at once, interrupted and finished by the sweep, and removed for good.
async fn replays(deployed: &Deployed) {
    let stack = &deployed.stack;
    let all = letters(stack).await;
    let ids: Vec<&str> = all.iter().map(|letter| letter["id"].as_str().unwrap()).collect();
    for id in &ids {
        operate(stack, json!({"command": "show", "id": id})).await;
        operate(stack, json!({"command": "body", "id": id})).await;
        operate(stack, json!({"command": "why", "subject": id})).await;
    }
    let replay = |id: &str| operate(stack, json!({"command": "replay", "selection": {"ids": [id]}}));
    deployed.qstash_away.store(true, Ordering::SeqCst);
    ask(stack, json!({"command": "replay", "selection": {"ids": [ids[0]]}})).await.unwrap_err();
    deployed.qstash_away.store(false, Ordering::SeqCst);
    operate(stack, json!({"command": "sweep"})).await;
    replay(ids[1]).await;
    stack.qstash.idle().await;
    operate(stack, json!({"command": "outcomes", "ids": ids})).await;
    let purged = bury(stack, &event("purged"), "x").await.id();
    operate(stack, json!({"command": "purge", "selection": {"ids": [purged]}})).await;
}

/// Published; kept in the outbox while QStash is away; buried where QStash refuses it.
async fn producer(deployed: &Deployed) {
    let stack = &deployed.stack;
    let post_by = |token: &'static str, id: &'static str| {
        let url = stack.function_url("producer/orders");
        let request = reqwest::Client::new().post(url).bearer_auth(token).header("idempotency-key", id);
        request.body(r#"{"eventType": "order.created", "data": {}}"#).send()
    };
    let post = |id| post_by(PRODUCER_TOKEN, id);
    assert_eq!(post_by("another token", "0").await.unwrap().status().as_u16(), 401, "written down as rejected");
    let endpoint = stack.function_url("consumer/payload");
    crate::support::qstash(stack).add_endpoints("orders", &[endpoint]).await.unwrap();
    assert_eq!(post("1").await.unwrap().status().as_u16(), 202);
    deployed.qstash_away.store(true, Ordering::SeqCst);
    assert_eq!(post("2").await.unwrap().status().as_u16(), 202, "in the outbox");
    deployed.qstash_away.store(false, Ordering::SeqCst);
    operate(stack, json!({"command": "sweep"})).await;
    without_endpoints(deployed).await;
    stack.qstash.idle().await;
}

/// Held where the topic has no endpoints, moved there by the sweep, and published when the topic has one.
async fn without_endpoints(deployed: &Deployed) {
    let stack = &deployed.stack;
    let post = |id: &'static str| {
        let url = stack.function_url("producer/orders");
        let request = reqwest::Client::new().post(url).bearer_auth(PRODUCER_TOKEN).header("idempotency-key", id);
        request.body(r#"{"eventType": "order.created", "data": {}}"#).send()
    };
    let (client, endpoint) = (crate::support::qstash(stack), stack.function_url("consumer/payload"));
    client.remove_endpoints("orders", std::slice::from_ref(&endpoint)).await.unwrap();
    assert_eq!(post("3").await.unwrap().status().as_u16(), 202, "held");
    deployed.qstash_away.store(true, Ordering::SeqCst);
    assert_eq!(post("4").await.unwrap().status().as_u16(), 202, "in the outbox");
    deployed.qstash_away.store(false, Ordering::SeqCst);
    let swept = operate(stack, json!({"command": "sweep"})).await;
    assert_eq!(swept["swept"]["outboxLeft"], 2, "{swept}");
    client.add_endpoints("orders", &[endpoint]).await.unwrap();
    let swept = operate(stack, json!({"command": "sweep"})).await;
    assert_eq!(swept["swept"]["published"], 2, "{swept}");
}

/// What no callback brought, what QStash can't show, and a worker that died without a word.
async fn sweeps(deployed: &Deployed) {
    let stack = &deployed.stack;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    stack.receiver.react(|received: &Received| Reaction::status(if is_bad(received) { 422 } else { 503 }));
    for body in [event("bad lost"), event("lost"), large("bad lost")] {
        publish(stack, "t", &body).await;
    }
    stack.qstash.idle().await;
    deployed.qstash_away.store(true, Ordering::SeqCst);
    operate(stack, json!({"command": "sweep"})).await;
    deployed.qstash_away.store(false, Ordering::SeqCst);
    stack.receiver.react(|_| Reaction::status(200));
    operate(stack, json!({"command": "sweep"})).await;
    stack.qstash.idle().await;
    let store = stack.store();
    store.claim(&key(stack, &event("died")), &ledger::claim("w", 1_000)).await.unwrap();
    let waits = event("waits");
    let held = store.claim(&key(stack, &waits), &ledger::claim("w", 1_000)).await.unwrap();
    store.fail(&key(stack, &waits), &held, &ledger::nothing(), &ledger::failure(), 2_000).await.unwrap();
    let listed = operate(stack, json!({"command": "stranded", "deep": true})).await;
    let events: Vec<&Value> = listed["stranded"].as_array().unwrap().iter().map(|event| &event["event"]).collect();
    assert_eq!(events.len(), 2, "{listed}");
    operate(stack, json!({"command": "dismiss", "events": events, "force": true})).await;
}

fn is_bad(received: &Received) -> bool {
    received.body.windows(3).any(|part| part == b"bad")
}

/// What an operator asks beside.
async fn questions(stack: &Stack) {
    operate(stack, json!({"command": "causes"})).await;
    ask(stack, json!({"command": "why", "subject": "msg_of_nobody", "deep": true})).await.unwrap_err();
}

/// Invokes the DLQ processor with a command that may fail.
async fn ask(stack: &Stack, command: Value) -> Result<Bytes, InvokeError> {
    stack.function("dlq-processor").unwrap().invoke(command.to_string().into()).await
}
