//! Functions that log as on Lambda.
//!
//! There they refuse the published keys and secrets of the development stack, and so everything secret is the tests' own. Our
//! QStash signs with its keys alone: a front before the functions signs with ours what it signed, and passes the rest as it is.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use surehook::{
    outside,
    qstash::{SigningKeys, token},
    secret::Secret,
    web::EndpointUrl,
};
use surehook_local::{Stack, qstash::TOKEN};
use surehook_tests::served::Served;

use super::{Deployed, pairs};
use crate::support::{
    proxy::{Proxy, Verdict},
    signature_by,
};

pub(crate) const CURRENT_KEY: &str = "sig_unspeakable_current_key";
pub(crate) const NEXT_KEY: &str = "sig_unspeakable_next_key";
/// The base64 of "unspeakable master of these tests, 1".
pub(crate) const MASTER: &str = "whsec_dW5zcGVha2FibGUgbWFzdGVyIG9mIHRoZXNlIHRlc3RzLCAx";
pub(crate) const PRODUCER_TOKEN: &str = "unspeakable-producer-token";
/// GitHub's secret among those of [`SENDERS`].
pub(crate) const GITHUB_SECRET: &str = "unspeakable-secret-of-github";
pub(crate) const SENDERS: &str = r#"{"gh": "unspeakable-secret-of-github", "seal": "unspeakable seal of these tests"}"#;
/// What is larger is refused.
pub(crate) const MOST_BYTES: usize = 600_000;

/// Functions as on Lambda, and the ways to what they need.
#[derive(Debug)]
pub(crate) struct OnLambda {
    pub(crate) deployed: Deployed,
    pub(crate) front: Front,
    pub(crate) table: Way,
    pub(crate) qstash: Way,
}

impl OnLambda {
    pub(crate) async fn start(functions: &[&'static str]) -> Self {
        Self::start_with(functions, []).await
    }

    /// Starts functions that have more variables.
    pub(crate) async fn start_with<const N: usize>(functions: &[&'static str], more: [(&str, &str); N]) -> Self {
        let mut around = None;
        let mut deployed = Deployed::start(functions, |stack| {
            let (table, qstash) = (Way::to(&stack.dynamo.url), Way::to(&stack.qstash.url));
            let (front, table, qstash) = around.insert((Front::start(stack), table, qstash));
            let mut variables = variables(front, &table.url, &qstash.url);
            variables.extend(pairs(more));
            move |_| variables.clone()
        })
        .await;
        let (front, table, qstash) = around.unwrap();
        deployed.stack.functions_url = format!("{}/lambda-url", front.url);
        Self { deployed, front, table, qstash }
    }

    pub(crate) fn stack(&self) -> &Stack {
        &self.deployed.stack
    }

    /// What is secret and does not say so itself.
    pub(crate) fn secrets(&self) -> BTreeSet<String> {
        let signatures = self.stack().receiver.received().into_iter();
        let signatures = signatures.filter_map(|received| received.header("webhook-signature").map(str::to_owned));
        let ours = [TOKEN, MASTER].map(str::to_owned);
        self.front.book.lock().unwrap().tokens.iter().cloned().chain(signatures).chain(ours).collect()
    }
}

fn variables(front: &Front, table: &str, qstash: &str) -> Vec<(String, String)> {
    let functions = format!("{}/lambda-url", front.url);
    pairs([
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_ENDPOINT_URL_DYNAMODB", table),
        ("AWS_SECRET_ACCESS_KEY", "unspeakable-key-of-aws"),
        ("QSTASH_URL", qstash),
        ("CONSUMER_URL", &format!("{functions}/consumer")),
        ("REQUEUER_URL", &format!("{functions}/requeuer")),
        ("QSTASH_CURRENT_SIGNING_KEY", CURRENT_KEY),
        ("QSTASH_NEXT_SIGNING_KEY", NEXT_KEY),
        ("SIGNING_SECRETS", MASTER),
        ("PRODUCER_TOKEN", PRODUCER_TOKEN),
        ("SOURCE_SECRETS", SENDERS),
        ("MAX_BODY_BYTES", &MOST_BYTES.to_string()),
    ])
}

/// A way to a server, which a test can spoil.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) url: String,
    verdict: Arc<Mutex<Verdict>>,
    _proxy: Proxy,
}

impl Way {
    fn to(upstream: &str) -> Self {
        let verdict = Arc::new(Mutex::new(Verdict::Pass));
        let current = Arc::clone(&verdict);
        let proxy = Proxy::start(upstream, move |_| *current.lock().unwrap());
        Self { url: proxy.url.clone(), verdict, _proxy: proxy }
    }

