//! Reading JSON that documentation, SDKs and captures describe differently.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer};

/// What QStash shows before the digest of what it was asked to redact.
pub const REDACTED: &str = "REDACTED:";

/// Headers as QStash gives them: a map to arrays, or to strings.
pub type Headers = BTreeMap<String, Vec<String>>;

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
    Nothing(()),
}

/// Headers whose values are strings or arrays; `null` is no headers.
pub(super) fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Headers, D::Error> {
    let raw: Option<BTreeMap<String, OneOrMany>> = Option::deserialize(deserializer)?;
    let listed = |value| match value {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
        OneOrMany::Nothing(()) => Vec::new(),
    };
    Ok(raw.unwrap_or_default().into_iter().map(|(name, value)| (name, listed(value))).collect())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(i64),
    Text(String),
}

/// A number, or a number in quotes; anything else, and its absence, is `None`.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let raw: Option<NumberOrText> = Option::deserialize(deserializer).unwrap_or_default();
    Ok(raw.and_then(|value| match value {
        NumberOrText::Number(number) => Some(number),
        NumberOrText::Text(text) => text.trim().parse().ok(),
    }))
}

/// The first value of a header, its name compared without case.
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.and_then(|(_, values)| values.first()).map(String::as_str)
}

/// Headers as a request has them, whether they are shown with or without the prefix that they were published with. What can be no
/// header is left out, and so is a value of which QStash shows only a digest.
pub fn header_map(headers: &Headers) -> HeaderMap {
    let given = headers.iter().filter_map(|(name, values)| {
        let name = name.to_ascii_lowercase();
        let name = HeaderName::try_from(name.strip_prefix("upstash-forward-").unwrap_or(&name)).ok()?;
        let value = values.first().filter(|value| !value.starts_with(REDACTED))?;
        Some((name, HeaderValue::from_str(value).ok()?))
    });
    given.collect()
}

/// A body that QStash wrote as text or as base64.
pub(super) fn body(text: Option<&str>, base64: Option<&str>) -> Option<Vec<u8>> {
    match (base64, text) {
        (Some(encoded), _) => STANDARD.decode(encoded).ok(),
        (None, Some(text)) => Some(text.as_bytes().to_vec()),
        (None, None) => Some(Vec::new()),
    }
}
