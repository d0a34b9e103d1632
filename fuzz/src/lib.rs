//! What strangers may send us, as fuzz targets: each takes any bytes, and panics where a promise is broken.
//!
//! `cargo fuzz run --features libfuzzer <target>` looks for new inputs on a nightly compiler. The test `replay` runs the
//! committed corpus, and mutations of it, on every compiler.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use serde_json::Value;
use surehook::{
    digest::Sha256,
    identity::{Delivered, Endpoint, Identity, identify},
    json::{Fields, text_at},
    payload::Payload,
    qstash::{DlqEntry, FailureCallback, SigningKeys, duration, entry::DlqPage, token},
    routes::Routes,
    secret::Secret,
    sources::{Signature, Source, recipe::Recipe, seal::Sealed},
    web::{EndpointUrl, Incoming},
};

/// A fuzz target: any bytes in, a panic where a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 9] = [
    ("verifier", verifier),
    ("requests", requests),
    ("callbacks", callbacks),
    ("entries", entries),
    ("payloads", payloads),
    ("urls", urls),
    ("routes", routes),
    ("waits", waits),
    ("senders", senders),
];

const URL: &str = "https://hooks.example/strapi?x=1";
const NOW: i64 = 1_790_000_000;

fn key(text: &str) -> Secret {
    Secret::new(text).expect("a key that is not empty")
}

/// Two texts of the input, divided at its first zero byte.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}

/// Nothing but what was signed for this URL and this body is accepted: not another body, not another URL, not a token with
/// a byte changed, and no token of a stranger's.
pub fn verifier(data: &[u8]) {
    let keys = SigningKeys::new(vec![key("sig_current"), key("sig_next")]).expect("two keys");
    let allowed = [EndpointUrl::parse(URL).expect("a URL")];
    let (token, body) = halves(data);
    let token = String::from_utf8_lossy(token);
    let verify = |token: &str, allowed: &[EndpointUrl], body: &[u8]| {
        token::verify(&keys, Some(token), allowed, Bytes::copy_from_slice(body), NOW + 1).is_ok()
    };
    let real = token::sign(&key("sig_next"), URL, body, NOW, "1");
    assert!(verify(&real, &allowed, body), "what was signed is accepted");
    if token != real.as_str() {
        assert!(!verify(&token, &allowed, body), "a stranger's token is refused");
    }
    for altered in [altered(&real, data), format!("{real}{token}"), format!("{token}{real}")] {
        assert!(altered == real || !verify(&altered, &allowed, body), "an altered token is refused: {altered}");
    }
    let other = [body, b"x".as_slice()].concat();
    assert!(!verify(&real, &allowed, &other), "another body is refused");
    if let Ok(url) = EndpointUrl::parse(&token)
        && url != allowed[0]
    {
        assert!(!verify(&real, &[url], body), "another URL is refused");
    }
}

