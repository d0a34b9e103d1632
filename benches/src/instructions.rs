//! The third measurement: instructions of the deployed consumer, counted by Valgrind. They are the same whatever else the machine does, so
//! they are kept in the repository, and `.ci/run` compares.
//!
//! Valgrind's processor has no instructions for SHA-256: what is counted is more than what a real one executes, in proportion to the body.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    contestant::Contestant,
    error::BenchError,
    machine::output,
    stage::{Road, Stage},
    warm::USUAL,
};

/// How far from what is kept a count may be, in parts of it: the order of wake-ups makes some thousandths, and a build in another folder up to
/// two hundredths.
const TOLERANCE: f64 = 0.05;
/// The same on another machine, whose C library, processor and certificate authorities make a difference of their own.
const TOLERANCE_ELSEWHERE: f64 = 0.3;
/// Events of the shorter run, which are enough to fill all caches and pools.
const FEW: usize = 20;

/// What is counted.
#[derive(Debug, Clone, Copy)]
enum Case {
    /// From the process's start to its asking for an event.
    Init,
    /// An event that nobody has seen.
    New(usize),
    /// One that is done.
    Duplicate(usize),
    /// One that somebody else signed.
    Refused(usize),
}

const CASES: [(&str, Case); 7] = [
    ("init", Case::Init),
    ("new, 1 KB", Case::New(1_024)),
    ("new, 10 KB", Case::New(USUAL)),
    ("new, 120 KB", Case::New(122_880)),
    ("new, 1 MB", Case::New(1_048_576)),
    ("duplicate, 10 KB", Case::Duplicate(USUAL)),
    ("refused, 10 KB", Case::Refused(USUAL)),
];

/// What was counted, and on what.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// What counts depend on besides the program.
    machine: String,
    /// Thousands of instructions, for a start or for an event, by case.
    thousands: BTreeMap<String, u64>,
}

impl Counts {
    /// Counts all of them.
    pub(crate) fn take(stage: &Stage, road: Road<'_>, folder: &Path) -> Result<Self, BenchError> {
        let mut counts = Self { machine: machine(), ..Self::default() };
        for (name, case) in CASES {
            eprintln!("{name}");
            counts.thousands.insert(name.to_owned(), count(stage, road, folder, case)? / 1_000);
        }
        Ok(counts)
    }

    /// Those that are kept.
    pub(crate) fn read(path: &Path) -> Result<Self, BenchError> {
        let text = fs::read_to_string(path).map_err(BenchError::file(path))?;
        serde_json::from_str(&text).map_err(|error| BenchError::Counts(path.display().to_string(), error))
    }

    /// Keeps them.
    pub(crate) fn write(&self, path: &Path) -> Result<(), BenchError> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        fs::write(path, text).map_err(BenchError::file(path))
    }

    /// A line for each, next to what is kept, and how many of them differ. Fewer are no better than more: what is not kept may be lost again
    /// without a word.
    pub(crate) fn compared_with(&self, kept: &Self) -> (Vec<String>, usize) {
        let is_elsewhere = self.machine != kept.machine;
        let tolerance = if is_elsewhere { TOLERANCE_ELSEWHERE } else { TOLERANCE };
        let other = format!("kept on another machine ({}), this is {}", kept.machine, self.machine);
        let mut lines: Vec<String> = is_elsewhere.then_some(other).into_iter().collect();
        let mut differ = 0;
        for (name, before) in &kept.thousands {
            let count = self.thousands.get(name).copied().unwrap_or_default();
            let ratio = count as f64 / *before as f64;
            let is_far = (ratio - 1.0).abs() > tolerance;
            differ += usize::from(is_far);
            let verdict = if is_far { " DIFFERS" } else { "" };
            lines.push(format!("{name:<18} {count:>9} thousand, kept {before:>9}: {ratio:.3} ×{verdict}"));
        }
        (lines, differ)
    }
}

