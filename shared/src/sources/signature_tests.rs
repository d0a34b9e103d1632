use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn signature(more: &str) -> Signature {
    let scheme: crate::sources::recipe::Scheme =
        toml::from_str(&format!("header = \"X-Sig\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\n{more}")).unwrap();
    scheme.compile().unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn mac(key: &str, text: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn each_way_to_be_wrong_has_its_reason() {
    let scheme =
        signature("separator = \",\"\nprefix = \"v1=\"\ntimestamp = \"part:t=\"\nsigned = \"{timestamp}.{body}\"");
    let good = format!("t=1700000000,v1={}", mac("k", "1700000000.{}"));
    let verify =
        |value: &str, body: &str| scheme.verify(&[secret("k")], &headers(&[("x-sig", value)]), body.as_bytes());
    assert_eq!(verify(&good, "{}"), Ok(Stamp(Some(1_700_000_000_000))));
    assert_eq!(verify(&good, "{ }"), Err(SenderRefusal::Mismatch));
    assert_eq!(verify(&good.replace("t=17", "t=16"), "{}"), Err(SenderRefusal::Mismatch));
    assert_eq!(verify(&good.replace("v1=", "v0="), "{}"), Err(SenderRefusal::Unreadable("x-sig".into())));
    assert_eq!(verify("t=1700000000,v1=xyz", "{}"), Err(SenderRefusal::Unreadable("x-sig".into())));
    assert_eq!(verify(&good.replace("t=", "u="), "{}"), Err(SenderRefusal::NoTimestamp));
    assert_eq!(verify(&good.replace("t=1700000000", "t=soon"), "{}"), Err(SenderRefusal::NoTimestamp));
    assert_eq!(verify("", "{}"), Err(SenderRefusal::NoHeader("x-sig".into())));
    assert_eq!(scheme.verify(&[], &headers(&[("x-sig", &good)]), b"{}"), Err(SenderRefusal::Mismatch));
    assert_eq!(scheme.verify(&[secret("k")], &HeaderMap::new(), b"{}"), Err(SenderRefusal::NoHeader("x-sig".into())));
}

#[test]
fn while_a_secret_is_replaced_both_are_believed_and_several_signatures_are_looked_at() {
    let scheme = signature("separator = \" \"\nsigned = \"{body}\"");
    let both = [secret("new"), secret("old")];
    for key in ["new", "old"] {
        assert!(scheme.verify(&both, &headers(&[("x-sig", &mac(key, "{}"))]), b"{}").is_ok(), "{key}");
        let several = format!("{} {}", mac("another", "{}"), mac(key, "{}"));
        assert!(scheme.verify(&[secret(key)], &headers(&[("x-sig", &several)]), b"{}").is_ok(), "{key}");
    }
    assert!(scheme.verify(&both, &headers(&[("x-sig", &mac("other", "{}"))]), b"{}").is_err());
}

#[test]
fn raw_bytes_are_signed_whatever_they_are() {
    let scheme = signature("signed = \"{body}\"");
    let body = [0xff, 0, b'\n', 0xc3];
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"k"), &body);
    let written: String = tag.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    assert!(scheme.verify(&[secret("k")], &headers(&[("x-sig", &written)]), &body).is_ok());
}

#[test]
fn a_timestamp_is_judged_by_when_the_event_first_arrived() {
    let scheme = signature("timestamp = \"header:x-time\"\nsigned = \"{timestamp}.{body}\"\ntolerance = \"5m\"");
    let at = |seconds: i64| Stamp(Some(seconds * 1_000));
    let judge = |arrived: i64, delay: u64| scheme.judge(at(10_000), arrived * 1_000, Duration::from_secs(delay));
    assert_eq!(judge(10_300, 0), Ok(()));
    assert_eq!(judge(10_301, 0), Err(SenderRefusal::Stale));
    assert_eq!(judge(10_301, 60), Ok(()));
    assert_eq!(judge(9_700, 0), Ok(()));
    assert_eq!(judge(9_699, 60), Err(SenderRefusal::Early));
    let off = Signature { tolerance_ms: None, ..scheme };
    assert_eq!(off.judge(at(1), i64::MAX, Duration::ZERO), Ok(()));
    assert_eq!(off.judge(Stamp(None), 1, Duration::ZERO), Ok(()));
}

