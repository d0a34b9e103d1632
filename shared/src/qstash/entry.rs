//! Entries of QStash's dead-letter queue: messages that were given up, whole.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::lenient::{self, Headers};

/// One entry. Fields that the documentation and real answers disagree on are read leniently.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DlqEntry {
    /// The entry's id, opaque.
    pub dlq_id: String,
    /// The message's id; a retry from the queue gets a new one.
    pub message_id: String,
    /// The URL that it was sent to.
    pub url: String,
    /// The HTTP method of its delivery.
    pub method: Option<String>,
    /// The topic it was published to.
    pub topic_name: Option<String>,
    /// The headers of its delivery.
    #[serde(deserialize_with = "lenient::headers")]
    pub header: Headers,
    body: Option<String>,
    body_base64: Option<String>,
    /// The retries it had.
    #[serde(deserialize_with = "lenient::number")]
    pub max_retries: Option<i64>,
    /// When it was published, in milliseconds since the epoch.
    #[serde(deserialize_with = "lenient::number")]
    pub created_at: Option<i64>,
    /// When it is delivered, in milliseconds since the epoch; only while it waits.
    #[serde(deserialize_with = "lenient::number")]
    pub not_before: Option<i64>,
    /// Whom QStash told.
    pub failure_callback: Option<String>,
    /// The last answer's status; absent where there was none.
    #[serde(deserialize_with = "lenient::number")]
    pub response_status: Option<i64>,
    /// The last answer's headers.
    #[serde(deserialize_with = "lenient::headers")]
    pub response_header: Headers,
    response_body: Option<String>,
    response_body_base64: Option<String>,
}

/// A body that QStash shows only as `REDACTED:<digest>`, or in a spelling that we can't read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the entry's body is redacted or unreadable")]
pub struct HiddenBody;

impl DlqEntry {
    /// A message of which only this much is known.
    pub fn of_message(message_id: &str, url: &str, header: Headers, body: &[u8]) -> Self {
        let body_base64 = Some(STANDARD.encode(body));
        Self { message_id: message_id.to_owned(), url: url.to_owned(), header, body_base64, ..Self::default() }
    }

    /// The message's body, byte for byte.
    pub fn body(&self) -> Result<Vec<u8>, HiddenBody> {
        let shown = self.body_base64.as_deref().or(self.body.as_deref());
        if shown.is_some_and(|text| text.starts_with("REDACTED:")) {
            return Err(HiddenBody);
        }
        lenient::body(self.body.as_deref(), self.body_base64.as_deref()).ok_or(HiddenBody)
    }

    /// The last answer's body; empty where it can't be read.
    pub fn response_body(&self) -> Vec<u8> {
        lenient::body(self.response_body.as_deref(), self.response_body_base64.as_deref()).unwrap_or_default()
    }

    /// The status as a number; 0 where there was no answer.
    pub fn status(&self) -> u16 {
        self.response_status.and_then(|status| u16::try_from(status).ok()).unwrap_or_default()
    }

    /// A header of the delivery, whether the entry shows it with or without the prefix that it was published with.
    pub fn header(&self, name: &str) -> Option<&str> {
        lenient::header(&self.header, name)
            .or_else(|| lenient::header(&self.header, &format!("upstash-forward-{name}")))
    }

    /// The id that names this event under the `message` recipe: that of its first message.
    pub fn first_message_id(&self) -> &str {
        let forwarded = self.header(super::client::EVENT_HEADER).filter(|id| !id.starts_with("REDACTED:"));
        forwarded.unwrap_or(&self.message_id)
    }
}

/// A page of entries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct DlqPage {
    /// The entries, oldest first, each as it came: one that can't be read must not hide the others.
    pub messages: Vec<Box<RawValue>>,
    /// Where the next page begins; an empty one means that there is none.
    pub cursor: Option<String>,
}

impl DlqPage {
    /// The entries, or why one can't be read.
    pub fn entries(&self) -> impl Iterator<Item = Result<DlqEntry, serde_json::Error>> + '_ {
        self.messages.iter().map(|message| serde_json::from_str(message.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_that_can_not_be_read_does_not_hide_the_next() {
        let page: DlqPage =
            serde_json::from_str(r#"{"messages":[{"dlqId":7},{"dlqId":"2-0","header":{"A":null}}]}"#).unwrap();
        let entries: Vec<_> = page.entries().collect();
        assert!(entries[0].is_err());
        assert_eq!(entries[1].as_ref().unwrap().dlq_id, "2-0");
    }

    fn entry(json: &str) -> DlqEntry {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn bodies_of_both_spellings_are_read() {
        assert_eq!(entry(r#"{"body":"{}"}"#).body().unwrap(), b"{}");
        assert_eq!(entry(r#"{"bodyBase64":"/wA="}"#).body().unwrap(), [0xff, 0]);
        assert_eq!(entry("{}").body().unwrap(), b"");
    }

    #[test]
    fn a_redacted_body_is_told_from_a_real_one() {
        assert_eq!(entry(r#"{"body":"REDACTED:abc"}"#).body().unwrap_err(), HiddenBody);
        assert_eq!(entry(r#"{"bodyBase64":"REDACTED:abc"}"#).body().unwrap_err(), HiddenBody);
    }

    #[test]
    fn headers_numbers_and_absences_are_read_leniently() {
        let entry = entry(
            r#"{"header":{"Content-Type":["a/b"],"X":"y"},"responseStatus":"503","createdAt":17,"header2":null,
                "responseHeader":null,"maxRetries":{}}"#,
        );
        assert_eq!(entry.header("content-type"), Some("a/b"));
        assert_eq!(entry.header("x"), Some("y"));
        assert_eq!((entry.status(), entry.created_at), (503, Some(17)));
    }

    #[test]
    fn the_first_message_id_survives_retries_from_the_queue() {
        let entry = entry(r#"{"messageId":"msg_2","header":{"Upstash-Forward-Surehook-Event":["msg_1"]}}"#);
        assert_eq!(entry.first_message_id(), "msg_1");
    }
}
