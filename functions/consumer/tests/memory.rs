//! What an event costs in memory: no copy of its body, and nothing that stays when it is done.
//!
//! The heap's statistics are those of the whole process, so this file has one test. The table keeps its rows elsewhere (`SQLite` is C),
//! and the destination reads into a buffer that it has once.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use dhat::HeapStats;
use http::HeaderMap;
use surehook::{
    config::Variables,
    environment::Environment,
    outside,
    qstash::token,
    routes::Routes,
    secret::Secret,
    web::{Incoming, Moment, Outcome},
};
use surehook_consumer::{Consumer, build, config::Config, deliver::Deliverer, deliverer};
use surehook_local::{
    dynamo::Dynamo,
    stack::{SIGNING_SECRET, TABLE},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::Instant,
};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

const BASE: &str = "https://consumer.example";
const KEY: &str = "sig_memory";
const SMALL: usize = 1_000;
const LARGE: usize = 1_000_000;

#[tokio::test]
async fn no_body_is_copied_and_nothing_stays_of_an_event() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let table = Dynamo::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), None, TABLE).await.unwrap();
    let consumer = consumer(&table).await;
    // Connections, and whatever else is made once.
    deliver(&consumer, LARGE, 20).await;

    let (small, large) = (allocated(&consumer, SMALL).await, allocated(&consumer, LARGE).await);
    assert!(large < small + LARGE as u64 / 10, "{large} bytes for an event of a megabyte, {small} for a kilobyte");

    let mut stays = Vec::new();
    for _ in 0..3 {
        let before = HeapStats::get().curr_bytes;
        deliver(&consumer, SMALL, 100).await;
        stays.push(HeapStats::get().curr_bytes.saturating_sub(before));
    }
    // A map may grow for a moment's needs; what each event leaves behind would be there every time.
    assert!(stays.iter().any(|stays| *stays < 1_000), "{stays:?} bytes stay of 100 events each");
}

/// The consumer as Lambda's init phase builds it, with one destination.
async fn consumer(table: &Dynamo) -> Consumer<Deliverer> {
    let store = table.store(TABLE);
    let document = format!("[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"{}\"", destination().await);
    let routes = Routes::compile(&document, &Routes::default()).unwrap();
    store.put_routes(&routes, &document, outside::now()).await.unwrap();
    let variables = Variables::plain(|name| {
        let known = [
            ("TABLE_NAME", TABLE),
            ("QSTASH_CURRENT_SIGNING_KEY", KEY),
            ("QSTASH_NEXT_SIGNING_KEY", "sig_next"),
            ("CONSUMER_URL", BASE),
            ("SIGNING_SECRETS", SIGNING_SECRET),
            ("ALLOW_PRIVATE_DESTINATIONS", "true"),
        ];
        known.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    });
    build(Config::load(&variables).unwrap(), variables, store, &Environment::new(Moment::of_start()), deliverer)
        .await
        .unwrap()
}

async fn deliver(consumer: &Consumer<Deliverer>, size: usize, times: usize) {
    for _ in 0..times {
        take(consumer, request(size)).await;
    }
}

async fn take(consumer: &Consumer<Deliverer>, request: Incoming) {
    let moment = Moment { now: outside::now(), started: Instant::now(), deadline: None };
    assert_eq!(consumer.call(request, moment).await.outcome, Outcome::Processed);
}

/// How many bytes are asked of the heap for an event, besides those that it comes in.
async fn allocated(consumer: &Consumer<Deliverer>, size: usize) -> u64 {
    let request = request(size);
    let before = HeapStats::get().total_bytes;
    take(consumer, request).await;
    HeapStats::get().total_bytes - before
}

/// An event that nobody has seen before.
fn request(size: usize) -> Incoming {
    let body =
        format!(r#"{{"event":"media.create","createdAt":"{}","media":"{}"}}"#, outside::new_id(), "x".repeat(size));
    let key = Secret::new(KEY).unwrap();
    let signature = token::sign(&key, &format!("{BASE}/strapi"), body.as_bytes(), outside::now() / 1_000, "memory");
    Incoming {
        method: "POST".into(),
        path: "/strapi".into(),
        query: String::new(),
        domain: None,
        headers: HeaderMap::from_iter([(
            http::HeaderName::from_static("upstash-signature"),
            signature.parse().unwrap(),
        )]),
        body: body.into(),
        request_id: outside::new_id(),
    }
}

/// A destination that takes everything, and its URL.
async fn destination() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take_all(stream));
        }
    });
    url
}

/// Answers each request when its body is there, until the connection ends.
async fn take_all(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::with_capacity(64 * 1_024, stream);
    let (mut line, mut length) = (String::with_capacity(1_024), 0);
    while stream.read_line(&mut line).await? > 0 {
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            tokio::io::copy(&mut (&mut stream).take(length), &mut tokio::io::sink()).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        }
        line.clear();
    }
    Ok(())
}
