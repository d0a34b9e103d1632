//! The wall clock of function processes, which a test lets run ahead as a freeze does.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    },
};

use surehook::outside;
use tempfile::TempDir;

/// The shim, compiled once for all tests of this process.
static SHIM: LazyLock<(TempDir, PathBuf)> = LazyLock::new(compiled);

/// A clock that starts as the system's.
#[derive(Debug)]
pub(crate) struct WallClock {
    folder: TempDir,
    lead: AtomicI64,
}

impl WallClock {
    pub(crate) fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap(), lead: AtomicI64::new(0) };
        clock.freeze_for(0);
        clock
    }

    /// Variables of the processes that have this clock.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let variables = [("LD_PRELOAD", SHIM.1.clone()), ("WALL_CLOCK_LEAD", self.file())];
        variables.map(|(name, value)| (name.to_owned(), path(value))).into()
    }

    /// Lets the wall clock run ahead, while the monotonic clock stands still.
    pub(crate) fn freeze_for(&self, seconds: i64) {
        let lead = self.lead.fetch_add(seconds, Ordering::SeqCst) + seconds;
        // A file that is replaced is never read half.
        let next = self.folder.path().join("next");
        fs::write(&next, lead.to_string()).unwrap();
        fs::rename(next, self.file()).unwrap();
    }

    /// The time of its processes, in seconds since the epoch.
    pub(crate) fn seconds(&self) -> i64 {
        outside::now() / 1_000 + self.lead.load(Ordering::SeqCst)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("lead")
    }
}

fn compiled() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let shim = folder.path().join("wall_clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/wall_clock.c");
    let compiler = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(source).status();
    assert!(compiler.unwrap().success(), "the C compiler that the cryptographic library needs as well");
    (folder, shim)
}
