//! What the processor answers: the JSON of a direct invocation.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use surehook::Millis;

use crate::{Cursor, why::Story};

/// What was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// Of a sweep.
    Swept(Sweep),
    /// Of a list.
    Listed(Page),
    /// Of causes.
    Caused(Causes),
    /// Of a show.
    Shown(Box<Shown>),
    /// Of a body.
    Part(Part),
    /// Of a replay.
    Replayed(Done),
    /// Of outcomes, by letter id.
    Outcomes(BTreeMap<String, Fate>),
    /// Of a purge.
    Purged(Done),
    /// Of stranded.
    Stranded(Vec<StrandedEvent>),
    /// Of a dismissal.
    Dismissed(Done),
    /// Of why.
    Story(Box<Story>),
    /// Of permissions.
    Permissions(Permissions),
}

/// What a sweep found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sweep {
    /// Entries of QStash's dead-letter queue that were looked at.
    pub entries: u64,
    /// Those that are delivered again.
    pub requeued: u64,
    /// Those that became dead letters.
    pub buried: u64,
    /// Those that no route takes, and that are kept as dead letters for a while.
    pub unmatched: u64,
    /// Those that needed nothing.
    pub settled: u64,
    /// Those that a worker is handling.
    pub busy: u64,
    /// Those that belong to somebody else of the account.
    pub not_ours: u64,
    /// Those that could not be settled now.
    pub failed: u64,
    /// Replays that were cut short and are finished.
    pub replays_finished: u64,
    /// Outbox rows that were published.
    pub published: u64,
    /// Outbox rows that became dead letters: QStash rejects them, or their topic had no endpoints for too long.
    pub outbox_buried: u64,
    /// Outbox rows that still wait, those of topics without endpoints included.
    pub outbox_left: u64,
    /// Topics without endpoints, whose rows are held.
    pub held_topics: u64,
    /// How long the oldest of them has waited, in seconds.
    pub outbox_age: u64,
    /// Events that have waited longer than every retry can take.
    pub stranded: u64,
    /// How long ago the event that waits longest was first seen, in seconds.
    pub oldest_waiting: u64,
    /// Causes for which events wait, and that no sweep of the last hour reported.
    pub new_faults: u64,
    /// How long ago the oldest entry of ours that is left in QStash's dead-letter queue was published, in seconds.
    pub dlq_oldest: u64,
    /// Sources of which the producer rejected at least half of the plausible requests in the last hour.
    pub rejecting_sources: u64,
    /// Sources that were silent for too long; `None` where no source has a `silence`.
    pub silent_sources: Option<u64>,
    /// Entries that our own consumer answered with 401, 403 or 404.
    pub misconfigured: u64,
    /// Whether time ran out; the next sweep goes on.
    pub cut_short: bool,
    /// Whether time ran out for the outbox, so far.
    #[serde(skip)]
    pub outbox_cut_short: bool,
    /// Whether another run was at work, so that this one only measured what waits.
    pub is_another_at_work: bool,
    /// What was left alone, and why: the first of each kind.
    pub left: Vec<String>,
}

/// A head as lists show it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Its id.
    pub id: String,
    /// When it was buried, in milliseconds since the epoch.
    pub at: Millis,
    /// Why.
    pub reason: String,
    /// The last status; 0 where there was no answer.
    pub status: u16,
    /// What was said last.
    pub error: String,
    /// Its cause.
    pub fingerprint: String,
    /// Its source.
    pub source: String,
    /// Its type.
    pub event_type: Option<String>,
    /// Its URL.
    pub url: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether a replay is under way.
    pub replaying: bool,
}

/// A page of heads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The heads, the newest first.
    pub letters: Vec<Head>,
    /// Heads that can't be read, and why.
    pub unreadable: Vec<String>,
    /// Where the next page begins.
    pub next: Option<Cursor>,
}

/// Letters by cause.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Causes {
    /// Letters that were counted.
    pub letters: u64,
    /// By fingerprint.
    pub causes: BTreeMap<String, CauseCount>,
    /// Heads that can't be read, and why.
    pub unreadable: Vec<String>,
    /// Where counting goes on; absent when all are counted.
    pub next: Option<Cursor>,
}

/// What letters of one fingerprint have in common.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CauseCount {
    /// How many.
    pub letters: u64,
    /// How many of them are being replayed.
    pub replaying: u64,
    /// When the first was buried.
    pub first: Millis,
    /// The newest of them, as an example.
    pub example: Head,
    /// Why they were given up.
    pub reasons: BTreeSet<String>,
}

