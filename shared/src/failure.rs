//! The failure path: what becomes of an entry of QStash's dead-letter queue.
//!
//! Requeuer (told by a callback) and sweep (finding what no callback brought) both come here, possibly at the same time,
//! possibly again after a crash. Every step may be repeated: QStash lets an entry be used once, a burial is conditional,
//! deleting twice is deleting. Nothing is deleted at QStash before it stands in the table or is known to be done.

use std::time::Duration;

use crate::{
    Millis,
    digest::Sha256,
    identity::{Delivered, Endpoint, EventKey, Identified, cut, identify_foreign},
    ledger::{Cause, DeadLetter, Failure, Record, Refused, Response, Status, record::MOST_ERROR_TEXT, rules::Burial},
    qstash::{Client, ClientError, DlqEntry, client::EVENT_HEADER, duration, lenient},
    retry::{self, BuryReason, Decision, FailureClass, RetryPolicy, Round},
    routes::Routes,
    store::{LedgerError, Store, StoreError},
    web::{EndpointUrl, answer::WHOLE_WISH},
};

/// What the failure path needs.
#[derive(Debug, Clone)]
pub struct FailurePath {
    /// The table.
    pub store: Store,
    /// QStash.
    pub qstash: Client,
    /// Our consumer's bases, which tell our endpoints from others.
    pub bases: Vec<EndpointUrl>,
    /// When to deliver again.
    pub policy: RetryPolicy,
}

/// One entry and what is known about its event's past.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The entry.
    pub entry: &'a DlqEntry,
    /// How often and since when the event fails.
    pub round: Round,
    /// The event's first message, which names it where its source says nothing better.
    pub first_message: String,
    /// The requeuer's URL, which hears of the next failure.
    pub requeuer: &'a EndpointUrl,
    /// Sources as configured.
    pub routes: &'a Routes,
}

/// What was done about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// QStash delivers the event again, after so long.
    Requeued(Duration),
    /// The event stands as this dead letter.
    Buried(String),
    /// The event needed nothing: it is done, or dead already, or the entry was used before.
    Nothing,
    /// A worker holds the event, for so much longer.
    Busy(Duration),
}

/// Why nothing could be done now.
#[derive(Debug, thiserror::Error)]
pub enum FailureError {
    /// The table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// QStash.
    #[error(transparent)]
    QStash(#[from] ClientError),
    /// The record moved too often.
    #[error("{0}")]
    Contended(Refused),
}

impl<'a> Case<'a> {
    /// The case of an entry whose failure callback is `callback`: its query carries what must survive from round to round,
    /// because QStash may show headers as digests only.
    pub fn new(
        entry: &'a DlqEntry,
        callback: &EndpointUrl,
        requeuer: &'a EndpointUrl,
        routes: &'a Routes,
        now: Millis,
    ) -> Self {
        let first = callback.parameter(FIRST).filter(|id| !id.is_empty());
        let first_message = first.unwrap_or_else(|| entry.first_message_id().to_owned());
        Self { entry, round: Round::from_url(callback, now), first_message, requeuer, routes }
    }

