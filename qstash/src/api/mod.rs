//! HTTP from clients.

mod control;
mod filter;
mod flow;
mod lists;
mod publish;
mod queues;
mod reply;
mod rows;
mod schedules;
mod topics;
mod views;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
};
use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    account::{Account, Refused},
    burst::is_batch,
    choices::BATCH_BYTES,
    clock::Moment,
    page,
    server::Server,
    users::USERS,
};
use reply::Reply;

/// Bodies up to this size are copied, so that they do not keep the connection's larger buffer alive while they wait.
const COPIED: usize = 64 * 1024;
/// How long a body may take to arrive.
const READ_TIME: Duration = Duration::from_secs(60);

/// The front of a server.
pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new().fallback(front).with_state(server)
}

/// One call, whose sender is known.
struct Call<'a> {
    server: &'a Arc<Server>,
    /// Whose account it is.
    user: usize,
    method: &'a Method,
    parts: &'a Parts,
    query: &'a str,
    body: Bytes,
    caller_ip: String,
}

async fn front(State(server): State<Arc<Server>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if server.is_closed() {
        return Reply::error(StatusCode::SERVICE_UNAVAILABLE, "the server has ended").into_response();
    }
    // The rest stays raw: a destination is appended byte for byte.
    let path = with_lower_case_endpoint(parts.uri.path());
    let body = match read(body, largest(&path, &server), server.choices.quota_status).await {
        Ok(body) => body,
        Err(reply) => return reply.into_response(),
    };
    if let Some(response) = control::answer(&server, &parts, &body).await {
        return response;
    }
    page::file(parts.uri.path()).unwrap_or_else(|| answer(&server, &parts, &path, body).into_response())
}

/// How large a body may be, in bytes: what the plan allows a message to be, and all messages of a batch together.
fn largest(path: &str, server: &Server) -> usize {
    if is_batch(path) { BATCH_BYTES } else { server.settings.plan.message_size }
}

async fn read(body: Body, most: usize, quota: u16) -> Result<Bytes, Reply> {
    let read = timeout(READ_TIME, axum::body::to_bytes(body, most)).await;
    match read {
        Ok(Ok(body)) if body.len() <= COPIED => Ok(Bytes::copy_from_slice(&body)),
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_too_large(&error) => {
            Err(Reply::refused(&Refused::Quota { quota: "maxMessageSize", limit: most as u64 }, quota))
        }
        Ok(Err(error)) => Err(Reply::bad_request(error.to_string())),
        Err(_) => Err(Reply::error(StatusCode::REQUEST_TIMEOUT, "the body did not come within a minute")),
    }
}

/// Returns whether a body was longer than its reader takes.
pub fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

fn answer(server: &Arc<Server>, parts: &Parts, path: &str, body: Bytes) -> Reply {
    if server.chaos().is_away() {
        return Reply::error(StatusCode::SERVICE_UNAVAILABLE, "service unavailable (chaos)");
    }
    let Some((user, may_write)) = user(parts) else {
        return Reply::error(StatusCode::UNAUTHORIZED, "unable to authenticate: invalid token");
    };
    if !may_write && parts.method != Method::GET {
        return Reply::error(StatusCode::FORBIDDEN, "the token is read-only: it may be used for GET only");
    }
    let now = server.clock.moment().callers_now;
    if let Err(too_many) = server.bursts.take(user, path, now) {
        return Reply::too_many(too_many);
    }
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());
    let call = Call {
        server,
        user,
        method: &parts.method,
        parts,
        query: parts.uri.query().unwrap_or_default(),
        body,
        caller_ip: peer.unwrap_or_else(|| "127.0.0.1".to_owned()),
    };
    call.route(path).unwrap_or_else(|refused| refused)
}

/// Whose token it is, in the header or in the query, and whether it may change anything.
fn user(parts: &Parts) -> Option<(usize, bool)> {
    let bearer = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let in_query = || parameter(parts.uri.query().unwrap_or_default(), "qstash_token");
    // The tokens are published, so there is no secret that the time of a comparison could tell.
    let known = |token: &str| {
        let user = USERS.iter().position(|user| [user.token, user.readonly_token].contains(&token))?;
        Some((user, USERS[user].token == token))
    };
    bearer.and_then(known).or_else(|| known(&in_query()?))
}

