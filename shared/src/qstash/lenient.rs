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

/// Returns headers as a function gets them, whether QStash shows them with or without the prefix that they were published with. The
/// values of a header that comes twice are joined by a comma, as Lambda joins them, so that the header names the same event here and
/// there. Leaves out text that can't stand in a header, and a header of which QStash shows a digest instead of a value.
pub fn header_map(headers: &Headers) -> HeaderMap {
    let given = headers.iter().filter_map(|(name, values)| {
        let name = HeaderName::try_from(bare_name(name)).ok()?;
        let is_shown = !values.is_empty() && !values.iter().any(|value| value.starts_with(REDACTED));
        is_shown.then(|| HeaderValue::from_str(&values.join(",")).ok().map(|value| (name, value)))?
    });
    given.collect()
}

/// Returns the name of an event's header in lower case, without the prefix that it was published with.
pub fn bare_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("upstash-forward-").map(str::to_owned).unwrap_or(name)
}

/// A body that QStash wrote as text or as base64.
pub(super) fn body(text: Option<&str>, base64: Option<&str>) -> Option<Vec<u8>> {
    match (base64, text) {
        (Some(encoded), _) => STANDARD.decode(encoded).ok(),
        (None, Some(text)) => Some(text.as_bytes().to_vec()),
        (None, None) => Some(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_comes_twice_keeps_all_its_values_as_lambda_joins_them() {
        let values = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let map = header_map(&Headers::from([
            ("Upstash-Forward-X-Tag".to_owned(), values(&["a", "b"])),
            ("X-One".to_owned(), values(&["c"])),
            ("X-Dropped".to_owned(), values(&[])),
            ("X-Hidden".to_owned(), values(&["d", "REDACTED:e"])),
        ]));
        assert_eq!(
            (map.len(), &map["x-tag"], &map["x-one"]),
            (2, &HeaderValue::from_static("a,b"), &HeaderValue::from_static("c"))
        );
    }
}
