//! How many messages the server carries, how fast, and in how much memory: publish → signed delivery → 200. `cargo bench -p
//! surehook-qstash` prints the figures; nothing is asserted, because machines are noisy. The server is a process of its own, so
//! that its memory and its time on the processor are its own; publishers and receiver share the machine with it.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "in a benchmark, a panic is the report")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::HeaderMap};
use bytes::Bytes;
use surehook::{
    outside,
    qstash::{SigningKeys, token},
    secret::Secret,
    web::EndpointUrl,
};
use surehook_qstash::{QStash, Settings, TOKEN, USERS};
use tokio::{net::TcpListener, runtime::Runtime, sync::Semaphore, task::JoinSet, time::interval};

/// What the command line has to say for the process to be the server.
const SERVER: &str = "be-the-server";
/// The size of a message's body, in bytes.
const BODY: usize = 1_000;

fn main() {
    if std::env::args().any(|argument| argument == SERVER) {
        return Runtime::new().unwrap().block_on(serve());
    }
    // What `cargo bench` passes, and `cargo test` does not: that only sees that everything still works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (seconds, burst, waiting) = if is_bench { (10, 20_000, 100_000) } else { (1, 200, 200) };
    let runtime = Runtime::new().unwrap();
    println!("bodies of {BODY} bytes, every signature verified by the receiver\n");
    for rate in if is_bench { vec![500, 1_000, 2_000] } else { vec![100] } {
        runtime.block_on(at_a_rate(rate, seconds));
    }
    runtime.block_on(as_fast_as_it_goes(burst));
    runtime.block_on(waiting_messages(waiting));
}

async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let qstash = QStash::start(listener, Settings::default()).unwrap();
    println!("{}", qstash.url);
    std::future::pending::<()>().await;
}

/// The server's process.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg(SERVER).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }

    /// A line of the process's status, in megabytes.
    fn megabytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default() / 1_024
    }

    /// Time on the processors so far, in seconds. A tick is a hundredth of a second on every Linux that we know.
    fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
        ticks.sum::<u64>() as f64 / 100.0
    }

    fn report(&self, what: &str, receiver: &Receiver, began: Instant) {
        let mut latencies = receiver.latencies.lock().unwrap().clone();
        latencies.sort_unstable();
        let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or_default();
        println!(
            "{what:<28} {:>7} delivered {:>7.0}/s   publish to delivery p50 {:>7} µs, p99 {:>8} µs   server: {:>3} MB at most, {:>3.0} µs of processor each",
            latencies.len(),
            latencies.len() as f64 / began.elapsed().as_secs_f64(),
            at(0.5),
            at(0.99),
            self.megabytes("VmHWM"),
            self.processor_seconds() * 1e6 / latencies.len().max(1) as f64,
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Where messages go: verifies each, and notes how long it was on its way.
struct Receiver {
    url: String,
    began: Instant,
    keys: SigningKeys,
    latencies: Mutex<Vec<u32>>,
    refused: AtomicU64,
}

impl Receiver {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let keys = SigningKeys::new(vec![Secret::new(USERS[0].current_key).unwrap()]).unwrap();
        let (latencies, refused) = (Mutex::default(), AtomicU64::new(0));
        let receiver = Arc::new(Self { url, began: Instant::now(), keys, latencies, refused });
        let app = Router::new().fallback(receive).with_state(Arc::clone(&receiver));
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    /// A body that begins with the time at which it was made.
    fn body(&self) -> Bytes {
        let mut body = format!("{:020}", self.began.elapsed().as_micros()).into_bytes();
        body.resize(BODY, b'x');
        body.into()
    }

    fn count(&self) -> usize {
        self.latencies.lock().unwrap().len()
    }

    async fn has(&self, wanted: usize) {
        while self.count() < wanted {
            assert_eq!(self.refused.load(Ordering::Relaxed), 0, "signatures must be good");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) {
    let now = receiver.began.elapsed().as_micros();
    let token = headers.get("upstash-signature").and_then(|token| token.to_str().ok());
    let allowed = [EndpointUrl::parse(&receiver.url).unwrap()];
    let sent: u128 = std::str::from_utf8(&body[..20]).unwrap().parse().unwrap();
    if token::verify(&receiver.keys, token, &allowed, body, outside::now() / 1_000).is_err() {
        receiver.refused.fetch_add(1, Ordering::Relaxed);
    }
    receiver.latencies.lock().unwrap().push(u32::try_from(now - sent).unwrap_or(u32::MAX));
}

async fn publish(http: reqwest::Client, url: String, body: Bytes, delay: Option<&'static str>) {
    let mut request = http.post(url).bearer_auth(TOKEN).header("content-type", "application/json").body(body);
    if let Some(delay) = delay {
        request = request.header("upstash-delay", delay);
    }
    assert!(request.send().await.unwrap().status().is_success());
}

/// So many in each second, evenly, whether or not those before were answered.
async fn at_a_rate(rate: u64, seconds: u64) {
    let (server, receiver, http) = (Server::start(), Receiver::start().await, reqwest::Client::new());
    let url = format!("{}/v2/publish/{}", server.url, receiver.url);
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(10));
    let began = Instant::now();
    for _ in 0..seconds * 100 {
        ticks.tick().await;
        for _ in 0..rate / 100 {
            calls.spawn(publish(http.clone(), url.clone(), receiver.body(), None));
        }
    }
    calls.join_all().await;
    receiver.has((rate * seconds) as usize).await;
    server.report(&format!("{rate} messages/s for {seconds} s"), &receiver, began);
}

/// As many as 64 publishers can.
async fn as_fast_as_it_goes(messages: usize) {
    let (server, receiver, http) = (Server::start(), Receiver::start().await, reqwest::Client::new());
    let url = format!("{}/v2/publish/{}", server.url, receiver.url);
    let began = Instant::now();
    publish_all(messages, &http, &url, &receiver, None).await;
    receiver.has(messages).await;
    server.report("as fast as it goes", &receiver, began);
}

async fn publish_all(
    messages: usize,
    http: &reqwest::Client,
    url: &str,
    receiver: &Receiver,
    delay: Option<&'static str>,
) {
    let publishers = Arc::new(Semaphore::new(64));
    let mut calls = JoinSet::new();
    for _ in 0..messages {
        let place = Arc::clone(&publishers).acquire_owned().await.unwrap();
        let call = publish(http.clone(), url.to_owned(), receiver.body(), delay);
        calls.spawn(async move {
            call.await;
            drop(place);
        });
    }
    calls.join_all().await;
}

/// Messages that wait, and what they weigh.
async fn waiting_messages(messages: usize) {
    let (server, receiver, http) = (Server::start(), Receiver::start().await, reqwest::Client::new());
    let url = format!("{}/v2/publish/{}", server.url, receiver.url);
    let empty = server.megabytes("VmRSS");
    publish_all(messages, &http, &url, &receiver, Some("1d")).await;
    let full = server.megabytes("VmRSS");
    println!(
        "\n{messages} waiting messages: {full} MB in all, {:.1} kB each of which {:.1} are the body",
        (full.saturating_sub(empty) * 1_024) as f64 / messages as f64,
        BODY as f64 / 1_024.0
    );
}
