//! Signatures of senders. Every scheme is data for one mechanism: which header holds the MACs and how it is taken apart, which
//! bytes are signed, and where the timestamp stands.
//!
//! | scheme | header | parts | signed |
//! |---|---|---|---|
//! | Standard Webhooks | `webhook-signature` | `v1,<base64>` between spaces | `{header:webhook-id}.{timestamp}.{body}` |
//! | GitHub | `X-Hub-Signature-256` | `sha256=<hex>` | `{body}` |
//! | Stripe | `Stripe-Signature` | `t=<time>` and `v1=<hex>` between commas | `{timestamp}.{body}` |
//!
//! The body is never copied or read: its raw bytes go through the MAC.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::{SenderRefusal, place};
use crate::{Millis, retry::millis, secret::Secret};

/// How far the timestamp may be from the time of arrival. Source: the libraries of Stripe and Standard Webhooks.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);
/// Numbers from here on are milliseconds: as seconds they would be in the year 5138.
const LEAST_MILLISECONDS: i64 = 100_000_000_000;

/// A scheme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The header that holds the MACs, in lower case.
    pub header: String,
    /// The MAC.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// What stands between the parts of the header; empty where it has one part.
    #[serde(default)]
    pub separator: String,
    /// What stands before each MAC.
    #[serde(default)]
    pub prefix: String,
    /// How a secret becomes a key.
    #[serde(default)]
    pub key: KeyForm,
    /// Where the timestamp stands; `None` where the sender gives none.
    #[serde(default)]
    pub timestamp: Option<TimestampPlace>,
    /// Which bytes are signed.
    pub signed: Template,
    /// How far the timestamp may be from the time of arrival, in milliseconds; `None` for any distance.
    #[serde(default)]
    pub tolerance_ms: Option<u64>,
}

/// A MAC: HMAC with this digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// For old senders. HMAC does not need the property that SHA-1 has lost.
    Sha1,
    /// What nearly everybody uses.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How a MAC is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// How a secret becomes a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyForm {
    /// Its bytes as they are.
    #[default]
    Text,
    /// Its base64 is decoded, behind `whsec_` where it has that.
    Base64,
}

/// Where the timestamp stands: `header:<name>`, or `part:<prefix>` of the signature's own header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TimestampPlace {
    /// A header of its own, in lower case.
    Header(String),
    /// The part of the signature's header that begins so.
    Part(String),
}

/// The signed bytes: text with `{body}`, `{timestamp}` and `{header:<name>}` in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Body,
    Timestamp,
    Header(String),
}

/// A text that is none of the above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadScheme {
    /// Not a template.
    #[error(
        "signed is a text with {{body}} in it once, and {{timestamp}} or {{header:X-Name}} where the sender signs them"
    )]
    Template,
    /// Not a place of a timestamp.
    #[error("timestamp is \"header:X-Name\", or \"part:t=\" for the part of the signature's header that begins so")]
    Timestamp,
}

/// When the sender says that it signed; `None` where its scheme has no timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(pub Option<Millis>);

