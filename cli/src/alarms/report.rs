//! The addresses that a test of an alarm reached.

use serde::Serialize;

use super::{
    calls::{Alarm, Reported, State, Subscription, is_topic},
    ring::Addresses,
};
use crate::text::{counted, harmless};

/// What a test came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    alarm: String,
    /// The state before the test, and again after it.
    state: State,
    actions: Vec<Action>,
}

/// An action that the alarm called.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    action: String,
    outcome: Outcome,
    /// CloudWatch's own sentence; empty if it reported nothing.
    summary: String,
    reached: Vec<Subscription>,
    not_reached: Vec<Subscription>,
}

/// What became of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Executed,
    Failed,
    /// CloudWatch had reported nothing when time ran out.
    Unreported,
}

impl Report {
    pub(super) fn new(alarm: &Alarm, mut addresses: Addresses, reported: Vec<Reported>) -> Self {
        let action = |action: &String| {
            let found = reported.iter().find(|one| one.action == *action);
            Action::new(action, found, addresses.remove(action).unwrap_or_default())
        };
        let actions = alarm.active_actions().iter().map(action).collect();
        Self { alarm: alarm.name.clone(), state: alarm.state, actions }
    }

    /// Confirmed subscriptions that were reached.
    pub(super) fn reached(&self) -> usize {
        self.actions.iter().map(|action| action.reached.len()).sum()
    }

    fn is_unreported(&self) -> bool {
        self.actions.iter().any(|action| action.outcome == Outcome::Unreported)
    }

    pub(super) fn print(&self) {
        for action in &self.actions {
            action.print();
        }
        println!("The state of {} is {} again.", harmless(&self.alarm), self.state);
        match self.reached() {
            0 if self.is_unreported() => println!("Whether the test reached a confirmed subscription is unknown."),
            0 => println!("The test reached no confirmed subscription: alarms of this stack go unheard."),
            reached => println!("The test reached {}.", counted(reached, "confirmed subscription")),
        }
    }
}

impl Action {
    fn new(action: &str, reported: Option<&Reported>, subscriptions: Vec<Subscription>) -> Self {
        let outcome = match reported {
            Some(Reported { is_executed: true, .. }) => Outcome::Executed,
            Some(_) => Outcome::Failed,
            None => Outcome::Unreported,
        };
        let is_reached = |one: &Subscription| outcome == Outcome::Executed && one.is_confirmed;
        let (reached, not_reached) = subscriptions.into_iter().partition(is_reached);
        let summary = reported.map(|reported| reported.summary.clone()).unwrap_or_default();
        Self { action: action.to_owned(), outcome, summary, reached, not_reached }
    }

    fn print(&self) {
        let said = match self.outcome {
            Outcome::Executed => "CloudWatch executed it".to_owned(),
            Outcome::Failed => harmless(&self.summary),
            Outcome::Unreported => "CloudWatch reported nothing in time (--patience)".to_owned(),
        };
        println!("{}: {said}", harmless(&self.action));
        if !is_topic(&self.action) {
            println!("  This is no SNS topic, so it can't be verified that it reaches an address.");
        } else if self.reached.is_empty() && self.not_reached.is_empty() {
            println!("  The topic does not exist or has no subscriptions.");
        }
        for one in &self.reached {
            println!("  reached      {}", harmless(&one.to_string()));
        }
        for one in &self.not_reached {
            let why = if one.is_confirmed { "" } else { " (not confirmed: follow the link in AWS's mail)" };
            println!("  not reached  {}{why}", harmless(&one.to_string()));
        }
    }
}
