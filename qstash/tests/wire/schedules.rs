//! Reference 1.4 and 5.5: schedules.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{DAY, HOUR, MINUTE, Reply, START, Wire, texts};

/// The first full minute after the start.
const FIRST: i64 = 20_000;

async fn shown(wire: &Wire, id: &str) -> Value {
    wire.get(&format!("/v2/schedules/{id}")).await
}

#[tokio::test]
async fn a_schedule_has_every_documented_field() {
    let wire = Wire::start().await;
    let (callback, failure) = (wire.to("/cb"), wire.to("/failed"));
    let headers = [
        ("Content-Type", "a/b"),
        ("Upstash-Schedule-Id", "s"),
        ("Upstash-Queue-Name", "q"),
        ("Upstash-Method", "PUT"),
        ("Upstash-Retries", "5"),
        ("Upstash-Delay", "90s"),
        ("Upstash-Timeout", "9s"),
        ("Upstash-Callback", &callback),
        ("Upstash-Failure-Callback", &failure),
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", "parallelism=2, rate=3, period=1m"),
        ("Upstash-Retry-Delay", "1000"),
        ("Upstash-Label", "l, m"),
    ];
    assert_eq!(wire.schedule("*/5 * * * *", &headers).await, "s");
    let expected = json!({
        "scheduleId": "s",
        "cron": "*/5 * * * *",
        "destination": wire.to("/in"),
        "createdAt": START,
        "method": "PUT",
        "header": { "Content-Type": ["a/b"] },
        "body": "body",
        "retries": 5,
        "delay": 90,
        "timeout": 9,
        "callback": callback,
        "failureCallback": failure,
        "callerIP": "127.0.0.1",
        "callerIp": "127.0.0.1",
        "isPaused": false,
        "queueName": "q",
        "flowControlKey": "k",
        "rate": 3,
        "period": 60,
        "parallelism": 2,
        "retryDelayExpression": "1000",
        "label": "l",
        "labels": ["l", "m"],
        // 20:30:00.
        "nextScheduleTime": START + 200_000,
    });
    assert_eq!(shown(&wire, "s").await, expected);
    assert_eq!(wire.get("/v2/schedules").await, json!([expected]));
}

#[tokio::test]
async fn a_body_that_is_no_text_is_shown_in_base64() {
    let wire = Wire::start().await;
    let headers = [("Upstash-Cron", "* * * * *"), ("Upstash-Schedule-Id", "s")];
    let call = format!("/v2/schedules/{}", wire.to("/in"));
    wire.call("POST", &call, &headers, b"\xff\x00").await.expect(201);
    let schedule = shown(&wire, "s").await;
    assert_eq!((schedule.get("body"), &schedule["bodyBase64"]), (None, &json!(STANDARD.encode(b"\xff\x00"))));
    wire.at(FIRST).await;
    assert_eq!(&wire.receiver.only().body[..], b"\xff\x00");
}

#[tokio::test]
async fn an_id_is_made_where_none_is_given() {
    let wire = Wire::start().await;
    let id = wire.schedule("* * * * *", &[]).await;
    assert!(id.starts_with("scd_") && id.len() == 30, "{id}");
    assert_eq!(wire.get("/v2/schedules").await[0]["scheduleId"], json!(id));
}

#[tokio::test]
async fn the_same_id_replaces_a_schedule() {
    let wire = Wire::start().await;
    let id = [("Upstash-Schedule-Id", "s")];
    wire.schedule("* * * * *", &id).await;
    wire.at(5_000).await;
    wire.schedule("0 21 * * *", &id).await;
    let all = wire.get("/v2/schedules").await;
    assert_eq!((all.as_array().unwrap().len(), &all[0]["cron"]), (1, &json!("0 21 * * *")));
    assert_eq!(all[0]["createdAt"], json!(START), "it is the same schedule");
    wire.at(10 * MINUTE).await;
    assert_eq!(wire.receiver.count(), 0, "the old time is forgotten");
    wire.at(HOUR).await;
    assert_eq!(wire.receiver.count(), 1);
}

