//! Messages and entries as QStash shows them. Fields are absent when they are empty.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use surehook::qstash::lenient::Headers;

use super::{Dead, Message};

pub(super) fn message(message: &Message) -> Value {
    let header: Headers =
        message.options.headers.iter().map(|(name, value)| (name.clone(), vec![value.clone()])).collect();
    let mut view = json!({
        "messageId": message.id,
        "url": message.url,
        "method": message.options.method,
        "header": header,
        "maxRetries": message.options.retries,
        "notBefore": message.not_before,
        "createdAt": message.created_at,
        "callerIP": message.options.caller_ip,
    });
    put_body(&mut view, "body", &message.body);
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

/// Text as it is, anything else in base64 under another name.
fn put_body(view: &mut Value, name: &str, body: &[u8]) {
    match std::str::from_utf8(body) {
        Ok("") => {}
        Ok(text) => view[name] = Value::String(text.to_owned()),
        Err(_) => view[format!("{name}Base64")] = Value::String(STANDARD.encode(body)),
    }
}
