//! Regions of QStash: which are configured, and whether one that is not published to any more is empty.

use surehook::{
    config::{QStashVariables, qstash::REGION},
    qstash::Region,
};

use super::unknown;
use crate::{
    doctor::{
        Facts, Finding, Report,
        facts::{FUNCTIONS, Leftover, Unknown},
    },
    text::counted,
};

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    unused(facts, report);
    missing(facts, report);
    for other in &facts.other_regions {
        match &other.leftover {
            Err(why) => unknown(report, "region-unknown", &format!("what QStash's region {} has", other.region), why),
            Ok(leftover) => judge_leftover(other.region, leftover, report),
        }
    }
}

/// Variables of regions count only beside `QSTASH_REGION`.
fn unused(facts: &Facts, report: &mut Report) {
    let is_unused = |name: &&&str| {
        let function = facts.function(name);
        function.text(REGION).is_empty()
            && Region::ALL.into_iter().any(|region| {
                let variables = QStashVariables::of(Some(region));
                !function.text(variables.token).is_empty() || !function.text(variables.keys[0]).is_empty()
            })
    };
    let functions: Vec<&str> = FUNCTIONS.iter().filter(is_unused).copied().collect();
    if !functions.is_empty() {
        let problem = format!("{} has variables of QStash's regions, and {REGION} is not set", functions.join(", "));
        let finding = Finding::warning("region-unused", problem)
            .happens("only QSTASH_TOKEN and the plain keys count; deliveries of other regions are answered 401")
            .mend(format!("set {REGION} to the region to publish to; docs/regions.md"));
        report.add(finding);
    }
}

/// A region that the DLQ processor calls signs what it delivers.
fn missing(facts: &Facts, report: &mut Report) {
    let called = facts.function("dlq-processor").accounts();
    for name in ["consumer", "requeuer"] {
        let known = facts.function(name).accounts();
        for account in called.iter().filter(|account| !known.contains(account)) {
            let Some(region) = account.region else { continue };
            let problem = format!("the {name} has no keys of QStash's region {region}, which the dlq-processor calls");
            let finding = Finding::error("region-missing", problem)
                .happens("what that region delivers is answered 401, and ends in its dead-letter queue")
                .mend(format!("set {} and {} of the {name}", account.keys[0], account.keys[1]));
            report.add(finding);
        }
    }
}

fn judge_leftover(region: Region, leftover: &Leftover, report: &mut Report) {
    let Leftover { messages, entries, is_whole } = *leftover;
    let least = if is_whole { "" } else { "at least " };
    if messages + entries == 0 && is_whole {
        report.right.push(format!("region {region}: QStash has no message and no entry of this stack there"));
        return;
    }
    if messages + entries == 0 {
        let why = "QStash's log and dead-letter queue are longer than what is read of them, and that part has nothing of this stack";
        return unknown(
            report,
            "region-unknown",
            &format!("all that QStash's region {region} has"),
            &Unknown::Unanswered(why.to_owned()),
        );
    }
    let entries = match entries {
        1 => "1 entry".to_owned(),
        entries => format!("{entries} entries"),
    };
    let messages = counted(messages, "message");
    let problem = format!(
        "QStash's region {region} still has {least}{messages} of this stack, and {entries} in its dead-letter queue"
    );
    let finding = Finding::warning("old-region-busy", problem)
        .happens(
            "without the token and the keys of that region its deliveries are answered 401, and its entries expire",
        )
        .mend("keep its variables until nothing is left; each sweep takes the entries; docs/regions.md");
    report.add(finding);
}
