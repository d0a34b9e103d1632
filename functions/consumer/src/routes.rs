//! The routes as this process knows them, and with them the breakers.

use std::sync::Arc;

use surehook::store::routes_cache::{self, Beside};

use crate::breakers::Breakers;

/// The cache.
pub type RoutesCache = routes_cache::RoutesCache<Arc<Breakers>>;

impl Beside for Breakers {
    async fn refresh(&self) {
        if let Err(error) = self.read().await {
            tracing::warn!(error = %error, "the breakers could not be read; those that are known stand");
        }
    }
}
