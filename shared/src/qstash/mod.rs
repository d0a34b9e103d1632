//! The wire protocol of Upstash QStash, as far as the functions speak it.
//!
//! [`token`] verifies and signs, [`client`] calls one [`region`] of QStash and [`clients`] several, at the [`Pace`] that its burst limit allows, [`publish`] has all options of a message, [`topic`] says what a topic lacks, [`callback`] reads failure callbacks, [`entry`] reads entries of
//! the dead-letter queue, [`log`] entries of its log, [`duration`] reads and writes its spans of time. Nothing else talks to QStash.

pub mod callback;
pub mod client;
pub mod clients;
pub mod duration;
pub mod entry;
mod key_ring;
pub mod lenient;
pub mod log;
mod pace;
pub mod publish;
pub mod region;
pub mod token;
pub mod topic;

pub use callback::FailureCallback;
pub use client::{Client, ClientError};
pub use clients::{Account, Clients};
pub use entry::DlqEntry;
pub use key_ring::KeyRing;
pub use log::LogEntry;
pub use pace::Pace;
pub use region::Region;
pub use token::{Refusal, RegionKeys, SigningKeys, Verified};

/// How keys begin that our own development server makes when they are rotated: they follow from its seed, so they can be guessed.
pub const DEVELOPMENT_KEY_PREFIX: &str = "sig_dev_hook";

/// Whether a key belongs to a development server, and so protects nothing.
pub fn is_development_key(key: &str) -> bool {
    DEVELOPMENT_KEYS.contains(&key) || key.starts_with(DEVELOPMENT_KEY_PREFIX)
}

/// The keys that QStash's development server publishes for its fixed users. Everybody knows them, so a real Lambda
/// function must refuse them. Source: Upstash, "Local development" page; the last pair is that of older builds.
pub const DEVELOPMENT_KEYS: [&str; 10] = [
    "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
    "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
    "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM",
    "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
    "sig_6jWGaWRxHsw4vMSPJprXadyvrybF",
    "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
    "sig_5T8FcSsynBjn9mMLBsXhpacRovJf",
    "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
    "sig_7RvLjqfZBvP5KEUimQCE1pvpLuou",
    "sig_7W3ZNbfKWk5NWwEs3U4ixuQ7fxwE",
];
