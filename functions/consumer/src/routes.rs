//! The routes as this process knows them.
//!
//! Read in Lambda's init phase, kept for a minute, refreshed beside the work and not in its way. Nothing is concluded from
//! an absence before the table was asked again, consistently: an event that is ignored by mistake is lost.

use std::{sync::Arc, time::Duration};

use surehook::{
    routes::Routes,
    store::{Store, StoreError},
};
use tokio::{
    join,
    sync::RwLock,
    time::{Instant, timeout},
};

use crate::breakers::Breakers;

/// After this, the next event refreshes the routes beside its work.
const KEPT: Duration = Duration::from_secs(60);
/// After this, an event waits for the routes: a process that slept for an hour must not deliver by what stood then.
const STALE: Duration = Duration::from_secs(120);

/// How long the breakers may take that are read beside the routes.
const MOST_FOR_BREAKERS: Duration = Duration::from_secs(1);

/// The cache.
#[derive(Debug)]
pub struct RoutesCache {
    store: Store,
    breakers: Arc<Breakers>,
    known: RwLock<Option<(Arc<Routes>, Instant)>>,
}

impl RoutesCache {
    /// An empty cache over a table. The breakers are refreshed together with the routes.
    pub fn new(store: Store, breakers: Arc<Breakers>) -> Self {
        Self { store, breakers, known: RwLock::new(None) }
    }

    /// The breakers that are refreshed together with the routes.
    pub fn breakers(&self) -> &Arc<Breakers> {
        &self.breakers
    }

    /// Reads the routes now.
    pub async fn refresh(&self, consistent: bool) -> Result<Arc<Routes>, StoreError> {
        let began = Instant::now();
        // No event waits for its routes because the breakers are slow.
        let breakers = timeout(MOST_FOR_BREAKERS, self.breakers.refresh());
        let (routes, breakers) = join!(self.store.routes(consistent), breakers);
        if let Ok(Err(error)) = breakers {
            tracing::warn!(error = %error, "the breakers could not be read; those that are known stand");
        }
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
        let known = self.known.read().await.as_ref().map(|(routes, _)| Arc::clone(routes));
        match known {
            // Where none were applied there is no number either.
            Some(routes) if routes.version > 0 && self.store.routes_version().await? == routes.version => Ok(routes),
            _ => self.refresh(true).await,
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
