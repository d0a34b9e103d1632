//! `surehook why`: the story of one event, whatever names it.

use serde_json::Value;
use surehook::{outside, qstash::client::Destination};
use surehook_local::{Stack, StackOptions, qstash::Fault, receiver::Reaction};

use crate::{
    failure_path::{callback, refuse},
    support::{
        apply_paths, bury, connect, event, key, ledger::claim, letters, options, publish, publish_with, qstash,
        received, run, stack, stack_with, until,
    },
};

async fn why(stack: &Stack, subject: &str) -> Value {
    run(stack, &["why", subject, "--json"]).await.json()
}

fn texts(story: &Value) -> String {
    story["lines"].as_array().unwrap().iter().map(|line| format!("{}\n", line["text"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_done_event_tells_its_failures_and_who_accepted_it() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    refuse(&stack, 503, 2);
    let body = event("done");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    let story = why(&stack, key(&stack, &body).as_str()).await;
    assert_eq!((story["status"].as_str(), story["attempts"].as_u64()), (Some("done"), Some(3)));
    assert_eq!(story["acceptedBy"], serde_json::json!(["shop"]));
    let told = texts(&story);
    let order = ["first seen", "attempt failed (fence 1", "attempt failed (fence 2", "done"];
    let places: Vec<usize> =
        order.iter().map(|part| told.find(part).unwrap_or_else(|| panic!("{part} in {told}"))).collect();
    assert!(places.is_sorted(), "{told}");
    assert!(told.contains("QStash: RETRY 503"), "QStash's own log is part of it: {told}");
    assert!(story["next"]["text"].as_str().unwrap().starts_with("nothing"));
    assert!(story["replay"].as_str().unwrap().contains("nothing to replay"));
}

#[tokio::test]
async fn a_message_id_and_a_letter_lead_to_the_same_event() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.receiver.react(|_| Reaction::status(422).saying("no such field"));
    let body = event("buried");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    let letter = letters(&stack).await[0]["id"].as_str().unwrap().to_owned();
    let story = why(&stack, &letter).await;
    assert_eq!(story["event"].as_str(), Some(key(&stack, &body).as_str()));
    assert_eq!(story["letters"][0]["id"].as_str(), Some(letter.as_str()));
    assert!(story["lastError"].as_str().unwrap().contains("no such field"));
    let replay = story["replay"].as_str().unwrap();
    assert!(replay.contains("publish its") && replay.contains("goes to shop"), "{replay}");
    let shown = run(&stack, &["dead-letters", "show", &letter, "--json"]).await.json();
    let by_message = why(&stack, shown["messageId"].as_str().unwrap()).await;
    assert_eq!(by_message["event"], story["event"], "by QStash's log, because the message is gone");
    let by_table = run(&stack, &["why", "msg_of_another_month", "--deep"]).await;
    assert!(by_table.err.contains("nothing is known"), "{by_table:?}");
}

#[tokio::test]
async fn a_replay_would_skip_destinations_that_accepted() {
    let stack = stack().await;
    apply_paths(&stack, &["shop", "warehouse"]).await;
    connect(&stack, "t", &[]).await;
    stack.receiver.react(|received| Reaction::status(if received.path == "/shop" { 200 } else { 410 }));
    let body = event("half");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    let replay = why(&stack, key(&stack, &body).as_str()).await["replay"].as_str().unwrap().to_owned();
    assert!(replay.contains("goes to warehouse; not to shop, which accepted it"), "{replay}");
}

#[tokio::test]
async fn an_event_in_the_dead_letter_queue_waits_for_the_sweep() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    refuse(&stack, 503, 4);
    publish(&stack, "t", &event("queue")).await;
    stack.qstash.idle().await;
    let message = callback(&stack).await["sourceMessageId"].as_str().unwrap().to_owned();
    let next = why(&stack, &message).await["next"]["text"].as_str().unwrap().to_owned();
    assert!(next.contains("gave it up") && next.contains("sweep"), "{next}");
}

#[tokio::test]
async fn a_message_that_nobody_has_claimed_yet_is_known_by_qstash() {
    let stack = stack().await;
    let day = [("Upstash-Delay".to_owned(), "7d".to_owned())];
    // At the tests' speed seven days are six seconds; the story is asked for at once.
    let to = Destination::Url(stack.function_url("consumer/strapi"));
    let body = event("delayed");
    let ids = qstash(&stack).publish(&to, &day, body.clone().into()).await.unwrap();
    let story = why(&stack, &ids[0]).await;
    assert_eq!(
        (story["event"].as_str(), story["status"].as_str()),
        (Some(key(&stack, &body).as_str()), None),
        "{story}"
    );
    assert!(story["next"]["at"].as_i64().unwrap() > outside::now());
    assert!(received(&stack, &body).is_empty());
}

/// The requeuer plans the round for 30 days later. QStash, which is 2,000 times faster here, delivers it after some 20 minutes.
#[tokio::test]
async fn the_next_round_of_a_fast_stack_comes_when_qstash_says_and_not_when_the_requeuer_planned_it() {
    let environment = vec![("RETRY_LIST".to_owned(), "30d".to_owned())];
    let stack = stack_with(StackOptions { speed: 2_000.0, environment, ..options() }).await;
    connect(&stack, "t", &[]).await;
    stack.receiver.react(|_| Reaction::status(503));
    let body = event("fast");
    publish(&stack, "t", &body).await;
    let event = key(&stack, &body);
    let planned = async || stack.store().record(&event).await.unwrap().and_then(|record| record.next_at);
    until("a round is planned", || async { planned().await.is_some() }).await;
    let (planned, story, now) = (planned().await.unwrap(), why(&stack, event.as_str()).await, outside::now());
    let next = story["next"]["at"].as_i64().unwrap();
    assert!(story["next"]["text"].as_str().unwrap().contains("round 1 of 1"), "{story}");
    let told = run(&stack, &["why", event.as_str()]).await.out;
    assert!(told.contains("QStash's time passes 2000 times as fast here: an hour of its waits takes 1.8 s."), "{told}");
    assert!(next > now && next - now < (planned - now) / 1_000, "{next} is not {planned}: {story}");
}

#[tokio::test]
async fn a_worker_at_work_and_one_that_died_are_told_apart() {
    let stack = stack().await;
    let (live, dead) = (key(&stack, &event("live")), key(&stack, &event("dead")));
    stack.store().claim(&live, &claim("w", outside::now())).await.unwrap();
    stack.store().claim(&dead, &claim("w", outside::now() - 60_000)).await.unwrap();
    let of = async |subject: &str| why(&stack, subject).await["next"]["text"].as_str().unwrap().to_owned();
    assert!(of(live.as_str()).await.contains("a worker has it"));
    let abandoned = of(dead.as_str()).await;
    assert!(abandoned.contains("ended without a word") && abandoned.contains("stranded"), "{abandoned}");
}

#[tokio::test]
async fn what_is_not_known_says_where_was_looked() {
    let stack = stack().await;
    for subject in ["msg_nobody_has", &"0".repeat(64), "two words", ""] {
        let ran = run(&stack, &["why", subject]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("nothing is known of"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_story_reads_well_and_harms_no_terminal() {
    let stack = stack().await;
    let letter = bury(&stack, &event("nasty"), "shop: 422 \u{1b}[2J\u{202e}gone").await;
    let ran = run(&stack, &["why", &letter.id()]).await;
    assert!(!ran.out.contains(['\u{1b}', '\u{202e}']), "{}", ran.out);
    for part in ["status       dead", "What happened\n", "What happens next\n", "A replay would\n", "dead-letters show"]
    {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
}

#[tokio::test]
async fn a_redacted_event_leads_to_its_letter_and_back() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.receiver.react(|_| Reaction::status(422).saying("no such field"));
    let body = event("redacted");
    publish_with(&stack, "t", &[("upstash-redact-fields", "body")], &body).await;
    stack.qstash.idle().await;
    let letter = letters(&stack).await[0]["id"].as_str().unwrap().to_owned();
    let story = why(&stack, key(&stack, &body).as_str()).await;
    assert_eq!(story["letters"][0]["id"].as_str(), Some(letter.as_str()), "{story}");
    assert!(story["next"]["text"].as_str().unwrap().contains("until somebody replays"), "{story}");
    assert!(story["replay"].as_str().unwrap().contains("have QStash deliver its entry"), "{story}");
    let shown = run(&stack, &["dead-letters", "show", &letter, "--json"]).await.json();
    assert_eq!(shown["event"].as_str(), Some(key(&stack, &body).as_str()));
    assert_eq!((shown["body"].clone(), shown["bodyIsWhole"].as_bool()), (Value::Null, Some(false)));
    assert_eq!(shown["history"].as_array().unwrap().len(), 1);
    let bytes = run(&stack, &["dead-letters", "show", &letter, "--body"]).await;
    assert!(bytes.code == Some(1) && bytes.err.contains("only QStash has it"), "{bytes:?}");
    // A replay that fails again is the same letter's name, not another's.
    run(&stack, &["dead-letters", "replay", &letter]).await;
    stack.qstash.idle().await;
    let again = letters(&stack).await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(again.split('-').next(), letter.split('-').next());
}

#[tokio::test]
async fn an_event_that_nobody_wanted_says_so() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    let body = event("unwanted").replace("entry.create", "media.create");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    let ran = run(&stack, &["why", key(&stack, &body).as_str()]).await;
    assert!(ran.out.contains("done (ignored: no route took it, so nobody got it)"), "{}", ran.out);
}

#[tokio::test]
async fn a_replay_that_is_on_its_way_is_found_at_qstash() {
    let stack = stack().await;
    let body = event("under way");
    let letter = bury(&stack, &body, "x").await;
    // The consumer takes its time: until the story is told.
    stack.receiver.react(|_| Reaction::status(200).after(std::time::Duration::from_secs(2)));
    run(&stack, &["dead-letters", "replay", &letter.id()]).await;
    let record = stack.store().record(&letter.key).await.unwrap().unwrap();
    assert!(record.message_id.starts_with("msg_"), "{record:?}");
    let old = run(&stack, &["dead-letters", "show", &letter.id()]).await;
    assert!(old.err.contains("there is no dead letter"), "{old:?}");
}

#[tokio::test]
async fn a_story_tells_what_each_destination_answered_at_each_attempt() {
    let stack = stack().await;
    apply_paths(&stack, &["shop", "warehouse"]).await;
    connect(&stack, "t", &[]).await;
    stack.receiver.react(|received| match (received.path.as_str(), received.number) {
        ("/shop", 0..=1) => Reaction::status(503).saying("closed\u{1b}[2J"),
        ("/shop", 2..=3) => Reaction::status(500).saying("broken"),
        _ => Reaction::status(if received.path == "/shop" { 200 } else { 410 }).saying("no such shelf"),
    });
    let body = event("attempts");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    let story = why(&stack, key(&stack, &body).as_str()).await;
    let history = story["history"].as_array().unwrap();
    let deliveries: Vec<(&str, u64, &str)> = history
        .iter()
        .flat_map(|attempt| attempt["deliveries"].as_array().unwrap())
        .map(|failed| {
            let text = |name: &str| failed[name].as_str().unwrap();
            assert!(text("url").ends_with(text("destination")) && failed["durationMs"].is_u64(), "{failed}");
            (text("destination"), failed["status"].as_u64().unwrap(), text("reason"))
        })
        .collect();
    assert_eq!(deliveries[..2], [("shop", 503, "closed\u{1b}[2J"), ("warehouse", 410, "no such shelf")]);
    assert!(deliveries[2..].iter().all(|(name, ..)| *name == "shop"), "{deliveries:?}");
    assert!(deliveries.contains(&("shop", 500, "broken")), "{deliveries:?}");
    let ran = run(&stack, &["why", key(&stack, &body).as_str()]).await;
    for part in ["warehouse (http://", "/shop) answered 503 in ", "ms: closed\\u{1b}[2J", "/shop) answered 500 in "] {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
}

#[tokio::test]
async fn a_message_is_found_by_the_beginning_of_its_id_and_of_its_dlq_id() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    refuse(&stack, 503, 4);
    let body = event("beginning");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    let entry = qstash(&stack).dlq_page(None, 10, usize::MAX).await.unwrap().entries().next().unwrap().unwrap();
    for id in [entry.dlq_id.as_str(), &entry.dlq_id[..10], &entry.message_id[..12]] {
        assert_eq!(why(&stack, id).await["event"].as_str(), Some(key(&stack, &body).as_str()), "{id}");
    }
}
