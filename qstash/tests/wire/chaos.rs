//! `/_surehook/chaos`: each of the thirteen faults, as the destination sees it.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use surehook_qstash::{Settings, USERS};

use crate::support::{DAY, MINUTE, SECOND, START, Wire, claims, digest, is_signed_with, stepped};

/// A server on which this goes wrong from now on.
async fn with(rule: &str) -> Wire {
    let wire = Wire::start().await;
    wire.send_json("PUT", "/_surehook/chaos", &json!(rule)).await.expect(200);
    wire
}

#[tokio::test]
async fn duplicate_makes_an_attempt_twice() {
    let wire = with("duplicate").await;
    let id = wire.publish(&[]).await;
    wire.settle().await;
    let received = wire.receiver.received();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|one| one.header("upstash-message-id") == Some(id.as_str())));
    assert_eq!(received[0].header("upstash-retried"), received[1].header("upstash-retried"));
    assert_eq!(wire.states(&id).await, ["CREATED", "ACTIVE", "DELIVERED"]);
}

#[tokio::test]
async fn reorder_lets_messages_overtake_one_another_within_a_span() {
    let order = || async {
        let wire = with("reorder,span=1m").await;
        for number in 0..10 {
            wire.publish_to(&format!("/{number}"), &[]).await.expect(201);
        }
        assert_eq!(wire.receiver.count(), 0);
        wire.at(MINUTE).await;
        wire.receiver.targets()
    };
    let mut first = order().await;
    assert_eq!(first, order().await, "the same again");
    let published: Vec<_> = (0..10).map(|number| format!("/{number}")).collect();
    assert_ne!(first, published);
    first.sort();
    assert_eq!(first, published, "none is lost");
}

#[tokio::test]
async fn delay_holds_every_attempt_back_for_a_span() {
    let wire = with("delay,span=30s").await;
    wire.receiver.answer_all(500);
    let id = wire.publish(&[("Upstash-Retries", "1"), ("Upstash-Retry-Delay", "1000")]).await;
    wire.at(DAY).await;
    assert_eq!(wire.attempts(&id).await, [30 * SECOND, 61 * SECOND]);
}

#[tokio::test]
async fn cut_before_fails_without_a_request() {
    let wire = with("cut-before,times=1").await;
    let id = wire.publish(&[("Upstash-Retry-Delay", "1000")]).await;
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 0);
    wire.at(SECOND).await;
    assert_eq!(wire.receiver.only().header("upstash-retried"), Some("1"));
    assert_eq!(wire.states(&id).await, ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED"]);
}

#[tokio::test]
async fn cut_after_loses_the_answer_to_a_request_that_arrived() {
    let wire = with("cut-after,times=1").await;
    let id = wire.publish(&[("Upstash-Retry-Delay", "1000")]).await;
    wire.at(SECOND).await;
    let retried: Vec<_> =
        wire.receiver.received().iter().map(|one| one.header("upstash-retried").unwrap().to_owned()).collect();
    assert_eq!(retried, ["0", "1"], "what was done is done again");
    let error = wire.log(&format!("messageId={id}&state=ERROR")).await.remove(0);
    assert!(
        error["error"].as_str().unwrap().contains("cut before the answer arrived")
            && error.get("responseStatus").is_none()
    );
}

#[tokio::test]
async fn late_lets_a_call_arrive_that_was_given_up() {
    let wire = with("late,times=1,span=1m").await;
    let id = wire.publish(&[("Upstash-Retry-Delay", "1000")]).await;
    wire.at(SECOND).await;
    assert_eq!(wire.states(&id).await.pop().unwrap(), "DELIVERED");
    wire.at(MINUTE - 1).await;
    assert_eq!((wire.receiver.count(), wire.qstash.pending()), (1, 1), "the call is still on its way");
    wire.at(MINUTE).await;
    let retried: Vec<_> =
        wire.receiver.received().iter().map(|one| one.header("upstash-retried").unwrap().to_owned()).collect();
    assert_eq!(retried, ["1", "0"]);
    assert_eq!(claims(&wire.receiver.received()[1])["iat"], json!(START / 1_000), "as it was signed");
    assert_eq!((wire.states(&id).await.pop().unwrap().as_str(), wire.qstash.pending()), ("DELIVERED", 0));
}

