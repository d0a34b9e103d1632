//! The HTTP front. It looks at the raw request target: a destination stands in the path as it is, and a server that
//! decodes or normalises paths would take what the real one refuses.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{Method, StatusCode, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};
use surehook::{digest::Sha256, outside, qstash::client::is_name};

use super::{
    DEDUPLICATION, Endpoint, Message, Server, TOKEN, Topic,
    delivery::not_before,
    options::{Invalid, Options, given},
    views,
};

/// Entries of the log in one answer.
const MOST_LOGS: usize = 100;
/// A page of the dead-letter queue holds at most so many entries.
const MOST_ENTRIES: usize = 100;

/// What a call is answered with.
enum Reply {
    Ok(Value),
    Created(Value),
    Duplicate(Value),
    Nothing,
    Error(StatusCode, String),
}

pub(super) fn router(server: Arc<Server>) -> Router {
    Router::new().fallback(front).with_state(server)
}

async fn front(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let reply = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => server.answer(&parts, body),
        Err(error) => Reply::Error(StatusCode::BAD_REQUEST, error.to_string()),
    };
    reply.into_response()
}

impl Reply {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Ok(body) => (StatusCode::OK, body.to_string()),
            Self::Created(body) => (StatusCode::CREATED, body.to_string()),
            Self::Duplicate(body) => (StatusCode::ACCEPTED, body.to_string()),
            Self::Nothing => (StatusCode::OK, String::new()),
            Self::Error(status, text) => (status, json!({ "error": text }).to_string()),
        };
        let response = Response::builder().status(status).header("content-type", "application/json");
        response.body(Body::from(body)).unwrap_or_default()
    }

    fn not_found(what: &str) -> Self {
        Self::Error(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    fn bad_request(text: impl Into<String>) -> Self {
        Self::Error(StatusCode::BAD_REQUEST, text.into())
    }
}

impl From<Invalid> for Reply {
    fn from(invalid: Invalid) -> Self {
        Self::bad_request(invalid.0)
    }
}

#[derive(Deserialize)]
struct Endpoints {
    endpoints: Vec<EndpointRef>,
}

#[derive(Deserialize)]
struct EndpointRef {
    name: Option<String>,
    url: Option<String>,
}

impl Server {
    fn answer(self: &Arc<Self>, parts: &Parts, body: Bytes) -> Reply {
        if self.book().faults.away {
            return Reply::Error(StatusCode::SERVICE_UNAVAILABLE, "service unavailable".to_owned());
        }
        if !is_authorized(parts) {
            return Reply::Error(StatusCode::UNAUTHORIZED, "unable to authenticate: invalid token".to_owned());
        }
        let path = parts.uri.path();
        // Strapi guides still show the old version of the publish call.
        let published = path.strip_prefix("/v2/publish/").or_else(|| path.strip_prefix("/v1/publish/"));
        if let Some(destination) = published {
            let published = self.publish(destination, parts, body);
            return published.unwrap_or_else(|refused| refused);
        }
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').skip(1).collect();
        match segments.as_slice() {
            ["keys", ..] => self.keys(&parts.method, &segments),
            ["topics", ..] => self.topics(&parts.method, &segments[1..], &body),
            ["dlq", ..] => self.dlq(parts, &segments[1..]),
            ["logs" | "events"] => self.logs(parts.uri.query().unwrap_or_default()),
            ["messages", id] => self.message(&parts.method, id),
            _ => Reply::not_found("endpoint"),
        }
    }

    fn publish(self: &Arc<Self>, destination: &str, parts: &Parts, body: Bytes) -> Result<Reply, Reply> {
        let query = parts.uri.query().unwrap_or_default();
        let (urls, topic, defaults) = self.resolve(destination, query)?;
        let options = Options::read(&given(&parts.headers, query, &defaults))?;
        let now = outside::now();
        let dedup = deduplication_key(destination, &options, &body);
        if let Some(ids) = dedup.as_ref().and_then(|key| self.seen(key, now)) {
            let replies: Vec<Value> = ids.iter().map(|id| json!({ "messageId": id, "deduplicated": true })).collect();
            return Ok(Reply::Duplicate(one_or_many(topic.is_some(), replies)));
        }
        let body_sha256 = Sha256::of(&body).hex();
        let (mut ids, mut replies) = (Vec::new(), Vec::new());
        for url in urls {
            let id = self.next_id();
            replies.push(json!({ "messageId": id, "url": url }));
            ids.push(id.clone());
            let not_before = not_before(&options, now);
            self.accept(Message {
                id,
                url,
                topic: topic.clone(),
                options: options.clone(),
                body: body.clone(),
                body_sha256: body_sha256.clone(),
                created_at: now,
                not_before,
                is_callback: false,
            });
        }
        if let Some(key) = dedup {
            self.book().seen.insert(key, (ids, now));
        }
        Ok(Reply::Created(one_or_many(topic.is_some(), replies)))
    }

    /// The URLs that a destination means, the topic's name, and the topic's default headers.
    #[allow(clippy::type_complexity, reason = "three parts that are used once, right above")]
    fn resolve(
        &self,
        destination: &str,
        query: &str,
    ) -> Result<(Vec<String>, Option<String>, Vec<(String, String)>), Reply> {
        if destination.starts_with("http://") || destination.starts_with("https://") {
            return Ok((vec![with_query(destination, query)], None, Vec::new()));
        }
        if !is_name(destination) {
            let text = "invalid destination url: endpoint has invalid scheme, add http:// or https://";
            return Err(Reply::bad_request(text));
        }
        let book = self.book();
        let topic = book.topics.get(destination).ok_or_else(|| Reply::not_found("topic"))?;
        let urls = topic.endpoints.iter().map(|endpoint| endpoint.url.clone()).collect();
        Ok((urls, Some(destination.to_owned()), topic.headers.clone()))
    }

    fn seen(&self, key: &str, now: surehook::Millis) -> Option<Vec<String>> {
        let mut book = self.book();
        book.seen.retain(|_, (_, at)| now - *at < DEDUPLICATION);
        book.seen.get(key).map(|(ids, _)| ids.clone())
    }

    fn keys(&self, method: &Method, segments: &[&str]) -> Reply {
        let mut book = self.book();
        if segments == ["keys", "rotate"] && method == Method::POST {
            let fresh = format!("sig_{}", &outside::new_id().replace('-', "")[4..]);
            book.keys = (book.keys.1.clone(), fresh);
        }
        Reply::Ok(json!({ "current": book.keys.0, "next": book.keys.1 }))
    }

    fn topics(&self, method: &Method, segments: &[&str], body: &Bytes) -> Reply {
        match (method, segments) {
            (&Method::GET, []) => Reply::Ok(json!(self.book().topics.values().collect::<Vec<_>>())),
            (&Method::GET, [name]) => {
                self.book().topics.get(*name).map_or_else(|| Reply::not_found("topic"), |topic| Reply::Ok(json!(topic)))
            }
            (&Method::DELETE, [name]) => {
                self.book().topics.remove(*name);
                Reply::Nothing
            }
            (&Method::PATCH, [name]) => self.default_headers(name, body),
            (&Method::POST | &Method::DELETE, [name, "endpoints"]) if is_name(name) => {
                match serde_json::from_slice::<Endpoints>(body) {
                    Ok(given) => self.change_endpoints(method, name, given),
                    Err(error) => Reply::bad_request(error.to_string()),
                }
            }
            _ => Reply::not_found("endpoint"),
        }
    }

    fn change_endpoints(&self, method: &Method, name: &str, given: Endpoints) -> Reply {
        let mut book = self.book();
        let now = outside::now();
        let topic = book.topics.entry(name.to_owned()).or_insert_with(|| Topic {
            name: name.to_owned(),
            created_at: now,
            ..Topic::default()
        });
        topic.updated_at = now;
        for endpoint in given.endpoints {
            let same = |known: &Endpoint| {
                endpoint.url.as_ref() == Some(&known.url) || (endpoint.name.is_some() && endpoint.name == known.name)
            };
            topic.endpoints.retain(|known| !same(known));
            if let (&Method::POST, Some(url)) = (method, endpoint.url) {
                topic.endpoints.push(Endpoint { name: endpoint.name, url });
            }
        }
        if topic.endpoints.is_empty() {
            book.topics.remove(name);
        }
        Reply::Nothing
    }

    fn default_headers(&self, name: &str, body: &Bytes) -> Reply {
        let Ok(given) = serde_json::from_slice::<Value>(body) else {
            return Reply::bad_request("the body is not JSON");
        };
        let Some(headers) = given.get("headers").and_then(Value::as_object) else {
            return Reply::bad_request("headers is missing");
        };
        let text = |value: &Value| match value {
            Value::Array(values) => values.first().and_then(Value::as_str).unwrap_or_default().to_owned(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        let headers = headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        match self.book().topics.get_mut(name) {
            Some(topic) => {
                topic.headers = headers;
                Reply::Nothing
            }
            None => Reply::not_found("topic"),
        }
    }

    fn message(&self, method: &Method, id: &str) -> Reply {
        let book = self.book();
        match (method, book.pending.get(id)) {
            (&Method::GET, Some(message)) => Reply::Ok(views::message(message)),
            _ => Reply::not_found("message"),
        }
    }

    fn dlq(self: &Arc<Self>, parts: &Parts, segments: &[&str]) -> Reply {
        match (&parts.method, segments) {
            (&Method::GET, []) => self.dlq_page(parts.uri.query().unwrap_or_default()),
            (&Method::GET, [id]) => {
                let book = self.book();
                book.dlq
                    .get(*id)
                    .map_or_else(|| Reply::not_found("dlq message"), |dead| Reply::Ok(views::entry(id, dead)))
            }
            (&Method::DELETE, [id]) if !id.is_empty() => match self.book().dlq.remove(*id) {
                Some(_) => Reply::Nothing,
                None => Reply::not_found("dlq message"),
            },
            (&Method::POST, ["retry", id]) => self.dlq_retry(id, parts).unwrap_or_else(|refused| refused),
            _ => Reply::not_found("endpoint"),
        }
    }

    /// The log of one message, the newest entry first.
    fn logs(&self, query: &str) -> Reply {
        let wanted = parameter(query, "messageId");
        let book = self.book();
        let of_message = |logged: &&super::Logged| wanted.as_ref().is_none_or(|id| logged.message.id == *id);
        let entries: Vec<Value> =
            book.logs.iter().rev().filter(of_message).take(MOST_LOGS).map(views::logged).collect();
        Reply::Ok(json!({ "logs": entries, "events": entries }))
    }

    fn dlq_page(&self, query: &str) -> Reply {
        let get = |name: &str| parameter(query, name);
        let wanted = get("messageId");
        let is_wanted = |dead: &super::Dead| wanted.as_ref().is_none_or(|id| dead.message.id == *id);
        let count = get("count").and_then(|text| text.parse().ok()).unwrap_or(MOST_ENTRIES).clamp(1, MOST_ENTRIES);
        let after = get("cursor").unwrap_or_default();
        let book = self.book();
        let mut rest = book.dlq.iter().filter(|(id, dead)| **id > after && is_wanted(dead));
        let page: Vec<_> = rest.by_ref().take(count).collect();
        let mut reply = json!({ "messages": page.iter().map(|(id, dead)| views::entry(id, dead)).collect::<Vec<_>>() });
        if let (Some((last, _)), Some(_)) = (page.last(), rest.next()) {
            reply["cursor"] = Value::String((*last).clone());
        }
        Reply::Ok(reply)
    }

    /// A new message with a new id, the headers of this call over the stored ones. An entry can be used once.
    fn dlq_retry(self: &Arc<Self>, id: &str, parts: &Parts) -> Result<Reply, Reply> {
        let now = outside::now();
        let given = given(&parts.headers, "", &[]);
        let dead = self.book().dlq.remove(id).ok_or_else(|| Reply::not_found("dlq message"))?;
        // The call has no body, so its content type is not the message's.
        let kind = dead.message.options.headers.get("content-type").cloned();
        let stored = Options { delay: std::time::Duration::ZERO, ..dead.message.options.clone() };
        let mut options = stored.overridden(&given)?;
        match kind {
            Some(kind) => options.headers.insert("content-type".to_owned(), kind),
            None => options.headers.remove("content-type"),
        };
        let message = Message {
            id: self.next_id(),
            created_at: now,
            not_before: not_before(&options, now),
            options,
            ..dead.message
        };
        let reply = json!({ "messageId": message.id });
        self.accept(message);
        Ok(Reply::Created(reply))
    }
}

fn is_authorized(parts: &Parts) -> bool {
    let bearer = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    let mut pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    bearer.and_then(|value| value.strip_prefix("Bearer ")) == Some(TOKEN)
        || pairs.any(|(name, value)| name == "qstash_token" && value == TOKEN)
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The destination with the call's query, but without the options that may stand in it.
fn with_query(destination: &str, query: &str) -> String {
    let is_option = |pair: &&str| pair.starts_with("upstash-") || pair.starts_with("qstash_token=");
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !is_option(pair)).collect();
    if kept.is_empty() { destination.to_owned() } else { format!("{destination}?{}", kept.join("&")) }
}

fn deduplication_key(destination: &str, options: &Options, body: &Bytes) -> Option<String> {
    if let Some(id) = &options.deduplication {
        return Some(format!("id:{id}"));
    }
    let headers = format!("{:?}", options.headers);
    let parts = [destination.as_bytes(), headers.as_bytes(), body];
    options.content_deduplication.then(|| format!("content:{}", Sha256::of_parts(&parts).hex()))
}

/// A topic is answered with an array, even of one.
fn one_or_many(many: bool, mut replies: Vec<Value>) -> Value {
    if many { Value::Array(replies) } else { replies.pop().unwrap_or(Value::Null) }
}
