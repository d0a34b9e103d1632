//! The rules by which CloudWatch evaluates an alarm, and what the evaluator refuses to read.

use serde_json::{Value, json};
use surehook::Millis;
use surehook_tests::{
    alarms::{
        MINUTE,
        data::{Data, MetricName, Point},
        definition::{Alarm, Comparison, Missing, Statistic, Watched, alarms},
        evaluator::{State, Window},
    },
    template::Template,
};

const FIVE: Millis = 5 * MINUTE;
/// How missing periods may count, in the order of the documentation's tables.
const TREATMENTS: [Missing; 4] = [Missing::Missing, Missing::Ignore, Missing::Breaching, Missing::NotBreaching];
const OK: Option<State> = Some(State::Ok);
const ALARM: Option<State> = Some(State::Alarm);
const NO_DATA: Option<State> = Some(State::InsufficientData);

fn metric(name: &str) -> MetricName {
    MetricName { namespace: "Surehook".to_owned(), name: name.to_owned(), dimensions: Vec::new() }
}

/// An alarm above 0 of the sum of these metrics, in periods of five minutes.
fn alarm(metrics: &[&str], datapoints_to_alarm: usize, evaluation_periods: usize) -> Alarm {
    Alarm {
        entry: "Test".to_owned(),
        watched: metrics.iter().map(|name| Watched { metric: metric(name), statistic: Statistic::Sum }).collect(),
        period: FIVE,
        evaluation_periods,
        datapoints_to_alarm,
        threshold: 0.0,
        comparison: Comparison::Greater,
        missing: Missing::NotBreaching,
    }
}

/// Points of a metric, at these minutes, that show at once.
fn points(name: &str, points: &[(Millis, f64)]) -> (MetricName, Vec<Point>) {
    let point =
        |(minute, value): &(Millis, f64)| Point { at: minute * MINUTE, visible: minute * MINUTE, value: *value };
    (metric(name), points.iter().map(point).collect())
}

/// The minutes of the first hour at which an alarm rings.
fn rings(alarm: &Alarm, window: Window, series: impl IntoIterator<Item = (MetricName, Vec<Point>)>) -> Vec<Millis> {
    let data: Data = series.into_iter().collect();
    alarm.rings(&data, window, -1, 60 * MINUTE).map(|at| at / MINUTE).collect()
}

/// Checks one row of a table: the newest period stands last, and `0`, `X` and `-` are as in the documentation.
fn check(datapoints_to_alarm: usize, periods: &str, expected: [Option<State>; 4]) {
    let newest_first = periods.split(' ').rev().map(|period| match period {
        "0" => Some(false),
        "X" => Some(true),
        _ => None,
    });
    let states = TREATMENTS
        .map(|missing| Alarm { missing, ..alarm(&["a"], datapoints_to_alarm, 3) }.state_of(newest_first.clone()));
    assert_eq!(states, expected, "{datapoints_to_alarm} of 3: {periods}");
}

/// Source: CloudWatch user guide, "Configuring how CloudWatch alarms treat missing data", both tables.
#[test]
fn missing_data_counts_as_in_the_tables_of_the_documentation() {
    check(3, "0 - X - X", [OK, OK, OK, OK]);
    check(3, "- - - - 0", [OK, OK, OK, OK]);
    check(3, "- - - - -", [NO_DATA, None, ALARM, OK]);
    check(3, "0 X X - X", [ALARM, ALARM, ALARM, ALARM]);
    check(3, "- - X - -", [ALARM, None, ALARM, OK]);
    check(3, "- - - - X", [NO_DATA, None, ALARM, OK]);
    check(2, "0 - X - X", [ALARM, ALARM, ALARM, ALARM]);
    check(2, "0 0 X 0 X", [ALARM, ALARM, ALARM, ALARM]);
    check(2, "0 - X - -", [OK, OK, ALARM, OK]);
    check(2, "- - - - 0", [OK, OK, ALARM, OK]);
    check(2, "- - - X -", [ALARM, None, ALARM, OK]);
}

