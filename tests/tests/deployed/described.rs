//! The template says what the code needs: variables, limits, table, metrics, secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use surehook::{
    config::{ConfigError, LEASE_MARGIN, SECRETS, Variables, qstash::REGION},
    qstash::Region,
    store::schema::{LETTER_INDEX, LETTER_INDEX_ATTRIBUTES, OPEN_INDEX},
};
use surehook_tests::template::{FUNCTIONS, Template, branches, each};

/// Variables that no configuration reads: the log's filter, AWS's own, and one that only starts functions anew.
const READ_ELSEWHERE: [&str; 4] = ["RUST_LOG", "AWS_ENDPOINT_URL", "SSL_CERT_FILE", "SECRETS_REVISION"];

/// Settings of the development stack, whose defaults are right for every deployed one.
const DEVELOPMENT: [&str; 1] = ["ROUTES_REFRESH"];

/// The hosts of QStash's regions, which the code knows. Only tests set others.
const KNOWN_HOSTS: [&str; 2] = ["EU_CENTRAL_1_QSTASH_URL", "US_EAST_1_QSTASH_URL"];

/// Every variable that a function's configuration asks for, in a stack of one region or of two.
fn asked(function: &str) -> BTreeSet<String> {
    let [plain, eu, us] = [None, Some(Region::EuCentral1), Some(Region::UsEast1)].map(|own| asked_in(function, own));
    // Of the other region each function looks whether something is set; what it needs it asks for in both.
    let regional = eu.intersection(&us).filter(|name| !KNOWN_HOSTS.contains(&name.as_str())).cloned();
    plain.iter().cloned().chain(regional).collect()
}

fn asked_in(function: &str, own: Option<Region>) -> BTreeSet<String> {
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let book = Arc::clone(&asked);
    let variables = Variables::plain(move |name| {
        book.lock().unwrap().insert(name.to_owned());
        own.filter(|_| name == REGION).map(|own| own.as_str().to_owned())
    });
    let loaded: Result<(), ConfigError> = match function {
        "consumer" => surehook_consumer::config::Config::load(&variables).map(drop),
        "requeuer" => surehook_requeuer::config::Config::load(&variables).map(drop),
        "producer" => surehook_producer::config::Config::load(&variables).map(drop),
        _ => surehook_dlq_processor::config::Config::load(&variables).map(drop),
    };
    assert!(loaded.is_err(), "a function needs something");
    drop(variables);
    Arc::try_unwrap(asked).unwrap().into_inner().unwrap()
}

#[test]
fn every_variable_that_the_code_reads_is_set_and_none_that_it_does_not() {
    let template = Template::load();
    let mut read_by_some: BTreeSet<String> = READ_ELSEWHERE.map(str::to_owned).into();
    let mut own = BTreeMap::new();
    let shared: BTreeSet<String> = template.variables("Table").into_keys().collect();
    for (function, id) in FUNCTIONS {
        let set: BTreeSet<String> = template.variables(id).into_keys().collect();
        let read = asked(function).into_iter().filter(|name| !name.starts_with("AWS_"));
        let read: BTreeSet<String> = read.filter(|name| !DEVELOPMENT.contains(&name.as_str())).collect();
        let missing: Vec<_> = read.difference(&set).collect();
        assert!(missing.is_empty(), "{function} reads {missing:?}, and the template does not set them");
        own.insert(function, set.difference(&shared).filter(|name| !read.contains(*name)).cloned().collect::<Vec<_>>());
        read_by_some.extend(read);
    }
    assert!(own.values().all(Vec::is_empty), "set for a function that does not read them: {own:?}");
    let unread: Vec<_> = shared.difference(&read_by_some).collect();
    assert!(unread.is_empty(), "set for all, and read by none: {unread:?}");
}

/// Custom metrics cost more than anything else of a small stack.
#[test]
fn a_stack_without_alarms_writes_no_metrics() {
    let template = Template::load();
    for (function, id) in FUNCTIONS {
        let set = &template.variables(id)["METRICS"];
        assert_eq!(*set, json!({ "!If": ["HasAlarms", "true", "false"] }), "{function}");
    }
}

#[test]
fn no_secret_stands_in_the_environment() {
    let template = Template::load();
    for (function, id) in FUNCTIONS {
        for (name, value) in template.variables(id).iter().filter(|(name, _)| SECRETS.contains(&name.as_str())) {
            for value in branches(value).iter().filter(|value| **value != json!("")) {
                let text = value["!Sub"].as_str().unwrap_or_default();
                assert!(text.starts_with("${SecretStore}:/${AWS::StackName}/"), "{function} {name}: {value}");
            }
        }
    }
}

