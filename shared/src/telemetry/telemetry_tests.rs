use tracing::Level;

use super::*;

fn telemetry() -> Telemetry {
    Telemetry::new("shop", "consumer", Form::Metrics)
}

#[test]
fn one_line_is_the_log_and_the_metrics() {
    let counts = vec![(Metric::Delivered, 1), (Metric::DeliveryLatency, 12)];
    let line = Line { outcome: "processed", source: "strapi", at: 1_000, counts, ..Line::default() };
    let json = telemetry().embedded(&line, 0);
    assert_eq!(json["timestamp"], "1970-01-01T00:00:01.000Z");
    assert_eq!(json["outcome"], "processed");
    assert_eq!(json["DeliveryLatency"], 12);
    let directive = &json["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Dimensions"], json!([["stack", "function"]]));
    assert_eq!(
        directive["Metrics"],
        json!([{ "Name": "Delivered" }, { "Name": "DeliveryLatency", "Unit": "Milliseconds" }])
    );
    assert_eq!((&json["stack"], &json["function"]), (&json!("shop"), &json!("consumer")));
    assert!(json.get("event_type").is_none(), "what is empty costs nothing");
}

/// CloudWatch charges by the byte: `docs/operations.md` counts on it.
#[test]
fn the_line_of_a_delivered_event_is_short() {
    let key = EventKey::parse(&"a".repeat(64)).unwrap();
    let line = Line {
        event: Some(&key),
        source: "strapi",
        event_type: "entry.publish",
        message_id: "msg_26hZCxZCuWyyTWPmSVBrNB882AMRP8TNZfDB1jVnJeqTBTLwpXLHNBj9yQ6TsdWvDqUjBzgdRmMRWaYpS5pWQkEkJm",
        attempt: 1,
        outcome: "processed",
        at: 1_700_000_000_000,
        counts: vec![
            (Metric::HandlerDuration, 40),
            (Metric::DeliveryLatency, 42),
            (Metric::Attempts, 1),
            (Metric::Delivered, 1),
        ],
        ..Line::default()
    };
    let length = telemetry().embedded(&line, 0).to_string().len();
    assert!(length <= 800, "{length}");
}

#[test]
fn an_invocation_that_counts_nothing_declares_nothing() {
    assert!(telemetry().embedded(&Line::default(), 0).get("_aws").is_none());
}

#[test]
fn without_metrics_a_line_is_json_of_which_cloudwatch_makes_none() {
    let line = || Line { counts: vec![(Metric::Delivered, 1)], ..Line::default() };
    let mut with = telemetry().embedded(&line(), 0);
    let without = Telemetry { form: Form::Json, ..telemetry() }.embedded(&line(), 0);
    assert!(with.as_object_mut().unwrap().remove("_aws").is_some());
    assert_eq!(without, with, "queries find the same fields");
}

#[test]
fn traces_are_named_by_a_valid_traceparent_only() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (header, named) in [
        (format!("00-{id}-00f067aa0ba902b7-01"), id),
        (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), ""),
        (format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()), ""),
        (format!("00-{id}-00f067aa0ba902b7"), ""),
        ("Bearer secret".to_owned(), ""),
    ] {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), header.parse().unwrap())]);
        assert_eq!(trace_id(&headers), named, "{header}");
    }
    assert_eq!(trace_id(&HeaderMap::new()), "");
}

#[test]
fn others_say_no_more_than_warnings_whatever_is_asked_for() {
    for asked in ["trace", "lambda_runtime=trace", "hyper=trace", "h2::proto=trace,info", "aws_smithy_runtime=debug"] {
        for target in ["lambda_runtime::layers", "hyper::proto", "h2::proto::connection", "aws_smithy_runtime::client"]
        {
            let tells = |level| asked_for(asked).would_enable(target, &level) && allowed().would_enable(target, &level);
            assert!(!tells(Level::INFO) && !tells(Level::DEBUG) && !tells(Level::TRACE), "{asked}: {target}");
        }
    }
    assert!(asked_for("info").would_enable("hyper::proto", &Level::WARN) && allowed().would_enable("h2", &Level::WARN));
}

#[test]
fn what_can_not_be_read_of_rust_log_takes_nothing_else_away() {
    for (asked, level) in [
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("surehook=debug", Level::DEBUG),
        ("info, surehook=debug", Level::DEBUG),
        ("surehook=debug,info ", Level::DEBUG),
        ("surehook=loud,debug", Level::DEBUG),
        ("info,", Level::INFO),
        ("", Level::INFO),
        ("surehook=loud", Level::INFO),
    ] {
        assert!(asked_for(asked).would_enable("surehook::store", &level), "{asked}");
    }
    assert!(!asked_for("error").would_enable("surehook::store", &Level::WARN));
}
