//! The producer's own work for one event, without network: who sends it, what it is called, what is published. `cargo bench -p
//! surehook-producer` prints the times; nothing is asserted, because machines are noisy.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "in a benchmark, a panic is the report")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};
use surehook::{
    routes::Routes,
    sources::{SourceSecrets, bearer},
    web::{Answer, Incoming, Outcome, Part},
};
use surehook_producer::events::{Events, Posted};

/// Runs of a benchmark; a test run (`cargo test`) only sees that everything still works.
const RUNS: usize = 2_000;
const WARM_UP: usize = 200;
const NOW: i64 = 1_700_000_000_000;
const DOCUMENT: &str = r#"
[[source]]
name = "github"
recipe = "github"
secret = "s"
[[source]]
name = "stripe"
recipe = "stripe"
secret = "s"
[[source]]
name = "standard"
recipe = "standard-webhooks"
secret = "s"
[[topic]]
name = "github"
source = "github"
[[topic]]
name = "stripe"
source = "stripe"
[[topic]]
name = "standard"
source = "standard"
[[topic]]
name = "orders"
source = "payload"
"#;

fn main() {
    // What `cargo bench` passes, and `cargo test` does not.
    let runs = if std::env::args().any(|argument| argument == "--bench") { RUNS } else { 1 };
    println!("{:<12} {:>8} {:>10} {:>10} {:>10}", "source", "bytes", "p50 µs", "p95 µs", "p99 µs");
    for topic in ["orders", "github", "stripe", "standard"] {
        for bytes in [1_000, 10_000, 120_000, 1_000_000] {
            let bench = Bench::new(topic, bytes);
            let mut times: Vec<Duration> =
                (0..WARM_UP.min(runs) + runs).map(|_| bench.once()).skip(WARM_UP.min(runs)).collect();
            times.sort();
            let micros = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e6;
            println!("{topic:<12} {bytes:>8} {:>10.1} {:>10.1} {:>10.1}", micros(50), micros(95), micros(99));
        }
    }
}

/// One kind of event, signed once.
struct Bench {
    topic: &'static str,
    routes: Arc<Routes>,
    secrets: SourceSecrets,
    request: Incoming,
}

impl Bench {
    fn new(topic: &'static str, bytes: usize) -> Self {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let filler = "x".repeat(bytes.saturating_sub(70));
        let kind = if topic == "orders" { "eventType" } else { "type" };
        let body = format!(r#"{{"id":"evt_1","{kind}":"order.paid","data":"{filler}"}}"#);
        Self {
            topic,
            routes: Arc::new(Routes::compile(DOCUMENT, &Routes::default()).unwrap()),
            secrets: SourceSecrets::parse(&format!(r#"{{"s": "{secret}", "seal": "{secret}"}}"#)).unwrap(),
            request: Incoming {
                method: "POST".into(),
                path: format!("/{topic}"),
                query: String::new(),
                domain: None,
                headers: headers(topic, secret, &body),
                body: body.into(),
                request_id: "r".into(),
            },
        }
    }

    /// What `Producer::call` does between the request and the call to QStash, and from its answer to ours.
    fn once(&self) -> Duration {
        let request = self.request.clone();
        let began = Instant::now();
        let source = self.routes.of_topic(self.topic).unwrap().into_owned();
        match &source.secret {
            Some(secret) => {
                let stamp = source.admit(self.secrets.named(secret), &request.headers, &request.body).unwrap();
                source.judge(stamp, NOW, Duration::ZERO).unwrap();
            }
            None => bearer(self.secrets.named("s"), &request.headers).unwrap(),
        }
        let posted = Posted {
            stack: "bench",
            topic: self.topic,
            source: &source,
            routes: Some(&self.routes),
            request: &request,
            now: NOW,
            seals: self.secrets.named("seal"),
            fresh_id: "0193-fresh",
        };
        let Ok(Events::One(row)) = posted.events() else { panic!("one event") };
        let outcome = Outcome::Accepted { message_ids: vec!["msg_1".into()] };
        let answer = Answer::from(Part { id: Some(row.id.clone()), outcome });
        black_box((row, answer.body(), answer.headers()));
        began.elapsed()
    }
}

/// The headers of an event, signed as its sender does.
fn headers(topic: &str, secret: &str, body: &str) -> HeaderMap {
    let seconds = NOW / 1_000;
    let hex = |mac: hmac::Tag| mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mac = |key: &[u8], text: String| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let text = secret.as_bytes();
    let pairs = match topic {
        "github" => vec![
            ("x-github-delivery", "d-1".to_owned()),
            ("x-github-event", "push".to_owned()),
            ("x-hub-signature-256", format!("sha256={}", hex(mac(text, body.to_owned())))),
        ],
        "stripe" => {
            vec![("stripe-signature", format!("t={seconds},v1={}", hex(mac(text, format!("{seconds}.{body}")))))]
        }
        "standard" => {
            let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
            let signed = STANDARD.encode(mac(&key, format!("msg_1.{seconds}.{body}")));
            vec![
                ("webhook-id", "msg_1".to_owned()),
                ("webhook-timestamp", seconds.to_string()),
                ("webhook-signature", format!("v1,{signed}")),
            ]
        }
        _ => vec![("authorization", format!("Bearer {secret}")), ("idempotency-key", "evt_1".to_owned())],
    };
    pairs.into_iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}
