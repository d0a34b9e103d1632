//! Where QStash's documentation is silent or at odds with itself: what this server does, each choice in this one place.
//!
//! `docs/qstash-server.md` lists them with the reason for each. Those that a user may want otherwise are fields of [`Choices`]
//! (`--choose publish-status=200`); the rest are constants.

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// A duplicate is answered with 202 (documented).
pub(crate) const DUPLICATE: StatusCode = StatusCode::ACCEPTED;
/// Retries where a call does not say (documented).
pub(crate) const RETRIES: u32 = 3;
/// How long a deduplication id is remembered, in seconds: 10 minutes (documented; older pages say 90 days).
pub(crate) const DEDUPLICATION_SECONDS: u64 = 600;
/// The longest period of a rate: one week (documented).
pub(crate) const LONGEST_PERIOD_SECONDS: u64 = 7 * 86_400;
/// What a retry-delay expression may say at most: a day, like the documented backoff.
pub(crate) const LONGEST_RETRY_DELAY_MILLIS: f64 = 86_400_000.0;
/// The size of a batch call in all (changelog of December 2024); each message keeps to the plan's limit.
pub(crate) const BATCH_BYTES: usize = 100 * 1024 * 1024;
/// The word for a cancelled message in the log that the SDKs read (`/v2/events`): theirs, with one L, because Python's SDK
/// knows no other.
pub(crate) const CANCELLED_FOR_SDKS: &str = "CANCELED";
/// The word in the documented log (`/v2/logs`), with two.
pub(crate) const CANCELLED: &str = "CANCELLED";
/// Ids are prefix and so many characters of base 58 (seen).
pub(crate) const MESSAGE_ID_LENGTH: usize = 53;

/// Choices that can be made otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Choices {
    /// What a publish call is answered with: 201, as by other servers of this protocol; the API description says 200.
    pub publish_status: u16,
    /// What goes beyond the plan: 412 is documented for counts and sizes, 400 may be meant for the rest.
    pub quota_status: u16,
    /// Whether `Upstash-NonRetryable-Error` ends a message without the status 489. Only the pair is promised.
    pub header_alone_is_final: bool,
    /// Whether redirects are followed. Nothing says that QStash does: a redirect is a failed attempt.
    pub follow_redirects: bool,
    /// Whether `upstash-*` and `qstash_token` are taken out of the query before delivery.
    pub strip_query_options: bool,
    /// Whether content-based deduplication tells methods apart. The documentation does not name them.
    pub deduplicate_by_method: bool,
    /// Whether callbacks with a delay are refused when they are published (changelog of March 2025).
    pub refuse_delayed_callbacks: bool,
    /// Whether deliveries have `Upstash-Label`, which was seen with workflows only.
    pub send_label: bool,
    /// Whether one bad header in a batch rejects all of it (seen in 2026), instead of standing in the answer (documented).
    pub batch_all_or_nothing: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            publish_status: 201,
            quota_status: 412,
            header_alone_is_final: false,
            follow_redirects: false,
            strip_query_options: true,
            deduplicate_by_method: false,
            refuse_delayed_callbacks: true,
            send_label: false,
            batch_all_or_nothing: true,
        }
    }
}

/// A choice that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// It is not `name=value`.
    #[error("\"{0}\" is not <name>=<value>")]
    Shape(String),
    /// A status that would not be an answer to the question.
    #[error("\"{0}\": publish-status must be 200 to 299, quota-status 400 to 499")]
    Status(String),
    /// There is no such choice, or it does not take that value.
    #[error("\"{0}\" is no choice; docs/qstash-server.md lists their names and values")]
    Unknown(String, #[source] serde_json::Error),
}

impl Choices {
    /// The same with some of them made otherwise, each written `name=value`.
    pub fn with(self, given: &[String]) -> Result<Self, ChoiceError> {
        given.iter().try_fold(self, |choices, one| choices.with_one(one))
    }

    fn with_one(self, one: &str) -> Result<Self, ChoiceError> {
        let (name, value) = one.split_once('=').ok_or_else(|| ChoiceError::Shape(one.to_owned()))?;
        let mut all = serde_json::to_value(&self).expect("choices are numbers and booleans under fixed names");
        all[name] = serde_json::from_str(value).unwrap_or_else(|_word| value.into());
        let choices: Self = serde_json::from_value(all).map_err(|error| ChoiceError::Unknown(one.to_owned(), error))?;
        let fits = (200..300).contains(&choices.publish_status) && (400..500).contains(&choices.quota_status);
        if fits { Ok(choices) } else { Err(ChoiceError::Status(one.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_made_by_name() {
        let given = ["publish-status=200".to_owned(), "send-label=true".to_owned()];
        let choices = Choices::default().with(&given).unwrap();
        assert_eq!((choices.publish_status, choices.send_label, choices.quota_status), (200, true, 412));
        for bad in [
            "publish-status",
            "nothing=1",
            "send-label=perhaps",
            "publish-status=70000",
            "publish-status=100",
            "quota-status=42",
        ] {
            assert!(Choices::default().with(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
