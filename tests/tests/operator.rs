//! The operator's commands, as processes: what is typed, what is seen, what happens.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use surehook::{
    ledger::{Status, letter::MOST_RESPONSE},
    outside,
    store::shelves::{Order, Walk},
};
use surehook_local::{Stack, receiver::Reaction};

use crate::support::{accepted, bury, connect, event, key, ledger::claim, letters, noise, publish, record, run, stack};

/// Dead letters of two causes: orders that are unknown, and a field that is missing.
pub(crate) async fn two_causes(stack: &Stack, each: usize) -> Vec<String> {
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

pub(crate) async fn fingerprint_of(stack: &Stack, error: &str) -> String {
    let listed = run(stack, &["dead-letters", "list", "--json"]).await.json();
    let letters = listed["letters"].as_array().unwrap();
    let letter = letters.iter().find(|letter| letter["error"].as_str().unwrap().contains(error)).unwrap();
    letter["fingerprint"].as_str().unwrap().to_owned()
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
    forward(&stack, "Authorization").await;
    stack.receiver.react(|_| Reaction::status(422).saying("no \u{1b}[31mfield"));
    let body = event("show");
    let secret = [("upstash-forward-authorization", "Bearer secret"), ("upstash-forward-x-github-event", "push")];
    crate::support::publish_with(&stack, "t", &secret, &body).await;
    stack.qstash.idle().await;
    let id = letters(&stack).await[0]["id"].as_str().unwrap().to_owned();
    let ran = run(&stack, &["dead-letters", "show", &id]).await;
    for part in [
        "permanent: shop: 422 no",
        "Last answer of the consumer to QStash: 489",
        "X-Github-Event: push",
        "    shop (http://",
        ") answered 422 in ",
        "ms: no \\u{1b}[31mfield",
        "Authorization: (hidden)",
        &body,
        "fence 1",
    ] {
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

pub(crate) async fn letters_of(stack: &Stack) -> u64 {
    run(stack, &["dead-letters", "--json"]).await.json()["letters"].as_u64().unwrap()
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

/// Names of headers that were printed once, because a list of secret names did not have them.
const SECRET_HEADERS: [&str; 7] =
    ["x-auth", "apikey", "x-access-key", "x-functions-key", "x-password", "x-session-id", "x-api-key"];

async fn bury_with_secrets(stack: &Stack, name: &str) {
    let names = SECRET_HEADERS.map(|name| format!("upstash-forward-{name}"));
    let secrets: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "hush")).collect();
    crate::support::publish_with(stack, "t", &secrets, &event(name)).await;
    stack.qstash.idle().await;
}

#[tokio::test]
async fn no_command_prints_a_header_that_may_be_secret_without_being_asked() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    forward(&stack, &SECRET_HEADERS.join("\", \"")).await;
    stack.receiver.react(|_| Reaction::status(422));
    bury_with_secrets(&stack, "secrets").await;
    let id = letters(&stack).await[0]["id"].as_str().unwrap().to_owned();
    for arguments in [
        &["dead-letters", "show", &id][..],
        &["dead-letters", "show", &id, "--json"],
        &["dead-letters", "export"],
        &["dead-letters", "list", "--json"],
        &["why", &id],
        &["why", &id, "--json"],
    ] {
        let ran = run(&stack, arguments).await;
        assert!(ran.code == Some(0) && !ran.out.contains("hush"), "{arguments:?}: {ran:?}");
    }
    let headers = async |more: &[&str]| {
        let shown = run(&stack, &[&["dead-letters", "show", &id, "--json"][..], more].concat()).await.json();
        let all = shown["headers"].as_object().unwrap().clone();
        all.into_iter().map(|(name, values)| (name.to_lowercase(), values)).collect::<BTreeMap<_, _>>()
    };
    let (hidden, revealed) = (headers(&[]).await, headers(&["--reveal"]).await);
    for name in SECRET_HEADERS {
        assert_eq!((&hidden[name], &revealed[name]), (&json!(["(hidden)"]), &json!(["hush"])), "{name}");
    }
    assert_eq!(hidden["x-strapi-event"], json!(["entry.create"]));
}

#[tokio::test]
async fn an_export_has_one_letter_per_line_and_no_secrets() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    forward(&stack, "X-Api-Key").await;
    stack.receiver.react(|_| Reaction::status(422));
    for name in ["one", "two"] {
        bury_with_secrets(&stack, name).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.jsonl");
    let ran = run(&stack, &["dead-letters", "export", "--output", path.to_str().unwrap()]).await;
    assert!(ran.code == Some(0) && ran.err.contains("2 dead letters written"), "{ran:?}");
    let text = std::fs::read_to_string(&path).unwrap();
    let bodies: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].clone()).collect();
    assert_eq!(bodies, [json!(event("two")), json!(event("one"))]);
    assert!(!text.contains("hush"));
    assert!(run(&stack, &["dead-letters", "export", "--reveal"]).await.out.contains("hush"));
}

/// An export has bodies, and secrets with `--reveal`.
#[cfg(unix)]
#[tokio::test]
async fn an_export_can_be_read_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let stack = stack().await;
    let folder = tempfile::tempdir().unwrap();
    let (new, old) = (folder.path().join("new.jsonl"), folder.path().join("old.jsonl"));
    std::fs::write(&old, "an export of before").unwrap();
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o644)).unwrap();
    for path in [&new, &old] {
        let ran = run(&stack, &["dead-letters", "export", "--reveal", "-o", path.to_str().unwrap()]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
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
        let ran = run(&stack, &["stranded", "--dismiss", key.as_str(), "--yes", "--force"]).await;
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
    let sound = bury(&stack, &event("sound"), "x").await;
    let request = stack.dynamo.client().update_item().table_name(surehook_local::stack::TABLE);
    let request = request.update_expression("REMOVE #url").expression_attribute_names("#url", "url");
    let request = request.key("pk", AttributeValue::S(format!("e#{}", damaged.key)));
    let request = request.key("sk", AttributeValue::S(format!("dead-letter#{:020}", damaged.fence)));
    request.send().await.unwrap();
    let ran = run(&stack, &["dead-letters", "list"]).await;
    assert!(ran.err.contains("passed over") && ran.err.contains("url"), "{ran:?}");
    assert!(ran.out.contains(&sound.id()) && ran.code == Some(0), "{ran:?}");
    let replayed = run(&stack, &["dead-letters", "replay", "--all", "--yes"]).await;
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
        let help = run(&stack, arguments).await.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(parts.iter().all(|part| help.contains(part)), "{arguments:?}: {help}");
    }
    let bad = run(&stack, &["dead-letters", "replay", "--all", "--rate", "fast"]).await;
    assert!(bad.err.contains("50/s"), "{bad:?}");
    let bad = run(&stack, &["dead-letters", "--since", "yesterday"]).await;
    assert!(bad.err.contains("2026-11-23T10:00:00Z"), "{bad:?}");
}

/// Has the route forward a header: dead letters keep a credential only then.
async fn forward(stack: &Stack, header: &str) {
    let url = &stack.receiver.url;
    let document =
        format!("[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"{url}/shop\"\nforward = [\"{header}\"]\n");
    crate::support::apply(stack, &document).await;
}
