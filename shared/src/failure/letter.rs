//! What is kept of an event that is given up.

use super::case::{Case, Event, answered_event};
use crate::{
    Millis,
    digest::Sha256,
    identity::{EventKey, cut},
    json::{Fields, text_at},
    ledger::{Cause, DeadLetter, Failure, Record, Response, record::MOST_ERROR_TEXT, rules::Burial},
    qstash::{DlqEntry, lenient::Headers},
    retry::BuryReason,
    routes::credentials::without_values,
    web::answer::UNMATCHED,
};

/// The words with which our consumer answers for a handler; with any other, the record's last error is an older one.
const VERDICTS: [&str; 3] = ["permanent-failure", "transient-failure", UNMATCHED];

/// Why an event is given up, and what was said last. Our own consumer's answer tells only a fixed word and a key, which
/// would make every letter a cause of its own; its record knows what the destination said.
pub(super) fn last_failure(entry: &DlqEntry, key: &EventKey, record: Option<&Record>, reason: BuryReason) -> Failure {
    let word = text_at(&entry.response_body(), "/status").unwrap_or_default();
    let is_verdict = VERDICTS.contains(&word.as_str()) && answered_event(entry).as_ref() == Some(key);
    let recorded =
        record.filter(|_| is_verdict).and_then(|record| record.last_error.as_ref()).map(|failure| failure.text.clone());
    let text = recorded.unwrap_or_else(|| match entry.status() {
        0 => "no answer".to_owned(),
        status => format!("{status} {}", said(&String::from_utf8_lossy(&entry.response_body()))),
    });
    Failure { class: reason.word().to_owned(), text: cut(text, MOST_ERROR_TEXT) }
}

/// The fixed word of one of our own answers with what it says more, or an answer as it is.
fn said(answer: &str) -> String {
    let fields = Fields::read(answer.as_bytes(), ["/status", "/detail"]).unwrap_or_default();
    match (fields.text("/status"), fields.text("/detail")) {
        (Some(word), Some(detail)) => format!("{word}: {detail}"),
        (Some(word), None) => word,
        (None, _) => answer.to_owned(),
    }
}

pub(super) fn burial(entry: &DlqEntry, event: &Event, failure: Failure, now: Millis) -> Burial {
    Burial {
        content: event.identified.content.clone(),
        source: event.endpoint.source().unwrap_or_default().to_owned(),
        event_type: event.identified.event_type.clone(),
        message_id: entry.message_id.clone(),
        failure,
        now,
    }
}

/// Returns the headers that a letter keeps. An endpoint that is not ours got all of them without a route, and a replay must send it the
/// same request.
fn kept_headers(case: &Case<'_>, event: &Event) -> Headers {
    let headers = &case.entry.header;
    event.endpoint.source().map_or_else(
        || headers.clone(),
        |source| without_values(headers, |name| case.routes.keeps_header(source, name)),
    )
}

pub(super) fn letter(case: &Case<'_>, event: &Event, failure: &Failure, now: Millis) -> DeadLetter {
    let entry = case.entry;
    let source = event.endpoint.source().unwrap_or_default().to_owned();
    let event_type = event.identified.event_type.clone();
    let cause = Cause {
        error: &failure.text,
        status: entry.status(),
        source: &source,
        event_type: event_type.as_deref().unwrap_or_default(),
        // Queries differ from event to event.
        endpoint: event.endpoint.name().split('?').next().unwrap_or_default(),
    };
    DeadLetter {
        key: event.identified.key.clone(),
        fence: 0,
        at: now,
        first_failed: case.round.since,
        reason: failure.class.clone(),
        status: entry.status(),
        fingerprint: cause.fingerprint(),
        error: failure.text.clone(),
        url: entry.url.clone(),
        path: event.endpoint.source().map(|_| event.endpoint.name().to_owned()),
        source,
        event_type,
        method: entry.method.clone().unwrap_or_else(|| "POST".to_owned()),
        headers: kept_headers(case, event),
        message_id: entry.message_id.clone(),
        first_message_id: case.first_message.clone(),
        rounds: case.round.number,
        size: event.body.len() as u64,
        body_sha256: Sha256::of(&event.body).hex(),
        redacted: event.redacted,
        about: event.about.clone(),
        dlq_id: entry.dlq_id.clone(),
        region: case.region,
        replaying: None,
        response: Response::new(entry.response_header.clone(), &entry.response_body()),
    }
}
