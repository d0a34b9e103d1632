//! Headers that carry secrets, and which of them the table keeps.
//!
//! A *credential* authenticates any caller that presents it: a token, a password, a cookie. A *proof* is valid for the bytes of its own request
//! alone: a signature, the producer's seal. Both are hidden unless an operator reveals them. The table keeps proofs, because an event
//! that is replayed must still prove its sender, and a credential only if a version of the routes has forwarded it.

use std::collections::{BTreeMap, BTreeSet};

use super::Routes;
use crate::{
    qstash::lenient::{Headers, bare_name},
    web::shown_headers::is_shown,
};

/// Words that make a header a credential wherever they stand in its name.
const CREDENTIAL: [&str; 11] = [
    "token",
    "secret",
    "password",
    "passwd",
    "credential",
    "cookie",
    "session",
    "authorization",
    "authentication",
    "apikey",
    "jwt",
];
/// Ends of words that do: `x-auth`, `x-functions-key`, but not `x-author`.
const CREDENTIAL_ENDS: [&str; 2] = ["auth", "key"];
/// Words that make a header a proof.
const PROOF: [&str; 3] = ["signature", "hmac", "surehook-seal"];

/// Returns whether a header carries a credential, by its name. Headers that are printed without being asked for, such as
/// `idempotency-key` and `x-event-key`, carry none.
pub fn is_credential(name: &str) -> bool {
    let name = bare_name(name);
    let ends = |word: &str| CREDENTIAL_ENDS.iter().any(|end| word.ends_with(end));
    let is_named = CREDENTIAL.iter().any(|word| name.contains(word)) || name.split(['-', '_']).any(ends);
    is_named && !is_proof(&name) && !is_shown(&name)
}

fn is_proof(name: &str) -> bool {
    PROOF.iter().any(|word| name.contains(word))
}

/// Returns whether a header carries a credential or a proof, by its name.
pub fn is_secret(name: &str) -> bool {
    let name = bare_name(name);
    is_credential(&name) || is_proof(&name)
}

/// Returns headers without the values of those that are not kept. Their names stay, so that an operator sees what is missing.
pub fn without_values(headers: &Headers, keeps: impl Fn(&str) -> bool) -> Headers {
    let kept = |name: &String, values: &Vec<String>| if keeps(name) { values.clone() } else { Vec::new() };
    headers.iter().map(|(name, values)| (name.clone(), kept(name, values))).collect()
}

impl Routes {
    /// Returns whether a dead letter of a source keeps the value of a header. Credentials are kept only if a version of the routes has
    /// forwarded them, or if the source needs them to name an event or to verify its sender.
    pub fn keeps_header(&self, source: &str, name: &str) -> bool {
        let name = bare_name(name);
        let is_needed =
            || self.known(source).is_some_and(|source| source.needed_headers().any(|needed| needed == name));
        !is_credential(&name) || self.has_forwarded(source, &name) || is_needed()
    }

    /// Returns whether these routes or an earlier version forward a header of a source.
    fn has_forwarded(&self, source: &str, name: &str) -> bool {
        self.forwarded(source).contains(name)
            || self.credentials.get(source).is_some_and(|forwarded| forwarded.contains(name))
    }

    /// Returns the credentials that these routes and all versions before have forwarded, by source.
    pub(super) fn credentials_since(&self, previous: &Self) -> BTreeMap<String, BTreeSet<String>> {
        let mut all = previous.credentials.clone();
        for route in previous.routes.iter().chain(&self.routes) {
            let credentials = route.forward.iter().filter(|name| is_credential(name)).cloned();
            let mut credentials = credentials.peekable();
            if credentials.peek().is_some() {
                all.entry(route.source.clone()).or_default().extend(credentials);
            }
        }
        all
    }

