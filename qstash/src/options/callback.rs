//! `Upstash-Callback`, `Upstash-Failure-Callback` and what belongs to each.

use std::time::Duration;

use http::Method;

use super::{
    FlowControl, Given, Headers, Invalid, Rules, expression, flow_control, invalid, labels, method, read, span,
    timeout, whole, within_headers, within_retries,
};
use crate::{destination, expression::Expression};

/// The options of a callback. Others are refused, because a callback that ignores one does not do what its caller asked for.
const OPTIONS: [&str; 8] =
    ["method", "retries", "retry-delay", "timeout", "delay", "label", "flow-control-key", "flow-control-value"];

/// Where a callback goes, and how. Retries and time-out that are not said are the message's own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Callback {
    pub(crate) url: String,
    pub(crate) method: Method,
    pub(crate) retries: Option<u32>,
    pub(crate) retry_delay: Option<Expression>,
    pub(crate) timeout: Option<Duration>,
    /// Only where it is chosen that callbacks may be delayed.
    pub(crate) delay: Duration,
    /// Labels; those of the message unless given.
    pub(crate) labels: Option<Vec<String>>,
    pub(crate) flow: Option<FlowControl>,
    /// Headers of the callback's delivery, their prefix removed.
    pub(crate) headers: Headers,
}

impl Callback {
    /// Reads the header `name` and those that begin with it, over what is known from before.
    pub(super) fn read(
        given: &Given,
        name: &str,
        known: Option<Box<Self>>,
        rules: Rules<'_>,
    ) -> Result<Option<Box<Self>>, Invalid> {
        let option = |suffix: &str| format!("{name}-{suffix}");
        refuse_unknown(given, &option(""))?;
        if rules.choices.refuse_delayed_callbacks && given.get(&option("delay")).is_some() {
            return Err(invalid(&option("delay"), "callbacks can't be delayed"));
        }
        let known = match (read(given, name, url)?, known) {
            (Some(url), Some(known)) => Self { url, ..*known },
            (Some(url), None) => Self::to(url),
            (None, Some(known)) => *known,
            (None, None) => return Ok(None),
        };
        let longest = rules.plan.response_wait;
        let retries = read(given, &option("retries"), whole)?.or(known.retries);
        within_retries(retries.unwrap_or_default(), rules.plan)?;
        Ok(Some(Box::new(Self {
            method: read(given, &option("method"), method)?.unwrap_or(known.method),
            retries,
            retry_delay: read(given, &option("retry-delay"), expression)?.or(known.retry_delay),
            timeout: read(given, &option("timeout"), timeout)?.map(|span| span.min(longest)).or(known.timeout),
            delay: read(given, &option("delay"), span)?.unwrap_or(known.delay),
            labels: given.get(&option("label")).map(labels).or(known.labels),
            flow: flow_control(given, name)?.or(known.flow),
            headers: within_headers(known.headers.under(&given.with_prefix(&option("forward-"))), name)?,
            url: known.url,
        })))
    }

    fn to(url: String) -> Self {
        Self {
            url,
            method: Method::POST,
            retries: None,
            retry_delay: None,
            timeout: None,
            delay: Duration::ZERO,
            labels: None,
            flow: None,
            headers: Headers::default(),
        }
    }
}

fn refuse_unknown(given: &Given, prefix: &str) -> Result<(), Invalid> {
    let named = given.with_prefix(prefix);
    let mut names = named.iter().map(|(name, _)| name);
    let unknown = names.find(|name| !OPTIONS.contains(name) && !name.starts_with("forward-"));
    let reason =
        || format!("callbacks have no such option: use forward-<name> for a header, or {}", OPTIONS.join(", "));
    unknown.map_or(Ok(()), |name| Err(invalid(&format!("{prefix}{name}"), reason())))
}

fn url(text: &str) -> Result<String, String> {
    destination::url(text).map_err(|error| error.to_string())
}