#[test]
fn aligned_periods_split_what_a_sliding_period_holds_together() {
    let (alarm, inside) = (alarm(&["a"], 2, 2), [(11, 1.0), (14, 1.0)]);
    assert_eq!(rings(&alarm, Window::WallClock, [points("a", &inside)]), [0; 0], "both lie in one period");
    assert_eq!(
        rings(&alarm, Window::WallClock, [points("a", &[(14, 1.0), (16, 1.0)])]),
        [20],
        "at the end of the second"
    );
    assert_eq!(rings(&alarm, Window::Sliding, [points("a", &inside)])[0], 17, "some window parts them");
}

#[test]
fn an_aligned_period_counts_when_it_is_over() {
    let alarm = alarm(&["a"], 1, 1);
    assert_eq!(rings(&alarm, Window::WallClock, [points("a", &[(11, 1.0)])]), [15]);
    assert_eq!(rings(&alarm, Window::Sliding, [points("a", &[(11, 1.0)])]), [12]);
}

#[test]
fn so_many_of_the_last_periods_must_breach() {
    let data =
        |second| points("a", &[(1, 1.0), (6, 0.0), (11, 0.0), (16, 0.0), (21, 0.0), (second, 1.0), (second + 5, 0.0)]);
    let alarm = alarm(&["a"], 2, 3);
    assert_eq!(rings(&alarm, Window::WallClock, [data(12)]), [15], "the first and the third");
    assert_eq!(rings(&alarm, Window::WallClock, [data(17)]), [0; 0], "the first and the fourth");
}

/// Source: CloudWatch user guide, "Using metric math": missing values of a series are left out of a sum.
#[test]
fn a_sum_leaves_out_metrics_without_data() {
    let alarm = Alarm { threshold: 2.0, ..alarm(&["a", "b", "c"], 1, 1) };
    assert_eq!(rings(&alarm, Window::WallClock, [points("a", &[(1, 2.0)]), points("b", &[(2, 1.0)])]), [5]);
    assert_eq!(rings(&alarm, Window::WallClock, [points("a", &[(1, 2.0)]), points("b", &[(6, 1.0)])]), [0; 0]);
    let silent = Alarm { missing: Missing::Breaching, ..alarm };
    assert_eq!(rings(&silent, Window::WallClock, [points("a", &[(31, 1.0)])]).first(), Some(&0), "none has data");
}

#[test]
fn a_point_counts_once_it_shows() {
    let (alarm, late) = (alarm(&["a"], 1, 1), Point { at: MINUTE, visible: 8 * MINUTE, value: 1.0 });
    assert_eq!(rings(&alarm, Window::WallClock, [(metric("a"), vec![late])]), [8]);
    let lost = Point { visible: 40 * MINUTE, ..late };
    assert_eq!(rings(&alarm, Window::WallClock, [(metric("a"), vec![lost])]), [0; 0], "its period is read no more");
}

#[test]
fn each_statistic_is_computed_over_its_period() {
    let of = |statistic, threshold| {
        let mut alarm = Alarm { threshold, comparison: Comparison::GreaterOrEqual, ..alarm(&["a"], 1, 1) };
        alarm.watched[0].statistic = statistic;
        !rings(&alarm, Window::WallClock, [points("a", &[(1, 2.0), (2, 4.0), (6, 1.0)])]).is_empty()
    };
    for (statistic, value) in
        [(Statistic::Sum, 6.0), (Statistic::Maximum, 4.0), (Statistic::Average, 3.0), (Statistic::SampleCount, 2.0)]
    {
        assert!(of(statistic, value) && !of(statistic, value + 0.1), "{statistic:?}");
    }
}

/// What is missing is noticed when all that CloudWatch reads is missing: two periods more than are evaluated.
#[test]
fn silence_rings_two_periods_later_than_it_says() {
    let silent =
        Alarm { comparison: Comparison::Less, threshold: 1.0, missing: Missing::Breaching, ..alarm(&["a"], 2, 2) };
    let alive: Vec<(Millis, f64)> = (-4..4).map(|sweep| (sweep * 5, 1.0)).collect();
    assert_eq!(rings(&silent, Window::Sliding, [points("a", &alive)]), [36], "the last point lies in minute 15");
    assert_eq!(rings(&silent, Window::WallClock, [points("a", &alive)]), [40]);
}

