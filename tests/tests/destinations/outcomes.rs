//! Every destination has its own outcome, whatever becomes of the others and of its route.

use std::time::Duration;

use surehook::{identity::EventKey, ledger::Status};
use surehook_consumer::{Consumer, deliver::Deliverer};
use surehook_local::{Stack, receiver::Reaction};

use crate::support::{
    apply, apply_paths, connect,
    consumer::{breakers, consumer, consumer_with, incoming, loaded_routes, moment},
    deliver, event, letters, publish, received, record, stack,
};

/// The paths that an event was sent to, in order of name.
fn paths(stack: &Stack, body: &str) -> Vec<String> {
    let mut paths: Vec<String> = received(stack, body).into_iter().map(|received| received.path).collect();
    paths.sort();
    paths
}

fn route(stack: &Stack, name: &str, path: &str, more: &str) -> String {
    let url = &stack.receiver.url;
    format!("[[route]]\nname = \"{name}\"\nsource = \"strapi\"\nurl = \"{url}/{path}\"\n{more}\n")
}

/// A worker that knows the routes as they stand now, and will not read them again by itself for a minute.
async fn worker(stack: &Stack) -> Consumer<Deliverer> {
    consumer(stack, stack.store()).await
}

async fn attempt(worker: &Consumer<Deliverer>, stack: &Stack, body: &str) -> &'static str {
    worker.call(incoming(stack, body), moment()).await.outcome.word()
}

/// 503 at these paths, 200 at the others.
fn fail_at(stack: &Stack, paths: &'static [&'static str]) {
    stack.receiver.react(move |received| match paths.contains(&received.path.as_str()) {
        true => Reaction::status(503),
        false => Reaction::status(200),
    });
}

/// The routes `good` and `bad`.
fn good_and_bad(stack: &Stack) -> (String, String) {
    (route(stack, "good", "good", ""), route(stack, "bad", "bad", ""))
}

/// A worker that has delivered an event to `/good`, and failed at `/bad`.
async fn half_done(stack: &Stack, body: &str) -> Consumer<Deliverer> {
    let (good, bad) = good_and_bad(stack);
    apply(stack, &(good + &bad)).await;
    fail_at(stack, &["/bad"]);
    let worker = worker(stack).await;
    assert_eq!(attempt(&worker, stack, body).await, "transient-failure");
    worker
}

#[tokio::test]
async fn one_event_to_ten_destinations_with_three_failing_makes_seven_and_three_times_the_attempts() {
    let stack = stack().await;
    connect(&stack, "ten", &[]).await;
    let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
    apply_paths(&stack, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    fail_at(&stack, &["/d2", "/d5", "/d7"]);
    let body = event("ten");
    publish(&stack, "ten", &body).await;
    stack.qstash.idle().await;
    let record = record(&stack, &body).await.unwrap();
    let attempts = usize::try_from(record.attempts).unwrap();
    assert_eq!((record.status, attempts), (Status::Dead, 28), "four of each of seven rounds");
    assert_eq!(received(&stack, &body).len(), 7 + 3 * attempts);
    for name in &names {
        let expected = if ["d2", "d5", "d7"].contains(&name.as_str()) { attempts } else { 1 };
        let path = format!("/{name}");
        assert_eq!(paths(&stack, &body).iter().filter(|sent| **sent == path).count(), expected, "{name}");
    }
    let error = letters(&stack).await[0]["error"].as_str().unwrap().to_owned();
    for name in ["d2: 503", "d5: 503", "d7: 503"] {
        assert!(error.contains(name), "{error}");
    }
}

#[tokio::test]
async fn conditions_on_fields_decide_who_gets_an_event() {
    let stack = stack().await;
    let sale = route(&stack, "sale", "sale", "when = [{ field = \"/entry/price\", below = 10 }]");
    let named = route(&stack, "named", "named", "when = [{ field = \"/entry/name\", prefix = \"cheap\" }]");
    let both = route(&stack, "sale-again", "sale", "events = [\"entry.create\"]");
    apply(&stack, &(sale + &named + &both)).await;
    let body = r#"{"event":"entry.update","createdAt":"x","model":"m","uid":"u","entry":{"name":"cheap","price":9}}"#;
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "processed");
    assert_eq!(paths(&stack, body), ["/named", "/sale"]);
    let dear = body.replace("cheap", "dear").replace('9', "12");
    assert_eq!(deliver(&stack, "/strapi", dear.as_bytes()).await.word(), "ignored");
    let twice = dear.replace("update", "create").replace("12", "1");
    assert_eq!(deliver(&stack, "/strapi", twice.as_bytes()).await.word(), "processed");
    assert_eq!(paths(&stack, &twice), ["/sale"], "two routes to one destination send once");
}

