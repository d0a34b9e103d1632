//! Rejected requests that look like their sender's own are kept, so that `surehook sources recheck` can publish them later.
//!
//! An environment tries slots in an order of its own, so that two environments seldom try the same one. A slot that is taken costs a second
//! write. Where several in a row are taken, the source is full, and the environment keeps nothing for a minute.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use surehook::{
    age::Age,
    digest::Sha256,
    store::{
        Store, StoreError,
        kept::{KeptRequest, MAX_KEPT, MAX_KEPT_BODY},
    },
    web::Moment,
};
use tokio::time::timeout;

/// Slots that are tried for one request.
const TRIES: usize = 8;
/// How long a full source is left alone.
const PAUSE: Duration = Duration::from_secs(60);
/// The distance of two slots that are tried one after the other. It has no factor in common with the number of slots, so that all come up.
const STRIDE: u16 = 331;

/// Keeps rejected requests.
#[derive(Debug, Clone)]
pub struct RejectedRequests {
    store: Store,
    /// How long the table may take.
    patience: Duration,
    /// The slot that is tried first.
    first: u16,
    sources: Arc<Mutex<BTreeMap<String, Place>>>,
}

/// Where the requests of one source go next.
#[derive(Debug, Clone, Copy)]
struct Place {
    slot: u16,
    full: Option<Age>,
}

impl RejectedRequests {
    /// Creates a keeper. `environment` is an id that no other environment has.
    pub fn new(store: Store, patience: Duration, environment: &str) -> Self {
        let digest = Sha256::of(environment.as_bytes());
        let number = digest.as_bytes().iter().take(2).fold(0, |number, byte| number << 8 | u16::from(*byte));
        Self { store, patience, first: number % MAX_KEPT, sources: Arc::default() }
    }

    /// Keeps a request of a source. Its sender is answered afterwards, because the function may be frozen then.
    pub async fn keep(&self, source: &str, request: &KeptRequest, moment: Moment) {
        if request.body.len() > MAX_KEPT_BODY {
            tracing::warn!(source, bytes = request.body.len(), "a rejected request is too large to be kept");
        } else if !self.is_full(source, moment) {
            match timeout(self.patience, self.put(source, request, moment)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(source, error = %error, "a rejected request could not be kept"),
                Err(_elapsed) => tracing::warn!(source, "a rejected request could not be kept in time"),
            }
        }
    }

    async fn put(&self, source: &str, request: &KeptRequest, moment: Moment) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let slot = self.next_slot(source);
            if self.store.keep_request(source, slot, request).await? {
                return Ok(());
            }
        }
        tracing::error!(
            source,
            "no more rejected requests are kept: run `surehook sources recheck` and mend the secret"
        );
        self.with(source, |place| place.full = Some(Age::begin(moment)));
        Ok(())
    }

    fn next_slot(&self, source: &str) -> u16 {
        self.with(source, |place| {
            let slot = place.slot;
            place.slot = (slot + STRIDE) % MAX_KEPT;
            slot
        })
    }

    fn is_full(&self, source: &str, moment: Moment) -> bool {
        self.with(source, |place| place.full.is_some_and(|full| full.elapsed(moment) < PAUSE))
    }

    fn with<T>(&self, source: &str, change: impl FnOnce(&mut Place) -> T) -> T {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(sources.entry(source.to_owned()).or_insert(Place { slot: self.first, full: None }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_slot_comes_up() {
        let slots: BTreeSet<u32> =
            (0..u32::from(MAX_KEPT)).map(|at| at * u32::from(STRIDE) % u32::from(MAX_KEPT)).collect();
        assert_eq!(slots.len(), usize::from(MAX_KEPT));
    }
}
