use super::*;

fn url(text: &str) -> EndpointUrl {
    EndpointUrl::parse(text).unwrap()
}

fn ours(text: &str) -> Endpoint {
    Endpoint::of(&url(text), &[url("https://a.example"), url("https://b.example/hooks")])
}

fn of<'a>(body: &'a str, message: &'a str) -> Delivered<'a> {
    Delivered::bare(body.as_bytes(), message)
}

fn key(endpoint: &Endpoint, recipe: &Identity, body: &str, message: &str) -> EventKey {
    identify(endpoint, recipe, of(body, message)).key
}

#[test]
fn a_new_domain_does_not_forget_what_is_done() {
    assert_eq!(ours("https://a.example/strapi?x=1"), ours("https://b.example/hooks/strapi?x=1"));
}

#[test]
fn qstash_parameters_are_no_part_of_the_endpoint() {
    let plain = ours("https://a.example/strapi?x=1");
    assert_eq!(ours("https://a.example/strapi?qstash_token=t&x=1&upstash-retries=3"), plain);
    assert_eq!(plain, Endpoint::Ours { source: "strapi".into(), path: "/strapi?x=1".into() });
}

#[test]
fn other_urls_are_foreign_and_whole() {
    assert_eq!(ours("https://c.example/strapi?x=1"), Endpoint::Foreign("https://c.example/strapi?x=1".into()));
    assert_eq!(ours("https://b.example/other"), Endpoint::Foreign("https://b.example/other".into()));
}

#[test]
fn two_endpoints_of_one_topic_keep_two_records() {
    let body = "{}";
    let one = key(&ours("https://a.example/strapi"), &Identity::Body, body, "m");
    assert_ne!(one, key(&ours("https://a.example/strapi?copy=2"), &Identity::Body, body, "m"));
}

#[test]
fn payloads_are_named_by_topic_and_id_whatever_else_changes() {
    let endpoint = ours("https://a.example/payload");
    let name = |body: &str| key(&endpoint, &Identity::Payload, body, "m");
    let first = name(r#"{"id":"1","topic":"t","eventType":"a","data":1,"timestamp":1}"#);
    assert_eq!(first, name(r#"{"id":"1","topic":"t","eventType":"a","data":1,"timestamp":2}"#));
    assert_ne!(first, name(r#"{"id":"1","topic":"u","eventType":"a","data":1}"#));
    assert_ne!(first, name(r#"{"id":"2","topic":"t","eventType":"a","data":1}"#));
}

#[test]
fn content_of_a_payload_is_its_type_and_data_only() {
    let endpoint = ours("https://a.example/payload");
    let content = |body: &str| identify(&endpoint, &Identity::Payload, of(body, "")).content;
    let first = content(r#"{"id":"1","eventType":"a","data":1,"timestamp":1}"#);
    assert_eq!(first, content(r#"{"id":"1","eventType":"a","data":1,"timestamp":2}"#));
    assert_ne!(first, content(r#"{"id":"1","eventType":"a","data":2,"timestamp":1}"#));
}

#[test]
fn malformed_bodies_have_a_key_all_the_same() {
    let endpoint = ours("https://a.example/strapi");
    for recipe in [Identity::Payload, Identity::Strapi] {
        let event = identify(&endpoint, &recipe, of("{", ""));
        assert!(event.malformed);
        assert_eq!(event.key.as_str().len(), 64);
    }
}

#[test]
fn a_pointer_that_finds_nothing_falls_back_to_the_body() {
    let endpoint = ours("https://a.example/other");
    let recipe = Identity::Pointer("/id".into());
    assert_eq!(key(&endpoint, &recipe, r#"{"id":7,"x":1}"#, "m"), key(&endpoint, &recipe, r#"{"id":7,"x":2}"#, "m"));
    assert_eq!(key(&endpoint, &recipe, "{}", "m"), key(&endpoint, &Identity::Body, "{}", "m"));
}

#[test]
fn a_header_names_an_event_and_the_body_does_where_it_is_missing() {
    let (endpoint, identity) = (ours("https://a.example/other"), Identity::parse("header:X-Delivery").unwrap());
    let named = |id: &'static str, body: &str| {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("x-delivery"), id.parse().unwrap())]);
        identify(&endpoint, &identity, Delivered::new(&headers, body.as_bytes(), "m")).key
    };
    assert_eq!(named("1", "{}"), named("1", "[]"));
    assert_ne!(named("1", "{}"), named("2", "{}"));
    assert_ne!(named("1", "{}"), key(&endpoint, &Identity::parse("/id").unwrap(), r#"{"id":"1"}"#, "m"));
    assert_eq!(named("", "{}"), key(&endpoint, &Identity::Body, "{}", "m"));
}

#[test]
fn the_message_recipe_tells_identical_bodies_apart() {
    let endpoint = ours("https://a.example/tick");
    assert_ne!(key(&endpoint, &Identity::Message, "{}", "m1"), key(&endpoint, &Identity::Message, "{}", "m2"));
}

#[test]
fn texts_are_cut_at_a_character() {
    assert_eq!(cut("aé".into(), 2), "a");
    assert_eq!(cut("aé".into(), 3), "aé");
}
