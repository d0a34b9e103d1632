//! Conditions of a route on fields of an event's JSON body.
//!
//! A field is named by a JSON pointer (RFC 6901). A condition that can't be decided, because the field is missing or of another
//! type, does not hold: only `exists = false` wants a field to be absent. `null` is absent too, because senders such as
//! Strapi write it for what is not set.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::{identity::cut, json::Fields};

/// What a field must be. All tests of a condition must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// JSON pointer to the field.
    pub field: String,
    /// What is asked of it.
    pub tests: Vec<Test>,
}

/// One question about a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// It is this value. Numbers are equal by value: `1` is `1.0`.
    Equals(Scalar),
    /// It is one of these values.
    OneOf(Vec<Scalar>),
    /// It is there and not `null`, or is not.
    Exists(bool),
    /// It is a text that begins so.
    Prefix(String),
    /// It is a number greater than this.
    Above(Number),
    /// It is a number not less than this.
    AtLeast(Number),
    /// It is a number less than this.
    Below(Number),
    /// It is a number not greater than this.
    AtMost(Number),
}

/// A value as both TOML and JSON have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Truth(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
}

impl Condition {
    /// Why the condition does not hold for what was read of a body; `None` where it holds. The sentence quotes the body: it is for the
    /// operator who tries an event out, not for a log.
    pub fn why_not(&self, fields: &Fields) -> Option<String> {
        let value = fields.get(&self.field).filter(|value| !value.is_null());
        let failed = self.tests.iter().find(|test| !test.holds(value))?;
        let found = value.map_or_else(|| "is missing".to_owned(), |value| format!("is {}", shown(value)));
        Some(format!("{} {found}, not {failed}", self.field))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tests: Vec<String> = self.tests.iter().map(ToString::to_string).collect();
        write!(formatter, "{} is {}", self.field, tests.join(" and "))
    }
}

impl Test {
    /// Whether no value can pass both tests, so that a route which asks both would never be taken.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        self.leaves_nothing_to(other) || other.leaves_nothing_to(self)
    }

    fn leaves_nothing_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Equals(wanted), _) => !other.holds(Some(&wanted.to_value())),
            (Self::OneOf(wanted), _) => !wanted.iter().any(|wanted| other.holds(Some(&wanted.to_value()))),
            (Self::Exists(false), _) => !other.holds(None),
            (Self::Prefix(one), Self::Prefix(other)) => !one.starts_with(other) && !other.starts_with(one),
            (Self::Prefix(_), _) => other.is_bound(),
            (Self::AtLeast(low), Self::AtMost(high)) => compare(low, high).is_some_and(Ordering::is_gt),
            (Self::Above(low) | Self::AtLeast(low), Self::Below(high) | Self::AtMost(high)) => {
                compare(low, high).is_some_and(Ordering::is_ge)
            }
            _ => false,
        }
    }

    fn is_bound(&self) -> bool {
        matches!(self, Self::Above(_) | Self::AtLeast(_) | Self::Below(_) | Self::AtMost(_))
    }

    fn holds(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::Exists(false));
        };
        let compared = |limit: &Number| value.as_number().and_then(|number| compare(number, limit));
        match self {
            Self::Exists(wanted) => *wanted,
            Self::Equals(wanted) => wanted.is(value),
            Self::OneOf(wanted) => wanted.iter().any(|wanted| wanted.is(value)),
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            Self::Above(limit) => compared(limit).is_some_and(Ordering::is_gt),
            Self::AtLeast(limit) => compared(limit).is_some_and(Ordering::is_ge),
            Self::Below(limit) => compared(limit).is_some_and(Ordering::is_lt),
            Self::AtMost(limit) => compared(limit).is_some_and(Ordering::is_le),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(wanted) => write!(formatter, "{wanted}"),
            Self::OneOf(wanted) => {
                let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                write!(formatter, "one of {}", wanted.join(", "))
            }
            Self::Exists(true) => formatter.write_str("there"),
            Self::Exists(false) => formatter.write_str("absent"),
            Self::Prefix(prefix) => write!(formatter, "a text that begins with {prefix:?}"),
            Self::Above(limit) => write!(formatter, "above {limit}"),
            Self::AtLeast(limit) => write!(formatter, "at least {limit}"),
            Self::Below(limit) => write!(formatter, "below {limit}"),
            Self::AtMost(limit) => write!(formatter, "at most {limit}"),
        }
    }
}

impl Scalar {
    fn to_value(&self) -> Value {
        match self {
            Self::Truth(truth) => Value::Bool(*truth),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
        }
    }

    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Truth(wanted), Value::Bool(found)) => wanted == found,
            (Self::Number(wanted), Value::Number(found)) => compare(found, wanted) == Some(Ordering::Equal),
            (Self::Text(wanted), Value::String(found)) => wanted == found,
            _ => false,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(truth) => write!(formatter, "{truth}"),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Text(text) => write!(formatter, "{text:?}"),
        }
    }
}

