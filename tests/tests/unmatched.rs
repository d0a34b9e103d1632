//! Events that no route takes: ignored unless their source keeps them, and listed by their types.

use serde_json::{Value, json};
use surehook::{ledger::Status, outside, web::Moment, web::Outcome};
use surehook_local::Stack;

use crate::support::{
    accepted, apply, connect,
    consumer::{consumer, incoming_at, moment},
    event, letters, operate, publish, quiet_stack, received, record, run, stack,
};

const DAY: i64 = 86_400;

/// An event of a type that the stack's routes do not take.
fn media(name: &str) -> String {
    event(name).replace("entry.create", "media.create")
}

/// Routes for entries alone, and what becomes of the others.
async fn apply_with(stack: &Stack, events: &str, unmatched: &str) {
    let url = &stack.receiver.url;
    let source = format!("[[source]]\nname = \"strapi\"\nrecipe = \"strapi\"\nunmatched = \"{unmatched}\"\n");
    let route =
        format!("[[route]]\nname = \"shop\"\nsource = \"strapi\"\nevents = [\"{events}\"]\nurl = \"{url}/shop\"\n");
    apply(stack, &format!("{source}{route}")).await;
}

async fn listed(stack: &Stack) -> Vec<Value> {
    run(stack, &["routes", "unmatched", "--json"]).await.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn a_kept_event_becomes_a_dead_letter_that_expires_and_can_be_replayed() {
    let stack = stack().await;
    apply_with(&stack, "entry.*", "keep").await;
    connect(&stack, "t", &[]).await;
    let body = media("kept");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    let letter = letters(&stack).await.remove(0);
    assert_eq!((letter["reason"].as_str(), letter["error"].as_str()), (Some("unmatched"), Some("no route takes it")));
    let id = letter["id"].as_str().unwrap();
    let dead = record(&stack, &body).await.unwrap();
    let expires_in = dead.expires_at.unwrap() - outside::now() / 1_000;
    assert_eq!(dead.status, Status::Dead);
    assert!((14 * DAY - 120..=14 * DAY).contains(&expires_in), "it expires with RETENTION_DAYS: {expires_in} s");
    assert_eq!(run(&stack, &["dead-letters", "show", id, "--body"]).await.out, body);
    let filtered = run(&stack, &["dead-letters", "list", "--reason", "unmatched", "--json"]).await.json();
    assert_eq!(filtered["letters"].as_array().unwrap().len(), 1);
    let why = run(&stack, &["why", id]).await.out;
    assert!(why.contains("it expires then, because no route took it"), "{why}");
    let early = run(&stack, &["dead-letters", "replay", id]).await;
    assert!(early.code == Some(1) && early.err.contains("no route takes it"), "{early:?}");
    apply_with(&stack, "*", "keep").await;
    assert_eq!(run(&stack, &["dead-letters", "replay", id]).await.code, Some(0));
    stack.qstash.idle().await;
    assert_eq!((accepted(&stack, &body), record(&stack, &body).await.unwrap().status), (1, Status::Done));
    assert!(letters(&stack).await.is_empty());
}

/// An open event must not expire while it waits.
#[tokio::test]
async fn a_kept_event_that_is_being_replayed_does_not_expire() {
    let stack = stack().await;
    apply_with(&stack, "entry.*", "keep").await;
    connect(&stack, "t", &[]).await;
    let body = media("replayed");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    let (letter, _) = {
        let id = letters(&stack).await.remove(0)["id"].as_str().unwrap().to_owned();
        let (key, fence) = surehook::ledger::DeadLetter::parse_id(&id).unwrap();
        stack.store().letter(&key, fence).await.unwrap().unwrap()
    };
    stack.store().begin_replay(&letter, outside::now()).await.unwrap();
    let open = record(&stack, &body).await.unwrap();
    assert_eq!((open.status, open.expires_at), (Status::Retryable, None));
    let request = stack.dynamo.client().get_item().table_name(surehook_local::stack::TABLE);
    let text = |text: String| surehook::store::dynamodb::types::AttributeValue::S(text);
    let request = request.key("pk", text(format!("e#{}", letter.key)));
    let head = request.key("sk", text(format!("dead-letter#{:020}", letter.fence))).send().await.unwrap().item.unwrap();
    assert!(head.contains_key("replaying") && !head.contains_key("expires_at"), "{head:?}");
}

/// The alarm *Dead letters* sums `DeadLettered`, which a sweep counts as `buried`.
#[tokio::test]
async fn a_kept_event_is_not_counted_with_those_that_were_given_up() {
    let stack = quiet_stack().await;
    apply_with(&stack, "entry.*", "keep").await;
    publish(&stack, "t", &media("counted apart")).await;
    stack.qstash.idle().await;
    let swept = operate(&stack, json!({"command": "sweep"})).await;
    assert_eq!(
        (swept["swept"]["unmatched"].as_u64(), swept["swept"]["buried"].as_u64()),
        (Some(1), Some(0)),
        "{swept}"
    );
    assert_eq!(letters(&stack).await.len(), 1);
}

#[tokio::test]
async fn without_keep_an_event_that_no_route_takes_ends_ignored() {
    let stack = stack().await;
    apply_with(&stack, "entry.*", "ignore").await;
    connect(&stack, "t", &[]).await;
    let body = media("ignored");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    assert_eq!(record(&stack, &body).await.unwrap().status, Status::Done);
    assert!(letters(&stack).await.is_empty() && received(&stack, &body).is_empty());
}

#[tokio::test]
async fn types_that_no_route_took_are_written_once_a_minute_and_others_never() {
    let stack = stack().await;
    let store = stack.store().metered();
    let consumer = consumer(&stack, store.clone()).await;
    let now = outside::now();
    let deliver = async |body: String, at: i64| {
        let before = store.capacity();
        let outcome = consumer.call(incoming_at(&stack, &body, at), Moment { now: at, ..moment() }).await.outcome;
        let after = store.capacity();
        (outcome, after.written - before.written, after.read - before.read)
    };
    assert_eq!(deliver(event("taken"), now).await, (Outcome::Processed, 2.0, 0.0), "the good path writes nothing more");
    assert_eq!(listed(&stack).await, [""; 0]);
    assert_eq!(deliver(media("1"), now).await, (Outcome::Ignored, 3.0, 0.0), "one more, for its type");
    assert_eq!(deliver(media("2"), now + 59_000).await.1, 2.0);
    assert_eq!(deliver(media("3"), now + 61_000).await.1, 3.0);
    let found = listed(&stack).await;
    assert_eq!(found.len(), 1);
    for (name, expected) in [
        ("source", json!("strapi")),
        ("eventType", json!("media.create")),
        ("events", json!(3)),
        ("first", json!(now)),
        ("last", json!(now + 61_000)),
        ("routes", json!("none")),
    ] {
        assert_eq!(found[0][name], expected, "{name} of {found:?}");
    }
}

#[tokio::test]
async fn the_list_says_what_the_routes_of_now_take_and_apply_prints_it_for_its_document() {
    let stack = stack().await;
    for (event_type, at) in [("media.create", 3), ("entry.publish", 2), ("review.create", 1)] {
        stack.store().note_unmatched("strapi", event_type, 1, outside::now() - at).await.unwrap();
    }
    stack.store().note_unmatched("strapi", "long.ago", 1, outside::now() - 8 * DAY * 1_000).await.unwrap();
    stack.store().note_unmatched("payload", "", 2, outside::now()).await.unwrap();
    let verdicts = async || {
        let all = listed(&stack).await;
        all.iter()
            .map(|one| format!("{} {}", one["eventType"].as_str().unwrap(), one["routes"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(verdicts().await, [" taken", "review.create none", "entry.publish taken", "media.create none"]);
    let text = run(&stack, &["routes", "unmatched"]).await.out;
    assert!(text.contains("(none)") && text.contains("a route takes it now") && text.contains("no route"), "{text}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let document = "[[route]]\nname = \"media\"\nsource = \"strapi\"\nevents = [\"media.*\"]\nurl = \"https://a.example/\"\n\
        [[route]]\nname = \"some\"\nsource = \"strapi\"\nevents = [\"review.*\"]\nurl = \"https://b.example/\"\n\
        when = [{ field = \"/x\", exists = true }]\n";
    std::fs::write(file.path(), document).unwrap();
    let applied = run(&stack, &["routes", "apply", file.path().to_str().unwrap()]).await;
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let (_, list) = applied.out.split_once("3 event types of the last 7 days not taken by this document").unwrap();
    for part in ["entry.publish", "review.create", "only if conditions hold", "(none)"] {
        assert!(list.contains(part), "{part} in {list}");
    }
    assert!(!list.contains("media.create") && !list.contains("long.ago"), "{list}");
    let again = run(&stack, &["routes", "apply", file.path().to_str().unwrap()]).await;
    assert!(again.out.contains("Nothing changes") && again.out.contains("3 event types"), "{again:?}");
}
