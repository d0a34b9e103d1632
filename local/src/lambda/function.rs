//! A function: its execution environments, their number, their time limit.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use surehook::{outside, retry::millis};
use tokio::{
    sync::{Semaphore, broadcast, oneshot},
    time::timeout,
};

use super::{
    LogLine,
    environment::{Environment, Invocation, Processes},
};

/// What a function is.
#[derive(Debug, Clone)]
pub struct FunctionSpec {
    /// Its name.
    pub name: String,
    /// The program that is its process.
    pub program: PathBuf,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// Its environment variables; nothing else is inherited but paths and log levels.
    pub environment: Vec<(String, String)>,
    /// How long an invocation may take; the process is killed after it.
    pub time_limit: Duration,
    /// How many environments there may be; further invocations wait.
    pub concurrency: usize,
}

/// Why an invocation has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvokeError {
    /// The process could not be started.
    #[error("function {function} can't be started: {text}")]
    NotStarted {
        /// Which.
        function: String,
        /// What the system said.
        text: String,
    },
    /// The process ended before it asked for work.
    #[error("function {function} ended before it was ready. It wrote:\n{wrote}")]
    InitFailed {
        /// Which.
        function: String,
        /// Its last lines.
        wrote: String,
    },
    /// The process ended during the invocation.
    #[error("function {0} ended during an invocation")]
    Crashed(String),
    /// The time limit passed.
    #[error("function {0} ran out of time")]
    TimedOut(String),
    /// The function answered with an error.
    #[error("the function answered with an error: {0}")]
    FunctionError(String),
}

/// An invocation under way: what was asked, and how to kill who works on it.
#[derive(Debug)]
struct Busy {
    payload: Bytes,
    kill: oneshot::Sender<()>,
}

/// A function with its environments.
#[derive(Debug)]
pub struct Function {
    spec: FunctionSpec,
    logs: broadcast::Sender<LogLine>,
    places: Semaphore,
    idle: Mutex<Vec<Environment>>,
    busy: Mutex<BTreeMap<String, Busy>>,
    processes: Processes,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Environment").field("pid", &self.child.id()).finish_non_exhaustive()
    }
}

impl Function {
    pub(super) fn new(spec: FunctionSpec, logs: broadcast::Sender<LogLine>) -> Self {
        let places = Semaphore::new(spec.concurrency);
        Self { spec, logs, places, idle: Mutex::default(), busy: Mutex::default(), processes: Processes::default() }
    }

    /// What the function is.
    pub fn spec(&self) -> &FunctionSpec {
        &self.spec
    }

    /// The ids of its processes, for whoever asks the system about them.
    pub fn processes(&self) -> Vec<u32> {
        self.processes.lock().map(|processes| processes.iter().copied().collect()).unwrap_or_default()
    }

    /// Invokes the function with an event.
    pub async fn invoke(&self, payload: Bytes) -> Result<Bytes, InvokeError> {
        let _place = self.places.acquire().await;
        let environment = self.environment().await?;
        let id = outside::new_id();
        let (kill, killed) = oneshot::channel();
        if let Ok(mut busy) = self.busy.lock() {
            busy.insert(id.clone(), Busy { payload: payload.clone(), kill });
        }
        let result = self.run(environment, id.clone(), payload, killed).await;
        if let Ok(mut busy) = self.busy.lock() {
            busy.remove(&id);
        }
        result
    }

    /// Starts one environment ahead of the first invocation.
    pub async fn warm(&self) -> Result<(), InvokeError> {
        let environment = self.environment().await?;
        self.keep(environment);
        Ok(())
    }

    async fn environment(&self) -> Result<Environment, InvokeError> {
        while let Some(mut environment) = self.idle.lock().ok().and_then(|mut idle| idle.pop()) {
            if matches!(environment.child.try_wait(), Ok(None)) {
                return Ok(environment);
            }
        }
        let started = Environment::start(&self.spec, &self.logs, &self.processes).await;
        let mut environment = started.map_err(|error| InvokeError::NotStarted {
            function: self.spec.name.clone(),
            text: format!("{}: {error}", self.spec.program.display()),
        })?;
        if environment.is_ready().await {
            return Ok(environment);
        }
        // Its last lines may still be on their way through the pipe.
        tokio::task::yield_now().await;
        let _ended = timeout(Duration::from_millis(200), std::future::pending::<()>()).await;
        Err(InvokeError::InitFailed { function: self.spec.name.clone(), wrote: environment.last_words() })
    }

    async fn run(
        &self,
        mut environment: Environment,
        id: String,
        payload: Bytes,
        killed: oneshot::Receiver<()>,
    ) -> Result<Bytes, InvokeError> {
        let name = || self.spec.name.clone();
        let (reply, answer) = oneshot::channel();
        let deadline_ms = outside::now() + millis(self.spec.time_limit);
        if !environment.send(Invocation { id, payload, deadline_ms, reply }).await {
            return Err(InvokeError::Crashed(name()));
        }
        let result = tokio::select! {
            answer = timeout(self.spec.time_limit, answer) => answer,
            _ended = environment.child.wait() => return Err(InvokeError::Crashed(name())),
            Ok(()) = killed => {
                let _gone = environment.child.kill().await;
                return Err(InvokeError::Crashed(name()));
            }
        };
        match result {
            Ok(Ok(Ok(body))) => {
                self.keep(environment);
                Ok(body)
            }
            Ok(Ok(Err(body))) => {
                self.keep(environment);
                Err(InvokeError::FunctionError(String::from_utf8_lossy(&body).into_owned()))
            }
            Ok(Err(_dropped)) => Err(InvokeError::Crashed(name())),
            Err(_elapsed) => Err(InvokeError::TimedOut(name())),
        }
    }

    fn keep(&self, environment: Environment) {
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(environment);
        }
    }

    /// Kills (`SIGKILL`) every process that works on an event of which `is_meant` is true; says how many.
    pub fn kill_busy(&self, is_meant: impl Fn(&[u8]) -> bool) -> usize {
        let Ok(mut busy) = self.busy.lock() else { return 0 };
        let meant: Vec<String> =
            busy.iter().filter(|(_, work)| is_meant(&work.payload)).map(|(id, _)| id.clone()).collect();
        meant.into_iter().filter_map(|id| busy.remove(&id)).filter_map(|work| work.kill.send(()).ok()).count()
    }

    /// Ends all processes.
    pub(super) fn end(&self) {
        self.kill_busy(|_| true);
        if let Ok(mut idle) = self.idle.lock() {
            idle.clear();
        }
    }
}

/// A function by name, shared.
pub(super) type Functions = Arc<BTreeMap<String, Arc<Function>>>;