/// What counts depend on: instructions that libraries choose by the processor, the C library, and how many authorities a start reads.
fn machine() -> String {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let wide = if flags.contains(" avx2 ") { "AVX2" } else { "no AVX2" };
    let (libc, valgrind) = (output("getconf", &["GNU_LIBC_VERSION"]), output("valgrind", &["--version"]));
    let bundles = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
    let authorities = bundles.iter().find_map(|path| fs::metadata(path).ok()).map_or(0, |file| file.len());
    format!("{}, {wide}, {libc}, {valgrind}, {authorities} bytes of authorities", std::env::consts::ARCH)
}

/// The difference of a long and a short run, so that what is done once does not count.
fn count(stage: &Stage, road: Road<'_>, folder: &Path, case: Case) -> Result<u64, BenchError> {
    let more = match case {
        Case::Init => return run(stage, road, folder, case, None),
        Case::New(size) if size > 1_000_000 => 10,
        _ => 100,
    };
    let short = run(stage, road, folder, case, Some(FEW))?;
    let long = run(stage, road, folder, case, Some(FEW + more))?;
    Ok(long.saturating_sub(short) / more as u64)
}

/// The instructions of one process that takes so many events, and one before them that opens its connections.
fn run(stage: &Stage, road: Road<'_>, folder: &Path, case: Case, events: Option<usize>) -> Result<u64, BenchError> {
    let written = folder.join("cachegrind.out");
    let counter = format!("--cachegrind-out-file={}", written.display());
    let valgrind = ["valgrind", "--quiet", "--tool=cachegrind", "--cache-sim=no", &counter].map(str::to_owned);
    // What an earlier run wrote must not be taken for this one's.
    let _was_there = fs::remove_file(&written);
    let mut function = stage.start_under(&valgrind, Contestant::Surehook, road)?;
    for (event, expected) in events.map(|count| case.events(stage, count)).unwrap_or_default() {
        let answer: serde_json::Value = serde_json::from_slice(&function.invoke(&event)?.answer).unwrap_or_default();
        if answer["statusCode"] != expected {
            return Err(function.blame(format!("answered {answer} instead of {expected}")));
        }
    }
    function.end();
    let text = fs::read_to_string(&written).map_err(BenchError::file(&written))?;
    let total = text.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok());
    total.ok_or_else(|| BenchError::Valgrind(written.display().to_string()))
}

impl Case {
    /// Events, and the status that each must have.
    fn events(self, stage: &Stage, count: usize) -> Vec<(Vec<u8>, u16)> {
        let (size, status) = match self {
            Self::Init => return Vec::new(),
            Self::New(size) | Self::Duplicate(size) => (size, 200),
            Self::Refused(size) => (size, 401),
        };
        let first = stage.deliveries(size, 1);
        let others = match self {
            Self::Duplicate(_) => vec![first[0].clone(); count],
            _ => stage.deliveries(size, count),
        };
        let others = if status == 200 { stage.events(&others) } else { stage.forged(&others) };
        stage
            .events(&first)
            .into_iter()
            .map(|event| (event, 200))
            .chain(others.into_iter().map(|event| (event, status)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(machine: &str, figures: &[(&str, u64)]) -> Counts {
        let thousands = figures.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Counts { machine: machine.to_owned(), thousands }
    }

    #[test]
    fn more_and_fewer_than_the_tolerance_differ() {
        let kept = counts("one", &[("a", 1_000), ("b", 1_000), ("c", 1_000), ("d", 1_000)]);
        let now = [("a", 1_049), ("b", 1_051), ("c", 949), ("d", 951)];
        let (lines, differ) = counts("one", &now).compared_with(&kept);
        assert_eq!(differ, 2);
        assert_eq!(lines.iter().map(|line| line.contains("DIFFERS")).collect::<Vec<_>>(), [false, true, true, false]);
        let (lines, differ) = counts("another", &now).compared_with(&kept);
        assert_eq!((lines.len(), differ), (5, 0), "{lines:?}");
    }

    #[test]
    fn what_is_kept_and_no_longer_counted_differs() {
        assert_eq!(counts("one", &[]).compared_with(&counts("one", &[("a", 5)])).1, 1);
    }
}
