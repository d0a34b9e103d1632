//! The memory of a process, as Linux tells it in `/proc`.

use std::fs;

/// Memory that is resident, in kilobytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// The most that ever was.
    pub peak: u64,
}

impl Memory {
    /// Of a process that runs; `None` where there is no such process, or no `/proc`.
    pub fn of(process: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        Some(Self { resident: kilobytes(&status, "VmRSS")?, peak: kilobytes(&status, "VmHWM")? })
    }
}

/// A line of a process's status.
fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kilobytes() {
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!((kilobytes(status, "VmRSS"), kilobytes(status, "VmHWM")), (Some(1_024), Some(2_048)));
        assert_eq!(kilobytes(status, "VmSwap"), None);
    }
}
