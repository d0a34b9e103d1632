//! What no development stack can show: Amazon's own safety, clocks that differ, answers of strangers.

use std::{collections::HashMap, time::Duration};

use surehook::{
    config::Variables,
    qstash::{Region, client::KeyPair},
    routes::Routes,
    store::{
        inspect::{Index, Inspected},
        schema::{EXPIRY, LETTER_INDEX, LETTER_INDEX_ATTRIBUTES, OPEN_INDEX},
    },
    web::EndpointUrl,
};
use surehook_dlq_processor::reply::Permissions;

use super::judge;
use crate::doctor::{
    Facts,
    facts::{Answer, Concurrency, Deployed, FUNCTIONS, Function, Leftover, OtherRegion, Probe, Unknown, Waiting},
    report::Severity,
};

const CONSUMER: &str = "https://c.lambda-url.eu-west-1.on.aws/";
const REQUEUER: &str = "https://r.lambda-url.eu-west-1.on.aws/";

fn variables() -> HashMap<&'static str, &'static str> {
    HashMap::from([
        ("TABLE_NAME", "t"),
        ("QSTASH_TOKEN", "token"),
        ("QSTASH_CURRENT_SIGNING_KEY", "sig_current"),
        ("QSTASH_NEXT_SIGNING_KEY", "sig_next"),
        ("CONSUMER_URL", CONSUMER),
        ("REQUEUER_URL", REQUEUER),
        ("PRODUCER_TOKEN", "a token of these tests"),
        ("SIGNING_SECRETS", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
    ])
}

fn function(name: &'static str) -> Function {
    let url = match name {
        "consumer" => Some(CONSUMER),
        "requeuer" => Some(REQUEUER),
        "producer" => Some("https://p.lambda-url.eu-west-1.on.aws/"),
        _ => None,
    };
    let url = url.map(|url| (EndpointUrl::parse(url).unwrap(), true));
    let timeout = Duration::from_secs(if name == "dlq-processor" { 900 } else { 20 });
    let table = variables();
    let variables = Variables::plain(move |name| table.get(name).map(|value| (*value).to_owned()));
    Function { name, variables, deployed: Some(Ok(Deployed { timeout, url: Ok(url), bare_secrets: Vec::new() })) }
}

fn index(keys: [&str; 2], attributes: Option<&[&str]>) -> Index {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Index { keys: owned(&keys), attributes: attributes.map(owned) }
}

fn table() -> Inspected {
    Inspected {
        is_active: true,
        keys: vec!["pk".into(), "sk".into()],
        indexes: [
            (OPEN_INDEX.to_owned(), index(["open", "open_since"], None)),
            (LETTER_INDEX.to_owned(), index(["dl", "dl_at"], Some(&LETTER_INDEX_ATTRIBUTES))),
        ]
        .into(),
        expiry: Some(EXPIRY.to_owned()),
        is_on_demand: true,
        is_protected: true,
        has_backups: Some(true),
    }
}

/// A stack on Amazon's cloud about which there is nothing to say, but that it has no topics yet.
pub(super) fn facts() -> Facts {
    Facts {
        now: 1_700_000_000_500,
        qstash_clock: Ok(Some(1_700_000_000_000)),
        functions: FUNCTIONS.map(function).into(),
        keys: Ok(KeyPair { current: "sig_current".into(), next: "sig_next".into() }),
        topics: Ok(Vec::new()),
        table: Ok(Some(table())),
        routes: Ok(Routes { version: 1, ..Routes::default() }),
        usage: None,
        waiting: Ok(Waiting::default()),
        alarms: None,
        concurrency: None,
        permissions: Ok(Permissions::default()),
        other_regions: Vec::new(),
        probes: Vec::new(),
        canary: None,
    }
}

pub(super) fn codes(facts: &Facts) -> Vec<&'static str> {
    judge(facts).findings.iter().map(|finding| finding.code).filter(|code| *code != "no-topics").collect()
}

/// The codes, and how bad each finding is.
pub(super) fn judged(facts: &Facts) -> Vec<(&'static str, Severity)> {
    let findings = judge(facts).findings.into_iter().filter(|finding| finding.code != "no-topics");
    findings.map(|finding| (finding.code, finding.severity)).collect()
}

/// The codes of facts that are changed.
fn with(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
    let mut facts = facts();
    change(&mut facts);
    codes(&facts)
}

