//! What a publish call asks for: `Upstash-…` headers, or lower-case query parameters of the same names.

use std::{collections::BTreeMap, time::Duration};

use http::HeaderMap;
use surehook::qstash::duration;

use super::flow::FlowControl;

/// Retries where the call does not say: QStash's default.
const DEFAULT_RETRIES: u32 = 3;
/// How long a delivery may take where the call does not say: 15 minutes, as on QStash's free plan.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(900);

/// The options of one message.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) method: String,
    pub(super) delay: Duration,
    pub(super) not_before_s: Option<i64>,
    pub(super) retries: u32,
    pub(super) timeout: Duration,
    pub(super) failure_callback: Option<String>,
    pub(super) failure_retries: Option<u32>,
    pub(super) deduplication: Option<String>,
    pub(super) content_deduplication: bool,
    pub(super) flow: Option<FlowControl>,
    pub(super) redacted: Redacted,
    /// Headers of the delivery, their prefix removed.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) caller_ip: String,
}

/// What the API shows as digests only; deliveries have it whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Redacted {
    pub(super) body: bool,
    pub(super) all_headers: bool,
    /// These headers, in lower case.
    pub(super) headers: Vec<String>,
}

impl Redacted {
    /// `body`, `header` or `headers`, `header[Name]`, separated by commas.
    fn read(text: &str) -> Option<Self> {
        let mut redacted = Self::default();
        for field in text.split(',').map(str::trim) {
            let named = field.strip_prefix("header[").and_then(|rest| rest.strip_suffix(']'));
            match (field, named) {
                ("body", _) => redacted.body = true,
                ("header" | "headers", _) => redacted.all_headers = true,
                (_, Some(name)) => redacted.headers.push(name.to_ascii_lowercase()),
                _ => return None,
            }
        }
        Some(redacted)
    }
}

/// A value that can't be read, by the name of its header.
#[derive(Debug)]
pub(super) struct Invalid(pub(super) String);

/// Everything that was given, by lower-case name: the query first, headers over it.
pub(super) fn given(headers: &HeaderMap, query: &str, defaults: &[(String, String)]) -> BTreeMap<String, String> {
    let mut given: BTreeMap<String, String> =
        defaults.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name.starts_with("upstash-") {
            given.insert(name.into_owned(), value.into_owned());
        }
    }
    for (name, value) in headers {
        // Header values may be any bytes; those of real senders are UTF-8 or Latin-1 text.
        given.insert(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    given
}

impl Options {
    pub(super) fn read(given: &BTreeMap<String, String>) -> Result<Self, Invalid> {
        let base = Self {
            method: "POST".to_owned(),
            retries: DEFAULT_RETRIES,
            timeout: DEFAULT_TIMEOUT,
            caller_ip: "127.0.0.1".to_owned(),
            ..Self::default()
        };
        base.overridden(given)
    }

    /// The same options with what a later call gives over them: how a retry from the dead-letter queue is made.
    pub(super) fn overridden(mut self, given: &BTreeMap<String, String>) -> Result<Self, Invalid> {
        let get = |name: &str| given.get(name).map(|value| value.trim().to_owned());
        let span = |name: &str| read(name, get(name), duration::parse);
        let number = |name: &str| read(name, get(name), |text| text.parse::<u32>().ok());
        self.method = get("upstash-method").unwrap_or(self.method);
        self.delay = span("upstash-delay")?.unwrap_or(self.delay);
        self.not_before_s = read("upstash-not-before", get("upstash-not-before"), |text| text.parse().ok())?;
        self.retries = number("upstash-retries")?.unwrap_or(self.retries);
        self.timeout = span("upstash-timeout")?.unwrap_or(self.timeout);
        self.failure_callback = get("upstash-failure-callback").or(self.failure_callback);
        self.failure_retries = number("upstash-failure-callback-retries")?.or(self.failure_retries);
        self.redacted =
            read("upstash-redact-fields", get("upstash-redact-fields"), Redacted::read)?.unwrap_or(self.redacted);
        if let Some(key) = get("upstash-flow-control-key") {
            let value = get("upstash-flow-control-value").unwrap_or_default();
            let control = |text: &str| FlowControl::read(&key, text, duration::parse);
            self.flow = read("upstash-flow-control-value", Some(value), control)?;
        }
        self.deduplication = get("upstash-deduplication-id");
        self.content_deduplication =
            get("upstash-content-based-deduplication").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if self.deduplication.as_ref().is_some_and(|id| id.contains(':')) {
            return Err(Invalid("DeduplicationId cannot contain ':'".to_owned()));
        }
        self.add_headers(given);
        Ok(self)
    }

    fn add_headers(&mut self, given: &BTreeMap<String, String>) {
        let forward_all = given.get("upstash-header-forward").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        for (name, value) in given {
            if let Some(bare) = name.strip_prefix("upstash-forward-") {
                self.headers.insert(bare.to_owned(), value.clone());
            } else if name == "content-type" || (forward_all && is_forwardable(name)) {
                self.headers.insert(name.clone(), value.clone());
            }
        }
    }
}

fn is_forwardable(name: &str) -> bool {
    !name.starts_with("upstash-") && !matches!(name, "host" | "content-length" | "connection" | "authorization")
}

fn read<T>(name: &str, value: Option<String>, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Invalid> {
    match value {
        None => Ok(None),
        Some(text) => parse(&text).map(Some).ok_or_else(|| Invalid(format!("invalid value for {name}: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<Options, Invalid> {
        Options::read(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn defaults_are_those_of_qstash() {
        let options = options(&[]).unwrap();
        assert_eq!((options.retries, options.method.as_str(), options.delay), (3, "POST", Duration::ZERO));
    }

    #[test]
    fn values_that_can_not_be_read_name_their_header() {
        let error = options(&[("upstash-retries", "many")]).unwrap_err();
        assert!(error.0.contains("upstash-retries"));
        assert!(options(&[("upstash-deduplication-id", "a:b")]).is_err());
    }

    #[test]
    fn forwarded_headers_lose_their_prefix_and_others_stay_behind() {
        let options =
            options(&[("upstash-forward-x-a", "1"), ("x-b", "2"), ("content-type", "a/b"), ("authorization", "s")])
                .unwrap();
        assert_eq!(options.headers.keys().collect::<Vec<_>>(), ["content-type", "x-a"]);
    }
}
