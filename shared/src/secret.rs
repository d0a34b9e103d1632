//! Values that must never be printed.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;

/// A token or key. `Debug` hides it, there is no `Display`, and comparing takes the same time wherever a guess goes wrong.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret; the empty string is refused, because an empty key verifies what anybody signs.
    pub fn new(value: impl Into<String>) -> Option<Self> {
        let value = value.into();
        (!value.trim().is_empty()).then_some(Self(value))
    }

    /// The secret itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares with a guess in constant time.
    pub fn matches(&self, guess: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), guess.as_bytes()).is_ok()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        let secret = Secret::new("sig_very_secret").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn empty_secrets_are_refused() {
        assert!(Secret::new("").is_none());
        assert!(Secret::new("  ").is_none());
    }

    #[test]
    fn only_the_whole_secret_matches() {
        let secret = Secret::new("abc").unwrap();
        assert!(secret.matches("abc"));
        assert!(!secret.matches("ab"));
        assert!(!secret.matches("abcd"));
    }
}
