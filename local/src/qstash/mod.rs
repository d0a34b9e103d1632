//! A QStash server, written from QStash's documentation.
//!
//! [`api`] is its HTTP front, [`options`] reads what a publish call asks for, [`delivery`] carries messages out, [`views`]
//! shows them as QStash does, [`flow`] holds them back. Waiting is divided by the server's speed; tokens, time-outs and `Retry-After` are not,
//! because whoever made or reads those lives in real time.

mod api;
mod delivery;
mod flow;
mod options;
mod views;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use surehook::{Millis, outside, retry::millis, secret::Secret};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, broadcast, watch},
    task::JoinHandle,
};

use crate::url_of;
use flow::Flows;
use options::Options;

/// The token of the first user of QStash's own development server.
pub const TOKEN: &str = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=";
/// Entries that the log remembers.
const MOST_LOGGED: usize = 5_000;
/// Bodies up to this size stand in the log.
const MOST_LOGGED_BODY: usize = 64 * 1_024;
/// How long a deduplication id is remembered: 10 minutes.
const DEDUPLICATION: Millis = 600_000;

/// What can go wrong on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Failure callbacks are never sent.
    pub lose_callbacks: bool,
    /// Failure callbacks are sent twice.
    pub repeat_callbacks: bool,
    /// Every call to the API is answered with 503.
    pub away: bool,
    /// No delivery gets through.
    pub cut_deliveries: bool,
    /// Every attempt is made twice at the same time.
    pub repeat_deliveries: bool,
}

/// What happens to messages, as it happens.
#[derive(Debug, Clone)]
pub struct News {
    /// Which message.
    pub message_id: String,
    /// Where it goes.
    pub url: String,
    /// What happened.
    pub state: State,
    /// The topic it was published to.
    pub topic: Option<String>,
    /// SHA-256 of its body, in hexadecimal.
    pub body_sha256: String,
    /// Whether it is a failure callback.
    pub is_callback: bool,
}

/// The states of a message, with what a watcher wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was published, or taken from the dead-letter queue, to be delivered after so long, in QStash's time.
    Created {
        /// The delay.
        delay: Duration,
    },
    /// An attempt failed with this status (0: no answer); the next comes after so long, in QStash's time.
    Retry {
        /// The answer's status.
        status: u16,
        /// Attempts so far.
        attempt: u32,
        /// The wait.
        wait: Duration,
    },
    /// It was delivered, at this attempt.
    Delivered {
        /// Attempts in all.
        attempt: u32,
    },
    /// It was given up with this status.
    Failed {
        /// The last answer's status.
        status: u16,
    },
}

/// A message on its way.
#[derive(Debug, Clone)]
struct Message {
    id: String,
    url: String,
    topic: Option<String>,
    options: Options,
    body: Bytes,
    body_sha256: String,
    created_at: Millis,
    not_before: Millis,
    is_callback: bool,
}

/// The last answer to a message.
#[derive(Debug, Clone, Default)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, Vec<String>>,
    body: Bytes,
}

#[derive(Debug, Clone)]
struct Dead {
    message: Message,
    answer: Answer,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Topic {
    name: String,
    created_at: Millis,
    updated_at: Millis,
    endpoints: Vec<Endpoint>,
    #[serde(skip)]
    headers: Vec<(String, String)>,
}

#[derive(Debug, Clone, Serialize, serde::Deserialize, PartialEq, Eq)]
struct Endpoint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    url: String,
}

/// Something that happened to a message.
#[derive(Debug, Clone)]
struct Logged {
    at: Millis,
    /// Without its body, where that is large.
    message: Message,
    state: State,
    /// When it is tried again.
    next: Option<Millis>,
}

#[derive(Debug)]
struct Book {
    topics: BTreeMap<String, Topic>,
    pending: BTreeMap<String, Message>,
    dlq: BTreeMap<String, Dead>,
    seen: BTreeMap<String, (Vec<String>, Millis)>,
    logs: VecDeque<Logged>,
    keys: (String, String),
    faults: Faults,
}