#[tokio::test]
async fn a_message_is_published_at_every_time_and_never_before_it() {
    let wire = Wire::start().await;
    wire.schedule("* * * * *", &[]).await;
    wire.at(FIRST - 1).await;
    assert_eq!(wire.receiver.count(), 0);
    wire.at(FIRST + 5 * MINUTE).await;
    let times: Vec<_> =
        wire.log("state=CREATED").await.iter().map(|one| one["time"].as_i64().unwrap() - START - FIRST).collect();
    assert_eq!(times, [0, 1, 2, 3, 4, 5].map(|minute| minute * MINUTE));
    assert_eq!(wire.receiver.count(), 6);
}

#[tokio::test]
async fn times_are_utc_unless_a_zone_is_named() {
    // The clock starts at 20:26:40 UTC, which is 22:26:40 in Berlin and 05:26:40 in Tokyo.
    for (cron, first) in [
        ("0 21 * * *", 33 * MINUTE + FIRST),
        ("CRON_TZ=Europe/Berlin 0 23 * * *", 33 * MINUTE + FIRST),
        ("CRON_TZ=Asia/Tokyo 0 6 * * *", 33 * MINUTE + FIRST),
        ("CRON_TZ=UTC 27 20 * * 4", FIRST),
        ("0 0 1 6 *", 3 * DAY + 3 * HOUR + 33 * MINUTE + FIRST),
    ] {
        let wire = Wire::start().await;
        let id = wire.schedule(cron, &[]).await;
        assert_eq!(shown(&wire, &id).await["nextScheduleTime"], json!(START + first), "{cron}");
    }
}

#[tokio::test]
async fn what_is_no_schedule_is_refused() {
    let wire = Wire::start().await;
    let call = format!("/v2/schedules/{}", wire.to("/in"));
    for headers in [
        &[][..],
        &[("Upstash-Cron", "* * * *")],
        &[("Upstash-Cron", "* * * * * *")],
        &[("Upstash-Cron", "61 * * * *")],
        &[("Upstash-Cron", "CRON_TZ=Mars/Base 0 9 * * *")],
        &[("Upstash-Cron", "0 0 31 2 *")],
        &[("Upstash-Cron", "* * * * *"), ("Upstash-Schedule-Id", "a b")],
        &[("Upstash-Cron", "* * * * *"), ("Upstash-Queue-Name", "a b")],
        &[("Upstash-Cron", "* * * * *"), ("Upstash-Retries", "x")],
    ] {
        assert_eq!(wire.call("POST", &call, headers, b"").await.status, 400, "{headers:?}");
    }
    let cron = [("Upstash-Cron", "* * * * *")];
    assert_eq!(wire.call("POST", "/v2/schedules/nobody", &cron, b"").await.status, 404);
    assert_eq!(wire.get("/v2/schedules").await, json!([]));
}

#[tokio::test]
async fn an_unknown_schedule_is_not_found_and_a_deleted_one_is_gone() {
    let wire = Wire::start().await;
    for (method, path) in [("GET", "s"), ("DELETE", "s"), ("POST", "s/pause"), ("PATCH", "s/resume")] {
        assert_eq!(wire.call(method, &format!("/v2/schedules/{path}"), &[], b"").await.status, 404, "{method} {path}");
    }
    wire.schedule("* * * * *", &[("Upstash-Schedule-Id", "s")]).await;
    wire.delete("/v2/schedules/s").await.expect(200);
    wire.at(DAY).await;
    assert_eq!(wire.receiver.count(), 0);
}

#[tokio::test]
async fn a_paused_schedule_lets_its_times_pass() {
    for method in ["POST", "PATCH"] {
        let wire = Wire::start().await;
        wire.schedule("* * * * *", &[("Upstash-Schedule-Id", "s")]).await;
        wire.call(method, "/v2/schedules/s/pause", &[], b"").await.expect(200);
        assert_eq!(shown(&wire, "s").await["isPaused"], json!(true), "{method}");
        wire.at(HOUR).await;
        assert_eq!(wire.receiver.count(), 0, "{method}");
        wire.call(method, "/v2/schedules/s/resume", &[], b"").await.expect(200);
        wire.at(HOUR + MINUTE).await;
        assert_eq!((wire.receiver.count(), &shown(&wire, "s").await["isPaused"]), (1, &json!(false)), "{method}");
    }
}

