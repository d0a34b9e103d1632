//! `surehook doctor` and `surehook why` in a stack of two regions.

use serde_json::Value;
use surehook::qstash::Region;

use super::World;
use crate::support::{event, key, run, surehook};

/// What the doctor finds: codes and problems, then what is right.
async fn examined(world: &World, variables: &[(&str, &str)]) -> (Vec<(String, String)>, Vec<String>) {
    let mut command = surehook(&world.stack, &["doctor", "--json", "--no-canary"]);
    let output = command.envs(variables.iter().copied()).output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let right = report["right"].as_array().unwrap().iter().map(text).collect();
    (findings.map(|finding| (text(&finding["code"]), text(&finding["problem"]))).collect(), right)
}

fn problem(findings: &[(String, String)], code: &str) -> Option<String> {
    findings.iter().find(|(found, _)| found == code).map(|(_, problem)| problem.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_region_is_busy_until_nothing_of_the_stack_is_there() {
    let mut world = World::start().await;
    world.restart(Region::UsEast1, &[Region::EuCentral1]).await;
    let (findings, right) = examined(&world, &[]).await;
    assert_eq!(problem(&findings, "old-region-busy"), None, "{findings:?}");
    assert!(right.iter().any(|text| text.starts_with("region EU_CENTRAL_1")), "{right:?}");
    let body = event("waits in the old region");
    world.eu.publish(&body).await;
    // A message of another application of the account is not counted.
    let elsewhere = surehook::qstash::client::Destination::Url(format!("{}/other", world.stack.receiver.url));
    world.eu.client.publish(&elsewhere, &[], "{}".into()).await.unwrap();
    world.pass(1).await;
    let (findings, _) = examined(&world, &[]).await;
    let busy = problem(&findings, "old-region-busy").unwrap();
    assert!(busy.contains("EU_CENTRAL_1 still has 1 message of this stack, and 0 entries"), "{busy}");
    let story = run(&world.stack, &["why", key(&world.stack, &body).as_str()]).await;
    assert!(story.out.contains("QStash"), "{story:?}");
    world.receiver_is_down(false);
    world.pass(12).await;
    let (findings, _) = examined(&world, &[]).await;
    assert_eq!(problem(&findings, "old-region-busy"), None, "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_the_variables_of_regions_are_found() {
    let world = World::start().await;
    for (code, variables) in [
        ("setting", &[("QSTASH_REGION", "mars")][..]),
        ("setting", &[("US_EAST_1_QSTASH_TOKEN", "")]),
        ("setting", &[("US_EAST_1_QSTASH_NEXT_SIGNING_KEY", "")]),
        ("region-unused", &[("QSTASH_REGION", "")]),
        ("region-unknown", &[("US_EAST_1_QSTASH_TOKEN", "wrong")]),
        (
            "keys-foreign",
            &[("US_EAST_1_QSTASH_CURRENT_SIGNING_KEY", "sig_a"), ("US_EAST_1_QSTASH_NEXT_SIGNING_KEY", "sig_b")],
        ),
    ] {
        let (findings, _) = examined(&world, variables).await;
        assert!(problem(&findings, code).is_some(), "{code} for {variables:?} in {findings:?}");
    }
    let (findings, _) = examined(&world, &[]).await;
    let codes: Vec<&str> = findings.iter().map(|(code, _)| code.as_str()).collect();
    assert!(
        codes.iter().all(|code| ["topic-unseen", "topic-missing", "topic-elsewhere"].contains(code)),
        "{findings:?}"
    );
}
