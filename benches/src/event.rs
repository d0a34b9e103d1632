//! What Lambda hands to a function: a function-URL event (payload 2.0) with a QStash delivery in it.

use serde_json::json;
use surehook::{Millis, qstash::token, secret::Secret};

/// The path below the function's URL, whose first segment names the source.
pub(crate) const PATH: &str = "/strapi";

/// An editor's text, with all that must be escaped in JSON and some that takes more than a byte.
const SENTENCE: &str = "Über \"Grüße aus Zürich\": prices in € rose by 3 %,\n\tas C:\\reports\\2026 says — 日本語も。 ";

/// A delivery of which any number can be made, each signed anew, as QStash signs each attempt.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The published bytes.
    pub(crate) body: String,
    id: String,
}

impl Delivery {
    /// A webhook like Strapi's, of exactly so many bytes and unlike any other.
    pub(crate) fn new(size: usize, id: String) -> Self {
        Self { body: body(size, &id), id }
    }

    /// The event of one attempt.
    pub(crate) fn event(&self, key: &Secret, base: &str, now: Millis) -> Vec<u8> {
        let url = format!("{base}{PATH}");
        let signature = token::sign(key, &url, self.body.as_bytes(), now / 1_000, &self.id);
        let host = base.trim_start_matches("https://");
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": PATH,
            "rawQueryString": "",
            "headers": {
                "accept-encoding": "gzip",
                "content-length": self.body.len().to_string(),
                "content-type": "application/json",
                "host": host,
                "upstash-message-id": format!("msg_{}", self.id),
                "upstash-region": "us-east-1",
                "upstash-retried": "0",
                "upstash-signature": signature,
                "upstash-topic-name": "strapi.update",
                "user-agent": "Upstash-QStash",
                "x-amzn-trace-id": "Root=1-00000000-000000000000000000000000",
                "x-forwarded-for": "192.0.2.1",
                "x-forwarded-port": "443",
                "x-forwarded-proto": "https",
                "x-strapi-event": "entry.update",
            },
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "bench",
                "domainName": host,
                "domainPrefix": "bench",
                "http": {
                    "method": "POST",
                    "path": PATH,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1",
                    "userAgent": "Upstash-QStash",
                },
                "requestId": self.id,
                "routeKey": "$default",
                "stage": "$default",
                "time": "01/Jan/2026:00:00:00 +0000",
                "timeEpoch": now,
            },
            "body": self.body,
            "isBase64Encoded": false,
        })
        .to_string()
        .into_bytes()
    }
}

/// The text of an entry is repeated up to the wanted size, and filled up with plain letters to the byte.
fn body(size: usize, id: &str) -> String {
    let with = |text: &str| {
        json!({
            "event": "entry.update",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "model": "article",
            "uid": "api::article.article",
            "entry": {
                "id": 42,
                "documentId": id,
                "title": "A \"quoted\" title — für alle",
                "updatedAt": "2026-01-01T00:00:00.000Z",
                "blocks": [{ "type": "paragraph", "children": [{ "type": "text", "text": text }] }],
            },
        })
        .to_string()
    };
    let room = size.saturating_sub(with("").len());
    let sentence = json!(SENTENCE).to_string().len() - 2;
    let text = SENTENCE.repeat(room / sentence) + &"x".repeat(room % sentence);
    with(&text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use surehook::{
        qstash::{SigningKeys, token::verify},
        web::EndpointUrl,
    };

    use super::*;

    const BASE: &str = "https://bench.lambda-url.us-east-1.on.aws";

    #[test]
    fn bodies_have_the_size_that_was_asked_for() {
        for size in [1_024, 10_240, 122_880, 1_048_576] {
            let body = body(size, "0190");
            assert_eq!(body.len(), size);
            assert!(serde_json::from_str::<Value>(&body).is_ok());
        }
    }

    #[test]
    fn an_event_carries_the_body_and_a_signature_that_holds() {
        let key = Secret::new("sig_key").unwrap();
        let delivery = Delivery::new(2_000, "0190".to_owned());
        let event: Value = serde_json::from_slice(&delivery.event(&key, BASE, 1_700_000_000_000)).unwrap();
        assert_eq!(event["body"], delivery.body);
        let signature = event["headers"]["upstash-signature"].as_str();
        let url = EndpointUrl::parse(&format!("{BASE}{PATH}")).unwrap();
        let keys = SigningKeys::new(vec![key]).unwrap();
        assert!(verify(&keys, signature, &[url], delivery.body.into(), 1_700_000_000).is_ok());
    }
}