#[test]
fn a_deployed_stack_in_order_has_no_findings() {
    assert_eq!(codes(&facts()), [""; 0]);
}

#[test]
fn nothing_is_right_about_functions_that_were_not_read() {
    for was_asked in [false, true] {
        let mut facts = facts();
        for function in &mut facts.functions {
            function.variables = Variables::plain(|_| None);
            function.deployed = was_asked.then(|| Err(Unknown::Unanswered("no answer".to_owned())));
        }
        let unset = || Unknown::Unset("TABLE_NAME is missing".to_owned());
        facts.keys = Err(unset());
        facts.topics = Err(unset());
        facts.table = Err(unset());
        facts.routes = Err(unset());
        facts.qstash_clock = Err(unset());
        facts.permissions = Err(unset());
        facts.waiting = Err(unset());
        let report = judge(&facts);
        assert_eq!((report.right, report.findings.is_empty()), (Vec::<String>::new(), false));
    }
}

#[test]
fn the_accounts_limit_of_executions_says_what_fits() {
    let judged = |limit, unreserved, reserved: &[(&'static str, i64)]| {
        let mut facts = facts();
        facts.concurrency = Some(Ok(Concurrency { limit, unreserved, reserved: reserved.to_vec() }));
        (codes(&facts), judge(&facts).right.into_iter().find(|text| text.starts_with("concurrency: ")))
    };
    assert_eq!(judged(10, 10, &[]), (vec!["concurrency-low"], None));
    assert_eq!(judged(1_000, 998, &[("producer", 2)]), (vec!["concurrency-few"], None));
    let right = "concurrency: 1000 of the account, reserved: consumer 50; 850 more can be reserved";
    assert_eq!(judged(1_000, 950, &[("consumer", 50)]), (vec![], Some(right.to_owned())));
}

#[test]
fn clocks_that_differ_are_found_and_a_second_is_no_difference() {
    for (skew, expected) in [(0, 0), (3_000, 0), (-3_000, 0), (40_000, 1), (-40_000, 1)] {
        let found = with(|facts| facts.now += skew);
        assert_eq!(found.iter().filter(|code| **code == "clock-skew").count(), expected, "{skew}");
    }
}

#[test]
fn a_table_that_its_owner_can_lose_is_found() {
    let unsafe_table = Inspected { is_on_demand: false, is_protected: false, has_backups: Some(false), ..table() };
    let found = with(|facts| facts.table = Ok(Some(unsafe_table)));
    assert_eq!(found, ["table-unprotected", "table-backups", "table-provisioned"]);
    // Who may not ask about backups is not told that there are none.
    assert_eq!(with(|facts| facts.table = Ok(Some(Inspected { has_backups: None, ..table() }))), [""; 0]);
}

#[test]
fn an_index_that_lacks_an_attribute_is_found_and_one_that_holds_all_is_not() {
    let mut narrow = table();
    narrow.indexes.insert(LETTER_INDEX.to_owned(), index(["dl", "dl_at"], Some(&LETTER_INDEX_ATTRIBUTES[1..])));
    assert_eq!(with(|facts| facts.table = Ok(Some(narrow))), ["table-index"]);
    let mut wide = table();
    wide.indexes.insert(LETTER_INDEX.to_owned(), index(["dl", "dl_at"], None));
    assert_eq!(with(|facts| facts.table = Ok(Some(wide))), [""; 0]);
}

#[test]
fn a_function_url_that_is_missing_or_asks_for_credentials_is_found() {
    let found = with(|facts| {
        for function in &mut facts.functions {
            if let Some(Ok(deployed)) = &mut function.deployed {
                match function.name {
                    "consumer" => deployed.url = Ok(None),
                    "requeuer" => deployed.url = deployed.url.clone().map(|url| url.map(|(url, _)| (url, false))),
                    _ => {}
                }
            }
        }
    });
    assert_eq!(found, ["no-url", "url-auth"]);
}

#[test]
fn a_function_that_outlives_qstashs_patience_is_found() {
    let found = with(|facts| {
        if let Some(Ok(consumer)) = &mut facts.functions[0].deployed {
            consumer.timeout = Duration::from_secs(901);
        }
    });
    assert_eq!(found, ["qstash-timeout"]);
}

#[test]
fn each_answer_of_a_url_says_what_to_mend() {
    for (status, word, expected) in [
        (200, "ignored", ""),
        (401, "unauthorized", ""),
        (401, "signature-refused", "signature-refused"),
        (403, "", "forbidden"),
        (503, "store-away", "store-away"),
        (503, "source-unconfigured", "old-version"),
        (503, "qstash-away", "qstash-away"),
        (502, "", "crashes"),
        (404, "", "not-ours"),
        (200, "", "not-ours"),
    ] {
        let answer = Answer { status, word: word.to_owned() };
        let probe = Probe { function: "consumer", url: CONSUMER.to_owned(), answer: Ok(answer) };
        let found = with(|facts| facts.probes.push(probe));
        assert_eq!(found.concat(), expected, "{status} {word}");
    }
}

#[test]
fn a_secret_that_only_the_doctor_may_not_read_is_no_error() {
    let report = {
        let mut facts = facts();
        let denied = Err(Unknown::Unanswered("AccessDeniedException".to_owned()));
        facts.keys = denied;
        judge(&facts)
    };
    assert_eq!(report.exit_code(), 1, "{report:?}");
}

#[test]
fn a_denied_transaction_is_an_error_of_the_role_and_a_warning_for_the_shell() {
    let denied = |facts: &mut Facts| facts.permissions = Ok(Permissions { denied: Some("not authorized".to_owned()) });
    let mut deployed = facts();
    denied(&mut deployed);
    assert_eq!((codes(&deployed), judge(&deployed).exit_code()), (vec!["transactions-denied"], 2));
    let mut shell = facts();
    denied(&mut shell);
    shell.functions.iter_mut().for_each(|function| function.deployed = None);
    assert_eq!((codes(&shell), judge(&shell).exit_code()), (vec!["transactions-denied"], 1));
}

#[test]
fn a_processor_that_could_not_be_asked_is_one_finding() {
    let away = || Unknown::Unanswered("it does not take this command".to_owned());
    assert_eq!(with(|facts| facts.permissions = Err(away())), ["permissions-unknown"]);
    let found = with(|facts| {
        facts.permissions = Err(away());
        facts.waiting = Err(away());
    });
    assert_eq!(found, ["processor"]);
}

/// Gives functions these variables beside their own.
fn set(facts: &mut Facts, functions: &[&str], more: &'static [(&'static str, &'static str)]) {
    for function in facts.functions.iter_mut().filter(|function| functions.contains(&function.name)) {
        let own = function.variables.clone();
        let value = move |name: &str| {
            let added = more.iter().find(|(added, _)| *added == name).map(|(_, value)| (*value).to_owned());
            added.or_else(|| own.get(name).ok().flatten())
        };
        function.variables = Variables::plain(value);
    }
}

const EU: [(&str, &str); 4] = [
    ("QSTASH_REGION", "EU_CENTRAL_1"),
    ("EU_CENTRAL_1_QSTASH_TOKEN", "token"),
    ("EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY", "sig_current"),
    ("EU_CENTRAL_1_QSTASH_NEXT_SIGNING_KEY", "sig_next"),
];

#[test]
fn an_old_region_that_is_not_empty_or_not_seen_whole_is_found() {
    let code = |messages, entries, is_whole| {
        with(|facts| {
            set(facts, &FUNCTIONS, &EU);
            let keys = Ok(KeyPair { current: "sig_us".into(), next: "sig_us_next".into() });
            let leftover = Ok(Leftover { messages, entries, is_whole });
            facts.other_regions = vec![OtherRegion { region: Region::UsEast1, keys, leftover }];
        })
    };
    assert_eq!(code(0, 0, true), [""; 0]);
    for (messages, entries, is_whole) in [(1, 0, true), (0, 1, true), (1, 1, false)] {
        assert_eq!(code(messages, entries, is_whole), ["old-region-busy"]);
    }
    assert_eq!(code(0, 0, false), ["region-unknown"], "an account with many messages of others proves nothing");
}

#[test]
fn a_function_without_the_keys_of_a_region_that_is_called_is_found() {
    let found = with(|facts| {
        set(facts, &FUNCTIONS, &EU);
        set(facts, &["dlq-processor"], &[("US_EAST_1_QSTASH_TOKEN", "us-token")]);
    });
    assert_eq!(found, ["region-missing", "region-missing"]);
}

#[test]
fn variables_of_a_region_without_a_region_to_publish_to_are_found() {
    assert_eq!(with(|facts| set(facts, &FUNCTIONS, &EU[1..])), ["region-unused"]);
}
