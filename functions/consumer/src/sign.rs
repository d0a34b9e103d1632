//! Standard Webhooks signatures for what we send.
//!
//! The official library signs text only; ours signs bytes, and the library checks it in the tests.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use surehook::secret::Secret;

/// The keys that sign our deliveries; several while one is being replaced.
#[derive(Clone)]
pub struct SigningSecrets(Vec<hmac::Key>);

impl std::fmt::Debug for SigningSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SigningSecrets({})", self.0.len())
    }
}

/// A secret that is not `whsec_` and base64 of at least 24 bytes, which is what Standard Webhooks asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("SIGNING_SECRETS must be whsec_ and the base64 of 24 to 64 bytes, separated by commas")]
pub struct BadSecret;

impl SigningSecrets {
    /// Takes secrets as they are configured.
    pub fn new(secrets: &[Secret]) -> Result<Self, BadSecret> {
        let key = |secret: &Secret| {
            let encoded = secret.expose().strip_prefix("whsec_").ok_or(BadSecret)?;
            let bytes = STANDARD.decode(encoded).map_err(|_bad| BadSecret)?;
            if (24..=64).contains(&bytes.len()) {
                Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
            } else {
                Err(BadSecret)
            }
        };
        secrets.iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// The `webhook-signature` header for one message: `v1,<base64>` per key, separated by spaces; `None` without keys.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let signature = |key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        let signatures: Vec<String> = self.0.iter().map(signature).collect();
        (!signatures.is_empty()).then(|| signatures.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn secrets(texts: &[&str]) -> Result<SigningSecrets, BadSecret> {
        SigningSecrets::new(&texts.iter().map(|text| Secret::new(*text).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn the_official_library_makes_the_same_signature() {
        let ours = secrets(&[SECRET]).unwrap().sign("msg_1", 1_790_000_000, b"{\"a\":1}").unwrap();
        let theirs =
            standardwebhooks::Webhook::new(SECRET).unwrap().sign("msg_1", 1_790_000_000, b"{\"a\":1}").unwrap();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn every_secret_signs_while_one_is_replaced() {
        let both = secrets(&[SECRET, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]).unwrap();
        assert_eq!(both.sign("m", 1, b"").unwrap().split(' ').count(), 2);
        assert_eq!(secrets(&[]).unwrap().sign("m", 1, b""), None);
    }

    #[test]
    fn short_and_unreadable_secrets_are_refused() {
        for bad in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_abcd", "whsec_!!!"] {
            assert_eq!(secrets(&[bad]).unwrap_err(), BadSecret, "{bad}");
        }
    }
}
