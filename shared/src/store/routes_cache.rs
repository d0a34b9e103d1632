//! The routes as this process knows them.
//!
//! Read in Lambda's init phase, kept for a minute, refreshed beside the work and not in its way. Nothing is concluded from
//! an absence before the table was asked again, consistently: an event that is ignored by mistake is lost.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    join,
    sync::{Mutex, RwLock},
    time::{Instant, timeout},
};

use super::{Store, StoreError};
use crate::routes::Routes;

/// After this, the next event refreshes the routes beside its work.
const KEPT: Duration = Duration::from_secs(60);
/// After this, an event waits for the routes: a process that slept for an hour must not deliver by what stood then.
const STALE: Duration = Duration::from_secs(120);

/// How long the table is left alone after it did not answer: a refresh with every event would make a throttle worse.
const PAUSE: Duration = Duration::from_secs(1);
/// How long what is read beside the routes may take.
const MOST_BESIDE: Duration = Duration::from_secs(1);

/// What is refreshed together with the routes.
pub trait Beside: Send + Sync + 'static {
    /// Reads it now. What fails is its own to tell.
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

/// How the last reads ended that one made for all.
#[derive(Debug, Default)]
struct Reads {
    /// When the last one failed, if it did.
    failed: Option<Instant>,
    /// When the last one began that saw all that had been written.
    consistent: Option<Instant>,
}

/// The cache.
#[derive(Debug)]
pub struct RoutesCache<B> {
    store: Store,
    beside: B,
    known: RwLock<Option<(Arc<Routes>, Instant)>>,
    /// Locked while a read is under way.
    reads: Mutex<Reads>,
}

impl<B: Beside> RoutesCache<B> {
    /// An empty cache over a table.
    pub fn new(store: Store, beside: B) -> Self {
        Self { store, beside, known: RwLock::new(None), reads: Mutex::default() }
    }

    /// What is refreshed together with the routes.
    pub fn beside(&self) -> &B {
        &self.beside
    }

    /// Reads the routes now.
    pub async fn refresh(&self, consistent: bool) -> Result<Arc<Routes>, StoreError> {
        let began = Instant::now();
        // No event waits for its routes because something else is slow.
        let (routes, _late) = join!(self.store.routes(consistent), timeout(MOST_BESIDE, self.beside.refresh()));
        Ok(self.keep(Arc::new(routes?), began).await)
    }

    /// Keeps what was read, unless something newer is known: an answer that came late must not bring back what was replaced.
    async fn keep(&self, routes: Arc<Routes>, began: Instant) -> Arc<Routes> {
        let mut known = self.known.write().await;
        match known.as_ref() {
            Some((newer, _)) if newer.version > routes.version => Arc::clone(newer),
            _ => {
                *known = Some((Arc::clone(&routes), began));
                routes
            }
        }
    }

    /// The routes as they stand in the table at this moment. Where those that are known still do, only their number is read; those that
    /// are older than two minutes are read anew all the same, since a restored table may give the same number to others.
    pub async fn current(&self) -> Result<Arc<Routes>, StoreError> {
        let known = self.known.read().await.clone().filter(|(_, read)| read.elapsed() <= STALE);
        match known {
            // Where none were applied there is no number either.
            Some((routes, _)) if routes.version > 0 && self.store.routes_version().await? == routes.version => {
                Ok(routes)
            }
            _ => self.refresh(true).await,
        }
    }

    /// The routes that are known, for those who must do their work while the table is away: those that are older than two minutes only
    /// where the table does not answer within `patience`; `None` where none were ever read.
    pub async fn at_hand(self: &Arc<Self>, patience: Duration) -> Option<Arc<Routes>> {
        let known = self.known.read().await.clone();
        match known {
            Some((routes, read)) if read.elapsed() <= STALE => {
                if read.elapsed() > KEPT {
                    self.refresh_beside();
                }
                Some(routes)
            }
            older => self.within(KEPT, patience).await.or(older.map(|(routes, _)| routes)),
        }
    }

    /// The routes as they stood at most so long ago; `None` where the table does not say so within `patience`. The read goes on
    /// beside the work.
    pub async fn within(self: &Arc<Self>, age: Duration, patience: Duration) -> Option<Arc<Routes>> {
        let reading = tokio::spawn(Arc::clone(self).read_within(age, true));
        timeout(patience, reading).await.ok()?.ok()?
    }

    /// One reads at a time, and the others have what it read. After a failure the table is left alone for a moment.
    async fn read_within(self: Arc<Self>, age: Duration, consistent: bool) -> Option<Arc<Routes>> {
        let mut reads = self.reads.lock().await;
        let known = self.known.read().await.clone();
        if let Some((routes, read)) = known
            && if consistent { reads.consistent } else { Some(read) }.is_some_and(|at| at.elapsed() < age)
        {
            return Some(routes);
        }
        if reads.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return None;
        }
        // What is read beside the routes is refreshed with the whole of them only.
        let began = Instant::now();
        let read = if consistent { self.current().await } else { self.refresh(false).await };
        reads.failed = read.as_ref().err().map(|_| Instant::now());
        let routes = read.inspect_err(|error| tracing::error!(error = %error, "the routes can't be read")).ok()?;
        reads.consistent = if consistent { Some(began) } else { reads.consistent };
        Some(self.keep(routes, began).await)
    }

    /// Routes of which `enough` is true, or the routes as they stand in the table at this moment.
    pub async fn knowing(self: &Arc<Self>, enough: impl Fn(&Routes) -> bool) -> Result<Arc<Routes>, StoreError> {
        let known = self.known.read().await.clone();
        match known {
            Some((routes, read)) if enough(&routes) => {
                if read.elapsed() > STALE {
                    let fresh = self.refresh(false).await?;
                    return if enough(&fresh) { Ok(fresh) } else { self.current().await };
                }
                if read.elapsed() > KEPT {
                    self.refresh_beside();
                }
                Ok(routes)
            }
            _ => self.current().await,
        }
    }

    /// Refreshes without making the event wait. What fails now is tried again with a later event.
    fn refresh_beside(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).read_within(KEPT, false));
    }
}