    /// The requeuer's URL for the next failure. The signature covers its query, so nobody else can choose the round.
    fn next_callback(&self) -> EndpointUrl {
        let first = url::form_urlencoded::byte_serialize(self.first_message.as_bytes()).collect::<String>();
        let Round { number, since } = self.round;
        self.requeuer.with_query(&format!("round={}&since={since}&{FIRST}={first}", number + 1))
    }
}

/// The parameter of a callback's URL that carries the event's first message.
const FIRST: &str = "first";

impl Round {
    /// The round that a failure callback's URL names; the sender's own message carries none.
    pub fn from_url(url: &EndpointUrl, now: Millis) -> Self {
        let number = url.parameter("round").and_then(|text| text.parse().ok()).unwrap_or(0);
        let since = url.parameter("since").and_then(|text| text.parse().ok()).unwrap_or(now);
        Self { number, since }
    }
}

/// Everything that is known about the event of one entry.
struct Event {
    endpoint: Endpoint,
    identified: Identified,
    body: Vec<u8>,
    redacted: bool,
    conflict: bool,
}

impl FailurePath {
    /// Settles one entry.
    pub async fn settle(&self, case: &Case<'_>, now: Millis, draw: f64) -> Result<Settled, FailureError> {
        let (event, record) = self.look_up(case, now).await?;
        if let Some(record) = &record {
            if matches!(record.status, Status::Done | Status::Dead | Status::Purged) {
                return self.finish(case.entry, &event).await.map(|()| Settled::Nothing);
            }
            if record.is_leased(now) {
                return Ok(Settled::Busy(until(record.lease_until, now)));
            }
        }
        match self.decide(case, &event, now, draw) {
            Decision::Again(wait) => match self.again(case, &event, record.as_ref(), wait, now).await {
                // A delay or a number of retries above the plan's quota: asking again changes nothing.
                Err(FailureError::QStash(ClientError::Refused { status, text })) => {
                    let text = format!("QStash refused the retry with {status}: {text}");
                    let class = BuryReason::RefusedByQStash.word().to_owned();
                    self.bury(case, event, Failure { class, text }, now).await
                }
                other => other,
            },
            Decision::Bury(reason) => {
                let failure = last_failure(case.entry, record.as_ref(), reason);
                self.bury(case, event, failure, now).await
            }
        }
    }

    async fn look_up(&self, case: &Case<'_>, now: Millis) -> Result<(Event, Option<Record>), StoreError> {
        let mut event = self.name_event(case);
        let record = self.living_record(&event.identified.key, now).await?;
        if record.as_ref().is_none_or(|record| record.content == event.identified.content) {
            return Ok((event, record));
        }
        event.conflict = true;
        event.identified.key = event.identified.key.of_conflict(&event.identified.content);
        let record = self.living_record(&event.identified.key, now).await?;
        Ok((event, record))
    }

    /// A record whose life has ended says nothing about an event that comes now.
    async fn living_record(&self, key: &EventKey, now: Millis) -> Result<Option<Record>, StoreError> {
        Ok(self.store.record(key).await?.filter(|record| !record.is_expired(now)))
    }

    /// The event that a message brings, or brought. Where its body is redacted, our consumer's answer tells.
    pub fn key_of(&self, message: &DlqEntry, routes: &Routes) -> EventKey {
        let event = self.name(message, message.first_message_id(), routes);
        let told = answered_event(message).filter(|_| event.redacted && event.endpoint.source().is_some());
        told.unwrap_or(event.identified.key)
    }

    /// The name under which a redacted message is buried, which is not its event's.
    pub fn redacted_key(&self, message: &DlqEntry, routes: &Routes) -> Option<EventKey> {
        let event = self.name(message, message.first_message_id(), routes);
        event.redacted.then_some(event.identified.key)
    }

    fn name_event(&self, case: &Case<'_>) -> Event {
        self.name(case.entry, &case.first_message, case.routes)
    }

    /// A redacted body can't name its event, so its message does.
    fn name(&self, message: &DlqEntry, first_message: &str, routes: &Routes) -> Event {
        let endpoint = match EndpointUrl::parse(&message.url) {
            Ok(url) => Endpoint::of(&url, &self.bases),
            Err(_) => Endpoint::Foreign(message.url.clone()),
        };
        let (body, redacted) = match message.body() {
            Ok(body) => (body, false),
            Err(_hidden) => (Vec::new(), true),
        };
        let delivered = Delivered { body: &body, message: first_message };
        let identified = match endpoint.source() {
            Some(_) if !redacted => routes.identify(&endpoint, delivered),
            _ => None,
        };
        let identified = identified.unwrap_or_else(|| identify_foreign(&endpoint, delivered));
        Event { endpoint, identified, body, redacted, conflict: false }
    }

