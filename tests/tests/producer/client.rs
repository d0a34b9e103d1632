//! `surehook publish`, `sources` and `topics sync`, as processes.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{document, github, stack_with_senders};
use crate::support::{event, publish, qstash, received, run, stack, surehook};

async fn piped(stack: &surehook_local::Stack, arguments: &[&str], input: &str) -> std::process::Output {
    let mut command = surehook(stack, arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments reads nothing.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    child.wait_with_output().await.unwrap()
}

#[tokio::test]
async fn publish_sends_a_file_or_standard_input_byte_for_byte() {
    let stack = stack().await;
    crate::support::connect(&stack, "t", &[]).await;
    let (first, second) = (event("from a file"), event("from standard input") + "\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &first).unwrap();
    let ran = run(&stack, &["publish", file.path().to_str().unwrap(), "--topic", "t"]).await;
    assert!(ran.code == Some(0) && ran.out.starts_with("msg_"), "{ran:?}");
    let output =
        piped(&stack, &["publish", "--topic", "t", "--json", "--dedup-id", "d-1", "--retries", "0"], &second).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told[0]["deduplicated"], false, "{told}");
    let again = piped(&stack, &["publish", "-", "--topic", "t", "--json", "--dedup-id", "d-1"], &second).await;
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&again[0]["messageId"], &again[0]["deduplicated"]), (&told[0]["messageId"], &json!(true)));
    stack.qstash.idle().await;
    assert_eq!((received(&stack, &first).len(), received(&stack, &second).len()), (1, 1));
    assert_eq!(received(&stack, &first)[0].header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn publish_says_what_is_wrong_before_and_after_it_asks() {
    let stack = stack().await;
    for (arguments, part) in [
        (vec!["publish", "--topic", "nobody"], "no endpoints"),
        (vec!["publish", "--topic", "a/b"], "can't stand"),
        (vec!["publish", "--topic", "t", "--dedup-id", "a:b"], "colon"),
        (vec!["publish", "--topic", "t", "--delay", "soon"], "a span is"),
        (vec!["publish", "--topic", "t", "--delay", "1s", "--not-before", "2026-12-24T18:00:00Z"], "cannot be used"),
        (vec!["publish"], "--topic"),
        (vec!["publish", "/nowhere/x", "--topic", "t"], "/nowhere/x"),
        (vec!["publish", "--topic", "t", "--rate", "1"], "--flow-key"),
    ] {
        let output = piped(&stack, &arguments, "{}").await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(part), "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn topics_become_what_the_document_says_and_the_difference_is_shown_first() {
    let stack = stack().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[[topic]]\nname = \"cms\"\nsource = \"strapi\"\nalso = [\"https://other.example/x\"]\nretries = 1\n\
                headers = { Upstash-Timeout = \"20s\" }\n";
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let dry = run(&stack, &["topics", "sync", path, "--dry-run"]).await;
    for part in [
        "+ topic cms",
        "+ cms: delivers to",
        "https://other.example/x",
        "upstash-timeout: 20s",
        "upstash-failure-callback: ",
    ] {
        assert!(dry.out.to_lowercase().contains(part), "{part} in {dry:?}");
    }
    assert!(qstash(&stack).topic("cms").await.unwrap().is_none(), "shown only");
    let unasked = run(&stack, &["topics", "sync", path]).await;
    assert!(unasked.code == Some(1) && unasked.err.contains("--yes"), "{unasked:?}");
    assert_eq!(run(&stack, &["topics", "sync", path, "--yes"]).await.code, Some(0));
    qstash(&stack).add_endpoints("cms", &["https://stray.example/".to_owned()]).await.unwrap();
    let stray = run(&stack, &["topics", "sync", path, "--yes", "--json"]).await;
    let changes: Vec<Value> = stray.json().as_array().unwrap().clone();
    assert!(
        changes
            .iter()
            .any(|change| change["change"] == "endpoint_removed" && change["url"] == "https://stray.example/")
    );
    let left = run(&stack, &["topics", "sync", path, "--dry-run", "--json"]).await;
    let left: Vec<Value> = left.json().as_array().unwrap().clone();
    assert!(left.iter().all(|change| change["change"] == "headers_unseen"), "QStash does not show them: {left:?}");
    let body = event("through the synchronized topic");
    publish(&stack, "cms", &body).await;
    crate::support::until("it arrives", || async { received(&stack, &body).len() == 1 }).await;
}

#[tokio::test]
async fn topics_sync_ends_with_3_if_a_topic_differs_and_not_for_headers_that_can_not_be_compared() {
    let stack = stack().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[[topic]]\nname = \"cms\"\nsource = \"strapi\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    let check = ["topics", "sync", path, "--dry-run", "--exit-code"];
    assert_eq!(run(&stack, &check).await.code, Some(3));
    assert_eq!(run(&stack, &["topics", "sync", path, "--yes"]).await.code, Some(0));
    let same = run(&stack, &check).await;
    assert!(same.code == Some(0) && same.out.starts_with("? cms: default headers can't be compared"), "{same:?}");
    let writing = run(&stack, &["topics", "sync", path, "--exit-code"]).await;
    assert!(writing.code == Some(2) && writing.err.contains("--dry-run"), "{writing:?}");
}

#[tokio::test]
async fn a_topic_is_not_connected_to_a_source_that_does_not_exist() {
    let stack = stack_with_senders().await;
    let unknown = run(&stack, &["topics", "connect", "new", "--source", "nosuch"]).await;
    assert!(unknown.code == Some(1) && unknown.err.contains("there is no source \"nosuch\""), "{unknown:?}");
    assert!(unknown.err.contains("github") && unknown.err.contains("strapi"), "{unknown:?}");
    assert!(qstash(&stack).topic("new").await.unwrap().is_none());
    for source in ["strapi", "github"] {
        assert_eq!(run(&stack, &["topics", "connect", "new", "--source", source]).await.code, Some(0), "{source}");
    }
}

#[tokio::test]
async fn topics_sync_names_what_it_lacks() {
    let stack = stack().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let ran = run(&stack, &["topics", "sync", file.path().to_str().unwrap()]).await;
    assert!(ran.code == Some(1) && ran.err.contains("[[topic]]"), "{ran:?}");
}

#[tokio::test]
async fn sources_are_listed_with_what_to_write() {
    let stack = stack().await;
    let all = run(&stack, &["sources", "list"]).await;
    for recipe in surehook::sources::recipe::Recipe::names() {
        assert!(all.out.contains(recipe), "{all:?}");
        let one = run(&stack, &["sources", "list", recipe]).await;
        assert!(one.out.contains(&format!("recipe = \"{recipe}\"")), "{one:?}");
    }
    assert_eq!(run(&stack, &["sources", "list", "--json"]).await.json().as_array().unwrap().len(), 7);
    let unknown = run(&stack, &["sources", "list", "gitlab"]).await;
    assert!(unknown.code == Some(1) && unknown.err.contains("github"), "{unknown:?}");
}

#[tokio::test]
async fn a_capture_is_judged_as_the_functions_would() {
    let stack = stack_with_senders().await;
    let routes = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(routes.path(), document(&stack)).unwrap();
    let capture = |secret: &str| {
        let headers = github(secret, "d-1", "{\"action\":\"opened\"}");
        let headers: serde_json::Map<String, Value> =
            headers.into_iter().map(|(name, value)| (name, value.into())).collect();
        json!({"headers": headers, "body": "{\"action\":\"opened\"}"}).to_string()
    };
    let test = ["sources", "test", "-", "--source", "github", "--routes", routes.path().to_str().unwrap(), "--json"];
    let good = piped(&stack, &test, &capture("new-gh")).await;
    let told: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!((good.status.code(), &told["refused"], &told["id"]), (Some(0), &Value::Null, &json!("d-1")));
    assert_eq!((&told["eventType"], &told["destinations"]), (&json!("issues.opened"), &json!(["github"])));
    let bad = piped(&stack, &test, &capture("stolen")).await;
    assert_eq!(bad.status.code(), Some(3), "{}", String::from_utf8_lossy(&bad.stdout));
    let applied = piped(&stack, &test[..5], &capture("new-gh")).await;
    assert!(String::from_utf8_lossy(&applied.stdout).contains("believed"), "by the routes that stand");
    let secretless = run(&stack, &["sources", "test", "-", "--recipe", "stripe"]).await;
    assert!(secretless.code == Some(1), "{secretless:?}");
}
