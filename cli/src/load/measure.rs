//! Memory and time on the processors, of the functions' processes and of this one part by part: each part runs on threads of its own, which
//! have its name. Linux tells in `/proc`; elsewhere nothing is measured, and nothing is reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Arc,
};

use serde::Serialize;
use surehook_local::{Runtimes, Stack, lambda::Function, memory};
use tokio::runtime::{Builder, Runtime};

use crate::Failure;

/// Ticks of `/proc/<pid>/stat` in a second: a hundred on every Linux that we know.
const TICKS: f64 = 100.0;
/// The name of this process in a report.
const OWN: &str = "this process";
/// Whoever runs on no thread with a name of a part: the generator, and what watches it.
const GENERATOR: &str = "generator";
/// Names of threads (fifteen bytes at most) and what runs on them.
const PARTS: [(&str, &str); 4] = [
    ("part-dynamodb", "DynamoDB"),
    ("part-qstash", "QStash"),
    ("part-functions", "Lambda host"),
    ("part-receiver", "receiver"),
];

/// A runtime for each part of the stack, so that the system counts what each uses.
#[derive(Debug)]
pub(super) struct Parts(Vec<Runtime>);

impl Parts {
    pub(super) fn start() -> Result<Self, Failure> {
        let runtime = |(thread, _)| Builder::new_multi_thread().enable_all().thread_name(thread).build();
        let runtimes = PARTS.into_iter().map(runtime).collect::<std::io::Result<_>>();
        Ok(Self(runtimes.map_err(|error| format!("the system gives no threads: {error}"))?))
    }

    pub(super) fn runtimes(&self) -> Option<Runtimes> {
        let [dynamo, qstash, functions, receiver] = self.0.as_slice() else { return None };
        Some(Runtimes {
            dynamo: dynamo.handle().clone(),
            qstash: qstash.handle().clone(),
            functions: functions.handle().clone(),
            receiver: receiver.handle().clone(),
        })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Waiting for them is not allowed where other tasks run.
        for runtime in self.0.drain(..) {
            runtime.shutdown_background();
        }
    }
}

/// Memory over a load, in kilobytes: of a function's processes always the largest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    pub(super) what: String,
    pub(super) processes: usize,
    /// The medians of the first and the last quarter of the samples.
    pub(super) first_quarter: u64,
    pub(super) last_quarter: u64,
    pub(super) peak: u64,
}

/// Time on the processors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cpu {
    pub(super) what: String,
    pub(super) seconds: f64,
}

/// A process or a thread: what it belongs to, and its id.
type Counted = (String, u32);

/// Watches the processes of a stack.
#[derive(Debug)]
pub(super) struct Meter {
    functions: Vec<Arc<Function>>,
    /// Ticks before the load, and at the last look.
    ticks: BTreeMap<Counted, (u64, u64)>,
    memory: BTreeMap<String, Vec<u64>>,
    peaks: BTreeMap<String, u64>,
    processes: BTreeMap<String, BTreeSet<u32>>,
}

impl Meter {
    /// What was used until now does not count.
    pub(super) fn new(stack: &Stack, functions: &[&str]) -> Self {
        let functions = functions.iter().filter_map(|name| stack.function(name).cloned()).collect();
        let mut meter = Self {
            functions,
            ticks: BTreeMap::new(),
            memory: BTreeMap::new(),
            peaks: BTreeMap::new(),
            processes: BTreeMap::new(),
        };
        meter.look();
        for (before, last) in meter.ticks.values_mut() {
            *before = *last;
        }
        meter
    }

    /// Takes a sample of everything.
    pub(super) fn look(&mut self) {
        for function in self.functions.clone() {
            let (name, processes) = (function.spec().name.clone(), function.processes());
            for process in &processes {
                let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
                self.count(&name, *process, ticks_in(&stat).map(|(_, ticks)| ticks));
            }
            self.weigh(&name, &processes);
        }
        self.count_threads();
        self.weigh(OWN, &[std::process::id()]);
    }

