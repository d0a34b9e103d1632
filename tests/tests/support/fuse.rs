//! A fuse: HTTP proxies in front of DynamoDB and QStash that share a budget of requests. When it is used up, nothing has
//! an effect any more, as for a process that was killed between two steps.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

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
use surehook::{failure::FailurePath, retry::RetryPolicy, store::Store};
use surehook_local::{Stack, stack::TABLE};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{qstash_at, url};

/// Whether the step at which the process dies takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastStep {
    /// It never left.
    Lost,
    /// It took effect, but the answer did not come back.
    Unanswered,
}

#[derive(Debug)]
struct Shared {
    budget: AtomicI64,
    last: LastStep,
    http: reqwest::Client,
}

#[derive(Debug, Clone)]
struct Proxy {
    shared: Arc<Shared>,
    upstream: String,
}

/// A stack's DynamoDB and QStash behind a fuse.
#[derive(Debug)]
pub(crate) struct Fuse {
    shared: Arc<Shared>,
    pub(crate) dynamo_url: String,
    pub(crate) qstash_url: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Fuse {
    /// Lets so many requests through.
    pub(crate) async fn new(stack: &Stack, budget: i64, last: LastStep) -> Self {
        let shared = Arc::new(Shared { budget: AtomicI64::new(budget), last, http: reqwest::Client::new() });
        let mut tasks = Vec::new();
        let dynamo_url = proxy(&shared, &stack.dynamo.url, &mut tasks).await;
        let qstash_url = proxy(&shared, &stack.qstash.url, &mut tasks).await;
        Self { shared, dynamo_url, qstash_url, tasks }
    }

    /// Whether it blew.
    pub(crate) fn is_blown(&self) -> bool {
        self.shared.budget.load(Ordering::SeqCst) < 0
    }

    /// The failure path through this fuse.
    pub(crate) fn failure_path(&self, stack: &Stack) -> FailurePath {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(&self.dynamo_url)
            .retry_config(RetryConfig::disabled())
            .build();
        FailurePath {
            store: Store::new(Client::from_conf(config), TABLE),
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
        Router::new().fallback(forward).with_state(Proxy { shared: Arc::clone(shared), upstream: upstream.to_owned() });
    tasks.push(tokio::spawn(async move {
        let _ended = axum::serve(listener, app).await;
    }));
    url
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    let left = proxy.shared.budget.fetch_sub(1, Ordering::SeqCst);
    if left < 0 || (left == 0 && proxy.shared.last == LastStep::Lost) {
        return gone();
    }
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
    let body = sent.bytes().await.unwrap();
    if left == 0 { gone() } else { response.body(Body::from(body)).unwrap() }
}

/// Nobody gets an answer from a process that is dead.
fn gone() -> Response {
    Response::builder().status(503).body(Body::from(r#"{"__type":"InternalServerError"}"#)).unwrap()
}
