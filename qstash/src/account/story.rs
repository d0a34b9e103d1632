//! The rules of an account, told as short stories.

use std::time::Duration;

use super::{tests::*, *};
use crate::chaos::Rule;

const A: &str = "https://a.example/in";

fn urls(starts: &[Start]) -> Vec<&str> {
    starts.iter().map(|start| start.message.url.as_str()).collect()
}

#[test]
fn three_days_of_retries_pass_in_a_moment_and_the_same_way_again() {
    let story = || {
        let mut bench = Bench::new();
        let id =
            bench.publish(A, &[("Upstash-Retries", "5"), ("Upstash-Failure-Callback", "https://a.example/failed")]);
        let sent = bench.run(|start| if start.message.url == A { 503 } else { 200 });
        (sent, bench.states(&id).len(), bench.account.dlq.len())
    };
    let (sent, _, dead) = story();
    let times: Vec<_> = sent.iter().map(|(at, _, retried)| (at / 1_000, *retried)).collect();
    assert_eq!(
        times,
        [(0, 0), (12, 1), (160, 2), (1_968, 3), (23_995, 4), (110_395, 5), (110_395, 0)],
        "five retries, and the failure callback at once"
    );
    assert_eq!((dead, story()), (1, story()));
}

#[test]
fn a_delay_and_a_time_are_kept_and_the_time_beats_the_delay() {
    let mut bench = Bench::new();
    bench.publish("https://a/1", &[("Upstash-Delay", "10s")]);
    let at = (START / 1_000 + 5).to_string();
    bench.publish("https://a/2", &[("Upstash-Delay", "10s"), ("Upstash-Not-Before", &at)]);
    bench.publish("https://a/3", &[("Upstash-Not-Before", "1000")]);
    let sent: Vec<_> = bench.run(|_| 200).into_iter().map(|(at, url, _)| (at, url)).collect();
    let expected = [(0, "https://a/3"), (5_000, "https://a/2"), (10_000, "https://a/1")];
    assert_eq!(sent, expected.map(|(at, url)| (at, url.to_owned())));
}

#[test]
fn a_queue_delivers_one_after_the_other_with_all_retries_and_callbacks_between() {
    let mut bench = Bench::new();
    bench.enqueue("q", "https://a/1", &[("Upstash-Retries", "1"), ("Upstash-Callback", "https://a/cb")]);
    bench.enqueue("q", "https://a/2", &[]);
    let sent = bench.run(|start| if start.message.url == "https://a/1" { 500 } else { 200 });
    let order: Vec<_> = sent.iter().map(|(_, url, _)| url.as_str()).collect();
    assert_eq!(order, ["https://a/1", "https://a/cb", "https://a/1", "https://a/cb", "https://a/2"]);
}

#[test]
fn a_queue_keeps_its_order_and_its_parallelism() {
    let mut bench = Bench::new();
    bench.account.put_queue("q", Some(2), None, START).unwrap();
    for number in 0..5 {
        bench.enqueue("q", &format!("https://a/{number}"), &[]);
    }
    let first = bench.starts();
    assert_eq!(urls(&first), ["https://a/0", "https://a/1"]);
    assert_eq!(bench.account.lags()["q"], 5);
    bench.answer(&first[1], 200);
    assert_eq!(urls(&bench.starts()), ["https://a/2"]);
    bench.account.put_queue("q", Some(4), None, START).unwrap();
    assert_eq!(urls(&bench.starts()), ["https://a/3", "https://a/4"], "more places count at once");
}

#[test]
fn a_paused_queue_holds_its_messages_and_a_resumed_one_goes_on() {
    let mut bench = Bench::new();
    bench.account.put_queue("q", None, Some(true), START).unwrap();
    bench.enqueue("q", A, &[]);
    assert!(bench.starts().is_empty());
    bench.account.put_queue("q", None, Some(false), START).unwrap();
    assert_eq!(bench.starts().len(), 1);
}

#[test]
fn a_queue_that_is_removed_takes_its_messages_along() {
    let mut bench = Bench::new();
    let id = bench.enqueue("q", A, &[("Upstash-Delay", "1h")]);
    let moment = bench.moment();
    assert_eq!(bench.account.remove_queue("q", moment), Some(1));
    assert_eq!(bench.states(&id), ["CREATED", "CANCEL_REQUESTED", "CANCELLED"]);
    assert!(bench.run(|_| 200).is_empty());
}

