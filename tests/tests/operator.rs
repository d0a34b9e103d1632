//! The operator's commands, as processes: what is typed, what is seen, what happens.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use serde_json::{Value, json};
use surehook::{
    ledger::{Status, letter::MOST_RESPONSE},
    outside,
    store::shelves::{Order, Walk},
};
use surehook_local::{Stack, StackOptions, receiver::Reaction};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{
    accepted, bury, connect, event, key, ledger::claim, letters, noise, options, publish, record, run, stack,
    stack_with, surehook, until,
};

/// Dead letters of two causes: orders that are unknown, and a field that is missing.
async fn two_causes(stack: &Stack, each: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for number in 0..each {
        for (name, error) in
            [("order", format!("shop: 422 order {number} unknown")), ("field", "shop: 400 no field".into())]
        {
            let body = event(&format!("{name} {number}"));
            bury(stack, &body, &error).await;
            bodies.push(body);
        }
    }
    bodies
}

async fn fingerprint_of(stack: &Stack, error: &str) -> String {
    let listed = run(stack, &["dead-letters", "list", "--json"]).await.json();
    let letters = listed["letters"].as_array().unwrap();
    let letter = letters.iter().find(|letter| letter["error"].as_str().unwrap().contains(error)).unwrap();
    letter["fingerprint"].as_str().unwrap().to_owned()
}

fn count_of(ran: &Value) -> u64 {
    ran["sent"].as_u64().unwrap()
}

#[tokio::test]
async fn many_letters_read_as_a_few_causes() {
    let stack = stack().await;
    two_causes(&stack, 8).await;
    let ran = run(&stack, &["dead-letters"]).await;
    assert!(ran.out.contains("16 dead letters of 2 causes."), "{}", ran.out);
    assert!(ran.out.starts_with("CAUSE"), "{}", ran.out);
    let counted = run(&stack, &["dead-letters", "--event-type", "entry.create", "--json"]).await.json();
    let causes = counted["causes"].as_object().unwrap();
    assert_eq!(causes.values().map(|cause| cause["letters"].as_u64().unwrap()).collect::<Vec<_>>(), [8, 8]);
    assert!(run(&stack, &["dead-letters", "--source", "none"]).await.out.contains("no dead letters of that kind"));
}

#[tokio::test]
async fn pages_of_a_list_hold_every_letter_once() {
    let stack = stack().await;
    two_causes(&stack, 6).await;
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let more = after.as_deref().map(|after| vec!["--after", after]).unwrap_or_default();
        let page = run(&stack, &[&["dead-letters", "list", "--limit", "5", "--json"][..], &more].concat()).await.json();
        let heads = page["letters"].as_array().unwrap();
        seen.extend(heads.iter().map(|head| (head["at"].as_i64().unwrap(), head["id"].as_str().unwrap().to_owned())));
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (12, 12));
    assert!(seen.is_sorted_by(|one, other| one >= other), "the newest first");
    let bad = run(&stack, &["dead-letters", "list", "--after", "nonsense"]).await;
    assert!(bad.code == Some(1) && bad.err.contains("not the end of a page"), "{bad:?}");
}

#[tokio::test]
async fn letters_of_one_millisecond_are_walked_through_in_one_order() {
    let stack = stack().await;
    let now = outside::now();
    let mut names = Vec::new();
    for number in 0..130 {
        let key = key(&stack, &event(&number.to_string()));
        let burial = crate::support::ledger::burial(now);
        let letter = stack.store().bury(&burial, crate::contract::letter(&key, now), b"x").await.unwrap();
        names.push(letter.id());
    }
    names.sort();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let (mut seen, mut after) = (Vec::new(), None);
        let store = stack.store();
        // Each walk goes on where the last was left, after one letter more than the last.
        for length in 1.. {
            let walk = Walk { after: after.clone(), ..Walk::all(order) };
            let mut shelves = store.shelves(walk).await.unwrap();
            let before = seen.len();
            while seen.len() < before + length {
                let Some(letter) = shelves.next().await.unwrap() else { break };
                after = Some(surehook::store::shelves::Place::behind(&letter));
                seen.push(letter.id());
            }
            if seen.len() < before + length {
                break;
            }
        }
        if order == Order::NewestFirst {
            seen.reverse();
        }
        assert_eq!(seen, names, "{order:?}");
    }
}