#[derive(Debug)]
struct Server {
    book: Mutex<Book>,
    sequence: AtomicU64,
    http: reqwest::Client,
    speed: f64,
    /// Deliveries that may be made at the same time.
    places: Semaphore,
    flows: Flows,
    news: broadcast::Sender<News>,
    busy: watch::Sender<usize>,
}

/// A running QStash. It ends when this is dropped, with whatever it held.
#[derive(Debug)]
pub struct QStash {
    /// Where it listens: `QSTASH_URL`.
    pub url: String,
    server: Arc<Server>,
    task: JoinHandle<()>,
}

impl QStash {
    /// Starts one whose waiting runs `speed` times faster, and that makes at most `parallelism` deliveries at the same time.
    pub fn start(listener: TcpListener, speed: f64, parallelism: usize) -> Self {
        let url = url_of(&listener);
        let keys = surehook::qstash::DEVELOPMENT_KEYS;
        let book = Book {
            topics: BTreeMap::new(),
            pending: BTreeMap::new(),
            dlq: BTreeMap::new(),
            seen: BTreeMap::new(),
            logs: VecDeque::new(),
            keys: (keys[0].to_owned(), keys[1].to_owned()),
            faults: Faults::default(),
        };
        let server = Arc::new(Server {
            book: Mutex::new(book),
            sequence: AtomicU64::new(0),
            http: http_client(),
            speed: if speed > 0.0 { speed } else { 1.0 },
            places: Semaphore::new(parallelism.max(1)),
            flows: Flows::default(),
            news: broadcast::channel(16_384).0,
            busy: watch::channel(0).0,
        });
        let app = api::router(Arc::clone(&server));
        let task = tokio::spawn(async move {
            let _ended = axum::serve(listener, app).await;
        });
        Self { url, server, task }
    }

    /// What happens from now on.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.server.news.subscribe()
    }

    /// The signing keys, current and next.
    pub fn keys(&self) -> (String, String) {
        self.server.book().keys.clone()
    }

    /// Makes things go wrong from now on, or right again.
    pub fn set_faults(&self, faults: Faults) {
        self.server.book().faults = faults;
    }

    /// Entries in the dead-letter queue.
    pub fn dlq_len(&self) -> usize {
        self.server.book().dlq.len()
    }

    /// Messages that wait or are being delivered.
    pub fn pending(&self) -> usize {
        *self.server.busy.borrow()
    }

    /// Waits until no message waits or is being delivered.
    pub async fn idle(&self) {
        let mut busy = self.server.busy.subscribe();
        let _closed = busy.wait_for(|busy| *busy == 0).await;
    }
}

impl Drop for QStash {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Redirects are failures: whether QStash follows them is not documented.
fn http_client() -> reqwest::Client {
    let built = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
    built.unwrap_or_default()
}

impl Server {
    /// The state. A panic while it was held leaves it as it was.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn next_number(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    fn next_id(&self) -> String {
        format!("msg_{}{:06}", outside::new_id().replace('-', ""), self.next_number())
    }

    fn log(&self, message: &Message, state: State) {
        let at = outside::now();
        let next = match state {
            State::Created { delay: wait } | State::Retry { wait, .. } => Some(at + millis(wait.div_f64(self.speed))),
            State::Delivered { .. } | State::Failed { .. } => None,
        };
        let mut message = message.clone();
        if message.body.len() > MOST_LOGGED_BODY {
            message.body = Bytes::new();
        }
        let mut book = self.book();
        if book.logs.len() == MOST_LOGGED {
            book.logs.pop_front();
        }
        book.logs.push_back(Logged { at, message, state, next });
    }

    fn signing_key(&self) -> Option<Secret> {
        Secret::new(self.book().keys.0.clone())
    }

    fn tell(&self, message: &Message, state: State) {
        self.log(message, state);
        let _nobody_listens = self.news.send(News {
            message_id: message.id.clone(),
            url: message.url.clone(),
            state,
            topic: message.topic.clone(),
            body_sha256: message.body_sha256.clone(),
            is_callback: message.is_callback,
        });
    }
}
