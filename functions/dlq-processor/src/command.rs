//! What the processor can be told, and what it answers: the JSON of a direct invocation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use surehook::{Millis, ledger::DeadLetter};

/// One command, as in `{"command": "list", "filter": {"source": "strapi"}}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Command {
    /// Take over what is stranded. The schedule sends this.
    Sweep,
    /// Heads of dead letters, the newest first.
    List {
        /// Which.
        #[serde(default)]
        filter: Filter,
        /// How many; 50 unless told.
        #[serde(default = "fifty")]
        limit: usize,
        /// Go on after the page that ended with this `next`.
        #[serde(default)]
        after: Option<String>,
    },
    /// One dead letter, whole.
    Show {
        /// Its id.
        id: String,
        /// Show secret headers as well.
        #[serde(default)]
        reveal: bool,
    },
    /// Send dead letters again.
    Replay {
        /// Which.
        selection: Selection,
        /// Only say which.
        #[serde(default)]
        dry_run: bool,
    },
    /// Remove dead letters for good.
    Purge {
        /// Which.
        selection: Selection,
        /// Only say which.
        #[serde(default)]
        dry_run: bool,
    },
    /// How many letters there are, by reason, source and fingerprint.
    Stats,
    /// Events that have waited longer than every retry can take.
    Stranded {
        /// How many at most; 50 unless told.
        #[serde(default = "fifty")]
        limit: usize,
        /// Look through the whole table first, instead of trusting the sweeps to have done so within the last days.
        #[serde(default)]
        deep: bool,
    },
}

fn fifty() -> usize {
    50
}

/// Letters for which everything that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Filter {
    /// The source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The event type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Why it was buried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// A part of its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Buried at or after, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
    /// Buried before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

impl Filter {
    /// Whether a letter is meant.
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        let equal = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        equal(&self.source, &letter.source)
            && equal(&self.event_type, letter.event_type.as_deref().unwrap_or_default())
            && equal(&self.reason, &letter.reason)
            && equal(&self.fingerprint, &letter.fingerprint)
            && self.endpoint.as_ref().is_none_or(|part| letter.url.contains(part.as_str()))
            && self.since.is_none_or(|since| letter.at >= since)
            && self.until.is_none_or(|until| letter.at < until)
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A choice of letters. Saying nothing chooses nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Selection {
    /// These.
    pub ids: Vec<String>,
    /// Those of which this is true.
    pub filter: Filter,
    /// Every one.
    pub all: bool,
}

/// What was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// Of a sweep.
    Swept(Sweep),
    /// Of a list.
    Listed(Page),
    /// Of a show.
    Shown(Box<Shown>),
    /// Of a replay.
    Replayed(Done),
    /// Of a purge.
    Purged(Done),
    /// Of stats.
    Counted(Stats),
    /// Of stranded.
    Stranded(Vec<StrandedEvent>),
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
    /// Outbox rows that QStash refuses for good.
    pub outbox_buried: u64,
    /// Outbox rows that still wait.
    pub outbox_left: u64,
    /// Events that have waited longer than every retry can take.
    pub stranded: u64,
    /// Whether time ran out; the next sweep goes on.
    pub cut_short: bool,
}

/// A head as lists show it.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A whole letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Its head.
    pub head: Head,
    /// The event's key.
    pub event: String,
    /// The HTTP method.
    pub method: String,
    /// The headers, secret ones hidden unless asked for.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The last message.
    pub message_id: String,
    /// Rounds that it had.
    pub rounds: u32,
    /// SHA-256 of the body.
    pub body_sha256: String,
    /// The body, where it is text.
    pub body: Option<String>,
    /// The body in base64, where it is not.
    pub body_base64: Option<String>,
    /// Destinations that accepted the event.
    pub delivered: Vec<String>,
    /// The record's failed attempts: time, fence, class.
    pub history: Vec<(Millis, u64, String)>,
}

/// What happened to chosen letters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// Those that it happened to, or would.
    pub ids: Vec<String>,
    /// Those that it did not happen to, and why.
    pub refused: Vec<(String, String)>,
    /// Those that there was no time for: ask again.
    pub left: u64,
    /// Whether it was only asked.
    pub dry_run: bool,
}

/// Counts of letters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// All.
    pub letters: u64,
    /// By reason.
    pub by_reason: BTreeMap<String, u64>,
    /// By source.
    pub by_source: BTreeMap<String, u64>,
    /// By cause.
    pub by_fingerprint: BTreeMap<String, u64>,
}

/// An event that waits too long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StrandedEvent {
    /// Its key.
    pub event: String,
    /// Its source.
    pub source: String,
    /// Since when it waits.
    pub since: Millis,
    /// Attempts so far.
    pub attempts: u64,
    /// Its last error.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_they_are_documented() {
        for json in [
            r#"{"command":"sweep"}"#,
            r#"{"command":"list"}"#,
            r#"{"command":"list","filter":{"eventType":"entry.create"},"limit":5}"#,
            r#"{"command":"show","id":"x"}"#,
            r#"{"command":"replay","selection":{"ids":["x"]},"dryRun":true}"#,
            r#"{"command":"purge","selection":{"all":true}}"#,
            r#"{"command":"stats"}"#,
        ] {
            assert!(serde_json::from_str::<Command>(json).is_ok(), "{json}");
        }
    }

    #[test]
    fn a_misspelt_filter_never_means_everything() {
        assert!(
            serde_json::from_str::<Command>(r#"{"command":"purge","selection":{"filter":{"sorce":"x"}}}"#).is_err()
        );
        assert!(serde_json::from_str::<Command>(r#"{"command":"purge"}"#).is_err());
    }
}
