//! Dead letters: what is kept of an event that was given up, so that a person can see why, mend it and replay it.

use serde::{Deserialize, Serialize};

use crate::{
    Millis,
    digest::Sha256,
    identity::{EventKey, cut},
    qstash::{Region, lenient::Headers},
    routes::credentials::{is_credential, without_values},
};

/// The head of a dead letter. Its body is stored beside it, compressed, in as many chunks as it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub key: EventKey,
    /// The fence of the record that died; names the letter among those of its event.
    pub fence: u64,
    /// When it was buried.
    pub at: Millis,
    /// When it failed first, as far as is known: when its first round had ended.
    pub first_failed: Millis,
    /// Why: the word of a bury reason.
    pub reason: String,
    /// The last answer's status; 0 where there was none.
    pub status: u16,
    /// What the endpoint said last, cut to 256 bytes.
    pub error: String,
    /// Equal for letters that died of the same cause.
    pub fingerprint: String,
    /// The whole URL that it was sent to.
    pub url: String,
    /// Path and query below our base, by which a replay finds the consumer again; absent for endpoints that are not ours.
    pub path: Option<String>,
    /// The source; empty for endpoints that are not ours.
    pub source: String,
    /// The event's type, where known.
    pub event_type: Option<String>,
    /// The HTTP method.
    pub method: String,
    /// The headers that it was published with. A credential that no version of the routes has forwarded has its name without a value.
    pub headers: Headers,
    /// The message that was given up.
    pub message_id: String,
    /// The first message of the event, which a replay forwards.
    pub first_message_id: String,
    /// Rounds that it had.
    pub rounds: u32,
    /// Size of the body in bytes.
    pub size: u64,
    /// SHA-256 of the body, in hexadecimal.
    pub body_sha256: String,
    /// Whether the body was hidden from us; its entry then stays in QStash.
    pub redacted: bool,
    /// The event that a redacted letter is about, where our consumer's answer told it: the letter itself is named by its message.
    pub about: Option<EventKey>,
    /// The entry in QStash that it was made from.
    pub dlq_id: String,
    /// The region of QStash that has or had the entry; `None` where the stack named none.
    pub region: Option<Region>,
    /// The replay that is sending it again.
    pub replaying: Option<String>,
    /// The answer that it was given up with.
    pub response: Response,
}

/// The last answer to an event that was given up, as QStash kept it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Its headers.
    pub headers: Headers,
    /// The start of its body, as far as it is text: at most [`MOST_RESPONSE`] bytes.
    pub body: String,
    /// The size of the whole body in bytes.
    pub size: u64,
}

/// Bytes of an answer's body that a letter keeps, and of its headers.
pub const MOST_RESPONSE: usize = 8 * 1_024;

impl Response {
    /// Returns an answer as a letter keeps it: without the values of credentials.
    pub fn new(headers: Headers, body: &[u8]) -> Self {
        let mut room = MOST_RESPONSE;
        let mut fits = |name: &String, values: &Vec<String>| {
            let size = name.len() + values.iter().map(String::len).sum::<usize>();
            room.checked_sub(size).inspect(|left| room = *left).is_some()
        };
        let headers = headers.into_iter().filter(|(name, values)| fits(name, values)).collect();
        let headers = without_values(&headers, |name| !is_credential(name));
        let start = &body[..body.len().min(MOST_RESPONSE)];
        Self { headers, body: cut(String::from_utf8_lossy(start).into_owned(), MOST_RESPONSE), size: body.len() as u64 }
    }
}

impl DeadLetter {
    /// Names the letter: event key and fence.
    pub fn id(&self) -> String {
        format!("{}-{}", self.key, self.fence)
    }

    /// Takes a letter's name apart.
    pub fn parse_id(id: &str) -> Option<(EventKey, u64)> {
        let (key, fence) = id.rsplit_once('-')?;
        Some((EventKey::parse(key)?, fence.parse().ok()?))
    }

    /// The replay of this letter. It follows from the letter, so that repeating a replay is the same replay; the time of the
    /// burial tells letters apart whose records began anew.
    pub fn replay_id(&self) -> String {
        let parts = [b"replay", self.key.as_str().as_bytes(), &self.fence.to_be_bytes(), &self.at.to_be_bytes()];
        Sha256::of_parts(&parts).hex()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_large_answer_the_start_is_kept() {
        let headers =
            Headers::from([("a".to_owned(), vec!["x".repeat(9_000)]), ("b".to_owned(), vec!["y".to_owned()])]);
        let response = Response::new(headers, "ä".repeat(5_000).as_bytes());
        assert_eq!(response.headers.keys().collect::<Vec<_>>(), ["b"]);
        assert!(response.body.len() <= MOST_RESPONSE && response.body.starts_with("ää"));
        assert_eq!(response.size, 10_000);
    }

    #[test]
    fn an_answer_is_kept_without_the_cookies_that_it_set() {
        let headers = Headers::from([("Set-Cookie".to_owned(), vec!["session=s3cret".to_owned()])]);
        assert_eq!(Response::new(headers, b"").headers["Set-Cookie"], [""; 0]);
    }
}
