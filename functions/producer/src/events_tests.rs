use http::{HeaderMap, HeaderName};
use surehook::secret::Secret;

use super::*;

fn request(headers: &[(&'static str, &str)], body: &str) -> Incoming {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
    Incoming {
        method: "POST".into(),
        path: "/t".into(),
        query: String::new(),
        domain: None,
        headers,
        body: body.to_owned().into(),
        request_id: "r".into(),
    }
}

fn events_of(source: &Source, routes: Option<&Routes>, request: &Incoming) -> Result<Events, Outcome> {
    let seals = [Secret::new("a seal of these tests, and of nothing else").unwrap()];
    Posted { stack: "s", topic: "t", source, routes, request, now: 5, seals: &seals, fresh_id: "fresh" }.events()
}

fn payloads(headers: &[(&'static str, &str)], body: &str) -> Result<Events, Outcome> {
    events_of(&Source::built_in("payload").unwrap(), None, &request(headers, body))
}

fn one(events: Result<Events, Outcome>) -> OutboxRow {
    match events {
        Ok(Events::One(row)) => row,
        other => panic!("{other:?}"),
    }
}

fn batch(events: Result<Events, Outcome>) -> Vec<Result<OutboxRow, Outcome>> {
    match events {
        Ok(Events::Batch(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

fn compiled(document: &str) -> Routes {
    Routes::compile(document, &Routes::default()).unwrap()
}

fn header<'r>(row: &'r OutboxRow, name: &str) -> Option<&'r str> {
    let found = row.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

#[test]
fn data_is_published_byte_for_byte() {
    let row = one(payloads(&[("idempotency-key", "1")], r#"{"eventType":"a.b","data":{"n": 1.00}}"#));
    let expected = r#"{"id":"1","topic":"t","eventType":"a.b","data":{"n": 1.00},"timestamp":5,"retryCount":0}"#;
    assert_eq!(row.body, expected);
}

#[test]
fn what_can_not_be_an_event_is_refused_with_a_sentence() {
    for (body, part) in [
        ("", "eventType"),
        ("{}", "eventType"),
        (r#"{"eventType":" ","data":1}"#, "eventType"),
        (r#"{"eventType":1,"data":1}"#, "eventType"),
        ("{\"eventType\":\"a\",\"data\":1}\n{\"eventType\":\"a\",\"data\":1}", "application/x-ndjson"),
        (r#"{"eventType":"a","data":1,"more":2}"#, "unknown field `more`"),
        (r#"{"id":7,"eventType":"a","data":1}"#, "\"id\" (a string)"),
        ("[]", "no event"),
        ("[1", "not a JSON array"),
        (r#"{"id":"","eventType":"a","data":1}"#, "must not be empty"),
    ] {
        let refused = payloads(&[], body).unwrap_err();
        assert!(matches!(&refused, Outcome::BadRequest(sentence) if sentence.contains(part)), "{body}: {refused:?}");
    }
    let long = "x".repeat(257);
    assert!(payloads(&[("idempotency-key", &long)], r#"{"eventType":"a","data":1}"#).is_err());
}

#[test]
fn an_event_has_the_id_of_its_sender_or_a_fresh_one() {
    let body = r#"{"eventType":"a","data":1}"#;
    let own = r#"{"id":"own","eventType":"a","data":1}"#;
    assert_eq!(one(payloads(&[("idempotency-key", "key"), ("webhook-id", "hook")], body)).id, "key");
    assert_eq!(one(payloads(&[("webhook-id", "hook")], body)).id, "hook");
    assert_eq!(one(payloads(&[], own)).id, "own");
    assert_eq!(one(payloads(&[("idempotency-key", "own")], own)).id, "own");
    assert_eq!(one(payloads(&[], body)).id, "fresh");
    let whole = r#"{"id":"own","topic":"x","eventType":"a","data":1,"timestamp":1,"retryCount":0}"#;
    assert_eq!(one(payloads(&[], whole)).id, "own");
    let both = payloads(&[("idempotency-key", "key")], own).unwrap_err();
    assert!(matches!(both, Outcome::BadRequest(sentence) if sentence.contains("another than")));
}

#[test]
fn a_batch_is_an_array_or_one_event_a_line() {
    let array = r#" [{"eventType":"a","data":[1, 2]}, {"id":"own","eventType":"b","data":{"x": 1.0}}]"#;
    let lines =
        "{\"eventType\":\"a\",\"data\":[1, 2]}\r\n\n{\"id\":\"own\",\"eventType\":\"b\",\"data\":{\"x\": 1.0}}\n";
    let kind = [("content-type", "application/x-ndjson; charset=utf-8"), ("idempotency-key", "key")];
    for rows in [batch(payloads(&kind[1..], array)), batch(payloads(&kind, lines))] {
        let rows: Vec<OutboxRow> = rows.into_iter().map(Result::unwrap).collect();
        assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["key-0", "own"]);
        assert!(rows[1].body.windows(10).any(|part| part == b"{\"x\": 1.0}"), "byte for byte");
        assert_ne!(header(&rows[0], "upstash-deduplication-id"), header(&rows[1], "upstash-deduplication-id"));
    }
}

#[test]
fn each_event_of_a_batch_is_told_what_is_wrong_with_it() {
    let rows = batch(payloads(
        &[],
        r#"[{"id":"1","eventType":"a","data":1},{"id":"1","eventType":"b","data":1},{"data":1},7]"#,
    ));
    assert_eq!(rows.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, false]);
    let many = format!("[{}]", vec![r#"{"eventType":"a","data":1}"#; MOST_EVENTS + 1].join(","));
    assert!(matches!(payloads(&[], &many), Err(Outcome::BadRequest(sentence)) if sentence.contains("101")));
}

#[test]
fn deduplication_ids_tell_stacks_topics_ids_and_bodies_apart() {
    let id = |key: &str, body: &str| {
        let row = one(payloads(&[("idempotency-key", key)], body));
        header(&row, "upstash-deduplication-id").unwrap().to_owned()
    };
    let first = id("1", r#"{"eventType":"a","data":1}"#);
    assert_eq!(first, id("1", r#"{"eventType":"a","data":1}"#));
    assert_ne!(first, id("2", r#"{"eventType":"a","data":1}"#));
    assert_ne!(first, id("1", r#"{"eventType":"a","data":2}"#));
}

#[test]
fn a_raw_event_keeps_its_bytes_and_brings_what_names_and_types_it() {
    let routes = compiled(
        "[[source]]\nname = \"gh\"\nrecipe = \"github\"\nsecret = \"gh\"\n\
         [[route]]\nname = \"r\"\nsource = \"gh\"\nurl = \"https://x.example/\"\nforward = [\"X-More\", \"Authorization\"]\n",
    );
    let headers = [
        ("x-github-delivery", "d-1"),
        ("x-github-event", "push"),
        ("x-hub-signature-256", "sha256=00"),
        ("x-more", "more"),
        ("x-less", "less"),
        ("authorization", "Basic x"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let request = request(&headers, "payload=%7B%7D");
    let row = one(events_of(routes.source("gh").unwrap(), Some(&routes), &request));
    assert_eq!((row.id.as_str(), &row.body[..]), ("d-1", &b"payload=%7B%7D"[..]));
    assert_eq!(header(&row, "content-type"), Some("application/x-www-form-urlencoded"));
    for (name, value) in [headers[0], headers[1], headers[3]] {
        assert_eq!(header(&row, &format!("upstash-forward-{name}")), Some(value), "{name}");
    }
    assert_eq!(header(&row, "upstash-forward-x-less"), None);
    assert_eq!(header(&row, "upstash-forward-x-hub-signature-256"), None, "other endpoints of the topic could use it");
    assert_eq!(
        header(&row, "upstash-forward-authorization"),
        Some("Basic x"),
        "a route asks for it, and we don't use it"
    );
    assert!(header(&row, "upstash-forward-surehook-seal").unwrap().starts_with("5."));
}

#[test]
fn the_token_that_opened_our_door_goes_no_further() {
    let routes = compiled(
        "[[source]]\nname = \"x\"\nidentity = \"message\"\n\
         [[route]]\nname = \"r\"\nsource = \"x\"\nurl = \"https://x.example/\"\nforward = [\"Authorization\"]\n",
    );
    let request = request(&[("authorization", "Bearer secret"), ("idempotency-key", "k")], "");
    let row = one(events_of(routes.source("x").unwrap(), Some(&routes), &request));
    assert!(row.headers.iter().all(|(_, value)| !value.contains("secret")), "{:?}", row.headers);
    assert_eq!(
        header(&row, "upstash-forward-surehook-event"),
        Some("k"),
        "one event, whatever messages QStash makes of it"
    );
    assert_eq!(header(&row, "content-type"), None);
}

#[test]
fn what_is_not_strapis_is_told_at_the_door() {
    let strapi = Source::built_in("strapi").unwrap();
    assert!(matches!(events_of(&strapi, None, &request(&[], "{}")), Err(Outcome::BadRequest(_))));
    let event = r#"{"event":"entry.create","createdAt":"2026-01-01T00:00:00.000Z"}"#;
    assert_eq!(one(events_of(&strapi, None, &request(&[], event))).id, "fresh");
}

#[test]
fn an_id_at_a_json_pointer_that_is_too_long_to_be_echoed_is_answered_as_its_digest() {
    let routes = compiled("[[source]]\nname = \"x\"\nidentity = \"/id\"\n");
    let id_of = |id: &str| {
        let body = serde_json::json!({ "id": id }).to_string();
        one(events_of(routes.source("x").unwrap(), Some(&routes), &request(&[], &body))).id
    };
    assert_eq!(id_of(&"x".repeat(256)), "x".repeat(256));
    let digests = ["x".repeat(257), "y".repeat(300_000), "a\nb".to_owned()].map(|id| id_of(&id));
    for digest in &digests {
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    }
    assert_ne!(digests[0], digests[1]);
    assert_eq!(digests[0], id_of(&"x".repeat(257)), "a retry of the sender is the same event");
}
