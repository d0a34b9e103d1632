//! Concurrent executions that the account allows, that are reserved, and that could be.

use super::unknown;
use crate::doctor::{
    Facts, Finding, Report,
    facts::{Concurrency, Unknown},
};

/// The unreserved executions that AWS keeps for functions without a reservation. Source: AWS, "Configuring reserved concurrency".
const AWS_KEEPS: i64 = 100;
/// The smallest reservation that the template takes. With fewer, a burst of a few events is throttled.
const MIN_RESERVED: i64 = 5;
/// An account whose limit AWS has not raised has this or less, and can reserve nothing. Most accounts have 1,000.
const LOW_LIMIT: i64 = 100;

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let found = match &facts.concurrency {
        None => return,
        Some(Ok(found)) => found,
        // The stack works without this permission, so its absence is a warning.
        Some(Err(why)) => {
            let why = Unknown::Unanswered(why.to_string());
            return unknown(report, "concurrency-unknown", "the account's limit of concurrent executions", &why);
        }
    };
    let before = report.count();
    if found.limit <= LOW_LIMIT {
        report.add(low_limit(found));
    }
    for (function, reserved) in found.reserved.iter().filter(|(_, reserved)| *reserved < MIN_RESERVED) {
        report.add(few_reserved(function, *reserved));
    }
    report.right_since(before, sentence(found));
}

fn low_limit(found: &Concurrency) -> Finding {
    let problem = format!("the account may run {} executions at once", found.limit);
    Finding::warning("concurrency-low", problem)
        .happens("many requests to one function throttle all functions of the account, and nothing can be reserved")
        .mend(
            "ask AWS for 1,000: aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 \
             --desired-value 1000",
        )
}

fn few_reserved(function: &str, reserved: i64) -> Finding {
    let problem = format!("the {function} may run {reserved} executions at once");
    let happens = match reserved {
        0 => "each of its invocations is throttled",
        _ => "a burst of a few events is throttled",
    };
    Finding::warning("concurrency-few", problem)
        .happens(happens)
        .mend(format!("reserve {MIN_RESERVED} or more, or none: parameters ReservedConcurrency (consumer), ProducerConcurrency, RequeuerConcurrency and SweepConcurrency"))
}

fn sentence(found: &Concurrency) -> String {
    let reserved: Vec<String> = found.reserved.iter().map(|(name, reserved)| format!("{name} {reserved}")).collect();
    let reserved = if reserved.is_empty() { "none".to_owned() } else { reserved.join(", ") };
    let fits = (found.unreserved - AWS_KEEPS).max(0);
    format!("concurrency: {} of the account, reserved: {reserved}; {fits} more can be reserved", found.limit)
}
