//! A fuse: HTTP proxies in front of DynamoDB, QStash and a destination, which count the requests of one path through our
//! code and let one of them fail.
//!
//! Every await of that path that can fail is one of these requests, so counting them enumerates the points of failure.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures::stream;
use surehook::{failure::FailurePath, retry::RetryPolicy, store::Store};
use surehook_local::{Stack, stack::TABLE};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{qstash_at, url};

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered with an error and has no effect.
    Error,
    /// Its connection is cut before it has an effect.
    CutBefore,
    /// It takes effect, and then its connection is cut.
    CutAfter,
    /// The process is killed before it. Before the next step is after this one, so counting covers both.
    Killed,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::Error, Self::CutBefore, Self::CutAfter, Self::Killed];
}

#[derive(Debug, Default)]
struct Armed {
    /// The step at which the fault happens, and which fault; `None` lets everything through.
    at: Option<(usize, Fault)>,
    steps: usize,
    /// What the faulty step was.
    hit: Option<String>,
}

#[derive(Debug)]
struct Shared {
    armed: Mutex<Armed>,
    http: reqwest::Client,
}

#[derive(Debug, Clone)]
struct Proxy {
    shared: Arc<Shared>,
    upstream: String,
}

/// A stack's DynamoDB, QStash and receiver behind a fuse.
#[derive(Debug)]
pub(crate) struct Fuse {
    shared: Arc<Shared>,
    pub(crate) dynamo_url: String,
    pub(crate) qstash_url: String,
    pub(crate) receiver_url: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Fuse {
    pub(crate) async fn new(stack: &Stack) -> Self {
        let shared = Arc::new(Shared { armed: Mutex::default(), http: reqwest::Client::new() });
        let mut tasks = Vec::new();
        let dynamo_url = proxy(&shared, &stack.dynamo.url, &mut tasks).await;
        let qstash_url = proxy(&shared, &stack.qstash.url, &mut tasks).await;
        let receiver_url = proxy(&shared, &stack.receiver.url, &mut tasks).await;
        Self { shared, dynamo_url, qstash_url, receiver_url, tasks }
    }

    /// Lets the step of this number fail, counted from 0 and from now.
    pub(crate) fn arm(&self, step: usize, fault: Fault) {
        *self.shared.armed.lock().unwrap() = Armed { at: Some((step, fault)), ..Armed::default() };
    }

    /// Lets everything through again. Says what failed; `None` where the path had fewer steps.
    pub(crate) fn disarm(&self) -> Option<String> {
        std::mem::take(&mut *self.shared.armed.lock().unwrap()).hit
    }

    /// A store whose calls go through the fuse, without retries of the SDK's own: every step stands for itself.
    pub(crate) fn store(&self) -> Store {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(&self.dynamo_url)
            .retry_config(RetryConfig::disabled())
            .build();
        Store::new(Client::from_conf(config), TABLE)
    }

    /// The failure path through this fuse.
    pub(crate) fn failure_path(&self, stack: &Stack) -> FailurePath {
        FailurePath {
            store: self.store(),
            qstash: qstash_at(&self.qstash_url),
            bases: vec![url(&stack.function_url("consumer"))],
            policy: RetryPolicy::default(),
        }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn proxy(shared: &Arc<Shared>, upstream: &str, tasks: &mut Vec<JoinHandle<()>>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app =
        Router::new().fallback(answer).with_state(Proxy { shared: Arc::clone(shared), upstream: upstream.to_owned() });
    tasks.push(tokio::spawn(async move {
        let _ended = axum::serve(listener, app).await;
    }));
    url
}

/// What becomes of the next step: `Ok` lets it through; the second value says what the caller then sees.
fn next_step(armed: &mut Armed, request: &Request) -> Option<Fault> {
    let (at, fault) = armed.at?;
    let step = armed.steps;
    armed.steps += 1;
    if step == at {
        armed.hit = Some(name_of(request));
    }
    // A dead process does nothing more.
    (step == at || (step > at && fault == Fault::Killed)).then_some(fault)
}

fn name_of(request: &Request) -> String {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok());
    target.and_then(|target| target.rsplit('.').next()).map_or_else(
        || {
            let path = request.uri().path();
            let stem: Vec<&str> = path.split('/').filter(|part| part.len() < 16).collect();
            format!("{} {}", request.method(), stem.join("/"))
        },
        str::to_owned,
    )
}

async fn answer(State(proxy): State<Proxy>, request: Request) -> Response {
    let fault = next_step(&mut proxy.shared.armed.lock().unwrap(), &request);
    let response = match fault {
        Some(Fault::Error | Fault::CutBefore | Fault::Killed) => None,
        Some(Fault::CutAfter) | None => Some(forward(&proxy, request).await),
    };
    match (fault, response) {
        (None, Some(response)) => response,
        (Some(Fault::Error), _) => error(),
        _ => cut(),
    }
}

async fn forward(proxy: &Proxy, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let target = format!("{}{}", proxy.upstream, parts.uri);
    let mut headers = parts.headers;
    headers.remove("host");
    let sent = proxy.shared.http.request(parts.method, target).headers(headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(sent.status());
    for (name, value) in sent.headers() {
        response = response.header(name, value);
    }
    response.body(Body::from(sent.bytes().await.unwrap())).unwrap()
}

fn error() -> Response {
    Response::builder().status(500).body(Body::from(r#"{"__type":"InternalServerError"}"#)).unwrap()
}

/// Ends the connection without a word: the body fails before anything is sent.
fn cut() -> Response {
    let failing = stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("cut")) });
    Response::new(Body::from_stream(failing))
}
