//! `surehook load`, as a process: a small load with everything in it is proven, and one that is not settled in time is not.

use serde_json::Value;
use tokio::process::Command;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surehook-under-test"));
    command.arg("load").args(arguments).kill_on_drop(true);
    command
}

async fn report(arguments: &[&str]) -> (bool, Value) {
    let output = command(&[arguments, &["--json"]].concat()).output().await.unwrap();
    let report = serde_json::from_slice(&output.stdout);
    (output.status.success(), report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

fn all<'a>(report: &'a Value, list: &str) -> &'a [Value] {
    report[list].as_array().unwrap()
}

#[tokio::test]
async fn a_load_with_copies_and_failures_is_proven() {
    let options = ["--rate", "20", "--duration", "2s", "--duplicates", "25", "--failing", "25", "--seed", "7"];
    let (succeeded, report) = report(&[&options[..], &["--body", "300,4KB"]].concat()).await;
    assert!(succeeded && report["held"] == true, "{report:#}");
    assert!(all(&report, "verdict").iter().all(|line| line["held"] == true));
    assert_eq!((&report["events"], &report["expected"], &report["seed"]), (&40.into(), &40.into(), &7.into()));
    // Which events these are follows from the seed.
    let failed_first = report["latency"][1]["events"].as_u64().unwrap();
    assert_eq!((report["copies"].as_u64().unwrap(), failed_first), (14, 11));
    assert_eq!(report["latency"][0]["events"], 40 - failed_first);
    assert!(all(&report, "offenders").is_empty());
    if cfg!(target_os = "linux") {
        let measured = |list: &str| all(&report, list).iter().map(|part| part["what"].as_str().unwrap()).collect();
        let (memory, cpu): (Vec<&str>, Vec<&str>) = (measured("memory"), measured("cpu"));
        assert_eq!(memory, ["consumer", "requeuer", "this process"]);
        for part in ["consumer", "QStash", "DynamoDB", "Lambda host", "receiver", "generator"] {
            assert!(cpu.contains(&part), "{part} in {cpu:?}");
        }
    }
}

/// QStash comes again after a quarter of an hour, and nobody waits for that.
#[tokio::test]
async fn what_has_not_arrived_is_listed_and_the_command_fails() {
    let options = ["--rate", "max", "--in-flight", "3", "--duration", "1s", "--duplicates", "0", "--failing", "100"];
    let (succeeded, report) = report(&[&options[..], &["--speed", "0.01", "--patience", "1s"]].concat()).await;
    assert!(!succeeded && report["held"] == false, "{report:#}");
    assert_eq!((&report["events"], &report["offending"]), (&3.into(), &3.into()), "three are on their way");
    let offenders = all(&report, "offenders");
    let faults =
        |offender: &Value| offender["faults"].as_array().unwrap().iter().map(Value::to_string).collect::<String>();
    assert!(offenders.iter().all(|offender| faults(offender).contains("NOT DELIVERED")), "{report:#}");
    assert!(offenders.iter().all(|offender| faults(offender).contains("is retryable in the ledger")), "{report:#}");
    assert!(offenders.iter().all(|offender| offender["event"].as_str().unwrap().len() == 64));
}

#[tokio::test]
async fn what_can_not_be_a_load_is_said() {
    for (arguments, part) in [
        (["--rate", "fast"], "events per second"),
        (["--body", "1"], "such as 512, 10KB or 1MB"),
        (["--failing", "101"], "from 0 to 100"),
        (["--duration", "0s"], "such as 30s or 10m"),
        (["--speed", "0"], "between 0.001 and"),
    ] {
        let output = command(&arguments).output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(part), "{arguments:?}: {error}");
    }
}