    fn count_threads(&mut self) {
        for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let Some(id) = thread.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let Some((name, ticks)) = ticks_in(&stat) else { continue };
            let part = PARTS.iter().find(|(thread, _)| *thread == name).map_or(GENERATOR, |(_, part)| part);
            self.count(part, id, Some(ticks));
        }
    }

    fn count(&mut self, what: &str, id: u32, ticks: Option<u64>) {
        if let Some(ticks) = ticks {
            self.ticks.entry((what.to_owned(), id)).or_default().1 = ticks;
        }
    }

    fn weigh(&mut self, what: &str, processes: &[u32]) {
        let found: Vec<memory::Memory> = processes.iter().filter_map(|id| memory::Memory::of(*id)).collect();
        if let Some(now) = found.iter().map(|memory| memory.resident).max() {
            self.memory.entry(what.to_owned()).or_default().push(now);
            let peak = self.peaks.entry(what.to_owned()).or_default();
            *peak = found.iter().map(|memory| memory.peak).fold(*peak, u64::max);
            self.processes.entry(what.to_owned()).or_default().extend(processes);
        }
    }

    /// Memory, the functions' first.
    pub(super) fn memory(&self) -> Vec<Memory> {
        let of = |(what, samples): (&String, &Vec<u64>)| {
            let (first_quarter, last_quarter) = quarters(samples);
            let processes = self.processes.get(what).map_or(0, BTreeSet::len);
            let peak = self.peaks.get(what).copied().unwrap_or_default();
            Memory { what: what.clone(), processes, first_quarter, last_quarter, peak }
        };
        self.memory.iter().map(of).collect()
    }

    /// Time on the processors since the beginning, the most first.
    pub(super) fn cpu(&self) -> Vec<Cpu> {
        let mut ticks: BTreeMap<&str, u64> = BTreeMap::new();
        for ((what, _), (before, last)) in &self.ticks {
            *ticks.entry(what).or_default() += last.saturating_sub(*before);
        }
        #[allow(clippy::cast_precision_loss, reason = "ticks of a load are far below 2^52")]
        let cpu = |(what, ticks): (&str, u64)| Cpu { what: what.to_owned(), seconds: ticks as f64 / TICKS };
        let mut used: Vec<Cpu> = ticks.into_iter().map(cpu).collect();
        used.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        used
    }
}

/// The name of a process or thread, and its time on the processors. The name may have anything in it, parentheses too.
fn ticks_in(stat: &str) -> Option<(&str, u64)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let times: Vec<u64> = rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
    (times.len() == 2).then(|| (name, times.iter().sum()))
}

/// The medians of the first and the last quarter.
fn quarters(samples: &[u64]) -> (u64, u64) {
    let quarter = samples.len().div_ceil(4);
    (median(&samples[..quarter]), median(&samples[samples.len() - quarter..]))
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_the_name() {
        let stat = |name: &str| format!("7 ({name}) S 1 7 7 0 -1 4194304 5 0 0 0 120 30 0 0 20 0 1 0 9 0 0");
        assert_eq!(ticks_in(&stat("part-qstash")), Some(("part-qstash", 150)));
        assert_eq!(ticks_in(&stat("a) S (b")), Some(("a) S (b", 150)));
        assert_eq!((ticks_in(""), ticks_in("7 (a) S 1")), (None, None));
    }

    #[test]
    fn quarters_show_growth() {
        for (samples, expected) in [
            (vec![], (0, 0)),
            (vec![5], (5, 5)),
            (vec![1, 2], (1, 2)),
            ((1..=40).collect(), (6, 36)),
            (vec![9; 100], (9, 9)),
        ] {
            assert_eq!(quarters(&samples), expected, "{samples:?}");
        }
    }

    #[test]
    fn threads_names_fit_into_what_the_system_keeps() {
        assert!(PARTS.iter().all(|(thread, _)| thread.len() <= 15));
    }
}
