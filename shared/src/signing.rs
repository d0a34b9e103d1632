//! Standard Webhooks signatures for what we send, with a secret per destination.
//!
//! A destination's secret follows from a master secret, which only the functions' configuration has, and from the secret's name,
//! which stands in the routes: no signing secret stands in the table, and one destination's secret says nothing about another's.
//! While masters are replaced there are several, and each signs.
//!
//! The official library signs text only; ours signs bytes, and the libraries check it in the tests.

use aws_lc_rs::{
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
    hmac,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::secret::Secret;

/// The master of the development stack. Everybody knows it.
pub const DEVELOPMENT_MASTER: &str = "whsec_c3VyZWhvb2stbG9jYWwtZGV2ZWxvcG1lbnQ=";
/// What tells these keys from others that may ever be derived from the same master.
const SALT: &[u8] = b"surehook destination secrets/1";
/// Bytes of a destination's secret. Source: Standard Webhooks, "Signature scheme": 24 to 64.
const SECRET_BYTES: usize = 32;
const PREFIX: &str = "whsec_";

/// The master secrets, the current one first.
#[derive(Clone)]
pub struct SigningSecrets(Vec<Prk>);

impl std::fmt::Debug for SigningSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SigningSecrets({})", self.0.len())
    }
}

/// Why master secrets can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// There is none.
    #[error(
        "is missing: the master secret that your destinations' secrets follow from. Make one: echo whsec_$(openssl rand -base64 32)"
    )]
    Missing,
    /// Not what Standard Webhooks asks of a secret.
    #[error("must be whsec_ and the base64 of 24 to 64 bytes, separated by commas where there are several")]
    Malformed,
}

struct SecretLength;

impl KeyType for SecretLength {
    fn len(&self) -> usize {
        SECRET_BYTES
    }
}

impl SigningSecrets {
    /// Takes master secrets as they are configured.
    pub fn new(masters: &[Secret]) -> Result<Self, BadSecret> {
        if masters.is_empty() {
            return Err(BadSecret::Missing);
        }
        masters.iter().map(extracted).collect::<Result<_, _>>().map(Self)
    }

    /// A secret by its name, as its receiver is told it: one per master, the current first.
    pub fn named(&self, name: &str) -> Vec<Secret> {
        let text = |key: [u8; SECRET_BYTES]| Secret::new(format!("{PREFIX}{}", STANDARD.encode(key)));
        self.keys(name).filter_map(text).collect()
    }

    /// The `webhook-signature` header of one message: `v1,<base64>` for each of these secrets and each master, separated by
    /// spaces.
    pub fn sign(&self, names: &[String], id: &str, timestamp: i64, body: &[u8]) -> String {
        let signature = |key: [u8; SECRET_BYTES]| {
            let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        let signatures: Vec<String> = names.iter().flat_map(|name| self.keys(name)).map(signature).collect();
        signatures.join(" ")
    }

    /// HKDF (RFC 5869) of each master, with the name as its information.
    pub(crate) fn keys(&self, name: &str) -> impl Iterator<Item = [u8; SECRET_BYTES]> {
        self.0.iter().filter_map(move |master| {
            let mut key = [0; SECRET_BYTES];
            // Neither can fail: the length is below what HKDF gives, and the buffer has it.
            master.expand(&[name.as_bytes()], SecretLength).ok()?.fill(&mut key).ok()?;
            Some(key)
        })
    }
}

fn extracted(master: &Secret) -> Result<Prk, BadSecret> {
    let encoded = master.expose().strip_prefix(PREFIX).ok_or(BadSecret::Malformed)?;
    let bytes = STANDARD.decode(encoded).map_err(|_bad| BadSecret::Malformed)?;
    if !(24..=64).contains(&bytes.len()) {
        return Err(BadSecret::Malformed);
    }
    Ok(Salt::new(HKDF_SHA256, SALT).extract(&bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const BODY: &[u8] = b"{\"a\":1}";

    fn secrets(texts: &[&str]) -> Result<SigningSecrets, BadSecret> {
        SigningSecrets::new(&texts.iter().map(|text| Secret::new(*text).unwrap()).collect::<Vec<_>>())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_official_library_makes_the_same_signature_with_the_secret_that_is_shown() {
        let ours = secrets(&[OLD]).unwrap();
        let shown = ours.named("shop");
        let theirs = standardwebhooks::Webhook::new(shown[0].expose()).unwrap();
        assert_eq!(
            ours.sign(&names(&["shop"]), "msg_1", 1_790_000_000, BODY),
            theirs.sign("msg_1", 1_790_000_000, BODY).unwrap()
        );
    }

    #[test]
    fn a_name_and_a_master_are_one_secret_for_ever() {
        // Receivers hold these: a derivation that changed would lock all of them out.
        let shown = secrets(&[OLD]).unwrap().named("shop")[0].expose().to_owned();
        assert_eq!(shown, "whsec_IMd8xPS3EILOqyRgyAsGmte5EtE+mjKB/kpSFNeoDPQ=");
    }

    #[test]
    fn each_name_and_each_master_has_a_secret_of_its_own() {
        let both = secrets(&[NEW, OLD]).unwrap();
        let shown = |name: &str| both.named(name).iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>();
        let all: BTreeSet<String> = [shown("shop"), shown("shop2"), shown("")].concat().into_iter().collect();
        assert_eq!(all.len(), 6);
        assert_eq!(shown("shop")[1], secrets(&[OLD]).unwrap().named("shop")[0].expose(), "the older stays what it was");
    }

    #[test]
    fn every_secret_signs_while_one_is_replaced() {
        let signed = |masters: &[&str], labels: &[&str]| {
            let text = secrets(masters).unwrap().sign(&names(labels), "m", 1, BODY);
            text.split(' ').map(str::to_owned).collect::<Vec<_>>()
        };
        let all = signed(&[NEW, OLD], &["shop-2", "shop"]);
        assert_eq!(all.len(), 4);
        assert!(all.contains(&signed(&[OLD], &["shop"])[0]), "who has the old secret still believes us");
        assert!(all.contains(&signed(&[NEW], &["shop-2"])[0]));
    }

    #[test]
    fn short_and_unreadable_masters_are_refused() {
        for bad in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_abcd", "whsec_!!!"] {
            assert_eq!(secrets(&[bad]).unwrap_err(), BadSecret::Malformed, "{bad}");
        }
        assert_eq!(secrets(&[]).unwrap_err(), BadSecret::Missing);
    }

    #[test]
    fn debug_shows_nothing_of_a_master() {
        assert_eq!(format!("{:?}", secrets(&[OLD, NEW]).unwrap()), "SigningSecrets(2)");
    }
}
