//! QStash's signature: verify and sign, side by side.
//!
//! `Upstash-Signature` is a JWT (HS256) over the URL that is called and the digest of the body. The library checks the
//! header and the MAC; the claims are checked here, because its own checks accept a token without issuer, an issuer in an
//! array, and the second in which a token expires.

use bytes::Bytes;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode, errors::ErrorKind,
};
use serde::{Deserialize, Serialize};

use super::Region;
use crate::{digest::Sha256, secret::Secret, web::EndpointUrl};

const ISSUER: &str = "Upstash";
/// How long QStash's tokens live, in seconds. Each attempt has a token of its own.
pub const LIFETIME_SECONDS: i64 = 300;
/// How far our clock may be behind QStash's, in seconds, before a fresh token reads as not valid yet.
const NOT_BEFORE_TOLERANCE_SECONDS: i64 = 5;

/// The keys that are accepted, by region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeys(Vec<RegionKeys>);

/// The keys of one region, the current one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionKeys {
    /// The region; `None` where a stack names none.
    pub region: Option<Region>,
    /// The current key, then the next one.
    pub keys: Vec<Secret>,
}

impl SigningKeys {
    /// Takes at least one key of an account whose region is not named.
    pub fn new(keys: Vec<Secret>) -> Option<Self> {
        Self::of_regions(vec![RegionKeys { region: None, keys }])
    }

    /// Takes the keys of several regions, at least one key in all.
    pub fn of_regions(mut regions: Vec<RegionKeys>) -> Option<Self> {
        regions.retain(|region| !region.keys.is_empty());
        (!regions.is_empty()).then_some(Self(regions))
    }

    /// Returns all keys with their regions and their places, those of `hint` first.
    fn in_order(&self, hint: Option<Region>) -> impl Iterator<Item = (Option<Region>, usize, &Secret)> {
        let is_hinted = move |region: &&RegionKeys| hint.is_some() && region.region == hint;
        let (hinted, others) = (self.0.iter().filter(is_hinted), self.0.iter().filter(move |other| !is_hinted(other)));
        hinted
            .chain(others)
            .flat_map(|region| region.keys.iter().enumerate().map(move |(place, key)| (region.region, place, key)))
    }
}

/// Why a delivery is refused. The caller learns only that it is; the log learns which.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no `Upstash-Signature` header.
    #[error("the Upstash-Signature header is missing")]
    Missing,
    /// The token is not three non-empty parts with a readable header.
    #[error("the token is malformed")]
    Malformed(#[source] Option<jsonwebtoken::errors::Error>),
    /// The token names another algorithm than HS256, or critical extensions.
    #[error("the token's algorithm is not plain HS256")]
    Algorithm,
    /// No configured key made this MAC.
    #[error("none of the signing keys made this signature")]
    Signature,
    /// The claims are not the JSON that QStash signs.
    #[error("the token's claims are malformed")]
    Claims(#[source] jsonwebtoken::errors::Error),
    /// The issuer is not QStash.
    #[error("the issuer is not Upstash")]
    Issuer,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("the token is not valid yet: is our clock behind?")]
    NotYetValid,
    /// The token was made for another URL.
    #[error("the token was made for another URL: is CONSUMER_URL or REQUEUER_URL the URL that QStash calls?")]
    Subject,
    /// The token was made for another body.
    #[error("the token was made for another body")]
    Body,
}

impl Refusal {
    /// A word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Claims(_) => "claims",
            Self::Issuer => "issuer",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Subject => "subject",
            Self::Body => "body",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    body: String,
}

/// A URL and a body that QStash signed for us. Only [`verify`] makes one, so whoever holds it holds the proof.
#[derive(Debug, Clone)]
pub struct Verified {
    url: EndpointUrl,
    body: Bytes,
    digest: Sha256,
    signer: Signer,
}

/// The key that made a signature.
#[derive(Debug, Clone, Copy)]
struct Signer {
    region: Option<Region>,
    is_current: bool,
}

impl Verified {
    /// Whether another key than the current one made the signature, as after a rotation at QStash.
    pub fn is_by_next_key(&self) -> bool {
        !self.signer.is_current
    }

    /// The region whose key made the signature; `None` where the stack names no region.
    pub fn region(&self) -> Option<Region> {
        self.signer.region
    }

