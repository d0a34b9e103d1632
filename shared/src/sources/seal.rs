//! The producer's verdict, which travels with the event.
//!
//! A sender is judged once, when its event arrives at the producer's door. The event may reach the consumer hours later, from
//! the outbox or after an outage, when its timestamp is old and its sender's secret may have been replaced. So the producer
//! seals what it has judged: source, time of arrival and body, with a key that only our functions have. QStash forwards the
//! seal as a header, and the consumer judges a sealed event no more.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Millis, digest::Sha256, signing::SigningSecrets};

/// The header that carries a seal: `<arrival in milliseconds>.<MAC>`. Destinations never see it.
pub const SEAL_HEADER: &str = "Surehook-Seal";
/// The name of the key. No secret of a destination can have it: names have neither spaces nor slashes.
const KEY: &str = "surehook seal/1";

/// Seals an event that arrived now, by the digest of its body.
pub fn seal(secrets: &SigningSecrets, source: &str, arrived: Millis, body: Sha256) -> Option<String> {
    let key = secrets.keys(KEY).next()?;
    let mac = context(&key, source, arrived, body).sign();
    Some(format!("{arrived}.{}", URL_SAFE_NO_PAD.encode(mac)))
}

/// When a sealed event arrived; `None` where no key of ours made the seal for this source and body.
pub fn open(secrets: &SigningSecrets, seal: &str, source: &str, body: Sha256) -> Option<Millis> {
    let (arrived, mac) = seal.split_once('.')?;
    let (arrived, mac) = (arrived.parse().ok()?, URL_SAFE_NO_PAD.decode(mac).ok()?);
    let fits = |key: [u8; 32]| {
        let made = context(&key, source, arrived, body).sign();
        aws_lc_rs::constant_time::verify_slices_are_equal(made.as_ref(), &mac).is_ok()
    };
    secrets.keys(KEY).any(fits).then_some(arrived)
}

/// Each part after its length, so that no two events have the same.
fn context(key: &[u8], source: &str, arrived: Millis, body: Sha256) -> hmac::Context {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(&(source.len() as u64).to_be_bytes());
    context.update(source.as_bytes());
    context.update(&arrived.to_be_bytes());
    context.update(body.as_bytes());
    context
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn body(text: &str) -> Sha256 {
        Sha256::of(text.as_bytes())
    }

    fn secrets(masters: &[&str]) -> SigningSecrets {
        SigningSecrets::new(&masters.iter().map(|text| Secret::new(*text).unwrap()).collect::<Vec<_>>()).unwrap()
    }

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    #[test]
    fn a_seal_opens_for_its_source_and_body_alone() {
        let ours = secrets(&[OLD]);
        let sealed = seal(&ours, "github", 1_790_000_000_000, body("{}")).unwrap();
        assert_eq!(open(&ours, &sealed, "github", body("{}")), Some(1_790_000_000_000));
        assert_eq!(open(&ours, &sealed, "stripe", body("{}")), None);
        assert_eq!(open(&ours, &sealed, "github", body("{ }")), None);
        assert_eq!(open(&ours, &sealed.replace("179", "178"), "github", body("{}")), None);
        assert_eq!(open(&secrets(&[NEW]), &sealed, "github", body("{}")), None);
        for bad in ["", ".", "1", "x.y", "1790000000000."] {
            assert_eq!(open(&ours, bad, "github", body("{}")), None, "{bad}");
        }
    }

    #[test]
    fn a_seal_outlives_the_replacement_of_the_master_while_both_are_known() {
        let sealed = seal(&secrets(&[OLD]), "github", 1, body("{}")).unwrap();
        assert_eq!(open(&secrets(&[NEW, OLD]), &sealed, "github", body("{}")), Some(1));
    }
}
