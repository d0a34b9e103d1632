//! What a call names as its destination: a URL, appended to the path as it is, or a topic's name.

use surehook::qstash::client::is_name;
use url::Url;

/// The longest URL, in bytes: HTTP clients and servers take no longer ones.
const LONGEST: usize = 64 * 1024;

/// A destination that can be delivered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A URL, byte for byte as it was published.
    Url(String),
    /// A topic.
    Topic(String),
}

/// Why a destination is refused. The first text is QStash's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DestinationError {
    #[error("invalid destination url: endpoint has invalid scheme, add http:// or https://")]
    Scheme,
    #[error("invalid destination url: {0}")]
    Url(#[from] url::ParseError),
    #[error("destinations of the form {0} are not served here: they need a provider on the internet")]
    Provider(String),
    #[error("the destination is longer than {LONGEST} bytes")]
    TooLong,
    #[error("the destination is missing: put a URL or a topic's name after the path")]
    Missing,
}

impl Destination {
    /// Reads the raw rest of a path and the call's query. Options that may stand in the query are taken out of it, if `strips`.
    pub(crate) fn read(raw: &str, query: &str, strips: bool) -> Result<Self, DestinationError> {
        match raw {
            _ if is_http(raw) => url(&with_query(raw, query, strips)).map(Self::Url),
            "" => Err(DestinationError::Missing),
            _ if raw.starts_with("api/") || raw.starts_with("email/") => {
                Err(DestinationError::Provider(raw.to_owned()))
            }
            _ if is_name(raw) => Ok(Self::Topic(raw.to_owned())),
            _ => Err(DestinationError::Scheme),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Url(text) | Self::Topic(text) => text,
        }
    }
}

/// A URL that can be called, byte for byte but for its fragment, which no request sends.
pub(crate) fn url(text: &str) -> Result<String, DestinationError> {
    let text = text.split('#').next().unwrap_or(text);
    match Url::parse(text) {
        _ if text.len() > LONGEST => Err(DestinationError::TooLong),
        _ if !is_http(text) => Err(DestinationError::Scheme),
        parsed => Ok(parsed.map(|_fine| text.to_owned())?),
    }
}

fn is_http(text: &str) -> bool {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// Whether the name of a part of a query is one of those, in whatever spelling it is read as one.
fn is_named(pair: &str, wanted: fn(&str) -> bool) -> bool {
    url::form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| wanted(&name))
}

/// The destination with the call's query, every byte that is not an option kept.
fn with_query(raw: &str, query: &str, strips: bool) -> String {
    let is_token = |pair: &str| is_named(pair, |name| name == "qstash_token");
    // Options are lower case in a query.
    let is_option = |pair: &str| is_named(pair, |name| name.starts_with("upstash-"));
    let is_kept = |pair: &&str| !(is_token(pair) || (strips && is_option(pair)));
    if query.is_empty() {
        return raw.to_owned();
    }
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    if kept.is_empty() { raw.to_owned() } else { format!("{raw}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str, query: &str) -> String {
        match Destination::read(raw, query, true) {
            Ok(Destination::Url(text)) => text,
            other => panic!("{raw}: {other:?}"),
        }
    }

    #[test]
    fn urls_are_kept_byte_for_byte() {
        for raw in
            ["https://h.example", "http://h.example/a//b/%2e%2e/c%20d", "HTTPS://H.example:8443/|^", "http://u:p@h/x"]
        {
            assert_eq!(read(raw, ""), raw);
        }
        assert_eq!(read("https://h/x", "a=1&upstash-retries=3&&b=%20"), "https://h/x?a=1&&b=%20");
        assert_eq!(read("https://h/x", "upstash-delay=1s&qstash_token=t"), "https://h/x");
        assert_eq!(read("https://h/x#part", ""), "https://h/x");
        assert_eq!(read("https://h/x", "upstash%2Dretries=3&a=1"), "https://h/x?a=1");
        assert!(Destination::read(&format!("https://h/{}", "x".repeat(LONGEST)), "", true).is_err());
        assert_eq!(read("https://h/x", "Upstash-Delay=1s"), "https://h/x?Upstash-Delay=1s", "options are lower case");
    }

    #[test]
    fn a_token_never_reaches_the_destination() {
        for token in ["qstash_token=t", "qstash%5Ftoken=t", "%71stash_token=t"] {
            let kept = Destination::read("https://h/x", &format!("upstash-delay=1s&{token}"), false).unwrap();
            assert_eq!(kept.text(), "https://h/x?upstash-delay=1s");
        }
    }

    #[test]
    fn what_is_neither_a_url_nor_a_name_is_refused_as_qstash_refuses_it() {
        for raw in ["https%3A%2F%2Fh.example%2F", "ftp://h", "//h/x", "h.example/x", "a b"] {
            assert_eq!(Destination::read(raw, "", true), Err(DestinationError::Scheme), "{raw}");
        }
        assert_eq!(Destination::read("", "", true), Err(DestinationError::Missing));
        assert!(matches!(Destination::read("api/llm", "", true), Err(DestinationError::Provider(_))));
        assert!(matches!(Destination::read("https://", "", true), Err(DestinationError::Url(_))));
        assert_eq!(Destination::read("a.b-c_1", "", true), Ok(Destination::Topic("a.b-c_1".to_owned())));
    }
}
