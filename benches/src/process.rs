//! What the system knows about a process: the time that its threads spent on a CPU, and the memory that it takes.

use std::time::Duration;

use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use surehook_local::memory;

/// The CPU clock of a process, all its threads together, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuClock(Option<ClockId>);

impl CpuClock {
    /// The clock of a process that runs.
    pub(crate) fn of(id: u32) -> Self {
        let id = i32::try_from(id).map(Pid::from_raw);
        Self(id.ok().and_then(|id| clock_getcpuclockid(id).ok()))
    }

    /// What it shows; 0 where the process is gone.
    pub(crate) fn read(self) -> Duration {
        self.0.and_then(|clock| clock_gettime(clock).ok()).map(Duration::from).unwrap_or_default()
    }
}

/// Memory of a process, in megabytes of 1,048,576 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// What is resident now.
    pub(crate) resident: f64,
    /// The most that ever was.
    pub(crate) peak: f64,
}

impl Memory {
    /// Of a process that runs.
    pub(crate) fn of(id: u32) -> Self {
        let memory = memory::Memory::of(id).unwrap_or_default();
        Self { resident: megabytes(memory.resident), peak: megabytes(memory.peak) }
    }
}

#[allow(clippy::cast_precision_loss, reason = "kilobytes of memory are far below 2^52")]
fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 / 1_024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_are_told_in_megabytes() {
        assert_eq!(megabytes(92_160), 90.0);
        assert_eq!(megabytes(86_016), 84.0);
        assert_eq!(megabytes(0), 0.0);
    }
}