/// A token with one character changed, chosen by the input.
fn altered(token: &str, data: &[u8]) -> String {
    let [at, to] = [0, 1].map(|index| usize::from(*data.get(index).unwrap_or(&0)) * 7 + data.len());
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=";
    let mut bytes = token.as_bytes().to_vec();
    let at = at % bytes.len();
    bytes[at] = alphabet[to % alphabet.len()];
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whatever a function URL hands over, the request is taken apart or refused, and its bytes are those that were sent.
pub fn requests(data: &[u8]) {
    if let Ok(event) = serde_json::from_slice::<ApiGatewayV2httpRequest>(data)
        && let Ok(request) = Incoming::from_event(event, "id".to_owned())
    {
        let _urls = request.urls(&request.bases(&[]));
    }
    let sent = serde_json::json!({"body": STANDARD.encode(data), "isBase64Encoded": true, "requestContext": {"http": {"method": "POST"}}});
    if let Ok(event) = serde_json::from_value::<ApiGatewayV2httpRequest>(sent) {
        let request = Incoming::from_event(event, "id".to_owned()).expect("a body in base64");
        assert_eq!(request.body, data);
    }
}

/// A failure callback is read or refused.
pub fn callbacks(data: &[u8]) {
    let _read = FailureCallback::parse(data).map(|callback| format!("{callback:?}"));
}

/// An entry of QStash's dead-letter queue is read or refused, and its body is the bytes that were published.
pub fn entries(data: &[u8]) {
    if let Ok(page) = serde_json::from_slice::<DlqPage>(data) {
        page.entries().flatten().for_each(|entry| look_at(&entry));
    }
    if let Ok(entry) = serde_json::from_slice::<DlqEntry>(data) {
        look_at(&entry);
    }
    let sent = serde_json::json!({"bodyBase64": STANDARD.encode(data)});
    let entry: DlqEntry = serde_json::from_value(sent).expect("an entry");
    assert_eq!(entry.body().expect("a body"), data);
}

fn look_at(entry: &DlqEntry) {
    let _hidden = entry.body();
    let _seen = (entry.status(), entry.response_body(), entry.first_message_id().len(), entry.header("content-type"));
}

/// A body is named whatever it is, the same bytes by the same name and others by another, and what we read of it stands in
/// it as it is.
pub fn payloads(data: &[u8]) {
    let endpoint = Endpoint::Ours { source: "payload".to_owned(), path: "/payload".to_owned() };
    let (pointer, body) = halves(data);
    let pointer = String::from_utf8_lossy(pointer).into_owned();
    // What serde_json uses for its own ends means something else in a tree.
    let is_plain = !String::from_utf8_lossy(body).contains("$serde_json");
    if let (true, Ok(tree)) = (is_plain, serde_json::from_slice::<Value>(body)) {
        let fields = Fields::read(body, [pointer.as_str()]).expect("JSON is read");
        assert_eq!(fields.get(&pointer), tree.pointer(&pointer).map(without_contents).as_ref());
    }
    let _text = text_at(body, &pointer);
    for recipe in
        [Identity::Payload, Identity::Strapi, Identity::Body, Identity::Message, Identity::Pointer(pointer.clone())]
    {
        let name = |body: &[u8]| identify(&endpoint, &recipe, Delivered::bare(body, &pointer));
        let named = name(body);
        assert_eq!(named, name(body));
        assert!(named.event_type.as_ref().is_none_or(|event_type| event_type.len() <= 128));
        let other = [body, b" ".as_slice()].concat();
        if matches!(recipe, Identity::Strapi | Identity::Body) {
            assert_ne!(named.key, name(&other).key);
        }
    }
    if let Ok(payload) = Payload::parse(body) {
        let inside = payload.data.get().as_bytes();
        assert!(body.windows(inside.len()).any(|part| part == inside), "data is kept byte for byte");
    }
}

fn without_contents(value: &Value) -> Value {
    match value {
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Value::Object(serde_json::Map::new()),
        scalar => scalar.clone(),
    }
}

/// A URL is read as it was written or refused, and a request below a base is found below it again.
pub fn urls(data: &[u8]) {
    let (first, second) = halves(data);
    let (text, path) = (String::from_utf8_lossy(first), String::from_utf8_lossy(second));
    let Ok(url) = EndpointUrl::parse(&text) else { return };
    assert_eq!(EndpointUrl::parse(&url.to_string()).as_ref(), Ok(&url), "{text}");
    let _parameter = url.parameter(&path);
    let below = url.below(&format!("/{path}"), "");
    assert!(below.path_below(&url).is_some(), "{below} lies below {url}");
    let endpoint = Endpoint::of(&below, std::slice::from_ref(&url));
    assert!(matches!(endpoint, Endpoint::Ours { .. }), "{below}");
}

/// A document of routes compiles or is refused with a reason; compiled again, every destination keeps its id.
pub fn routes(data: &[u8]) {
    let (document, event_type) = halves(data);
    let document = String::from_utf8_lossy(document);
    match Routes::compile(&document, &Routes::default()) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(routes) => {
            let again = Routes::compile(&document, &routes).expect("it compiled before");
            assert_eq!(again.routes, routes.routes);
            let stored = serde_json::to_string(&routes).expect("JSON");
            assert_eq!(serde_json::from_str::<Routes>(&stored).expect("what was written"), routes);
            for source in &routes.sources {
                let event_type = String::from_utf8_lossy(event_type);
                let _destinations = routes.destinations(&routes.subject(
                    &source.name,
                    Some(&event_type),
                    Delivered::bare(event_type.as_bytes(), ""),
                ));
            }
        }
    }
}

/// Nobody is believed without the secret, whatever stands in the headers, and no seal but ours opens.
pub fn senders(data: &[u8]) {
    let (value, body) = halves(data);
    let secrets = [key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), key("another secret")];
    for signature in signatures() {
        let headers = signature.headers().filter_map(|name| HeaderName::try_from(name).ok());
        let headers: HeaderMap =
            headers.filter_map(|name| Some((name, HeaderValue::from_bytes(value).ok()?))).collect();
        let believed = signature.verify(&secrets, &headers, body);
        assert!(believed.is_err(), "{value:?} for {}", signature.header);
    }
    let (source, headers) = (Source::built_in("strapi").expect("a source"), HeaderMap::new());
    let sealed = Sealed { source: &source, headers: &headers, body: Sha256::of(body) };
    assert!(sealed.open(&secrets, &String::from_utf8_lossy(value)).is_none(), "{value:?}");
}

/// The schemes of all recipes.
fn signatures() -> impl Iterator<Item = Signature> {
    static ALL: LazyLock<Vec<Signature>> = LazyLock::new(|| {
        let schemes = Recipe::names().filter_map(|name| Recipe::named(name)?.signature);
        schemes.map(|scheme| scheme.compile().expect("a scheme")).collect()
    });
    ALL.iter().cloned()
}

/// A span of time, or a `Retry-After`, is read or refused, and never panics over its size.
pub fn waits(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _wait = duration::parse_retry_after(&text, NOW * 1_000);
    if let Some(span) = duration::parse(&text) {
        let _written = duration::write(span);
    }
}
