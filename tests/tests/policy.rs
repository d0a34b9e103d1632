//! The operator's shell decides by the stack's policy, and ends no event that still comes.

use serde_json::{Value, json};
use surehook::{
    identity::EventKey,
    ledger::{Claim, Status},
    outside,
    qstash::client::Destination,
};
use surehook_local::{Stack, StackOptions, receiver::Reaction};

use crate::support::{
    Ran, accepted, bury, connect,
    consumer::{consumer, incoming_at, moment},
    event, key,
    ledger::{claim, failure, nothing},
    operate, options,
    proxy::{Proxy, Verdict, calls},
    publish, qstash, run, stack_with, surehook, until,
};
use surehook::web::{Moment, Outcome};

const HOUR: i64 = 3_600_000;

/// A stack whose QStash waits as long as a real one.
async fn slow_stack(environment: &[(&str, &str)]) -> Stack {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    stack_with(StackOptions { speed: 1.0, environment, ..options() }).await
}

/// An event that failed five hours ago, and that QStash delivers again in a week.
async fn waiting(stack: &Stack, name: &str) -> EventKey {
    let to = Destination::Url(stack.function_url("consumer/strapi"));
    let delay = [("Upstash-Delay".to_owned(), "7d".to_owned())];
    let message = qstash(stack).publish(&to, &delay, event(name).into()).await.unwrap().remove(0);
    failed(stack, name, &message).await
}

/// An event that failed five hours ago, when this message brought it.
async fn failed(stack: &Stack, name: &str, message: &str) -> EventKey {
    let (store, key, at) = (stack.store(), key(stack, &event(name)), outside::now() - 5 * HOUR);
    let claim = Claim { message_id: message.to_owned(), ..claim("w", at) };
    let held = store.claim(&key, &claim).await.unwrap();
    store.fail(&key, &held, &nothing(), &failure(), at).await.unwrap();
    key
}

async fn status(stack: &Stack, key: &EventKey) -> Status {
    stack.store().record(key).await.unwrap().unwrap().status
}