/// Each function may read exactly the secrets that its variables name, wherever they are kept.
#[test]
fn each_role_reads_the_secrets_of_its_function_and_no_other() {
    let template = Template::load();
    for (function, id) in FUNCTIONS {
        let name_of = |value: &Value| Some(value["!Sub"].as_str()?.rsplit('/').next()?.to_owned());
        let secrets = template.variables(id).into_iter().filter(|(name, _)| SECRETS.contains(&name.as_str()));
        let named: BTreeSet<String> =
            secrets.flat_map(|(_, value)| branches(&value)).filter_map(|v| name_of(&v)).collect();
        for action in ["ssm:GetParameters", "secretsmanager:GetSecretValue"] {
            let statements = template.statements(id).into_iter().filter(|statement| statement["Action"] == action);
            let resources = statements.flat_map(|statement| each(&statement["Resource"])).flat_map(|r| branches(&r));
            let readable: BTreeSet<String> = resources
                .filter_map(|resource| Some(name_of(&resource)?.trim_end_matches("-??????").to_owned()))
                .collect();
            assert_eq!(readable, named, "{function}, {action}");
        }
    }
}

#[test]
fn what_a_role_allows_beside_table_and_secrets_is_its_own_log_and_traces() {
    let template = Template::load();
    for (function, id) in FUNCTIONS {
        let mut others: Vec<String> = Vec::new();
        for statement in template.statements(id) {
            let actions = each(&statement["Action"]);
            let actions = actions.iter().filter_map(Value::as_str);
            others.extend(actions.filter(|action| !action.starts_with("dynamodb:")).map(str::to_owned));
            assert_ne!(statement["Action"], "*");
            if statement["Resource"] == "*" {
                assert_eq!(statement["Sid"], "Traces", "X-Ray has no resources");
            }
        }
        others.sort();
        let expected = [
            "kms:Decrypt",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "secretsmanager:GetSecretValue",
            "ssm:GetParameters",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
        ];
        assert_eq!(others, expected, "{function}");
    }
}

/// destination < handler < lease < function < QStash's first retry and its own time limit.
#[test]
fn time_limits_are_in_order() {
    let template = Template::load();
    let timeout = |id: &str| template.resource(id)["Properties"]["Timeout"].as_u64().unwrap();
    let pattern = template.parameters()["HandlerTimeout"]["AllowedPattern"].as_str().unwrap();
    assert_eq!(pattern, "^[1-8]s$");
    let lease = 8 + LEASE_MARGIN.as_secs();
    assert!(lease < 12, "a crash heals with QStash's first retry");
    assert!(lease < timeout("Consumer"), "a worker outlives its lease");
    assert!(timeout("Producer") > 9, "ANSWER_WITHIN is up to 9s");
    assert!(timeout("Requeuer") > 25 && timeout("DlqProcessor") > 14 * 60, "their own limits come first");
}

/// A start that is lost is repeated, and kept where somebody can find it.
#[test]
fn the_schedule_of_the_sweep_repeats_a_start_and_keeps_one_that_is_lost() {
    let template = Template::load();
    let function = &template.resource("DlqProcessor")["Properties"];
    let schedule = &function["Events"]["Sweep"]["Properties"];
    assert!(schedule["RetryPolicy"]["MaximumRetryAttempts"].as_u64().unwrap() > 0);
    assert!(schedule["RetryPolicy"]["MaximumEventAgeInSeconds"].as_u64().unwrap() >= 300);
    assert_eq!(schedule["DeadLetterConfig"]["Type"], "SQS");
    assert!(function["EventInvokeConfig"]["MaximumRetryAttempts"].as_u64().unwrap() > 0);
}

/// A sender takes a 4xx as final, so that one is enough.
#[test]
fn one_event_that_qstash_rejects_rings_an_alarm() {
    let template = Template::load();
    let alarm = &template.resource("RejectedByQStashAlarm")["Properties"];
    let told = ["MetricName", "Statistic", "ComparisonOperator"].map(|name| alarm[name].as_str().unwrap());
    assert_eq!(told, ["RejectedByQStash", "Sum", "GreaterThanOrEqualToThreshold"]);
    assert_eq!((alarm["Threshold"].as_u64(), alarm["EvaluationPeriods"].as_u64()), (Some(1), Some(1)));
}