#[test]
fn a_rate_lets_so_many_go_in_each_period() {
    let mut bench = Bench::new();
    let flow = [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "rate=2, period=10s")];
    for _ in 0..5 {
        bench.publish(A, &flow);
    }
    let times: Vec<_> = bench.run(|_| 200).into_iter().map(|(at, ..)| at).collect();
    assert_eq!(times, [0, 0, 10_000, 10_000, 20_000]);
}

#[test]
fn a_retry_counts_for_the_rate_like_every_attempt() {
    let mut bench = Bench::new();
    let flow = [
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", "rate=1, period=1m"),
        ("Upstash-Retry-Delay", "1000"),
        ("Upstash-Retries", "1"),
    ];
    bench.publish(A, &flow);
    let times: Vec<_> = bench.run(|_| 500).into_iter().map(|(at, ..)| at).collect();
    assert_eq!(times, [0, 60_000]);
}

#[test]
fn parallelism_of_a_key_counts_over_urls_and_is_given_back() {
    let mut bench = Bench::new();
    let flow = [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "parallelism=1")];
    for number in 0..3 {
        bench.publish(&format!("https://{number}.example/"), &flow);
    }
    bench.publish("https://free.example/", &[]);
    let first = bench.starts();
    assert_eq!(urls(&first), ["https://0.example/", "https://free.example/"]);
    assert_eq!(bench.account.wait_list("k"), 2);
    bench.answer(&first[0], 500);
    assert_eq!(urls(&bench.starts()), ["https://1.example/"], "a wait for a retry holds no place");
}

#[test]
fn a_cancelled_message_in_line_gives_its_place_in_the_flow_back() {
    let mut bench = Bench::on(Plan { parallelism: 1, ..Plan::PAYG });
    let flow = [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "parallelism=1")];
    bench.publish("https://busy.example/", &[]);
    let busy = bench.starts();
    let waiting = bench.publish(A, &flow);
    assert!(bench.starts().is_empty(), "the plan's only place is taken");
    let moment = bench.moment();
    assert!(bench.account.cancel(&waiting, moment));
    bench.publish("https://next.example/", &flow);
    bench.answer(&busy[0], 200);
    assert_eq!(urls(&bench.starts()), ["https://next.example/"]);
}

#[test]
fn a_key_can_be_paused_pinned_and_reset() {
    let mut bench = Bench::new();
    let flow = [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "rate=1, period=1h")];
    bench.account.change_flow("k", START, |flow| flow.paused = true);
    for _ in 0..5 {
        bench.publish(A, &flow);
    }
    assert!(bench.starts().is_empty());
    bench.account.change_flow("k", START, |flow| flow.paused = false);
    assert_eq!(bench.starts().len(), 1, "the message's own rate");
    bench.account.change_flow("k", START, |flow| flow.pinned_rate = Some((3, Duration::from_secs(60))));
    assert_eq!(bench.starts().len(), 2, "a pinned rate counts instead");
    bench.account.change_flow("k", START, |flow| flow.reset_rate(START));
    assert_eq!(bench.starts().len(), 2);
}

#[test]
fn a_reset_period_does_not_strand_those_that_wait() {
    let mut bench = Bench::new();
    let flow = [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "rate=1, period=10s")];
    for _ in 0..3 {
        bench.publish(A, &flow);
    }
    let first = bench.starts();
    bench.answer(&first[0], 200);
    bench.now += 5_000;
    let now = bench.now;
    bench.account.change_flow("k", now, |flow| flow.reset_rate(now));
    let times: Vec<_> = bench.run(|_| 200).into_iter().map(|(at, ..)| at).collect();
    assert_eq!(times, [5_000, 15_000]);
}

#[test]
fn the_plans_parallelism_is_never_exceeded() {
    let mut bench = Bench::on(Plan::FREE);
    for _ in 0..25 {
        bench.publish(A, &[]);
    }
    let first = bench.starts();
    assert_eq!((first.len(), bench.starts().len()), (10, 0));
    bench.answer(&first[0], 200);
    assert_eq!(bench.starts().len(), 1);
}