#[tokio::test]
async fn conditions_that_cannot_be_decided_end_as_a_dead_letter_and_not_as_ignored() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    let source = "[[source]]\nname = \"form\"\nidentity = \"body\"\n";
    let picky = format!(
        "[[route]]\nname = \"picky\"\nsource = \"form\"\nurl = \"{0}/picky\"\nwhen = [{{ field = \"/a\", equals = 1 }}]\n\
         [[route]]\nname = \"easy\"\nsource = \"form\"\nurl = \"{0}/easy\"\n",
        stack.receiver.url
    );
    apply(&stack, &format!("{source}{picky}")).await;
    let answer = deliver(&stack, "/form", b"a=1&b=2").await;
    assert!(answer.is_final() && answer.word() == "permanent-failure", "{answer:?}");
    assert_eq!(paths(&stack, "a=1&b=2"), ["/easy"], "who asks nothing gets it");
    let key = EventKey::parse(answer.body["event"].as_str().unwrap()).unwrap();
    let error = stack.store().record(&key).await.unwrap().unwrap().last_error.unwrap();
    assert!(error.text.contains("picky: its events and conditions can't be decided"), "{error:?}");
}

#[tokio::test]
async fn a_refusal_for_good_does_not_hide_the_others_and_its_letter_names_it() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    apply_paths(&stack, &["good", "strict", "flaky"]).await;
    stack.receiver.react(|received| match (received.path.as_str(), received.number) {
        ("/strict", _) => Reaction::status(422).saying("no such field"),
        ("/flaky", 0..=2) => Reaction::status(503),
        _ => Reaction::status(200),
    });
    let body = event("refused by one");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    assert_eq!(paths(&stack, &body), ["/flaky", "/flaky", "/good", "/strict"]);
    let letters = letters(&stack).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["error"], "strict: 422 no such field");
}

#[tokio::test]
async fn a_route_that_is_renamed_between_attempts_sends_nothing_again() {
    let (stack, body) = (stack().await, event("renamed"));
    let worker = half_done(&stack, &body).await;
    apply(&stack, &(route(&stack, "better", "good", "") + &route(&stack, "worse", "bad", ""))).await;
    fail_at(&stack, &[]);
    assert_eq!(attempt(&worker, &stack, &body).await, "processed");
    assert_eq!(paths(&stack, &body), ["/bad", "/bad", "/good"]);
}

#[tokio::test]
async fn a_route_that_is_moved_between_attempts_sends_to_its_new_url() {
    let (stack, body) = (stack().await, event("moved"));
    let worker = half_done(&stack, &body).await;
    apply(&stack, &(good_and_bad(&stack).0 + &route(&stack, "bad", "new", ""))).await;
    assert_eq!(attempt(&worker, &stack, &body).await, "processed");
    assert_eq!(paths(&stack, &body), ["/bad", "/good", "/new"]);
}

#[tokio::test]
async fn a_route_that_is_removed_between_attempts_holds_nothing_up() {
    let (stack, body) = (stack().await, event("removed"));
    let worker = half_done(&stack, &body).await;
    apply(&stack, &good_and_bad(&stack).0).await;
    assert_eq!(attempt(&worker, &stack, &body).await, "processed");
    assert_eq!(paths(&stack, &body), ["/bad", "/good"]);
}

#[tokio::test]
async fn a_route_that_was_removed_and_comes_back_remembers_what_it_accepted() {
    let (stack, body) = (stack().await, event("back"));
    let worker = half_done(&stack, &body).await;
    let (good, bad) = good_and_bad(&stack);
    apply(&stack, &bad).await;
    apply(&stack, &(bad + &good)).await;
    fail_at(&stack, &[]);
    assert_eq!(attempt(&worker, &stack, &body).await, "processed");
    assert_eq!(paths(&stack, &body), ["/bad", "/bad", "/good"]);
}