impl Signature {
    /// Whether one of the secrets signed these bytes. When that was is the caller's to judge, with [`Signature::judge`].
    pub fn verify(&self, secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Stamp, SenderRefusal> {
        let value = text(headers, &self.header)?;
        let stamp = self.timestamp.as_ref().map(|place| self.stamp(place, headers, value)).transpose()?;
        let candidates = self.candidates(value);
        if candidates.is_empty() {
            return Err(SenderRefusal::Unreadable(self.header.clone()));
        }
        for secret in secrets {
            let Some(key) = self.key.of(secret) else { continue };
            let mac = self.mac(&key, headers, stamp, body)?;
            let fits = |candidate: &Vec<u8>| {
                aws_lc_rs::constant_time::verify_slices_are_equal(mac.as_ref(), candidate).is_ok()
            };
            if candidates.iter().any(fits) {
                return Ok(Stamp(stamp.map(|(at, _)| at)));
            }
        }
        Err(SenderRefusal::Mismatch)
    }

    /// Whether a timestamp is near the time at which the event first arrived. `delay` is how much longer the event may have been on
    /// its way.
    pub fn judge(&self, stamp: Stamp, arrived: Millis, delay: Duration) -> Result<(), SenderRefusal> {
        let (Stamp(Some(at)), Some(tolerance)) = (stamp, self.tolerance_ms) else { return Ok(()) };
        let tolerance = Millis::try_from(tolerance).unwrap_or(Millis::MAX);
        match arrived.saturating_sub(at) {
            age if age > tolerance.saturating_add(millis(delay)) => Err(SenderRefusal::Stale),
            age if age < tolerance.saturating_neg() => Err(SenderRefusal::Early),
            _ => Ok(()),
        }
    }

    /// Whether a header is among what is signed.
    pub fn covers(&self, header: &str) -> bool {
        self.signed.0.iter().any(|piece| matches!(piece, Piece::Header(name) if name == header))
    }

    /// The headers that it needs.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let of_timestamp = match &self.timestamp {
            Some(TimestampPlace::Header(name)) => Some(name.as_str()),
            _ => None,
        };
        let of_template = self.signed.0.iter().filter_map(|piece| match piece {
            Piece::Header(name) => Some(name.as_str()),
            _ => None,
        });
        std::iter::once(self.header.as_str()).chain(of_timestamp).chain(of_template)
    }

    /// What makes no sense about it: a timestamp that nobody signed is worth nothing.
    pub fn problem(&self) -> Option<&'static str> {
        match (&self.timestamp, self.signed.0.contains(&Piece::Timestamp)) {
            (Some(_), false) => Some("signed must have {timestamp} in it, or anybody could choose the timestamp"),
            (None, true) => Some("signed has {timestamp} in it, but timestamp does not say where that stands"),
            _ if self.signed.is_ambiguous() => Some(
                "signed needs text between its parts, which begins with something else than a digit: otherwise one could be read as another",
            ),
            (Some(TimestampPlace::Part(_)), true) if self.separator.is_empty() => {
                Some("timestamp is a part of the header, but separator does not say what stands between its parts")
            }
            _ => None,
        }
    }

    /// Returns the MACs of a request, as far as they are encoded as they should be.
    pub(super) fn macs_of(&self, headers: &HeaderMap) -> Vec<Vec<u8>> {
        text(headers, &self.header).map(|value| self.candidates(value)).unwrap_or_default()
    }

    /// Returns the time at which a request says that it was signed.
    pub(super) fn stamp_of(&self, headers: &HeaderMap) -> Result<Stamp, SenderRefusal> {
        let value = text(headers, &self.header)?;
        let stamp = self.timestamp.as_ref().map(|place| self.stamp(place, headers, value)).transpose()?;
        Ok(Stamp(stamp.map(|(at, _)| at)))
    }

    fn parts<'v>(&self, value: &'v str) -> Vec<&'v str> {
        match self.separator.as_str() {
            "" => vec![value.trim()],
            separator => value.split(separator).map(str::trim).collect(),
        }
    }

    fn candidates(&self, value: &str) -> Vec<Vec<u8>> {
        let written = self.parts(value).into_iter().filter_map(|part| part.strip_prefix(self.prefix.as_str()));
        written.filter_map(|written| self.encoding.decode(written)).collect()
    }

    /// The timestamp, and the text of it that was signed.
    fn stamp<'h>(
        &self,
        place: &TimestampPlace,
        headers: &'h HeaderMap,
        value: &'h str,
    ) -> Result<(Millis, &'h str), SenderRefusal> {
        let written = match place {
            TimestampPlace::Header(name) => text(headers, name)?,
            TimestampPlace::Part(prefix) => {
                let part = self.parts(value).into_iter().find_map(|part| part.strip_prefix(prefix.as_str()));
                part.ok_or(SenderRefusal::NoTimestamp)?
            }
        };
        let number: i64 = written.parse().map_err(|_none| SenderRefusal::NoTimestamp)?;
        let at = if number >= LEAST_MILLISECONDS { Some(number) } else { number.checked_mul(1_000) };
        at.filter(|at| *at > 0).map(|at| (at, written)).ok_or(SenderRefusal::NoTimestamp)
    }

    fn mac(
        &self,
        key: &[u8],
        headers: &HeaderMap,
        stamp: Option<(Millis, &str)>,
        body: &[u8],
    ) -> Result<hmac::Tag, SenderRefusal> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(self.algorithm.hmac(), key));
        for (at, piece) in self.signed.0.iter().enumerate() {
            match piece {
                Piece::Text(text) => context.update(text.as_bytes()),
                Piece::Body => context.update(body),
                Piece::Timestamp => context.update(stamp.map_or("", |(_, written)| written).as_bytes()),
                Piece::Header(name) => {
                    let value = text(headers, name)?;
                    // The text behind it would be found in it: it could end there or later.
                    if matches!(self.signed.0.get(at + 1), Some(Piece::Text(end)) if value.contains(end)) {
                        return Err(SenderRefusal::Unreadable(name.clone()));
                    }
                    context.update(value.as_bytes());
                }
            }
        }
        Ok(context.sign())
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, SenderRefusal> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.map(str::trim).filter(|value| !value.is_empty()).ok_or_else(|| SenderRefusal::NoHeader(name.to_owned()))
}

