//! How QStash is reached and by which keys it signs, in one region or in two. Names are those of Upstash's SDKs.

use url::Url;

use super::{DEFAULT_QSTASH_URL, PLAIN_HTTP, Reader};
use crate::{
    qstash::{Account, Region, RegionKeys, SigningKeys, is_development_key},
    secret::Secret,
    web::is_safe_for_secrets,
};

/// The variable that names the region to publish to. Without it the plain names count and those of regions do not.
pub const REGION: &str = "QSTASH_REGION";

/// The variables of one account.
#[derive(Debug, PartialEq, Eq)]
pub struct QStashVariables {
    /// The region; `None` for the plain names.
    pub region: Option<Region>,
    /// Its host.
    pub url: &'static str,
    /// Its token.
    pub token: &'static str,
    /// The key that signs now, and the one that signs after the next rotation.
    pub keys: [&'static str; 2],
}

const PLAIN: QStashVariables = QStashVariables {
    region: None,
    url: "QSTASH_URL",
    token: "QSTASH_TOKEN",
    keys: ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"],
};
const EU_CENTRAL_1: QStashVariables = QStashVariables {
    region: Some(Region::EuCentral1),
    url: "EU_CENTRAL_1_QSTASH_URL",
    token: "EU_CENTRAL_1_QSTASH_TOKEN",
    keys: ["EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY", "EU_CENTRAL_1_QSTASH_NEXT_SIGNING_KEY"],
};
const US_EAST_1: QStashVariables = QStashVariables {
    region: Some(Region::UsEast1),
    url: "US_EAST_1_QSTASH_URL",
    token: "US_EAST_1_QSTASH_TOKEN",
    keys: ["US_EAST_1_QSTASH_CURRENT_SIGNING_KEY", "US_EAST_1_QSTASH_NEXT_SIGNING_KEY"],
};

impl QStashVariables {
    /// Returns the variables of a region, or the plain ones.
    pub fn of(region: Option<Region>) -> &'static Self {
        match region {
            None => &PLAIN,
            Some(Region::EuCentral1) => &EU_CENTRAL_1,
            Some(Region::UsEast1) => &US_EAST_1,
        }
    }

    fn names(&self) -> [&'static str; 4] {
        [self.url, self.token, self.keys[0], self.keys[1]]
    }

    fn default_url(&self) -> &'static str {
        self.region.map_or(DEFAULT_QSTASH_URL, Region::url)
    }

    /// Returns what a message says behind a missing variable. Another region is given up by unsetting the rest of it.
    fn meaning(&self, what: &str, own: Option<Region>) -> String {
        match self.region {
            Some(region) if self.region != own => {
                format!(
                    "{what}, because another variable of {region} is set; unset all of them once the region is empty"
                )
            }
            _ => what.to_owned(),
        }
    }
}

impl Reader<'_> {
    /// `QSTASH_URL` and `QSTASH_TOKEN`, or those of the region that `QSTASH_REGION` names: where to publish.
    pub fn qstash(&mut self) -> Option<(Url, Secret)> {
        let own = self.qstash_variables()?.remove(0);
        self.account(own, own.region).map(|account| (account.url, account.token))
    }

    /// Returns every account of QStash that is configured, the one to publish to first.
    pub fn qstash_accounts(&mut self) -> Option<Vec<Account>> {
        let variables = self.qstash_variables()?;
        let own = variables.first().and_then(|own| own.region);
        let accounts: Vec<_> = variables.into_iter().map(|variables| self.account(variables, own)).collect();
        accounts.into_iter().collect()
    }

    /// The signing keys of each account. On a real Lambda, which sets `AWS_LAMBDA_INITIALIZATION_TYPE`, the published keys of QStash's
    /// development server are refused.
    pub fn signing_keys(&mut self) -> Option<SigningKeys> {
        let variables = self.qstash_variables()?;
        let own = variables.first().and_then(|own| own.region);
        let mut regions: Vec<RegionKeys> = Vec::new();
        for variables in variables {
            let keys = self.keys_of(variables, own);
            self.check_distinct(variables, &keys, &regions);
            regions.push(RegionKeys { region: variables.region, keys });
        }
        SigningKeys::of_regions(regions)
    }

    /// The variables that count, the account to publish to first. An account beside it counts as soon as one of its variables is set.
    pub fn qstash_variables(&mut self) -> Option<Vec<&'static QStashVariables>> {
        let Some(text) = self.optional(REGION) else { return Some(vec![&PLAIN]) };
        let Some(own) = Region::parse(&text) else {
            self.problem(REGION, format!("is \"{text}\", but must be EU_CENTRAL_1 or US_EAST_1"));
            return None;
        };
        let others =
            Region::ALL.into_iter().filter(|region| *region != own).map(|region| QStashVariables::of(Some(region)));
        let others = others.filter(|other| other.names().into_iter().any(|name| self.is_set(name)));
        Some(std::iter::once(QStashVariables::of(Some(own))).chain(others).collect())
    }

    /// Returns whether a variable has a value, or names a secret that can't be had.
    fn is_set(&self, name: &str) -> bool {
        self.variables.get(name).map_or(true, |value| value.is_some_and(|value| !value.trim().is_empty()))
    }

    fn account(&mut self, variables: &QStashVariables, own: Option<Region>) -> Option<Account> {
        let url = self.qstash_url(variables);
        let meaning = variables.meaning("the token of your QStash account", own);
        let token = self.secret(variables.token, &meaning);
        Some(Account { region: variables.region, url: url?, token: token? })
    }

    fn qstash_url(&mut self, variables: &QStashVariables) -> Option<Url> {
        let text = self.optional(variables.url).unwrap_or_else(|| variables.default_url().to_owned());
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.path() == "/");
        let Some(url) = url else {
            let example = variables.default_url();
            self.problem(variables.url, format!("must be a host such as {example}, without a path"));
            return None;
        };
        let host_of = Region::ALL.into_iter().find(|region| region.has_host(&url));
        match (variables.region, host_of) {
            _ if !is_safe_for_secrets(&url) => {
                self.problem(variables.url, PLAIN_HTTP);
                None
            }
            (Some(region), Some(other)) if region != other => {
                self.problem(variables.url, format!("is {text}, which is the host of {other}"));
                None
            }
            _ => Some(url),
        }
    }

    fn keys_of(&mut self, variables: &QStashVariables, own: Option<Region>) -> Vec<Secret> {
        let meaning = variables.meaning("a signing key from the QStash console (Settings, Signing Keys)", own);
        variables.keys.into_iter().filter_map(|name| self.signing_key(name, &meaning)).collect()
    }

    fn signing_key(&mut self, name: &'static str, meaning: &str) -> Option<Secret> {
        let key = self.secret(name, meaning)?;
        if self.is_lambda() && is_development_key(key.expose()) {
            self.problem(name, "is a published key of QStash's development server: anybody could sign with it");
        }
        Some(key)
    }

    /// The keys tell which region a delivery comes from.
    fn check_distinct(&mut self, variables: &QStashVariables, keys: &[Secret], others: &[RegionKeys]) {
        let is_known = |key: &Secret| others.iter().any(|other| other.keys.contains(key));
        if keys.iter().any(is_known) {
            self.problem(variables.keys[0], "is a key of the other region: each region has keys of its own");
        }
    }
}

#[cfg(test)]
#[path = "qstash_tests.rs"]
mod tests;
