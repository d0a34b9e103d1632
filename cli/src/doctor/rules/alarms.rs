//! The alarms: that there are some, and that they reach an address.

use std::collections::{BTreeMap, BTreeSet};

use super::unknown;
use crate::{
    alarms::calls::{Alarm, Subscription, is_topic},
    doctor::{Facts, Finding, Report, facts::Alarms},
    text::counted,
};

/// The consequence of alarms that reach no address.
const UNHEARD: &str = "events can be lost without a sound";

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    match &facts.alarms {
        None => {}
        Some(Err(why)) => unknown(report, "alarms-unknown", "the alarms of the stack", why),
        Some(Ok(found)) if found.alarms.is_empty() => report.add(
            Finding::warning("no-alarms", "the stack has no alarms (Observability=none)").happens(UNHEARD).mend(
                "deploy with Observability=lean, or run `surehook dead-letters` and `surehook stranded` every day",
            ),
        ),
        Some(Ok(found)) => {
            let silent: Vec<&Alarm> = found.alarms.iter().filter(|alarm| alarm.active_actions().is_empty()).collect();
            if silent.len() == found.alarms.len() {
                report.add(no_action());
            } else {
                some_silent(&silent, report);
                addresses(found, report);
            }
        }
    }
}

fn no_action() -> Finding {
    Finding::error("alarms-unheard", "no alarm of the stack is sent anywhere").happens(UNHEARD).mend(
        "deploy with AlarmEmail=you@example.com, or with AlarmTopicArn; were actions switched off, switch them on: \
               aws cloudwatch enable-alarm-actions --alarm-names …",
    )
}

fn some_silent(silent: &[&Alarm], report: &mut Report) {
    if !silent.is_empty() {
        let names: Vec<&str> = silent.iter().map(|alarm| alarm.id.as_str()).collect();
        let finding = Finding::warning("alarm-silent", format!("alarms are sent nowhere: {}", names.join(", ")))
            .happens("what they watch can go wrong without a sound")
            .mend("aws cloudwatch enable-alarm-actions --alarm-names …, or deploy the stack again");
        report.add(finding);
    }
}

/// Judges every address that an alarm is sent to, once.
fn addresses(found: &Alarms, report: &mut Report) {
    let actions: BTreeSet<&String> = found.alarms.iter().flat_map(Alarm::active_actions).collect();
    let (topics, others): (Vec<&String>, Vec<&String>) = actions.into_iter().partition(|action| is_topic(action));
    let mut confirmed = Vec::new();
    for topic in topics {
        match &found.topics[topic] {
            Err(why) => unknown(report, "alarm-topic-unknown", &format!("the subscriptions to {topic}"), why),
            Ok(None) => report.add(unsubscribed(format!("the alarms' topic {topic} does not exist"))),
            Ok(Some(subscriptions)) => confirmed.extend(of_topic(topic, subscriptions, report)),
        }
    }
    for action in others {
        report.add(unverified(action));
    }
    if !confirmed.is_empty() {
        let alarms = counted(found.alarms.len(), "alarm");
        report.right.push(format!("alarms: {alarms}, sent to {}", by_protocol(&confirmed)));
    }
}

/// Judges the subscriptions to a topic, and returns the confirmed ones.
fn of_topic<'a>(topic: &str, subscriptions: &'a [Subscription], report: &mut Report) -> Vec<&'a Subscription> {
    let (confirmed, pending): (Vec<_>, Vec<_>) = subscriptions.iter().partition(|one| one.is_confirmed);
    let names = pending.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if subscriptions.is_empty() {
        report.add(unsubscribed(format!("the alarms' topic {topic} has no subscriptions")));
    } else if confirmed.is_empty() {
        report.add(unsubscribed(format!("no subscription to the alarms' topic {topic} is confirmed: {names}")));
    } else if !pending.is_empty() {
        let finding = Finding::note("alarm-pending", format!("subscriptions to alarms are not confirmed: {names}"));
        report.add(finding.happens("they get no alarm").mend("follow the link in AWS's mail"));
    }
    confirmed
}

fn unsubscribed(problem: String) -> Finding {
    Finding::error("alarms-unheard", problem).happens(UNHEARD).mend(
        "follow the link in the mail \"AWS Notification - Subscription Confirmation\", or subscribe an address: aws sns \
         subscribe; then `surehook alarms test`",
    )
}

fn unverified(action: &str) -> Finding {
    Finding::note("alarm-unverified", format!("alarms call {action}, which is no SNS topic"))
        .happens("it can't be verified that it reaches an address")
        .mend("surehook alarms test, and look whether it arrives")
}

/// Counts subscriptions by protocol: `2 confirmed subscriptions (email: 1, sqs: 1)`.
fn by_protocol(confirmed: &[&Subscription]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in confirmed {
        *counts.entry(&one.protocol).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(protocol, count)| format!("{protocol}: {count}")).collect();
    format!("{} ({})", counted(confirmed.len(), "confirmed subscription"), counts.join(", "))
}
