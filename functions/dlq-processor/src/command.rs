//! What the processor can be told: the JSON of a direct invocation. [`crate::reply`] is what it answers.
//!
//! No command takes longer than a function may run, and no answer is larger than a function may give: whoever wants more
//! asks again behind the `next` of the answer before.

use std::fmt;

use serde::{Deserialize, Serialize};
use surehook::{
    Millis,
    ledger::DeadLetter,
    routes::{matches_type, said_by},
    store::shelves::{Order, Place, Walk},
};

use crate::Rate;

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
        /// Go on behind the page that ended with this `next`.
        #[serde(default)]
        after: Option<Cursor>,
    },
    /// Dead letters grouped by their fingerprint.
    Causes {
        /// Which.
        #[serde(default)]
        filter: Filter,
        /// Go on behind the letters that were counted up to this `next`.
        #[serde(default)]
        after: Option<Cursor>,
    },
    /// One dead letter with its request, its last answer and its history.
    Show {
        /// Its id.
        id: String,
        /// Show secret headers as well.
        #[serde(default)]
        reveal: bool,
    },
    /// A part of a dead letter's body, in base64.
    Body {
        /// The letter's id.
        id: String,
        /// The first byte of the part.
        #[serde(default)]
        offset: usize,
    },
    /// Send dead letters again, the oldest first.
    Replay {
        /// Which.
        selection: Selection,
        /// Only say which.
        #[serde(default)]
        dry_run: bool,
        /// How many at most; 1,000 unless told.
        #[serde(default = "thousand")]
        limit: usize,
        /// Go on behind those that were replayed up to this `next`.
        #[serde(default)]
        after: Option<Cursor>,
        /// How fast QStash delivers them.
        #[serde(default)]
        rate: Option<Rate>,
        /// Send conflicts, each as an event of its own.
        #[serde(default)]
        as_new: bool,
    },
    /// What became of letters that were replayed.
    Outcomes {
        /// Their ids.
        ids: Vec<String>,
    },
    /// Remove dead letters for good.
    Purge {
        /// Which.
        selection: Selection,
        /// Only say which.
        #[serde(default)]
        dry_run: bool,
        /// How many at most; 1,000 unless told.
        #[serde(default = "thousand")]
        limit: usize,
        /// Go on behind those that were removed up to this `next`.
        #[serde(default)]
        after: Option<Cursor>,
    },
    /// Events that have waited longer than every retry can take.
    Stranded {
        /// How many at most; 50 unless told.
        #[serde(default = "fifty")]
        limit: usize,
        /// Look through the whole table first, instead of trusting the sweeps to have done so within the last days.
        #[serde(default)]
        deep: bool,
    },
    /// End stranded events that somebody has seen to elsewhere.
    Dismiss {
        /// Their keys.
        events: Vec<String>,
        /// End also those of which QStash's log says nothing.
        #[serde(default)]
        force: bool,
    },
    /// The story of one event.
    Why {
        /// An event key, a QStash message id, or a dead letter's id.
        subject: String,
        /// Look through the whole table for a message that QStash knows no more.
        #[serde(default)]
        deep: bool,
    },
    /// Prove that the function's role grants its transactions. Writes nothing.
    Permissions,
}

impl Command {
    /// Its name, as in the JSON and in logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::List { .. } => "list",
            Self::Causes { .. } => "causes",
            Self::Show { .. } => "show",
            Self::Body { .. } => "body",
            Self::Replay { .. } => "replay",
            Self::Outcomes { .. } => "outcomes",
            Self::Purge { .. } => "purge",
            Self::Stranded { .. } => "stranded",
            Self::Dismiss { .. } => "dismiss",
            Self::Why { .. } => "why",
            Self::Permissions => "permissions",
        }
    }
}

fn fifty() -> usize {
    50
}

fn thousand() -> usize {
    1_000
}

/// Where a page ended, as text: `<ms>/<letter id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(pub Place);

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not the end of a page: take `next` as an earlier answer gave it")]
pub struct NotACursor(String);

impl TryFrom<String> for Cursor {
    type Error = NotACursor;

    fn try_from(text: String) -> Result<Self, NotACursor> {
        let parts =
            text.split_once('/').and_then(|(at, id)| Some((at.parse().ok()?, DeadLetter::parse_id(id).map(|_| id)?)));
        let (at, id) = parts.ok_or_else(|| NotACursor(text.clone()))?;
        Ok(Self(Place { at, id: id.to_owned() }))
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.0.at, self.0.id)
    }
}

/// Letters for which everything that is given holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Filter {
    /// The source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The event type; `*` stands for anything, as in routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Why it was buried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its cause: a fingerprint, or how it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// A part of the URL that QStash sent it to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The name of a destination that refused it or was not ready, as the routes have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Buried at or after, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
    /// Buried before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

impl Filter {
    /// The walk through all letters that may be meant.
    pub fn walk(&self, order: Order, after: Option<Cursor>) -> Walk {
        let all = Walk::all(order);
        Walk {
            since: self.since.unwrap_or(all.since),
            until: self.until.unwrap_or(all.until),
            after: after.map(|cursor| cursor.0),
            ..all
        }
    }

    /// Whether a letter is meant.
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        let equal = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let kind = letter.event_type.as_deref().unwrap_or_default();
        equal(&self.source, &letter.source)
            && self.event_type.as_ref().is_none_or(|pattern| matches_type(pattern, kind))
            && equal(&self.reason, &letter.reason)
            && self.fingerprint.as_ref().is_none_or(|start| letter.fingerprint.starts_with(&start.to_ascii_lowercase()))
            && self.destination.as_ref().is_none_or(|name| said_by(&letter.error, name).is_some())
            && self.endpoint.as_ref().is_none_or(|part| letter.url.contains(part.as_str()))
            && self.since.is_none_or(|since| letter.at >= since)
            && self.until.is_none_or(|until| letter.at < until)
    }

    /// What is given but empty: a variable that was not set must not mean everything.
    pub fn empty_part(&self) -> Option<&'static str> {
        let parts = [
            ("source", &self.source),
            ("eventType", &self.event_type),
            ("reason", &self.reason),
            ("fingerprint", &self.fingerprint),
            ("endpoint", &self.endpoint),
            ("destination", &self.destination),
        ];
        parts
            .into_iter()
            .find(|(_, value)| value.as_ref().is_some_and(|value| value.trim().is_empty()))
            .map(|(name, _)| name)
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
            r#"{"command":"causes","filter":{"since":1}}"#,
            r#"{"command":"replay","selection":{"all":true},"rate":"50/s","limit":9}"#,
            r#"{"command":"replay","selection":{"ids":["x"]},"asNew":true}"#,
            r#"{"command":"why","subject":"msg_1"}"#,
            r#"{"command":"permissions"}"#,
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

    #[test]
    fn a_cursor_that_is_none_is_refused_instead_of_beginning_anew() {
        let id = format!("{}-7", "a".repeat(64));
        let cursor = Cursor::try_from(format!("12/{id}")).unwrap();
        assert_eq!((cursor.0.at, cursor.to_string()), (12, format!("12/{id}")));
        for bad in ["", "12", "x/y", "12/y", "/"] {
            assert!(Cursor::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
