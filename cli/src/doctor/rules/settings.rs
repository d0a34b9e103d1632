//! Each function's own settings: whether it would start, and whether all four speak of the same stack.

use std::collections::BTreeMap;

use surehook::config::ConfigError;

use crate::doctor::{
    Facts, Finding, Report,
    facts::{FUNCTIONS, Function},
};

/// How an error begins that tells that a secret could not be asked for.
const UNREAD: &str = "it can't be read";

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let before = report.count();
    deployment(facts, report);
    bare_secrets(facts, report);
    startable(facts, report);
    agreement(facts, report);
    report.right_since(before, "settings: all four functions can start with them, and speak of the same stack");
}

/// Functions that can't be read for the same reason are reported once.
fn deployment(facts: &Facts, report: &mut Report) {
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for function in &facts.functions {
        if let Some(Err(why)) = &function.deployed {
            reasons.entry(why.to_string()).or_default().push(function.name);
        }
    }
    for (why, functions) in reasons {
        let problem = format!("functions can't be read ({}): {why}", functions.join(", "));
        let mend = "deploy the stack, and look at the region and at your permissions (lambda:GetFunctionConfiguration)";
        report.add(Finding::error("not-deployed", problem).happens("nothing of them can be checked").mend(mend));
    }
}

/// Secrets that stand in the functions' configuration as they are.
fn bare_secrets(facts: &Facts, report: &mut Report) {
    let bare = |function: &Function| {
        let names = function.lambda().map(|lambda| lambda.bare_secrets.clone()).unwrap_or_default();
        (!names.is_empty()).then(|| format!("{} of the {}", names.join(", "), function.name))
    };
    let bare: Vec<String> = facts.functions.iter().filter_map(bare).collect();
    if !bare.is_empty() && !facts.is_local() {
        let finding = Finding::warning("bare-secret", format!("secrets are kept as they are: {}", bare.join("; ")))
            .happens("everybody who may read the functions' configuration has them")
            .mend("keep them in SSM and name them there, as the template does: QSTASH_TOKEN=ssm:/<stack>/qstash-token");
        report.add(finding);
    }
}

/// Problems that several functions have are told once.
fn startable(facts: &Facts, report: &mut Report) {
    let mut problems: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in FUNCTIONS {
        let function = facts.function(name);
        if matches!(function.deployed, Some(Err(_))) {
            continue;
        }
        for problem in function.load().err().iter().flat_map(ConfigError::problems) {
            problems.entry(problem.to_owned()).or_default().push(name);
        }
    }
    for (problem, functions) in problems {
        // Who may read a secret is the function; that the doctor may not says nothing of it.
        if problem.contains(UNREAD) && facts.functions.iter().any(|function| function.lambda().is_some()) {
            let finding = Finding::warning("secret-unread", problem)
                .happens("what depends on it is not checked")
                .mend("give your AWS credentials ssm:GetParameters (or secretsmanager:GetSecretValue) on it");
            report.add(finding);
            continue;
        }
        let code = if problem.starts_with("RETENTION_DAYS") { "retention" } else { "setting" };
        let happens = format!("{} refuses to start, and nothing is delivered", functions.join(", "));
        report.add(Finding::error(code, problem).happens(happens).mend("set what it says; README, \"Configuration\""));
    }
}

/// Settings that several functions have, and which must be the same for all who have them.
fn agreement(facts: &Facts, report: &mut Report) {
    for name in [
        "TABLE_NAME",
        "STACK",
        "QSTASH_URL",
        "QSTASH_TOKEN",
        "QSTASH_REGION",
        "EU_CENTRAL_1_QSTASH_TOKEN",
        "US_EAST_1_QSTASH_TOKEN",
        "RETRY_ROUNDS",
        "QSTASH_DLQ_RETENTION_DAYS",
    ] {
        let texts = facts.functions.iter().map(|function| (function.text(name), function.name));
        let mut by_text: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (text, function) in texts.filter(|(text, _)| !text.is_empty()) {
            by_text.entry(text).or_default().push(function);
        }
        if by_text.len() > 1 {
            let groups: Vec<String> = by_text.values().map(|functions| functions.join(" and ")).collect();
            let finding =
                Finding::error("functions-differ", format!("{name} is not the same for {}", groups.join("; ")))
                    .happens("they do not find each other's events: what one writes down another does not see")
                    .mend("deploy all four functions with the same settings");
            report.add(finding);
        }
    }
}
