//! How one destination answered.

use std::time::Duration;

use http::{StatusCode, header};
use reqwest::Response;
use surehook::{
    Millis,
    identity::cut,
    qstash::duration::parse_retry_after,
    web::answer::{is_refusal, is_success, is_throttling},
};
use tokio::time::{Instant, timeout_at};

use crate::breakers::Health;

/// How much of a destination's answer is read: enough for an error's text, and no room for an endless one.
const MOST_ANSWER: usize = 64 * 1_024;
/// How much of it an error quotes, in bytes.
const MOST_QUOTED: usize = 200;
/// How long an answer's body is waited for once its status, which is the verdict, is there: it is wanted for an error's text, and so that
/// the connection can be used again.
const MOST_FOR_BODY: Duration = Duration::from_millis(250);

/// What became of a delivery to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It accepted the event.
    Accepted,
    /// It refused the event for good.
    Refused {
        /// The status of its answer; 0 if it was not asked.
        status: u16,
        /// The destination's words, or the reason why it was not asked.
        reason: String,
    },
    /// It may accept the event later.
    NotNow {
        /// The status of its answer; 0 if there was no answer.
        status: u16,
        /// What was wrong.
        reason: String,
        /// When to come again, where somebody said so.
        retry_after: Option<Duration>,
        /// What this says of the destination.
        health: Health,
    },
}

impl Verdict {
    /// A delivery that had no answer, and what was wrong in words that are not the destination's.
    pub fn unanswered(reason: impl Into<String>, trouble: impl Into<String>) -> Self {
        Self::NotNow { status: 0, reason: reason.into(), retry_after: None, health: Health::Down(trouble.into()) }
    }

    /// A delivery that was not tried, or had no fair chance.
    pub fn inconclusive(reason: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self::NotNow { status: 0, reason: reason.into(), retry_after, health: Health::Unknown }
    }

    /// What it says of the destination. One that refuses an event is up.
    pub fn health(&self) -> &Health {
        match self {
            Self::Accepted | Self::Refused { .. } => &Health::Up,
            Self::NotNow { health, .. } => health,
        }
    }

    /// Reads an answer. The status is the verdict; the body is only quoted, as far as it comes soon, and before `limit`.
    pub async fn of(mut response: Response, now: Millis, limit: Instant) -> Self {
        let status = response.status().as_u16();
        let limit = limit.min(Instant::now() + MOST_FOR_BODY);
        if is_success(status) {
            read(&mut response, limit).await;
            return Self::Accepted;
        }
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| parse_retry_after(text, now));
        let reason = cut(format!("{} {}", status, quoted(&mut response, limit).await), MOST_QUOTED);
        if is_refusal(status) {
            return Self::Refused { status, reason };
        }
        let is_up = is_throttling(status);
        let health = if is_up { Health::Up } else { Health::Down(status.to_string()) };
        Self::NotNow { status, reason, retry_after, health }
    }
}

/// What an answer says, for an error's text.
async fn quoted(response: &mut Response, limit: Instant) -> String {
    if response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED {
        return "(redirects are not followed: give the route the URL where events shall go)".to_owned();
    }
    let encoding = response.headers().get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity");
    if encoding.is_some() {
        return "(answered in an encoding that was not asked for)".to_owned();
    }
    String::from_utf8_lossy(&read(response, limit).await).into_owned()
}

/// The start of an answer's body, as far as it comes in time. What is not read closes the connection.
async fn read(response: &mut Response, limit: Instant) -> Vec<u8> {
    let mut read = Vec::new();
    while let Ok(Ok(Some(chunk))) = timeout_at(limit, response.chunk()).await {
        let room = MOST_ANSWER - read.len();
        read.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if read.len() == MOST_ANSWER {
            break;
        }
    }
    read
}