/// Integers are compared as such: as floating-point numbers two ids beyond 2^53 may seem equal.
fn compare(one: &Number, other: &Number) -> Option<Ordering> {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// A value as a sentence quotes it.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => cut(scalar.to_string(), 80),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn number(value: Value) -> Number {
        value.as_number().unwrap().clone()
    }

    fn why_not(condition: &Condition, body: &Value) -> Option<String> {
        condition.why_not(&Fields::read(body.to_string().as_bytes(), [condition.field.as_str()]).unwrap())
    }

    fn text(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }

    /// Whether a test holds for `{"f": value}`, and for a body without the field.
    fn holds(test: Test, value: Value) -> (bool, bool) {
        let condition = Condition { field: "/f".into(), tests: vec![test] };
        (why_not(&condition, &json!({ "f": value })).is_none(), why_not(&condition, &json!({})).is_none())
    }

    #[test]
    fn every_test_knows_what_it_wants() {
        let at = |value: Value| Scalar::Number(number(value));
        for (test, yes, no) in [
            (Test::Equals(text("a")), json!("a"), json!("A")),
            (Test::Equals(Scalar::Truth(true)), json!(true), json!("true")),
            (Test::Equals(at(json!(1))), json!(1.0), json!("1")),
            (Test::OneOf(vec![text("a"), at(json!(2))]), json!(2), json!(3)),
            (Test::Prefix("api::".into()), json!("api::x"), json!("xapi::")),
            (Test::Above(number(json!(10))), json!(10.5), json!(10)),
            (Test::AtLeast(number(json!(10))), json!(10), json!(9.99)),
            (Test::Below(number(json!(10))), json!(-1), json!(10)),
            (Test::AtMost(number(json!(10))), json!(10), json!("9")),
        ] {
            assert_eq!(holds(test.clone(), yes), (true, false), "{test}");
            assert_eq!(holds(test.clone(), no), (false, false), "{test}");
        }
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(holds(Test::Exists(true), json!(0)), (true, false));
        assert_eq!(holds(Test::Exists(true), json!(null)), (false, false));
        assert_eq!(holds(Test::Exists(false), json!(null)), (true, true));
        assert_eq!(holds(Test::Exists(false), json!("")), (false, true));
    }

    #[test]
    fn ids_beyond_two_to_the_53_are_told_apart() {
        let id = |digits: &str| serde_json::from_str::<Number>(digits).unwrap();
        let test = Test::Equals(Scalar::Number(id("9007199254740993")));
        let body: Value = serde_json::from_str("9007199254740992").unwrap();
        assert_eq!(holds(test, body), (false, false));
        let largest = Test::AtLeast(id("18446744073709551615"));
        assert_eq!(holds(largest, json!(u64::MAX)), (true, false));
    }

    #[test]
    fn tests_that_leave_nothing_to_each_other_exclude_each_other() {
        let n = |value: i64| number(json!(value));
        let at = |value: i64| Scalar::Number(n(value));
        for (one, other, expected) in [
            (Test::Above(n(10)), Test::Below(n(5)), true),
            (Test::Above(n(5)), Test::Below(n(10)), false),
            (Test::AtLeast(n(5)), Test::AtMost(n(5)), false),
            (Test::AtLeast(n(5)), Test::Below(n(5)), true),
            (Test::Above(n(5)), Test::AtMost(n(5)), true),
            (Test::Above(n(5)), Test::AtLeast(n(9)), false),
            (Test::Exists(false), Test::Below(n(5)), true),
            (Test::Exists(false), Test::Exists(true), true),
            (Test::Exists(true), Test::Below(n(5)), false),
            (Test::Exists(true), Test::Prefix("a".into()), false),
            (Test::Prefix("a.b".into()), Test::Prefix("a.".into()), false),
            (Test::Prefix("a.".into()), Test::Prefix("b.".into()), true),
            (Test::Prefix("a.".into()), Test::Above(n(1)), true),
            (Test::Equals(text("a.b")), Test::Prefix("a.".into()), false),
            (Test::Equals(text("a")), Test::Equals(text("b")), true),
            (Test::Equals(at(1)), Test::OneOf(vec![at(2), at(1)]), false),
            (Test::OneOf(vec![at(1), at(2)]), Test::Above(n(2)), true),
        ] {
            assert_eq!(one.excludes(&other), expected, "{one} and {other}");
            assert_eq!(other.excludes(&one), expected, "{other} and {one}");
        }
    }

    #[test]
    fn a_reason_names_field_value_and_what_was_wanted() {
        let why = |tests: Vec<Test>| {
            why_not(&Condition { field: "/entry/price".into(), tests }, &json!({"entry": {"price": 12}}))
        };
        let above = Test::Above(number(json!(100)));
        assert_eq!(why(vec![above.clone()]).unwrap(), "/entry/price is 12, not above 100");
        assert_eq!(why(vec![Test::Exists(true), above]).unwrap(), "/entry/price is 12, not above 100");
        let missing = Condition { field: "/x".into(), tests: vec![Test::Equals(text("a"))] };
        assert_eq!(why_not(&missing, &json!([])).unwrap(), "/x is missing, not \"a\"");
    }

    #[test]
    fn conditions_survive_the_table() {
        let tests =
            vec![Test::Exists(true), Test::OneOf(vec![text("a"), Scalar::Truth(false)]), Test::Prefix("p".into())];
        let condition = Condition { field: "/a~1b".into(), tests };
        let stored = serde_json::to_string(&condition).unwrap();
        assert_eq!(serde_json::from_str::<Condition>(&stored).unwrap(), condition);
    }
}