#[tokio::test]
async fn what_a_removed_destination_refused_is_still_a_dead_letter() {
    let stack = stack().await;
    apply_paths(&stack, &["strict", "busy"]).await;
    stack.receiver.react(|received| match received.path.as_str() {
        "/strict" => Reaction::status(422).saying("no such field"),
        _ => Reaction::status(503),
    });
    let body = event("refused and removed");
    let worker = worker(&stack).await;
    assert_eq!(attempt(&worker, &stack, &body).await, "transient-failure");
    apply_paths(&stack, &["busy"]).await;
    stack.receiver.react(|_| Reaction::status(200));
    assert_eq!(attempt(&worker, &stack, &body).await, "permanent-failure");
    assert_eq!(record(&stack, &body).await.unwrap().last_error.unwrap().text, "strict: 422 no such field");
}

/// Named after a defect: what a destination had said went with the name of its route.
#[tokio::test]
async fn what_a_renamed_destination_refused_keeps_its_words() {
    let stack = stack().await;
    apply_paths(&stack, &["strict", "busy"]).await;
    stack.receiver.react(|received| match (received.path.as_str(), received.number) {
        ("/strict", _) => Reaction::status(422).saying("no such field"),
        (_, 0..=1) => Reaction::status(503),
        _ => Reaction::status(200),
    });
    let body = event("refused and renamed");
    let worker = worker(&stack).await;
    assert_eq!(attempt(&worker, &stack, &body).await, "transient-failure");
    apply(&stack, &(route(&stack, "picky", "strict", "") + &route(&stack, "idle", "busy", ""))).await;
    assert_eq!(attempt(&worker, &stack, &body).await, "permanent-failure");
    assert_eq!(record(&stack, &body).await.unwrap().last_error.unwrap().text, "strict: 422 no such field");
}

#[tokio::test]
async fn retries_read_the_routes_version_once_a_second_and_the_routes_only_when_they_changed() {
    let (stack, body) = (stack().await, event("tried again"));
    let long = format!("headers = {{ x-long = \"{}\" }}", "x".repeat(50_000));
    let large = route(&stack, "large", "large", &long).replace("strapi", "payload");
    apply(&stack, &(good_and_bad(&stack).1 + &large)).await;
    fail_at(&stack, &["/bad"]);
    let store = stack.store().metered();
    let routes = loaded_routes(store.clone(), breakers(stack.store())).await;
    let worker = consumer_with(&stack, stack.store(), routes);
    let mut reads = Vec::new();
    for _ in 0..3 {
        let before = store.capacity().read;
        assert_eq!(attempt(&worker, &stack, &body).await, "transient-failure");
        reads.push(store.capacity().read - before);
    }
    assert_eq!(reads, [0.0, 1.0, 0.0], "units, of which a small consistent read costs one");
}

#[tokio::test]
async fn a_retry_by_a_worker_that_does_not_know_a_route_yet_does_not_forget_it() {
    let stack = stack().await;
    let (old, new) = (route(&stack, "old", "old", ""), route(&stack, "new", "new", ""));
    apply(&stack, &old).await;
    let ignorant = worker(&stack).await;
    apply(&stack, &(old + &new)).await;
    let informed = worker(&stack).await;
    fail_at(&stack, &["/new"]);
    let body = event("a new route");
    assert_eq!(attempt(&informed, &stack, &body).await, "transient-failure");
    fail_at(&stack, &[]);
    assert_eq!(attempt(&ignorant, &stack, &body).await, "processed");
    assert_eq!(paths(&stack, &body), ["/new", "/new", "/old"]);
}

#[tokio::test]
async fn destinations_of_one_event_are_reached_side_by_side() {
    let stack = stack().await;
    let paths: Vec<String> = (0..8).map(|n| format!("p{n}")).collect();
    apply_paths(&stack, &paths.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // Each waits longer than an eighth of the handler's eight seconds: one after the other they would not fit.
    stack.receiver.react(|_| Reaction::status(200).after(Duration::from_millis(1_500)));
    let body = event("side by side");
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "processed");
    assert_eq!(received(&stack, &body).len(), 8);
}