impl Call<'_> {
    fn route(self, path: &str) -> Result<Reply, Reply> {
        // Guides of senders still show the old version of the publish call.
        if let Some(destination) = path.strip_prefix("/v2/publish/").or_else(|| path.strip_prefix("/v1/publish/")) {
            return self.publish(destination);
        }
        if let Some(rest) = path.strip_prefix("/v2/enqueue/") {
            return self.enqueue(rest);
        }
        if let Some(rest) =
            path.strip_prefix("/v2/schedules/").filter(|rest| !rest.is_empty() || self.method != Method::GET)
        {
            return self.schedules(rest);
        }
        let Some(path) = path.strip_prefix("/v2/") else {
            return Err(Reply::not_found("endpoint"));
        };
        let mut segments: Vec<&str> = path.split('/').collect();
        // SDKs end some paths with a slash. Where ids are followed by bulk calls, the slash is a missing id, and refused.
        if let [endpoint, ""] = segments.as_slice()
            && !["messages", "dlq"].contains(endpoint)
            && self.method != Method::DELETE
        {
            segments.pop();
        }
        match segments.as_slice() {
            ["batch"] => self.batch(),
            ["keys"] | ["keys", "rotate"] => self.keys(segments.len() == 2),
            ["topics", rest @ ..] => self.topics(rest),
            ["queues", rest @ ..] => self.queues(rest),
            ["schedules"] => self.list_schedules(),
            ["flowcontrol", rest @ ..] => self.flow_control(rest),
            ["globalparallelism"] => self.global_parallelism(),
            ["messages", rest @ ..] => self.messages(rest),
            ["dlq", rest @ ..] => self.dlq(rest),
            ["logs"] => self.logs(crate::choices::CANCELLED),
            ["events"] => self.logs(crate::choices::CANCELLED_FOR_SDKS),
            _ => Err(Reply::not_found("endpoint")),
        }
    }

    fn keys(self, rotates: bool) -> Result<Reply, Reply> {
        match (self.method, rotates) {
            (&Method::POST, true) => self.change(|account, _| account.rotate()),
            (&Method::GET, false) => {}
            _ => return Err(wrong_method()),
        }
        let keys = self.read(|account| account.keys.clone());
        Ok(Reply::ok(json!({ "current": keys.current, "next": keys.next })))
    }

    fn global_parallelism(self) -> Result<Reply, Reply> {
        let (most, running) = self.read(|account| (account.common.plan.parallelism, account.running));
        Ok(Reply::ok(json!({ "parallelismMax": most, "parallelismCount": running })))
    }

    fn read<T>(&self, look: impl FnOnce(&Account) -> T) -> T {
        self.server.read(self.user, |account, _| look(account))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Account, Moment) -> T) -> T {
        self.server.change(self.user, |account, moment, _| change(account, moment))
    }

    fn refused(&self, refused: &Refused) -> Reply {
        Reply::refused(refused, self.server.choices.quota_status)
    }

    /// The body as JSON of some shape.
    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Reply> {
        serde_json::from_slice(&self.body).map_err(|error| Reply::bad_request(format!("invalid body: {error}")))
    }

    fn filter(&self) -> Result<filter::Filter, Reply> {
        filter::Filter::read(self.query).map_err(Reply::bad_request)
    }
}

/// Returns the path with the endpoint's name in lower case, because SDKs write `/v2/Schedules`. The rest names destinations and ids, and stays.
fn with_lower_case_endpoint(path: &str) -> String {
    let Some((version, rest)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return path.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    format!("/{version}/{}{}", rest[..end].to_ascii_lowercase(), &rest[end..])
}

fn wrong_method() -> Reply {
    Reply::error(StatusCode::METHOD_NOT_ALLOWED, "this endpoint does not take that method")
}

/// A parameter of a query.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A name from a path. An empty one would make a call about one thing a call about all of them.
fn named(name: &str) -> Result<&str, Reply> {
    match surehook::qstash::client::is_name(name) {
        true => Ok(name),
        false => Err(Reply::bad_request(Refused::Name(name.to_owned()).to_string())),
    }
}
