//! The events since the routes were applied.

use std::time::Duration;

use surehook::{
    Millis, outside,
    routes::Routes,
    store::{Store, StoreError, inspect::Recent},
};

use crate::doctor::facts::{Learned, MOST_PAGES, Unknown, Usage};

/// After this time no consumer uses the routes before, in milliseconds: they keep routes for two minutes, and the operator's clock may
/// differ from theirs.
const SETTLED: Millis = 5 * 60_000;

/// Reads the records of these events; `None` without routes. Records live for `retention`, so that older events may be missing.
pub(super) async fn of(
    store: &Learned<Store>,
    routes: &Learned<Routes>,
    retention: Duration,
) -> Option<Learned<Usage>> {
    let (Ok(store), Ok(routes)) = (store, routes) else { return None };
    if routes.routes.is_empty() {
        return None;
    }
    let now = outside::now();
    let remembered = now - Millis::try_from(retention.as_millis()).unwrap_or(Millis::MAX);
    Some(asked(store, routes.version, now, remembered).await.map_err(Unknown::from))
}

async fn asked(store: &Store, version: u64, now: Millis, remembered: Millis) -> Result<Usage, StoreError> {
    let applied = store.applied_routes(version).await?.map_or(now, |applied| applied.at);
    let since = remembered.max(applied + SETTLED);
    let recent = match since < now {
        true => store.recent(since, MOST_PAGES).await?,
        false => Recent { records: Vec::new(), is_whole: true },
    };
    Ok(Usage { since, recent })
}