#[tokio::test]
async fn next_key_signs_with_the_next_key() {
    let wire = with("next-key").await;
    wire.publish(&[]).await;
    wire.settle().await;
    let received = wire.receiver.only();
    assert!(is_signed_with(&received, USERS[0].next_key) && !is_signed_with(&received, USERS[0].current_key));
}

#[tokio::test]
async fn expired_token_has_expired_and_is_good_otherwise() {
    let wire = with("expired-token").await;
    wire.publish(&[]).await;
    wire.settle().await;
    let received = wire.receiver.only();
    let claims = claims(&received);
    assert!(claims["exp"].as_i64().unwrap() < START / 1_000, "{claims}");
    assert_eq!((&claims["sub"], is_signed_with(&received, USERS[0].current_key)), (&json!(wire.to("/in")), true));
}

#[tokio::test]
async fn oversized_fills_the_body_up_and_signs_it_so() {
    for (rule, size) in [("oversized,size=1000", 1_000), ("oversized,size=1", 4), ("oversized", 7 * 1_048_576)] {
        let wire = with(rule).await;
        wire.publish(&[]).await;
        wire.settle().await;
        let received = wire.receiver.only();
        assert!(received.body.len() == size && received.body.starts_with(b"body"), "{rule}");
        assert_eq!(claims(&received)["body"], json!(digest(&received.body)), "{rule}");
    }
}

#[tokio::test]
async fn gzip_compresses_the_body_says_so_and_signs_what_is_sent() {
    let wire = with("gzip").await;
    wire.publish(&[]).await;
    wire.settle().await;
    let received = wire.receiver.only();
    assert_eq!(received.header("content-encoding"), Some("gzip"));
    let mut body = String::new();
    GzDecoder::new(&received.body[..]).read_to_string(&mut body).unwrap();
    assert_eq!((body.as_str(), &claims(&received)["body"]), ("body", &json!(digest(&received.body))));
}

#[tokio::test]
async fn callbacks_of_both_kinds_are_lost_or_sent_twice() {
    for (rule, count) in [("lose-callback", 0), ("repeat-callback", 2)] {
        let wire = with(rule).await;
        wire.receiver
            .answer(|received| crate::support::Reply::status(if received.target == "/in" { 500 } else { 200 }));
        let (callback, failure) = (wire.to("/cb"), wire.to("/failed"));
        let headers =
            [("Upstash-Callback", callback.as_str()), ("Upstash-Failure-Callback", &failure), ("Upstash-Retries", "0")];
        wire.publish(&headers).await;
        wire.settle().await;
        assert_eq!((wire.receiver.at("/cb").len(), wire.receiver.at("/failed").len()), (count, count), "{rule}");
        let ids: std::collections::BTreeSet<_> =
            wire.receiver.received().iter().map(|one| one.header("upstash-message-id").unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 1 + 2 * count, "{rule}: each is a message of its own");
    }
}

#[tokio::test]
async fn away_answers_every_call_of_the_api_with_503_until_it_is_over() {
    let wire = with("away").await;
    for (method, path) in [("GET", "/v2/keys"), ("POST", "/v2/publish/http://h.example/"), ("GET", "/nothing")] {
        let answer = wire.call(method, path, &[], b"").await.expect(503);
        assert!(!answer.error().is_empty(), "{method} {path}");
    }
    wire.call("DELETE", "/_surehook/chaos", &[], b"").await.expect(200);
    wire.publish(&[]).await;
}

#[tokio::test]
async fn away_keeps_to_its_number_of_times() {
    let wire = with("away,times=2").await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(wire.call("GET", "/v2/keys", &[], b"").await.status);
    }
    assert_eq!(statuses, [503, 503, 200]);
}

