//! Recipes: what is known of well-known senders. Each is one file in `shared/recipes/`: how its events are told apart, where their
//! type stands, how it signs, how large its events are, what it does when it is refused, and vectors that prove all of it.
//!
//! `surehook routes apply` writes what a recipe says into the compiled routes, so that no function reads a recipe.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

use super::{
    Place, Signature,
    place::{header_name, one_or_many},
    signature::{Algorithm, DEFAULT_TOLERANCE, Encoding, KeyForm, Template, TimestampPlace},
};
use crate::{identity::Identity, qstash::duration};

/// The files, by the recipes' names.
const FILES: [(&str, &str); 7] = [
    ("generic", include_str!("../../recipes/generic.toml")),
    ("github", include_str!("../../recipes/github.toml")),
    ("payload", include_str!("../../recipes/payload.toml")),
    ("standard-webhooks", include_str!("../../recipes/standard-webhooks.toml")),
    ("strapi", include_str!("../../recipes/strapi.toml")),
    ("stripe", include_str!("../../recipes/stripe.toml")),
    ("svix", include_str!("../../recipes/svix.toml")),
];

/// One file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Who sends so.
    pub about: String,
    /// Where its makers say so.
    pub docs: String,
    /// How events are told apart.
    #[serde(deserialize_with = "written")]
    pub identity: Identity,
    /// Where the parts of the type stand.
    #[serde(default, deserialize_with = "one_or_many")]
    pub event_type: Vec<Place>,
    /// How large events become.
    pub size: String,
    /// What the sender does when it is refused or gets no answer.
    pub retries: String,
    /// How it signs; without this it shows a bearer token.
    #[serde(default)]
    pub signature: Option<Scheme>,
    /// Requests that were really signed so.
    #[serde(rename = "vector")]
    pub vectors: Vec<Vector>,
}

/// A signature's scheme as it is written, in a recipe or over one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// The header that holds the MACs.
    pub header: Option<String>,
    /// The MAC's digest.
    pub algorithm: Option<Algorithm>,
    /// How the MAC is written.
    pub encoding: Option<Encoding>,
    /// What stands between the parts of the header.
    pub separator: Option<String>,
    /// What stands before each MAC.
    pub prefix: Option<String>,
    /// How a secret becomes a key.
    pub key: Option<KeyForm>,
    /// Where the timestamp stands.
    pub timestamp: Option<TimestampPlace>,
    /// Which bytes are signed.
    pub signed: Option<Template>,
    /// How far the timestamp may be from the time of arrival: a span, or `off`.
    pub tolerance: Option<String>,
}

/// A request, what signed it, and what is in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Where it is from.
    pub from: String,
    /// The secret or token.
    pub secret: String,
    /// When it arrived, in seconds since 1970.
    pub at: i64,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
    /// What the sender's scheme has beyond the recipe's.
    #[serde(default)]
    pub signature: Option<Scheme>,
    /// The id that the event has by its source, if it has one.
    #[serde(default)]
    pub id: Option<String>,
    /// The event's type.
    #[serde(default)]
    pub event_type: Option<String>,
}

/// Why a scheme is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecipe {
    /// Something that every signature has.
    #[error("signature needs {0}")]
    Lacks(&'static str),
    /// A name that no header can have.
    #[error("signature: \"{0}\" is not the name of a header")]
    Header(String),
    /// Not a span of time.
    #[error("signature: tolerance is a span such as \"5m\", or \"off\"")]
    Tolerance,
    /// Parts that do not fit together.
    #[error("signature: {0}")]
    Contradiction(&'static str),
}

fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Identity, D::Error> {
    let text = String::deserialize(deserializer)?;
    Identity::parse(&text).ok_or_else(|| D::Error::custom("not an identity"))
}

impl Recipe {
    /// The names of all recipes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    /// A recipe by its name. A file that can't be read would be a defect of this crate, and a test says so.
    pub fn named(name: &str) -> Option<Self> {
        let (_, file) = FILES.iter().find(|(known, _)| *known == name)?;
        toml::from_str(file).ok()
    }
}

impl Scheme {
    /// This scheme with what another says over it.
    pub fn with(&self, over: Option<&Self>) -> Self {
        let base = self.clone();
        let Some(over) = over.cloned() else { return base };
        Self {
            header: over.header.or(base.header),
            algorithm: over.algorithm.or(base.algorithm),
            encoding: over.encoding.or(base.encoding),
            separator: over.separator.or(base.separator),
            prefix: over.prefix.or(base.prefix),
            key: over.key.or(base.key),
            timestamp: over.timestamp.or(base.timestamp),
            signed: over.signed.or(base.signed),
            tolerance: over.tolerance.or(base.tolerance),
        }
    }

    /// The signature that it describes.
    pub fn compile(self) -> Result<Signature, BadRecipe> {
        let header = self.header.ok_or(BadRecipe::Lacks("header"))?;
        let signature = Signature {
            header: header_name(&header).ok_or(BadRecipe::Header(header))?,
            algorithm: self.algorithm.ok_or(BadRecipe::Lacks("algorithm: sha1, sha256, sha384 or sha512"))?,
            encoding: self.encoding.ok_or(BadRecipe::Lacks("encoding: hex or base64"))?,
            separator: self.separator.unwrap_or_default(),
            prefix: self.prefix.unwrap_or_default(),
            key: self.key.unwrap_or_default(),
            timestamp: self.timestamp,
            signed: self.signed.ok_or(BadRecipe::Lacks("signed, such as \"{body}\" or \"{timestamp}.{body}\""))?,
            tolerance_ms: tolerance(self.tolerance.as_deref())?,
        };
        signature.problem().map_or(Ok(signature), |problem| Err(BadRecipe::Contradiction(problem)))
    }
}

fn tolerance(text: Option<&str>) -> Result<Option<u64>, BadRecipe> {
    let span = match text {
        None => DEFAULT_TOLERANCE,
        Some("off") => return Ok(None),
        Some(text) => duration::parse(text).filter(|span| *span > Duration::ZERO).ok_or(BadRecipe::Tolerance)?,
    };
    u64::try_from(span.as_millis()).map(Some).map_err(|_long| BadRecipe::Tolerance)
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
