//! The routes as this process knows them.
//!
//! They are read in Lambda's init phase, kept for a minute, and refreshed beside the work. No event is ignored and no sender is rejected
//! by routes that are older than a second, because such an event would be lost. All ages count by both clocks ([`Age`]), because a
//! frozen environment's monotonic clock stands still.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    join,
    sync::{Mutex, MutexGuard, RwLock},
    time::timeout,
};

use super::{Store, StoreError};
use crate::{age::Age, environment::Background, routes::Routes, web::Moment};

/// Age after which an event has the routes refreshed beside its work, unless `ROUTES_REFRESH` says another. After twice this age an event
/// waits for the routes.
pub const DEFAULT_REFRESH: Duration = Duration::from_secs(60);
/// Age up to which an answer of the table counts as the present. Each retry and each unmatched event asks for the routes' version, so
/// that one partition would otherwise be read thousands of times a second during an outage.
const FRESH: Duration = Duration::from_secs(1);

/// Pause after a read that failed, because a refresh with every event would make a throttle worse.
const PAUSE: Duration = Duration::from_secs(1);
/// Time limit of the reads beside that of the routes.
const MAX_BESIDE: Duration = Duration::from_secs(1);

/// State that is refreshed together with the routes.
pub trait Beside: Send + Sync + 'static {
    /// Reads it now. The implementation reports its own failures.
    fn refresh(&self) -> impl Future<Output = ()> + Send;
}

/// Nothing.
impl Beside for () {
    async fn refresh(&self) {}
}

impl<B: Beside> Beside for Arc<B> {
    async fn refresh(&self) {
        B::refresh(self).await;
    }
}

/// How a read sees writes that have just ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consistency {
    /// It may miss them. It costs half.
    Eventual,
    /// It sees them all.
    Strong,
}

/// How the last reads ended.
#[derive(Debug, Default)]
struct Reads {
    /// The last read that failed.
    failed: Option<Age>,
    /// The beginning of the last strongly consistent read that succeeded.
    strong: Option<Age>,
}

/// The cache.
#[derive(Debug)]
pub struct RoutesCache<B> {
    store: Store,
    beside: B,
    background: Background,
    /// Age after which an event has the routes refreshed beside its work.
    refresh: Duration,
    known: RwLock<Option<(Arc<Routes>, Age)>>,
    /// Locked while a read is under way, so that concurrent events share one read.
    reads: Mutex<Reads>,
}

impl<B: Beside> RoutesCache<B> {
    /// Returns an empty cache over a table. It refreshes itself in the background.
    pub fn new(store: Store, beside: B, background: Background) -> Self {
        let (refresh, known) = (DEFAULT_REFRESH, RwLock::new(None));
        Self { store, beside, background, refresh, known, reads: Mutex::default() }
    }

    /// Returns the same cache with another age after which the routes are refreshed. With a millisecond, each event reads them.
    pub fn refreshed_after(self, refresh: Duration) -> Self {
        Self { refresh, ..self }
    }

    /// Age after which an event waits for the routes.
    fn stale(&self) -> Duration {
        self.refresh * 2
    }

    /// Returns the state that is refreshed together with the routes.
    pub fn beside(&self) -> &B {
        &self.beside
    }

    /// Reads the routes for the first time, in the init phase.
    pub async fn load(&self, moment: Moment) -> Result<Arc<Routes>, StoreError> {
        self.read_whole(Consistency::Eventual, moment).await
    }

    /// Returns the routes as they stood at most a second ago, of at least the version `least`.
    pub async fn current(&self, least: u64, moment: Moment) -> Result<Arc<Routes>, StoreError> {
        let reads = self.reads.lock().await;
        match self.known_within(&reads, FRESH, Consistency::Strong, moment).await {
            Some(routes) if routes.version >= least => Ok(routes),
            _ => self.read(reads, Consistency::Strong, moment).await,
        }
    }

    /// Returns the routes as they stand in the table now. It reads their version, and the routes only where that changed.
    pub async fn latest(&self, moment: Moment) -> Result<Arc<Routes>, StoreError> {
        let reads = self.reads.lock().await;
        self.read(reads, Consistency::Strong, moment).await
    }

    /// Returns routes of at least the version `least` of which `enough` is true, or else the current ones.
    pub async fn knowing(
        self: &Arc<Self>,
        enough: impl Fn(&Routes) -> bool,
        least: u64,
        moment: Moment,
    ) -> Result<Arc<Routes>, StoreError> {
        let enough = |routes: &Routes| routes.version >= least && enough(routes);
        let known = self.known.read().await.clone().filter(|(routes, _)| enough(routes));
        let Some((routes, read)) = known else { return self.current(least, moment).await };
        if read.elapsed(moment) > self.stale() {
            let fresh = self.read_whole(Consistency::Eventual, moment).await?;
            return if enough(&fresh) { Ok(fresh) } else { self.current(least, moment).await };
        }
        self.refresh_if_older(read, moment);
        Ok(routes)
    }

