//! Reference 1.8: the limits of the plans, each refused with its text.

use serde_json::{Value, json};
use surehook_qstash::{Choices, Plan, Settings};

use crate::support::{Answered, DAY, HOUR, MINUTE, Pairs, START, Wire, stepped};

async fn on(plan: Plan) -> Wire {
    Wire::with(Settings { plan, ..stepped() }).await
}

fn assert_quota(answer: &Answered, text: &str) {
    assert_eq!((answer.status, answer.error()), (412, text));
}

#[tokio::test]
async fn options_beyond_the_free_plan_are_refused_with_the_known_texts() {
    let wire = on(Plan::FREE).await;
    let later = ((START + 7 * DAY) / 1_000 + 1).to_string();
    for (headers, text) in [
        (&[("Upstash-Delay", "604801s")], "quota maxDelay exceeded, current limit: 604800"),
        (&[("Upstash-Delay", "8d")], "quota maxDelay exceeded, current limit: 604800"),
        (&[("Upstash-Not-Before", later.as_str())], "quota maxDelay exceeded, current limit: 604800"),
        (&[("Upstash-Retries", "6")], "quota maxRetries exceeded, current limit: 5"),
    ] {
        assert_quota(&wire.publish_to("/in", headers).await, text);
    }
    let callback = [("Upstash-Callback", "http://h.example/"), ("Upstash-Callback-Retries", "6")];
    assert_quota(&wire.publish_to("/in", &callback).await, "quota maxRetries exceeded, current limit: 5");
    let fine: Pairs<'_> = &[("Upstash-Delay", "7d"), ("Upstash-Retries", "5")];
    wire.publish(fine).await;
}

#[tokio::test]
async fn the_status_of_a_quota_can_be_chosen() {
    let choices = Choices { quota_status: 400, ..Choices::default() };
    let wire = Wire::with(Settings { plan: Plan::FREE, choices, ..stepped() }).await;
    wire.publish_to("/in", &[("Upstash-Delay", "8d")]).await.expect(400);
}

#[tokio::test]
async fn a_message_has_a_megabyte_at_most() {
    let wire = on(Plan::FREE).await;
    for call in ["publish", "enqueue/q", "schedules"] {
        let path = format!("/v2/{call}/{}", wire.to("/in"));
        let headers: Pairs<'_> = if call == "schedules" { &[("Upstash-Cron", "* * * * *")] } else { &[] };
        wire.call("POST", &path, headers, &vec![b'x'; 1_048_576]).await.expect(201);
        let refused = wire.call("POST", &path, headers, &vec![b'x'; 1_048_577]).await;
        assert_quota(&refused, "quota maxMessageSize exceeded, current limit: 1048576");
    }
}

#[tokio::test]
async fn a_thousand_messages_a_day_are_accepted() {
    let wire = on(Plan::FREE).await;
    let item = json!({ "destination": wire.to("/in"), "headers": { "Upstash-Delay": "1d" } });
    wire.send_json("POST", "/v2/batch", &Value::Array(vec![item; 1_000])).await.expect(200);
    let refused = wire.publish_to("/in", &[]).await.expect(429);
    assert_eq!(refused.error(), "daily message quota exceeded, current limit: 1000");
    assert_eq!(refused.headers["ratelimit-limit"], "1000");
}

#[tokio::test]
async fn an_answer_is_waited_for_as_long_as_the_plan_says() {
    for (plan, wait) in
        [(Plan::FREE, 15 * MINUTE), (Plan::PAYG, 2 * HOUR), (Plan::FIXED_1M, 6 * HOUR), (Plan::FIXED_10M, 12 * HOUR)]
    {
        let wire = on(plan).await;
        wire.publish(&[("Upstash-Timeout", "1d")]).await;
        assert_eq!(wire.log("").await[0]["timeout"], json!(wait), "{}", plan.name);
    }
}

