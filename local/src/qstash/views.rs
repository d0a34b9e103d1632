//! Messages and entries as QStash shows them. Fields are absent when they are empty.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use surehook::{digest::Sha256, qstash::lenient::Headers};

use super::{Dead, Logged, Message, State};

/// The headers of a message, those that are redacted as their digests.
fn headers(message: &Message) -> Headers {
    let redacted = &message.options.redacted;
    let shown = |name: &String, value: &String| match redacted.all_headers || redacted.headers.contains(name) {
        true => digest_of(value.as_bytes()),
        false => value.clone(),
    };
    message.options.headers.iter().map(|(name, value)| (name.clone(), vec![shown(name, value)])).collect()
}

pub(super) fn message(message: &Message) -> Value {
    let redacted = &message.options.redacted;
    let mut view = json!({
        "messageId": message.id,
        "url": message.url,
        "method": message.options.method,
        "header": headers(message),
        "maxRetries": message.options.retries,
        "notBefore": message.not_before,
        "createdAt": message.created_at,
        "callerIP": message.options.caller_ip,
    });
    match redacted.body {
        true => view["body"] = Value::String(digest_of(&message.body)),
        false => put_body(&mut view, "body", &message.body),
    }
    for (name, value) in [("topicName", &message.topic), ("failureCallback", &message.options.failure_callback)] {
        if let Some(value) = value {
            view[name] = Value::String(value.clone());
        }
    }
    view
}

pub(super) fn entry(id: &str, dead: &Dead) -> Value {
    let mut view = message(&dead.message);
    view["dlqId"] = Value::String(id.to_owned());
    if dead.answer.status != 0 {
        view["responseStatus"] = dead.answer.status.into();
        view["responseHeader"] = json!(dead.answer.headers);
        put_body(&mut view, "responseBody", &dead.answer.body);
    }
    view
}

/// What stands for something redacted.
fn digest_of(bytes: &[u8]) -> String {
    format!("REDACTED:{}", Sha256::of(bytes).hex())
}

/// An entry of the log.
pub(super) fn logged(logged: &Logged) -> Value {
    let message = &logged.message;
    let (state, status) = match logged.state {
        State::Created { .. } => ("CREATED", 0),
        State::Retry { status, .. } => ("RETRY", status),
        State::Delivered { .. } => ("DELIVERED", 200),
        State::Failed { status } => ("FAILED", status),
    };
    let body = if message.options.redacted.body { digest_of(&message.body) } else { STANDARD.encode(&message.body) };
    let body = (!message.body.is_empty()).then_some(body);
    let mut view = json!({
        "time": logged.at,
        "messageId": message.id,
        "state": state,
        "url": message.url,
        "header": headers(message),
        "body": body,
        "maxRetries": message.options.retries,
    });
    if status != 0 {
        view["responseStatus"] = status.into();
    }
    if let Some(next) = logged.next {
        view["nextDeliveryTime"] = next.into();
    }
    view
}

/// Text as it is, anything else in base64 under another name.
fn put_body(view: &mut Value, name: &str, body: &[u8]) {
    match std::str::from_utf8(body) {
        Ok("") => {}
        Ok(text) => view[name] = Value::String(text.to_owned()),
        Err(_) => view[format!("{name}Base64")] = Value::String(STANDARD.encode(body)),
    }
}