#[test]
fn seconds_and_milliseconds_are_told_apart() {
    let scheme = signature("timestamp = \"header:x-time\"\nsigned = \"{timestamp}.{body}\"");
    for (written, expected) in [("1700000000", 1_700_000_000_000), ("1700000000123", 1_700_000_000_123)] {
        let value = mac("k", &format!("{written}.{{}}"));
        let found = scheme.verify(&[secret("k")], &headers(&[("x-sig", &value), ("x-time", written)]), b"{}");
        assert_eq!(found, Ok(Stamp(Some(expected))));
    }
    for bad in ["0", "-1", "1e9", "9223372036854775808"] {
        let found = scheme.verify(&[secret("k")], &headers(&[("x-sig", "00"), ("x-time", bad)]), b"{}");
        assert_eq!(found, Err(SenderRefusal::NoTimestamp), "{bad}");
    }
}

/// The sender signed `a.b` and a body, and somebody reads it as `a` and a body that begins with `b.`.
#[test]
fn a_header_that_holds_the_text_behind_it_is_refused() {
    let scheme = signature("signed = \"{header:x-id}.{body}\"");
    let verify = |id: &str, body: &str| {
        let value = mac("k", "a.b.{}");
        scheme.verify(&[secret("k")], &headers(&[("x-sig", &value), ("x-id", id)]), body.as_bytes())
    };
    assert_eq!(verify("a.b", "{}"), Err(SenderRefusal::Unreadable("x-id".into())));
    assert_eq!(verify("a", "b.{}"), Ok(Stamp(None)), "which is all that can be read");
}

#[test]
fn schemes_that_would_believe_anybody_are_refused() {
    let problem = |more: &str| {
        let text = format!("header = \"X-Sig\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\n{more}");
        toml::from_str::<crate::sources::recipe::Scheme>(&text)
            .map_err(|error| error.to_string())
            .and_then(|scheme| scheme.compile().map_err(|error| error.to_string()))
            .unwrap_err()
    };
    for (more, part) in [
        ("signed = \"{timestamp}\"", "{body}"),
        ("signed = \"{body}{body}\"", "{body}"),
        ("signed = \"{body\"", "{body}"),
        ("signed = \"{nonce}{body}\"", "{body}"),
        ("signed = \"{body}\"\ntimestamp = \"header:x-time\"", "anybody could choose"),
        ("signed = \"{timestamp}{body}\"\ntimestamp = \"header:x-time\"", "needs text between"),
        ("signed = \"{header:x-id}{body}\"", "needs text between"),
        ("signed = \"{timestamp}0{body}\"\ntimestamp = \"header:x-time\"", "needs text between"),
        ("signed = \"{timestamp}{body}\"", "does not say where"),
        ("signed = \"{timestamp}{body}\"\ntimestamp = \"t\"", "part:t="),
        ("signed = \"{timestamp}.{body}\"\ntimestamp = \"part:t=\"", "separator"),
        ("signed = \"{body}\"\ntolerance = \"soon\"", "tolerance"),
        ("", "needs signed"),
    ] {
        assert!(problem(more).contains(part), "{more}: {}", problem(more));
    }
}

#[test]
fn what_is_compiled_is_read_again_as_it_was() {
    let scheme = signature("timestamp = \"header:X-Time\"\nsigned = \"v0:{header:X-Id}:{timestamp}:{body}\"");
    let json = serde_json::to_string(&scheme).unwrap();
    assert_eq!(serde_json::from_str::<Signature>(&json).unwrap(), scheme, "{json}");
}
