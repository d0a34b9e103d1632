//! Judging facts. Each rule says what is wrong, what will happen and how to mend it, or what is right.

mod alarms;
mod concurrency;
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

use super::{Facts, Finding, Report, facts::Unknown};

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
    concurrency::judge(facts, &mut report);
    alarms::judge(facts, &mut report);
    report
}

/// Reports a fact that is not known, because silence would look like health. A rejected call (401, 403, no such table) is an error. A
/// setting that is missing is reported by the rule of settings alone.
fn unknown(report: &mut Report, code: &'static str, what: &str, why: &Unknown) {
    let problem = format!("{what} could not be read: {why}");
    let finding = match why {
        Unknown::Unset(_) => return,
        Unknown::Rejected { .. } => Finding::error(code, problem),
        Unknown::Unanswered(_) => Finding::warning(code, problem),
    };
    report.add(finding.happens("this run says nothing about it").mend(why.fix()));
}