/// A command of a shell with these variables besides the stack's own.
async fn run_with(stack: &Stack, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let output = surehook(stack, arguments).envs(variables.iter().copied()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A shell that publishes to a region although the stack names none, as after a move that was taken back.
fn of_a_region(stack: &Stack) -> [(&'static str, String); 3] {
    let value = |name: &str| stack.environment.iter().find(|(known, _)| known == name).unwrap().1.clone();
    [
        ("QSTASH_REGION", "EU_CENTRAL_1".to_owned()),
        ("EU_CENTRAL_1_QSTASH_URL", value("QSTASH_URL")),
        ("EU_CENTRAL_1_QSTASH_TOKEN", value("QSTASH_TOKEN")),
    ]
}

/// What it publishes, no consumer of the stack would take.
#[tokio::test]
async fn a_shell_of_another_region_replays_and_rechecks_nothing() {
    let stack = slow_stack(&[]).await;
    let letter = bury(&stack, &event("buried"), "x").await.id();
    operate(&stack, json!({"command": "sweep"})).await;
    let variables = of_a_region(&stack);
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    for arguments in [&["dead-letters", "replay", &letter, "--yes"][..], &["sources", "recheck", "strapi"], &["sweep"]]
    {
        let refused = run_with(&stack, &variables, arguments).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains("QSTASH_REGION is EU_CENTRAL_1 here and not set in the stack"), "{refused:?}");
    }
    let replayed = run(&stack, &["dead-letters", "replay", &letter, "--yes"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
}

/// Without rounds an event is stranded after three hours; the stack gives it 87.
const HASTY: [(&str, &str); 1] = [("RETRY_ROUNDS", "0")];

#[tokio::test]
async fn a_shell_with_other_retries_neither_ends_nor_lists_an_event_that_waits() {
    let stack = slow_stack(&[]).await;
    let key = waiting(&stack, "live").await;
    operate(&stack, json!({"command": "sweep"})).await;
    let dismiss = ["stranded", "--dismiss", key.as_str(), "--yes", "--force"];
    for arguments in [&dismiss[..], &["sweep"]] {
        let refused = run_with(&stack, &HASTY, arguments).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for part in ["RETRY_ROUNDS is 0 here and 6 in the stack", "Unset these variables", "--function NAME"] {
            assert!(refused.err.contains(part), "{part} in {refused:?}");
        }
    }
    let listed = run_with(&stack, &HASTY, &["stranded"]).await;
    assert!(listed.out.contains("No event waits longer"), "{listed:?}");
    assert!(listed.err.contains("policy of stack local, written 20") && listed.err.contains("6 rounds"), "{listed:?}");
    assert!(listed.err.contains("ignored: RETRY_ROUNDS is 0 here and 6 in the stack"), "{listed:?}");
    let early = run(&stack, &dismiss).await;
    assert!(early.code == Some(1) && early.err.contains("waits for its next attempt"), "{early:?}");
    assert_eq!(status(&stack, &key).await, Status::Retryable);
}

#[tokio::test]
async fn before_the_first_sweep_qstash_keeps_a_shell_from_ending_an_event_that_it_delivers() {
    let stack = slow_stack(&[]).await;
    let key = waiting(&stack, "live").await;
    for more in [&[][..], &["--force"]] {
        let ran = dismiss(&stack, &key, more).await;
        assert!(ran.err.contains("policy of this shell, because no sweep of the stack has written one"), "{ran:?}");
        assert!(ran.code == Some(1) && ran.err.contains("QStash delivers it at 20"), "{ran:?}");
        assert_eq!(status(&stack, &key).await, Status::Retryable);
    }
}

#[tokio::test]
async fn the_function_alone_writes_its_policy_and_only_where_it_differs() {
    let stack = slow_stack(&[("RETRY_ROUNDS", "3"), ("RETENTION_DAYS", "20")]).await;
    assert_eq!(run(&stack, &["sweep"]).await.code, Some(0));
    assert_eq!(stack.store().policy().await.unwrap(), None, "a command line writes none");
    operate(&stack, json!({"command": "sweep"})).await;
    let written = stack.store().policy().await.unwrap().unwrap();
    assert_eq!((written.policy.rounds, written.policy.retention), (3, 20 * 24 * HOUR));
    assert_eq!(written.policy.settings["RETRY_ROUNDS"], "3");
    operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(stack.store().policy().await.unwrap().unwrap(), written, "nothing differs");
    let other = surehook::config::Policy { rounds: 9, ..written.policy.clone() };
    stack.store().put_policy(&other, 1).await.unwrap();
    operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(stack.store().policy().await.unwrap().unwrap().policy, written.policy);
    let mut bare = surehook(&stack, &["sweep"]);
    let output =
        bare.env_remove("RETRY_ROUNDS").env_remove("RETENTION_DAYS").env_remove("STACK").output().await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && err.contains("policy of stack local") && err.contains("3 rounds"), "{err}");
}

/// A shell that is asked through the function works by the function's settings.
#[tokio::test]
async fn a_sweep_through_the_function_is_not_refused_for_the_shells_variables() {
    let stack = slow_stack(&[]).await;
    operate(&stack, json!({"command": "sweep"})).await;
    let ran = run_with(&stack, &HASTY, &["sweep", "--function", "dlq-processor"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

async fn dismiss(stack: &Stack, key: &EventKey, more: &[&str]) -> Ran {
    run_with(stack, &HASTY, &[&["stranded", "--dismiss", key.as_str(), "--yes"], more].concat()).await
}

#[tokio::test]
async fn an_event_of_which_the_log_says_nothing_is_dismissed_by_force_alone() {
    let stack = slow_stack(&[]).await;
    let key = failed(&stack, "forgotten", "msg_of_another_month").await;
    let refused = dismiss(&stack, &key, &[]).await;
    assert!(refused.code == Some(1) && refused.err.contains("--force"), "{refused:?}");
    assert_eq!(status(&stack, &key).await, Status::Retryable);
    assert_eq!(dismiss(&stack, &key, &["--force"]).await.code, Some(0));
    assert_eq!(status(&stack, &key).await, Status::Purged);
}

#[tokio::test]
async fn an_event_in_qstashs_dead_letter_queue_is_not_dismissed() {
    let stack = crate::support::quiet_stack().await;
    stack.receiver.react(|_| Reaction::status(503));
    publish(&stack, "t", &event("queued")).await;
    stack.qstash.idle().await;
    let message = stack.store().record(&key(&stack, &event("queued"))).await.unwrap().unwrap().message_id;
    let key = failed(&stack, "another record of its message", &message).await;
    let refused = dismiss(&stack, &key, &["--force"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("`surehook sweep` first"), "{refused:?}");
    assert_eq!(status(&stack, &key).await, Status::Retryable);
}

/// A message that QStash has delivered.
async fn delivered(stack: &Stack) -> String {
    let to = Destination::Url(format!("{}/elsewhere", stack.receiver.url));
    let message = qstash(stack).publish(&to, &[], "{}".into()).await.unwrap().remove(0);
    stack.qstash.idle().await;
    message
}

/// An event that was handled two hours ago, when the table took no `done`.
async fn handled_without_done(stack: &Stack, body: &str, message: &str) {
    let denied = r#"{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","message":"no"}"#;
    let judge = move |request: &_| if calls(request, "PutItem") { Verdict::Answer(400, denied) } else { Verdict::Pass };
    let proxy = Proxy::start(&stack.dynamo.url, judge);
    let consumer = consumer(stack, crate::support::fuse::store_at(&proxy.url)).await;
    let then = outside::now() - 2 * HOUR;
    let mut request = incoming_at(stack, body, then);
    request.headers.insert("upstash-message-id", message.parse().unwrap());
    assert_eq!(consumer.call(request, Moment { now: then, ..moment() }).await.outcome, Outcome::Processed);
}

async fn listed(stack: &Stack, more: &[&str]) -> Vec<(String, String)> {
    let listed = run(stack, &[&["stranded", "--json"], more].concat()).await.json();
    let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|event| (text(event, "event"), text(event, "state"))).collect()
}

#[tokio::test]
async fn an_event_whose_done_could_not_be_written_is_listed_as_unconfirmed_and_is_not_stranded() {
    let stack = slow_stack(&[]).await;
    let (handled, unlucky) = (event("handled"), event("its worker died"));
    handled_without_done(&stack, &handled, &delivered(&stack).await).await;
    stack.store().claim(&key(&stack, &unlucky), &claim("w", outside::now() - 2 * HOUR)).await.unwrap();
    assert_eq!(listed(&stack, &[]).await, [], "only a look through the table finds it");
    let handled = key(&stack, &handled);
    let expected = [(handled.to_string(), "unconfirmed".to_owned())];
    assert_eq!(listed(&stack, &["--deep"]).await, expected, "QStash's log does not say that the other was handled");
    assert_eq!(listed(&stack, &[]).await, expected);
    assert_eq!(operate(&stack, json!({"command": "sweep"})).await["swept"]["stranded"], 0);
    let table = run(&stack, &["stranded"]).await.out;
    assert!(table.contains("unconfirmed  handled, but the table did not record it"), "{table}");
    let why = run(&stack, &["why", handled.as_str()]).await.out;
    assert!(why.contains("it was handled, and QStash was told so"), "{why}");
    let ran = run(&stack, &["stranded", "--dismiss", handled.as_str(), "--yes"]).await;
    assert_eq!((ran.code, status(&stack, &handled).await), (Some(0), Status::Purged), "{ran:?}");
    assert_eq!(listed(&stack, &[]).await, []);
}

#[tokio::test]
async fn an_unconfirmed_event_that_is_sent_again_is_handled_as_usual() {
    let stack = slow_stack(&[]).await;
    connect(&stack, "t", &[]).await;
    let body = event("sent again");
    handled_without_done(&stack, &body, &delivered(&stack).await).await;
    assert_eq!(listed(&stack, &["--deep"]).await.len(), 1);
    publish(&stack, "t", &body).await;
    until("it is done", || async { status(&stack, &key(&stack, &body)).await == Status::Done }).await;
    assert_eq!((listed(&stack, &["--deep"]).await.len(), accepted(&stack, &body)), (0, 2));
}

/// The first is delivered at once, but others may have used its hour up; each that waits at QStash puts the next off by an hour.
#[tokio::test]
async fn a_slow_replay_does_not_count_as_waiting_before_its_turn() {
    let stack = slow_stack(&[]).await;
    for (number, hours) in [(0, 1), (1, 1), (2, 2), (3, 3)] {
        let letter = bury(&stack, &event(&format!("slow {number}")), "x").await;
        let before = outside::now();
        let ran = run(&stack, &["dead-letters", "replay", &letter.id(), "--rate", "1/h"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let record = stack.store().record(&letter.key).await.unwrap().unwrap();
        if number == 0 {
            until("the first is delivered", || async { accepted(&stack, &event("slow 0")) == 1 }).await;
            continue;
        }
        let due = record.open_since.unwrap();
        assert!((before + hours * HOUR..outside::now() + hours * HOUR + 1).contains(&due), "{number}: {record:?}");
        assert_eq!(record.next_at, Some(due));
        assert!(
            stack.store().stranded(outside::now() + 1, 10).await.unwrap().iter().all(|found| found.key != letter.key)
        );
    }
}
