use super::*;
use crate::qstash::DEVELOPMENT_KEYS;

fn with<T>(variables: &[(&str, &str)], read: impl Fn(&mut Reader<'_>) -> T) -> (T, String) {
    let table: Vec<(String, String)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let variables =
        Variables::plain(move |name| table.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()));
    let mut reader = Reader::new(&variables);
    let value = read(&mut reader);
    (value, reader.finish().err().map(|error| error.to_string()).unwrap_or_default())
}

#[test]
fn every_missing_variable_is_named_at_once() {
    let (_, problems) = with(&[], |reader| {
        reader.table();
        reader.qstash();
        reader.signing_keys();
        reader.topics();
    });
    for name in ["TABLE_NAME", "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"] {
        assert!(problems.contains(name), "{name} in {problems}");
    }
}

#[test]
fn development_keys_are_refused_on_a_real_lambda_only() {
    let keys = [("QSTASH_CURRENT_SIGNING_KEY", DEVELOPMENT_KEYS[0]), ("QSTASH_NEXT_SIGNING_KEY", DEVELOPMENT_KEYS[1])];
    assert_eq!(with(&keys, |reader| drop(reader.signing_keys())).1, "");
    let lambda = [keys[0], keys[1], ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")];
    let problems = with(&lambda, |reader| drop(reader.signing_keys())).1;
    assert!(problems.contains("anybody could sign"), "{problems}");
    assert!(!problems.contains(DEVELOPMENT_KEYS[0]), "no key in an error");
}

#[test]
fn breakers_wait_for_up_to_an_hour_or_are_off() {
    let breaker = |value: &str| with(&[("BREAKER_WAIT", value)], |reader| reader.breaker());
    assert_eq!(with(&[], |reader| reader.breaker()).0.unwrap().wait, Duration::from_secs(60));
    assert_eq!(breaker("off"), (None, String::new()));
    assert!(breaker("2h").1.contains("up to an hour"));
    assert!(breaker("never").1.contains("BREAKER_WAIT"));
}

#[test]
fn the_development_master_is_refused_on_a_real_lambda_only() {
    let master = ("SIGNING_SECRETS", DEVELOPMENT_MASTER);
    assert_eq!(with(&[master], |reader| drop(reader.signing_secrets())).1, "");
    let lambda = [master, ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")];
    assert!(with(&lambda, |reader| drop(reader.signing_secrets())).1.contains("anybody could sign"));
}

#[test]
fn master_secrets_are_checked_and_never_shown() {
    let bad = with(&[("SIGNING_SECRETS", "whsec_hunter2")], |reader| drop(reader.signing_secrets())).1;
    assert!(bad.contains("SIGNING_SECRETS must be whsec_") && !bad.contains("hunter2"), "{bad}");
    assert!(with(&[], |reader| reader.signing_secrets().is_none()).0);
}

#[test]
fn default_retention_is_two_weeks_and_a_shorter_one_is_refused_with_the_sum() {
    let (lifetimes, problems) = with(&[], |reader| reader.lifetimes());
    assert_eq!((lifetimes.retention, problems.as_str()), (DAY * 14, ""));
    let problems = with(&[("RETENTION_DAYS", "3")], |reader| reader.lifetimes()).1;
    assert!(problems.contains("14 days") && problems.contains("88 h of retries + 7 d in"), "{problems}");
}

#[test]
fn every_wait_counts_into_the_sum() {
    let retention = |variables: &[(&str, &str)]| {
        let (lifetimes, problems) = with(variables, |reader| reader.lifetimes());
        assert_eq!(problems, "", "{variables:?}");
        lifetimes.retention.as_secs() / DAY.as_secs()
    };
    // 1 round of QStash's own 3 h, and 10 days.
    assert_eq!(retention(&[("RETRY_ROUNDS", "0")]), 11);
    assert_eq!(retention(&[("RETRY_LIST", "5d,5d")]), 10 + 11);
    assert_eq!(retention(&[("RETRY_LIST", "5d,5d"), ("RETRY_MAX_AGE", "7d")]), 7 + 11);
    assert_eq!(retention(&[("RETRY_MAX_AGE", "7d")]), 7 + 11);
    assert_eq!(retention(&[("QSTASH_DLQ_RETENTION_DAYS", "90")]), 90 + 3 + 4);
    assert_eq!(retention(&[("REPLAY_WINDOW_DAYS", "30")]), 30 + 7 + 4);
    assert_eq!(retention(&[("RETENTION_DAYS", "400")]), 400);
}

#[test]
fn spans_and_rounds_that_no_sum_could_hold_are_refused() {
    for (name, value) in [
        ("RETRY_BASE", "18446744073709551615s"),
        ("RETRY_LIST", "1h,18446744073709551615s"),
        ("RETRY_ROUNDS", "4294967295"),
        ("RETRY_MAX_AGE", "366d"),
        ("REPLAY_WINDOW_DAYS", "70000"),
    ] {
        let problems = with(&[(name, value)], |reader| drop(reader.lifetimes())).1;
        assert!(problems.contains(name), "{name}={value}: {problems:?}");
    }
}

#[test]
fn a_list_of_waits_contradicts_the_exponential_settings() {
    let problems = with(&[("RETRY_LIST", "1m,1h"), ("RETRY_BASE", "1h")], |reader| reader.lifetimes()).1;
    assert!(problems.contains("RETRY_BASE contradicts RETRY_LIST"), "{problems}");
    let (lifetimes, _) = with(&[("RETRY_LIST", "1m,1h")], |reader| reader.lifetimes());
    assert_eq!(lifetimes.retry.rounds, 2);
}

#[test]
fn a_qstash_url_with_a_path_is_the_usual_mistake() {
    let variables = [("QSTASH_URL", "https://qstash.upstash.io/v2/publish"), ("QSTASH_TOKEN", "t")];
    assert!(with(&variables, |reader| reader.qstash()).1.contains("without a path"));
}

#[test]
fn plain_http_to_another_machine_is_refused_for_qstash_and_for_aws() {
    let qstash = |url| with(&[("QSTASH_URL", url), ("QSTASH_TOKEN", "t")], |reader| reader.qstash()).1;
    assert!(qstash("http://qstash.upstash.io").contains("https"));
    assert_eq!(qstash("http://127.0.0.1:8080"), "");
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_SSM"] {
        let aws = |url| with(&[(name, url), ("TABLE_NAME", "t")], |reader| reader.table()).1;
        assert!(aws("http://10.0.0.1:4566").contains("https"), "{name}");
        assert!(aws("nonsense").contains("is no URL"), "{name}");
        assert_eq!(aws("http://localhost:4566"), "", "{name}");
        assert_eq!(aws("https://vpce-1.dynamodb.us-east-1.vpce.amazonaws.com"), "", "{name}");
    }
}

#[test]
fn secrets_by_reference_are_refused_and_not_taken_literally() {
    assert!(with(&[("PRODUCER_TOKEN", "ssm:/x")], |reader| reader.producer_tokens()).1.contains("reference"));
}

#[test]
fn named_after_a_defect_a_slash_behind_a_prefix_made_every_callback_a_forgery() {
    let (url, _) =
        with(&[("REQUEUER_URL", "https://hooks.example/in/")], |reader| reader.requeuer_urls(true).remove(0));
    assert_eq!(url.to_string(), "https://hooks.example/in");
    assert_eq!(url.below("/", ""), url, "the request that comes is for what the topic calls");
    let (url, _) = with(&[("REQUEUER_URL", "https://hooks.example")], |reader| reader.requeuer_urls(true).remove(0));
    assert_eq!(url.to_string(), "https://hooks.example/");
}

#[test]
fn consumer_urls_are_a_list() {
    let (urls, problems) =
        with(&[("CONSUMER_URL", "https://a.example, https://b.example/p")], |reader| reader.consumer_urls(true));
    assert_eq!((urls.len(), problems.as_str()), (2, ""));
    assert!(with(&[("CONSUMER_URL", "a.example")], |reader| reader.consumer_urls(true)).1.contains("a.example"));
}
