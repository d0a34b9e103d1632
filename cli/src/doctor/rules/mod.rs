//! Judging facts. Each rule says what is wrong, what will happen and how to mend it, or what is right.

mod alarms;
mod keys;
mod limits;
mod path;
mod permissions;
mod regions;
mod settings;
mod table;
mod topics;
mod usage;

#[cfg(test)]
mod alarms_tests;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod usage_tests;

use super::{Facts, Finding, Report};

/// Judges everything.
pub(crate) fn judge(facts: &Facts) -> Report {
    let mut report = Report::default();
    settings::judge(facts, &mut report);
    limits::judge(facts, &mut report);
    keys::judge(facts, &mut report);
    table::judge(facts, &mut report);
    permissions::judge(facts, &mut report);
    topics::judge(facts, &mut report);
    usage::judge(facts, &mut report);
    regions::judge(facts, &mut report);
    path::judge(facts, &mut report);
    alarms::judge(facts, &mut report);
    report
}

/// What could not be asked. Silence would look like health.
fn unknown(report: &mut Report, code: &'static str, what: &str, why: &str) {
    let finding = Finding::warning(code, format!("{what} could not be looked at: {why}"));
    report.add(finding.happens("it may be right or wrong; nobody knows").mend(advice(why)));
}

/// What to do about an error that AWS or QStash told.
fn advice(why: &str) -> &'static str {
    let said = |part: &str| why.contains(part);
    if said("AccessDenied") || said("not authorized") {
        "give your AWS credentials the permission that the message names"
    } else if said("not found in this region") {
        "the token belongs to another region of QStash: copy token and host of the same region from the console"
    } else if said("answered 401") || said("answered 403") {
        "the token is not one of this QStash account and region: copy it from the console again (QSTASH_TOKEN, QSTASH_URL)"
    } else if said("does not take this command") {
        "deploy the stack again: its functions have another version than this command line"
    } else if said("missing") {
        "set the variable, or name a deployed stack: --stack NAME"
    } else {
        "try again; the message says who did not answer"
    }
}
