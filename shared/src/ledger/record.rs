//! The record of one event.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// The schema version that this code writes.
pub const VERSION: u32 = 1;
/// Failed attempts that a record remembers.
pub const MOST_HISTORY: usize = 28;
/// Bytes of an error's text that a record keeps.
pub const MOST_ERROR_TEXT: usize = 256;
/// Bytes of the text of an earlier attempt that a record keeps: enough for a status and the beginning of an answer.
pub const MAX_EARLIER_TEXT: usize = 96;
/// Failed deliveries of one attempt that a record keeps. Each takes about 35 bytes of an item that is charged by the KB.
pub const MAX_DELIVERIES: usize = 8;

/// The class of the failure of an event that was handled, but of which `done` could not be written.
pub const UNCONFIRMED: &str = "unconfirmed";

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A worker holds the lease, or held it and crashed.
    Running,
    /// It failed and waits for its next attempt.
    Retryable,
    /// It was handled.
    Done,
    /// It was given up; a dead letter exists.
    Dead,
    /// An operator removed its dead letter.
    Purged,
}

impl Status {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Retryable => "retryable",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Purged => "purged",
        }
    }

    /// The status of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Retryable, Self::Done, Self::Dead, Self::Purged]
            .into_iter()
            .find(|status| status.word() == word)
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    /// A fixed word.
    pub class: String,
    /// What the other side said; never a body, cut to [`MOST_ERROR_TEXT`].
    pub text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.class, self.text)
    }
}

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct History {
    /// When it ended.
    pub at: Millis,
    /// The fence it held.
    pub fence: u64,
    /// The class of its failure.
    pub class: String,
    /// What was said, cut to [`MAX_EARLIER_TEXT`]; empty if the next attempt failed with the same words, or if there is no next
    /// attempt. [`Record::said`] knows the words.
    pub text: String,
    /// The deliveries that failed, at most [`MAX_DELIVERIES`].
    pub deliveries: Vec<FailedDelivery>,
}

/// A delivery that its destination did not accept. What the destination said stands in the text of the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FailedDelivery {
    /// The destination's id.
    pub destination: String,
    /// The status of its answer; 0 if there was no answer.
    pub status: u16,
    /// How long the delivery took, in milliseconds.
    pub took_ms: u32,
}

/// The record. Its key is the event's; everything else is here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Schema version.
    pub version: u32,
    /// Where the event stands.
    pub status: Status,
    /// Who holds or held the lease: a Lambda request id.
    pub owner: String,
    /// Grows with every change of hands; a write with an old fence has no effect.
    pub fence: u64,
    /// Until when the lease holds.
    pub lease_until: Millis,
    /// Attempts that were begun in this life.
    pub attempts: u64,
    /// When the event was first claimed or buried.
    pub first_seen: Millis,
    /// When the record was last written.
    pub updated_at: Millis,
    /// Digest of the content that belongs to the key.
    pub content: String,
    /// The source; empty for endpoints that are not ours.
    pub source: String,
    /// What happened, where the source says so.
    pub event_type: Option<String>,
    /// The last QStash message that brought it.
    pub message_id: String,
    /// Destinations that accepted it.
    pub delivered: Vec<String>,
    /// Destinations that refused it for good.
    pub refused: Vec<String>,
    /// Why it failed last.
    pub last_error: Option<Failure>,
    /// Its failed attempts, the newest last.
    pub history: Vec<History>,
    /// Since when it waits; only while retryable.
    pub open_since: Option<Millis>,
    /// The replay that is sending it again.
    pub replay: Option<String>,
    /// Rounds that the failure path has given it since its first, or since its last replay. It tells a story and decides nothing.
    pub round: u32,
    /// When the last of these rounds begins; kept when it has begun. It decides nothing either.
    pub next_at: Option<Millis>,
    /// When DynamoDB may forget it, in seconds since the epoch; only when done or purged.
    pub expires_at: Option<i64>,
}

impl Record {
    /// Whether the record's life has ended, DynamoDB's lazy deletion or not.
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at.saturating_mul(1_000) <= now)
    }

    /// Whether somebody may be working on it.
    pub fn is_leased(&self, now: Millis) -> bool {
        self.status == Status::Running && self.lease_until > now
    }

    /// Whether the event was handled, but `done` could not be written.
    pub fn is_unconfirmed(&self) -> bool {
        let is_class = |failure: &Failure| failure.class == UNCONFIRMED;
        self.status == Status::Retryable && self.last_error.as_ref().is_some_and(is_class)
    }

    /// Returns whether a worker has admitted the event of this content and type. The type may stand in a header, which others could have
    /// changed.
    pub fn has_admitted(&self, content: &str, event_type: Option<&str>) -> bool {
        self.attempts > 0 && self.content == content && self.event_type.as_deref() == event_type
    }

    /// Returns whether the record of a conflict is that of an event of its own. It is dead until an operator replays its letter as a new
    /// event, and again if that fails.
    pub fn is_replayed_conflict(&self, now: Millis) -> bool {
        matches!(self.status, Status::Retryable | Status::Running | Status::Done) && !self.is_expired(now)
    }

    /// Returns what was said when the attempt at this place of the history failed; empty if that is not known.
    pub fn said(&self, index: usize) -> &str {
        let Some(attempt) = self.history.get(index) else { return "" };
        let same = self.history[index..].iter().take_while(|later| later.class == attempt.class);
        let kept = same.clone().map(|later| later.text.as_str()).find(|text| !text.is_empty());
        let is_up_to_last = same.count() == self.history.len() - index;
        let last = self.last_error.as_ref().filter(|error| is_up_to_last && error.class == attempt.class);
        kept.or(last.map(|error| error.text.as_str())).unwrap_or_default()
    }

    /// Whether this lease may still write.
    pub fn is_held_by(&self, owner: &str, fence: u64) -> bool {
        self.owner == owner && self.fence == fence
    }
}
