//! The secrets of senders: `SOURCE_SECRETS`, a JSON object of names and secrets.
//!
//! The routes name them; the secrets themselves never stand in the table. While one is replaced its name has two.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::seal::SEAL_SECRET;
use crate::secret::Secret;

/// Characters of the secret that seals.
const SHORTEST_SEAL: usize = 24;

/// Names and their secrets, the current one first.
#[derive(Debug, Clone, Default)]
pub struct SourceSecrets(BTreeMap<String, Vec<Secret>>);

/// Why `SOURCE_SECRETS` can't be used. None quotes a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSecrets {
    /// Not a JSON object of texts and lists of texts.
    #[error(
        "must be a JSON object of names and secrets, such as {{\"github\": \"<secret>\", \"stripe\": [\"<new>\", \"<old>\"]}}"
    )]
    Malformed,
    /// An empty secret verifies what anybody signs.
    #[error("has an empty secret, or none, for \"{0}\"")]
    Empty(String),
    /// The seal's secret can be guessed.
    #[error("has a secret \"seal\" of less than 24 characters: make one with `openssl rand -hex 24`")]
    Short,
    /// A reference to a secret.
    #[error("has a reference to a secret for \"{0}\"; this version takes the secret itself")]
    Reference(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl SourceSecrets {
    /// Reads the variable.
    pub fn parse(text: &str) -> Result<Self, BadSecrets> {
        let named: BTreeMap<String, OneOrMany> =
            serde_json::from_str(text).map_err(|_quotes_it| BadSecrets::Malformed)?;
        let checked = named.into_iter().map(|(name, secrets)| Ok((name.clone(), secrets.checked(name)?)));
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether a sender has a secret of its own. The secret `seal` is the functions' own.
    pub fn has_senders(&self) -> bool {
        self.0.keys().any(|name| name != SEAL_SECRET)
    }

    /// The secrets of a name; none where it is not there.
    pub fn named(&self, name: &str) -> &[Secret] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

impl OneOrMany {
    fn checked(self, name: String) -> Result<Vec<Secret>, BadSecrets> {
        let texts = match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        };
        if texts.iter().any(|text| text.starts_with("ssm:") || text.starts_with("secretsmanager:")) {
            return Err(BadSecrets::Reference(name));
        }
        if name == SEAL_SECRET && texts.iter().any(|text| text.len() < SHORTEST_SEAL) {
            return Err(BadSecrets::Short);
        }
        let secrets: Option<Vec<Secret>> = texts.into_iter().map(Secret::new).collect();
        secrets.filter(|secrets| !secrets.is_empty()).ok_or(BadSecrets::Empty(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_secret_or_several() {
        let secrets = SourceSecrets::parse(r#"{"github": "a", "stripe": ["new", "old"]}"#).unwrap();
        let count = |name| secrets.named(name).len();
        assert_eq!((count("github"), count("stripe"), count("other")), (1, 2, 0));
        assert_eq!(secrets.named("stripe")[0].expose(), "new");
    }

    #[test]
    fn the_seal_is_no_senders_secret() {
        let has_senders = |text: &str| SourceSecrets::parse(text).unwrap().has_senders();
        let seal = "x".repeat(24);
        assert!(!has_senders("{}") && !has_senders(&format!("{{\"seal\": \"{seal}\"}}")));
        assert!(has_senders(&format!("{{\"seal\": \"{seal}\", \"cms\": \"a\"}}")));
    }

    #[test]
    fn what_can_not_be_used_is_refused_without_a_word_of_it() {
        for bad in ["", "[]", "s3cret", r#"{"a": 1}"#, r#"{"a": {"b": "s3cret"}}"#, r#"{"a": "s3cret"#] {
            let error = SourceSecrets::parse(bad).unwrap_err();
            assert_eq!(error, BadSecrets::Malformed, "{bad}");
            assert!(!error.to_string().contains("s3cret"));
        }
        for bad in [r#"{"a": ""}"#, r#"{"a": []}"#, r#"{"a": ["x", " "]}"#] {
            assert_eq!(SourceSecrets::parse(bad).unwrap_err(), BadSecrets::Empty("a".into()), "{bad}");
        }
    }

    #[test]
    fn a_seal_that_can_be_guessed_is_refused() {
        assert_eq!(SourceSecrets::parse(r#"{"seal": "short"}"#).unwrap_err(), BadSecrets::Short);
    }

    #[test]
    fn a_reference_is_not_taken_for_a_secret() {
        let error = SourceSecrets::parse(r#"{"a": ["x", "ssm:/name"]}"#).unwrap_err();
        assert_eq!(error, BadSecrets::Reference("a".into()));
    }

    #[test]
    fn debug_shows_no_secret() {
        let secrets = SourceSecrets::parse(r#"{"github": "s3cret"}"#).unwrap();
        assert!(!format!("{secrets:?}").contains("s3cret"));
    }
}
