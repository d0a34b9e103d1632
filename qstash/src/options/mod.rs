//! What a publish call asks for: `Upstash-…` headers, or lower-case query parameters of the same names.

mod callback;
mod flow;
mod headers;
mod redact;

use std::time::Duration;

use http::Method;
use surehook::qstash::duration;

pub(crate) use callback::Callback;
pub(crate) use flow::{FlowControl, Limits, period, positive};
pub(crate) use headers::{Given, Headers, canonical};
pub(crate) use redact::{Redacted, digest_of};

use crate::{
    choices::{Choices, RETRIES},
    expression::Expression,
    plan::Plan,
};

/// The options of one message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) method: Method,
    pub(crate) delay: Duration,
    /// Seconds since 1970 by the caller's clock; it beats the delay.
    pub(crate) not_before: Option<i64>,
    pub(crate) retries: u32,
    pub(crate) retry_delay: Option<Expression>,
    pub(crate) timeout: Duration,
    pub(crate) callback: Option<Box<Callback>>,
    pub(crate) failure_callback: Option<Box<Callback>>,
    pub(crate) deduplication: Deduplication,
    pub(crate) flow: Option<FlowControl>,
    pub(crate) labels: Vec<String>,
    pub(crate) redacted: Redacted,
    /// Headers of the delivery, their prefix removed.
    pub(crate) headers: Headers,
}

/// How copies are recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Deduplication {
    #[default]
    Off,
    Id(String),
    Content,
}

/// Why a call is refused, by the name of the header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("invalid value for {header}: {reason}")]
    Header { header: String, reason: String },
    #[error("DeduplicationId cannot contain ':'")]
    DeduplicationId,
    #[error("{0}: workflows are not served here, only QStash's messages; run the workflow against Upstash")]
    Workflow(String),
    #[error("quota {quota} exceeded, current limit: {limit}")]
    Quota { quota: &'static str, limit: u64 },
}

/// What the options are judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) choices: &'a Choices,
}

impl Options {
    /// What a call says, over QStash's defaults.
    pub(crate) fn read(given: &Given, rules: Rules<'_>) -> Result<Self, Invalid> {
        let defaults = Self {
            method: Method::POST,
            delay: Duration::ZERO,
            not_before: None,
            retries: RETRIES,
            retry_delay: None,
            timeout: rules.plan.response_wait,
            callback: None,
            failure_callback: None,
            deduplication: Deduplication::Off,
            flow: None,
            labels: Vec::new(),
            redacted: Redacted::default(),
            headers: Headers::default(),
        };
        defaults.overridden(given, rules)
    }

    /// The same options with what a later call says over them: how a retry from the dead-letter queue is made. When it is due is a
    /// matter of the later call alone.
    pub(crate) fn overridden(self, given: &Given, rules: Rules<'_>) -> Result<Self, Invalid> {
        refuse_workflows(given)?;
        let retries = read(given, "upstash-retries", whole)?.unwrap_or(self.retries);
        let options = Self {
            method: read(given, "upstash-method", method)?.unwrap_or(self.method),
            delay: read(given, "upstash-delay", span)?.unwrap_or_default(),
            not_before: read(given, "upstash-not-before", whole)?,
            retries,
            retry_delay: read(given, "upstash-retry-delay", expression)?.or(self.retry_delay),
            timeout: read(given, "upstash-timeout", timeout)?.unwrap_or(self.timeout).min(rules.plan.response_wait),
            callback: Callback::read(given, "upstash-callback", self.callback, rules)?,
            failure_callback: Callback::read(given, "upstash-failure-callback", self.failure_callback, rules)?,
            deduplication: deduplication(given)?,
            flow: flow_control(given, "upstash")?.or(self.flow),
            labels: given.get("upstash-label").map_or(self.labels, labels),
            redacted: read(given, "upstash-redact-fields", Redacted::read)?.unwrap_or(self.redacted),
            headers: within_headers(self.headers.under(&given.forwarded()), "upstash-forward")?,
        };
        within_retries(retries, rules.plan).map(|()| options)
    }
}