impl Algorithm {
    /// Returns the length of a MAC, in bytes.
    pub(super) fn mac_length(self) -> usize {
        self.hmac().tag_len()
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

impl Encoding {
    fn decode(self, written: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => from_hex(written),
            Self::Base64 => STANDARD.decode(written).ok(),
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

impl KeyForm {
    /// The key of a secret; `None` where the secret has not this form.
    pub fn of(self, secret: &Secret) -> Option<Vec<u8>> {
        let text = secret.expose();
        match self {
            Self::Text => Some(text.as_bytes().to_vec()),
            Self::Base64 => {
                let encoded = text.strip_prefix("whsec_").unwrap_or(text);
                STANDARD.decode(encoded).ok().filter(|key| !key.is_empty())
            }
        }
    }
}

impl TryFrom<String> for TimestampPlace {
    type Error = BadScheme;

    fn try_from(text: String) -> Result<Self, BadScheme> {
        if let Some(name) = text.strip_prefix(place::HEADER) {
            return place::header_name(name).map(Self::Header).ok_or(BadScheme::Timestamp);
        }
        match text.strip_prefix("part:") {
            Some(prefix) if !prefix.is_empty() => Ok(Self::Part(prefix.to_owned())),
            _ => Err(BadScheme::Timestamp),
        }
    }
}

impl From<TimestampPlace> for String {
    fn from(place: TimestampPlace) -> Self {
        match place {
            TimestampPlace::Header(name) => format!("{}{name}", place::HEADER),
            TimestampPlace::Part(prefix) => format!("part:{prefix}"),
        }
    }
}

impl Template {
    /// Whether the same bytes could come of other parts: a part ends where the text behind it begins.
    fn is_ambiguous(&self) -> bool {
        self.0.windows(2).any(|pair| match (&pair[0], &pair[1]) {
            (Piece::Text(_), _) => false,
            (_, Piece::Text(text)) => text.starts_with(|c: char| c.is_ascii_digit()),
            _ => true,
        })
    }
}

impl TryFrom<String> for Template {
    type Error = BadScheme;

    fn try_from(text: String) -> Result<Self, BadScheme> {
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or(BadScheme::Template)?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::named(name)?);
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let bodies = pieces.iter().filter(|piece| **piece == Piece::Body).count();
        if bodies == 1 { Ok(Self(pieces)) } else { Err(BadScheme::Template) }
    }
}

impl Piece {
    fn named(name: &str) -> Result<Self, BadScheme> {
        match name {
            "body" => Ok(Self::Body),
            "timestamp" => Ok(Self::Timestamp),
            _ => {
                let header = name.strip_prefix(place::HEADER).and_then(place::header_name);
                header.map(Self::Header).ok_or(BadScheme::Template)
            }
        }
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        let written = template.0.into_iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Body => "{body}".to_owned(),
            Piece::Timestamp => "{timestamp}".to_owned(),
            Piece::Header(name) => format!("{{{}{name}}}", place::HEADER),
        });
        written.collect()
    }
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