#[tokio::test]
async fn a_letter_shows_request_answer_and_history() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.receiver.react(|_| Reaction::status(422).saying("no \u{1b}[31mfield"));
    let body = event("show");
    let secret = [("upstash-forward-authorization", "Bearer secret"), ("upstash-forward-x-tenant", "17")];
    crate::support::publish_with(&stack, "t", &secret, &body).await;
    stack.qstash.idle().await;
    let id = letters(&stack).await[0]["id"].as_str().unwrap().to_owned();
    let ran = run(&stack, &["dead-letters", "show", &id]).await;
    for part in ["permanent: shop: 422 no", "Answer: 489", "x-tenant: 17", "authorization: (hidden)", &body, "fence 1"]
    {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
    assert!(!ran.out.contains('\u{1b}') && !ran.out.contains("secret"), "{}", ran.out);
    assert!(run(&stack, &["dead-letters", "show", &id, "--reveal"]).await.out.contains("Bearer secret"));
    let json = run(&stack, &["dead-letters", "show", &id, "--json"]).await;
    assert!(json.out.is_ascii(), "escapes are escaped in JSON too");
    assert_eq!(json.json()["response"]["status"], 489);
    assert_eq!(run(&stack, &["dead-letters", "show", &id, "--body"]).await.out, body);
}

#[tokio::test]
async fn a_letter_of_any_size_is_shown_exported_and_replayed_whole() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    let hex: String = noise(5_000_000).iter().map(|byte| format!("{byte:02x}")).collect();
    let body = event(&hex);
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    assert_eq!(run(&stack, &["sweep"]).await.code, Some(0));
    let id = letters(&stack).await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(run(&stack, &["dead-letters", "show", &id, "--body"]).await.out, body);
    let by_function = ["dead-letters", "show", &id, "--json", "--function", "dlq-processor"];
    assert_eq!(
        run(&stack, &by_function).await.json()["body"].as_str(),
        Some(body.as_str()),
        "in parts below Lambda's limit"
    );
    let exported = run(&stack, &["dead-letters", "export"]).await;
    assert_eq!(exported.out.lines().count(), 1);
    assert_eq!(exported.json()["body"].as_str(), Some(body.as_str()));
}

#[tokio::test]
async fn large_answers_are_kept_from_their_start() {
    let stack = stack().await;
    let other = format!("{}/other", stack.receiver.url);
    connect(&stack, "t", &[other]).await;
    stack.receiver.react(|received| match received.path == "/other" {
        true => Reaction::status(410).saying(&"x".repeat(20_000)),
        false => Reaction::status(200),
    });
    publish(&stack, "t", &event("large answer")).await;
    stack.qstash.idle().await;
    let id = letters(&stack).await[0]["id"].as_str().unwrap().to_owned();
    let shown = run(&stack, &["dead-letters", "show", &id, "--json"]).await.json();
    assert_eq!(shown["response"]["size"], 20_000);
    assert_eq!(shown["response"]["body"].as_str().unwrap().len(), MOST_RESPONSE);
}

