//! Routes that take nothing although events come. The records tell: a done record names every destination that accepted its event.

use surehook::{
    ledger::{Record, Status},
    routes::Route,
};

use super::unknown;
use crate::{
    doctor::{
        Facts, Finding, Report,
        facts::{MOST_PAGES, Usage},
    },
    text::date,
};

/// So many events of its source that a route leaves are no chance.
const ENOUGH: usize = 10;

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let (Ok(routes), Some(usage)) = (&facts.routes, &facts.usage) else { return };
    let usage = match usage {
        Ok(usage) => usage,
        Err(why) => return unknown(report, "routes-unread", "the events that routes have taken", why),
    };
    let before = report.count();
    for route in &routes.routes {
        if let Some(events) = left(route, usage) {
            report.add(finding(route, events, usage));
        }
    }
    let read = if usage.recent.is_whole { "the table".to_owned() } else { most_read() };
    let since = date(usage.since);
    report.right_since(
        before,
        format!("routes: in {read}, no route left all events of a source with {ENOUGH} events since {since}"),
    );
}

fn most_read() -> String {
    format!("the {MOST_PAGES} MB of the table that are read at most")
}

/// Counts the events of a route's source, if they are enough and the route took none of them.
fn left(route: &Route, usage: &Usage) -> Option<usize> {
    let mut count = 0;
    for record in usage.recent.records.iter().filter(|record| record.source == route.source) {
        if may_have_taken(route, record) {
            return None;
        }
        count += usize::from(record.first_seen >= usage.since);
    }
    (count >= ENOUGH).then_some(count)
}

/// Whether the route took the event. Of an event that is not done nothing is known but its type, so that conditions may hold or not.
fn may_have_taken(route: &Route, record: &Record) -> bool {
    let is_named = record.delivered.iter().chain(&record.refused).any(|id| *id == route.id);
    let event_type = record.event_type.as_deref();
    let is_possible = || event_type.is_none() || route.is_for(&record.source, event_type);
    is_named || (record.status != Status::Done && is_possible())
}

fn finding(route: &Route, events: usize, usage: &Usage) -> Finding {
    let Route { name, source, .. } = route;
    let since = date(usage.since);
    let finding = match usage.recent.is_whole {
        true => {
            let problem = format!("route \"{name}\" took none of the {events} events of source {source} since {since}");
            Finding::warning("route-unmatched", problem)
        }
        false => Finding::note(
            "route-unknown",
            format!(
                "whether route \"{name}\" takes events is unknown: it took none of {events} events of source {source} since \
                 {since} in {}",
                most_read()
            ),
        ),
    };
    finding.happens("if its events or conditions are wrong, its destination gets nothing, and no alarm rings").mend(
        format!(
            "surehook routes unmatched lists the types that no route takes; surehook routes test EVENT --source {source} says \
             why a route leaves an event"
        ),
    )
}