/// Refuses the steps of a workflow: delivered as plain messages they would fail in the application.
fn refuse_workflows(given: &Given) -> Result<(), Invalid> {
    let found = given.with_prefix("upstash-workflow-");
    let first = found.iter().next().map(|(name, _)| headers::canonical(&format!("upstash-workflow-{name}")));
    first.map_or(Ok(()), |name| Err(Invalid::Workflow(name)))
}

/// The plan's cap of retries.
fn within_retries(retries: u32, plan: &Plan) -> Result<(), Invalid> {
    match plan.retries {
        Some(limit) if retries > limit => Err(Invalid::Quota { quota: "maxRetries", limit: limit.into() }),
        _ => Ok(()),
    }
}

/// How many headers may travel with a message, and their size in bytes: what HTTP servers take, the dozen that QStash adds not counted.
const MOST_HEADERS: (usize, usize) = (80, 64 * 1_024);

fn within_headers(headers: Headers, name: &str) -> Result<Headers, Invalid> {
    if headers.iter().count() > MOST_HEADERS.0 || headers.size() > MOST_HEADERS.1 {
        return Err(invalid(name, format!("more than {} headers or {} bytes of them", MOST_HEADERS.0, MOST_HEADERS.1)));
    }
    Ok(headers)
}

/// The value of an option, if it was given.
fn read<T>(given: &Given, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Invalid> {
    given.get(name).map(|text| parse(text).map_err(|reason| invalid(name, reason))).transpose()
}

fn invalid(header: &str, reason: impl Into<String>) -> Invalid {
    Invalid::Header { header: headers::canonical(header), reason: reason.into() }
}

fn whole<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_bad| format!("\"{text}\" is not a whole number"))
}

fn method(text: &str) -> Result<Method, String> {
    let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let found = known.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("\"{text}\" is not GET, POST, PUT, PATCH or DELETE"))
}

/// A span as QStash takes it: whole numbers with units, `1d10h30m`.
fn span(text: &str) -> Result<Duration, String> {
    let is_unit = |byte: &u8| b"smhd".contains(byte);
    let bytes = text.as_bytes();
    let is_spelled = bytes.iter().all(|byte| byte.is_ascii_digit() || is_unit(byte))
        && bytes.last().is_some_and(is_unit)
        && !bytes.windows(2).any(|pair| pair.iter().all(is_unit));
    let read = duration::parse(text).filter(|_| is_spelled);
    read.ok_or_else(|| format!("\"{text}\" is not a span like 50s, 3m, 1d10h30m"))
}

fn timeout(text: &str) -> Result<Duration, String> {
    span(text).and_then(|span| if span.is_zero() { Err("it must be longer than 0".to_owned()) } else { Ok(span) })
}

fn expression(text: &str) -> Result<Expression, String> {
    Expression::parse(text).map_err(|error| error.to_string())
}

fn labels(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect()
}

fn deduplication(given: &Given) -> Result<Deduplication, Invalid> {
    match given.get("upstash-deduplication-id") {
        Some(id) if id.contains(':') => Err(Invalid::DeduplicationId),
        Some(id) => Ok(Deduplication::Id(id.to_owned())),
        None if given.is_set("upstash-content-based-deduplication") => Ok(Deduplication::Content),
        None => Ok(Deduplication::Off),
    }
}

/// Reads the flow control of a message, or of its callback: `base` is what its headers begin with.
fn flow_control(given: &Given, base: &str) -> Result<Option<FlowControl>, Invalid> {
    let (key_name, value_name) = (&*format!("{base}-flow-control-key"), &*format!("{base}-flow-control-value"));
    match (given.get(key_name), given.get(value_name)) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(invalid(key_name, "it is missing, and the value means nothing without it")),
        (Some(key), value) => {
            let limits = Limits::read(value.unwrap_or_default()).map_err(|reason| invalid(value_name, reason))?;
            Ok(Some(FlowControl { key: key.to_owned(), limits }))
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
