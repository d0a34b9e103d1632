//! What we answer, and the only place in the project that names an HTTP status for our callers.
//!
//! QStash acts on the status alone: 2xx is done, 489 with its header goes to the dead-letter queue at once, everything
//! else is delivered again, after `Retry-After` where there is one.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use lambda_http::{Body, aws_lambda_events::apigw::ApiGatewayV2httpResponse};
use serde::Serialize;

use crate::{
    identity::EventKey, qstash::duration::backoff, retry::LONGEST_WISH, sources::SenderRefusal, telemetry::Metric,
};

/// What a destination asked for where that is longer than what QStash is asked for: the requeuer honours it, up to a day.
pub const WHOLE_WISH: &str = "surehook-retry-after";
/// The word for an event whose sender is not believed; the failure path buries such a message under a name of its own.
pub const SENDER_REFUSED: &str = "sender-refused";
/// The word for an event that no route takes and whose source keeps such events; the failure path makes it a dead letter that expires.
pub const UNMATCHED: &str = "unmatched";
/// QStash's status for "never deliver this again"; it counts only together with [`NON_RETRYABLE`].
const STATUS_NON_RETRYABLE: u16 = 489;
/// The header of the 489 pair.
const NON_RETRYABLE: &str = "upstash-nonretryable-error";

/// How an invocation of an HTTP function ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The event was handled and committed.
    Processed,
    /// No route matches the event.
    Ignored,
    /// No route matches the event, and its source keeps such events.
    Unmatched,
    /// The event was handled before.
    Duplicate,
    /// The event is a dead letter, which we hold durably.
    Dead,
    /// QStash did not sign this for this URL.
    SignatureRefused,
    /// Another worker holds the event, for so much longer.
    InProgress(Duration),
    /// The handler refused the event for good.
    PermanentFailure,
    /// The body is not what its source sends.
    Malformed,
    /// The same event came before with other content.
    Conflict,
    /// The body is over the configured limit.
    TooLarge,
    /// The handler failed in a way that may pass.
    TransientFailure(Option<Duration>),
    /// The lease was lost and the event now waits for its next attempt.
    LeaseLost,
    /// DynamoDB does not answer.
    StoreAway,
    /// QStash does not answer.
    QStashAway,
    /// QStash rejects the event itself, for its size for example.
    RejectedByQStash,
    /// The topic has no endpoints, and too many of its events are held already.
    TopicFull(String),
    /// No routes are configured.
    NoRoutes,
    /// Nobody said how events of this source are told apart.
    SourceUnconfigured(String),
    /// The secret of this source's sender is not in our configuration.
    SecretMissing(String),
    /// The sender of an event that QStash brought is not who it says.
    SenderRefused(SenderRefusal),
    /// QStash will deliver the event again, later.
    Requeued,
    /// The event was written as a dead letter.
    Buried,
    /// The event of a failure callback needs nothing more.
    Settled,
    /// A failure callback that can't be read; the sweep takes its entry.
    UndecodableCallback,
    /// The producer made the event durable.
    Accepted {
        /// QStash's message ids, one per endpoint; none while the event waits in the outbox.
        message_ids: Vec<String>,
    },
    /// What became of each event of a batch.
    Batch(Vec<Part>),
    /// Another event of the batch can't be taken, so none was.
    NotTaken,
    /// The producer's caller is not who it says.
    Unauthorized(SenderRefusal),
    /// The producer has no such topic.
    UnknownTopic(String),
    /// The producer can't take the request as it is; the sentence says what to change.
    BadRequest(String),
    /// The producer's caller sends more than a message may hold, in bytes.
    PayloadTooLarge(usize),
    /// The producer takes `POST` only.
    MethodNotAllowed,
}