#[tokio::test]
async fn a_schedule_tells_what_became_of_its_last_run() {
    for (status, word) in [(200, "SUCCESS"), (500, "FAIL")] {
        let wire = Wire::start().await;
        wire.receiver.answer_all(status);
        wire.receiver.hold();
        let headers = [("Upstash-Schedule-Id", "s"), ("Upstash-Retries", "0")];
        wire.schedule("0 * * * *", &headers).await;
        assert!(shown(&wire, "s").await.get("lastScheduleTime").is_none());
        let due = START + FIRST + 33 * MINUTE;
        let (_, running) = tokio::join!(wire.qstash.step_to(due), async {
            wire.receiver.arrived(1).await;
            let running = shown(&wire, "s").await;
            wire.receiver.release();
            running
        });
        let id = wire.receiver.only().header("upstash-message-id").unwrap().to_owned();
        assert_eq!(running["lastScheduleStates"], json!({ id.as_str(): "IN_PROGRESS" }));
        let settled = shown(&wire, "s").await;
        assert_eq!(
            (&settled["lastScheduleStates"], &settled["lastScheduleTime"]),
            (&json!({ id.as_str(): word }), &json!(due))
        );
        assert_eq!(settled["nextScheduleTime"], json!(due + HOUR));
    }
}

#[tokio::test]
async fn a_schedule_of_a_topic_reaches_all_its_endpoints_and_says_when_it_is_gone() {
    let wire = Wire::start().await;
    wire.topic("t", &["/one", "/two"]).await;
    let headers = [("Upstash-Cron", "* * * * *"), ("Upstash-Schedule-Id", "s")];
    wire.call("POST", "/v2/schedules/t", &headers, b"").await.expect(201);
    wire.at(FIRST).await;
    let schedule = shown(&wire, "s").await;
    assert_eq!((wire.receiver.count(), &schedule["destination"], schedule.get("error")), (2, &json!("t"), None));
    wire.delete("/v2/topics/t").await.expect(200);
    wire.at(FIRST + MINUTE).await;
    assert!(shown(&wire, "s").await["error"].as_str().unwrap().contains("topic t not found"));
}

#[tokio::test]
async fn a_run_goes_through_the_named_queue_and_keeps_its_options() {
    let wire = Wire::start().await;
    wire.receiver.answer(|_| Reply::status(500));
    let headers =
        [("Upstash-Queue-Name", "q"), ("Upstash-Retries", "1"), ("Upstash-Forward-X", "1"), ("Upstash-Delay", "5s")];
    let id = wire.schedule("0 21 * * *", &headers).await;
    wire.at(2 * HOUR).await;
    let entries = wire.log(&format!("queueName=q&scheduleId={id}")).await;
    assert_eq!(texts(&entries, "state"), ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "FAILED"]);
    let time = |index: usize| entries[index]["time"].as_i64().unwrap();
    assert_eq!(time(1) - time(0), 5_000, "the delay counts from each run");
    assert!(wire.receiver.received().iter().all(|one| one.header("x") == Some("1")));
}

#[tokio::test]
async fn a_run_whose_message_is_a_copy_tells_what_became_of_that_one() {
    let wire = Wire::start().await;
    wire.schedule("* * * * *", &[("Upstash-Schedule-Id", "s"), ("Upstash-Deduplication-Id", "one")]).await;
    wire.at(FIRST + MINUTE).await;
    assert_eq!(wire.receiver.count(), 1);
    let states = shown(&wire, "s").await["lastScheduleStates"].clone();
    assert!(states.as_object().is_none_or(|states| states.values().all(|word| word == "SUCCESS")), "{states}");
}
