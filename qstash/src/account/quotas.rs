//! What the plans allow.

use super::{tests::*, *};

const A: &str = "https://a.example/in";

#[test]
fn the_messages_of_a_day_are_counted() {
    let mut bench = Bench::on(Plan { messages_per_day: Some(2), ..Plan::FREE });
    bench.publish(A, &[]);
    bench.publish(A, &[]);
    let refused = bench.account.publish(Bench::order(A, &[], None), bench.moment()).unwrap_err();
    let Refused::Daily { reset, .. } = refused else { panic!("{refused}") };
    bench.now = reset;
    bench.publish(A, &[]);
}

#[test]
fn no_delay_is_longer_than_the_plans_however_it_is_given() {
    let mut bench = Bench::on(Plan::FREE);
    let at = (START / 1_000 + 8 * 86_400).to_string();
    for header in
        [("Upstash-Delay", "8d"), ("Upstash-Not-Before", at.as_str()), ("Upstash-Not-Before", "9223372036854775807")]
    {
        let refused = bench.account.publish(Bench::order(A, &[header], None), bench.moment()).unwrap_err();
        assert_eq!(refused.to_string(), "quota maxDelay exceeded, current limit: 604800", "{header:?}");
    }
    bench.publish(A, &[("Upstash-Delay", "7d")]);
}

#[test]
fn counts_of_the_plan_are_kept() {
    let mut bench = Bench::on(Plan::FREE);
    let endpoint = |number: usize| Endpoint { name: None, url: format!("https://{number}.example/") };
    bench.account.put_endpoints("t", (0..100).map(endpoint).collect(), START).unwrap();
    let quota = |refused: Result<(), Refused>| refused.unwrap_err().to_string();
    assert!(quota(bench.account.put_endpoints("t", vec![endpoint(100)], START)).contains("limit: 100"));
    assert!(quota(bench.account.put_endpoints("u", vec![endpoint(0)], START)).contains("limit: 1"));
    assert!(quota(bench.account.put_queue("q", Some(3), None, START)).contains("limit: 2"));
    for number in 0..10 {
        bench.account.put_queue(&format!("q{number}"), None, None, START).unwrap();
    }
    assert!(quota(bench.account.put_queue("one-more", None, None, START)).contains("limit: 10"));
    let moment = bench.moment();
    let cron = [("Upstash-Cron", "* * * * *")];
    for _ in 0..10 {
        bench.account.put_schedule(Bench::order(A, &cron, None), moment).unwrap();
    }
    assert!(bench.account.put_schedule(Bench::order(A, &cron, None), moment).is_err());
}
