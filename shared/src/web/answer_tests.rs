use super::*;

const PAIR: (u16, Option<&str>, bool) = (489, None, true);

/// The table of answers of the design: outcome → status, `Retry-After`, whether it must never come again.
#[test]
fn every_outcome_has_its_documented_answer() {
    let second = Duration::from_secs(1);
    for (outcome, (status, retry_after, final_failure)) in [
        (Outcome::Processed, (200, None, false)),
        (Outcome::Ignored, (200, None, false)),
        (Outcome::Duplicate, (200, None, false)),
        (Outcome::Dead, (200, None, false)),
        (Outcome::SignatureRefused, (401, None, false)),
        (Outcome::InProgress(Duration::from_millis(2_500)), (409, Some("4"), false)),
        (Outcome::InProgress(Duration::ZERO), (409, Some("1"), false)),
        (Outcome::PermanentFailure, PAIR),
        (Outcome::Unmatched, PAIR),
        (Outcome::Malformed, PAIR),
        (Outcome::Conflict, PAIR),
        (Outcome::TooLarge, PAIR),
        (Outcome::TransientFailure(None), (503, None, false)),
        (Outcome::TransientFailure(Some(second * 7)), (503, Some("7"), false)),
        (Outcome::LeaseLost, (503, None, false)),
        (Outcome::StoreAway, (503, Some("13"), false)),
        (Outcome::QStashAway, (503, Some("13"), false)),
        (Outcome::RejectedByQStash, (400, None, false)),
        (Outcome::TopicFull("x".into()), (503, Some("13"), false)),
        (Outcome::NoRoutes, (503, None, false)),
        (Outcome::SourceUnconfigured("x".into()), (503, None, false)),
        (Outcome::Requeued, (200, None, false)),
        (Outcome::Buried, (200, None, false)),
        (Outcome::UndecodableCallback, (200, None, false)),
        (Outcome::Unauthorized(SenderRefusal::NoToken), (401, None, false)),
        (Outcome::SenderRefused(SenderRefusal::Mismatch), PAIR),
        (Outcome::SecretMissing("x".into()), (503, Some("13"), false)),
        (Outcome::UnknownTopic("x".into()), (404, None, false)),
        (Outcome::BadRequest("x".into()), (400, None, false)),
        (Outcome::PayloadTooLarge(1), (413, None, false)),
        (Outcome::MethodNotAllowed, (405, None, false)),
    ] {
        let answer = Answer::from(outcome.clone());
        let headers = answer.headers();
        assert_eq!(answer.status(), status, "{outcome:?}");
        assert_eq!(headers.get("retry-after").map(|v| v.to_str().unwrap()), retry_after, "{outcome:?}");
        assert_eq!(headers.contains_key(NON_RETRYABLE), final_failure, "{outcome:?}");
    }
}

#[test]
fn an_outage_of_minutes_does_not_use_the_retries_up() {
    let waits = [0, 1, 2, 3].map(|retried| {
        let answer = Answer { retried, ..Outcome::StoreAway.into() };
        answer.headers()["retry-after"].to_str().unwrap().to_owned()
    });
    assert_eq!(waits, ["13", "149", "1809", "3600"]);
}

#[test]
fn no_answer_asks_for_more_than_the_horizon_reckons_with() {
    let answer = Answer::from(Outcome::TransientFailure(Some(LONGEST_WISH * 24)));
    assert_eq!(answer.headers()["retry-after"], "3600");
    assert_eq!(answer.headers()[WHOLE_WISH], "86400", "but the requeuer hears all of it");
}

#[test]
fn an_unconfigured_source_is_named() {
    let answer = Answer::from(Outcome::SourceUnconfigured("github".into()));
    assert!(answer.body().contains("github"), "{}", answer.body());
}

#[test]
fn a_batch_is_as_its_worst_part_and_tells_each() {
    let accepted = || Outcome::Accepted { message_ids: vec!["msg_1".into()] };
    let part = |outcome| Part { id: Some("e1".into()), outcome };
    let answer = |parts: Vec<Outcome>| Answer::from(Outcome::Batch(parts.into_iter().map(part).collect()));
    let all = answer(vec![accepted(), accepted()]);
    assert_eq!((all.status(), all.outcome.word()), (202, "accepted"));
    let some = answer(vec![accepted(), Outcome::StoreAway]);
    assert_eq!(
        (some.status(), some.outcome.word(), &some.headers()["retry-after"] == "13"),
        (503, "partly-accepted", true)
    );
    let none = answer(vec![Outcome::NotTaken, Outcome::BadRequest("why".into())]);
    assert_eq!((none.status(), none.outcome.word()), (400, "refused"));
    let body: serde_json::Value = serde_json::from_str(&none.body()).unwrap();
    assert_eq!((&body["events"][0]["code"], &body["events"][1]["detail"]), (&424.into(), &"why".into()));
}

#[test]
fn an_accepted_event_names_its_message() {
    let outcome = Outcome::Accepted { message_ids: vec!["msg_1".into()] };
    let answer = Answer::from(Part { id: Some("e1".into()), outcome });
    assert_eq!(answer.body(), r#"{"status":"accepted","id":"e1","messageId":"msg_1"}"#);
}
