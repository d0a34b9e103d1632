//! How fast the sweep works off what an outage left: `cargo bench -p surehook-dlq-processor`.
//!
//! The processor is a process of its own, so that its memory is its own. It reaches QStash and the table through proxies that add the
//! time of a network and enforce DynamoDB's limits for each partition key. The table at the end has a row for each kind of work.
//! Nothing is asserted but that no entry and no row is lost, because machines differ.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "in a benchmark, a panic is the report")]

mod network;
mod stage;
mod worker;

use std::time::{Duration, Instant};

use stage::{Stage, Work};
use tokio::runtime::Builder;

/// What the command line has to say for the process to be the processor.
const WORKER: &str = "be-the-processor";
/// What a network adds to each call.
const TO_QSTASH: Duration = Duration::from_millis(60);
const TO_TABLE: Duration = Duration::from_millis(5);
/// What DynamoDB takes for one partition key in a second. Source: AWS, "Best practices for designing and using partition keys".
const WRITE_UNITS: f64 = 1_000.0;
const READ_UNITS: f64 = 3_000.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == WORKER) {
        return Builder::new_current_thread().enable_all().build().unwrap().block_on(worker::run(&arguments[at + 1..]));
    }
    let count =
        arguments.iter().find_map(|argument| argument.strip_prefix("--count=")).map_or(4_000, |n| n.parse().unwrap());
    println!("| work | size | rows | seconds | per second | memory, MB |");
    println!("|---|---|---|---|---|---|");
    for (work, size, count) in [
        (Work::Requeue, 2_000, count),
        (Work::Bury, 2_000, count),
        (Work::Outbox, 2_000, count),
        (Work::Held, 2_000, count),
        (Work::Requeue, 100_000, count / 10),
        (Work::Outbox, 100_000, count / 10),
    ] {
        Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure(work, size, count));
    }
}

async fn measure(work: Work, size: usize, count: usize) {
    let stage = Stage::set(work, size, count).await;
    let began = Instant::now();
    let memory = stage.sweep_until_done().await;
    let seconds = began.elapsed().as_secs_f64();
    stage.verify().await;
    println!("| {work:?} | {size} B | {count} | {seconds:.1} | {:.0} | {memory} |", count as f64 / seconds);
}
