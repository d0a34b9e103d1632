//! `surehook dead-letters replay`, as a process: what is sent, what is not, when it stops, and how it goes on.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use surehook::outside;
use surehook_local::{Stack, StackOptions, receiver::Reaction};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    operator::{fingerprint_of, letters_of, two_causes},
    support::{accepted, bury, connect, event, letters, options, publish, run, stack, stack_with, surehook, until},
};

fn count_of(ran: &Value) -> u64 {
    ran["sent"].as_u64().unwrap()
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
        let ran =
            run(&stack, &["dead-letters", "replay", "--fingerprint", &cause, "--rate", "1000/s", "--json", "--yes"])
                .await;
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
    for part in [
        "3 dead letters sent",
        "0 done, 3 failed again",
        "Stopped: 3 of 3 failed again",
        "--until 20",
        "surehook dead-letters replay --all",
    ] {
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

#[tokio::test]
async fn a_letter_that_no_route_takes_is_not_replayed_into_nothing() {
    let stack = stack().await;
    let letter = bury(&stack, &event("unrouted"), "shop: 422 x").await;
    crate::support::apply(&stack, "[[route]]\nname = \"other\"\nsource = \"payload\"\nurl = \"https://a.example/\"")
        .await;
    let ran = run(&stack, &["dead-letters", "replay", "--all", "--canary", "1"]).await;
    assert!(ran.code == Some(1) && ran.err.contains("no route takes it (entry.create of source strapi)"), "{ran:?}");
    let why = run(&stack, &["why", &letter.id()]).await;
    assert!(why.out.contains("no route takes it"), "{}", why.out);
    assert_eq!(letters_of(&stack).await, 1);
}

#[tokio::test]
async fn a_wrong_token_is_noticed_before_a_letter_is_marked() {
    let stack = stack().await;
    bury(&stack, &event("token"), "x").await;
    let mut command = surehook(&stack, &["dead-letters", "replay", "--all", "--yes"]);
    let output = command.env("QSTASH_TOKEN", "wrong").output().await.unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("401"));
    let listed = run(&stack, &["dead-letters", "list", "--json"]).await.json();
    assert_eq!(listed["letters"][0]["replaying"], false);
}

#[tokio::test]
async fn a_replay_that_qstash_does_not_confirm_is_not_called_undone() {
    let stack = stack().await;
    let letter = bury(&stack, &event("unconfirmed"), "x").await;
    stack.store().begin_replay(&letter, outside::now()).await.unwrap();
    stack.qstash.set_faults(&[surehook_local::qstash::Fault::Away]);
    let moment = crate::support::consumer::moment();
    let fuse = crate::support::fuse::Fuse::new(&stack);
    let command = serde_json::json!({"command": "replay", "selection": {"ids": [letter.id()]}});
    let error = crate::support::processor(&stack, &fuse)
        .call(serde_json::from_value(command).unwrap(), moment, 0.5)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    stack.qstash.set_faults(&[]);
    run(&stack, &["sweep"]).await;
    stack.qstash.idle().await;
    assert_eq!(accepted(&stack, &event("unconfirmed")), 1);
}

#[tokio::test]
async fn a_filter_that_is_given_but_empty_chooses_nothing() {
    let stack = stack().await;
    bury(&stack, &event("empty"), "x").await;
    for action in ["purge", "replay"] {
        let ran = run(&stack, &["dead-letters", action, "--fingerprint", "", "--yes"]).await;
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
    let function = stack.function("dlq-processor").unwrap();
    let command = serde_json::json!({"command": "purge", "selection": {"filter": {"fingerprint": ""}}});
    let refused = function.invoke(command.to_string().into()).await.unwrap_err().to_string();
    assert!(refused.contains("the filter fingerprint is empty"), "{refused}");
    assert_eq!(letters_of(&stack).await, 1);
}

#[tokio::test]
async fn a_replay_stops_opening_letters_while_qstash_takes_none() {
    let stack = stack().await;
    for number in 0..30 {
        bury(&stack, &event(&format!("{number}")), "x").await;
    }
    // The keys are there, but publishing is refused, as over a daily quota.
    let proxy = crate::support::proxy::Proxy::start(&stack.qstash.url, |request| {
        match request.uri().path().starts_with("/v2/publish") {
            true => crate::support::proxy::Verdict::Answer(429, "quota"),
            false => crate::support::proxy::Verdict::Pass,
        }
    });
    let mut command = surehook(&stack, &["dead-letters", "replay", "--all", "--canary", "20", "--json"]);
    let output = command.env("QSTASH_URL", &proxy.url).output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["stopped"].as_str().unwrap().contains("429"), "{report}");
    let listed = run(&stack, &["dead-letters", "list", "--json"]).await.json();
    let marked = listed["letters"].as_array().unwrap().iter().filter(|letter| letter["replaying"] == true).count();
    assert!((1..=8).contains(&marked), "{marked} of 30 were opened");
}

#[tokio::test]
async fn an_event_key_chooses_its_newest_letter() {
    let stack = stack().await;
    let letter = bury(&stack, &event("by key"), "x").await;
    let ran = run(&stack, &["dead-letters", "replay", letter.key.as_str(), "--canary", "1", "--json"]).await;
    assert_eq!((ran.code, ran.json()["done"].as_u64()), (Some(0), Some(1)), "{ran:?}");
}

#[tokio::test]
async fn a_dry_run_knows_which_ids_there_are() {
    let stack = stack().await;
    let letter = bury(&stack, &event("dry"), "x").await;
    let ran = run(&stack, &["dead-letters", "replay", &letter.id(), "nope", "--dry-run", "--json"]).await;
    assert_eq!((ran.code, ran.json()["wouldSend"].clone()), (Some(1), serde_json::json!([letter.id()])));
    assert!(ran.err.contains("not replayed: nope"), "{ran:?}");
    let guarded = run(&stack, &["dead-letters", "replay", "--all", "--canary", "1", "--dry-run"]).await;
    assert!(guarded.code == Some(0) && guarded.out.contains("1 dead letter would be replayed"), "{guarded:?}");
    let none = run(&stack, &["dead-letters", "replay", "--fingerprint", "ffff"]).await;
    assert!(none.code == Some(0) && none.out.contains("No dead letter matches"), "{none:?}");
}

#[tokio::test]
async fn letters_are_chosen_by_destination_and_by_a_pattern_of_types() {
    let stack = stack().await;
    bury(&stack, &event("shop"), "warehouse: 503 x; shop: 422 y").await;
    bury(&stack, &event("other"), "other: 422 the shop: said no").await;
    for (filter, count) in [
        (["--destination", "shop"], 1),
        (["--destination", "sho"], 0),
        (["--event-type", "entry.*"], 2),
        (["--event-type", "entry.creat?"], 0),
        (["--event-type", "media.*"], 0),
    ] {
        let ran = run(&stack, &[&["dead-letters", "replay", "--dry-run", "--json"][..], &filter].concat()).await;
        assert_eq!(count_of(&ran.json()), count, "{filter:?}");
    }
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
    // By a file of variables, as on the development stack: the signal must reach the process that does the work.
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = stack.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    std::fs::write(file.path(), lines).unwrap();
    let file = file.path().to_str().unwrap();
    let mut command = surehook(&stack, &["--env-file", file, "dead-letters", "replay", "--all", "--yes"]);
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
    let goes_on = format!("surehook --env-file {file} dead-letters replay --all --yes --until ");
    assert!(printed.contains(&goes_on), "{printed}");
    let until_when = printed.split("--until ").nth(1).unwrap_or_else(|| panic!("{printed}")).trim().to_owned();
    let before = letters_of(&stack).await;
    assert!(before > 0 && before < total as u64, "{before} are left");
    let rest = run(&stack, &["dead-letters", "replay", "--until", &until_when, "--json", "--yes"]).await.json();
    assert_eq!(count_of(&rest), before);
    stack.qstash.idle().await;
    assert!(bodies.iter().all(|body| accepted(&stack, body) == 1), "each arrived once");
}

/// Peak memory of a process, in kilobytes, as long as it runs.
#[cfg(target_os = "linux")]
async fn peak_memory(pid: u32) -> u64 {
    let mut peak = 0;
    while let Some(memory) = surehook_local::memory::Memory::of(pid) {
        peak = memory.peak;
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

#[tokio::test]
async fn a_command_that_asks_needs_yes_where_nobody_can_answer() {
    let stack = stack().await;
    let body = event("asked");
    let letter = bury(&stack, &body, "x").await.id();
    for arguments in [
        &["dead-letters", "replay", "--all"][..],
        &["dead-letters", "replay", "--source", "strapi", "--json"],
        &["dead-letters", "purge", "--all"],
        &["dead-letters", "purge", &letter],
        &["stranded", "--dismiss", &letter[..64]],
    ] {
        let ran = run(&stack, arguments).await;
        assert_eq!(ran.code, Some(1), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains("standard input is not a terminal") && ran.err.contains("--yes"), "{ran:?}");
    }
    assert_eq!((letters_of(&stack).await, stack.receiver.received().len()), (1, 0));
    let ran = run(&stack, &["dead-letters", "replay", "--all", "--yes"]).await;
    assert!(ran.code == Some(0) && ran.out.contains("1 dead letter sent"), "{ran:?}");
}

#[tokio::test]
async fn ids_are_accepted_by_an_unambiguous_beginning() {
    let stack = stack().await;
    let mut keys = Vec::new();
    for number in 0..3 {
        keys.push(bury(&stack, &event(&format!("{number}")), "shop: 422 x").await.key.to_string());
    }
    let first = &keys[0][..12];
    let shown = run(&stack, &["dead-letters", "show", first, "--json"]).await.json();
    assert_eq!(shown["event"].as_str(), Some(keys[0].as_str()));
    let why = run(&stack, &["why", &keys[1][..10], "--json"]).await.json();
    assert_eq!(why["event"].as_str(), Some(keys[1].as_str()));
    for short in ["", "abc", "zzzz", "0123456789abcdef"] {
        let ran = run(&stack, &["dead-letters", "show", short]).await;
        assert!(ran.code == Some(1) && ran.err.contains("there is no dead letter"), "{ran:?}");
    }
    let purged = run(&stack, &["dead-letters", "purge", first, "--yes"]).await;
    assert!(purged.out.contains("1 purged, 0 not"), "{purged:?}");
    let replayed = run(&stack, &["dead-letters", "replay", &keys[2][..8], "--json"]).await;
    assert_eq!((replayed.code, count_of(&replayed.json())), (Some(0), 1));
    assert_eq!(letters_of(&stack).await, 1);
}

#[tokio::test]
async fn a_beginning_that_several_ids_have_is_refused_with_their_names() {
    let stack = stack().await;
    let (mut ids, now) = (Vec::new(), outside::now());
    for end in ["0", "1"] {
        let key = surehook::identity::EventKey::parse(&format!("{}{end}", "ab".repeat(31) + "c")).unwrap();
        let burial = crate::support::ledger::burial(now);
        ids.push(stack.store().bury(&burial, crate::contract::letter(&key, now), b"x").await.unwrap().key.to_string());
    }
    for arguments in [&["dead-letters", "show", "abab"][..], &["why", "abab"]] {
        let ran = run(&stack, arguments).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("several ids") && ids.iter().all(|id| ran.err.contains(id)), "{ran:?}");
    }
}

#[tokio::test]
async fn printed_commands_name_the_file_of_the_variables() {
    let stack = stack().await;
    let letter = bury(&stack, &event("file"), "x").await.id();
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = stack.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    std::fs::write(file.path(), lines).unwrap();
    let file = file.path().to_str().unwrap();
    let named = |command: &str| format!("surehook --env-file {file} {command}");
    for (arguments, command) in [
        (&["why", &letter][..], format!("dead-letters show {letter}")),
        (&["dead-letters"], "dead-letters replay --fingerprint CAUSE".to_owned()),
        (&["dead-letters", "replay", &letter], "dead-letters".to_owned()),
        (&["dead-letters", "show", "0000"], "dead-letters list".to_owned()),
    ] {
        let ran = run(&stack, &[&["--env-file", file][..], arguments].concat()).await;
        let text = format!("{}{}", ran.out, ran.err);
        assert!(text.contains(&named(&command)), "{text}");
        assert!(!text.contains(&format!("surehook {command}")), "{text}");
    }
}
