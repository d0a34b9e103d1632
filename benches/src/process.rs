//! What the system knows about a process: the time that its threads spent on a CPU, and the memory that it takes.

use std::{fs, time::Duration};

use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

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
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        Self { resident: megabytes(&status, "VmRSS:"), peak: megabytes(&status, "VmHWM:") }
    }
}

fn megabytes(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or_default() / 1_024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status() {
        let status = "Name:\tnode\nVmHWM:\t   92160 kB\nVmRSS:\t   86016 kB\n";
        assert_eq!(megabytes(status, "VmHWM:"), 90.0);
        assert_eq!(megabytes(status, "VmRSS:"), 84.0);
        assert_eq!(megabytes(status, "VmSwap:"), 0.0);
    }
}
