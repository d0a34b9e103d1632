//! `surehook qstash`, as a process: what its user types, and what they see.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use surehook_local::{
    qstash::{TOKEN, Visitors},
    receiver::{Reaction, Receiver},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::support::until;

struct Running {
    url: String,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surehook-under-test"));
    command.arg("qstash").args(arguments).env_remove("QSTASH_DEV_PORT").kill_on_drop(true);
    command
}

async fn start(arguments: &[&str]) -> Running {
    let all = [&["--port", "0"], arguments].concat();
    let mut process = command(&all).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    let url = first.strip_prefix("QStash is running at ").unwrap().to_owned();
    Running { url, lines, _process: process }
}

async fn receiver() -> Receiver {
    Receiver::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), Visitors::default())
}

impl Running {
    async fn post(&self, path: &str, body: &str) -> Value {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).bearer_auth(TOKEN);
        let response = request.body(body.to_owned()).send().await.unwrap();
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Value {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url)).bearer_auth(TOKEN);
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    }

    /// The next line that says that; the limit only ends a test that has failed.
    async fn says(&mut self, what: &str) -> String {
        let line = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("the process goes on");
                if line.contains(what) {
                    return line;
                }
            }
        };
        timeout(Duration::from_secs(60), line).await.unwrap_or_else(|_| panic!("no line says {what:?}"))
    }
}

#[tokio::test]
async fn the_first_lines_are_what_an_application_needs() {
    let mut running = start(&["--seed", "7"]).await;
    assert!(running.says("QSTASH_URL=").await.contains(&running.url));
    assert!(running.says("QSTASH_TOKEN=").await.contains(TOKEN));
    running.says("QSTASH_CURRENT_SIGNING_KEY=sig_").await;
    running.says("QSTASH_NEXT_SIGNING_KEY=sig_").await;
    running.says("plan   payg").await;
    running.says("seed   7").await;
    assert_eq!(running.get("/v2/keys").await["current"], surehook::qstash::DEVELOPMENT_KEYS[0]);
}

#[tokio::test]
async fn a_server_of_a_region_prints_the_variables_of_its_region_and_signs_with_keys_of_its_own() {
    let mut plain = Vec::new();
    for (region, prefix) in [("EU_CENTRAL_1", "EU_CENTRAL_1_"), ("us-east-1", "US_EAST_1_")] {
        let mut running = start(&["--region", region]).await;
        assert!(running.says(&format!("{prefix}QSTASH_URL=")).await.contains(&running.url));
        running.says(&format!("{prefix}QSTASH_TOKEN=")).await;
        plain.push(running.says(&format!("{prefix}QSTASH_CURRENT_SIGNING_KEY=sig_")).await);
        running.says(&format!("{prefix}QSTASH_NEXT_SIGNING_KEY=sig_")).await;
    }
    assert_ne!(plain[0].rsplit('=').next(), plain[1].rsplit('=').next());
}

#[tokio::test]
async fn messages_are_told_as_they_move() {
    let (mut running, receiver) = (start(&[]).await, receiver().await);
    receiver.react(|received| Reaction {
        retry_after: Some(0),
        ..Reaction::status(if received.number == 0 { 503 } else { 200 })
    });
    running.post(&format!("/v2/publish/{}/hook", receiver.url), "x").await;
    for what in ["created", "being delivered", "answered 503", "again in 0s", "being delivered", "delivered, attempt 2"]
    {
        assert!(running.says(what).await.contains(&receiver.url), "{what}");
    }
}

/// The first line is the word to begin: whoever publishes then, while the others are still being printed, is told of it.
/// More is printed than a pipe holds, so that the process can't be through with them.
#[tokio::test]
async fn what_happens_before_the_last_of_the_first_lines_is_told_too() {
    let rules = (0..4).map(|_| format!("duplicate,url=http://{}", "x".repeat(30_000))).collect::<Vec<_>>();
    let arguments: Vec<&str> = rules.iter().flat_map(|rule| ["--chaos", rule]).collect();
    let (mut running, receiver) = (start(&arguments).await, receiver().await);
    running.post(&format!("/v2/publish/{}/hook", receiver.url), "x").await;
    until("the message arrives", || async { !receiver.received().is_empty() }).await;
    for what in ["created", "being delivered", "delivered, attempt 1"] {
        assert!(running.says(what).await.contains(&receiver.url), "{what}");
    }
}

/// Three days of retries, chaos included, in as long as it takes to send a few requests.
#[tokio::test]
async fn a_story_of_three_days_is_the_same_again_with_the_same_seed() {
    async fn story() -> (Value, Value) {
        let options =
            ["--clock", "stepped", "--start", "1780000000000", "--seed", "7", "--chaos", "cut-after,share=0.5"];
        let (running, receiver) = (start(&options).await, receiver().await);
        receiver.react(|_| Reaction::status(503));
        running.post(&format!("/v2/publish/{}/hook?upstash-retries=5", receiver.url), "x").await;
        let clock = running.post("/_surehook/clock", r#"{"advance":"3d"}"#).await;
        let log = running.get("/v2/logs").await;
        let told = log["logs"].as_array().unwrap().iter();
        let told =
            told.map(|entry| json!([entry["time"], entry["state"], entry["messageId"], entry["responseStatus"]]));
        (clock, told.collect())
    }
    let (clock, told) = story().await;
    assert_eq!(clock["now"], 1_780_000_000_000_i64 + 3 * 86_400_000);
    // All six attempts are made within three days: the last is a day after the fifth.
    let attempts = told.as_array().unwrap().iter().filter(|entry| entry[1] == "ACTIVE").count();
    assert_eq!(attempts, 6);
    let cut = told.as_array().unwrap().iter().filter(|entry| entry[1] == "ERROR" && entry[3].is_null()).count();
    assert!((1..6).contains(&cut), "some answers were lost, others not: {told}");
    assert_eq!(story().await, (clock, told));
}

#[tokio::test]
async fn what_can_not_be_started_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (arguments, part) in [
        (vec!["--port", &port], "choose another with --port"),
        (vec!["--plan", "gold"], "the plans are free, payg, fixed-1m and fixed-10m"),
        (vec!["--region", "mars"], "the regions are EU_CENTRAL_1 and US_EAST_1"),
        (vec!["--speed", "0"], "a number between 0.001 and 1000000"),
        (vec!["--start", "-1"], "milliseconds since 1970"),
        (vec!["--start", "1780000000"], "milliseconds since 1970"),
        (vec!["--speed", "-1"], "a number between 0.001 and 1000000"),
        (vec!["--host", "localhost"], "names belong to --host-name"),
        (vec!["--host-name", "http://h"], "a name alone"),
        (vec!["--log-entries", "0"], "above 0"),
        (vec!["--choose", "publish-status=100"], "200 to 299"),
        (vec!["--chaos", "earthquake"], "cut-before"),
        (vec!["--choose", "publish-status"], "<name>=<value>"),
        (vec!["--choose", "color=red"], "color=red"),
        (vec!["--clock", "stepped", "--speed", "5"], "cannot be used with"),
    ] {
        let output = command(&arguments).output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(part), "{arguments:?}: {error}");
    }
}
