//! What the functions wrote, line by line.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use surehook_local::lambda::LogLine;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
};

/// Stands in everything that no line may have.
pub(crate) const UNSPEAKABLE: &str = "unspeakable";
/// What base64 makes of that word, wherever it begins.
const IN_BASE64: [&str; 3] = ["dW5zcGVha2FibG", "Vuc3BlYWthYmxl", "1bnNwZWFrYWJsZ"];

/// Every line that a host's functions wrote since it was followed.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<LogLine>>>,
    task: JoinHandle<()>,
}

impl Log {
    pub(crate) fn follow(news: Receiver<LogLine>) -> Self {
        let lines = Arc::<Mutex<Vec<LogLine>>>::default();
        let task = tokio::spawn(collect(news, Arc::clone(&lines)));
        Self { lines, task }
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.lines.lock().unwrap().clone()
    }

    /// The lines that tell of invocations, as CloudWatch reads them.
    pub(crate) fn invocations(&self) -> Vec<Value> {
        let lines = self.lines();
        let read = lines.iter().filter_map(|line| serde_json::from_str::<Value>(&line.line).ok());
        read.filter(|line| line.get("outcome").is_some()).collect()
    }

    /// The sum of a metric of one function.
    pub(crate) fn sum(&self, function: &str, metric: &str) -> u64 {
        let lines = self.invocations();
        lines.iter().filter(|line| line["function"] == function).filter_map(|line| line[metric].as_u64()).sum()
    }

    /// Lines that say what none may: anything [`UNSPEAKABLE`], or one of these secrets.
    pub(crate) fn breaches(&self, secrets: &BTreeSet<String>) -> Vec<String> {
        let word = disguises();
        let says = |line: &str| word.iter().chain(secrets).find(|secret| line.contains(secret.as_str())).cloned();
        let breach = |line: LogLine| says(&line.line).map(|what| format!("{what} in {}: {}", line.function, line.line));
        self.lines().into_iter().filter_map(breach).collect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn collect(mut news: Receiver<LogLine>, lines: Arc<Mutex<Vec<LogLine>>>) {
    loop {
        let line = match news.recv().await {
            Ok(line) => line,
            // One that was missed may be the one that says too much: as no JSON it fails whoever reads the log.
            Err(RecvError::Lagged(missed)) => {
                LogLine { function: "none".to_owned(), line: format!("{missed} lines were missed") }
            }
            Err(RecvError::Closed) => return,
        };
        lines.lock().unwrap().push(line);
    }
}

/// [`UNSPEAKABLE`] as text, in base64, and as `Debug` shows bytes.
fn disguises() -> Vec<String> {
    let numbers = format!("{:?}", UNSPEAKABLE.as_bytes());
    let plain = [UNSPEAKABLE, numbers.trim_matches(['[', ']'])];
    plain.into_iter().chain(IN_BASE64).map(str::to_owned).collect()
}
