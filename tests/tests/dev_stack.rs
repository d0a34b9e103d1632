//! The development stack as a developer and a web page meet it.

use std::{path::Path, process::Stdio};

use surehook_dlq_processor::{Command, command::Selection};
use surehook_local::{Stack, StackOptions};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
};

use crate::support::{bury, event, letters, options, run, stack_with};

/// A stack whose DynamoDB is guarded, as every command but a short `load` has it.
async fn guarded() -> Stack {
    stack_with(StackOptions { has_bare_dynamo: false, ..options() }).await
}

/// The headers of requests that a page of another site can cause.
fn of_pages() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        vec![("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")],
        vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
        vec![("origin", "null")],
        // A name of the page's own that resolves to this machine.
        vec![("host", "evil.example:8000")],
    ]
}

#[tokio::test]
async fn a_page_of_another_site_reaches_no_listener_and_purges_nothing() {
    let stack = guarded().await;
    let letter = bury(&stack, &event("a letter"), "503").await;
    let host = stack.functions_url.trim_end_matches("/lambda-url");
    let invoke = format!("{host}/2015-03-31/functions/dlq-processor/invocations");
    let selection = Selection { ids: vec![letter.id()], ..Selection::default() };
    let purge = Command::Purge { selection, dry_run: false, limit: 1, after: None };
    let purge = serde_json::to_string(&purge).unwrap();
    let http = reqwest::Client::new();
    for url in [&invoke, &stack.function_url("producer/t"), &stack.qstash.url, &stack.receiver.url, &stack.dynamo.url] {
        for page in of_pages() {
            let mut request = http.post(url).header("content-type", "text/plain").body(purge.clone());
            for (name, value) in &page {
                request = request.header(*name, *value);
            }
            assert_eq!(request.send().await.unwrap().status(), 403, "{url}: {page:?}");
        }
    }
    for url in [&stack.function_url("producer/t"), &stack.receiver.url, &stack.dynamo.url] {
        let frame = http.get(url).header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
        assert_eq!(frame.send().await.unwrap().status(), 403, "{url}: it shows no page");
    }
    let preflight = http.request(http::Method::OPTIONS, &stack.dynamo.url).header("origin", "https://evil.example");
    let preflight = preflight.header("access-control-request-headers", "x-amz-target").send().await.unwrap();
    assert!(preflight.status() == 403 && preflight.headers().get("access-control-allow-origin").is_none());
    assert_eq!(http.get(&invoke).send().await.unwrap().status(), 405, "a link invokes nothing");
    assert_eq!(letters(&stack).await.len(), 1);
    assert!(stack.receiver.received().is_empty());
}

#[tokio::test]
async fn an_invocation_takes_as_much_as_on_lambda() {
    let stack = stack_with(options()).await;
    let host = stack.functions_url.trim_end_matches("/lambda-url");
    let url = format!("{host}/2015-03-31/functions/dlq-processor/invocations");
    let answer = reqwest::Client::new().post(url).body(vec![b' '; 6 * 1_024 * 1_024 + 1]).send().await.unwrap();
    assert_eq!(answer.status(), 413);
}

/// A running `surehook dev`.
struct Dev {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    banner: String,
}

impl Dev {
    /// Starts it without functions, on any ports, and reads what it says until it runs.
    async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = dev(folder);
        let mut process = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        while !banner.contains("Ctrl-C stops everything") {
            banner += &lines.next_line().await.unwrap().expect("it ends before it runs");
            banner.push('\n');
        }
        Self { process, lines, banner }
    }

    /// The URL behind a word of the banner.
    fn url(&self, word: &str) -> &str {
        let line = self.banner.lines().find_map(|line| line.trim_start().strip_prefix(word)).unwrap();
        line.split_whitespace().next().unwrap()
    }

    async fn publish(&self) -> String {
        let url = format!("{}/v2/publish/http://127.0.0.1:9/", self.url("QStash"));
        let token = surehook_local::qstash::TOKEN;
        let answer = reqwest::Client::new().post(url).bearer_auth(token).body("{}").send().await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["messageId"].as_str().unwrap().to_owned()
    }
}

fn dev(folder: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_surehook-under-test"));
    command.args(["dev", "--no-functions", "--functions-port", "0", "--qstash-port", "0", "--dynamo-port", "0"]);
    command.args(["--receiver-port", "0"]).current_dir(folder).kill_on_drop(true);
    command
}

#[tokio::test]
async fn dev_writes_its_own_file_and_refuses_one_that_it_has_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let (own, foreign) = (folder.path().join(".env.surehook"), folder.path().join(".env.local"));
    std::fs::write(&foreign, "DATABASE_URL=\"postgres://secret\"\n").unwrap();
    for _again in 0..2 {
        drop(Dev::start(folder.path(), &[]).await);
        assert!(std::fs::read_to_string(&own).unwrap().contains("TABLE_NAME=\"surehook\""));
    }
    let output = dev(folder.path()).args(["--write-env", ".env.local"]).output().await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("surehook has not written it"), "{told}");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "DATABASE_URL=\"postgres://secret\"\n");
}

#[tokio::test]
async fn a_restart_says_what_is_gone_and_repeats_no_message_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for _again in 0..2 {
        let dev = Dev::start(folder.path(), &["--data", "data"]).await;
        assert!(
            dev.banner.contains("of the last run its messages that waited")
                && dev.banner.contains(" --env-file .env.surehook stranded"),
            "{}",
            dev.banner
        );
        ids.push(dev.publish().await);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn dev_shows_the_routes_that_are_applied_the_speed_and_the_method_of_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path(), &["--speed", "600"]).await;
    for part in ["Routes (version 1):", "  strapi      http://", "600 times as fast"] {
        assert!(dev.banner.contains(part), "{part} in {}", dev.banner);
    }
    let url = format!("{}/looked", dev.url("receiver"));
    reqwest::get(url).await.unwrap();
    let mut line = String::new();
    while !line.starts_with("receiver") {
        line = dev.lines.next_line().await.unwrap().expect("it ends");
    }
    assert!(line.starts_with("receiver  200 GET /looked"), "{line}");
    let file = std::fs::read_to_string(folder.path().join(".env.surehook")).unwrap();
    assert!(file.contains("SUREHOOK_SPEED=\"600\""), "`why` says that the times are those of a fast clock: {file}");
    assert!(file.contains("ROUTES_REFRESH=\"1ms\""), "applied routes are used at once: {file}");
    drop(dev.process);
}

#[tokio::test]
async fn dev_answers_to_the_name_of_a_tunnel_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), &["--host-name", "tunnel.example"]).await;
    for url in [format!("{}/v2/keys", dev.url("QStash")), dev.url("receiver").to_owned()] {
        let status = async |host: &str| {
            reqwest::Client::new().get(&url).header("host", host).send().await.unwrap().status().as_u16()
        };
        assert_ne!(status("tunnel.example").await, 403, "{url}");
        assert_eq!(status("another.example").await, 403, "{url}");
    }
}

#[tokio::test]
async fn a_speed_that_is_none_is_refused_everywhere() {
    let stack = Stack::start(StackOptions { program: None, ..options() }).await.unwrap();
    for command in ["demo", "dev", "load", "qstash"] {
        for speed in ["0", "-1", "inf", "NaN"] {
            let ran = run(&stack, &[command, "--speed", speed]).await;
            assert!(ran.code == Some(2) && ran.err.contains("must be a number between"), "{command} {speed}: {ran:?}");
        }
    }
}
