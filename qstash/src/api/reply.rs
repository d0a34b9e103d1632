//! Answers to clients: JSON, and errors as an object with one text.

use axum::body::Body;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};
use surehook::Millis;

use crate::{account::Refused, burst::TooMany};

/// What a call is answered with.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    body: Option<Value>,
    headers: Vec<(&'static str, String)>,
}

impl Reply {
    pub(super) fn with(status: StatusCode, body: Value) -> Self {
        Self { status, body: Some(body), headers: Vec::new() }
    }

    pub(super) fn ok(body: Value) -> Self {
        Self::with(StatusCode::OK, body)
    }

    /// 200 without a body.
    pub(super) fn nothing() -> Self {
        Self { status: StatusCode::OK, body: None, headers: Vec::new() }
    }

    pub(super) fn error(status: StatusCode, text: impl Into<String>) -> Self {
        Self::with(status, json!({ "error": text.into() }))
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::error(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::error(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    /// What was asked for, or 404 where there is no such thing.
    pub(super) fn one(found: Option<Value>, what: &str) -> Result<Self, Self> {
        found.map(Self::ok).ok_or_else(|| Self::not_found(what))
    }

    /// 200, or 404 where that did not exist.
    pub(super) fn found(is_found: bool, what: &str) -> Self {
        if is_found { Self::nothing() } else { Self::not_found(what) }
    }

    /// The one place that maps refusals to HTTP.
    pub(super) fn refused(refused: &Refused, quota: u16) -> Self {
        use crate::options::Invalid;
        let quota = StatusCode::from_u16(quota).unwrap_or(StatusCode::PRECONDITION_FAILED);
        let status = match refused {
            Refused::NoTopic(_) => StatusCode::NOT_FOUND,
            Refused::Quota { .. } | Refused::Invalid(Invalid::Quota { .. }) => quota,
            Refused::Daily { .. } => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_REQUEST,
        };
        let reply = Self::error(status, refused.to_string());
        match refused {
            Refused::Daily { limit, reset } => reply.limited(*limit, *reset),
            _ => reply,
        }
    }

    /// The headers by which SDKs tell a daily limit from a burst.
    fn limited(mut self, limit: u64, reset: Millis) -> Self {
        self.headers = vec![
            ("RateLimit-Limit", limit.to_string()),
            ("RateLimit-Remaining", "0".to_owned()),
            ("RateLimit-Reset", (reset / 1_000).to_string()),
        ];
        self
    }

    /// 429 with the headers of the burst limit. Source: QStash documentation, "API Rate Limit Response".
    pub(super) fn too_many(too_many: TooMany) -> Self {
        let text = format!("burst rate limit exceeded, current limit: {}", too_many.limit);
        let mut reply = Self::error(StatusCode::TOO_MANY_REQUESTS, text);
        reply.headers = vec![
            ("Burst-RateLimit-Limit", too_many.limit.to_string()),
            ("Burst-RateLimit-Remaining", "0".to_owned()),
            ("Burst-RateLimit-Reset", too_many.reset.to_string()),
        ];
        reply
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::builder().status(self.status).header(header::CONTENT_TYPE, "application/json");
        response = response.header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let body = self.body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        response.body(body).unwrap_or_default()
    }
}
