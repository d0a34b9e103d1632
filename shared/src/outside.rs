//! The outside world: clock, environment, ids and chance.
//!
//! Only a `main` and the wiring next to it call these functions. Everything else takes their results as arguments, which
//! is what makes it testable without sleeping; clippy's `disallowed-methods` holds the rule.
#![allow(clippy::disallowed_methods, reason = "this is the one module that may touch the outside world")]

use std::time::{SystemTime, UNIX_EPOCH};

use crate::Millis;

/// The wall clock. A clock before 1970 reads as 0.
pub fn now() -> Millis {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(elapsed.as_millis()).unwrap_or(Millis::MAX)
}

/// An environment variable; absent, empty and not UTF-8 are all `None`, because none of them configures anything.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A fresh id that sorts by time (UUIDv7).
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// A draw in `[0, 1)`. Where the system gives no randomness, the middle: jitter is a courtesy, not a need.
pub fn draw() -> f64 {
    let mut bytes = [0_u8; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
