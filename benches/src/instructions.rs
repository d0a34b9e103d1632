//! The third measurement: instructions of the deployed consumer, counted by Valgrind. They are the same whatever else the machine does, so
//! they are kept in the repository, and `.ci/run` compares.
//!
//! Valgrind's processor has no instructions for SHA-256: what is counted is more than what a real one executes, in proportion to the body.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    contestant::Contestant,
    error::BenchError,
    stage::{Road, Stage},
    warm::USUAL,
};

/// How much more there may be, in parts of the figure that is kept. Another build of the C library and other addresses make some thousandths.
const TOLERANCE: f64 = 0.03;
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

/// Thousands of instructions, for a start or for an event, by case.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Counts all of them.
    pub(crate) fn take(stage: &Stage, road: Road<'_>, folder: &Path) -> Result<Self, BenchError> {
        let mut counts = Self::default();
        for (name, case) in CASES {
            eprintln!("{name}");
            counts.0.insert(name.to_owned(), count(stage, road, folder, case)? / 1_000);
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

    /// A line for each, next to what is kept, and how many of them are too many.
    pub(crate) fn compared_with(&self, kept: &Self) -> (Vec<String>, usize) {
        let mut worse = 0;
        let line = |(name, count): (&String, &u64)| {
            let before = kept.0.get(name).copied().unwrap_or_default();
            let ratio = *count as f64 / before.max(1) as f64;
            let verdict = match ratio {
                ratio if ratio > 1.0 + TOLERANCE => {
                    worse += 1;
                    "TOO MANY"
                }
                ratio if ratio < 1.0 - TOLERANCE => "fewer: keep them with --write",
                _ => "",
            };
            format!("{name:<18} {count:>9} thousand, kept {before:>9}, {ratio:.3} × {verdict}").trim_end().to_owned()
        };
        let lines = self.0.iter().map(line).collect();
        (lines, worse)
    }
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

    fn counts(figures: &[(&str, u64)]) -> Counts {
        Counts(figures.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect())
    }

    #[test]
    fn more_than_the_tolerance_is_too_many_and_fewer_are_to_be_kept() {
        let kept = counts(&[("a", 1_000), ("b", 1_000), ("c", 1_000), ("d", 1_000)]);
        let (lines, worse) = counts(&[("a", 1_029), ("b", 1_031), ("c", 969), ("d", 971)]).compared_with(&kept);
        assert_eq!(worse, 1);
        let said: Vec<bool> = lines.iter().map(|line| line.contains("TOO MANY") || line.contains("fewer")).collect();
        assert_eq!(said, [false, true, true, false], "{lines:?}");
    }

    #[test]
    fn what_nobody_kept_is_too_many() {
        let (_, worse) = counts(&[("new case", 5)]).compared_with(&Counts::default());
        assert_eq!(worse, 1);
    }
}
