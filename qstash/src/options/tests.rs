use super::*;

fn read_as(plan: &Plan, pairs: &[(&str, &str)]) -> Result<Options, Invalid> {
    let choices = Choices::default();
    Options::read(&Given::of_pairs(pairs.iter().copied()), Rules { plan, choices: &choices })
}

fn options(pairs: &[(&str, &str)]) -> Result<Options, Invalid> {
    read_as(&Plan::PAYG, pairs)
}

#[test]
fn defaults_are_those_of_qstash() {
    let options = options(&[]).unwrap();
    assert_eq!((options.retries, options.method.as_str(), options.delay), (3, "POST", Duration::ZERO));
    assert_eq!(options.timeout, Plan::PAYG.response_wait);
}

#[test]
fn values_that_can_not_be_read_name_their_header() {
    for (header, value) in [
        ("Upstash-Retries", "many"),
        ("Upstash-Retries", "-1"),
        ("Upstash-Delay", "soon"),
        ("Upstash-Delay", "10"),
        ("Upstash-Delay", "500ms"),
        ("Upstash-Delay", "1.5s"),
        ("Upstash-Not-Before", "tomorrow"),
        ("Upstash-Timeout", "0s"),
        ("Upstash-Method", "BREW"),
        ("Upstash-Retry-Delay", "retries + 1"),
        ("Upstash-Callback", "ftp://h"),
        ("Upstash-Failure-Callback", "nowhere"),
        ("Upstash-Redact-Fields", "all"),
    ] {
        let error = options(&[(header, value)]).unwrap_err().to_string();
        assert!(error.contains(header), "{header}: {error}");
    }
}

#[test]
fn spans_have_whole_numbers_and_units() {
    for (text, seconds) in [("50s", 50), ("3m", 180), ("1d10h30m", 124_200), ("0s", 0)] {
        assert_eq!(options(&[("Upstash-Delay", text)]).unwrap().delay.as_secs(), seconds, "{text}");
    }
}

#[test]
fn forwarded_headers_lose_their_prefix_and_others_stay_behind() {
    let given = [("Upstash-Forward-X-A", "1"), ("X-B", "2"), ("Content-Type", "a/b"), ("Authorization", "s")];
    let names = |options: &Options| options.headers.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&options(&given).unwrap()), ["content-type", "x-a"]);
    let twice = options(&[("Content-Type", "a/b"), ("Upstash-Forward-Content-Type", "c/d")]).unwrap();
    assert_eq!(twice.headers, Headers::of(vec![("content-type".to_owned(), "c/d".to_owned())]), "none goes out twice");
    let all: Vec<_> = given.into_iter().chain([("Upstash-Header-Forward", "True"), ("Host", "h")]).collect();
    assert_eq!(names(&options(&all).unwrap()), ["x-b", "content-type", "x-a"], "the token stays behind all the same");
}

#[test]
fn deduplication_is_by_id_or_by_content_and_an_id_has_no_colon() {
    let dedup = |pairs: &[(&str, &str)]| options(pairs).map(|options| options.deduplication);
    assert_eq!(dedup(&[("Upstash-Deduplication-Id", "a b")]), Ok(Deduplication::Id("a b".to_owned())));
    assert_eq!(dedup(&[("Upstash-Content-Based-Deduplication", "True")]), Ok(Deduplication::Content));
    assert_eq!(dedup(&[("Upstash-Content-Based-Deduplication", "false")]), Ok(Deduplication::Off));
    let error = dedup(&[("Upstash-Deduplication-Id", "a:b")]).unwrap_err();
    assert_eq!(error.to_string(), "DeduplicationId cannot contain ':'");
}

#[test]
fn flow_control_needs_both_of_its_headers() {
    let both = [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "rate=5, period=1m")];
    let flow = options(&both).unwrap().flow.unwrap();
    assert_eq!((flow.key.as_str(), flow.limits.rate, flow.limits.period.as_secs()), ("k", Some(5), 60));
    for alone in both {
        assert!(options(&[alone]).is_err(), "{alone:?}");
    }
}