#[tokio::test]
async fn rules_are_listed_added_replaced_and_removed() {
    let wire = Wire::start().await;
    let [delay, gzip, late] = [
        json!({ "fault": "delay", "share": 0.5, "span": "5s", "times": 3 }),
        json!({ "fault": "gzip", "share": 1.0, "url": "http://a.example/" }),
        json!({ "fault": "oversized", "share": 1.0, "size": 10, "topic": "t" }),
    ];
    let line = json!("delay,share=0.5,times=3,span=5s");
    for (method, given, rules) in [
        ("PUT", line, json!([delay])),
        ("POST", gzip.clone(), json!([delay, gzip])),
        ("POST", json!([late]), json!([delay, gzip, late])),
        ("PUT", json!([gzip, late]), json!([gzip, late])),
        ("DELETE", Value::Null, json!([])),
    ] {
        let answer = wire.send_json(method, "/_surehook/chaos", &given).await.expect(200);
        assert_eq!((&answer.body, &wire.get("/_surehook/chaos").await), (&rules, &rules), "{method} {given}");
    }
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused() {
    let wire = Wire::start().await;
    for bad in [
        json!("unkind"),
        json!("late,share=2"),
        json!("late,span=soon"),
        json!("late,colour=red"),
        json!({ "fault": "late", "share": -1 }),
        json!({ "share": 1 }),
        json!({ "fault": "oversized", "size": 1_000_000_000 }),
        json!(5),
        json!([["late", "http://h/"]]),
    ] {
        assert_eq!(wire.send_json("PUT", "/_surehook/chaos", &bad).await.status, 400, "{bad}");
    }
    assert_eq!(wire.get("/_surehook/chaos").await, json!([]));
}

/// The second line was taken for the first one's URL.
#[tokio::test]
async fn named_after_a_defect_a_list_of_lines_is_a_list_of_rules() {
    let wire = Wire::start().await;
    let list = json!(["duplicate", { "fault": "gzip" }, "late,span=5s"]);
    let rules = wire.send_json("PUT", "/_surehook/chaos", &list).await.expect(200).body;
    let faults: Vec<&str> = rules.as_array().unwrap().iter().map(|rule| rule["fault"].as_str().unwrap()).collect();
    assert_eq!((faults, rules[0].get("url")), (vec!["duplicate", "gzip", "late"], None));
}

#[tokio::test]
async fn a_rule_strikes_only_its_url_or_topic() {
    let wire = Wire::start().await;
    wire.topic("t", &["/t"]).await;
    let rules = json!([{ "fault": "gzip", "url": wire.to("/a") }, { "fault": "next-key", "topic": "t" }]);
    wire.send_json("PUT", "/_surehook/chaos", &rules).await.expect(200);
    wire.publish_to("/a/b", &[]).await.expect(201);
    wire.publish_to("/b", &[]).await.expect(201);
    wire.post("/v2/publish/t").await.expect(201);
    wire.settle().await;
    for (path, is_zipped, key) in
        [("/a/b", true, USERS[0].current_key), ("/b", false, USERS[0].current_key), ("/t", false, USERS[0].next_key)]
    {
        let received = wire.receiver.at(path).remove(0);
        assert_eq!(
            (received.header("content-encoding").is_some(), is_signed_with(&received, key)),
            (is_zipped, true),
            "{path}"
        );
    }
}

/// Which of a hundred messages a rule strikes.
async fn struck(seed: u64, rule: &str) -> Vec<String> {
    let chaos = vec![surehook_qstash::Rule::parse(rule).unwrap()];
    let wire = Wire::with(Settings { seed, chaos, ..stepped() }).await;
    for number in 0..100 {
        wire.publish_to(&format!("/{number:02}"), &[]).await.expect(201);
    }
    wire.settle().await;
    let zipped = wire.receiver.received().into_iter().filter(|one| one.header("content-encoding").is_some());
    let mut targets: Vec<_> = zipped.map(|one| one.target).collect();
    targets.sort();
    targets
}

#[tokio::test]
async fn a_rule_strikes_its_share_the_same_ones_with_the_same_seed() {
    let first = struck(1, "gzip,share=0.3").await;
    assert!((15..45).contains(&first.len()), "{}", first.len());
    assert_eq!(first, struck(1, "gzip,share=0.3").await);
    assert_ne!(first, struck(2, "gzip,share=0.3").await);
    assert_eq!(struck(1, "gzip,times=2").await, ["/00", "/01"]);
    assert!(struck(1, "gzip,share=0").await.is_empty());
}
