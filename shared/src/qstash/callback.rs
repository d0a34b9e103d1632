//! Failure callbacks: QStash's notice that a message was given up. The notice names a dead-letter-queue entry, and that
//! entry is the truth; so little is read here, and leniently.

use serde::Deserialize;

/// A failure callback's body.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureCallback {
    /// The entry that the message became.
    #[serde(default)]
    pub dlq_id: Option<String>,
    /// The message that failed.
    pub source_message_id: String,
    /// The URL that it was sent to.
    pub url: String,
}

impl FailureCallback {
    /// Reads a callback.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_and_documented_shapes_are_read() {
        let captured =
            br#"{"status":503,"header":{"A":["b"]},"sourceMessageId":"msg_1","url":"https://h/","method":"POST",
            "sourceHeader":{"A":["b"]},"sourceBody":"e30=","maxRetries":3,"createdAt":1725323658779,"dlqId":"1-0"}"#;
        let documented = br#"{"status":503,"retried":3,"sourceMessageId":"msg_1","url":"https://h/","dlqId":"1-0",
            "sourceHeader":{"A":"b"},"createdAt":"1725323658779","body":"REDACTED:00"}"#;
        for body in [&captured[..], &documented[..]] {
            let callback = FailureCallback::parse(body).unwrap();
            assert_eq!(callback.dlq_id.as_deref(), Some("1-0"));
            assert_eq!(callback.source_message_id, "msg_1");
        }
    }

    #[test]
    fn fields_that_nothing_uses_may_hold_anything() {
        let body = br#"{"status":"503","retried":-1,"sourceMessageId":"msg_1","url":"https://h/","dlqId":"1-0"}"#;
        assert_eq!(FailureCallback::parse(body).unwrap().dlq_id.as_deref(), Some("1-0"));
    }

    #[test]
    fn a_notice_without_its_message_is_undecodable() {
        assert!(FailureCallback::parse(br#"{"url":"https://h/"}"#).is_err());
        assert!(FailureCallback::parse(b"not json").is_err());
    }
}
