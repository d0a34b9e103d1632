//! Which header values are printed without `--reveal`.
//!
//! The list names headers that hold no secret. A list of secret names can't be complete, because senders choose the names, so every
//! header that is not listed here is hidden.

use crate::qstash::lenient::{Headers, bare_name};

/// Stands for each hidden value, in JSON too.
pub const HIDDEN: &str = "(hidden)";

/// Stands for a value that the table does not keep.
pub const NOT_STORED: &str = "(not stored)";

/// Headers of HTTP itself that say how a message is encoded, or which software sent it (RFC 9110), and the trace of a request.
const OF_HTTP: [&str; 24] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "age",
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "keep-alive",
    "last-modified",
    "retry-after",
    "server",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "x-powered-by",
];
/// Headers with which senders name an event, its type or its time.
const OF_SENDERS: [&str; 22] = [
    "idempotency-key",
    "svix-id",
    "svix-timestamp",
    "webhook-id",
    "webhook-timestamp",
    "x-event-key",
    "x-github-delivery",
    "x-github-event",
    "x-github-hook-id",
    "x-github-hook-installation-target-id",
    "x-github-hook-installation-target-type",
    "x-gitlab-event",
    "x-gitlab-event-uuid",
    "x-gitlab-webhook-uuid",
    "x-request-id",
    "x-shopify-event-id",
    "x-shopify-topic",
    "x-shopify-webhook-id",
    "x-slack-request-timestamp",
    "x-strapi-event",
    "x-webhook-id",
    "x-webhook-retry",
];
/// Headers of QStash, of Surehook and of AWS.
const OF_PLATFORM: [&str; 24] = [
    "surehook-event",
    "surehook-retry-after",
    "surehook-routes",
    "upstash-caller-ip",
    "upstash-deduplication-id",
    "upstash-delay",
    "upstash-dlq-id",
    "upstash-flow-control-key",
    "upstash-flow-control-value",
    "upstash-label",
    "upstash-message-id",
    "upstash-method",
    "upstash-nonretryable-error",
    "upstash-not-before",
    "upstash-region",
    "upstash-retried",
    "upstash-retries",
    "upstash-retry-delay",
    "upstash-schedule-id",
    "upstash-timeout",
    "upstash-topic-name",
    "x-amz-cf-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
];
/// Returns whether the value of a header is printed without being asked for.
pub fn is_shown(name: &str) -> bool {
    let name = bare_name(name);
    [&OF_HTTP[..], &OF_SENDERS, &OF_PLATFORM].iter().any(|list| list.contains(&name.as_str()))
}

/// Returns headers as they may be printed: with `reveal` as they are, otherwise with [`HIDDEN`] for each value that may be a secret.
/// [`NOT_STORED`] stands for a value that is gone.
pub fn shown_headers(headers: &Headers, reveal: bool) -> Headers {
    let shown = |name: &str, values: &[String]| match values {
        [] => vec![NOT_STORED.to_owned()],
        values if reveal || is_shown(name) => values.to_vec(),
        values => vec![HIDDEN.to_owned(); values.len()],
    };
    headers.iter().map(|(name, values)| (name.clone(), shown(name, values))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_hidden_unless_it_is_known_to_hold_no_secret() {
        for name in [
            "X-Auth",
            "Apikey",
            "X-Access-Key",
            "X-Functions-Key",
            "X-Password",
            "X-Session-Id",
            "Authorization",
            "Upstash-Forward-Authorization",
            "Cookie",
            "Set-Cookie",
            "X-Hub-Signature-256",
            "Surehook-Seal",
            "X-Tenant",
            "Location",
        ] {
            assert!(!is_shown(name), "{name}");
        }
        for name in ["Content-Type", "X-Strapi-Event", "upstash-forward-X-GitHub-Delivery", "Webhook-Id", "Retry-After"]
        {
            assert!(is_shown(name), "{name}");
        }
    }

    #[test]
    fn each_value_of_a_hidden_header_is_hidden() {
        let headers = Headers::from([("X-Auth".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
        assert_eq!(shown_headers(&headers, false)["X-Auth"], [HIDDEN, HIDDEN]);
        assert_eq!(shown_headers(&headers, true), headers);
    }

    #[test]
    fn a_value_that_is_not_stored_is_named() {
        let headers = Headers::from([("Cookie".to_owned(), Vec::new())]);
        for reveal in [false, true] {
            assert_eq!(shown_headers(&headers, reveal)["Cookie"], [NOT_STORED]);
        }
    }
}
