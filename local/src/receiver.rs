//! The user's API: it records what it gets, and answers what it is told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use surehook::digest::Sha256;
use surehook_qstash::Visitors;
use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle, time::sleep};

use crate::url_of;

/// Requests that are remembered unless told otherwise.
const MOST_REMEMBERED: usize = 100_000;

/// The largest body, in bytes. No destination gets one as large.
const MAX_BODY: usize = 16 * 1_024 * 1_024;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Counts requests from 0.
    pub number: usize,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// SHA-256 of the body, in hexadecimal.
    pub body_sha256: String,
    /// The body.
    pub body: Bytes,
    /// What was answered.
    pub status: u16,
}

impl Received {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What to answer.
#[derive(Debug, Clone, Default)]
pub struct Reaction {
    /// The status.
    pub status: u16,
    /// How long to think first.
    pub delay: Duration,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: String,
}

impl Reaction {
    /// An answer with this status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The same answer, later.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The same answer, with a body.
    pub fn saying(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }
}

type Script = Arc<dyn Fn(&Received) -> Reaction + Send + Sync>;

/// A running receiver. It ends when this is dropped.
pub struct Receiver {
    /// Where it listens.
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Receiver").field("url", &self.url).finish_non_exhaustive()
    }
}

struct Shared {
    script: RwLock<Script>,
    log: Mutex<Log>,
    news: broadcast::Sender<Received>,
}

/// What came, as far as it is remembered.
struct Log {
    /// Requests so far.
    count: usize,
    /// Requests that are remembered.
    most: usize,
    kept: VecDeque<Received>,
}

impl Receiver {
    /// Starts one that answers 200 to everything.
    pub fn start(listener: TcpListener, visitors: Visitors) -> Self {
        let shared = Arc::new(Shared {
            script: RwLock::new(Arc::new(|_| Reaction::status(200))),
            log: Mutex::new(Log { count: 0, most: MOST_REMEMBERED, kept: VecDeque::new() }),
            news: broadcast::channel(4_096).0,
        });
        let url = url_of(&listener);
        let app = visitors.guard(Router::new().fallback(receive).with_state(Arc::clone(&shared)));
        let task = tokio::spawn(async move {
            let _ended = axum::serve(listener, app).await;
        });
        Self { url, shared, task }
    }

    /// Tells it what to answer from now on.
    pub fn react(&self, script: impl Fn(&Received) -> Reaction + Send + Sync + 'static) {
        if let Ok(mut current) = self.shared.script.write() {
            *current = Arc::new(script);
        }
    }

    /// How many requests it remembers from now on. Who counts in a script, for hours, has it remember none: bodies weigh.
    pub fn remember(&self, most: usize) {
        if let Ok(mut log) = self.shared.log.lock() {
            log.most = most;
            log.forget();
        }
    }

    /// Everything that it got and remembers, in order.
    pub fn received(&self) -> Vec<Received> {
        self.shared.log.lock().map(|log| log.kept.iter().cloned().collect()).unwrap_or_default()
    }

    /// What it gets from now on, as it comes.
    pub fn news(&self) -> broadcast::Receiver<Received> {
        self.shared.news.subscribe()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // Who sends half a body has sent no request, and above all none with an empty body.
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return answer(Reaction::status(400));
    };
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let body_sha256 = Sha256::of(&body).hex();
    let received =
        Received { number: 0, method: parts.method, path, headers: parts.headers, body_sha256, body, status: 0 };
    let reaction = shared.note(received);
    sleep(reaction.delay).await;
    answer(reaction)
}

impl Shared {
    /// Remembers a request together with the answer that it will get.
    fn note(&self, received: Received) -> Reaction {
        let script = self.script.read().map(|script| Arc::clone(&script));
        let Ok(mut log) = self.log.lock() else {
            return Reaction::status(500);
        };
        let mut received = Received { number: log.count, ..received };
        let reaction = script.map_or_else(|_| Reaction::status(500), |script| script(&received));
        received.status = reaction.status;
        log.keep(received.clone());
        let _nobody_listens = self.news.send(received);
        reaction
    }
}

impl Log {
    fn keep(&mut self, received: Received) {
        self.count += 1;
        self.kept.push_back(received);
        self.forget();
    }

    fn forget(&mut self) {
        self.kept.drain(..self.kept.len().saturating_sub(self.most));
    }
}

fn answer(reaction: Reaction) -> Response {
    let mut response = Response::builder().status(StatusCode::from_u16(reaction.status).unwrap_or_default());
    if let Some(seconds) = reaction.retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(Body::from(reaction.body)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn half_a_body_is_no_request() {
        let receiver = Receiver::start(TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), Visitors::default());
        for (chunks, expected) in [("2\r\nha\r\nbroken", "HTTP/1.1 400"), ("4\r\nhalf\r\n0\r\n\r\n", "HTTP/1.1 200")] {
            let mut stream = TcpStream::connect(receiver.url.trim_start_matches("http://")).await.unwrap();
            let head = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(format!("{head}{chunks}").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(expected), "{chunks}: {answer}");
        }
        assert_eq!(receiver.received().iter().map(|received| &received.body[..]).collect::<Vec<_>>(), [b"half"]);
    }

    #[test]
    fn the_newest_are_remembered_and_all_are_counted() {
        let mut log = Log { count: 0, most: 2, kept: VecDeque::new() };
        for number in 0..3 {
            log.keep(Received {
                number,
                method: Method::POST,
                path: String::new(),
                headers: HeaderMap::new(),
                body_sha256: String::new(),
                body: Bytes::new(),
                status: 200,
            });
        }
        assert_eq!(log.kept.iter().map(|received| received.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(log.count, 3);
        log.most = 0;
        log.forget();
        assert!(log.kept.is_empty());
    }
}
