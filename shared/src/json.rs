//! Single fields of a JSON text, read without building the rest of it in memory.
//!
//! A text of a few megabytes may hold a million small values, and a tree of them takes a hundred times the room: more than a
//! function has. So only what is asked for is kept, and whatever else the text holds is passed over, however deep it is nested.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// What stands at some JSON pointers (RFC 6901) of a text. Lists and objects are found as empty ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields(BTreeMap<String, Value>);

impl Fields {
    /// Reads a text to its end; `None` where it is not JSON. Of a name that an object has twice the last one counts.
    pub fn read<'p>(text: &[u8], pointers: impl IntoIterator<Item = &'p str>) -> Option<Self> {
        let mut wanted = Wanted::default();
        pointers.into_iter().for_each(|pointer| wanted.add(pointer));
        let mut fields = Self::default();
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        Seek { wanted: &wanted, fields: &mut fields }.deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(fields)
    }

    /// What stands at one of the pointers that were asked for.
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        self.0.get(pointer)
    }

    /// The scalar at one of them, as text.
    pub fn text(&self, pointer: &str) -> Option<String> {
        match self.get(pointer)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// The scalar at a JSON pointer, as text; `None` for anything else, and for a text that is not JSON.
pub fn text_at(text: &[u8], pointer: &str) -> Option<String> {
    Fields::read(text, [pointer])?.text(pointer)
}

/// The pointers as a tree of names.
#[derive(Debug, Default)]
struct Wanted<'p> {
    /// The pointers that end here.
    here: BTreeSet<&'p str>,
    below: BTreeMap<String, Wanted<'p>>,
}

impl<'p> Wanted<'p> {
    fn add(&mut self, pointer: &'p str) {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return;
        }
        let names = pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~"));
        let place = names.fold(self, |place, name| place.below.entry(name).or_default());
        place.here.insert(pointer);
    }

    fn below_index(&self) -> BTreeMap<usize, &Self> {
        self.below.iter().filter_map(|(name, wanted)| Some((index(name)?, wanted))).collect()
    }
}

/// The place in a list that a name stands for. Source: RFC 6901, section 4: digits without leading zeros.
fn index(name: &str) -> Option<usize> {
    let is_plain = name == "0" || !name.starts_with(['0', '+']);
    name.parse().ok().filter(|_| is_plain)
}

/// Reads one value, and says at which pointers something was found.
struct Seek<'w, 'p> {
    wanted: &'w Wanted<'p>,
    fields: &'w mut Fields,
}

/// The pointers at which something was found.
type Found<'p> = Vec<&'p str>;

impl<'p> Seek<'_, 'p> {
    fn keep(&mut self, raw: &RawValue) -> Result<Found<'p>, serde_json::Error> {
        let value = match raw.get().as_bytes().first() {
            Some(b'{') => Value::Object(serde_json::Map::new()),
            Some(b'[') => Value::Array(Vec::new()),
            _ => serde_json::from_str(raw.get())?,
        };
        for pointer in &self.wanted.here {
            self.fields.0.insert((*pointer).to_owned(), value.clone());
        }
        Ok(self.wanted.here.iter().copied().collect())
    }

    fn forget(&mut self, found: &[&str]) {
        found.iter().for_each(|pointer| drop(self.fields.0.remove(*pointer)));
    }
}

impl<'de, 'p> DeserializeSeed<'de> for Seek<'_, 'p> {
    type Value = Found<'p>;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Found<'p>, D::Error> {
        if self.wanted.here.is_empty() {
            return match self.wanted.below.is_empty() {
                true => IgnoredAny::deserialize(deserializer).map(|_| Found::new()),
                false => deserializer.deserialize_any(self),
            };
        }
        let raw = <&RawValue>::deserialize(deserializer)?;
        let mut found = self.keep(raw).map_err(D::Error::custom)?;
        if !self.wanted.below.is_empty() {
            let below = serde_json::Deserializer::from_str(raw.get()).deserialize_any(self);
            found.extend(below.map_err(D::Error::custom)?);
        }
        Ok(found)
    }
}

