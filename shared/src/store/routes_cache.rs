//! The routes as this process knows them.
//!
//! Read in Lambda's init phase, kept for a minute, refreshed beside the work and not in its way. Nothing is concluded from
//! an absence before the table was asked again, consistently: an event that is ignored by mistake is lost.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    join,
    sync::RwLock,
    time::{Instant, timeout},
};

use super::{Store, StoreError};
use crate::routes::Routes;

/// After this, the next event refreshes the routes beside its work.
const KEPT: Duration = Duration::from_secs(60);
/// After this, an event waits for the routes: a process that slept for an hour must not deliver by what stood then.
const STALE: Duration = Duration::from_secs(120);

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

/// The cache.
#[derive(Debug)]
pub struct RoutesCache<B> {
    store: Store,
    beside: B,
    known: RwLock<Option<(Arc<Routes>, Instant)>>,
}

impl<B: Beside> RoutesCache<B> {
    /// An empty cache over a table.
    pub fn new(store: Store, beside: B) -> Self {
        Self { store, beside, known: RwLock::new(None) }
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

    /// The routes as they stand in the table at this moment. Where those that are known still do, only their number is read.
    pub async fn current(&self) -> Result<Arc<Routes>, StoreError> {
        let (known, began) = (self.known.read().await.as_ref().map(|(routes, _)| Arc::clone(routes)), Instant::now());
        match known {
            // Where none were applied there is no number either.
            Some(routes) if routes.version > 0 && self.store.routes_version().await? == routes.version => {
                Ok(self.keep(routes, began).await)
            }
            _ => self.refresh(true).await,
        }
    }

    /// The routes that are known, however old: they are refreshed beside the work. For those who must do their work while the table is
    /// away.
    pub async fn at_hand(self: &Arc<Self>) -> Result<Arc<Routes>, StoreError> {
        let known = self.known.read().await.clone();
        let Some((routes, read)) = known else { return self.refresh(false).await };
        if read.elapsed() > KEPT {
            self.refresh_beside();
        }
        Ok(routes)
    }

    /// The routes as they stood at most so long ago.
    pub async fn within(&self, age: Duration) -> Result<Arc<Routes>, StoreError> {
        let known = self.known.read().await.clone();
        match known {
            Some((routes, read)) if read.elapsed() < age => Ok(routes),
            _ => self.current().await,
        }
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

    /// Refreshes without making the event wait. What fails now is tried again with the next event.
    fn refresh_beside(self: &Arc<Self>) {
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = cache.refresh(false).await {
                tracing::warn!(error = %error, "the routes could not be refreshed");
            }
        });
    }
}