#[test]
fn the_table_is_the_one_that_the_code_knows() {
    let template = Template::load();
    let table = &template.resource("Table")["Properties"];
    let names: Vec<&str> = table["GlobalSecondaryIndexes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|index| index["IndexName"].as_str().unwrap())
        .collect();
    assert_eq!(names, [OPEN_INDEX, LETTER_INDEX]);
    assert_eq!(table["GlobalSecondaryIndexes"][1]["Projection"]["NonKeyAttributes"], json!(LETTER_INDEX_ATTRIBUTES));
    assert_eq!(table["TimeToLiveSpecification"], json!({"AttributeName": "expires_at", "Enabled": true}));
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(table["DeletionProtectionEnabled"], true);
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(template.resource("Table")["DeletionPolicy"], "Retain");
}

/// A bare `AWS::Lambda::Url` lacks one of the two permissions that a caller needs; `FunctionUrlConfig` makes both.
#[test]
fn urls_are_made_with_their_permissions() {
    let template = Template::load();
    assert!(template.resources_of("AWS::Lambda::Url").is_empty());
    for (function, id) in FUNCTIONS {
        let is_public = template.resource(id)["Properties"]["FunctionUrlConfig"] == json!({"AuthType": "NONE"});
        assert_eq!(is_public, function != "dlq-processor", "{function}");
    }
}

#[test]
fn alarms_and_dashboard_watch_metrics_that_the_code_writes() {
    let template = Template::load();
    let source = include_str!("../../../shared/src/telemetry/metric.rs");
    let written: BTreeSet<&str> =
        source.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(',')).collect();
    let operations = include_str!("../../../docs/operations.md");
    let alarms = template.resources_of("AWS::CloudWatch::Alarm");
    assert!(alarms.len() >= 12);
    for (id, alarm) in alarms {
        let properties = &alarm["Properties"];
        for metric in metrics_of(properties).iter().filter(|metric| metric["Namespace"] == "Surehook") {
            assert!(written.contains(metric["MetricName"].as_str().unwrap()), "{id}: {metric}");
        }
        let description = properties["AlarmDescription"].as_str().unwrap();
        let entry =
            description.split('"').nth(1).unwrap_or_else(|| panic!("{id} names no entry of docs/operations.md"));
        assert!(operations.contains(&format!("### {entry}\n")), "docs/operations.md has no entry \"{entry}\"");
    }
    let dashboard = template.resource("Dashboard")["Properties"]["DashboardBody"]["!Sub"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let charts =
        dashboard["widgets"].as_array().unwrap().iter().flat_map(|w| w["properties"]["metrics"].as_array().unwrap());
    for metric in charts.filter(|metric| metric[0] == "Surehook") {
        assert!(written.contains(metric[1].as_str().unwrap()), "the dashboard shows {metric}");
    }
}

/// The table, and each of its indexes, whose metrics stand apart.
fn parts_of_the_table() -> BTreeSet<Option<&'static str>> {
    [None, Some(OPEN_INDEX), Some(LETTER_INDEX)].into()
}

/// CloudWatch takes no more in one alarm.
const MOST_METRICS: usize = 10;

#[test]
fn the_alarm_of_throttles_watches_the_table_and_each_of_its_indexes() {
    let template = Template::load();
    for (id, alarm) in template.resources_of("AWS::CloudWatch::Alarm") {
        let count = metrics_of(&alarm["Properties"]).iter().filter(|metric| !metric.is_null()).count();
        assert!(count <= MOST_METRICS, "{id} has {count} metrics");
    }
    let watched = metrics_of(&template.resource("ThrottlesAlarm")["Properties"]);
    for name in ["ReadThrottleEvents", "WriteThrottleEvents"] {
        let metrics: Vec<&Value> = watched.iter().filter(|metric| metric["MetricName"] == name).collect();
        let index = |metric: &&Value| {
            assert_eq!(metric["Dimensions"][0], json!({"Name": "TableName", "Value": {"!Ref": "Table"}}));
            let index = metric["Dimensions"].get(1)?;
            assert_eq!(index["Name"], "GlobalSecondaryIndexName");
            index["Value"].as_str().map(str::to_owned)
        };
        let parts: BTreeSet<Option<String>> = metrics.iter().map(index).collect();
        assert_eq!(parts.iter().map(Option::as_deref).collect::<BTreeSet<_>>(), parts_of_the_table(), "{name}");
    }
}

