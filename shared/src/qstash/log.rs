//! Entries of QStash's log: what became of a message, for whoever asks.

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;

use super::{Client, ClientError, client::decode, lenient};

/// One entry. The documentation calls the list `logs` on one page and `events` on another; both are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogEntry {
    /// When, in milliseconds since the epoch.
    #[serde(deserialize_with = "lenient::number")]
    pub time: Option<i64>,
    /// Which message.
    pub message_id: String,
    /// What happened: `CREATED`, `ACTIVE`, `RETRY`, `DELIVERED`, `FAILED` and others.
    pub state: String,
    /// Where it goes.
    pub url: String,
    /// The headers of its delivery.
    #[serde(deserialize_with = "lenient::headers")]
    pub header: lenient::Headers,
    /// The message's body in base64.
    body: Option<String>,
    /// When it is tried again, in milliseconds since the epoch.
    #[serde(deserialize_with = "lenient::number")]
    pub next_delivery_time: Option<i64>,
    /// The answer's status.
    #[serde(deserialize_with = "lenient::number")]
    pub response_status: Option<i64>,
    /// How often QStash tries again.
    #[serde(deserialize_with = "lenient::number")]
    pub max_retries: Option<i64>,
    retry_delay_expression: Option<String>,
    retry_delay_expr: Option<String>,
    /// Who hears of a failure.
    pub failure_callback: Option<String>,
    /// What QStash says went wrong.
    pub error: Option<String>,
}

impl LogEntry {
    /// The expression of the wait before each retry. Upstash's documentation and its Python SDK have different names for it.
    pub fn retry_delay(&self) -> Option<&str> {
        self.retry_delay_expression.as_deref().or(self.retry_delay_expr.as_deref())
    }

    /// The message's body; `None` where the log does not show it.
    pub fn body(&self) -> Option<Vec<u8>> {
        self.body.as_deref().and_then(|encoded| lenient::body(None, Some(encoded)))
    }
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEnd {
    /// Its endpoint answered 2xx.
    Delivered,
    /// QStash gave it up.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// Returns how a message ended, by the entries of its log; `None` while it is under way, or where the log has forgotten its end. Entries
/// of one millisecond come in no order, but a message has one end, and nothing follows it.
pub fn end_of(entries: &[LogEntry]) -> Option<LogEnd> {
    entries.iter().find_map(|entry| match entry.state.as_str() {
        "DELIVERED" => Some(LogEnd::Delivered),
        "FAILED" => Some(LogEnd::Failed),
        "CANCELLED" | "CANCELED" => Some(LogEnd::Cancelled),
        _ => None,
    })
}

/// Returns the entries of a log that comes newest first, the oldest first. Sorting is stable, so the list is turned around before
/// it is sorted: entries of one millisecond keep the order in which they happened.
fn in_order(newest_first: impl DoubleEndedIterator<Item = LogEntry>) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = newest_first.rev().collect();
    entries.sort_by_key(|entry| entry.time);
    entries
}

/// A page of the log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Logs {
    pub(super) logs: Vec<LogEntry>,
    pub(super) events: Vec<LogEntry>,
    pub(super) cursor: Option<String>,
}

impl Logs {
    /// Returns the entries, whichever list has them. A server may fill both.
    pub(super) fn entries(self) -> Vec<LogEntry> {
        if self.logs.is_empty() { self.events } else { self.logs }
    }
}

impl Client {
    /// What QStash's log says of a message, the oldest first; the log is kept for days, by plan.
    pub async fn logs(&self, message: &str) -> Result<Vec<LogEntry>, ClientError> {
        let listed = self.read_logs(&[("messageId", message)]).await?.entries();
        Ok(in_order(listed.into_iter().filter(|entry| entry.message_id == message)))
    }

    /// What QStash's log says of the last message of a topic.
    pub async fn last_of_topic(&self, topic: &str) -> Result<Option<LogEntry>, ClientError> {
        let logs = self.read_logs(&[("topicName", topic), ("count", "10")]).await?;
        Ok(logs.entries().into_iter().max_by_key(|entry| entry.time))
    }

    /// A page of the whole log, the newest entry first, and where the next page begins.
    pub async fn log_page(&self, cursor: Option<&str>) -> Result<(Vec<LogEntry>, Option<String>), ClientError> {
        let from = cursor.map(|cursor| ("cursor", cursor));
        let query: Vec<(&str, &str)> = [("count", "100")].into_iter().chain(from).collect();
        let mut page = self.read_logs(&query).await?;
        let next = page.cursor.take().filter(|cursor| !cursor.is_empty());
        Ok((page.entries(), next))
    }

    async fn read_logs(&self, query: &[(&str, &str)]) -> Result<Logs, ClientError> {
        let mut url = self.url(&["v2", "logs"])?;
        url.query_pairs_mut().extend_pairs(query);
        decode(self.send(Method::GET, url, &[], Bytes::new()).await?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_documented_shapes_are_read() {
        for list in ["logs", "events"] {
            let json =
                format!(r#"{{"{list}":[{{"time":"17","messageId":"m","state":"RETRY","body":"e30=","url":"u"}}]}}"#);
            let logs: Logs = serde_json::from_str(&json).unwrap();
            let entry = logs.entries().remove(0);
            assert_eq!((entry.time, entry.body().as_deref()), (Some(17), Some(&b"{}"[..])));
        }
    }

    #[test]
    fn a_message_has_ended_once_its_log_says_so_in_whatever_order() {
        let log = |states: &[&str]| -> Vec<LogEntry> {
            states.iter().map(|state| LogEntry { state: (*state).to_owned(), ..LogEntry::default() }).collect()
        };
        for (states, end) in [
            (&[][..], None),
            (&["CREATED", "ACTIVE", "RETRY"], None),
            (&["DELIVERED", "ACTIVE"], Some(LogEnd::Delivered)),
            (&["RETRY", "FAILED"], Some(LogEnd::Failed)),
            (&["CANCEL_REQUESTED", "CANCELED"], Some(LogEnd::Cancelled)),
        ] {
            assert_eq!(end_of(&log(states)), end, "{states:?}");
        }
    }

    #[test]
    fn entries_of_one_millisecond_keep_the_order_in_which_they_happened() {
        let entry =
            |(state, time): (&str, i64)| LogEntry { state: state.to_owned(), time: Some(time), ..LogEntry::default() };
        let newest_first = [("FAILED", 9), ("ERROR", 9), ("RETRY", 4), ("ACTIVE", 1), ("CREATED", 1)].map(entry);
        let states: Vec<String> = in_order(newest_first.into_iter()).into_iter().map(|entry| entry.state).collect();
        assert_eq!(states, ["CREATED", "ACTIVE", "RETRY", "ERROR", "FAILED"]);
    }

    #[test]
    fn a_redacted_body_is_no_body() {
        let entry: LogEntry = serde_json::from_str(r#"{"body":"REDACTED:00"}"#).unwrap();
        assert_eq!(entry.body(), None);
    }
}
