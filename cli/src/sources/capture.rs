//! A captured request: as JSON, which Lambda and most tools log, or as HTTP, as it went over the wire.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use surehook::Millis;

/// A request as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Capture {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// When it came, where the capture says so.
    pub(super) at: Option<Millis>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    headers: Headers,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    is_base64_encoded: bool,
    /// Seconds since 1970.
    #[serde(default)]
    at: Option<i64>,
    #[serde(default)]
    request_context: Context,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    /// Milliseconds since 1970, as Lambda logs it.
    #[serde(default)]
    time_epoch: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Headers {
    Pairs(Vec<(String, String)>),
    Map(std::collections::BTreeMap<String, String>),
}

/// Reads a capture, or says how one is written.
pub(super) fn parse(bytes: &[u8]) -> Result<Capture, String> {
    match bytes.trim_ascii_start().first() {
        Some(b'{') => from_json(bytes),
        _ => from_http(bytes),
    }
}

fn from_json(bytes: &[u8]) -> Result<Capture, String> {
    let json: Json = serde_json::from_slice(bytes).map_err(|error| {
        format!("the capture is no JSON of a request ({{\"headers\": …, \"body\": \"…\"}}): {error}")
    })?;
    let pairs = match json.headers {
        Headers::Pairs(pairs) => pairs,
        Headers::Map(map) => map.into_iter().collect(),
    };
    let body = match json.body {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(text)) if json.is_base64_encoded => {
            STANDARD.decode(text).map_err(|_bad| "the capture's body says that it is base64, but it is not")?.into()
        }
        Some(Value::String(text)) => text.into(),
        Some(_) => {
            return Err(
                "the capture's body must be a string: parsed JSON has lost the bytes that were signed".to_owned()
            );
        }
    };
    Ok(Capture {
        headers: headers(pairs)?,
        body,
        at: json.at.map(|at| at.saturating_mul(1_000)).or(json.request_context.time_epoch),
    })
}

fn from_http(bytes: &[u8]) -> Result<Capture, String> {
    let wrong = || {
        "the capture is neither JSON of a request nor HTTP: a line \"POST / HTTP/1.1\", headers, an empty line, the body".to_owned()
    };
    let (head, body) = ["\r\n\r\n", "\n\n"]
        .iter()
        .filter_map(|gap| {
            let at = bytes.windows(gap.len()).position(|part| part == gap.as_bytes())?;
            Some((&bytes[..at], &bytes[at + gap.len()..]))
        })
        .min_by_key(|(head, _)| head.len())
        .ok_or_else(wrong)?;
    let mut lines = std::str::from_utf8(head).map_err(|_bad| wrong())?.lines();
    lines.next().filter(|line| line.contains(" HTTP/")).ok_or_else(wrong)?;
    let pairs = lines.map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())));
    let pairs: Option<Vec<_>> = pairs.collect();
    Ok(Capture { headers: headers(pairs.ok_or_else(wrong)?)?, body: Bytes::copy_from_slice(body), at: None })
}

fn headers(pairs: Vec<(String, String)>) -> Result<HeaderMap, String> {
    let header = |(name, value): (String, String)| {
        // Captures of what came through QStash show its prefix.
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_prefix("upstash-forward-").unwrap_or(&lower);
        let parsed = HeaderName::try_from(bare).ok().zip(HeaderValue::from_str(&value).ok());
        parsed.ok_or_else(|| format!("\"{name}\" is no header, or its value can be none"))
    };
    pairs.into_iter().map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_the_same_request() {
        let json = parse(br#"{"headers": {"X-A": "1", "Content-Type": "a/b"}, "body": "{\"x\": 1}\n"}"#).unwrap();
        let pairs = parse(
            br#"{"headers": [["X-A", "1"], ["Content-Type", "a/b"]], "body": "eyJ4IjogMX0K", "isBase64Encoded": true}"#,
        );
        let http = parse(b"POST /hook HTTP/1.1\r\nX-A: 1\r\nContent-Type: a/b\r\n\r\n{\"x\": 1}\n");
        let lines = parse(b"POST /hook HTTP/1.1\nX-A: 1\nUpstash-Forward-Content-Type: a/b\n\n{\"x\": 1}\n");
        for other in [pairs, http, lines] {
            assert_eq!(other.unwrap(), json);
        }
        assert_eq!(parse(br#"{"headers": {}, "at": 17}"#).unwrap().at, Some(17_000));
    }

    #[test]
    fn what_is_no_request_is_told_with_what_would_be_one() {
        for (bytes, part) in [
            (&b"{}"[..], "headers"),
            (br#"{"headers": {}, "body": {"a": 1}}"#, "must be a string"),
            (br#"{"headers": {}, "body": "?", "isBase64Encoded": true}"#, "base64"),
            (br#"{"headers": {"a b": "1"}}"#, "no header"),
            (b"", "HTTP"),
            (b"hello\n\nworld", "HTTP"),
            (b"\xff\n\nworld", "HTTP"),
        ] {
            assert!(parse(bytes).unwrap_err().contains(part), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