impl Outcome {
    /// The fixed word that stands in answers, logs and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Ignored => "ignored",
            Self::Unmatched => UNMATCHED,
            Self::Duplicate => "duplicate",
            Self::Dead => "dead",
            Self::SignatureRefused => "signature-refused",
            Self::InProgress(_) => "in-progress",
            Self::PermanentFailure => "permanent-failure",
            Self::Malformed => "malformed",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::TransientFailure(_) => "transient-failure",
            Self::LeaseLost => "lease-lost",
            Self::StoreAway => "store-away",
            Self::QStashAway => "qstash-away",
            Self::RejectedByQStash => "rejected-by-qstash",
            Self::TopicFull(_) => "topic-full",
            Self::NoRoutes => "no-routes",
            Self::SourceUnconfigured(_) => "source-unconfigured",
            Self::SecretMissing(_) => "secret-missing",
            Self::SenderRefused(_) => SENDER_REFUSED,
            Self::Requeued => "requeued",
            Self::Buried => "buried",
            Self::Settled => "settled",
            Self::UndecodableCallback => "undecodable-callback",
            Self::Accepted { .. } => "accepted",
            Self::Batch(parts) => batch_word(parts),
            Self::NotTaken => "not-taken",
            Self::Unauthorized(_) => "unauthorized",
            Self::UnknownTopic(_) => "unknown-topic",
            Self::BadRequest(_) => "bad-request",
            Self::PayloadTooLarge(_) => "payload-too-large",
            Self::MethodNotAllowed => "method-not-allowed",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::Processed | Self::Ignored | Self::Duplicate | Self::Dead => 200,
            Self::Requeued | Self::Buried | Self::Settled | Self::UndecodableCallback => 200,
            Self::Accepted { .. } => 202,
            Self::BadRequest(_) | Self::RejectedByQStash => 400,
            Self::SignatureRefused | Self::Unauthorized(_) => 401,
            Self::UnknownTopic(_) => 404,
            Self::MethodNotAllowed => 405,
            Self::InProgress(_) => 409,
            Self::PayloadTooLarge(_) => 413,
            Self::NotTaken => 424,
            Self::PermanentFailure | Self::Malformed | Self::Conflict | Self::TooLarge => STATUS_NON_RETRYABLE,
            Self::SenderRefused(_) | Self::Unmatched => STATUS_NON_RETRYABLE,
            Self::TransientFailure(_) | Self::LeaseLost | Self::StoreAway | Self::QStashAway => 503,
            Self::NoRoutes | Self::SourceUnconfigured(_) | Self::SecretMissing(_) | Self::TopicFull(_) => 503,
            // The worst of its parts: who looks at nothing else must not take a part that is lost for one that was taken.
            Self::Batch(parts) => {
                let told =
                    parts.iter().map(|part| &part.outcome).filter(|part| **part != Self::NotTaken).map(Self::status);
                told.max().unwrap_or(202)
            }
        }
    }

    /// Returns whether the producer made every event of the request durable.
    pub fn is_accepted(&self) -> bool {
        match self {
            Self::Accepted { .. } => true,
            Self::Batch(parts) => parts.iter().all(|part| part.outcome.is_accepted()),
            _ => false,
        }
    }

    /// Why, in a fixed word for logs; empty where the outcome says it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SenderRefused(refusal) | Self::Unauthorized(refusal) => refusal.word(),
            _ => "",
        }
    }

    /// What is counted where a request is turned away before anybody is believed. Anybody can cause as many of these as he likes.
    pub fn refusal(&self) -> Option<Metric> {
        match self {
            Self::SignatureRefused | Self::Unauthorized(_) => Some(Metric::SignatureRefused),
            Self::MethodNotAllowed | Self::PayloadTooLarge(_) => Some(Metric::Rejected),
            _ => None,
        }
    }

    /// While the store or QStash is away, QStash's own growing waits are asked for: short ones would use its few retries up
    /// within an outage of minutes. What is asked for on the last attempt is heard by the requeuer alone, which has its own
    /// waits.
    fn retry_after(&self, retried: u32) -> Option<Duration> {
        let wish = match self {
            Self::InProgress(rest) => Some(*rest + Duration::from_secs(1)),
            Self::TransientFailure(wished) => *wished,
            Self::StoreAway | Self::QStashAway | Self::SecretMissing(_) | Self::TopicFull(_) => {
                Some(backoff(retried.saturating_add(1)))
            }
            Self::Batch(parts) => return parts.iter().filter_map(|part| part.outcome.retry_after(retried)).max(),
            _ => None,
        };
        wish.map(|wish| wish.min(LONGEST_WISH))
    }

    /// The whole wish of a destination, where QStash is asked for a part of it only.
    fn whole_wish(&self) -> Option<Duration> {
        match self {
            Self::TransientFailure(wished) => wished.filter(|wish| *wish > LONGEST_WISH),
            _ => None,
        }
    }
}