    fn decide(&self, case: &Case<'_>, event: &Event, now: Millis, draw: f64) -> Decision {
        if event.redacted {
            return Decision::Bury(BuryReason::Redacted);
        }
        let ours = event.endpoint.source().is_some();
        let class = if event.conflict { FailureClass::Permanent } else { retry::classify(case.entry.status(), ours) };
        let header = |name| lenient::header(&case.entry.response_header, name);
        let whole = header(WHOLE_WISH).filter(|_| ours);
        let wished = whole.or_else(|| header("retry-after"));
        let wished = wished.and_then(|text| duration::parse_retry_after(text, now));
        self.policy.decide(case.round, class, wished, now, draw)
    }

    /// Has QStash deliver the entry again: bytes, headers and endpoint stay as they were.
    async fn again(
        &self,
        case: &Case<'_>,
        event: &Event,
        record: Option<&Record>,
        wait: Duration,
        now: Millis,
    ) -> Result<Settled, FailureError> {
        let headers = [
            ("Upstash-Delay".to_owned(), duration::write(wait)),
            ("Upstash-Retries".to_owned(), retry::RETRIES_PER_ROUND.to_string()),
            ("Upstash-Failure-Callback".to_owned(), case.next_callback().to_string()),
            (format!("Upstash-Forward-{EVENT_HEADER}"), case.first_message.clone()),
        ];
        match self.qstash.dlq_retry(&case.entry.dlq_id, &headers).await {
            Ok(message) => {
                self.note_round(case, event, record, now + retry::millis(wait), message).await;
                Ok(Settled::Requeued(wait))
            }
            Err(ClientError::NotFound) => Ok(Settled::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the record what comes next, for whoever asks why an event is not done. Nothing depends on it, so a failure is
    /// no failure.
    async fn note_round(
        &self,
        case: &Case<'_>,
        event: &Event,
        record: Option<&Record>,
        next_at: Millis,
        message: Option<String>,
    ) {
        let Some(record) = record else { return };
        let message = message.unwrap_or_else(|| record.message_id.clone());
        let noted = self.store.note_round(&event.identified.key, record, case.round.number + 1, next_at, &message);
        if let Err(error) = noted.await {
            tracing::warn!(error = %error, "the next round could not be noted in the record");
        }
    }

    async fn bury(
        &self,
        case: &Case<'_>,
        event: Event,
        failure: Failure,
        now: Millis,
    ) -> Result<Settled, FailureError> {
        let letter = letter(case, &event, &failure, now);
        let burial = burial(case.entry, &event, failure, now);
        match self.store.bury(&burial, letter, &event.body).await {
            Ok(letter) => {
                // The letter stands; an entry that could not be deleted now is deleted by the sweep.
                if let Err(error) = self.finish(case.entry, &event).await {
                    tracing::warn!(error = %error, "the entry of a dead letter could not be deleted now");
                }
                Ok(Settled::Buried(letter.id()))
            }
            Err(LedgerError::Refused(Refused::Done | Refused::Dead)) => {
                self.finish(case.entry, &event).await.map(|()| Settled::Nothing)
            }
            Err(LedgerError::Refused(Refused::InProgress(lease))) => Ok(Settled::Busy(until(lease, now))),
            Err(LedgerError::Refused(refused)) => Err(FailureError::Contended(refused)),
            Err(LedgerError::Store(error)) => Err(error.into()),
        }
    }

    /// Deletes an entry that is not needed any more. The only copy of a redacted body stays where it is.
    async fn finish(&self, entry: &DlqEntry, event: &Event) -> Result<(), FailureError> {
        if event.redacted {
            return Ok(());
        }
        Ok(self.qstash.dlq_delete(&entry.dlq_id).await?)
    }
}

fn until(lease: Millis, now: Millis) -> Duration {
    Duration::from_millis(u64::try_from(lease - now).unwrap_or_default())
}

/// Why an event is given up, and what was said last. Our own consumer's answer tells only a fixed word and a key, which
/// would make every letter a cause of its own; its record knows what the destination said.
fn last_failure(entry: &DlqEntry, record: Option<&Record>, reason: BuryReason) -> Failure {
    let recorded = record.and_then(|record| record.last_error.as_ref()).map(|failure| failure.text.clone());
    let text = recorded.unwrap_or_else(|| match entry.status() {
        0 => "no answer".to_owned(),
        status => format!("{status} {}", said(&String::from_utf8_lossy(&entry.response_body()))),
    });
    Failure { class: reason.word().to_owned(), text: cut(text, MOST_ERROR_TEXT) }
}

/// The fixed word of one of our own answers, or an answer as it is.
fn said(answer: &str) -> String {
    field(answer.as_bytes(), "status").unwrap_or_else(|| answer.to_owned())
}

/// The event that our consumer's last answer was about.
fn answered_event(entry: &DlqEntry) -> Option<EventKey> {
    field(&entry.response_body(), "event").and_then(|key| EventKey::parse(&key))
}

/// A text in an answer that is a JSON object.
fn field(answer: &[u8], name: &str) -> Option<String> {
    let parsed: serde_json::Value = serde_json::from_slice(answer).ok()?;
    parsed.get(name)?.as_str().map(str::to_owned)
}

fn burial(entry: &DlqEntry, event: &Event, failure: Failure, now: Millis) -> Burial {
    Burial {
        content: event.identified.content.clone(),
        source: event.endpoint.source().unwrap_or_default().to_owned(),
        event_type: event.identified.event_type.clone(),
        message_id: entry.message_id.clone(),
        failure,
        now,
    }
}

fn letter(case: &Case<'_>, event: &Event, failure: &Failure, now: Millis) -> DeadLetter {
    let entry = case.entry;
    let source = event.endpoint.source().unwrap_or_default().to_owned();
    let event_type = event.identified.event_type.clone();
    let cause = Cause {
        error: &failure.text,
        status: entry.status(),
        source: &source,
        event_type: event_type.as_deref().unwrap_or_default(),
        endpoint: event.endpoint.name(),
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
        headers: entry.header.clone(),
        message_id: entry.message_id.clone(),
        first_message_id: case.first_message.clone(),
        rounds: case.round.number,
        size: event.body.len() as u64,
        body_sha256: Sha256::of(&event.body).hex(),
        redacted: event.redacted,
        about: answered_event(entry).filter(|_| event.redacted && event.endpoint.source().is_some()),
        dlq_id: entry.dlq_id.clone(),
        replaying: None,
        response: Response::new(entry.response_header.clone(), &entry.response_body()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> DlqEntry {
        let json = r#"{"messageId":"msg_2","header":{"Surehook-Event":["REDACTED:abc"]}}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn rounds_and_the_first_message_travel_in_the_callback_url() {
        let requeuer = EndpointUrl::parse("https://r.example/").unwrap();
        let (routes, entry) = (Routes::default(), entry());
        let first = Case::new(&entry, &requeuer, &requeuer, &routes, 1_000);
        assert_eq!(first.round, Round { number: 0, since: 1_000 });
        let named = Case { first_message: "msg_1 &=".into(), ..first };
        let next = Case::new(&entry, &named.next_callback(), &requeuer, &routes, 9_000);
        assert_eq!(next.round, Round { number: 1, since: 1_000 });
        assert_eq!(next.first_message, "msg_1 &=", "although the header that carries it is redacted");
    }

    #[test]
    fn a_round_that_makes_no_sense_is_the_first() {
        let url = EndpointUrl::parse("https://r.example/?round=-1&since=x").unwrap();
        assert_eq!(Round::from_url(&url, 7), Round { number: 0, since: 7 });
    }
}
