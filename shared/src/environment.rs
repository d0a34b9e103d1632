//! Lambda's execution environment, which freezes between two invocations.
//!
//! A task that still runs when an invocation has answered stops in the middle and goes on minutes or hours later, with the locks that it
//! held. A connection that was idle then may be gone without a sign. [`Environment`] is told where each invocation begins and ends: it
//! stops such tasks, and it has the pools of connections built anew.

use std::{
    fmt,
    future::Future,
    mem,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use crate::{age::Age, web::Moment};

/// Time for which the answer waits for background tasks.
const BACKGROUND_PATIENCE: Duration = Duration::from_millis(200);
/// Frozen time, in all, after which no connection is used again. Load balancers close idle connections after 60 s (AWS, Elastic Load
/// Balancing, "Connection idle timeout"), and a frozen environment does not see that.
const CONNECTIONS_OUTLIVE: Duration = Duration::from_secs(30);

/// The freezes of this process.
static FREEZES: LazyLock<Freezes> = LazyLock::new(Freezes::default);

/// The execution environment of one process.
#[derive(Debug)]
pub struct Environment {
    start: Moment,
    background: Background,
    freezes: Freezes,
    /// Invocations that are under way. It is more than one only on Lambda Managed Instances.
    active: AtomicUsize,
    frozen: Mutex<Frozen>,
}

/// How long the environment was frozen since the pools were built.
#[derive(Debug)]
struct Frozen {
    /// The beginning of the last invocation, or of the process.
    last: Age,
    sum: Duration,
}

/// An invocation that is under way. It ends when this is dropped.
#[derive(Debug)]
pub struct Invocation<'a>(&'a Environment);

impl Environment {
    /// Returns the environment of a process that starts at this moment.
    pub fn new(start: Moment) -> Self {
        let frozen = Mutex::new(Frozen { last: Age::begin(start), sum: Duration::ZERO });
        let (background, active) = (Background::default(), AtomicUsize::new(0));
        Self { start, background, freezes: FREEZES.clone(), active, frozen }
    }

    /// Returns the moment at which the process started.
    pub fn start(&self) -> Moment {
        self.start
    }

    /// Returns the tasks beside the work.
    pub fn background(&self) -> Background {
        self.background.clone()
    }

    /// Begins an invocation: stops the tasks that the last ones left behind, and counts freezes.
    pub fn begin(&self, moment: Moment) -> Invocation<'_> {
        // Lambda freezes no environment in which an invocation is under way, so that its tasks go on.
        if self.active.fetch_add(1, Ordering::SeqCst) == 0 {
            self.background.abort();
        }
        self.count_freezes(moment);
        Invocation(self)
    }

    fn count_freezes(&self, moment: Moment) {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = mem::replace(&mut frozen.last, Age::begin(moment));
        frozen.sum += last.frozen(moment);
        if frozen.sum >= CONNECTIONS_OUTLIVE {
            frozen.sum = Duration::ZERO;
            self.freezes.add();
        }
    }
}

impl Invocation<'_> {
    /// Gives background tasks a moment, so that the freeze does not catch them.
    pub async fn end(self) {
        if self.0.active.load(Ordering::SeqCst) == 1 {
            self.0.background.settle().await;
        }
    }
}

impl Drop for Invocation<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tasks beside the work. None outlives the answer of its invocation by more than the freeze.
#[derive(Debug, Clone, Default)]
pub struct Background(Arc<Mutex<Tasks>>);

#[derive(Debug, Default)]
struct Tasks {
    running: JoinSet<()>,
    /// Tasks that an answer did not wait for any longer.
    overdue: Vec<JoinSet<()>>,
}

impl Background {
    /// Runs a task beside the work. The receiver has its result, or an error where the task was aborted.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        self.with(|tasks| {
            while tasks.running.try_join_next().is_some() {}
            tasks.running.spawn(async move { drop(sender.send(work.await)) });
        });
        receiver
    }

    /// Waits for the tasks that run now, for 200 ms at most. Tasks that need longer are overdue.
    pub async fn settle(&self) {
        let mut running = self.with(|tasks| mem::take(&mut tasks.running));
        if running.is_empty() {
            return;
        }
        let _elapsed = timeout(BACKGROUND_PATIENCE, async { while running.join_next().await.is_some() {} }).await;
        if !running.is_empty() {
            self.with(|tasks| tasks.overdue.push(running));
        }
    }

    /// Aborts all tasks, which frees their locks.
    pub fn abort(&self) {
        // A `JoinSet` aborts its tasks when it is dropped.
        drop(self.with(mem::take));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Tasks) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts the freezes that connections did not outlive.
#[derive(Debug, Clone, Default)]
struct Freezes(Arc<AtomicU64>);

impl Freezes {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client that is built anew after each freeze, so that its pool of connections starts empty.
pub struct Renewed<C> {
    build: Box<dyn Fn() -> Option<C> + Send + Sync>,
    freezes: Freezes,
    /// The client, and the number of freezes before it was built.
    current: Mutex<(C, u64)>,
}

impl<C: Clone> Renewed<C> {
    /// Builds the first client. Later ones replace it only where they can be built.
    pub fn new<E>(build: impl Fn() -> Result<C, E> + Send + Sync + 'static) -> Result<Self, E> {
        Self::over(FREEZES.clone(), build)
    }

    fn over<E>(freezes: Freezes, build: impl Fn() -> Result<C, E> + Send + Sync + 'static) -> Result<Self, E> {
        let current = Mutex::new((build()?, freezes.count()));
        Ok(Self { build: Box::new(move || build().ok()), freezes, current })
    }

    /// Returns a client whose connections were all made since the last freeze.
    pub fn get(&self) -> C {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.freezes.count();
        if current.1 != count
            && let Some(client) = (self.build)()
        {
            *current = (client, count);
        }
        current.0.clone()
    }
}

impl<C> fmt::Debug for Renewed<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Renewed").field("freezes", &self.freezes).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
