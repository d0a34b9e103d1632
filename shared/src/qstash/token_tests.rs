use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_790_000_000;
const URL: &str = "https://h.example/strapi?x=1";
const BODY: &[u8] = br#"{"event":"entry.create"}"#;

fn keys() -> SigningKeys {
    SigningKeys::new(vec![key("sig_current"), key("sig_next")]).unwrap()
}

fn key(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn check(token: &str) -> Result<Verified, Refusal> {
    verify(&keys(), Some(token), &[EndpointUrl::parse(URL).unwrap()], Bytes::from_static(BODY), NOW)
}

fn refusal(token: &str) -> &'static str {
    check(token).unwrap_err().word()
}

fn claims() -> Value {
    json!({"iss": "Upstash", "sub": URL, "iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": "jwt_1",
        "body": Sha256::of(BODY).base64url()})
}

fn token_with(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn token(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims();
    change(&mut claims);
    token_with(Algorithm::HS256, "sig_current", &claims)
}

#[test]
fn what_sign_makes_verify_accepts() {
    for secret in ["sig_current", "sig_next"] {
        let verified = check(&sign(&key(secret), URL, BODY, NOW, "1")).unwrap();
        assert_eq!(verified.url().to_string(), URL);
        assert_eq!(verified.body(), BODY);
    }
}

#[test]
fn foreign_key_is_refused() {
    assert_eq!(refusal(&sign(&key("sig_other"), URL, BODY, NOW, "1")), "signature");
}

#[test]
fn missing_and_empty_tokens_are_refused() {
    for token in [None, Some("")] {
        let refused = verify(&keys(), token, &[], Bytes::new(), NOW).unwrap_err();
        assert_eq!(refused.word(), "missing");
    }
}

#[test]
fn malformed_tokens_are_refused() {
    for token in ["a", "a.b", "a.b.c", "a.b.c.d", "..", "a..c", "é.é.é"] {
        assert_eq!(refusal(token), "malformed", "{token}");
    }
}

#[test]
fn other_algorithms_are_refused() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(refusal(&token_with(algorithm, "sig_current", &claims())), "algorithm");
    }
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let good = token(|_| {});
    let rest = good.split_once('.').unwrap().1;
    assert!(matches!(refusal(&format!("{none}.{rest}")), "algorithm" | "malformed"));
}

#[test]
fn critical_extensions_are_refused() {
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["exp".into()]);
    let token = encode(&header, &claims(), &EncodingKey::from_secret(b"sig_current")).unwrap();
    assert_eq!(refusal(&token), "algorithm");
}

#[test]
fn issuer_must_be_upstash_and_a_string() {
    assert_eq!(refusal(&token(|c| c["iss"] = json!("upstash"))), "issuer");
    assert_eq!(refusal(&token(|c| c["iss"] = json!(["Upstash"]))), "claims");
    assert_eq!(refusal(&token(|c| drop(c.as_object_mut().unwrap().remove("iss")))), "claims");
}

#[test]
fn expired_token_is_refused_at_the_second_it_expires() {
    assert!(check(&token(|c| c["exp"] = json!(NOW + 1))).is_ok());
    assert_eq!(refusal(&token(|c| c["exp"] = json!(NOW))), "expired");
    assert_eq!(refusal(&token(|c| c["exp"] = json!(NOW.to_string()))), "claims");
    assert_eq!(refusal(&token(|c| drop(c.as_object_mut().unwrap().remove("exp")))), "claims");
}

#[test]
fn not_before_may_be_zero_absent_or_a_little_ahead() {
    assert!(check(&token(|c| c["nbf"] = json!(0))).is_ok());
    assert!(check(&token(|c| drop(c.as_object_mut().unwrap().remove("nbf")))).is_ok());
    assert!(check(&token(|c| c["nbf"] = json!(NOW + 5))).is_ok());
    assert_eq!(refusal(&token(|c| c["nbf"] = json!(NOW + 6))), "not-yet-valid");
}

#[test]
fn token_for_another_url_is_refused() {
    for other in ["https://h.example/strapi", "https://h.example/other?x=1", "https://evil.example/strapi?x=1", ""] {
        assert_eq!(refusal(&token(|c| c["sub"] = json!(other))), "subject", "{other}");
    }
}

#[test]
fn token_for_another_body_is_refused() {
    assert_eq!(refusal(&token(|c| c["body"] = json!(Sha256::of(b"{}").base64url()))), "body");
    assert_eq!(refusal(&token(|c| c["body"] = json!(""))), "body");
    assert_eq!(refusal(&token(|c| c["body"] = json!(7))), "claims");
}

#[test]
fn unknown_claims_are_ignored() {
    assert!(check(&token(|c| c["aud"] = json!("x"))).is_ok());
}

proptest! {
    #[test]
    fn no_token_with_an_altered_byte_is_accepted(at in 0_usize..1_000, byte in 0_u8..128) {
        let good = sign(&key("sig_current"), URL, BODY, NOW, "1");
        let mut bytes = good.clone().into_bytes();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(check(&String::from_utf8(bytes).unwrap()).is_err());
    }

    #[test]
    fn no_text_makes_the_verifier_panic(text in ".{0,200}") {
        prop_assert!(check(&text).is_err());
    }
}

fn keys_of_two_regions() -> SigningKeys {
    let pair = |region, current, next| RegionKeys { region: Some(region), keys: vec![key(current), key(next)] };
    let regions =
        vec![pair(Region::UsEast1, "sig_us", "sig_us_next"), pair(Region::EuCentral1, "sig_eu", "sig_eu_next")];
    SigningKeys::of_regions(regions).unwrap()
}

#[test]
fn keys_of_every_region_verify_whatever_region_a_delivery_names() {
    let allowed = [EndpointUrl::parse(URL).unwrap()];
    for (secret, region, is_next) in [
        ("sig_us", Region::UsEast1, false),
        ("sig_us_next", Region::UsEast1, true),
        ("sig_eu", Region::EuCentral1, false),
        ("sig_eu_next", Region::EuCentral1, true),
    ] {
        let token = sign(&key(secret), URL, BODY, NOW, "1");
        for hint in [None, Some(Region::UsEast1), Some(Region::EuCentral1)] {
            let body = Bytes::from_static(BODY);
            let verified = verify_hinted(&keys_of_two_regions(), hint, Some(&token), &allowed, body, NOW).unwrap();
            assert_eq!((verified.region(), verified.is_by_next_key()), (Some(region), is_next), "{secret}, {hint:?}");
        }
    }
}

#[test]
fn a_named_region_makes_no_foreign_key_good() {
    let token = sign(&key("sig_other"), URL, BODY, NOW, "1");
    for hint in [None, Some(Region::UsEast1), Some(Region::EuCentral1)] {
        let allowed = [EndpointUrl::parse(URL).unwrap()];
        let body = Bytes::from_static(BODY);
        let refused = verify_hinted(&keys_of_two_regions(), hint, Some(&token), &allowed, body, NOW).unwrap_err();
        assert_eq!(refused.word(), "signature");
    }
}

#[test]
fn the_keys_of_the_named_region_are_tried_first() {
    let keys = keys_of_two_regions();
    let first = |hint| keys.in_order(hint).next().map(|(region, _, _)| region.unwrap());
    assert_eq!(first(None), Some(Region::UsEast1), "as they are configured");
    assert_eq!(first(Some(Region::EuCentral1)), Some(Region::EuCentral1));
    assert_eq!(keys.in_order(Some(Region::EuCentral1)).count(), 4);
}
