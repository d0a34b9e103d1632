//! The template names the secrets of a region only where a parameter names the region, because a start that asks for absent ones fails.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use surehook_tests::template::{FUNCTIONS, Template};

/// The template with the two parameters of regions; all others have their defaults.
struct Chosen {
    template: Template,
    own: &'static str,
    other: &'static str,
}

impl Chosen {
    /// The value of a parameter. A resource has none yet.
    fn parameter(&self, name: &str) -> Value {
        match name {
            "QStashRegion" => json!(self.own),
            "QStashOtherRegion" => json!(self.other),
            _ => self.template.parameters().get(name).map_or(Value::Null, |parameter| parameter["Default"].clone()),
        }
    }

    fn value(&self, value: &Value) -> Value {
        if let Some(name) = value["!Ref"].as_str().filter(|name| !name.starts_with("AWS::")) {
            return self.parameter(name);
        }
        match value["!If"].as_array() {
            Some(parts) => {
                let branch = if self.holds(parts[0].as_str().unwrap()) { &parts[1] } else { &parts[2] };
                self.value(branch)
            }
            None => value.clone(),
        }
    }

    fn holds(&self, condition: &str) -> bool {
        self.is_true(&self.template.conditions()[condition])
    }

    fn is_true(&self, formula: &Value) -> bool {
        let (operator, given) = formula.as_object().unwrap().iter().next().unwrap();
        let parts = || given.as_array().unwrap().iter();
        match operator.as_str() {
            "!Condition" => self.holds(given.as_str().unwrap()),
            "!Not" => !self.is_true(&given[0]),
            "!Or" => parts().any(|part| self.is_true(part)),
            "!And" => parts().all(|part| self.is_true(part)),
            "!Equals" => self.value(&given[0]) == self.value(&given[1]),
            other => panic!("no condition of this template has {other}"),
        }
    }

    /// Whether CloudFormation takes the parameters.
    fn is_accepted(&self) -> bool {
        let keeps = |rule: &Value| {
            let asserts = rule["Assertions"].as_array().unwrap();
            !self.is_true(&rule["RuleCondition"]) || asserts.iter().all(|one| self.is_true(&one["Assert"]))
        };
        self.template.rules().values().all(keeps)
    }

    /// The secrets of QStash that a function names, without the stack's name.
    fn secrets(&self, id: &str) -> BTreeSet<String> {
        let values = self.template.variables(id).into_values().map(|value| self.value(&value));
        let names = values.filter_map(|value| Some(value["!Sub"].as_str()?.rsplit('/').next()?.to_owned()));
        names.filter(|name| name.contains("qstash-")).collect()
    }

    /// The secrets of QStash that the role of a function may read.
    fn readable(&self, id: &str) -> BTreeSet<String> {
        let statements = self.template.statements(id).into_iter();
        let statements = statements.filter(|statement| statement["Action"] == "ssm:GetParameters");
        let resources = statements.flat_map(|statement| statement["Resource"].as_array().unwrap().clone());
        let names = resources.map(|resource| self.value(&resource));
        let names = names.filter_map(|value| Some(value["!Sub"].as_str()?.rsplit('/').next()?.to_owned()));
        names.filter(|name| name.contains("qstash-")).collect()
    }
}

/// A role may read the secrets of both regions, named or not: CloudFormation changes it before the function, which must start meanwhile.
#[test]
fn secrets_of_a_region_are_named_only_where_a_parameter_names_it() {
    let (eu, us) = ("eu-central-1-", "us-east-1-");
    for (own, other, prefixes) in [
        ("", "", &[""][..]),
        ("EU_CENTRAL_1", "", &[eu]),
        ("EU_CENTRAL_1", "US_EAST_1", &[eu, us]),
        ("US_EAST_1", "EU_CENTRAL_1", &[us, eu]),
        ("US_EAST_1", "", &[us]),
    ] {
        let chosen = Chosen { template: Template::load(), own, other };
        assert!(chosen.is_accepted(), "{own}, {other}");
        for (function, id) in FUNCTIONS {
            let kinds: &[&str] = match function {
                "consumer" => &["current-signing-key", "next-signing-key"],
                "requeuer" => &["token", "current-signing-key", "next-signing-key"],
                _ => &["token"],
            };
            // The producer publishes to one region.
            let regions = if function == "producer" { &prefixes[..1] } else { prefixes };
            let names = |prefix: &&str| kinds.iter().map(|kind| format!("{prefix}qstash-{kind}")).collect::<Vec<_>>();
            let expected: BTreeSet<String> = regions.iter().flat_map(names).collect();
            assert_eq!(chosen.secrets(id), expected, "{function}: {own}, {other}");
            let all: BTreeSet<String> = ["", eu, us].iter().flat_map(names).collect();
            assert_eq!(chosen.readable(id), all, "role of {function}: {own}, {other}");
        }
    }
}

#[test]
fn another_region_without_an_own_one_or_the_same_again_is_refused() {
    for (own, other) in [("", "US_EAST_1"), ("US_EAST_1", "US_EAST_1")] {
        assert!(!Chosen { template: Template::load(), own, other }.is_accepted(), "{own}, {other}");
    }
}