    /// The URL that was called, one of those that were allowed.
    pub fn url(&self) -> &EndpointUrl {
        &self.url
    }

    /// The body, byte for byte.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body's digest, which the signature covers.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }
}

/// Verifies one delivery: header, MAC with each key, then issuer, time, URL and body. `now` is in seconds.
pub fn verify(
    keys: &SigningKeys,
    token: Option<&str>,
    allowed: &[EndpointUrl],
    body: Bytes,
    now: i64,
) -> Result<Verified, Refusal> {
    verify_hinted(keys, None, token, allowed, body, now)
}

/// Verifies one delivery, with the keys of `hint` first. No signature covers the hint, so that it decides nothing else.
pub fn verify_hinted(
    keys: &SigningKeys,
    hint: Option<Region>,
    token: Option<&str>,
    allowed: &[EndpointUrl],
    body: Bytes,
    now: i64,
) -> Result<Verified, Refusal> {
    let token = token.filter(|token| !token.is_empty()).ok_or(Refusal::Missing)?;
    check_header(token)?;
    let (signer, claims) = check_mac(keys, hint, token)?;
    check_issuer_and_time(&claims, now)?;
    let url = check_subject(&claims, allowed)?;
    let digest = Sha256::of(&body);
    if !digest.matches_base64url(&claims.body) {
        return Err(Refusal::Body);
    }
    Ok(Verified { url, body, digest, signer })
}

fn check_header(token: &str) -> Result<(), Refusal> {
    let parts: Vec<&str> = token.split('.').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.is_empty()) {
        return Err(Refusal::Malformed(None));
    }
    let header = decode_header(token).map_err(|error| match error.kind() {
        ErrorKind::InvalidAlgorithmName | ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => {
            Refusal::Algorithm
        }
        _ => Refusal::Malformed(Some(error)),
    })?;
    if header.alg != Algorithm::HS256 || header.crit.is_some() {
        return Err(Refusal::Algorithm);
    }
    Ok(())
}

/// Every key is tried before a claim is looked at, so that an expired token reads as expired and not as forged.
fn check_mac(keys: &SigningKeys, hint: Option<Region>, token: &str) -> Result<(Signer, Claims), Refusal> {
    for (region, place, key) in keys.in_order(hint) {
        match decode::<Claims>(token, &DecodingKey::from_secret(key.expose().as_bytes()), &mac_only()) {
            Ok(data) => return Ok((Signer { region, is_current: place == 0 }, data.claims)),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
            Err(error) => return Err(Refusal::Claims(error)),
        }
    }
    Err(Refusal::Signature)
}

fn mac_only() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn check_issuer_and_time(claims: &Claims, now: i64) -> Result<(), Refusal> {
    if claims.iss != ISSUER {
        return Err(Refusal::Issuer);
    }
    if now >= claims.exp {
        return Err(Refusal::Expired);
    }
    if claims.nbf.is_some_and(|start| start > now.saturating_add(NOT_BEFORE_TOLERANCE_SECONDS)) {
        return Err(Refusal::NotYetValid);
    }
    Ok(())
}

fn check_subject(claims: &Claims, allowed: &[EndpointUrl]) -> Result<EndpointUrl, Refusal> {
    let subject = EndpointUrl::parse(&claims.sub).map_err(|_not_a_url| Refusal::Subject)?;
    if allowed.contains(&subject) { Ok(subject) } else { Err(Refusal::Subject) }
}

/// Signs as QStash does: for the development stack, for tests, and for `doctor`. `now` is in seconds; a token that can't
/// be encoded would be a defect of the library, so it is empty and refused.
pub fn sign(key: &Secret, url: &str, body: &[u8], now: i64, id: &str) -> String {
    sign_digest(key, url, &Sha256::of(body), now, id)
}

/// The same for whoever knows the body's digest already.
pub fn sign_digest(key: &Secret, url: &str, body: &Sha256, now: i64, id: &str) -> String {
    let claims = Claims {
        iss: ISSUER.to_owned(),
        sub: url.to_owned(),
        exp: now + LIFETIME_SECONDS,
        nbf: Some(now),
        iat: Some(now),
        jti: Some(format!("jwt_{id}")),
        body: body.base64url() + "=",
    };
    let key = EncodingKey::from_secret(key.expose().as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap_or_default()
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