/// An outcome and the event it is about, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// Which event it was, where that is known.
    pub event: Option<EventKey>,
    /// The id of the event that a sender posted, where it has one: with it the sender can send the same event again.
    pub id: Option<String>,
    /// How often QStash has retried the request that is answered.
    pub retried: u32,
}

/// One event of a request, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its id, where it has one.
    pub id: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
}

impl From<Part> for Answer {
    fn from(part: Part) -> Self {
        Self { id: part.id, ..part.outcome.into() }
    }
}

impl From<Outcome> for Part {
    fn from(outcome: Outcome) -> Self {
        Self { id: None, outcome }
    }
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, event: None, id: None, retried: 0 }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerBody<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    message_ids: &'a [String],
    /// The status that it would have had alone; only in a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<AnswerBody<'a>>,
}

impl<'a> AnswerBody<'a> {
    fn of(outcome: &'a Outcome, id: Option<&'a str>) -> Self {
        let message_ids: &[String] = match outcome {
            Outcome::Accepted { message_ids } => message_ids,
            _ => &[],
        };
        let events = match outcome {
            Outcome::Batch(parts) => {
                let of = |part: &'a Part| Self {
                    code: Some(part.outcome.status()),
                    ..Self::of(&part.outcome, part.id.as_deref())
                };
                parts.iter().map(of).collect()
            }
            _ => Vec::new(),
        };
        Self {
            status: outcome.word(),
            event: None,
            detail: outcome.detail(),
            id,
            message_id: message_ids.first().map(String::as_str),
            message_ids: if message_ids.len() > 1 { message_ids } else { &[] },
            code: None,
            events,
        }
    }
}

fn batch_word(parts: &[Part]) -> &'static str {
    let accepted = parts.iter().filter(|part| matches!(part.outcome, Outcome::Accepted { .. })).count();
    match accepted {
        0 => "refused",
        count if count == parts.len() => "accepted",
        _ => "partly-accepted",
    }
}

impl Answer {
    /// The answer about one event.
    pub fn about(event: &EventKey, outcome: Outcome) -> Self {
        Self { outcome, event: Some(event.clone()), id: None, retried: 0 }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.outcome.status()
    }

    /// The answer's headers.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status() == STATUS_NON_RETRYABLE {
            headers.insert(NON_RETRYABLE, HeaderValue::from_static("true"));
        }
        if let Some(wait) = self.outcome.retry_after(self.retried) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if let Some(wish) = self.outcome.whole_wish() {
            headers.insert(WHOLE_WISH, HeaderValue::from(whole_seconds(wish)));
        }
        headers
    }

    /// The answer's JSON body.
    pub fn body(&self) -> String {
        let event = self.event.as_ref().map(EventKey::as_str);
        let body = AnswerBody { event, ..AnswerBody::of(&self.outcome, self.id.as_deref()) };
        serde_json::to_string(&body).expect("an answer is made of texts, numbers and lists of them")
    }
}

/// Rounded up: an answer that comes a moment early would only be refused again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl From<Answer> for ApiGatewayV2httpResponse {
    fn from(answer: Answer) -> Self {
        let mut response = Self::default();
        response.status_code = i64::from(answer.status());
        response.headers = answer.headers();
        response.body = Some(Body::Text(answer.body()));
        response
    }
}

/// Whether a status that an endpoint or destination answered means success.
pub fn is_success(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(|status| status.is_success())
}

/// Whether a status means "not now" (design 6): time-outs, conflicts of timing, throttling, server errors.
pub fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// Whether a status says that its sender is up, and wants less.
pub fn is_throttling(status: u16) -> bool {
    status == 429
}

/// Whether a status refuses an event for good.
pub fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499) && !is_transient(status)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
