//! The first measurement: starts, and then events of every size to functions that run.
//!
//! In each round every contestant has a fresh process. They get their batches in turns, in an order that is drawn anew each time, so
//! that what disturbs the machine for a while disturbs all of them.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    contestant::Contestant,
    error::BenchError,
    host::Function,
    process::Memory,
    stage::{Road, Stage},
    stats::median,
};

/// The sizes of bodies, in bytes.
pub(crate) const SIZES: [(usize, &str); 4] =
    [(1_024, "1 KB"), (10_240, "10 KB"), (122_880, "120 KB"), (1_048_576, "1 MB")];
/// What first events carry, and events that only warm a process up.
pub(crate) const USUAL: usize = 10_240;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Fresh processes of each contestant.
    pub(crate) rounds: usize,
    /// Events that warm a process up.
    pub(crate) warming: usize,
    /// Batches of each size, for each process.
    pub(crate) batches: usize,
    /// Events of a batch.
    pub(crate) events: usize,
}

/// Figures of one contestant's starts; one of each for each round.
#[derive(Debug, Default, Clone)]
pub(crate) struct Starts {
    /// From the start to the first request for work, in milliseconds.
    pub(crate) init: Vec<f64>,
    /// The first event, in milliseconds.
    pub(crate) first: Vec<f64>,
    /// Resident memory at the end, in megabytes.
    pub(crate) resident: Vec<f64>,
    /// The most that was resident.
    pub(crate) peak: Vec<f64>,
}

/// Figures of events of one size. Those of events are in milliseconds, CPU time is in microseconds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Events {
    /// Each new event.
    pub(crate) walls: Vec<f64>,
    /// The median of each batch of new events.
    pub(crate) wall: Vec<f64>,
    /// The CPU time of a new event, for each batch.
    pub(crate) cpu: Vec<f64>,
    /// The median of each batch of duplicates.
    pub(crate) again_wall: Vec<f64>,
    /// The CPU time of a duplicate, for each batch.
    pub(crate) again_cpu: Vec<f64>,
    /// The most memory that was resident up to the end of this size, in megabytes, for each round.
    pub(crate) peak: Vec<f64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Warm {
    /// By contestant.
    pub(crate) starts: BTreeMap<Contestant, Starts>,
    /// By size and contestant.
    pub(crate) events: BTreeMap<(usize, Contestant), Events>,
}

struct Batch {
    walls: Vec<f64>,
    cpu: f64,
}

/// Contestants in an order that is drawn.
pub(crate) fn shuffled() -> [Contestant; 4] {
    let mut order = Contestant::ALL;
    fastrand::shuffle(&mut order);
    order
}

pub(crate) fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

impl Warm {
    /// Measures.
    pub(crate) fn measure(stage: &Stage, road: Road<'_>, effort: Effort) -> Result<Self, BenchError> {
        let mut warm = Self::default();
        for round in 1..=effort.rounds {
            eprintln!("round {round} of {}", effort.rounds);
            let mut running = warm.start_all(stage, road, effort)?;
            for (size, _) in SIZES {
                warm.events_of(stage, &mut running, size, effort)?;
            }
            for (contestant, function) in &running {
                let memory = function.memory();
                let starts = warm.starts.entry(*contestant).or_default();
                starts.resident.push(memory.resident);
                starts.peak.push(memory.peak);
            }
        }
        Ok(warm)
    }

    fn start_all(
        &mut self,
        stage: &Stage,
        road: Road<'_>,
        effort: Effort,
    ) -> Result<BTreeMap<Contestant, Function>, BenchError> {
        let mut running = BTreeMap::new();
        for contestant in shuffled() {
            let mut function = stage.start(contestant, road)?;
            let deliveries = stage.deliveries(USUAL, 1);
            let first = stage.invoke(&mut function, &stage.events(&deliveries)[0])?;
            stage.expect(&function, &deliveries)?;
            let starts = self.starts.entry(contestant).or_default();
            starts.init.push(milliseconds(function.init));
            starts.first.push(milliseconds(first.took));
            running.insert(contestant, function);
        }
        for function in running.values_mut() {
            let deliveries = stage.deliveries(USUAL, effort.warming);
            batch(stage, function, &stage.events(&deliveries))?;
            stage.expect(function, &deliveries)?;
        }
        Ok(running)
    }

    fn events_of(
        &mut self,
        stage: &Stage,
        running: &mut BTreeMap<Contestant, Function>,
        size: usize,
        effort: Effort,
    ) -> Result<(), BenchError> {
        for _ in 0..effort.batches {
            for contestant in shuffled() {
                if let Some(function) = running.get_mut(&contestant) {
                    let events = self.events.entry((size, contestant)).or_default();
                    events.add(stage, contestant, function, size, effort.events)?;
                }
            }
        }
        for (contestant, function) in running {
            let Memory { peak, .. } = function.memory();
            self.events.entry((size, *contestant)).or_default().peak.push(peak);
        }
        Ok(())
    }
}

impl Events {
    /// A batch of new events, and then the same ones again, which must not reach the destination.
    fn add(
        &mut self,
        stage: &Stage,
        contestant: Contestant,
        function: &mut Function,
        size: usize,
        count: usize,
    ) -> Result<(), BenchError> {
        let deliveries = stage.deliveries(size, count);
        let new = batch(stage, function, &stage.events(&deliveries))?;
        stage.expect(function, &deliveries)?;
        self.wall.push(median(&new.walls));
        self.cpu.push(new.cpu);
        self.walls.extend(new.walls);
        if contestant.knows_duplicates() {
            let again = batch(stage, function, &stage.events(&deliveries))?;
            stage.expect(function, &[])?;
            self.again_wall.push(median(&again.walls));
            self.again_cpu.push(again.cpu);
        }
        Ok(())
    }
}

fn batch(stage: &Stage, function: &mut Function, events: &[Vec<u8>]) -> Result<Batch, BenchError> {
    let before = function.cpu();
    let walls: Result<Vec<f64>, BenchError> =
        events.iter().map(|event| Ok(milliseconds(stage.invoke(function, event)?.took))).collect();
    let used = function.cpu().saturating_sub(before).as_secs_f64() * 1e6;
    Ok(Batch { walls: walls?, cpu: used / events.len().max(1) as f64 })
}
