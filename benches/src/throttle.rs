//! A share of one core, as Lambda gives it to a small function, by the kernel's own means.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// The share of one core that a function of 256 MB has. Source: AWS, "Configure Lambda function memory": 1,769 MB are one core.
pub(crate) const SHARE: f64 = 256.0 / 1_769.0;
/// How often the share is handed out anew, in microseconds. AWS does not say how long Lambda's periods are; measurements from outside
/// found 20 ms. A longer one would flatter: who is done before its first share is used up would never be held back.
const PERIOD: u32 = 20_000;

/// Where the two versions of control groups are.
const VERSION_1: &str = "/sys/fs/cgroup/cpu";
const VERSION_2: &str = "/sys/fs/cgroup";

/// A control group with that share. It is removed when this is dropped and its processes have ended.
#[derive(Debug)]
pub(crate) struct Throttle {
    folder: PathBuf,
}

impl Throttle {
    /// Makes one, which needs permission to.
    pub(crate) fn new() -> io::Result<Self> {
        let quota = (SHARE * f64::from(PERIOD)).round();
        let name = format!("surehook-bench-{}", std::process::id());
        if Path::new(VERSION_2).join("cgroup.controllers").exists() {
            let throttle = Self::in_folder(Path::new(VERSION_2).join(name))?;
            // Fails where it is on already and where it is not ours to switch on; the next line tells the two apart.
            let _on = fs::write(Path::new(VERSION_2).join("cgroup.subtree_control"), "+cpu");
            throttle.write("cpu.max", &format!("{quota} {PERIOD}"))?;
            return Ok(throttle);
        }
        let throttle = Self::in_folder(Path::new(VERSION_1).join(name))?;
        throttle.write("cpu.cfs_period_us", &PERIOD.to_string())?;
        throttle.write("cpu.cfs_quota_us", &quota.to_string())?;
        Ok(throttle)
    }

    /// Holds a process back from now on, with all its threads.
    pub(crate) fn hold(&self, process: u32) -> io::Result<()> {
        self.write("cgroup.procs", &process.to_string())
    }

    fn in_folder(folder: PathBuf) -> io::Result<Self> {
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Self { folder }),
        }
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), value)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir(&self.folder);
    }
}