#[test]
fn copies_are_recognised_for_ten_minutes() {
    let mut bench = Bench::new();
    let id = [("Upstash-Deduplication-Id", "one")];
    let first = bench.publish(A, &id);
    assert_eq!(bench.publish("https://elsewhere.example/", &id), first);
    bench.now += 599_999;
    assert_eq!(bench.publish(A, &id), first);
    bench.now += 1;
    assert_ne!(bench.publish(A, &id), first);
}

#[test]
fn copies_by_content_are_told_apart_by_destination_and_headers() {
    let mut bench = Bench::new();
    let by_content = ("Upstash-Content-Based-Deduplication", "true");
    let first = bench.publish(A, &[by_content]);
    assert_eq!(bench.publish(A, &[by_content, ("Upstash-Retries", "0")]), first, "options are no content");
    let others = [
        bench.publish("https://a.example/other", &[by_content]),
        bench.publish(A, &[by_content, ("Content-Type", "a/b")]),
        bench.publish(A, &[by_content, ("Upstash-Forward-X", "1")]),
        bench.publish(A, &[]),
    ];
    assert!(!others.contains(&first));
}

#[test]
fn a_cancelled_message_is_not_delivered_and_an_attempt_in_the_air_is_the_last() {
    let mut bench = Bench::new();
    let waiting = bench.publish(A, &[("Upstash-Delay", "1h")]);
    let active = bench.publish(A, &[]);
    let starts = bench.starts();
    let moment = bench.moment();
    assert!(bench.account.cancel(&waiting, moment) && bench.account.cancel(&active, moment));
    assert!(!bench.account.cancel(&active, moment), "once is enough");
    bench.answer(&starts[0], 500);
    assert!(bench.run(|_| 200).is_empty());
    assert_eq!(bench.states(&active), ["CREATED", "ACTIVE", "CANCEL_REQUESTED", "ERROR", "CANCELLED"]);
    assert!(bench.account.dlq.is_empty());
}

#[test]
fn a_waiting_message_can_be_hurried() {
    let mut bench = Bench::new();
    let id = bench.publish(A, &[("Upstash-Delay", "1h")]);
    let moment = bench.moment();
    assert!(bench.account.hurry(&id, moment) && !bench.account.hurry("msg_unknown", moment));
    assert_eq!(bench.run(|_| 200), [(0, A.to_owned(), 0)]);
}

#[test]
fn a_schedule_publishes_when_it_is_due_and_not_while_it_is_paused() {
    let mut bench = Bench::new();
    let order = Bench::order(A, &[("Upstash-Cron", "*/10 * * * *"), ("Upstash-Schedule-Id", "s")], None);
    let moment = bench.moment();
    assert_eq!(bench.account.put_schedule(order, moment).unwrap(), "s");
    let first = bench.account.next_due().unwrap();
    bench.now = first;
    let starts = bench.starts();
    assert_eq!(starts[0].message.origin.schedule.as_deref(), Some("s"));
    assert_eq!(bench.account.schedules["s"].states.values().collect::<Vec<_>>(), [&"IN_PROGRESS"]);
    bench.answer(&starts[0], 200);
    assert_eq!(bench.account.schedules["s"].states.values().collect::<Vec<_>>(), [&"SUCCESS"]);
    assert_eq!(bench.account.schedules["s"].next, Some(first + 600_000));
    assert!(bench.account.pause_schedule("s", true));
    bench.now = first + 600_000;
    assert!(bench.starts().is_empty());
    assert!(bench.account.pause_schedule("s", false));
    bench.now = first + 1_200_000;
    assert_eq!(bench.starts().len(), 1);
    assert!(bench.account.remove_schedule("s") && !bench.account.remove_schedule("s"));
    bench.run(|_| 200);
}

#[test]
fn a_schedule_whose_topic_is_gone_says_so_and_goes_on() {
    let mut bench = Bench::new();
    let endpoint = Endpoint { name: None, url: A.to_owned() };
    bench.account.put_endpoints("t", vec![endpoint.clone()], START).unwrap();
    let order = Bench::order("t", &[("Upstash-Cron", "* * * * *"), ("Upstash-Schedule-Id", "s")], None);
    let moment = bench.moment();
    bench.account.put_schedule(order, moment).unwrap();
    assert!(bench.account.remove_endpoints("t", &[endpoint], START));
    bench.now = bench.account.next_due().unwrap();
    assert!(bench.starts().is_empty());
    assert!(bench.account.schedules["s"].error.as_ref().unwrap().contains("topic t not found"));
    assert!(bench.account.next_due().is_some());
}