    /// From now on, this becomes of every request.
    pub(crate) fn becomes(&self, verdict: Verdict) {
        *self.verdict.lock().unwrap() = verdict;
    }
}

/// What the front saw.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Functions, and the words that they answered.
    pub(crate) answers: Vec<(String, String)>,
    /// The parts of every signature that went through.
    tokens: BTreeSet<String>,
}

/// The functions' public host.
#[derive(Debug)]
pub(crate) struct Front {
    url: String,
    pub(crate) book: Arc<Mutex<Book>>,
    _served: Served,
}

#[derive(Clone)]
struct Passage {
    url: String,
    upstream: String,
    qstash_keys: SigningKeys,
    book: Arc<Mutex<Book>>,
    http: reqwest::Client,
}

impl Front {
    fn start(stack: &Stack) -> Self {
        let upstream = stack.functions_url.trim_end_matches("/lambda-url").to_owned();
        let qstash_keys = SigningKeys::new(vec![Secret::new(stack.qstash.keys().0).unwrap()]).unwrap();
        let (book, http) = (Arc::<Mutex<Book>>::default(), reqwest::Client::new());
        let served = Served::start(|url| {
            let passage = Passage { url: url.to_owned(), upstream, qstash_keys, book: Arc::clone(&book), http };
            Router::new().fallback(pass).with_state(passage)
        });
        Self { url: served.url.clone(), book, _served: served }
    }

    /// Takes note of an answer.
    pub(crate) fn note(&self, function: &str, word: &str) {
        self.book.lock().unwrap().answers.push((function.to_owned(), word.to_owned()));
    }
}

async fn pass(State(passage): State<Passage>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let headers = passage.signed_anew(parts.headers, &format!("{}{}", passage.url, parts.uri), &body);
    let target = format!("{}{}", passage.upstream, parts.uri);
    let sent = passage.http.request(parts.method, target).headers(headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(sent.status());
    for (name, value) in sent.headers() {
        response = response.header(name, value);
    }
    let answer = sent.bytes().await.unwrap();
    passage.note(parts.uri.path(), &answer);
    response.body(Body::from(answer)).unwrap()
}

impl Passage {
    /// What QStash signed for this URL, signed with our key; everything else as it came.
    fn signed_anew(&self, mut headers: HeaderMap, url: &str, body: &Bytes) -> HeaderMap {
        headers.remove("host");
        let Some(shown) = headers.get("upstash-signature").map(|value| value.to_str().unwrap().to_owned()) else {
            return headers;
        };
        let (now, allowed) = (outside::now() / 1_000, [EndpointUrl::parse(url).unwrap()]);
        self.keep_in_mind(&shown);
        if token::verify(&self.qstash_keys, Some(&shown), &allowed, body.clone(), now).is_ok() {
            let ours = signature_by(CURRENT_KEY, url, body, now);
            self.keep_in_mind(&ours);
            headers.insert("upstash-signature", ours.parse().unwrap());
        }
        headers
    }

    /// A part of a signature is as secret as the whole.
    fn keep_in_mind(&self, signature: &str) {
        let parts = signature.split('.').filter(|part| part.len() > 8).map(str::to_owned);
        self.book.lock().unwrap().tokens.extend(parts);
    }

    /// The host itself answers without a word of ours.
    fn note(&self, path: &str, answer: &Bytes) {
        let word =
            serde_json::from_slice::<Value>(answer).ok().and_then(|answer| Some(answer["status"].as_str()?.to_owned()));
        let function = path.split('/').nth(2).unwrap_or_default().to_owned();
        self.book.lock().unwrap().answers.extend(word.map(|word| (function, word)));
    }
}