    /// Returns the known routes, for work that must go on while the table is unavailable. Waits for newer ones for at most `patience`
    /// where the known ones are older than two minutes; returns `None` where none were ever read.
    pub async fn available(self: &Arc<Self>, patience: Duration, moment: Moment) -> Option<Arc<Routes>> {
        let known = self.known.read().await.clone();
        match known {
            Some((routes, read)) if read.elapsed(moment) <= self.stale() => {
                self.refresh_if_older(read, moment);
                Some(routes)
            }
            older => self.within(self.refresh, patience, moment).await.or(older.map(|(routes, _)| routes)),
        }
    }

    /// Returns the routes as they stood at most a second ago; `None` where the table does not answer within `patience`.
    pub async fn fresh(self: &Arc<Self>, patience: Duration, moment: Moment) -> Option<Arc<Routes>> {
        self.within(FRESH, patience, moment).await
    }

    /// The read goes on in the background after `patience`.
    async fn within(self: &Arc<Self>, age: Duration, patience: Duration, moment: Moment) -> Option<Arc<Routes>> {
        let reading = self.background.spawn(Arc::clone(self).read_within(age, Consistency::Strong, moment));
        timeout(patience, reading).await.ok()?.ok()?
    }

    /// Refreshes routes that are older than a minute, without making the event wait. A later event repeats what fails.
    fn refresh_if_older(self: &Arc<Self>, read: Age, moment: Moment) {
        if read.elapsed(moment) > self.refresh {
            drop(self.background.spawn(Arc::clone(self).read_within(self.refresh, Consistency::Eventual, moment)));
        }
    }

    /// Returns routes of this age, read if need be. After a failure the table is left alone for a moment.
    async fn read_within(
        self: Arc<Self>,
        age: Duration,
        consistency: Consistency,
        moment: Moment,
    ) -> Option<Arc<Routes>> {
        let reads = self.reads.lock().await;
        if let Some(routes) = self.known_within(&reads, age, consistency, moment).await {
            return Some(routes);
        }
        if reads.failed.is_some_and(|failed| failed.elapsed(moment) < PAUSE) {
            return None;
        }
        let read = self.read(reads, consistency, moment).await;
        read.inspect_err(|error| tracing::error!(error = %error, "the routes can't be read")).ok()
    }

    async fn known_within(
        &self,
        reads: &Reads,
        age: Duration,
        consistency: Consistency,
        moment: Moment,
    ) -> Option<Arc<Routes>> {
        let (routes, read) = self.known.read().await.clone()?;
        let read = if consistency == Consistency::Strong { reads.strong? } else { read };
        (read.elapsed(moment) < age).then_some(routes)
    }

    async fn read(
        &self,
        mut reads: MutexGuard<'_, Reads>,
        consistency: Consistency,
        moment: Moment,
    ) -> Result<Arc<Routes>, StoreError> {
        let began = Age::begin(moment);
        let read = match consistency {
            Consistency::Strong => self.read_changed(moment).await,
            Consistency::Eventual => self.read_whole(consistency, moment).await,
        };
        reads.failed = read.as_ref().err().map(|_| Age::begin(moment));
        if read.is_ok() && consistency == Consistency::Strong {
            reads.strong = Some(began);
        }
        read
    }

    /// Reads the routes' version, and the routes only where they changed. Known routes that are older than two minutes are read again
    /// all the same, because a restored table may give the same version to other routes.
    async fn read_changed(&self, moment: Moment) -> Result<Arc<Routes>, StoreError> {
        let known = self.known.read().await.clone().filter(|(_, read)| read.elapsed(moment) <= self.stale());
        match known {
            // A table without routes has no version either.
            Some((routes, _)) if routes.version > 0 && self.store.routes_version().await? == routes.version => {
                Ok(routes)
            }
            _ => self.read_whole(Consistency::Strong, moment).await,
        }
    }

    async fn read_whole(&self, consistency: Consistency, moment: Moment) -> Result<Arc<Routes>, StoreError> {
        let began = Age::begin(moment);
        let routes = self.store.routes(consistency == Consistency::Strong);
        // A slow read beside the routes must not make the event wait.
        let (routes, _late) = join!(routes, timeout(MAX_BESIDE, self.beside.refresh()));
        Ok(self.keep(Arc::new(routes?), began).await)
    }

    /// Keeps routes unless newer ones are known, because a late answer must not bring back what was replaced.
    async fn keep(&self, routes: Arc<Routes>, began: Age) -> Arc<Routes> {
        let mut known = self.known.write().await;
        match known.as_ref() {
            Some((newer, _)) if newer.version > routes.version => Arc::clone(newer),
            _ => {
                *known = Some((Arc::clone(&routes), began));
                routes
            }
        }
    }
}