#[tokio::test]
async fn topics_and_their_endpoints_are_counted() {
    let wire = on(Plan::FREE).await;
    let endpoints = |count: usize| {
        let all: Vec<Value> = (0..count).map(|number| json!({ "url": format!("http://{number}.example/") })).collect();
        json!({ "endpoints": all })
    };
    let refused = wire.send_json("POST", "/v2/topics/t/endpoints", &endpoints(101)).await;
    assert_quota(&refused, "quota maxEndpointsPerTopic exceeded, current limit: 100");
    wire.send_json("POST", "/v2/topics/t/endpoints", &endpoints(100)).await.expect(200);
    let refused = wire.send_json("POST", "/v2/topics/u/endpoints", &endpoints(1)).await;
    assert_quota(&refused, "quota maxTopics exceeded, current limit: 1");
}

#[tokio::test]
async fn schedules_are_counted() {
    let wire = on(Plan::FREE).await;
    for number in 0..10 {
        wire.schedule("* * * * *", &[("Upstash-Schedule-Id", &format!("s{number}"))]).await;
    }
    wire.schedule("0 * * * *", &[("Upstash-Schedule-Id", "s0")]).await;
    let call = format!("/v2/schedules/{}", wire.to("/in"));
    let refused = wire.call("POST", &call, &[("Upstash-Cron", "* * * * *")], b"").await;
    assert_quota(&refused, "quota maxSchedules exceeded, current limit: 10");
}

#[tokio::test]
async fn queues_and_their_parallelism_are_counted() {
    let wire = on(Plan::FREE).await;
    let refused = wire.send_json("POST", "/v2/queues", &json!({ "queueName": "q", "parallelism": 3 })).await;
    assert_quota(&refused, "quota maxQueueParallelism exceeded, current limit: 2");
    for number in 0..9 {
        wire.send_json("POST", "/v2/queues", &json!({ "queueName": format!("q{number}"), "parallelism": 2 }))
            .await
            .expect(200);
    }
    wire.enqueue("q9", "/in", &[]).await;
    let refused = wire.send_json("POST", "/v2/queues", &json!({ "queueName": "one-more" })).await;
    assert_quota(&refused, "quota maxQueues exceeded, current limit: 10");
    let refused = wire.post(&format!("/v2/enqueue/one-more/{}", wire.to("/in"))).await;
    assert_quota(&refused, "quota maxQueues exceeded, current limit: 10");
}

#[tokio::test]
async fn ten_deliveries_are_made_at_a_time() {
    let wire = on(Plan::FREE).await;
    wire.receiver.hold();
    for _ in 0..12 {
        wire.publish(&[]).await;
    }
    wire.receiver.arrived(10).await;
    let shown = wire.get("/v2/globalParallelism").await;
    assert_eq!(shown, json!({ "parallelismMax": 10, "parallelismCount": 10 }));
    assert_eq!(wire.log("state=ACTIVE").await.len(), 10);
    wire.receiver.release();
    wire.settle().await;
    assert_eq!(wire.receiver.count(), 12);
}

#[tokio::test]
async fn the_dead_and_the_log_are_kept_for_three_days() {
    let wire = on(Plan::FREE).await;
    wire.receiver.answer_all(500);
    wire.publish(&[("Upstash-Retries", "0")]).await;
    wire.at(3 * DAY).await;
    assert_eq!((wire.dead().await.len(), wire.log("state=FAILED").await.len()), (1, 1));
    wire.at(3 * DAY + 1).await;
    assert_eq!((wire.dead().await.len(), wire.log("").await.len()), (0, 0), "nothing else has to happen");
}

#[tokio::test]
async fn retention_counts_when_something_else_happens_too() {
    let wire = on(Plan::FREE).await;
    wire.receiver.answer_all(500);
    wire.publish(&[("Upstash-Retries", "0")]).await;
    wire.at(3 * DAY + 1).await;
    wire.publish(&[("Upstash-Delay", "1h")]).await;
    assert_eq!((wire.dead().await.len(), wire.log("").await.len()), (0, 1));
}

#[tokio::test]
async fn no_plan_accepts_more_than_five_retries() {
    for plan in Plan::ALL {
        let wire = Wire::with(Settings { plan, ..stepped() }).await;
        wire.publish(&[("Upstash-Retries", "5")]).await;
        for retries in ["6", "4294967295"] {
            let refused = wire.publish_to("/in", &[("Upstash-Retries", retries)]).await.expect(412);
            assert_eq!(refused.error(), "quota maxRetries exceeded, current limit: 5", "{}", plan.name);
        }
    }
}
