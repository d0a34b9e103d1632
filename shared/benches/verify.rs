//! How fast a delivery's signature is verified, next to what it can't be faster than: one SHA-256 over the body, by our library and
//! by OpenSSL. `cargo bench -p surehook` prints the figures; nothing is asserted, because machines are noisy.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "in a benchmark, a panic is the report")]

use std::{
    hint::black_box,
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use surehook::{
    digest::Sha256,
    qstash::{SigningKeys, token},
    secret::Secret,
    web::EndpointUrl,
};

const URL: &str = "https://consumer.example/strapi";
const NOW: i64 = 1_790_000_000;
/// The three are measured in turn, so that a machine that slows down slows all of them down.
const ROUNDS: usize = 5;
/// How long each is measured in a round.
const ROUND: Duration = Duration::from_millis(300);

fn main() {
    // What `cargo bench` passes, and `cargo test` does not: that only sees that everything still works.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 0 };
    let header = ["bytes", "verify µs", "SHA-256 µs", "OpenSSL µs", "verify / OpenSSL"];
    println!("{:>9} {:>10} {:>11} {:>11} {:>17}", header[0], header[1], header[2], header[3], header[4]);
    for size in [1_000, 10_000, 120_000, 1_000_000] {
        let bench = Bench::new(size);
        bench.verify();
        let mut times: [Vec<f64>; 3] = Default::default();
        for _ in 0..rounds {
            times[0].push(micros(|| bench.verify()));
            times[1].push(micros(|| _ = black_box(Sha256::of(&bench.body))));
            times[2].push(openssl(size).unwrap_or(f64::NAN));
        }
        let [verify, ours, theirs] = times.map(median);
        println!("{size:>9} {verify:>10.1} {ours:>11.1} {theirs:>11.1} {:>17.2}", verify / theirs);
    }
}

struct Bench {
    keys: SigningKeys,
    token: String,
    allowed: [EndpointUrl; 1],
    body: Bytes,
}

impl Bench {
    fn new(size: usize) -> Self {
        let body = Bytes::from("x".repeat(size));
        let key = Secret::new("sig_bench").unwrap();
        let token = token::sign(&key, URL, &body, NOW, "bench");
        let keys = SigningKeys::new(vec![key, Secret::new("sig_next").unwrap()]).unwrap();
        Self { keys, token, allowed: [EndpointUrl::parse(URL).unwrap()], body }
    }

    fn verify(&self) {
        let verified = token::verify(&self.keys, Some(&self.token), &self.allowed, self.body.clone(), NOW);
        black_box(verified.unwrap());
    }
}

/// How long one run takes, on the average of a round.
fn micros(run: impl Fn()) -> f64 {
    let (began, mut runs) = (Instant::now(), 0_u32);
    while began.elapsed() < ROUND {
        run();
        runs += 1;
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(runs)
}

/// The same by the `openssl` of this machine, where there is one.
fn openssl(size: usize) -> Option<f64> {
    let size = size.to_string();
    let arguments = ["speed", "-mr", "-seconds", "1", "-bytes", &size, "-evp", "sha256"];
    let output = Command::new("openssl").args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `+F:<number>:sha256:<bytes a second>`
    let speed: f64 = text.lines().find(|line| line.starts_with("+F:"))?.rsplit(':').next()?.trim().parse().ok()?;
    Some(size.parse::<f64>().ok()? / speed * 1e6)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