/// Each delivery task would have ended in a panic of the header map.
#[test]
fn named_after_a_defect_no_more_headers_travel_than_a_request_can_have() {
    let names: Vec<String> = (0..25_000).map(|number| format!("Upstash-Forward-A{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    assert!(options(&many).unwrap_err().to_string().contains("more than 80 headers"));
    assert!(options(&many[..80]).is_ok());
    let long = "x".repeat(64 * 1_024);
    assert!(options(&[("Upstash-Forward-A", &long)]).is_err());
}

#[test]
fn labels_are_a_list() {
    assert_eq!(options(&[("Upstash-Label", "a, b,,c")]).unwrap().labels, ["a", "b", "c"]);
}

#[test]
fn callbacks_have_options_and_headers_of_their_own() {
    let given = [
        ("Upstash-Callback", "https://h/cb"),
        ("Upstash-Callback-Method", "put"),
        ("Upstash-Callback-Retries", "1"),
        ("Upstash-Callback-Retry-Delay", "1000"),
        ("Upstash-Callback-Timeout", "5s"),
        ("Upstash-Callback-Forward-X-A", "1"),
        ("Upstash-Failure-Callback", "https://h/failed"),
        ("Upstash-Failure-Callback-Forward-X-B", "2"),
    ];
    let options = options(&given).unwrap();
    let callback = options.callback.unwrap();
    assert_eq!((callback.url.as_str(), callback.method.as_str(), callback.retries), ("https://h/cb", "PUT", Some(1)));
    assert_eq!(callback.retry_delay.as_ref().map(Expression::text), Some("1000"));
    assert_eq!((callback.timeout, callback.headers.get("x-a")), (Some(Duration::from_secs(5)), Some("1")));
    let failure = options.failure_callback.unwrap();
    assert_eq!((failure.retries, failure.headers.get("x-b"), failure.headers.get("x-a")), (None, Some("2"), None));
}

#[test]
fn a_callback_can_not_be_delayed_unless_it_is_so_chosen() {
    let given = Given::of_pairs([("Upstash-Callback", "https://h/"), ("Upstash-Callback-Delay", "5s")]);
    let read = |choices: &Choices| Options::read(&given, Rules { plan: &Plan::PAYG, choices });
    assert!(read(&Choices::default()).unwrap_err().to_string().contains("Upstash-Callback-Delay"));
    assert!(read(&Choices { refuse_delayed_callbacks: false, ..Choices::default() }).is_ok());
}

#[test]
fn plans_have_quotas_with_qstashs_texts() {
    let error = |pairs: &[(&str, &str)]| read_as(&Plan::FREE, pairs).unwrap_err().to_string();
    assert_eq!(error(&[("Upstash-Retries", "6")]), "quota maxRetries exceeded, current limit: 5");
    assert!(read_as(&Plan::FREE, &[("Upstash-Callback", "https://h/"), ("Upstash-Callback-Retries", "6")]).is_err());
    let long = read_as(&Plan::FREE, &[("Upstash-Timeout", "3h")]).unwrap();
    assert_eq!(long.timeout, Plan::FREE.response_wait, "a timeout can only be shorter than the plan's");
    assert!(options(&[("Upstash-Delay", "8d"), ("Upstash-Retries", "5")]).is_ok());
}

#[test]
fn a_later_call_overrides_what_it_names_and_nothing_else() {
    let first = options(&[
        ("Upstash-Retries", "4"),
        ("Upstash-Delay", "9s"),
        ("Upstash-Deduplication-Id", "a"),
        ("Upstash-Forward-X-A", "1"),
        ("Upstash-Failure-Callback", "https://h/f"),
        ("Upstash-Label", "l"),
    ])
    .unwrap();
    let choices = Choices::default();
    let rules = Rules { plan: &Plan::PAYG, choices: &choices };
    let later = Given::of_pairs([("Upstash-Forward-X-B", "2"), ("Upstash-Failure-Callback-Retries", "0")]);
    let second = first.overridden(&later, rules).unwrap();
    assert_eq!((second.retries, second.delay, &second.deduplication), (4, Duration::ZERO, &Deduplication::Off));
    assert_eq!((second.headers.get("x-a"), second.headers.get("x-b")), (Some("1"), Some("2")));
    assert_eq!(second.failure_callback.unwrap().retries, Some(0));
}