/// A whole letter, but for the rest of a large body.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Its head.
    pub head: Head,
    /// The event's key.
    pub event: String,
    /// When it failed first.
    pub first_failed: Millis,
    /// The HTTP method.
    pub method: String,
    /// The headers, secret ones hidden unless asked for.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The last message.
    pub message_id: String,
    /// The first message.
    pub first_message_id: String,
    /// Rounds that it had.
    pub rounds: u32,
    /// SHA-256 of the body.
    pub body_sha256: String,
    /// Whether the body is hidden from us; only QStash has it then.
    #[serde(default)]
    pub redacted: bool,
    /// The start of the body, where it is text.
    pub body: Option<String>,
    /// The start of the body in base64, where it is not.
    pub body_base64: Option<String>,
    /// Whether that is all of it; if not, ask for it in parts.
    pub body_is_whole: bool,
    /// The answer that it was given up with.
    pub response: Answered,
    /// Destinations that accepted the event, by name.
    pub delivered: Vec<String>,
    /// The record's failed attempts, the oldest first.
    pub history: Vec<FailedAttempt>,
    /// The event that it collides with, if it is a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<Conflict>,
}

/// The event that came before under the id of a conflict, with other content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Its key.
    pub with: String,
    /// Its status; absent if its record has expired.
    pub status: Option<String>,
}

/// The last answer to an event that was given up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    /// Its status; 0 where there was no answer.
    pub status: u16,
    /// Its headers, secret ones hidden unless asked for.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The start of its body.
    pub body: String,
    /// The size of its body in bytes.
    pub size: u64,
}

/// An attempt that failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedAttempt {
    /// When it ended.
    pub at: Millis,
    /// The fence that it held.
    pub fence: u64,
    /// The class of its failure.
    pub class: String,
    /// What was said, by all destinations that failed.
    #[serde(default)]
    pub said: String,
    /// The deliveries that failed, at most eight; none where a handler of your own ran.
    #[serde(default)]
    pub deliveries: Vec<FailedDelivery>,
}

/// A delivery that its destination did not accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedDelivery {
    /// The destination's name in the routes of today.
    pub destination: String,
    /// Its URL in the routes of today, without the query, which may hold a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The status of its answer; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The first bytes of its answer, or why there was none.
    pub reason: String,
    /// How long the delivery took, in milliseconds.
    pub duration_ms: u32,
}

/// A part of a body.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// The bytes, in base64.
    pub base64: String,
    /// Where the next part begins; absent after the last.
    pub next: Option<usize>,
}

/// What happened to chosen letters or events.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// Those that it happened to, or would.
    pub ids: Vec<String>,
    /// Those that it did not happen to, and why.
    pub refused: Vec<(String, String)>,
    /// Heads that can't be read, and why.
    pub unreadable: Vec<String>,
    /// Where the rest begins: ask again behind it, with the same end.
    pub next: Option<Cursor>,
    /// The end of a selection by filter, in milliseconds since the epoch: what was buried later was not meant.
    #[serde(default)]
    pub until: Option<Millis>,
    /// Why the rest was not tried: QStash or the table is away.
    #[serde(default)]
    pub stopped: Option<String>,
    /// Whether it was only asked.
    pub dry_run: bool,
}

/// What became of a replayed letter, as the ledger has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// Its event was handled.
    Done,
    /// An attempt since the replay failed, or it was given up again.
    Failed,
    /// No attempt has ended yet.
    Waiting,
    /// The ledger does not follow it: its endpoint is not our consumer, or it was filed under a key of its own.
    Unknown,
}

/// Whether the role grants the transactions of replays and purges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// DynamoDB's message if it denies them.
    pub denied: Option<String>,
}

/// Why an event is listed as stranded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StrandedState {
    /// It waits longer than every retry can take.
    #[default]
    Stranded,
    /// It was handled and QStash was told so, but `done` could not be written.
    Unconfirmed,
}

impl StrandedState {
    /// Returns its word in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stranded => "stranded",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// An event that QStash no longer delivers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StrandedEvent {
    /// Its key.
    pub event: String,
    /// Why it is listed.
    #[serde(default)]
    pub state: StrandedState,
    /// Its source.
    pub source: String,
    /// Since when it waits.
    pub since: Millis,
    /// Attempts so far.
    pub attempts: u64,
    /// Its last error.
    pub error: Option<String>,
}
