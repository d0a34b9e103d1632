//! Defects that were found and mended, each as the story that showed it.

use super::{tests::*, *};
use crate::{chaos::Rule, message::Kind, options::Given};

const A: &str = "https://a.example/in";

fn only_dead(bench: &Bench) -> DlqId {
    *bench.account.dlq.keys().next().unwrap()
}

#[test]
fn named_after_a_defect_a_dlq_id_is_never_given_twice() {
    let mut bench = Bench::new();
    bench.publish(A, &[("Upstash-Retries", "0")]);
    bench.run(|_| 500);
    let first = only_dead(&bench);
    let moment = bench.moment();
    bench.account.retry_dead(first, &Given::default(), moment).unwrap();
    bench.run(|_| 500);
    let second = only_dead(&bench);
    bench.account.reset();
    bench.publish(A, &[("Upstash-Retries", "0")]);
    bench.run(|_| 500);
    assert!(first < second && second < only_dead(&bench), "although it is the same millisecond");
}

#[test]
fn named_after_a_defect_a_retry_that_looks_like_a_copy_loses_no_letter() {
    let mut bench = Bench::new();
    let id = [("Upstash-Deduplication-Id", "one"), ("Upstash-Retries", "0")];
    bench.publish(A, &id);
    bench.run(|_| 500);
    let (dead, moment) = (only_dead(&bench), bench.moment());
    let retried = bench.account.retry_dead(dead, &Given::of_pairs(id), moment).unwrap().unwrap();
    assert!(!retried.deduplicated);
    assert_eq!(bench.run(|_| 200).len(), 1);
}

#[test]
fn named_after_a_defect_a_period_that_became_shorter_lets_messages_go_sooner() {
    let mut bench = Bench::new();
    let flow = |value| [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", value)];
    for _ in 0..2 {
        bench.publish(A, &flow("rate=1, period=1h"));
    }
    let first = bench.starts();
    bench.answer(&first[0], 200);
    bench.publish(A, &flow("rate=1, period=1s"));
    let times: Vec<_> = bench.run(|_| 200).into_iter().map(|(at, ..)| at).collect();
    assert_eq!(times, [1_000, 2_000]);
}

#[test]
fn named_after_a_defect_a_cancelled_message_uses_up_no_rate() {
    let mut bench = Bench::on(Plan { parallelism: 1, ..Plan::PAYG });
    let flow = [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "rate=1, period=1h")];
    bench.publish("https://busy.example/", &[]);
    let busy = bench.starts();
    let waiting = bench.publish(A, &flow);
    bench.starts();
    let moment = bench.moment();
    assert!(bench.account.cancel(&waiting, moment));
    bench.publish("https://next.example/", &flow);
    bench.answer(&busy[0], 200);
    assert_eq!(bench.run(|_| 200), [(0, "https://next.example/".to_owned(), 0)]);
}

#[test]
fn named_after_a_defect_limits_of_a_delayed_message_count_for_those_that_wait() {
    let mut bench = Bench::new();
    let flow =
        |value| [("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", value), ("Upstash-Delay", "0s")];
    for _ in 0..2 {
        bench.publish(A, &flow("rate=1, period=1h"));
    }
    let first = bench.starts();
    bench.answer(&first[0], 200);
    let mut delayed = flow("rate=1, period=1s");
    delayed[2] = ("Upstash-Delay", "30m");
    bench.publish(A, &delayed);
    let times: Vec<_> = bench.run(|_| 200).into_iter().map(|(at, ..)| at).collect();
    assert_eq!(times, [1_000, 1_800_000]);
}

#[test]
fn named_after_a_defect_a_batch_that_is_not_taken_whole_keeps_to_the_plan_too() {
    let mut bench = Bench::on(Plan::FREE);
    let orders = |count: usize| (0..count).map(|queue| Ok(Bench::order(A, &[], Some(&format!("q{queue}"))))).collect();
    let moment = bench.moment();
    assert!(bench.account.publish_all(orders(11), true, moment).is_err());
    assert!(bench.account.queues.is_empty());
    let each = bench.account.publish_all(orders(11), false, moment).unwrap();
    assert_eq!((each.iter().filter(|one| one.is_ok()).count(), bench.account.queues.len()), (10, 10));
}

#[test]
fn named_after_a_defect_copies_within_a_batch_count_once() {
    let mut bench = Bench::on(Plan { messages_per_day: Some(1), ..Plan::FREE });
    let order = || Ok(Bench::order(A, &[("Upstash-Deduplication-Id", "one")], None));
    let moment = bench.moment();
    let each = bench.account.publish_all(vec![order(), order()], true, moment).unwrap();
    assert_eq!(each[0].as_ref().unwrap().messages, each[1].as_ref().unwrap().messages);
}

