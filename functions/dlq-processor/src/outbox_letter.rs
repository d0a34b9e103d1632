//! The dead letter of an outbox row.

use surehook::{
    Millis,
    digest::Sha256,
    identity::{Delivered, Endpoint, cut, identify_foreign},
    ledger::{Cause, DeadLetter, Failure, Refused, Response, record::MOST_ERROR_TEXT, rules::Burial},
    qstash::{ClientError, lenient::Headers},
    retry::BuryReason,
    store::{LedgerError, outbox::OutboxRow},
};

use crate::{Processor, ProcessorError, replay::TOPIC_SCHEME};

/// Why a row is dead-lettered.
#[derive(Debug, Clone)]
pub(crate) struct End {
    reason: BuryReason,
    /// The status of QStash's last answer.
    status: u16,
    text: String,
}

impl End {
    /// QStash rejected the row itself.
    pub(crate) fn rejected(error: &ClientError) -> Self {
        let status = if let ClientError::Refused { status, .. } = error { *status } else { 0 };
        Self { reason: BuryReason::RefusedByQStash, status, text: error.to_string() }
    }

    /// The topic had no endpoints for as long as retries last.
    pub(crate) fn no_endpoints(topic: &str) -> Self {
        let text = format!("topic {topic} had no endpoints at QStash for longer than retries last");
        Self { reason: BuryReason::NoEndpoints, status: 404, text }
    }
}

impl Processor {
    /// Dead-letters a row. Of two events with one id and different bodies, as a sender makes them that posts again after a time-out, the
    /// second gets a letter under a key of its own.
    pub(crate) async fn bury_row(&self, row: &OutboxRow, end: &End, now: Millis) -> Result<(), ProcessorError> {
        let (burial, letter) = letter_of(row, end, now);
        let second = DeadLetter { key: letter.key.of_conflict(&burial.content), ..letter.clone() };
        match self.path.store.bury(&burial, letter, &row.body).await {
            Err(LedgerError::Refused(Refused::Conflict)) => {
                settled(self.path.store.bury(&burial, second, &row.body).await)
            }
            other => settled(other),
        }
    }
}

/// Takes a row whose letter exists already for one whose deletion was cut short.
fn settled(buried: Result<DeadLetter, LedgerError>) -> Result<(), ProcessorError> {
    match buried {
        Ok(_) | Err(LedgerError::Refused(Refused::Dead | Refused::Done)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn headers_of(row: &OutboxRow) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in &row.headers {
        headers.entry(name.clone()).or_default().push(value.clone());
    }
    headers
}

fn letter_of(row: &OutboxRow, end: &End, now: Millis) -> (Burial, DeadLetter) {
    let url = format!("{TOPIC_SCHEME}{}", row.topic);
    let endpoint = Endpoint::Foreign(url.clone());
    let named = identify_foreign(&endpoint, Delivered::bare(&row.body, &row.id));
    let (status, reason) = (end.status, end.reason.word().to_owned());
    let text = cut(end.text.clone(), MOST_ERROR_TEXT);
    let cause = Cause { error: &text, status, source: "", event_type: "", endpoint: &url };
    let letter = DeadLetter {
        key: named.key,
        fence: 0,
        at: now,
        first_failed: now,
        reason: reason.clone(),
        status,
        fingerprint: cause.fingerprint(),
        error: text.clone(),
        url: url.clone(),
        path: None,
        source: String::new(),
        event_type: None,
        method: "POST".to_owned(),
        headers: headers_of(row),
        message_id: row.id.clone(),
        first_message_id: row.id.clone(),
        rounds: 0,
        size: row.body.len() as u64,
        body_sha256: Sha256::of(&row.body).hex(),
        redacted: false,
        about: None,
        dlq_id: String::new(),
        region: None,
        replaying: None,
        response: Response::default(),
    };
    let burial = Burial {
        content: named.content,
        source: String::new(),
        event_type: None,
        message_id: row.id.clone(),
        failure: Failure { class: reason, text },
        now,
    };
    (burial, letter)
}