#[test]
fn the_dashboard_reckons_with_the_units_of_the_table_and_of_each_of_its_indexes() {
    let template = Template::load();
    let dashboard = template.resource("Dashboard")["Properties"]["DashboardBody"]["!Sub"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let widgets = dashboard["widgets"].as_array().unwrap();
    let cost = widgets.iter().find(|widget| widget["properties"]["title"].as_str().unwrap().starts_with("Cost"));
    let metrics = cost.unwrap()["properties"]["metrics"].as_array().unwrap();
    let sum = metrics.iter().find(|metric| metric[0]["id"] == "dynamo").unwrap()[0]["expression"].as_str().unwrap();
    for name in ["ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"] {
        let of_name = metrics.iter().filter(|metric| metric[1] == name).map(|metric| metric.as_array().unwrap());
        let parts: BTreeSet<Option<&str>> = of_name
            .map(|metric| {
                let id = metric.last().unwrap()["id"].as_str().unwrap();
                assert!(sum.contains(&format!("FILL({id},0)")), "{id} is not counted: {sum}");
                metric.get(5).and_then(Value::as_str)
            })
            .collect();
        assert_eq!(parts, parts_of_the_table(), "{name}");
    }
}

fn metrics_of(alarm: &Value) -> Vec<Value> {
    match alarm["Metrics"].as_array() {
        Some(metrics) => metrics.iter().map(|metric| metric["MetricStat"]["Metric"].clone()).collect(),
        None => vec![alarm.clone()],
    }
}

#[test]
fn the_url_parameters_take_plain_http_to_this_machine_only() {
    let template = Template::load();
    for (name, path) in [("QStashUrl", ""), ("AwsEndpointUrl", "/x")] {
        let pattern = template.parameters()[name]["AllowedPattern"].as_str().unwrap();
        let pattern = regex_lite::Regex::new(pattern).unwrap();
        for (url, expected) in [
            ("https://qstash.upstash.io", true),
            ("https://qstash-us-east-1.upstash.io:443", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost:4566", true),
            ("http://qstash.upstash.io", false),
            ("http://localhost.example", false),
            ("http://10.0.0.1:4566", false),
            ("ftp://localhost", false),
        ] {
            assert_eq!(pattern.is_match(&format!("{url}{path}")), expected, "{name}: {url}{path}");
        }
    }
}

#[test]
fn every_parameter_is_explained_and_stands_in_a_group() {
    let template = Template::load();
    let groups = template.parameter_groups().as_array().unwrap();
    let grouped: BTreeSet<&str> = groups
        .iter()
        .flat_map(|group| group["Parameters"].as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    for (name, parameter) in template.parameters() {
        assert!(parameter["Description"].as_str().is_some_and(|text| text.len() > 10), "{name}");
        assert!(grouped.contains(name.as_str()), "{name} is in no group");
        let is_bounded =
            ["AllowedPattern", "AllowedValues", "MinValue"].iter().any(|bound| parameter.get(bound).is_some());
        assert!(is_bounded, "{name} takes anything");
    }
    for name in ["ConsumerUrl", "RequeuerUrl", "ProducerUrl", "StrapiUrl", "TableName", "DlqProcessor", "DashboardUrl"]
    {
        assert!(template.outputs().contains_key(name), "{name}");
    }
}

/// Lambda takes 0 for "never run", and 1 to 4 throttle a function that QStash calls several times at once.
#[test]
fn concurrency_is_reserved_only_where_a_parameter_says_so_and_never_less_than_5() {
    let template = Template::load();
    for (name, id, condition) in [
        ("ProducerConcurrency", "Producer", "ReservesProducer"),
        ("RequeuerConcurrency", "Requeuer", "ReservesRequeuer"),
        ("SweepConcurrency", "DlqProcessor", "ReservesSweep"),
    ] {
        let parameter = &template.parameters()[name];
        // 0, 5 to 9, 10 to 9999, 10000.
        assert_eq!(parameter["AllowedPattern"], "^(0|[5-9]|[1-9][0-9]{1,3}|10000)$", "{name}");
        assert_eq!(
            (template.holds(condition, &[]), template.holds(condition, &[(name, "5")])),
            (false, true),
            "{name}"
        );
        let reserved = &template.resource(id)["Properties"]["ReservedConcurrentExecutions"];
        assert_eq!(*reserved, json!({"!If": [condition, {"!Ref": name}, {"!Ref": "AWS::NoValue"}]}), "{name}");
    }
}
