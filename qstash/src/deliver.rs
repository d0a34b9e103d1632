//! HTTP to destinations: one attempt, signed, with whatever is made to go wrong.

use std::{borrow::Cow, io::Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue};
use surehook::{
    digest::Sha256,
    qstash::{Region, lenient, region::REGION_HEADER, token},
    secret::Secret,
};

use crate::{
    account::Start,
    chaos::Mischief,
    choices::Choices,
    message::{Answer, Kind},
    options::canonical,
    server::Server,
};

/// Headers of the connection, which a message can't set.
const NOT_FORWARDED: [&str; 6] =
    ["host", "connection", "content-length", "transfer-encoding", "upgrade", "proxy-authorization"];
/// How much older an expired token is than it may be, in seconds.
const EXPIRED_BY: i64 = 60;

/// The region that a server without one names. Source: QStash documentation, "Multi region".
const DEFAULT_REGION: Region = Region::EuCentral1;

/// The client of all deliveries.
pub(crate) fn client(choices: &Choices) -> Result<reqwest::Client, reqwest::Error> {
    let redirects = if choices.follow_redirects {
        reqwest::redirect::Policy::limited(10)
    } else {
        reqwest::redirect::Policy::none()
    };
    // A proxy of the environment would be asked for destinations on this very machine.
    reqwest::Client::builder().redirect(redirects).no_proxy().build()
}

/// Makes an attempt, and says what came back.
pub(crate) async fn attempt(server: &Server, start: &Start) -> Answer {
    let mischief = start.mischief;
    if mischief.cut_before || mischief.late.is_some() {
        return Answer::none("the connection was cut before the request arrived (chaos)");
    }
    let answer = match mischief.twice {
        true => futures::join!(send(server, start), send(server, start)).0,
        false => send(server, start).await,
    };
    if mischief.cut_after { Answer::none("the connection was cut before the answer arrived (chaos)") } else { answer }
}

async fn send(server: &Server, start: &Start) -> Answer {
    let message = &start.message;
    let body = body(&message.body, start.mischief);
    let headers = headers(server, start, signature(start, &body));
    let request = server.http.request(message.options.method.clone(), &message.url);
    let request = request.timeout(message.options.timeout).headers(headers).body(body);
    let most = server.settings.plan.message_size;
    match request.send().await {
        Ok(response) => read(response, most).await.unwrap_or_else(|error| Answer::none(why(&error))),
        Err(error) => Answer::none(why(&error)),
    }
}

/// What is sent: the published bytes, unless chaos has it otherwise. Its signature is good all the same.
fn body(published: &Bytes, mischief: Mischief) -> Bytes {
    let mut body = Cow::Borrowed(published.as_ref());
    if let Some(size) = mischief.oversized {
        body.to_mut().resize(size.max(published.len()), b' ');
    }
    if mischief.gzip {
        body = Cow::Owned(compressed(&body));
    }
    match body {
        Cow::Borrowed(_) => published.clone(),
        Cow::Owned(changed) => changed.into(),
    }
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    packed.expect("memory takes every byte")
}

fn headers(server: &Server, start: &Start, signature: String) -> HeaderMap {
    let (message, origin) = (&start.message, &start.message.origin);
    let mut headers = HeaderMap::new();
    let forwarded = message.options.headers.iter().filter(|(name, _)| !NOT_FORWARDED.contains(name));
    for (name, value) in forwarded {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
    headers.entry("user-agent").or_insert(HeaderValue::from_static("Upstash-QStash"));
    let mut put = |name: &'static str, value: Option<&str>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
            headers.insert(name, value);
        }
    };
    put("upstash-signature", Some(&signature));
    put("upstash-message-id", Some(&message.id));
    put("upstash-retried", Some(&start.retried.to_string()));
    put("upstash-topic-name", origin.topic.as_deref());
    put("upstash-schedule-id", origin.schedule.as_deref());
    put("upstash-caller-ip", Some(&origin.caller_ip));
    put(REGION_HEADER, Some(server.settings.region.unwrap_or(DEFAULT_REGION).header_value()));
    let label = message.options.labels.first().filter(|_| server.choices.send_label && origin.kind == Kind::Message);
    put("upstash-label", label.map(String::as_str));
    put("content-encoding", start.mischief.gzip.then_some("gzip"));
    headers
}

/// The token of this attempt, over the URL as it was published and the bytes that are sent.
fn signature(start: &Start, body: &[u8]) -> String {
    let expired = if start.mischief.expired { token::LIFETIME_SECONDS + EXPIRED_BY } else { 0 };
    // The digest of what was published is known, whatever the number of attempts.
    let digest = if start.mischief.changes_body() { Sha256::of(body) } else { start.message.digest };
    let (url, now) = (&start.message.url, start.signed_at - expired);
    let key = Secret::new(start.key.clone());
    key.map(|key| token::sign_digest(&key, url, &digest, now, &start.token_id)).unwrap_or_default()
}

/// Reads an answer, and no more of its body than a message may have.
async fn read(mut response: reqwest::Response, most: usize) -> Result<Answer, reqwest::Error> {
    let status = response.status().as_u16();
    let mut headers = lenient::Headers::new();
    for (name, value) in response.headers() {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(canonical(name.as_str())).or_default().push(text);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
        if body.len() == most {
            break;
        }
    }
    Ok(Answer { status, headers, body: body.into(), error: None })
}

/// Why no answer came. The text for a time-out is the one that QStash's log was seen with.
fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "context deadline exceeded".to_owned();
    }
    let mut text = if error.is_connect() { "could not connect".to_owned() } else { "the call failed".to_owned() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