#[test]
fn an_alarm_rings_again_after_it_was_over() {
    let data = [(1, 1.0), (6, 0.0), (11, 1.0), (16, 0.0)];
    assert_eq!(rings(&alarm(&["a"], 1, 1), Window::WallClock, [points("a", &data)]), [5, 15]);
}

#[test]
fn the_template_deploys_the_alarms_that_its_parameters_ask_for() {
    let template = Template::load();
    let entries = |parameters: &[(&str, &str)]| {
        alarms(&template, parameters).into_iter().map(|alarm| alarm.entry).collect::<Vec<_>>()
    };
    let (full, lean) = (entries(&[]), entries(&[("Observability", "lean")]));
    let only_full: Vec<_> = full.iter().filter(|entry| !lean.contains(entry)).map(String::as_str).collect();
    let expected = ["Circuit opened", "Lease lost", "New fault", "Stuck in QStash", "Throttles", "Unconfirmed"];
    assert_eq!(only_full.len(), expected.len());
    assert!(expected.iter().all(|entry| only_full.contains(entry)), "{only_full:?}");
    assert!(lean.iter().all(|entry| full.contains(entry)));
    assert_eq!(entries(&[("Observability", "none"), ("SilenceHours", "6")]), [""; 0]);
    let watched = alarms(&template, &[("SilenceHours", "6")]);
    let silence = watched.iter().find(|alarm| alarm.entry == "Silence").unwrap();
    assert_eq!((silence.evaluation_periods, silence.datapoints_to_alarm, silence.watched.len()), (6, 6, 3));
}

/// Source: CloudWatch API reference, `PutMetricAlarm`, `TreatMissingData`.
#[test]
fn alarms_on_metrics_of_dynamodb_ignore_missing_data() {
    let alarms = alarms(&Template::load(), &[]);
    let ignoring: Vec<_> = alarms.iter().filter(|alarm| alarm.missing == Missing::Ignore).collect();
    assert_eq!(ignoring.iter().map(|alarm| alarm.entry.as_str()).collect::<Vec<_>>(), ["Throttles"]);
}

/// An alarm of the template's form, with one change.
fn read(pointer: &str, value: Value) -> Alarm {
    let stat =
        json!({"Metric": {"Namespace": "Surehook", "MetricName": "A", "Dimensions": []}, "Period": 300, "Stat": "Sum"});
    let mut properties = json!({
        "AlarmDescription": "docs/operations.md, \"A\"",
        "Metrics": [
            {"Id": "all", "Expression": "SUM(METRICS())"},
            {"Id": "m0", "ReturnData": false, "MetricStat": stat},
            {"Id": "m1", "ReturnData": false, "MetricStat": stat},
        ],
        "EvaluationPeriods": 1,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
    });
    match properties.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => properties[pointer.trim_start_matches('/')] = value,
    }
    Alarm::read("A", &properties, &Template::load(), &[])
}

#[test]
fn an_alarm_without_a_treatment_of_missing_data_has_the_default() {
    assert_eq!(read("/EvaluationPeriods", json!(2)).missing, Missing::Missing);
}

#[test]
#[should_panic(expected = "does not know this expression")]
fn an_unknown_expression_is_refused() {
    read("/Metrics/0/Expression", json!("FILL(m0, 0)"));
}

#[test]
#[should_panic(expected = "does not know EvaluationWindow")]
fn an_unknown_property_is_refused() {
    read("/EvaluationWindow", json!({"SlidingWindow": {}}));
}

#[test]
#[should_panic(expected = "does not know the statistic p99")]
fn an_unknown_statistic_is_refused() {
    read("/Metrics/1/MetricStat/Stat", json!("p99"));
}

#[test]
#[should_panic(expected = "all metrics have the same period")]
fn metrics_of_different_periods_are_refused() {
    read("/Metrics/1/MetricStat/Period", json!(60));
}
