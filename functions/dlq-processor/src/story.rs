//! The lines of a story: everything that happened to an event, in order.

use surehook::{
    Millis,
    ledger::{Record, Status},
    qstash::LogEntry,
    routes::Routes,
};

use crate::{
    attempts::failed_attempts,
    reply::FailedAttempt,
    why::{Known, Line},
};

/// Whether a record waits for the first attempt since its replay.
pub(crate) fn is_replayed(record: &Record) -> bool {
    let failed = record.history.last().is_some_and(|entry| entry.at == record.updated_at);
    record.replay.is_some() && record.open_since >= Some(record.updated_at) && !failed
}

/// Everything that happened, in order.
pub(crate) fn lines(known: &Known) -> Vec<Line> {
    let mut lines: Vec<Line> = known.logs.iter().filter_map(logged).collect();
    lines.extend(known.record.iter().flat_map(|record| of_record(record, &known.routes)));
    for letter in &known.letters {
        let text = format!("given up ({}): dead letter {}", letter.reason, letter.id());
        lines.push(Line { at: letter.at, text });
    }
    lines.sort_by_key(|line| line.at);
    lines
}

fn logged(entry: &LogEntry) -> Option<Line> {
    let status = entry.response_status.filter(|status| *status > 0).map(|status| format!(" {status}"));
    let error = entry.error.as_ref().filter(|error| !error.is_empty()).map(|error| format!(": {error}"));
    let text = format!("QStash: {}{}{}", entry.state, status.unwrap_or_default(), error.unwrap_or_default());
    Some(Line { at: entry.time?, text })
}

fn of_record(record: &Record, routes: &Routes) -> Vec<Line> {
    let line = |at: Millis, text: String| Line { at, text };
    let mut lines = vec![line(record.first_seen, "first seen by the ledger".to_owned())];
    lines.extend(failed_attempts(record, routes).into_iter().flat_map(of_attempt));
    // What is to come stands under "next"; a round that was planned, but overtaken, never came.
    if let Some(at) = record.next_at.filter(|at| record.round > 0 && *at <= record.updated_at) {
        lines.push(line(at, format!("round {} begins", record.round)));
    }
    match record.status {
        Status::Running => {
            let text = format!("attempt {} begun by {} (fence {})", record.attempts, record.owner, record.fence);
            lines.push(line(record.updated_at, text));
            lines.push(line(record.lease_until, "end of its lease".to_owned()));
        }
        Status::Done => lines.push(line(record.updated_at, "done".to_owned())),
        Status::Purged => lines.push(line(record.updated_at, "purged by an operator".to_owned())),
        Status::Retryable if is_replayed(record) => lines.push(line(record.updated_at, "replay begun".to_owned())),
        Status::Retryable | Status::Dead => {}
    }
    lines
}

/// The lines of a failed attempt: what was said, or each delivery.
fn of_attempt(attempt: FailedAttempt) -> Vec<Line> {
    let FailedAttempt { at, fence, class, said, deliveries } = attempt;
    let failed = format!("attempt failed (fence {fence}, {class})");
    match deliveries.as_slice() {
        [] if said.is_empty() => vec![Line { at, text: failed }],
        [] => vec![Line { at, text: format!("{failed}: {said}") }],
        [only] => vec![Line { at, text: format!("{failed}: {only}") }],
        several => {
            let each = several.iter().map(|delivery| Line { at, text: format!("  {delivery}") });
            std::iter::once(Line { at, text: failed }).chain(each).collect()
        }
    }
}
