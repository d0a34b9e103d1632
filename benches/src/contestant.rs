//! Who is compared, and how each is started.

use std::path::PathBuf;

/// One way to do the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    /// The consumer as it is deployed.
    Surehook,
    /// The AWS SDK's two calls and the post, without all that makes the consumer one.
    Floor,
    /// Upstash's SDK and Powertools for TypeScript, bundled.
    Node,
    /// Upstash's SDK and Powertools for Python.
    Python,
}

/// Where their programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The release consumer.
    pub(crate) consumer: PathBuf,
    /// The floor, which is built with the harness.
    pub(crate) floor: PathBuf,
    /// Where `benches/run` installed the other two, with their dependencies.
    pub(crate) installed: PathBuf,
}

impl Contestant {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 4] = [Self::Surehook, Self::Floor, Self::Node, Self::Python];

    /// The name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Surehook => "Surehook",
            Self::Floor => "floor",
            Self::Node => "Node",
            Self::Python => "Python",
        }
    }

    /// Whether it writes records of Surehook's form; the others have a table of their own.
    pub(crate) fn has_our_records(self) -> bool {
        matches!(self, Self::Surehook | Self::Floor)
    }

    /// The floor takes every event for a new one.
    pub(crate) fn knows_duplicates(self) -> bool {
        self != Self::Floor
    }

    /// The program and its arguments. Node gets the heap that Lambda gives it in a function of 256 MB.
    pub(crate) fn command(self, programs: &Programs) -> Vec<String> {
        let installed = |path: &str| programs.installed.join(path).display().to_string();
        match self {
            Self::Surehook => vec![programs.consumer.display().to_string()],
            Self::Floor => vec![programs.floor.display().to_string()],
            Self::Node => vec![
                "node".to_owned(),
                "--max-old-space-size=230".to_owned(),
                installed("node/runtime.mjs"),
                installed("node/dist/index.mjs"),
            ],
            Self::Python => {
                let module = ["-m", "awslambdaric", "handler.handler"].map(str::to_owned);
                [vec![installed("python/runtime/bin/python")], module.to_vec()].concat()
            }
        }
    }

    /// Variables that only this one needs.
    pub(crate) fn variables(self, programs: &Programs) -> Vec<(&'static str, String)> {
        match self {
            Self::Python => vec![("PYTHONPATH", programs.installed.join("python/task").display().to_string())],
            Self::Surehook | Self::Floor | Self::Node => Vec::new(),
        }
    }
}
