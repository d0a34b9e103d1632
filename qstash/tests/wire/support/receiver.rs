//! A destination that remembers what it got, answers as it is told, and can let callers wait for their answers.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    /// Path and query, byte for byte.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn saying(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    fn into_response(self) -> Response<Body> {
        let response = Response::builder().status(self.status);
        let response =
            self.headers.iter().fold(response, |response, (name, value)| response.header(name, value.as_bytes()));
        response.body(self.body.into()).unwrap()
    }
}

type Judge = Box<dyn Fn(&Received) -> Reply + Send>;

struct Inner {
    judge: Mutex<Judge>,
    received: watch::Sender<Vec<Received>>,
    is_open: watch::Sender<bool>,
}

/// A destination.
pub(crate) struct Receiver {
    pub(crate) url: String,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let inner = Arc::new(Inner {
            judge: Mutex::new(Box::new(|_| Reply::status(200))),
            received: watch::channel(Vec::new()).0,
            is_open: watch::channel(true).0,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(receive).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inner, task }
    }

    /// How requests are answered from now on; 200 without a body at first.
    pub(crate) fn answer(&self, judge: impl Fn(&Received) -> Reply + Send + 'static) {
        *self.inner.judge.lock().unwrap() = Box::new(judge);
    }

    pub(crate) fn answer_all(&self, status: u16) {
        self.answer(move |_| Reply::status(status));
    }

    /// Lets callers wait for their answers until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.inner.is_open.send_replace(false);
    }

    pub(crate) fn release(&self) {
        self.inner.is_open.send_replace(true);
    }

    /// Waits until so many requests have come.
    pub(crate) async fn arrived(&self, count: usize) {
        let mut received = self.inner.received.subscribe();
        super::bounded(received.wait_for(|received| received.len() >= count)).await.unwrap();
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.inner.received.borrow().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.inner.received.borrow().len()
    }

    /// The requests to one path.
    pub(crate) fn at(&self, path: &str) -> Vec<Received> {
        self.received().into_iter().filter(|received| received.target == path).collect()
    }

    /// The only request that came.
    pub(crate) fn only(&self) -> Received {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "one request was expected: {received:#?}");
        received.remove(0)
    }

    /// Paths and queries in the order in which they came.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.target).collect()
    }

    pub(crate) fn forget(&self) {
        self.inner.received.send_replace(Vec::new());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(State(inner): State<Arc<Inner>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let target = parts.uri.path_and_query().unwrap().to_string();
    let received = Received { method: parts.method, target, headers: parts.headers, body };
    let reply = inner.judge.lock().unwrap()(&received);
    inner.received.send_modify(|all| all.push(received));
    let mut is_open = inner.is_open.subscribe();
    is_open.wait_for(|is_open| *is_open).await.unwrap();
    reply.into_response()
}