    /// Returns the credentials that these routes use and that the routes before had dead letters stored without, each with its source.
    /// A route forwards them, or a source names and verifies its events by them.
    pub fn newly_kept(&self, previous: &Self) -> BTreeSet<(String, String)> {
        let forwarded = self.routes.iter().flat_map(|route| route.forward.iter().map(|name| (&route.source, name)));
        let needed = self.sources.iter().flat_map(|source| source.needed_headers().map(|name| (&source.name, name)));
        let used = forwarded.map(|(source, name)| (source.clone(), name.clone()));
        let used = used.chain(needed.map(|(source, name)| (source.clone(), name.to_owned())));
        used.filter(|(source, name)| !previous.keeps_header(source, name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "[[source]]\nname = \"s\"\nidentity = \"header:x-event-key\"\nsecret = \"s\"\n\
                          [source.signature]\nheader = \"x-proof-token\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\nsigned = \"{body}\"\n";

    fn route(forward: &str) -> String {
        format!(
            "{SOURCE}[[route]]\nname = \"r\"\nsource = \"s\"\nurl = \"https://x.example/\"\nforward = [{forward}]\n"
        )
    }

    fn compiled(forward: &str, previous: &Routes) -> Routes {
        Routes::compile(&route(forward), previous).unwrap()
    }

    #[test]
    fn credentials_and_proofs_are_known_by_their_names() {
        for name in [
            "Authorization",
            "Upstash-Forward-Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "X-Auth",
            "Apikey",
            "X-Api-Key",
            "X_Api_Key",
            "X-Access-Key",
            "X-Functions-Key",
            "X-Password",
            "X-Session-Id",
            "X-Gitlab-Token",
            "X-Credentials",
        ] {
            assert!(is_credential(name) && is_secret(name), "{name}");
        }
        for name in
            ["X-Hub-Signature-256", "X-Shopify-Hmac-Sha256", "Surehook-Seal", "Stripe-Signature", "X-Auth-Signature"]
        {
            assert!(!is_credential(name) && is_secret(name), "{name}");
        }
        for name in [
            "X-Tenant",
            "X-Author",
            "X-Keyword",
            "Idempotency-Key",
            "X-Authority",
            "X-Strapi-Event",
            "Content-Type",
            "Webhook-Id",
            "X-Event-Key",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_credential_is_kept_if_a_version_has_forwarded_it_or_its_source_needs_it() {
        let first = compiled("\"Authorization\"", &Routes::default());
        let second = compiled("", &first);
        let third = compiled("\"X-Api-Key\"", &second);
        let rolled_back = first.restored(&third).unwrap();
        for routes in [&first, &second, &third, &rolled_back] {
            for name in ["Upstash-Forward-Authorization", "x-event-key", "X-Proof-Token", "X-Tenant", "Surehook-Seal"] {
                assert!(routes.keeps_header("s", name), "{name}, version {}", routes.version);
            }
            assert!(!routes.keeps_header("s", "Cookie") && !routes.keeps_header("another", "Authorization"));
        }
        let kept = [&first, &second, &third, &rolled_back].map(|routes| routes.keeps_header("s", "X-Api-Key"));
        assert_eq!(kept, [false, false, true, true]);
    }

    #[test]
    fn the_same_document_compiles_to_the_same_routes() {
        let first = compiled("\"Authorization\"", &Routes::default());
        let second = compiled("\"Authorization\"", &first);
        assert_eq!(second, Routes { version: 2, ..first });
        assert!(!serde_json::to_string(&compiled("\"X-Tenant\"", &Routes::default())).unwrap().contains("credentials"));
    }

    #[test]
    fn a_route_that_forwards_a_header_that_was_dropped_is_found() {
        let first = compiled("", &Routes::default());
        let second = compiled("\"Authorization\", \"X-Tenant\"", &first);
        let newly = |routes: &Routes, previous: &Routes| routes.newly_kept(previous).into_iter().collect::<Vec<_>>();
        let of_s = |name: &str| ("s".to_owned(), name.to_owned());
        assert_eq!(newly(&second, &first), [of_s("authorization")]);
        let needed = [of_s("x-proof-token")];
        assert_eq!(newly(&first, &Routes::default()), needed, "letters may be older than their source");
        let third = compiled("", &second);
        assert_eq!(newly(&compiled("\"Authorization\"", &third), &third), [], "they were kept");
    }
}
