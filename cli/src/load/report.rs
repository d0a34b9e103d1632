//! What a load came to, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    account::{Account, Point, Verdict},
    measure::{Cpu, Memory, Meter},
};
use crate::text::check;

/// Everything that a report says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) seed: u64,
    /// Events that were to be published, where that was known.
    pub(super) expected: Option<u64>,
    pub(super) events: u64,
    pub(super) copies: u64,
    /// How long events were published, and how many arrived in each of these seconds.
    pub(super) seconds: f64,
    pub(super) arrived_per_second: f64,
    /// When the last event arrived.
    pub(super) last_arrival_seconds: f64,
    /// Of them all, from the moment at which each was to be published.
    pub(super) latency: Vec<Latency>,
    /// How late they were published. It is part of the latency.
    pub(super) published_late: Latency,
    pub(super) memory: Vec<Memory>,
    pub(super) cpu: Vec<Cpu>,
    pub(super) held: bool,
    pub(super) verdict: Vec<Line>,
    /// Some of the events with faults, and the number of all of them.
    pub(super) offenders: Vec<Listed>,
    pub(super) offending: usize,
}

/// Percentiles, in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    what: &'static str,
    events: u64,
    p50: u64,
    p90: u64,
    p95: u64,
    p99: u64,
    #[serde(rename = "p99.9")]
    p999: u64,
    max: u64,
}

/// A sentence of the verdict.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    held: bool,
    sentence: String,
}

/// An event with faults.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    pub(super) number: u64,
    pub(super) event: String,
    pub(super) faults: Vec<String>,
}

impl Latency {
    fn of(what: &'static str, latencies: &Histogram<u64>) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile);
        let (p50, p90, p95, p99, p999) = (at(0.5), at(0.9), at(0.95), at(0.99), at(0.999));
        Self { what, events: latencies.len(), p50, p90, p95, p99, p999, max: latencies.max() }
    }

    fn print(&self) {
        let columns = [self.p50, self.p90, self.p95, self.p99, self.p999, self.max].map(|value| {
            let text = spoken(Duration::from_micros(value));
            format!("{text:>9}")
        });
        println!("  {:<24} {:>8} {}", self.what, self.events, columns.join(" "));
    }
}

impl Report {
    pub(super) fn new(seed: u64, expected: Option<u64>, account: &Account, meter: &Meter, verdict: Verdict) -> Self {
        let seconds = account.publishing.as_secs_f64().max(f64::MIN_POSITIVE);
        #[allow(clippy::cast_precision_loss, reason = "numbers of events are far below 2^52")]
        let arrived_per_second = account.arrived_meanwhile as f64 / seconds;
        let line = |Point { held, sentence }| Line { held, sentence };
        Self {
            seed,
            expected,
            events: account.published(),
            copies: account.copies,
            seconds,
            arrived_per_second,
            last_arrival_seconds: account.last_arrival.as_secs_f64(),
            latency: vec![
                Latency::of("accepted at once", &account.at_once),
                Latency::of("after answering 503", &account.after_failures),
            ],
            published_late: Latency::of("of it: published late", &account.lateness),
            memory: meter.memory(),
            cpu: meter.cpu(),
            held: verdict.held(),
            offending: verdict.offending,
            verdict: verdict.points.into_iter().map(line).collect(),
            offenders: Vec::new(),
        }
    }

    /// Prints it, the verdict last.
    pub(super) fn print(&self) {
        let copies = if self.copies == 1 { "1 copy".to_owned() } else { format!("{} copies", self.copies) };
        println!(
            "\n{} events and {copies} published in {:.1} s; {:.1} events/s arrived meanwhile, the last after {:.1} s.",
            self.events, self.seconds, self.arrived_per_second, self.last_arrival_seconds
        );
        if let Some(missing) = self.expected.map(|expected| expected.saturating_sub(self.events)).filter(|n| *n > 0) {
            println!("The rate could not be kept: {missing} more were due.");
        }
        self.print_latency();
        self.print_memory();
        self.print_cpu();
        println!("\nVerdict:");
        for Line { held, sentence } in &self.verdict {
            check(*held, sentence);
        }
        self.print_offenders();
    }