#[tokio::test]
async fn a_cause_is_replayed_and_the_other_left_alone() {
    let stack = stack().await;
    let bodies = two_causes(&stack, 5).await;
    let cause = fingerprint_of(&stack, "no field").await;
    let dry = run(&stack, &["dead-letters", "replay", "--fingerprint", &cause, "--dry-run"]).await;
    assert_eq!(dry.out.matches("would be replayed: ").count(), 5, "{dry:?}");
    assert_eq!(letters(&stack).await.len(), 10, "nothing was done");
    for sent in [5, 0] {
        let ran = run(&stack, &["dead-letters", "replay", "--fingerprint", &cause, "--rate", "1000/s", "--json"]).await;
        assert_eq!((ran.code, count_of(&ran.json())), (Some(0), sent), "the same replay twice sends nothing twice");
        stack.qstash.idle().await;
    }
    for body in &bodies {
        assert_eq!(accepted(&stack, body), usize::from(body.contains("field")), "{body}");
    }
}

#[tokio::test]
async fn letters_are_chosen_by_ids_and_times() {
    let stack = stack().await;
    let first = bury(&stack, &event("first"), "x").await;
    let second = bury(&stack, &event("second"), "x").await;
    let until = (second.at + 1).to_string();
    let none = run(&stack, &["dead-letters", "replay", "--until", "1d", "--json"]).await.json();
    assert_eq!(count_of(&none), 0, "{until}");
    let one = run(&stack, &["dead-letters", "replay", &first.id(), "--json"]).await;
    assert_eq!((one.code, count_of(&one.json())), (Some(0), 1));
    let again = run(&stack, &["dead-letters", "replay", &first.id()]).await;
    assert!(again.code == Some(1) && again.err.contains("there is no dead letter"), "{again:?}");
    stack.qstash.idle().await;
    assert_eq!((accepted(&stack, &event("first")), accepted(&stack, &event("second"))), (1, 0));
    for nothing_chosen in [&["dead-letters", "replay"][..], &["dead-letters", "purge"]] {
        let ran = run(&stack, nothing_chosen).await;
        assert!(ran.code == Some(1) && ran.err.contains("--all"), "{ran:?}");
    }
    let both = run(&stack, &["dead-letters", "replay", &second.id(), "--source", "strapi"]).await;
    assert!(both.err.contains("not both"), "{both:?}");
}

