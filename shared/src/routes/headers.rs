//! Which headers an operator may add to deliveries, and which of an event's own may be passed on.

use http::HeaderName;

use super::credentials::is_secret;

/// Headers of an event that every destination gets. All others stay with us: they may hold secrets of ours.
pub const PASSED_ON: [&str; 7] = [
    "content-type",
    "content-encoding",
    "traceparent",
    "tracestate",
    "x-strapi-event",
    "x-webhook-id",
    "x-webhook-retry",
];
/// Names that belong to the connection, to the body as it was published, or to us.
const RESERVED: [&str; 15] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// Whole families of them. `webhook-` is Standard Webhooks', `upstash-` QStash's.
const RESERVED_FAMILIES: [&str; 6] = ["proxy-", "surehook-", "upstash-", "webhook-", "x-amz", "x-forwarded-"];

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// Not a header's name.
    #[error("this is not the name of a header")]
    Name,
    /// Control characters, or text that is not ASCII.
    #[error("its value may have visible ASCII characters and spaces only")]
    Value,
    /// The name is not the operator's to use.
    #[error(
        "the name is reserved: it belongs to the connection, to QStash, to Standard Webhooks or to the body as it was published"
    )]
    Reserved,
    /// The value would be readable for everybody who may read the table.
    #[error(
        "its value would stand readable in the table; have the sender send it, and pass it on with forward = [\"…\"]"
    )]
    Secret,
}

/// Whether a header may be set to a fixed value.
pub fn settable(name: &str) -> Result<HeaderName, HeaderProblem> {
    let parsed = forwardable(name)?;
    // With a fixed one, receivers would take all events for the same.
    let is_fixed_id = parsed.as_str() == "idempotency-key";
    if is_secret(parsed.as_str()) || is_fixed_id { Err(HeaderProblem::Secret) } else { Ok(parsed) }
}

/// Whether a header of the event may be passed on where a route asks for it.
pub fn forwardable(name: &str) -> Result<HeaderName, HeaderProblem> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_bad| HeaderProblem::Name)?;
    let reserved = RESERVED.contains(&parsed.as_str())
        || RESERVED_FAMILIES.iter().any(|family| parsed.as_str().starts_with(family));
    if reserved { Err(HeaderProblem::Reserved) } else { Ok(parsed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_refused_in_any_spelling() {
        for name in
            ["Host", "content-length", "Webhook-Id", "UPSTASH-SIGNATURE", "Surehook-Event", "Proxy-Authorization"]
        {
            assert_eq!(forwardable(name).unwrap_err(), HeaderProblem::Reserved, "{name}");
            assert_eq!(settable(name).unwrap_err(), HeaderProblem::Reserved, "{name}");
        }
        for name in ["", "a b", "x\r\ny", "naïve"] {
            assert_eq!(forwardable(name).unwrap_err(), HeaderProblem::Name, "{name}");
        }
    }

    #[test]
    fn a_secret_may_be_passed_on_but_not_stand_in_the_table() {
        for name in [
            "Authorization",
            "X-Gitlab-Token",
            "apikey",
            "X-Functions-Key",
            "Cookie",
            "X_Api_Key",
            "X-Session-Id",
            "X-Credentials",
            "X-Hub-Signature-256",
        ] {
            assert_eq!(settable(name).unwrap_err(), HeaderProblem::Secret, "{name}");
        }
        assert!(forwardable("Authorization").is_ok());
        for name in ["x-tenant", "X-Author", "X-Keyword", "X-Authority"] {
            assert!(settable(name).is_ok(), "{name}");
        }
    }
}
