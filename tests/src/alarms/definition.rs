//! Reads the alarms from the template. A property or expression that is not known here is a panic, because the evaluator would leave it out.

use serde_json::Value;
use surehook::Millis;

use super::data::MetricName;
use crate::template::{Parameters, Template};

/// The only expression that the alarms use. It adds the metrics that have a value in a period.
const SUM: &str = "SUM(METRICS())";
/// Properties that decide nothing about the state.
const WITHOUT_EFFECT: [&str; 3] = ["AlarmDescription", "AlarmActions", "OKActions"];
/// Properties that the evaluator knows.
const KNOWN: [&str; 11] = [
    "Namespace",
    "MetricName",
    "Dimensions",
    "Statistic",
    "Period",
    "Metrics",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
];

/// What is computed from the data points of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// Their sum.
    Sum,
    /// The largest.
    Maximum,
    /// The mean.
    Average,
    /// How many there are.
    SampleCount,
}

/// How a value is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Above.
    Greater,
    /// At or above.
    GreaterOrEqual,
    /// Below.
    Less,
    /// At or below.
    LessOrEqual,
}

/// How a period without data points counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// As one that breaches.
    Breaching,
    /// As one that does not.
    NotBreaching,
    /// The state stays.
    Ignore,
    /// Not at all.
    Missing,
}

/// A metric that an alarm watches.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Which.
    pub metric: MetricName,
    /// What is computed of it.
    pub statistic: Statistic,
}

/// An alarm.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// Its entry in `docs/operations.md`.
    pub entry: String,
    /// What it watches. Of several metrics the sum counts.
    pub watched: Vec<Watched>,
    /// The length of a period.
    pub period: Millis,
    /// How many periods are evaluated.
    pub evaluation_periods: usize,
    /// How many of them must breach.
    pub datapoints_to_alarm: usize,
    /// The threshold.
    pub threshold: f64,
    /// How values are compared with it.
    pub comparison: Comparison,
    /// How a period without data points counts.
    pub missing: Missing,
}

/// Returns the alarms that a deployment with these parameters has.
pub fn alarms(template: &Template, parameters: Parameters<'_>) -> Vec<Alarm> {
    let alarms = template.resources_of("AWS::CloudWatch::Alarm").into_iter();
    let deployed = alarms.filter(|(_, alarm)| {
        let condition = alarm["Condition"].as_str();
        condition.is_none_or(|condition| template.holds(condition, parameters))
    });
    deployed.map(|(id, alarm)| Alarm::read(id, &alarm["Properties"], template, parameters)).collect()
}

impl Alarm {
    /// Reads an alarm.
    pub fn read(id: &str, properties: &Value, template: &Template, parameters: Parameters<'_>) -> Self {
        for name in properties.as_object().unwrap().keys().map(String::as_str) {
            assert!(
                KNOWN.contains(&name) || WITHOUT_EFFECT.contains(&name),
                "{id}: the evaluator does not know {name}"
            );
        }
        let number = |name: &str| template.resolve(&properties[name], parameters).parse::<usize>().ok();
        let (watched, period) = watched(id, properties);
        let evaluation_periods = number("EvaluationPeriods").unwrap();
        Self {
            entry: properties["AlarmDescription"].as_str().unwrap().split('"').nth(1).unwrap().to_owned(),
            missing: missing(id, properties, &watched),
            watched,
            period,
            evaluation_periods,
            datapoints_to_alarm: number("DatapointsToAlarm").unwrap_or(evaluation_periods),
            threshold: properties["Threshold"].as_f64().unwrap(),
            comparison: comparison(id, properties["ComparisonOperator"].as_str().unwrap()),
        }
    }
}

fn watched(id: &str, properties: &Value) -> (Vec<Watched>, Millis) {
    let Some(parts) = properties["Metrics"].as_array() else {
        return (vec![metric(id, properties, &properties["Statistic"])], period(properties));
    };
    let (expressions, stats): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.get("Expression").is_some());
    assert_eq!(expressions.len(), 1, "{id}: the evaluator knows one expression only");
    assert_eq!(expressions[0]["Expression"], SUM, "{id}: the evaluator does not know this expression");
    let stats: Vec<&Value> = stats
        .iter()
        .inspect(|part| assert_eq!(part["ReturnData"], false, "{id}"))
        .map(|part| &part["MetricStat"])
        .collect();
    let first = period(stats[0]);
    assert!(stats.iter().all(|stat| period(stat) == first), "{id}: all metrics have the same period");
    (stats.iter().map(|stat| metric(id, &stat["Metric"], &stat["Stat"])).collect(), first)
}

fn period(at: &Value) -> Millis {
    at["Period"].as_i64().unwrap() * 1_000
}

fn metric(id: &str, named: &Value, stat: &Value) -> Watched {
    let text = |value: &Value| match value["!Ref"].as_str() {
        Some(reference) => format!("${{{reference}}}"),
        None => value.as_str().unwrap().to_owned(),
    };
    let dimension = |one: &Value| (text(&one["Name"]), text(&one["Value"]));
    let metric = MetricName {
        namespace: text(&named["Namespace"]),
        name: text(&named["MetricName"]),
        dimensions: named["Dimensions"].as_array().unwrap().iter().map(dimension).collect(),
    };
    Watched { metric, statistic: statistic(id, stat.as_str().unwrap()) }
}

fn statistic(id: &str, name: &str) -> Statistic {
    match name {
        "Sum" => Statistic::Sum,
        "Maximum" => Statistic::Maximum,
        "Average" => Statistic::Average,
        "SampleCount" => Statistic::SampleCount,
        other => panic!("{id}: the evaluator does not know the statistic {other}"),
    }
}

fn comparison(id: &str, name: &str) -> Comparison {
    match name {
        "GreaterThanThreshold" => Comparison::Greater,
        "GreaterThanOrEqualToThreshold" => Comparison::GreaterOrEqual,
        "LessThanThreshold" => Comparison::Less,
        "LessThanOrEqualToThreshold" => Comparison::LessOrEqual,
        other => panic!("{id}: the evaluator does not know the comparison {other}"),
    }
}

/// Alarms on metrics of DynamoDB ignore missing data, whatever they say. Source: CloudWatch API reference, `PutMetricAlarm`,
/// `TreatMissingData`.
fn missing(id: &str, properties: &Value, watched: &[Watched]) -> Missing {
    if watched.iter().any(|one| one.metric.namespace == "AWS/DynamoDB") {
        return Missing::Ignore;
    }
    match properties["TreatMissingData"].as_str().unwrap_or("missing") {
        "breaching" => Missing::Breaching,
        "notBreaching" => Missing::NotBreaching,
        "ignore" => Missing::Ignore,
        "missing" => Missing::Missing,
        other => panic!("{id}: the evaluator does not know the treatment {other}"),
    }
}