#[tokio::test]
async fn canaries_that_fail_keep_the_others_from_being_sent() {
    let stack = stack().await;
    two_causes(&stack, 20).await;
    stack.receiver.react(|_| Reaction::status(422));
    let guarded = ["dead-letters", "replay", "--all", "--canary", "3"];
    let ran = run(&stack, &guarded).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in ["3 dead letters sent", "0 done, 3 failed again", "Stopped: 3 of 3 failed again", "--until 20"] {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
    stack.qstash.idle().await;
    assert_eq!(stack.receiver.received().len(), 3);
    stack.receiver.react(|_| Reaction::status(200));
    let ran = run(&stack, &[&guarded[..], &["--json"]].concat()).await.json();
    assert_eq!(
        (ran["sent"].as_u64(), ran["done"].as_u64(), ran["failedAgain"].as_u64()),
        (Some(40), Some(40), Some(0))
    );
    assert_eq!(letters(&stack).await.len(), 0);
}

#[tokio::test]
async fn a_replay_stops_by_itself_when_too_many_fail_again() {
    let stack = stack().await;
    let total = 300;
    for number in 0..total {
        bury(&stack, &event(&format!("{number}")), "x").await;
    }
    // The destination breaks while the replay goes on.
    stack.receiver.react(|received| Reaction::status(if received.number < 60 { 200 } else { 500 }));
    let ran =
        run(&stack, &["dead-letters", "replay", "--all", "--canary", "5", "--max-failures", "20%", "--json"]).await;
    let report = ran.json();
    assert_eq!(ran.code, Some(1), "{report}");
    assert!(report["stopped"].as_str().unwrap().contains("failed again"), "{report}");
    assert!(count_of(&report) < total, "{report}");
    let left = letters_of(&stack).await;
    assert!(left >= total - count_of(&report), "those that were not sent are still there: {left} of {report}");
}

async fn letters_of(stack: &Stack) -> u64 {
    run(stack, &["dead-letters", "--json"]).await.json()["letters"].as_u64().unwrap()
}

#[tokio::test]
async fn outcomes_that_the_ledger_does_not_follow_are_said_so() {
    let stack = stack().await;
    let other = format!("{}/other", stack.receiver.url);
    connect(&stack, "t", &[other]).await;
    stack.receiver.react(|received| Reaction::status(if received.path == "/other" { 410 } else { 200 }));
    publish(&stack, "t", &event("foreign")).await;
    stack.qstash.idle().await;
    let ran = run(&stack, &["dead-letters", "replay", "--all", "--canary", "1"]).await;
    assert!(ran.code == Some(1) && ran.out.contains("the ledger does not follow"), "{ran:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_replay_that_was_interrupted_goes_on_where_it_stopped() {
    let stack = stack_with(StackOptions { concurrency: 2, ..options() }).await;
    let total: usize = 150;
    let mut bodies = Vec::new();
    for number in 0..total {
        let body = event(&format!("{number}"));
        bury(&stack, &body, "x").await;
        bodies.push(body);
    }
    let mut command = surehook(&stack, &["dead-letters", "replay", "--all"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the first is sent", || async { !stack.receiver.received().is_empty() }).await;
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
    }
    let output = child.wait_with_output().await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(130), "{printed} {said}");
    assert!(said.contains("Ctrl-C again"), "{said}");
    let until_when = printed.split("--until ").nth(1).unwrap_or_else(|| panic!("{printed}")).trim().to_owned();
    let before = letters_of(&stack).await;
    assert!(before > 0 && before < total as u64, "{before} are left");
    let rest = run(&stack, &["dead-letters", "replay", "--until", &until_when, "--json"]).await.json();
    assert_eq!(count_of(&rest), before);
    stack.qstash.idle().await;
    assert!(bodies.iter().all(|body| accepted(&stack, body) == 1), "each arrived once");
}

#[tokio::test]
async fn a_purge_says_what_it_removes_and_asks() {
    let stack = stack().await;
    two_causes(&stack, 4).await;
    let cause = fingerprint_of(&stack, "no field").await;
    let purge = ["dead-letters", "purge", "--fingerprint", &cause];
    let asked = run(&stack, &purge).await;
    assert!(asked.code == Some(1) && asked.err.contains("4 dead letters") && asked.err.contains("--yes"), "{asked:?}");
    let dry = run(&stack, &[&purge[..], &["--dry-run"]].concat()).await;
    assert!(dry.code == Some(0) && dry.err.contains("4 dead letters"), "{dry:?}");
    assert_eq!(letters_of(&stack).await, 8);
    let purged = run(&stack, &[&purge[..], &["--yes"]].concat()).await;
    assert!(purged.code == Some(0) && purged.out.contains("4 purged, 0 not"), "{purged:?}");
    assert_eq!(letters_of(&stack).await, 4);
    assert_eq!(record(&stack, &event("field 0")).await.unwrap().status, Status::Purged);
}

#[tokio::test]
async fn an_export_has_one_letter_per_line_and_no_secrets() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.receiver.react(|_| Reaction::status(422));
    for name in ["one", "two"] {
        let secret = [("upstash-forward-x-api-key", "hush")];
        crate::support::publish_with(&stack, "t", &secret, &event(name)).await;
        stack.qstash.idle().await;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let ran = run(&stack, &["dead-letters", "export", "--output", file.path().to_str().unwrap()]).await;
    assert!(ran.code == Some(0) && ran.err.contains("2 dead letters written"), "{ran:?}");
    let text = std::fs::read_to_string(file.path()).unwrap();
    let bodies: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].clone()).collect();
    assert_eq!(bodies, [json!(event("two")), json!(event("one"))]);
    assert!(!text.contains("hush"));
    assert!(run(&stack, &["dead-letters", "export", "--reveal"]).await.out.contains("hush"));
}