#[test]
fn named_after_a_defect_users_do_not_share_the_ids_of_tokens() {
    let token = |index: usize| {
        let mut bench = Bench::new();
        bench.account.index = index;
        bench.publish(A, &[]);
        bench.starts().remove(0).token_id
    };
    assert_ne!(token(0), token(1));
}

#[test]
fn named_after_a_defect_a_letter_knows_how_often_it_was_tried() {
    let mut bench = Bench::new();
    bench.publish(A, &[("Upstash-Retries", "1")]);
    bench.run(|_| 500);
    assert_eq!(bench.account.dlq[&only_dead(&bench)].attempts, 2);
}

#[test]
fn named_after_a_defect_callbacks_hide_what_their_message_hides() {
    let mut bench = Bench::new();
    bench.publish(A, &[("Upstash-Redact-Fields", "header[X-Key]"), ("Upstash-Callback", "https://a.example/cb")]);
    let starts = bench.starts();
    bench.answer(&starts[0], 200);
    let callback = &bench.starts()[0].message;
    assert_eq!(callback.origin.kind, Kind::Callback);
    assert!(callback.options.redacted.body, "its body has all of the message in it");
}

#[test]
fn named_after_a_defect_ids_and_chaos_do_not_depend_on_which_answer_comes_first() {
    let story = |callback_first: bool| {
        let mut bench = Bench::new();
        bench.chaos.replace(vec![Rule::parse("cut-after,share=0.5").unwrap()]);
        bench.publish(A, &[("Upstash-Callback", "https://a.example/cb")]);
        let first = bench.starts();
        let mut order = [0, 1];
        if callback_first {
            order.reverse();
        }
        for step in order {
            match step {
                0 => drop(bench.publish("https://b.example/", &[])),
                _ => bench.answer(&first[0], 200),
            }
        }
        let mut told: Vec<_> = bench
            .starts()
            .iter()
            .map(|start| (start.message.id.clone(), start.token_id.clone(), start.mischief.cut_after))
            .collect();
        told.sort();
        told
    };
    assert_eq!(story(true), story(false));
}

#[test]
fn named_after_a_defect_what_is_too_old_is_forgotten_even_if_nothing_is_due() {
    let mut bench = Bench::on(Plan::FREE);
    bench.publish(A, &[("Upstash-Retries", "0")]);
    bench.run(|_| 500);
    let dead = only_dead(&bench);
    bench.now += 3 * 86_400_000 + 1;
    let moment = bench.moment();
    bench.account.forget(moment);
    assert!(bench.account.retry_dead(dead, &Given::default(), moment).unwrap().is_none());
}

#[test]
fn named_after_a_defect_retries_from_the_dead_keep_to_the_plan() {
    let mut bench = Bench::on(Plan::FREE);
    bench.publish(A, &[("Upstash-Retries", "0")]);
    bench.run(|_| 500);
    let (dead, moment) = (only_dead(&bench), bench.moment());
    let late = Given::of_pairs([("Upstash-Not-Before", "9223372036854775807")]);
    assert!(bench.account.retry_dead(dead, &late, moment).unwrap_err().to_string().contains("maxDelay"));
    assert_eq!(bench.account.dlq.len(), 1, "and the letter stays");
}

#[test]
fn named_after_a_defect_the_end_of_time_is_not_reached() {
    let mut bench = Bench::on(Plan::FIXED_1M);
    bench.publish(A, &[("Upstash-Not-Before", "9223372036854775807"), ("Upstash-Retry-Delay", "1000000000")]);
    bench.now = bench.account.next_due().unwrap();
    let starts = bench.starts();
    bench.answer(&starts[0], 500);
    assert!(bench.account.next_due().unwrap() > bench.now);
}

#[test]
fn named_after_a_defect_keys_that_nothing_waits_for_are_forgotten_only_after_their_period() {
    let mut bench = Bench::new();
    let flow = |key: &str| {
        [
            ("Upstash-Flow-Control-Key".to_owned(), key.to_owned()),
            ("Upstash-Flow-Control-Value".to_owned(), "rate=1, period=1h".to_owned()),
        ]
    };
    let publish = |bench: &mut Bench, key: &str| {
        let pairs = flow(key);
        bench.publish(A, &[(pairs[0].0.as_str(), pairs[0].1.as_str()), (pairs[1].0.as_str(), pairs[1].1.as_str())]);
    };
    publish(&mut bench, "first");
    let first = bench.starts();
    bench.answer(&first[0], 200);
    for key in 0..flows::MOST_KEYS {
        publish(&mut bench, &key.to_string());
    }
    publish(&mut bench, "first");
    bench.run(|_| 200);
    assert_eq!(bench.now - START, 3_600_000, "the second message of the first key waits for its period");
}