    fn print_latency(&self) {
        println!("\nLatency, from the moment at which an event was due until its destination accepted it:");
        let names = ["p50", "p90", "p95", "p99", "p99.9", "max"].map(|name| format!("{name:>9}"));
        println!("  {:<24} {:>8} {}", "", "events", names.join(" "));
        for latency in self.latency.iter().filter(|latency| latency.events > 0) {
            latency.print();
        }
        self.published_late.print();
    }

    fn print_memory(&self) {
        if self.memory.is_empty() {
            return;
        }
        println!("\nMemory in MB, the largest process of each:");
        println!("  {:<24} {:>9} {:>14} {:>13} {:>9}", "", "processes", "first quarter", "last quarter", "peak");
        for Memory { what, processes, first_quarter, last_quarter, peak } in &self.memory {
            let [first, last, peak] = [first_quarter, last_quarter, peak].map(|kilobytes| megabytes(*kilobytes));
            println!("  {what:<24} {processes:>9} {first:>14} {last:>13} {peak:>9}");
        }
        println!("  This process holds the table in memory: it grows with every event.");
    }

    fn print_cpu(&self) {
        let all: f64 = self.cpu.iter().map(|cpu| cpu.seconds).sum();
        if all <= 0.0 {
            return;
        }
        #[allow(clippy::cast_precision_loss, reason = "numbers of events are far below 2^52")]
        let events = self.events.max(1) as f64;
        println!("\nTime on the processors until everything was settled:");
        println!("  {:<24} {:>9} {:>9} {:>14}", "", "seconds", "share", "µs per event");
        let line = |what: &str, seconds: f64| {
            let (share, each) = (seconds / all * 100.0, seconds * 1e6 / events);
            println!("  {what:<24} {seconds:>9.2} {share:>8.0}% {each:>14.0}");
        };
        for Cpu { what, seconds } in &self.cpu {
            line(what, *seconds);
        }
        line("together", all);
    }

    fn print_offenders(&self) {
        if self.offending > 0 {
            println!("\nEvents that something is wrong with: {}, such as", self.offending);
        }
        for Listed { number, event, faults } in &self.offenders {
            println!("  #{number} {event}");
            for fault in faults {
                println!("      {fault}");
            }
        }
    }
}

/// A latency in three digits: `812 µs`, `4.21 ms`, `1.38 s`.
fn spoken(span: Duration) -> String {
    let micros = span.as_secs_f64() * 1e6;
    let (value, unit) = match micros {
        small if small < 999.5 => return format!("{small:.0} µs"),
        middle if middle < 999_500.0 => (middle / 1e3, "ms"),
        large => (large / 1e6, "s"),
    };
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}")
}

fn megabytes(kilobytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "no process has 2^52 kilobytes")]
    let megabytes = kilobytes as f64 / 1_024.0;
    format!("{megabytes:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_spoken_in_three_digits() {
        for (micros, text) in [
            (0, "0 µs"),
            (812, "812 µs"),
            (1_000, "1.00 ms"),
            (4_214, "4.21 ms"),
            (42_140, "42.1 ms"),
            (421_400, "421 ms"),
            (999_900, "1.00 s"),
            (12_340_000, "12.3 s"),
            (3_600_000_000, "3600 s"),
        ] {
            assert_eq!(spoken(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_events() {
        let mut latencies = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        (1..=1_000).for_each(|micros| latencies.record(micros).unwrap());
        let Latency { events, p50, p90, p99, p999, max, .. } = Latency::of("x", &latencies);
        assert_eq!((events, p50, p90, p99, p999, max), (1_000, 500, 900, 990, 999, 1_000));
    }
}
