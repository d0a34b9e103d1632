use super::*;

fn client() -> Client {
    let base = Url::parse("https://qstash.example/").unwrap();
    Client::new(base, Secret::new("t").unwrap(), Duration::from_secs(1)).unwrap()
}

#[test]
fn destinations_stand_raw_behind_the_path() {
    let url = |to| client().publish_url(&to).unwrap().to_string();
    assert_eq!(
        url(Destination::Url("https://h.example/a?b=c".into())),
        "https://qstash.example/v2/publish/https://h.example/a?b=c"
    );
    assert_eq!(url(Destination::Topic("a.b".into())), "https://qstash.example/v2/publish/a.b");
}

#[test]
fn an_empty_id_never_reaches_the_bulk_endpoint() {
    for bad in ["", ".", ".."] {
        assert!(client().url(&["v2", "dlq", bad]).is_err());
    }
    assert_eq!(client().url(&["v2", "dlq", "a/b"]).unwrap().path(), "/v2/dlq/a%2Fb");
}

#[test]
fn names_that_would_leave_their_place_are_refused() {
    for bad in ["", "..", "a/b", "a?b", "a b", "é"] {
        assert!(!is_name(bad), "{bad}");
    }
    assert!(is_name("strapi.create"));
}

#[test]
fn a_202_is_a_duplicate_even_if_the_body_does_not_say_so() {
    let answered = |status: u16, body: &str| {
        let published: Vec<Published> = serde_json::from_str(body).unwrap();
        let published = Published::under(StatusCode::from_u16(status).unwrap(), published);
        published.into_iter().map(|one| one.deduplicated).collect::<Vec<_>>()
    };
    assert_eq!(answered(202, r#"[{"messageId":"m"}]"#), [true]);
    assert_eq!(answered(201, r#"[{"messageId":"m"}]"#), [false]);
    assert_eq!(answered(200, r#"[{"messageId":"m","deduplicated":true}]"#), [true]);
    let mixed = r#"[{"messageId":"m","deduplicated":true},{"messageId":"n"}]"#;
    assert_eq!(answered(202, mixed), [true, false], "the body is exact where it names duplicates");
}
