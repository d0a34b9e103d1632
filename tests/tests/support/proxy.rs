//! An HTTP proxy that decides of each request what becomes of it.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures::stream;
use surehook_tests::{relay::relay, served::Served};
use tokio::sync::Semaphore;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes through.
    Pass,
    /// It is answered with this status and body, and goes nowhere.
    Answer(u16, &'static str),
    /// Its connection is cut, and it goes nowhere.
    CutBefore,
    /// It goes through, but its connection is cut before the answer.
    CutAfter,
    /// It goes nowhere and is never answered.
    Hang,
    /// It goes through when the proxy's gate is opened for it.
    Hold,
}

/// Where requests are held.
#[derive(Debug)]
pub(crate) struct Gate {
    held: Semaphore,
    opened: Semaphore,
}

impl Gate {
    /// Waits until a request is held, and takes note of it.
    pub(crate) async fn holds_one(&self) {
        self.held.acquire().await.unwrap().forget();
    }

    /// Lets one held request go on.
    pub(crate) fn open(&self) {
        self.opened.add_permits(1);
    }

    async fn pass(&self) {
        self.held.add_permits(1);
        self.opened.acquire().await.unwrap().forget();
    }
}

type Judge = dyn Fn(&Request) -> Verdict + Send + Sync;

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) url: String,
    /// Where it holds requests.
    pub(crate) gate: Arc<Gate>,
    _served: Served,
}

#[derive(Clone)]
struct Way {
    upstream: String,
    judge: Arc<Judge>,
    gate: Arc<Gate>,
    http: reqwest::Client,
}

impl Proxy {
    /// Starts a proxy on a port of its own.
    pub(crate) fn start(upstream: &str, judge: impl Fn(&Request) -> Verdict + Send + Sync + 'static) -> Self {
        let gate = Arc::new(Gate { held: Semaphore::new(0), opened: Semaphore::new(0) });
        let (judge, http) = (Arc::new(judge), reqwest::Client::new());
        let way = Way { upstream: upstream.to_owned(), judge, gate: Arc::clone(&gate), http };
        let served = Served::start(|_| Router::new().fallback(answer).with_state(way));
        Self { url: served.url.clone(), gate, _served: served }
    }
}

async fn answer(State(way): State<Way>, request: Request) -> Response {
    match (way.judge)(&request) {
        Verdict::Pass => forward(&way, request).await,
        Verdict::Answer(status, body) => Response::builder().status(status).body(Body::from(body)).unwrap(),
        Verdict::CutBefore => cut(),
        Verdict::CutAfter => {
            forward(&way, request).await;
            cut()
        }
        Verdict::Hang => std::future::pending().await,
        Verdict::Hold => {
            way.gate.pass().await;
            forward(&way, request).await
        }
    }
}

async fn forward(way: &Way, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    relay(way.http.request(parts.method, format!("{}{}", way.upstream, parts.uri)), parts.headers, body).await
}

/// Ends the connection without a word: the body fails before anything is sent.
fn cut() -> Response {
    let failing = stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("cut")) });
    Response::new(Body::from_stream(failing))
}

/// Whether a request to DynamoDB is of this operation; an empty name is any.
pub(crate) fn calls(request: &Request, operation: &str) -> bool {
    request.headers().get("x-amz-target").is_some_and(|target| target.to_str().unwrap().ends_with(operation))
}
