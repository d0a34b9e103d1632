//! The second measurement: the first event of a fresh process at a small function's share of a core, with DynamoDB behind TLS.
//!
//! Lambda holds invocations back, not a function's start. So a process starts freely, is put into its group when it asks for its first
//! event, and gets the event then.

use std::collections::BTreeMap;

use crate::{
    contestant::Contestant,
    error::BenchError,
    stage::{Road, Stage},
    throttle::Throttle,
    warm::{USUAL, milliseconds, shuffled},
};

/// Figures of one contestant, one of each for each start, in milliseconds.
#[derive(Debug, Default, Clone)]
pub(crate) struct FirstEvents {
    /// From the start to the first request for work.
    pub(crate) init: Vec<f64>,
    /// The first event.
    pub(crate) first: Vec<f64>,
    /// The CPU time of the first event.
    pub(crate) first_cpu: Vec<f64>,
    /// What whoever calls waits for: both together.
    pub(crate) together: Vec<f64>,
}

/// By contestant.
pub(crate) type Cold = BTreeMap<Contestant, FirstEvents>;

/// Measures.
pub(crate) fn measure(stage: &Stage, road: Road<'_>, throttle: &Throttle, starts: usize) -> Result<Cold, BenchError> {
    let mut cold = Cold::new();
    for start in 1..=starts {
        eprintln!("cold start {start} of {starts}");
        for contestant in shuffled() {
            cold.entry(contestant).or_default().add(stage, contestant, road, throttle)?;
        }
    }
    Ok(cold)
}

impl FirstEvents {
    fn add(
        &mut self,
        stage: &Stage,
        contestant: Contestant,
        road: Road<'_>,
        throttle: &Throttle,
    ) -> Result<(), BenchError> {
        let deliveries = stage.deliveries(USUAL, 1);
        let mut function = stage.start(contestant, road)?;
        let event = &stage.events(&deliveries)[0];
        throttle.hold(function.id()).map_err(BenchError::system("a process can't be held back"))?;
        let started = function.cpu();
        let first = stage.invoke(&mut function, event)?;
        self.init.push(milliseconds(function.init));
        self.first.push(milliseconds(first.took));
        self.first_cpu.push(milliseconds(function.cpu().saturating_sub(started)));
        self.together.push(milliseconds(function.init + first.took));
        stage.expect(&function, &deliveries)
    }
}
