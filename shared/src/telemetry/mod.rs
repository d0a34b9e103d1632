//! One line per invocation, and the metrics in it.
//!
//! A line never has a body, token, signature or key in it. On Lambda it is JSON that is at the same time in CloudWatch's embedded
//! metric format: no call to CloudWatch, and what is logged is paid once. Elsewhere nobody reads metrics, and it is text.
//! `docs/operations.md` says what each field means.

mod metric;
mod sampler;

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use http::HeaderMap;
use serde_json::{Map, Value, json};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub use metric::{Metric, Tally};
use sampler::Sampler;

use crate::{
    Millis,
    identity::EventKey,
    outside,
    web::{Moment, Outcome},
};

/// Whose telemetry this is.
#[derive(Debug, Clone)]
pub struct Telemetry {
    stack: String,
    function: &'static str,
    form: Form,
    /// One sampler for each kind of refusal: outcome and reason, so that a flood of one hides no other.
    refusals: Arc<Mutex<HashMap<(&'static str, String), Sampler>>>,
}

/// The form of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text, for a person.
    Text,
    /// JSON, of which CloudWatch makes no metrics.
    Json,
    /// JSON, of which CloudWatch makes metrics.
    Metrics,
}

impl Form {
    /// The form of this process: JSON on Lambda, with metrics if `METRICS` does not switch them off, and text elsewhere.
    pub fn of_process(metrics: bool) -> Self {
        match (on_lambda(), metrics) {
            (false, _) => Self::Text,
            (true, false) => Self::Json,
            (true, true) => Self::Metrics,
        }
    }
}

/// What is told about one invocation. What is empty is left out.
#[derive(Debug, Default)]
pub struct Line<'a> {
    /// The event.
    pub event: Option<&'a EventKey>,
    /// Its source.
    pub source: &'a str,
    /// Its type.
    pub event_type: &'a str,
    /// The QStash message that brought it.
    pub message_id: &'a str,
    /// The trace that it belongs to (W3C Trace Context).
    pub trace: &'a str,
    /// Which attempt this was.
    pub attempt: u64,
    /// The fixed word of the outcome.
    pub outcome: &'static str,
    /// Why, where the outcome needs a reason: a fixed word.
    pub reason: &'a str,
    /// The invocation was turned away at the door. Such lines are sampled, and this is counted with them, as often as they came.
    pub refused: Option<Metric>,
    /// How long it took.
    pub duration: Duration,
    /// When it ended.
    pub at: Millis,
    /// What it counted.
    pub counts: Vec<(Metric, u64)>,
}

impl Line<'_> {
    /// What every invocation of an HTTP function tells.
    pub fn of(outcome: &Outcome, moment: Moment) -> Self {
        Self {
            outcome: outcome.word(),
            reason: outcome.reason(),
            refused: outcome.refusal(),
            duration: moment.started.elapsed(),
            at: moment.at_present(),
            ..Self::default()
        }
    }
}

/// Others, whose code may say no more than warnings whatever `RUST_LOG` asks for: below that it tells whole requests, tokens included.
const OTHERS: [&str; 7] = ["lambda", "aws", "hyper", "h2", "reqwest", "rustls", "tower"];

/// Sends log lines to standard output: JSON on Lambda, text elsewhere. `RUST_LOG` chooses the level of our own, `info` by default.
pub fn init() {
    let own = outside::variable("RUST_LOG").unwrap_or_else(|| "info".to_owned());
    let (asked, allowed) = (asked_for(&own), allowed());
    let builder = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_target(false);
    // A second initialisation in one process, as in tests, changes nothing.
    let _already_set = if outside::variable("AWS_LAMBDA_INITIALIZATION_TYPE").is_some() {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .with(asked)
            .with(allowed)
            .try_init()
    } else {
        builder.with_ansi(false).finish().with(asked).with(allowed).try_init()
    };
}

/// What `RUST_LOG` asks for; what can't be read of it is left out, and nothing else.
fn asked_for(text: &str) -> Targets {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty() && part.parse::<Targets>().is_ok());
    let parts = parts.collect::<Vec<_>>().join(",");
    parts.parse().ok().filter(|_| !parts.is_empty()).unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// What may be said at most. A filter of its own, because within one filter the more specific target wins.
fn allowed() -> Targets {
    let others = OTHERS.map(|name| (name, LevelFilter::WARN));
    Targets::new().with_default(LevelFilter::TRACE).with_targets(others)
}

impl Telemetry {
    /// Telemetry of one function of a stack.
    pub fn new(stack: impl Into<String>, function: &'static str, form: Form) -> Self {
        Self { stack: stack.into(), function, form, refusals: Arc::default() }
    }

