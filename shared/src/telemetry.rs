//! One line per invocation, and the metrics, from the same place.
//!
//! A line never has a body, token or key in it. Metrics are lines in CloudWatch's embedded metric format, so that no call
//! to CloudWatch is needed; outside Lambda nobody reads them and they are not written.

use std::time::Duration;

use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::{Millis, identity::EventKey, outside};

/// Whose telemetry this is.
#[derive(Debug, Clone)]
pub struct Telemetry {
    stack: String,
    function: &'static str,
    metrics: bool,
}

/// What is told about one invocation.
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
    /// Which attempt this was.
    pub attempt: u64,
    /// The fixed word of the outcome.
    pub outcome: &'static str,
    /// Why, where the outcome needs a reason: a fixed word.
    pub reason: &'a str,
    /// How long it took.
    pub duration: Duration,
}

/// The metrics of design 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Handled and committed.
    Delivered,
    /// Handled before.
    Duplicate,
    /// No route.
    Ignored,
    /// An attempt failed.
    Failed,
    /// Delivered again later.
    Requeued,
    /// Given up.
    DeadLettered,
    /// Waits longer than every retry can take.
    Stranded,
    /// A worker found that its event is another's.
    LeaseLost,
    /// The effect happened, or a part of it, but that could not be written.
    Unconfirmed,
    /// A destination kept failing, and is left alone for a while.
    CircuitOpened,
    /// Not signed by QStash for us.
    SignatureRefused,
    /// Something that a sweep could not do.
    SweepFailed,
    /// Events in the outbox that a sweep left there.
    OutboxWaiting,
    /// First seen to done, in milliseconds.
    DeliveryLatency,
    /// Time in the handler, in milliseconds.
    HandlerDuration,
}

impl Metric {
    fn unit(self) -> &'static str {
        match self {
            Self::DeliveryLatency | Self::HandlerDuration => "Milliseconds",
            _ => "Count",
        }
    }
}

/// Sends log lines to standard output: JSON on Lambda, text elsewhere. `RUST_LOG` chooses the level, `info` by default.
pub fn init() {
    let filter = outside::variable("RUST_LOG").unwrap_or_else(|| "info,lambda_runtime=warn".to_owned());
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_target(false);
    // A second initialisation in one process, as in tests, changes nothing.
    let _already_set = if outside::variable("AWS_LAMBDA_INITIALIZATION_TYPE").is_some() {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
}

impl Telemetry {
    /// Telemetry of one function of a stack; metrics are written on Lambda only.
    pub fn new(stack: impl Into<String>, function: &'static str, metrics: bool) -> Self {
        Self { stack: stack.into(), function, metrics }
    }

    /// Writes the one line of an invocation.
    pub fn line(&self, line: &Line<'_>) {
        tracing::info!(
            function = self.function,
            event = line.event.map(EventKey::as_str).unwrap_or_default(),
            source = line.source,
            event_type = line.event_type,
            message_id = line.message_id,
            attempt = line.attempt,
            outcome = line.outcome,
            reason = line.reason,
            duration_ms = u64::try_from(line.duration.as_millis()).unwrap_or(u64::MAX),
            "invocation ended"
        );
    }

    /// Writes one metric.
    #[allow(clippy::print_stdout, reason = "CloudWatch reads metrics from standard output")]
    pub fn count(&self, metric: Metric, value: u64, now: Millis) {
        if self.metrics {
            println!("{}", self.embedded(metric, value, now));
        }
    }

    fn embedded(&self, metric: Metric, value: u64, now: Millis) -> serde_json::Value {
        let name = format!("{metric:?}");
        json!({
            "_aws": {
                "Timestamp": now,
                "CloudWatchMetrics": [{
                    "Namespace": "Surehook",
                    "Dimensions": [["stack", "function"]],
                    "Metrics": [{ "Name": name, "Unit": metric.unit() }],
                }],
            },
            "stack": self.stack,
            "function": self.function,
            name: value,
        })
    }
}

/// Whether metrics have a reader: on Lambda, but not on the development stack's.
pub fn on_lambda() -> bool {
    outside::variable("AWS_LAMBDA_INITIALIZATION_TYPE").is_some_and(|kind| kind != "surehook-local")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_in_the_embedded_format() {
        let telemetry = Telemetry::new("shop", "consumer", true);
        let metric = telemetry.embedded(Metric::DeliveryLatency, 12, 1_000);
        assert_eq!(metric["DeliveryLatency"], 12);
        assert_eq!(metric["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Unit"], "Milliseconds");
    }
}
