//! Routes that take nothing: found where the records prove it, and nowhere else.

use surehook::{
    ledger::{Claim, Record, Status},
    routes::Routes,
    store::inspect::Recent,
};

use super::{
    judge,
    rules_tests::{codes, facts, judged},
};
use crate::doctor::{
    Facts,
    facts::{Unknown, Usage},
    report::Severity,
};

const SINCE: i64 = 1_700_000_000_000;
const DOCUMENT: &str = r#"
    [[route]]
    name = "shop"
    source = "strapi"
    events = ["entry.*"]
    url = "https://shop.example/"

    [[route]]
    name = "typo"
    source = "strapi"
    events = ["entri.*"]
    url = "https://typo.example/"

    [[route]]
    name = "quiet"
    source = "payload"
    url = "https://quiet.example/"
"#;

fn routes() -> Routes {
    Routes::compile(DOCUMENT, &Routes::default()).unwrap()
}

fn id(route: &str) -> String {
    routes().by_name(route).unwrap().id.clone()
}

/// An event of Strapi that is done, and that these routes took.
fn done(taken_by: &[&str]) -> Record {
    let claim = Claim {
        owner: "o".into(),
        content: "c".into(),
        source: "strapi".into(),
        event_type: Some("entry.create".into()),
        message_id: "m".into(),
        now: SINCE,
        lease_until: SINCE + 11_000,
    };
    let delivered = taken_by.iter().map(|name| id(name)).collect();
    Record { status: Status::Done, delivered, ..claim.fresh(1) }
}

fn seen(records: Vec<Record>, is_whole: bool) -> Facts {
    let usage = Usage { since: SINCE, recent: Recent { records, is_whole } };
    Facts { routes: Ok(routes()), usage: Some(Ok(usage)), ..facts() }
}

/// The codes of ten events that the shop took, and one more.
fn with_one_more(record: Record) -> Vec<&'static str> {
    let mut records = vec![done(&["shop"]); 10];
    records.push(record);
    codes(&seen(records, true))
}

#[test]
fn a_route_that_took_none_of_ten_events_is_found() {
    let facts = seen(vec![done(&["shop"]); 10], true);
    assert_eq!(judged(&facts), [("route-unmatched", Severity::Warning)]);
    let report = judge(&facts);
    let problem = &report.findings.iter().find(|finding| finding.code == "route-unmatched").unwrap().problem;
    assert!(problem.contains("\"typo\" took none of the 10 events of source strapi since 2023-11-14"), "{problem}");
}

#[test]
fn nine_events_prove_nothing_and_neither_do_those_from_before() {
    assert_eq!(codes(&seen(vec![done(&["shop"]); 9], true)), [""; 0]);
    let before = Record { first_seen: SINCE - 1, ..done(&["shop"]) };
    assert_eq!(codes(&seen(vec![before; 20], true)), [""; 0]);
}

#[test]
fn one_event_that_the_route_took_or_may_have_taken_is_enough() {
    let waits = |event_type: Option<&str>| Record {
        status: Status::Retryable,
        event_type: event_type.map(str::to_owned),
        ..done(&[])
    };
    for (record, expected) in [
        (done(&["typo"]), 0),
        (Record { first_seen: SINCE - 1, ..done(&["shop", "typo"]) }, 0),
        (Record { refused: vec![id("typo")], status: Status::Dead, ..done(&[]) }, 0),
        // Its conditions may hold: nothing but its type is known.
        (waits(Some("entri.create")), 0),
        (waits(None), 0),
        (waits(Some("entry.create")), 1),
        (done(&[]), 1),
    ] {
        let told = format!("{record:?}");
        assert_eq!(with_one_more(record).len(), expected, "{told}");
    }
}

#[test]
fn a_table_that_was_read_in_part_proves_nothing() {
    let facts = seen(vec![done(&["shop"]); 10], false);
    assert_eq!(judged(&facts), [("route-unknown", Severity::Note)]);
    let matched = seen(vec![done(&["shop", "typo"]); 10], false);
    assert!(judge(&matched).right.iter().any(|right| right.contains("8 MB of the table")), "what was cut is said");
}

#[test]
fn records_that_could_not_be_read_are_unknown() {
    assert_eq!(
        codes(&Facts { routes: Ok(routes()), usage: Some(Err(Unknown::Unanswered("no answer".into()))), ..facts() }),
        ["routes-unread"]
    );
}
