//! The policy of a stack: the settings by which its DLQ processor retries, gives up and forgets events.
//!
//! The DLQ processor writes the policy to the table at a sweep. An operator's shell takes it from there, because a shell with
//! other settings would take an event that waits for its next round for a stranded one.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{Lifetimes, Variables, qstash::REGION};
use crate::{
    Millis,
    qstash::{Region, duration},
    retry::{Schedule, millis},
};

/// The variables that make up a policy.
pub const POLICY_VARIABLES: [&str; 11] = [
    "STACK",
    "RETRY_ROUNDS",
    "RETRY_BASE",
    "RETRY_FACTOR",
    "RETRY_CAP",
    "RETRY_JITTER",
    "RETRY_LIST",
    "RETRY_MAX_AGE",
    "QSTASH_DLQ_RETENTION_DAYS",
    "REPLAY_WINDOW_DAYS",
    "RETENTION_DAYS",
];
const DAY: u64 = 86_400;

/// The settings that are in effect, and the spans that follow from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The value of each variable that is set or has a default, by its name.
    pub settings: BTreeMap<String, String>,
    /// Rounds that an event gets after its first.
    pub rounds: u32,
    /// How long after its first failure an event may be delivered again.
    pub greatest_age: Millis,
    /// The longest time from an event's first delivery to its last. An event that waits longer is stranded.
    pub horizon: Millis,
    /// How long the record of a finished event is kept.
    pub retention: Millis,
}

/// A variable of a shell that differs from the stack's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The variable.
    pub name: &'static str,
    /// Its value in the shell.
    pub own: String,
    /// Its value in the stack; `None` where the stack does not set it.
    pub stack: Option<String>,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, own, stack } = self;
        match stack {
            Some(stack) => write!(formatter, "{name} is {own} here and {stack} in the stack"),
            None => write!(formatter, "{name} is {own} here and not set in the stack"),
        }
    }
}

impl Policy {
    /// Returns the policy that follows from a configuration.
    pub fn of(stack: &str, lifetimes: &Lifetimes) -> Self {
        let retry = &lifetimes.retry;
        let days = |span: Duration| Some((span.as_secs() / DAY).to_string());
        let mut settings = schedule_settings(&retry.schedule);
        settings.extend([
            ("STACK", Some(stack.to_owned())),
            ("RETRY_ROUNDS", Some(retry.rounds.to_string())),
            ("RETRY_MAX_AGE", retry.max_age.map(written)),
            ("QSTASH_DLQ_RETENTION_DAYS", days(lifetimes.dlq_retention)),
            ("REPLAY_WINDOW_DAYS", days(lifetimes.replay_window)),
            ("RETENTION_DAYS", days(lifetimes.retention)),
        ]);
        let set = settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Self {
            settings: set.collect(),
            rounds: retry.rounds,
            greatest_age: millis(retry.greatest_age()),
            horizon: millis(retry.horizon()),
            retention: millis(lifetimes.retention),
        }
    }

    /// Returns the policy of a stack that publishes to a region. A shell has accounts of its own, so that the region is compared and never
    /// applied.
    #[must_use]
    pub fn publishing_to(mut self, region: Option<Region>) -> Self {
        self.settings.extend(region.map(|region| (REGION.to_owned(), region.to_string())));
        self
    }

    /// Returns how the region of these variables differs from the stack's. Without a region they publish to another account.
    fn contradicting_region(&self, variables: &Variables) -> Option<Contradiction> {
        let own = variables.get(REGION).ok().flatten().filter(|own| !own.trim().is_empty());
        let own = own.map(|own| Region::parse(&own).map_or(own, |region| region.to_string()));
        let stack = self.settings.get(REGION).cloned();
        (own != stack).then(|| Contradiction { name: REGION, own: own.unwrap_or_else(|| "not set".to_owned()), stack })
    }

    /// Returns the variables with this policy in the place of their own.
    pub fn applied_to(&self, variables: &Variables) -> Variables {
        let settings = self.settings.clone();
        variables.replacing(&POLICY_VARIABLES, move |name| settings.get(name).cloned())
    }

    /// Lists the variables that are set and differ from this policy.
    pub fn contradictions(&self, variables: &Variables) -> Vec<Contradiction> {
        let contradiction = |name: &'static str| {
            let own = variables.get(name).ok().flatten().map(|own| own.trim().to_owned())?;
            let stack = self.settings.get(name);
            let differs = !own.is_empty() && stack.is_none_or(|stack| canonical(name, stack) != canonical(name, &own));
            differs.then(|| Contradiction { name, own, stack: stack.cloned() })
        };
        POLICY_VARIABLES.into_iter().filter_map(contradiction).chain(self.contradicting_region(variables)).collect()
    }
}

fn schedule_settings(schedule: &Schedule) -> Vec<(&'static str, Option<String>)> {
    match schedule {
        Schedule::List(waits) => {
            let waits: Vec<String> = waits.iter().copied().map(written).collect();
            vec![("RETRY_LIST", Some(waits.join(",")))]
        }
        Schedule::Exponential { base, factor, cap, jitter } => vec![
            ("RETRY_BASE", Some(written(*base))),
            ("RETRY_FACTOR", Some(factor.to_string())),
            ("RETRY_CAP", Some(written(*cap))),
            ("RETRY_JITTER", Some(jitter.to_string())),
        ],
    }
}

