//! What the rules are told, and why they refuse.

use super::record::{FailedDelivery, Failure, Record, Status, VERSION};
use crate::Millis;

/// What a worker says when it wants an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The Lambda request id.
    pub owner: String,
    /// Digest of the event's content.
    pub content: String,
    /// Its source.
    pub source: String,
    /// Its type, where known.
    pub event_type: Option<String>,
    /// The QStash message that brought it.
    pub message_id: String,
    /// The wall clock.
    pub now: Millis,
    /// Until when the lease shall hold.
    pub lease_until: Millis,
}

fn standing(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Running) => "is being worked on",
        Some(Status::Retryable) => "waits for its next attempt",
        Some(Status::Done) => "is done",
        Some(Status::Dead) => "was given up",
        Some(Status::Purged) => "was purged",
        None => "has no record, or changes too quickly: try again",
    }
}

impl Claim {
    /// A new life of a record, with this fence.
    pub fn fresh(&self, fence: u64) -> Record {
        Record {
            version: VERSION,
            status: Status::Running,
            owner: self.owner.clone(),
            fence,
            lease_until: self.lease_until,
            attempts: 1,
            first_seen: self.now,
            updated_at: self.now,
            content: self.content.clone(),
            source: self.source.clone(),
            event_type: self.event_type.clone(),
            message_id: self.message_id.clone(),
            delivered: Vec::new(),
            refused: Vec::new(),
            last_error: None,
            history: Vec::new(),
            open_since: None,
            replay: None,
            round: 0,
            next_at: None,
            expires_at: None,
        }
    }
}

/// The right to finish one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Who holds it.
    pub owner: String,
    /// The fence that it was given.
    pub fence: u64,
}

/// What a failed attempt leaves behind.
#[derive(Debug, Clone, Default)]
pub struct Attempted {
    /// Destinations that accepted the event, now or before.
    pub delivered: Vec<String>,
    /// Destinations that refused it for good.
    pub refused: Vec<String>,
    /// The deliveries that failed.
    pub failed: Vec<FailedDelivery>,
}

/// What is known of an event that is buried.
#[derive(Debug, Clone)]
pub struct Burial {
    /// Digest of its content.
    pub content: String,
    /// Its source; empty for endpoints that are not ours.
    pub source: String,
    /// Its type, where known.
    pub event_type: Option<String>,
    /// The message that brought it.
    pub message_id: String,
    /// Why it is buried.
    pub failure: Failure,
    /// The wall clock.
    pub now: Millis,
}

/// Why a command has no effect. Each carries what the record says now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The event was handled.
    #[error("the event is done")]
    Done,
    /// Somebody else holds it until then.
    #[error("a worker has the event")]
    InProgress(Millis),
    /// The event was given up or purged.
    #[error("the event was given up or purged")]
    Dead,
    /// The key belongs to other content.
    #[error("its key belongs to an event of other content")]
    Conflict,
    /// The record's life has ended: renew it. Carries fence and expiry, which must be unchanged when it is renewed.
    #[error("its record has expired")]
    Expired {
        /// The fence that was read.
        fence: u64,
        /// The expiry that was read.
        expires_at: i64,
    },
    /// The record is not in the state that the command needs.
    #[error("the event {}", standing(*.0))]
    Changed(Option<Status>),
}
