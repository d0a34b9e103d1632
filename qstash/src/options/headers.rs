//! Headers that travel with a message, and what a call gave.

use std::collections::{BTreeMap, HashSet};

use http::HeaderMap;
use surehook::qstash::lenient;

/// Headers in the order in which they were given, names in lower case. A name may stand more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(crate) fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    #[cfg(test)]
    pub(crate) fn get(&self, wanted: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
    }

    /// Bytes of all names and values.
    pub(crate) fn size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These headers with others over them: a name that stands in both has the others' values.
    pub(crate) fn under(&self, over: &Self) -> Self {
        let names: HashSet<&str> = over.iter().map(|(name, _)| name).collect();
        let kept = self.0.iter().filter(|(name, _)| !names.contains(name.as_str()));
        Self(kept.chain(&over.0).cloned().collect())
    }

    /// As QStash shows them: names as Go writes them, values in arrays.
    pub(crate) fn shown(&self, value: impl Fn(&str, &str) -> String) -> lenient::Headers {
        let mut shown = lenient::Headers::new();
        for (name, given) in self.iter() {
            shown.entry(canonical(name)).or_default().push(value(name, given));
        }
        shown
    }
}

/// `content-type` as Go writes it: `Content-Type`.
pub(crate) fn canonical(name: &str) -> String {
    let mut starts = true;
    let written = name.chars().map(|letter| {
        let written = if starts { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
        starts = letter == '-';
        written
    });
    written.collect()
}

/// Everything that a call gave, by lower-case name: options once, headers as often as they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    options: BTreeMap<String, String>,
    headers: Vec<(String, String)>,
}

impl Given {
    /// What headers and the options in a query say; a header beats the query.
    pub(crate) fn of_call(headers: &HeaderMap, query: &str) -> Self {
        let mut given = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if name.starts_with("upstash-") {
                given.put(name.into_owned(), value.into_owned());
            }
        }
        let of_query = std::mem::take(&mut given.headers);
        for (name, value) in headers {
            // Header values may be any bytes; those of real senders are UTF-8 or Latin-1 text.
            given.put(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        given.headers = Headers(of_query).under(&Headers(given.headers)).0;
        given
    }

    /// What pairs say: items of a batch, default headers of a topic.
    pub(crate) fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut given = Self::default();
        for (name, value) in pairs {
            given.put(name.to_ascii_lowercase(), value.to_owned());
        }
        given
    }

    fn put(&mut self, name: String, value: String) {
        self.headers.push((name.clone(), value.clone()));
        self.options.insert(name, value);
    }

    /// This over a topic's default headers.
    pub(crate) fn over(mut self, defaults: &Self) -> Self {
        for (name, value) in &defaults.options {
            self.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self.headers = Headers(defaults.headers.clone()).under(&Headers(self.headers)).0;
        self
    }

    /// The value of an option, without the spaces around it; an empty one says nothing.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Booleans of all clients: Python's writes `True`.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The headers whose names begin so, without that beginning.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Headers {
        let bare = |(name, value): &(String, String)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()));
        Headers(self.headers.iter().filter_map(bare).collect())
    }

    /// The headers of the delivery: content type and what is to be forwarded. Where both name one, the latter counts, so that none goes out twice.
    pub(crate) fn forwarded(&self) -> Headers {
        let all = self.is_set("upstash-header-forward");
        let passes = |name: &str| name == "content-type" || (all && is_forwardable(name));
        let plain = self.headers.iter().filter(|(name, _)| passes(name)).cloned().collect();
        let mut forwarded = self.with_prefix("upstash-forward-");
        forwarded.0.retain(|(name, _)| !name.is_empty());
        Headers(plain).under(&forwarded)
    }
}

/// Headers of the call itself stay behind, and so does the token.
fn is_forwardable(name: &str) -> bool {
    let of_the_call = [
        "host",
        "content-length",
        "connection",
        "authorization",
        "transfer-encoding",
        "expect",
        "upgrade",
        "keep-alive",
        "te",
        "trailer",
    ];
    !name.starts_with("upstash-") && !name.starts_with("proxy-") && !of_the_call.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_shown_as_go_writes_them() {
        assert_eq!(canonical("content-type"), "Content-Type");
        assert_eq!(canonical("X-GITHUB-event"), "X-Github-Event");
    }

    #[test]
    fn repeated_headers_stay_and_an_override_replaces_all_of_a_name() {
        let stored = Headers::of(vec![("a".into(), "1".into()), ("a".into(), "2".into()), ("b".into(), "3".into())]);
        let over = Headers::of(vec![("a".into(), "9".into())]);
        assert_eq!(stored.under(&over), Headers::of(vec![("b".into(), "3".into()), ("a".into(), "9".into())]));
        assert_eq!(stored.shown(|_, value| value.to_owned())["A"], ["1", "2"]);
    }

    #[test]
    fn a_header_beats_the_query_and_the_call_beats_the_topic() {
        let mut headers = HeaderMap::new();
        headers.insert("upstash-retries", "1".parse().unwrap());
        let call = Given::of_call(&headers, "upstash-retries=2&upstash-delay=5s&a=b");
        let given = call.over(&Given::of_pairs([("Upstash-Delay", "9s"), ("Upstash-Timeout", "7s")]));
        assert_eq!(given.get("upstash-retries"), Some("1"));
        assert_eq!((given.get("upstash-delay"), given.get("upstash-timeout")), (Some("5s"), Some("7s")));
        assert_eq!(given.get("a"), None);
    }
}
