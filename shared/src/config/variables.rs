//! The variables that configure us, with the secrets that some of them only name.

use std::{collections::HashMap, fmt, sync::Arc};

use super::vault::{Reference, Vault};
use crate::outside;

/// Variables that hold a secret, and may name it instead.
pub const SECRETS: [&str; 12] = [
    "QSTASH_TOKEN",
    "QSTASH_CURRENT_SIGNING_KEY",
    "QSTASH_NEXT_SIGNING_KEY",
    "EU_CENTRAL_1_QSTASH_TOKEN",
    "EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY",
    "EU_CENTRAL_1_QSTASH_NEXT_SIGNING_KEY",
    "US_EAST_1_QSTASH_TOKEN",
    "US_EAST_1_QSTASH_CURRENT_SIGNING_KEY",
    "US_EAST_1_QSTASH_NEXT_SIGNING_KEY",
    "PRODUCER_TOKEN",
    "SIGNING_SECRETS",
    "SOURCE_SECRETS",
];

/// Those that hold signing keys, which are replaced without a deployment.
pub const SIGNING_KEYS: [&str; 6] = [
    "QSTASH_CURRENT_SIGNING_KEY",
    "QSTASH_NEXT_SIGNING_KEY",
    "EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY",
    "EU_CENTRAL_1_QSTASH_NEXT_SIGNING_KEY",
    "US_EAST_1_QSTASH_CURRENT_SIGNING_KEY",
    "US_EAST_1_QSTASH_NEXT_SIGNING_KEY",
];

/// Looks a variable up: in the environment, or in a table of a test.
type LookUp = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Variables as they stand, and what those that name a secret stand for.
#[derive(Clone)]
pub struct Variables {
    look_up: LookUp,
    /// What references stand for, or what is wrong with them.
    secrets: HashMap<&'static str, Result<String, String>>,
    vault: Option<Vault>,
}

impl fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Variables").field("references", &self.secrets.keys()).finish_non_exhaustive()
    }
}

impl Variables {
    /// Variables of which none names a secret.
    pub fn plain(look_up: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { look_up: Arc::new(look_up), secrets: HashMap::new(), vault: None }
    }

    /// The environment's, with the secrets that it names.
    pub async fn of_environment() -> Self {
        Self::resolved(outside::variable, Vault::connect).await
    }

    /// Variables with the secrets that they name. The vault is not asked, and not even built, where none is named.
    pub async fn resolved(
        look_up: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        vault: impl AsyncFnOnce() -> Vault,
    ) -> Self {
        let plain = Self::plain(look_up);
        if plain.references().is_empty() {
            return plain;
        }
        Self { vault: Some(vault().await), ..plain }.again(&SECRETS).await
    }

    /// The same variables, with the secrets that some of them name read anew.
    pub async fn again(&self, names: &[&str]) -> Self {
        let Some(vault) = &self.vault else { return self.clone() };
        let mut references = self.references();
        references.retain(|(name, _)| names.contains(name));
        let asked: Vec<Reference> = references.iter().map(|(_, reference)| reference.clone()).collect();
        let fetched = vault.fetch(&asked).await;
        let secret = |reference: &Reference| match fetched.get(reference) {
            Some(Ok(value)) => Ok(value.clone()),
            Some(Err(error)) => Err(format!("is {reference}, and {error}")),
            None => Err(format!("is {reference}, which was not answered")),
        };
        let mut variables = self.clone();
        variables.secrets.extend(references.iter().map(|(name, reference)| (*name, secret(reference))));
        variables
    }

    /// Returns the same variables, but for these names, whose values `look_up` knows.
    pub fn replacing(
        &self,
        names: &'static [&'static str],
        look_up: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let others = Arc::clone(&self.look_up);
        let look_up = move |name: &str| if names.contains(&name) { look_up(name) } else { others(name) };
        Self { look_up: Arc::new(look_up), ..self.clone() }
    }

    /// Whether secrets can be read anew.
    pub fn has_references(&self) -> bool {
        self.vault.is_some()
    }

    /// A variable's value, or what is wrong with the secret that it names.
    pub fn get(&self, name: &str) -> Result<Option<String>, String> {
        match (self.secrets.get(name), (self.look_up)(name)) {
            (Some(secret), _) => secret.clone().map(Some),
            // The name of a secret must never be taken for the secret.
            (None, Some(value)) if SECRETS.contains(&name) && Reference::parse(&value).is_some() => {
                Err(format!("is a reference ({value}) that nobody has resolved"))
            }
            (None, value) => Ok(value),
        }
    }

    fn references(&self) -> Vec<(&'static str, Reference)> {
        let named = |name: &'static str| Some((name, Reference::parse(&(self.look_up)(name)?)?));
        SECRETS.into_iter().filter_map(named).collect()
    }
}
