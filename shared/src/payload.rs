//! Our own payload: what the producer publishes.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Millis;

/// `{"id", "topic", "eventType", "data", "timestamp", "retryCount"}`. `data` is any JSON and is kept byte for byte.
/// A payload without `id` or `topic` is valid: its raw body identifies it then.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload<'a> {
    /// The event's id: the sender's `Idempotency-Key` or `webhook-id`, else a fresh UUIDv7.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub id: Option<std::borrow::Cow<'a, str>>,
    /// The topic it was published to.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub topic: Option<std::borrow::Cow<'a, str>>,
    /// What happened, for example `order.created`.
    #[serde(borrow)]
    pub event_type: std::borrow::Cow<'a, str>,
    /// The event itself.
    #[serde(borrow)]
    pub data: &'a RawValue,
    /// When the producer took it, in milliseconds since the epoch.
    #[serde(default)]
    pub timestamp: Millis,
    /// 0 as published; later counts stand in the ledger.
    #[serde(default)]
    pub retry_count: u32,
}

impl<'a> Payload<'a> {
    /// Reads a payload without copying its data.
    pub fn parse(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_kept_byte_for_byte() {
        let body = br#"{"id":"1","topic":"t","eventType":"a.b","data":{"n": 1.00, "big":12345678901234567890},"timestamp":5,"retryCount":0}"#;
        let payload = Payload::parse(body).unwrap();
        assert_eq!(payload.data.get(), r#"{"n": 1.00, "big":12345678901234567890}"#);
        assert_eq!(serde_json::to_string(&payload).unwrap().as_bytes(), body);
    }

    #[test]
    fn id_and_topic_may_be_absent_but_event_type_and_data_may_not() {
        assert!(Payload::parse(br#"{"eventType":"a","data":null}"#).is_ok());
        assert!(Payload::parse(br#"{"data":{}}"#).is_err());
        assert!(Payload::parse(br#"{"eventType":"a"}"#).is_err());
        assert!(Payload::parse(b"[]").is_err());
    }
}
