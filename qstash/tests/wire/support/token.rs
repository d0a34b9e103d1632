//! Tokens taken apart by hand: the library that signs them is not asked.

use aws_lc_rs::{digest as hash, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::receiver::Received;

fn parts(received: &Received) -> (String, Value, Vec<u8>) {
    let token = received.header("upstash-signature").unwrap();
    let (signed, mac) = token.rsplit_once('.').unwrap();
    let (_, payload) = signed.split_once('.').unwrap();
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    (signed.to_owned(), claims, URL_SAFE_NO_PAD.decode(mac).unwrap())
}

/// What the token of a delivery says.
pub(crate) fn claims(received: &Received) -> Value {
    parts(received).1
}

/// Whether the bytes of that key, never decoded, made the token.
pub(crate) fn is_signed_with(received: &Received, key: &str) -> bool {
    let (signed, _, mac) = parts(received);
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    hmac::verify(&key, signed.as_bytes(), &mac).is_ok()
}

/// The `body` claim of these bytes.
pub(crate) fn digest(body: &[u8]) -> String {
    URL_SAFE.encode(hash::digest(&hash::SHA256, body))
}
