//! The table: as the code needs it, and safe from its owner.

use std::collections::BTreeSet;

use surehook::store::{
    inspect::{Index, Inspected},
    schema::{EXPIRY, LETTER_INDEX, LETTER_INDEX_ATTRIBUTES, OPEN_INDEX},
};

use super::unknown;
use crate::doctor::{Facts, Finding, Report};

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let before = report.count();
    let name = facts.function("dlq-processor").text("TABLE_NAME");
    match &facts.table {
        Err(why) => unknown(report, "table-unknown", "the table", why),
        Ok(None) => report.add(
            Finding::error("table-missing", format!("there is no table {name} in this region"))
                .happens("every delivery is answered 503, and ends in QStash's dead-letter queue")
                .mend("deploy the stack, or set TABLE_NAME and AWS_REGION to those of its output"),
        ),
        Ok(Some(table)) => {
            schema(table, report);
            if !facts.is_local() {
                safety(table, report);
            }
            report.right_since(before, format!("table: {name} has its keys, indexes and expiry"));
        }
    }
}

fn schema(table: &Inspected, report: &mut Report) {
    let mut wrong = |code: &'static str, problem: String, happens: &str| {
        let mend = "make it as template.yaml has it; indexes and expiry can be added to a table that is in use";
        report.add(Finding::error(code, problem).happens(happens).mend(mend));
    };
    if !table.is_active {
        wrong("table-inactive", "the table is being made or deleted".to_owned(), "calls to it fail");
    }
    if table.keys != ["pk", "sk"] {
        wrong("table-keys", format!("its keys are {:?} and not pk and sk", table.keys), "nothing can be written");
    }
    if table.expiry.as_deref() != Some(EXPIRY) {
        let is = table.expiry.as_deref().map_or("off".to_owned(), |other| format!("by {other}"));
        let happens = "done records are never removed, and the table grows for ever";
        wrong("table-expiry", format!("expiry by {EXPIRY} is not switched on; it is {is}"), happens);
    }
    let wanted = [
        (OPEN_INDEX, ["open", "open_since"], None, "stranded events are not found"),
        (LETTER_INDEX, ["dl", "dl_at"], Some(LETTER_INDEX_ATTRIBUTES), "dead letters are not listed"),
    ];
    for (name, keys, attributes, happens) in wanted {
        if let Some(problem) = index_problem(table.indexes.get(name), keys, attributes.as_ref().map(|names| &names[..]))
        {
            wrong("table-index", format!("its index {name} {problem}"), happens);
        }
    }
}

fn index_problem(index: Option<&Index>, keys: [&str; 2], attributes: Option<&[&str]>) -> Option<String> {
    let Some(index) = index else { return Some("is missing".to_owned()) };
    if index.keys != keys {
        return Some(format!("has the keys {:?} and not {keys:?}", index.keys));
    }
    let held: BTreeSet<&str> = index.attributes.iter().flatten().map(String::as_str).collect();
    match (attributes, &index.attributes) {
        // What holds everything holds what is needed.
        (_, None) => None,
        (None, Some(_)) => Some("does not hold all attributes".to_owned()),
        (Some(needed), Some(_)) => {
            let lacking: Vec<&str> = needed.iter().filter(|name| !held.contains(*name)).copied().collect();
            (!lacking.is_empty()).then(|| format!("lacks {}", lacking.join(", ")))
        }
    }
}

fn safety(table: &Inspected, report: &mut Report) {
    let mut weak = |is: bool, code: &'static str, problem: &str, happens: &str, mend: &str| {
        if is {
            report.add(Finding::warning(code, problem).happens(happens).mend(mend));
        }
    };
    let lost = "one mistaken command takes every dead letter and the memory of what is done";
    let protect = "aws dynamodb update-table --table-name … --deletion-protection-enabled";
    weak(!table.is_protected, "table-unprotected", "the table can be deleted", lost, protect);
    let recover = "aws dynamodb update-continuous-backups --table-name … --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true";
    let gone = "what is deleted or overwritten by mistake can't be restored";
    weak(table.has_backups == Some(false), "table-backups", "point-in-time recovery is off", gone, recover);
    let throttled = "a burst above its units is throttled, and answered 503";
    let on_demand = "aws dynamodb update-table --table-name … --billing-mode PAY_PER_REQUEST";
    weak(!table.is_on_demand, "table-provisioned", "the table has provisioned units", throttled, on_demand);
}
