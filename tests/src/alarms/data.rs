//! Data points of metrics.

use std::collections::BTreeMap;

use surehook::{Millis, telemetry::Metric};

use super::MINUTE;
use crate::template::FUNCTIONS;

/// A metric as CloudWatch names it. References of the template stand for themselves, as `${Consumer}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Names and values of the dimensions.
    pub dimensions: Vec<(String, String)>,
}

/// A data point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The minute to which it belongs. CloudWatch keeps no finer time of a metric of standard resolution.
    pub at: Millis,
    /// From when on CloudWatch shows it.
    pub visible: Millis,
    /// Its value.
    pub value: f64,
}

/// A deployed function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The consumer.
    Consumer,
    /// The requeuer.
    Requeuer,
    /// The producer.
    Producer,
    /// The DLQ processor.
    DlqProcessor,
}

/// A metric that Lambda writes about a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LambdaMetric {
    /// Invocations that ended in an error.
    Errors,
    /// Invocations that Lambda turned away.
    Throttles,
}

/// A metric of a simulated stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// Written by the function itself.
    Own(Metric, Function),
    /// Written by Lambda.
    Lambda(LambdaMetric, Function),
}

impl Series {
    /// Returns its name in CloudWatch.
    pub fn name(self) -> MetricName {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match self {
            Self::Own(metric, function) => MetricName {
                namespace: "Surehook".to_owned(),
                name: metric.name(),
                dimensions: vec![pair("stack", "${AWS::StackName}"), pair("function", FUNCTIONS[function as usize].0)],
            },
            Self::Lambda(metric, function) => MetricName {
                namespace: "AWS/Lambda".to_owned(),
                name: format!("{metric:?}"),
                dimensions: vec![pair("FunctionName", &format!("${{{}}}", FUNCTIONS[function as usize].1))],
            },
        }
    }
}

/// Collects data points while a stack runs.
#[derive(Debug, Default)]
pub struct Recorder(Vec<(Series, Vec<Point>)>);

impl Recorder {
    /// Records a value that shows after a delay.
    pub fn record(&mut self, series: Series, at: Millis, delay: Millis, value: u64) {
        #[allow(clippy::cast_precision_loss, reason = "counts and seconds are far below 2^52")]
        let point = Point { at: at.div_euclid(MINUTE) * MINUTE, visible: at + delay, value: value as f64 };
        match self.0.iter_mut().find(|(known, _)| *known == series) {
            Some((_, points)) => points.push(point),
            None => self.0.push((series, vec![point])),
        }
    }
}

/// All data points of a stack, by metric, in order of time.
#[derive(Debug, Default)]
pub struct Data(BTreeMap<MetricName, Vec<Point>>);

impl Data {
    /// Returns the points of a metric.
    pub fn points(&self, name: &MetricName) -> &[Point] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

impl FromIterator<(MetricName, Vec<Point>)> for Data {
    fn from_iter<I: IntoIterator<Item = (MetricName, Vec<Point>)>>(series: I) -> Self {
        let sorted = |(name, mut points): (MetricName, Vec<Point>)| {
            points.sort_by_key(|point| point.at);
            (name, points)
        };
        Self(series.into_iter().map(sorted).collect())
    }
}

impl From<Recorder> for Data {
    fn from(recorder: Recorder) -> Self {
        recorder.0.into_iter().map(|(series, points)| (series.name(), points)).collect()
    }
}
