//! Reference 2.6: the states that a message goes through, as the log tells.

use serde_json::json;

use crate::support::{DAY, Reply, Wire, texts};

#[tokio::test]
async fn a_delivered_message_was_created_and_active() {
    let wire = Wire::start().await;
    let id = wire.publish(&[]).await;
    wire.settle().await;
    assert_eq!(wire.states(&id).await, ["CREATED", "ACTIVE", "DELIVERED"]);
}

#[tokio::test]
async fn every_failed_attempt_is_an_error_and_leads_to_a_retry_or_to_the_end() {
    let wire = Wire::start().await;
    wire.receiver.answer_all(500);
    let id = wire.publish(&[("Upstash-Retries", "1")]).await;
    wire.at(DAY).await;
    assert_eq!(wire.states(&id).await, ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR", "FAILED"]);
}

#[tokio::test]
async fn a_waiting_message_is_cancelled_at_once() {
    let wire = Wire::start().await;
    let id = wire.publish(&[("Upstash-Delay", "1h")]).await;
    wire.delete(&format!("/v2/messages/{id}")).await.expect(200);
    assert_eq!(wire.states(&id).await, ["CREATED", "CANCEL_REQUESTED", "CANCELLED"]);
    wire.at(DAY).await;
    assert_eq!(wire.receiver.count(), 0);
}

#[tokio::test]
async fn an_attempt_in_the_air_is_the_last_of_a_cancelled_message() {
    for (status, last) in [(500, &["ERROR", "CANCELLED"][..]), (200, &["DELIVERED"])] {
        let wire = Wire::start().await;
        wire.receiver.answer_all(status);
        wire.receiver.hold();
        let id = wire.publish(&[]).await;
        wire.receiver.arrived(1).await;
        wire.delete(&format!("/v2/messages/{id}")).await.expect(200);
        wire.receiver.release();
        wire.at(DAY).await;
        assert_eq!(wire.states(&id).await, [&["CREATED", "ACTIVE", "CANCEL_REQUESTED"], last].concat(), "{status}");
        assert_eq!((wire.receiver.count(), wire.qstash.dlq_len()), (1, 0), "{status}");
    }
}

/// One message in each state that a filter can name.
async fn of_all_states() -> Wire {
    let wire = Wire::start().await;
    wire.receiver.answer(|received| Reply::status(if received.target == "/good" { 200 } else { 500 }));
    wire.publish_to("/good", &[]).await.expect(201);
    wire.publish_to("/bad", &[("Upstash-Retries", "1")]).await.expect(201);
    wire.at(DAY).await;
    let id = wire.publish(&[("Upstash-Delay", "1h")]).await;
    wire.delete(&format!("/v2/messages/{id}")).await.expect(200);
    wire
}

#[tokio::test]
async fn each_state_can_be_asked_for() {
    let wire = of_all_states().await;
    for (state, count) in [
        ("CREATED", 3),
        ("ACTIVE", 3),
        ("RETRY", 1),
        ("ERROR", 2),
        ("DELIVERED", 1),
        ("FAILED", 1),
        ("CANCEL_REQUESTED", 1),
        ("CANCELLED", 1),
    ] {
        let found = texts(&wire.log(&format!("state={state}")).await, "state");
        assert_eq!(found, vec![state; count], "{state}");
    }
}

#[tokio::test]
async fn in_progress_is_a_filter_only() {
    let wire = of_all_states().await;
    let found = texts(&wire.log("state=IN_PROGRESS").await, "state");
    assert_eq!(found, ["ACTIVE", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "ERROR"]);
}

#[tokio::test]
async fn cancelled_is_asked_for_in_both_spellings_and_shown_as_each_endpoint_documents_it() {
    let wire = of_all_states().await;
    for query in ["state=CANCELED", "state=CANCELLED"] {
        assert_eq!(texts(&wire.log(query).await, "state"), ["CANCELLED"], "{query}");
        let events = wire.get(&format!("/v2/events?{query}")).await;
        assert_eq!(events["events"][0]["state"], json!("CANCELED"), "{query}: what SDKs know");
    }
}