#[tokio::test]
async fn a_stranded_event_is_dismissed_once_somebody_has_seen_to_it() {
    let stack = stack().await;
    let body = event("seen to");
    let key = key(&stack, &body);
    stack.store().claim(&key, &claim("dead", outside::now() - 30 * 86_400_000)).await.unwrap();
    let listed = run(&stack, &["stranded", "--deep"]).await;
    assert!(listed.out.contains(key.as_str()) && listed.out.contains("abandoned"), "{}", listed.out);
    let asked = run(&stack, &["stranded", "--dismiss", key.as_str()]).await;
    assert!(asked.code == Some(1) && asked.err.contains("--yes"), "{asked:?}");
    for _ in 0..2 {
        let ran = run(&stack, &["stranded", "--dismiss", key.as_str(), "--yes"]).await;
        assert!(ran.code == Some(0) && ran.out.contains("1 dismissed"), "{ran:?}");
    }
    assert!(run(&stack, &["stranded"]).await.out.contains("No event waits"));
    let record = stack.store().record(&key).await.unwrap().unwrap();
    assert!(record.status == Status::Purged && record.expires_at.is_some());
}

#[tokio::test]
async fn an_event_that_waits_for_its_next_attempt_is_not_dismissed() {
    let stack = stack().await;
    let key = key(&stack, &event("fresh"));
    let record = stack.store().claim(&key, &claim("w", outside::now())).await.unwrap();
    let nothing = crate::support::ledger::nothing();
    let failure = crate::support::ledger::failure();
    stack.store().fail(&key, &record, &nothing, &failure, outside::now()).await.unwrap();
    let ran = run(&stack, &["stranded", "--dismiss", key.as_str(), "nonsense", "--yes"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("not an event key") && ran.out.contains("0 dismissed, 2 not"), "{ran:?}");
    assert_eq!(stack.store().record(&key).await.unwrap().unwrap().status, Status::Retryable);
}

#[tokio::test]
async fn the_function_does_the_same_as_the_command_line() {
    let stack = stack().await;
    let letter = bury(&stack, &event("remote"), "x").await;
    let remote = async |arguments: &[&str]| {
        let ran = run(&stack, &[arguments, &["--function", "dlq-processor"]].concat()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    };
    assert!(remote(&["dead-letters"]).await.out.contains("1 dead letter of 1 cause."));
    assert!(remote(&["dead-letters", "list"]).await.out.contains(&letter.id()));
    assert!(remote(&["dead-letters", "show", &letter.id()]).await.out.contains("remote"));
    assert!(remote(&["why", &letter.id()]).await.out.contains("status       dead"));
    assert!(remote(&["stranded"]).await.out.contains("No event waits"));
    assert!(remote(&["sweep"]).await.out.contains("Looked at 0 entries"));
    assert_eq!(remote(&["dead-letters", "export"]).await.json()["head"]["id"].as_str(), Some(letter.id().as_str()));
    let replayed = remote(&["dead-letters", "replay", "--all", "--canary", "1"]).await;
    assert!(replayed.out.contains("1 dead letter sent") && replayed.out.contains("1 done"), "{replayed:?}");
    assert_eq!(accepted(&stack, &event("remote")), 1);
    let missing = run(&stack, &["dead-letters", "show", &letter.id(), "--function", "dlq-processor"]).await;
    assert!(missing.err.contains("function dlq-processor: there is no dead letter"), "{missing:?}");
    let nobody = run(&stack, &["dead-letters", "--function", "no-such-function"]).await;
    assert!(nobody.code == Some(1) && nobody.err.contains("no-such-function can't be invoked"), "{nobody:?}");
}

#[tokio::test]
async fn a_letter_that_can_not_be_read_hides_no_other() {
    use surehook::store::dynamodb::types::AttributeValue;
    let stack = stack().await;
    let damaged = bury(&stack, &event("damaged"), "x").await;
    bury(&stack, &event("sound"), "x").await;
    let request = stack.dynamo.client().update_item().table_name(surehook_local::stack::TABLE);
    let request = request.update_expression("REMOVE #url").expression_attribute_names("#url", "url");
    let request = request.key("pk", AttributeValue::S(format!("e#{}", damaged.key)));
    let request = request.key("sk", AttributeValue::S(format!("dead-letter#{:020}", damaged.fence)));
    request.send().await.unwrap();
    let ran = run(&stack, &["dead-letters", "list"]).await;
    assert!(ran.err.contains("passed over") && ran.err.contains("url"), "{ran:?}");
    assert!(ran.out.contains("ID") && ran.code == Some(0), "{ran:?}");
    let replayed = run(&stack, &["dead-letters", "replay", "--all"]).await;
    assert!(replayed.out.contains("1 dead letter sent") && replayed.err.contains("passed over"), "{replayed:?}");
}

#[tokio::test]
async fn help_answers_the_obvious_questions() {
    let stack = stack().await;
    for (arguments, parts) in [
        (&["--help"][..], &["dead-letters", "why", "stranded", "sweep"][..]),
        (
            &["dead-letters", "--help"],
            &["list", "show", "replay", "purge", "export", "--fingerprint", "--function", "--json"],
        ),
        (
            &["dead-letters", "replay", "--help"],
            &["--dry-run", "--rate", "--canary", "--max-failures", "Examples", "Ctrl-C"],
        ),
        (&["why", "--help"], &["message id", "dead letter", "webhook-id"]),
        (&["stranded", "--help"], &["--dismiss", "--deep"]),
    ] {
        let ran = run(&stack, arguments).await;
        assert!(parts.iter().all(|part| ran.out.contains(part)), "{arguments:?}: {}", ran.out);
    }
    let bad = run(&stack, &["dead-letters", "replay", "--all", "--rate", "fast"]).await;
    assert!(bad.err.contains("50/s"), "{bad:?}");
    let bad = run(&stack, &["dead-letters", "--since", "yesterday"]).await;
    assert!(bad.err.contains("2026-11-23T10:00:00Z"), "{bad:?}");
}

/// Peak memory of a process, in kilobytes, as long as it runs.
#[cfg(target_os = "linux")]
async fn peak_memory(pid: u32) -> u64 {
    let mut peak = 0;
    while let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let Some(kilobytes) = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()) else { break };
        peak = kilobytes;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    peak
}

/// Buries so many events, replays them, and says how much memory that took at its peak.
#[cfg(target_os = "linux")]
async fn memory_of_replay(stack: &Stack, letters: usize) -> u64 {
    use futures::{StreamExt, stream};
    let bury_one = async |number: usize| {
        bury(stack, &event(&format!("{letters} {number}")), &format!("order {number} unknown")).await;
    };
    stream::iter(0..letters).for_each_concurrent(8, bury_one).await;
    let mut command = surehook(stack, &["dead-letters", "replay", "--all", "--max-failures", "5%", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let peak = peak_memory(child.id().unwrap());
    let (output, peak) = tokio::join!(async { child.wait_with_output().await.unwrap() }, peak);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((count_of(&report), report["done"].as_u64()), (letters as u64, Some(letters as u64)), "{report}");
    peak
}

/// `TEST_EVENTS=10000` is the full size; `.ci/long` runs it.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_many_letters_takes_no_more_memory_than_one_of_a_few() {
    let many = outside::variable("TEST_EVENTS").and_then(|text| text.parse().ok()).unwrap_or(600);
    let stack = stack().await;
    let few = memory_of_replay(&stack, many / 10).await;
    let all = memory_of_replay(&stack, many).await;
    println!("peak memory: {few} KB for {} letters, {all} KB for {many}", many / 10);
    assert!(all < few + few / 4, "{all} KB for {many} letters, {few} KB for a tenth of them");
}