/// Returns the one form of all texts that mean the same value: `60m` and `1h`, `2` and `2.0`.
fn canonical(name: &str, text: &str) -> String {
    let span = |text: &str| duration::parse(text).map(written);
    let form = match name {
        "STACK" => None,
        "RETRY_BASE" | "RETRY_CAP" | "RETRY_MAX_AGE" => span(text),
        "RETRY_LIST" => text.split(',').map(span).collect::<Option<Vec<_>>>().map(|waits| waits.join(",")),
        _number => text.parse::<f64>().ok().map(|number| number.to_string()),
    };
    form.unwrap_or_else(|| text.to_owned())
}

/// Writes a span in its largest whole unit, as [`duration::parse`] reads it.
fn written(span: Duration) -> String {
    let nanos = span.as_nanos();
    let units = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
    ];
    let unit = units.into_iter().find(|(length, _)| nanos > 0 && nanos.is_multiple_of(*length));
    unit.map_or_else(|| format!("{nanos}ns"), |(length, unit)| format!("{}{unit}", nanos / length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reader;

    fn variables(table: &[(&str, &str)]) -> Variables {
        let table: BTreeMap<String, String> =
            table.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Variables::plain(move |name| table.get(name).cloned())
    }

    fn policy(table: &[(&str, &str)]) -> Policy {
        let variables = variables(table);
        let mut reader = Reader::new(&variables);
        let policy = Policy::of(&reader.stack(), &reader.lifetimes());
        reader.finish().unwrap();
        policy
    }

    #[test]
    fn a_shell_with_a_policy_applied_has_the_same_policy() {
        for table in [
            &[][..],
            &[("RETRY_LIST", "1m,90m,1d"), ("RETENTION_DAYS", "30")],
            &[("RETRY_BASE", "1500ms"), ("RETRY_FACTOR", "1.7"), ("RETRY_JITTER", "0"), ("RETRY_MAX_AGE", "5h30m")],
            &[
                ("STACK", "shop"),
                ("RETRY_ROUNDS", "0"),
                ("QSTASH_DLQ_RETENTION_DAYS", "3"),
                ("REPLAY_WINDOW_DAYS", "1"),
            ],
        ] {
            let stack = policy(table);
            let shell = stack.applied_to(&variables(&[("RETRY_LIST", "1s"), ("RETENTION_DAYS", "1"), ("STACK", "x")]));
            let mut reader = Reader::new(&shell);
            assert_eq!(Policy::of(&reader.stack(), &reader.lifetimes()), stack, "{table:?}");
            reader.finish().unwrap();
        }
    }

    #[test]
    fn a_shell_of_another_region_contradicts_even_if_it_names_none() {
        let us = policy(&[]).publishing_to(Some(Region::UsEast1));
        let told = |policy: &Policy, table: &[(&str, &str)]| {
            policy.contradictions(&variables(table)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&us, &[(REGION, "us-east-1")]), [""; 0]);
        assert_eq!(told(&us, &[]), ["QSTASH_REGION is not set here and US_EAST_1 in the stack"]);
        assert_eq!(
            told(&us, &[(REGION, "EU_CENTRAL_1")]),
            ["QSTASH_REGION is EU_CENTRAL_1 here and US_EAST_1 in the stack"]
        );
        assert_eq!(
            told(&policy(&[]), &[(REGION, "EU_CENTRAL_1")]),
            ["QSTASH_REGION is EU_CENTRAL_1 here and not set in the stack"]
        );
        let shell = us.applied_to(&variables(&[(REGION, "EU_CENTRAL_1")]));
        assert_eq!(shell.get(REGION), Ok(Some("EU_CENTRAL_1".to_owned())), "its accounts are its own");
    }

    #[test]
    fn variables_that_are_not_of_the_policy_stay_the_shells() {
        let shell = policy(&[]).applied_to(&variables(&[("TABLE_NAME", "t")]));
        assert_eq!(shell.get("TABLE_NAME"), Ok(Some("t".to_owned())));
    }

    #[test]
    fn what_is_set_and_differs_contradicts_and_nothing_else() {
        let stack = policy(&[("RETRY_ROUNDS", "6"), ("RETRY_BASE", "1h")]);
        let same = [("RETRY_ROUNDS", " 6 "), ("RETRY_BASE", "60m"), ("RETRY_FACTOR", "2.0"), ("RETRY_CAP", "24h")];
        assert_eq!(stack.contradictions(&variables(&same)), []);
        assert_eq!(stack.contradictions(&variables(&[("TABLE_NAME", "t")])), []);
        let other = [("RETRY_ROUNDS", "2"), ("RETRY_MAX_AGE", "3h"), ("STACK", "staging"), ("RETENTION_DAYS", "soon")];
        let told: Vec<String> = stack.contradictions(&variables(&other)).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "STACK is staging here and surehook in the stack",
                "RETRY_ROUNDS is 2 here and 6 in the stack",
                "RETRY_MAX_AGE is 3h here and not set in the stack",
                "RETENTION_DAYS is soon here and 14 in the stack",
            ]
        );
    }
}