#[test]
fn the_dead_can_be_used_once_and_the_call_overrides_what_is_stored() {
    let mut bench = Bench::new();
    bench.publish(A, &[("Upstash-Retries", "0"), ("Upstash-Forward-X", "1")]);
    bench.run(|_| 500);
    let id = *bench.account.dlq.keys().next().unwrap();
    let given = crate::options::Given::of_pairs([("Upstash-Delay", "5s"), ("Upstash-Forward-Y", "2")]);
    let moment = bench.moment();
    assert!(bench.account.retry_dead(id, &given, moment).unwrap().is_some());
    assert!(bench.account.retry_dead(id, &given, moment).unwrap().is_none());
    let due = bench.account.next_due().unwrap();
    bench.now = due;
    let headers = &bench.starts()[0].message.options.headers;
    assert_eq!((due - START, headers.get("x"), headers.get("y")), (5_000, Some("1"), Some("2")));
}

#[test]
fn the_dead_are_forgotten_when_the_plan_says_so() {
    let mut bench = Bench::on(Plan::FREE);
    bench.publish(A, &[("Upstash-Retries", "0")]);
    bench.run(|_| 500);
    bench.now += 3 * 86_400_000;
    bench.starts();
    assert_eq!(bench.account.dlq.len(), 1);
    bench.now += 1;
    bench.starts();
    assert!(bench.account.dlq.is_empty());
}

#[test]
fn ids_in_the_queue_of_the_dead_are_unique_within_a_millisecond() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.publish(A, &[("Upstash-Retries", "0")]);
    }
    bench.run(|_| 500);
    let ids: Vec<_> = bench.account.dlq.keys().map(ToString::to_string).collect();
    assert_eq!(ids, [0, 1, 2].map(|sequence| format!("{START}-{sequence}")));
    assert_eq!(ids[1].parse::<DlqId>().unwrap().to_string(), ids[1]);
    for bad in ["", "1", "1-", "+1-0", "1-00", "1-0-0"] {
        assert!(bad.parse::<DlqId>().is_err(), "{bad}");
    }
}

#[test]
fn chaos_holds_attempts_back_and_lets_aborted_calls_arrive() {
    let mut bench = Bench::new();
    bench.chaos.replace(vec![Rule::parse("delay,span=3s").unwrap(), Rule::parse("late,span=1m,times=1").unwrap()]);
    bench.publish(A, &[("Upstash-Retry-Delay", "1000")]);
    let sent = bench.run(|start| if start.mischief.late.is_some() { 0 } else { 200 });
    let times: Vec<_> = sent.into_iter().map(|(at, _, retried)| (at, retried)).collect();
    assert_eq!(times, [(3_000, 0), (7_000, 1), (63_000, 0)], "the aborted first attempt arrives after the second");
}

#[test]
fn chaos_loses_callbacks_and_sends_them_twice() {
    for (rule, callbacks) in [("lose-callback", 0), ("repeat-callback", 2)] {
        let mut bench = Bench::new();
        bench.chaos.replace(vec![Rule::parse(rule).unwrap()]);
        bench.publish(A, &[("Upstash-Callback", "https://a.example/cb")]);
        let sent = bench.run(|_| 200);
        assert_eq!(sent.len(), 1 + callbacks, "{rule}");
    }
}

#[test]
fn keys_rotate_from_next_to_current() {
    let mut bench = Bench::new();
    let before = bench.account.keys.clone();
    bench.account.rotate();
    assert_eq!(bench.account.keys.current, before.next);
    assert!(bench.account.keys.next.starts_with("sig_") && bench.account.keys.next.len() == 32);
}

#[test]
fn the_log_keeps_to_its_bounds() {
    let mut bench = Bench::new();
    bench.account.log = Log::new(100);
    for _ in 0..100 {
        bench.publish(A, &[]);
    }
    bench.run(|_| 200);
    assert_eq!(bench.account.log.newest_first().count(), 100);
    assert_eq!(bench.account.log.newest_first().next().unwrap().state.word(), "DELIVERED");
}
