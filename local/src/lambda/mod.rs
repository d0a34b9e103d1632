//! Lambda: functions as processes, behind function URLs.
//!
//! [`function`] keeps a function's execution environments, [`environment`] is one of them (a process and its Runtime API),
//! [`gateway`] is the HTTP front: `/lambda-url/<function>/…` and `/2015-03-31/functions/<function>/invocations`, the forms
//! of `cargo lambda watch`.

mod description;
pub mod environment;
pub mod function;
pub mod gateway;

use std::{collections::BTreeMap, sync::Arc};

use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle};

pub use function::{Function, FunctionSpec, InvokeError};

use surehook_qstash::Visitors;

use crate::url_of;

/// A line that a function wrote.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Which function.
    pub function: String,
    /// What it wrote.
    pub line: String,
}

/// A running host. Its processes end when this is dropped.
#[derive(Debug)]
pub struct Host {
    /// Where it listens.
    pub url: String,
    functions: Arc<BTreeMap<String, Arc<Function>>>,
    logs: broadcast::Sender<LogLine>,
    task: JoinHandle<()>,
}

impl Host {
    /// Starts a host for some functions. Processes start with the first invocation, or with [`Host::warm`].
    pub fn start(listener: TcpListener, visitors: Visitors, specs: Vec<FunctionSpec>) -> Self {
        let url = url_of(&listener);
        let logs = broadcast::channel(4_096).0;
        let functions: BTreeMap<String, Arc<Function>> =
            specs.into_iter().map(|spec| (spec.name.clone(), Arc::new(Function::new(spec, logs.clone())))).collect();
        let functions = Arc::new(functions);
        let app = visitors.guard(gateway::router(Arc::clone(&functions)));
        let task = tokio::spawn(async move {
            let _ended = axum::serve(listener, app).await;
        });
        Self { url, functions, logs, task }
    }

    /// A function by name.
    pub fn function(&self, name: &str) -> Option<&Arc<Function>> {
        self.functions.get(name)
    }

    /// Starts one environment of each function and waits until it asks for work, so that a function that can't start says
    /// so now.
    pub async fn warm(&self) -> Result<(), InvokeError> {
        for function in self.functions.values() {
            function.warm().await?;
        }
        Ok(())
    }

    /// What functions write from now on.
    pub fn logs(&self) -> broadcast::Receiver<LogLine> {
        self.logs.subscribe()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
        for function in self.functions.values() {
            function.end();
        }
    }
}
