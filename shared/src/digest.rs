//! SHA-256, in the two spellings we need.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The SHA-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Hashes bytes as they are.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(&digest::digest(&digest::SHA256, bytes))
    }

    /// Hashes several parts, each after its length, so that `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self::finish(&context.finish())
    }

    fn finish(digest: &digest::Digest) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Lower-case hexadecimal, 64 characters.
    pub fn hex(&self) -> String {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// URL-safe base64 without padding, as QStash's `body` claim has it.
    pub fn base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Compares in constant time with a base64url text, padded or not. Anything that is not 32 bytes differs.
    pub fn matches_base64url(&self, text: &str) -> bool {
        match URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')) {
            Ok(bytes) => verify_slices_are_equal(&self.0, &bytes).is_ok(),
            Err(_) => false,
        }
    }

    /// A small number that spreads evenly, for sharding.
    pub fn shard(&self, shards: u8) -> u8 {
        self.0[31] % shards
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_body_has_the_documented_digest() {
        let empty = Sha256::of(b"");
        assert_eq!(empty.base64url(), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
        assert!(empty.matches_base64url("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="));
    }

    #[test]
    fn other_spellings_of_a_digest_do_not_match() {
        let digest = Sha256::of(b"");
        assert!(!digest.matches_base64url("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="));
        assert!(!digest.matches_base64url(&digest.hex()));
        assert!(!digest.matches_base64url(""));
    }

    #[test]
    fn parts_are_told_apart_by_their_lengths() {
        assert_ne!(Sha256::of_parts(&[b"ab", b"c"]), Sha256::of_parts(&[b"a", b"bc"]));
    }
}