impl<'de, 'p> Visitor<'de> for Seek<'_, 'p> {
    type Value = Found<'p>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Found<'p>, A::Error> {
        let mut found: BTreeMap<String, Found<'p>> = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let Some(wanted) = self.wanted.below.get(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // What was found under a name that comes again does not count any more.
            self.forget(found.get(&name).map(Vec::as_slice).unwrap_or_default());
            let seek = Seek { wanted, fields: &mut *self.fields };
            let here = map.next_value_seed(seek)?;
            found.insert(name, here);
        }
        Ok(found.into_values().flatten().collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found<'p>, A::Error> {
        let (nothing, places, mut found) = (Wanted::default(), self.wanted.below_index(), Found::new());
        for place in 0.. {
            let wanted = places.get(&place).copied().unwrap_or(&nothing);
            match list.next_element_seed(Seek { wanted, fields: &mut *self.fields })? {
                Some(here) => found.extend(here),
                None => break,
            }
        }
        Ok(found)
    }

    // Nothing stands below a scalar.
    fn visit_bool<E>(self, _: bool) -> Result<Found<'p>, E> {
        Ok(Found::new())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found<'p>, E> {
        Ok(Found::new())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found<'p>, E> {
        Ok(Found::new())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found<'p>, E> {
        Ok(Found::new())
    }

    fn visit_str<E>(self, _: &str) -> Result<Found<'p>, E> {
        Ok(Found::new())
    }

    fn visit_unit<E>(self) -> Result<Found<'p>, E> {
        Ok(Found::new())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(text: &str, pointer: &str) -> Option<Value> {
        Fields::read(text.as_bytes(), [pointer])?.get(pointer).cloned()
    }

    #[test]
    fn a_field_is_found_wherever_it_stands() {
        let text = r#"{"a": {"b": [1, {"c/d": "x", "~": null}]}, "": true, "n": 1.5}"#;
        for (pointer, expected) in [
            ("/a/b/0", json!(1)),
            ("/a/b/1/c~1d", json!("x")),
            ("/a/b/1/~0", json!(null)),
            ("/", json!(true)),
            ("/n", json!(1.5)),
            ("/a", json!({})),
            ("/a/b", json!([])),
        ] {
            assert_eq!(at(text, pointer), Some(expected), "{pointer}");
        }
        for absent in ["/b", "/a/b/2", "/a/b/01", "/a/b/+1", "/a/b/-", "/n/x", "/a/b/0/x", "n", "a/n"] {
            assert_eq!(at(text, absent), None, "{absent}");
        }
    }

    #[test]
    fn pointers_one_below_the_other_are_both_found() {
        let fields = Fields::read(br#"{"a": {"b": {"c": 1}}}"#, ["/a/b/c", "/a", "/a/b", "/x"]).unwrap();
        let found = ["/a", "/a/b", "/a/b/c", "/x"].map(|pointer| fields.get(pointer).cloned());
        assert_eq!(found, [Some(json!({})), Some(json!({})), Some(json!(1)), None]);
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_counts_with_all_below_it() {
        assert_eq!(at(r#"{"a": {"b": 1}, "a": {"c": 2}}"#, "/a/b"), None);
        assert_eq!(at(r#"{"a": 1, "a": {"b": 2}}"#, "/a/b"), Some(json!(2)));
        let fields = Fields::read(br#"{"a": {"b": [1, 2]}, "a": {"b": [3]}}"#, ["/a/b/0", "/a/b/1", "/a/b"]).unwrap();
        let found = ["/a/b/0", "/a/b/1", "/a/b"].map(|pointer| fields.get(pointer).cloned());
        assert_eq!(found, [Some(json!(3)), None, Some(json!([]))]);
    }

    #[test]
    fn what_is_not_json_has_no_fields_even_behind_the_one_that_was_asked_for() {
        for text in ["", "{", "a=b", r#"{"a": 1"#, r#"{"a": 1} x"#, r#"{"a": 1, "b": }"#, "\u{feff}{}"] {
            assert_eq!(Fields::read(text.as_bytes(), ["/a"]), None, "{text}");
        }
    }

    #[test]
    fn what_is_nested_deeply_is_passed_over() {
        let deep = format!(r#"{{"x": {}{}, "a": 1}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(at(&deep, "/a"), Some(json!(1)));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let name = "[ab/~01]{0,2}";
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(name, inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// It finds what serde_json's own pointers find in the whole tree.
        #[test]
        fn it_agrees_with_a_tree_of_everything(
            tree in any_json(),
            pointers in proptest::collection::vec("(/([ab]|0|1|~0|~1){0,2}){1,4}", 1..4),
        ) {
            let text = tree.to_string();
            // As serde_json reads numbers, which is not always to the last bit.
            let tree: Value = serde_json::from_str(&text).unwrap();
            let fields = Fields::read(text.as_bytes(), pointers.iter().map(String::as_str)).unwrap();
            for pointer in &pointers {
                let expected = tree.pointer(pointer).map(|value| match value {
                    Value::Array(_) => json!([]),
                    Value::Object(_) => json!({}),
                    scalar => scalar.clone(),
                });
                prop_assert_eq!(fields.get(pointer), expected.as_ref(), "{}", pointer);
            }
        }
    }
}