    /// Writes the one line of an invocation, unless it is one of many refusals.
    pub fn line(&self, mut line: Line<'_>) {
        let mut refusals = 0;
        if let Some(metric) = line.refused {
            let Some(count) = self.sample((line.outcome, line.reason.to_owned()), line.at) else { return };
            refusals = count;
            line.counts.push((metric, count));
        }
        match self.form {
            Form::Text => self.trace(&line, refusals),
            Form::Json | Form::Metrics => print(&self.embedded(&line, refusals)),
        }
    }

    /// Writes a metric that belongs to no invocation of its own.
    pub fn count(&self, metric: Metric, value: u64, now: Millis) {
        if self.form == Form::Metrics {
            print(&Value::Object(self.metrics_of(&[(metric, value)], now)));
        }
    }

    fn sample(&self, kind: (&'static str, String), now: Millis) -> Option<u64> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default().see(now)
    }

    fn trace(&self, line: &Line<'_>, refusals: u64) {
        tracing::info!(
            function = self.function,
            event = line.event.map(EventKey::as_str).unwrap_or_default(),
            source = line.source,
            event_type = line.event_type,
            message_id = line.message_id,
            trace = line.trace,
            attempt = line.attempt,
            outcome = line.outcome,
            reason = line.reason,
            refusals,
            duration_ms = in_millis(line.duration),
            "invocation ended"
        );
    }

    fn embedded(&self, line: &Line<'_>, refusals: u64) -> Value {
        let mut fields = self.metrics_of(&line.counts, line.at);
        let texts = [
            ("timestamp", timestamp(line.at).as_str()),
            ("level", "INFO"),
            ("message", "invocation ended"),
            ("event", line.event.map(EventKey::as_str).unwrap_or_default()),
            ("source", line.source),
            ("event_type", line.event_type),
            ("message_id", line.message_id),
            ("trace", line.trace),
            ("outcome", line.outcome),
            ("reason", line.reason),
        ]
        .map(|(name, text)| (name, (!text.is_empty()).then(|| Value::from(text))));
        let numbers = [("attempt", line.attempt), ("refusals", refusals)]
            .map(|(name, number)| (name, (number > 0).then(|| Value::from(number))));
        let present = texts.into_iter().chain(numbers).filter_map(|(name, value)| Some((name.to_owned(), value?)));
        fields.extend(present);
        fields.insert("duration_ms".to_owned(), in_millis(line.duration).into());
        Value::Object(fields)
    }

    /// Source: AWS, "Specification: Embedded metric format".
    fn metrics_of(&self, counts: &[(Metric, u64)], now: Millis) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("stack".to_owned(), self.stack.as_str().into());
        fields.insert("function".to_owned(), self.function.into());
        if counts.is_empty() {
            return fields;
        }
        if self.form == Form::Metrics {
            fields.insert("_aws".to_owned(), directive(counts, now));
        }
        fields.extend(counts.iter().map(|(metric, value)| (metric.name(), Value::from(*value))));
        fields
    }
}

/// What makes CloudWatch take the fields of these names for metrics.
fn directive(counts: &[(Metric, u64)], now: Millis) -> Value {
    let declared: Vec<Value> = counts.iter().map(|(metric, _)| declaration(*metric)).collect();
    json!({
        "Timestamp": now,
        "CloudWatchMetrics": [{ "Namespace": "Surehook", "Dimensions": [["stack", "function"]], "Metrics": declared }],
    })
}

fn declaration(metric: Metric) -> Value {
    match metric.unit() {
        Some(unit) => json!({ "Name": metric.name(), "Unit": unit }),
        None => json!({ "Name": metric.name() }),
    }
}

/// Source: RFC 3339, which Lambda expects of a line that says its own time.
fn timestamp(at: Millis) -> String {
    let since = Duration::from_millis(u64::try_from(at).unwrap_or_default());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// CloudWatch reads lines and metrics from standard output. A line is written whole: `println!` would hand it over field by field. One that
/// nobody takes is no reason to fail the event.
fn print(line: &Value) {
    let text = format!("{line}\n");
    let _unread = io::stdout().lock().write_all(text.as_bytes());
}

/// The id of the trace that a request belongs to, for logs. Source: W3C Trace Context, "traceparent Header": version, trace
/// id, parent id and flags, in lower-case hexadecimal; an id of zeros is none. The header itself is passed on as it came.
pub fn trace_id(headers: &HeaderMap) -> &str {
    let parent = headers.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = parent.split('-');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(version), Some(id), Some(parent), Some(flags))
            if is_hex(version, 2) && is_hex(id, 32) && is_hex(parent, 16) && is_hex(flags, 2) =>
        {
            if id.bytes().all(|digit| digit == b'0') { "" } else { id }
        }
        _ => "",
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether metrics have a reader: on Lambda, but not on the development stack's.
pub fn on_lambda() -> bool {
    outside::variable("AWS_LAMBDA_INITIALIZATION_TYPE").is_some_and(|kind| kind != "surehook-local")
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
