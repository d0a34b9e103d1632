//! `surehook alarms`, and what the doctor says of alarms, as processes against an account of the test's own.

mod cbor;
mod cloud;

use std::process::Stdio;

use serde_json::{Value, json};
use surehook_tests::template::Template;
use tokio::process::Command;

use crate::support::{Ran, stack, surehook, until};
use cloud::{Cloud, FUNCTION, TOPIC};

const DEAD_LETTERS: &str = "local-DeadLetterAlarm-1AB2C3";
const SWEEP_SILENT: &str = "local-SweepSilentAlarm-4DE5F6";
/// Of the stack `local-b`.
const FOREIGN: &str = "local-b-DeadLetterAlarm-7GH8I9";
const ALARMS: [&str; 3] = [FOREIGN, DEAD_LETTERS, SWEEP_SILENT];

/// An account whose alarms reach one of two addresses.
fn heard() -> Cloud {
    Cloud::start(&ALARMS, &[TOPIC]).subscribed("email", "bob@example.com", false).subscribed(
        "email",
        "alice@example.com",
        true,
    )
}

fn command(cloud: &Cloud, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surehook-under-test"));
    command.args(["alarms"]).args(arguments).env_clear().env("AWS_ENDPOINT_URL", &cloud.url);
    command.envs([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_REGION", "us-east-1")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(cloud: &Cloud, arguments: &[&str]) -> Ran {
    let output = command(cloud, arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The states that alarms were set to, one after the other.
fn states(cloud: &Cloud) -> Vec<[String; 2]> {
    cloud.set().into_iter().map(|[alarm, state, _]| [alarm, state]).collect()
}

fn owned(states: &[[&str; 2]]) -> Vec<[String; 2]> {
    states.iter().map(|one| one.map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_test_names_the_addresses_that_it_reached_and_sets_the_state_back() {
    let cloud = heard().with(|account| account.late = 1);
    let ran = run(&cloud, &["test", "--stack", "local"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for line in ["  reached      email a…@example.com", "  not reached  email b…@example.com (not confirmed"] {
        assert!(ran.out.contains(line), "{ran:?}");
    }
    assert!(!ran.out.contains("alice") && !ran.err.contains("alice"), "{ran:?}");
    assert_eq!(states(&cloud), owned(&[[DEAD_LETTERS, "ALARM"], [DEAD_LETTERS, "OK"]]));
    assert!(cloud.set()[0][2].contains("nothing is wrong"), "the message calls itself a test");
}

#[tokio::test]
async fn programs_get_json() {
    let cloud = heard().with(|account| account.actions.push(FUNCTION.to_owned()));
    let report = run(&cloud, &["test", "--stack", "local", "--alarm", SWEEP_SILENT, "--json"]).await.json();
    assert_eq!((&report["alarm"], &report["state"]), (&SWEEP_SILENT.into(), &"OK".into()), "{report}");
    let [topic, function] = report["actions"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&topic["action"], &topic["outcome"]), (&TOPIC.into(), &"executed".into()));
    assert_eq!(topic["reached"], json!([{ "protocol": "email", "endpoint": "a…@example.com", "isConfirmed": true }]));
    assert_eq!(topic["notReached"].as_array().unwrap().len(), 1);
    assert_eq!((&function["action"], &function["reached"]), (&FUNCTION.into(), &Value::Array(Vec::new())));
}

#[tokio::test]
async fn a_test_that_reaches_no_confirmed_subscription_ends_with_3() {
    let pending = || Cloud::start(&ALARMS, &[TOPIC]).subscribed("email", "bob@example.com", false);
    for (cloud, told) in [
        (pending(), "not confirmed"),
        (Cloud::start(&ALARMS, &[TOPIC]), "has no subscriptions"),
        (Cloud::start(&ALARMS, &[FUNCTION]), "can't be verified"),
        (heard().with(|account| account.failing.insert(TOPIC.to_owned())), "Resource does not exist"),
        (heard().with(|account| account.late = usize::MAX), "reported nothing in time"),
    ] {
        let ran = run(&cloud, &["test", "--stack", "local", "--patience", "1s"]).await;
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert!(ran.out.contains(told), "{told}: {ran:?}");
        assert_eq!(cloud.state(DEAD_LETTERS), "OK");
    }
}

#[tokio::test]
async fn an_alarm_that_rings_already_is_left_alone() {
    let cloud = heard().with(|account| account.states.insert(DEAD_LETTERS.to_owned(), "ALARM".to_owned()));
    let ran = run(&cloud, &["test", "--stack", "local"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("in ALARM already") && ran.err.contains("SweepSilentAlarm"), "{ran:?}");
    assert!(cloud.set().is_empty());
    let other = run(&cloud, &["test", "--stack", "local", "--alarm", "SweepSilentAlarm"]).await;
    assert_eq!(other.code, Some(0), "{other:?}");
    assert_eq!(states(&cloud), owned(&[[SWEEP_SILENT, "ALARM"], [SWEEP_SILENT, "OK"]]));
}

#[tokio::test]
async fn what_can_not_be_tested_says_why_and_rings_nothing() {
    let denied = |operation| heard().with(move |account| account.denied.insert(operation));
    for (cloud, stack, alarm, told) in [
        (heard(), "other", "DeadLetterAlarm", "stack other has no alarms"),
        (heard(), "local", "NoAlarm", "has no alarm NoAlarm; it has DeadLetterAlarm, SweepSilentAlarm"),
        (Cloud::start(&ALARMS, &[]), "local", "DeadLetterAlarm", "AlarmEmail"),
        (denied("DescribeAlarms"), "local", "DeadLetterAlarm", "cloudwatch:DescribeAlarms"),
        (denied("DescribeAlarmHistory"), "local", "DeadLetterAlarm", "cloudwatch:DescribeAlarmHistory"),
        (denied("ListSubscriptionsByTopic"), "local", "DeadLetterAlarm", "SNS:ListSubscriptionsByTopic"),
        (denied("SetAlarmState"), "local", "DeadLetterAlarm", "cloudwatch:SetAlarmState"),
    ] {
        let ran = run(&cloud, &["test", "--stack", stack, "--alarm", alarm]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains(told), "{told}: {ran:?}");
        assert!(cloud.set().is_empty());
    }
    let unnamed = run(&heard(), &["test"]).await;
    assert!(unnamed.code == Some(2) && unnamed.err.contains("--stack"), "{unnamed:?}");
}

#[tokio::test]
async fn a_state_that_can_not_be_set_back_is_an_error_with_the_command_that_does_it() {
    let cloud = heard().with(|account| account.denied_state = "OK");
    let ran = run(&cloud, &["test", "--stack", "local", "--json"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let command = format!("aws cloudwatch set-alarm-state --alarm-name {DEAD_LETTERS} --state-value OK");
    assert!(ran.err.contains("could not be set back") && ran.err.contains(&command), "{ran:?}");
    assert!(ran.json()["error"].as_str().unwrap().contains("could not be set back"), "{ran:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_state_is_set_back_when_the_operator_stops_the_test() {
    let cloud = heard().with(|account| account.late = usize::MAX);
    let child = command(&cloud, &["test", "--stack", "local"]).spawn().unwrap();
    until("the alarm rings", async || cloud.state(DEAD_LETTERS) == "ALARM").await;
    let stopped = Command::new("kill").args(["-INT", &child.id().unwrap().to_string()]).status().await.unwrap();
    assert!(stopped.success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(states(&cloud), owned(&[[DEAD_LETTERS, "ALARM"], [DEAD_LETTERS, "OK"]]));
}

#[tokio::test]
async fn alarms_are_listed_with_their_states() {
    let cloud = heard().with(|account| account.states.insert(SWEEP_SILENT.to_owned(), "ALARM".to_owned()));
    let ran = run(&cloud, &["list", "--stack", "local"]).await;
    let rows: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows, [["ALARM", "STATE"], ["DeadLetterAlarm", "OK"], ["SweepSilentAlarm", "ALARM"]], "{ran:?}");
    assert!(ran.out.contains("2023-11-14T22:13:20Z"), "{ran:?}");
    let json = run(&cloud, &["list", "--stack", "local", "--json"]).await.json();
    assert_eq!((&json[1]["name"], &json[1]["state"]), (&SWEEP_SILENT.into(), &"ALARM".into()), "{json}");
}

/// What the doctor says of alarms: codes, and the line that it found right.
async fn examined(cloud: &Cloud) -> (Vec<String>, Vec<String>) {
    let stack = stack().await;
    let mut command = surehook(&stack, &["doctor", "--stack", "local", "--no-canary", "--json"]);
    command.env("AWS_ENDPOINT_URL_CLOUDWATCH", &cloud.url).env("AWS_ENDPOINT_URL_SNS", &cloud.url);
    let report: Value = serde_json::from_slice(&command.output().await.unwrap().stdout).unwrap();
    let texts = |list: &str, name: &str| {
        let found = report[list].as_array().unwrap().iter();
        let text = |one: &Value| one.as_str().or(one[name].as_str()).unwrap().to_owned();
        found.map(text).filter(|text| text.starts_with("alarm") || text == "no-alarms").collect()
    };
    (texts("findings", "code"), texts("right", ""))
}

#[tokio::test]
async fn the_doctor_finds_alarms_that_reach_no_address() {
    for (cloud, expected) in [
        (Cloud::start(&[FOREIGN], &[TOPIC]), "no-alarms"),
        (Cloud::start(&ALARMS, &[]), "alarms-unheard"),
        (Cloud::start(&ALARMS, &[TOPIC]).subscribed("email", "bob@example.com", false), "alarms-unheard"),
        (Cloud::start(&ALARMS, &[TOPIC]), "alarms-unheard"),
        (heard().with(|account| account.denied.insert("DescribeAlarms")), "alarms-unknown"),
        (heard().with(|account| account.denied.insert("ListSubscriptionsByTopic")), "alarm-topic-unknown"),
    ] {
        assert_eq!(examined(&cloud).await, (vec![expected.to_owned()], vec![]));
    }
    let right = "alarms: 2 alarms, sent to 1 confirmed subscription (email: 1)".to_owned();
    assert_eq!(examined(&heard()).await, (vec!["alarm-pending".to_owned()], vec![right]));
}

/// The command line tells a stack's alarms from another's by these names.
#[test]
fn every_alarm_of_the_template_has_a_name_that_the_command_line_knows() {
    let template = Template::load();
    for (id, alarm) in template.resources_of("AWS::CloudWatch::Alarm") {
        assert!(id.ends_with("Alarm") && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert!(alarm["Properties"].get("AlarmName").is_none(), "{id} has a name of its own");
    }
    assert!(template.resource("DeadLetterAlarm").is_object(), "a test rings it unless another is named");
    assert!(
        template.resources_of("AWS::CloudWatch::CompositeAlarm").is_empty(),
        "the command line reads metric alarms"
    );
}
