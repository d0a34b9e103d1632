//! Alarms that reach no address, and those that reach one.

use super::{
    judge,
    rules_tests::{codes, facts, judged},
};
use crate::{
    alarms::calls::{Alarm, State, Subscription},
    doctor::{
        Facts,
        facts::{Alarms, Learned, Unknown},
        report::Severity,
    },
};

const MAIL: &str = "arn:aws:sns:eu-west-1:123456789012:s-AlarmTopic-1";
const OWN: &str = "arn:aws:sns:eu-west-1:123456789012:own";
const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:page";

fn alarm(id: &str, actions: &[&str]) -> Alarm {
    let actions = actions.iter().map(|action| (*action).to_owned()).collect();
    Alarm { name: format!("s-{id}-1"), id: id.to_owned(), state: State::Ok, since: None, actions, is_enabled: true }
}

fn email(is_confirmed: bool) -> Subscription {
    Subscription { protocol: "email".to_owned(), endpoint: "a…@example.com".to_owned(), is_confirmed }
}

fn queue() -> Subscription {
    let endpoint = "arn:aws:sqs:eu-west-1:123456789012:alarms".to_owned();
    Subscription { protocol: "sqs".to_owned(), endpoint, is_confirmed: true }
}

type Topic = (&'static str, Learned<Option<Vec<Subscription>>>);

/// A stack whose alarms all have these actions.
fn sent_to(actions: &[&str], topics: impl IntoIterator<Item = Topic>) -> Facts {
    let alarms = vec![alarm("DeadLetterAlarm", actions), alarm("StrandedAlarm", actions)];
    with(alarms, topics)
}

fn with(alarms: Vec<Alarm>, topics: impl IntoIterator<Item = Topic>) -> Facts {
    let topics = topics.into_iter().map(|(arn, found)| (arn.to_owned(), found)).collect();
    Facts { alarms: Some(Ok(Alarms { alarms, topics })), ..facts() }
}

/// The line that says where alarms are sent to.
fn right(facts: &Facts) -> Option<String> {
    judge(facts).right.into_iter().find(|right| right.starts_with("alarms: "))
}

#[test]
fn alarms_without_a_confirmed_subscription_are_an_error() {
    for facts in [
        sent_to(&[], []),
        sent_to(&[MAIL], [(MAIL, Ok(Some(vec![])))]),
        sent_to(&[MAIL], [(MAIL, Ok(Some(vec![email(false), email(false)])))]),
        sent_to(&[MAIL], [(MAIL, Ok(None))]),
        sent_to(&[MAIL, OWN], [(MAIL, Ok(Some(vec![email(false)]))), (OWN, Ok(Some(vec![queue()])))]),
    ] {
        assert_eq!(judged(&facts), [("alarms-unheard", Severity::Error)], "{facts:?}");
    }
}

#[test]
fn alarms_that_reach_an_address_are_right() {
    let subscriptions = vec![email(true), queue(), email(true)];
    let heard = sent_to(&[MAIL], [(MAIL, Ok(Some(subscriptions)))]);
    assert_eq!(codes(&heard), [""; 0]);
    let line = right(&heard).unwrap();
    assert_eq!(line, "alarms: 2 alarms, sent to 3 confirmed subscriptions (email: 2, sqs: 1)");
    let both = sent_to(&[MAIL, OWN], [(MAIL, Ok(Some(vec![email(true)]))), (OWN, Ok(Some(vec![queue()])))]);
    assert!(right(&both).unwrap().contains("2 confirmed"), "a topic counts once, however many alarms are sent to it");
}

#[test]
fn what_is_less_than_an_error_is_said() {
    let heard = || (MAIL, Ok(Some(vec![email(true)])));
    let mut muted = alarm("StrandedAlarm", &[MAIL]);
    muted.is_enabled = false;
    let silent = vec![alarm("DeadLetterAlarm", &[MAIL]), muted];
    let denied = || Unknown::Unanswered("AccessDenied: not authorized".to_owned());
    for (facts, expected, severity) in [
        (with(Vec::new(), []), "no-alarms", Severity::Warning),
        (with(silent, [heard()]), "alarm-silent", Severity::Warning),
        (sent_to(&[MAIL], [(MAIL, Ok(Some(vec![email(true), email(false)])))]), "alarm-pending", Severity::Note),
        (sent_to(&[MAIL, FUNCTION], [heard()]), "alarm-unverified", Severity::Note),
        (sent_to(&[FUNCTION], []), "alarm-unverified", Severity::Note),
        (sent_to(&[MAIL], [(MAIL, Err(denied()))]), "alarm-topic-unknown", Severity::Warning),
        (Facts { alarms: Some(Err(denied())), ..facts() }, "alarms-unknown", Severity::Warning),
    ] {
        assert_eq!(judged(&facts), [(expected, severity)], "{facts:?}");
    }
}

#[test]
fn a_topic_that_can_not_be_asked_is_no_error_and_not_right() {
    let facts = sent_to(&[MAIL], [(MAIL, Err(Unknown::Unanswered("no answer".to_owned())))]);
    assert_eq!(right(&facts), None);
}
