//! The signing keys as this process knows them, read anew when a signature fails against them.
//!
//! Keys that are rotated at QStash and replaced in their store therefore need no deployment. Forged signatures cause one read of the
//! store a minute at most, and none in the first minute of an environment, which has just read the keys. A message that is rejected in
//! that minute, because its key was rotated then, is accepted when QStash retries it.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{sync::Mutex, time::timeout};

use super::{Refusal, SigningKeys, Verified};
use crate::{
    age::Age,
    config::{Reader, SIGNING_KEYS, Variables},
    telemetry::{Metric, Tally},
    web::{EndpointUrl, Incoming, Moment},
};

/// The shortest time between two reads of the keys' store.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a delivery waits for keys that are read anew.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keys, and where newer ones are.
#[derive(Debug)]
pub struct KeyRing {
    known: RwLock<Arc<SigningKeys>>,
    variables: Variables,
    /// The last read of the store. Locked during a read.
    asked: Mutex<Age>,
}

impl KeyRing {
    /// Returns a ring of the keys that `variables` had at `loaded`. It reads newer ones where the variables name a store.
    pub fn new(keys: SigningKeys, variables: Variables, loaded: Moment) -> Self {
        Self { known: RwLock::new(Arc::new(keys)), variables, asked: Mutex::new(Age::begin(loaded)) }
    }

    /// Returns a ring whose keys never change.
    pub fn fixed(keys: SigningKeys, loaded: Moment) -> Self {
        Self::new(keys, Variables::plain(|_| None), loaded)
    }

    /// Verifies that QStash signed this request for one of our URLs.
    pub async fn verify(
        &self,
        request: &Incoming,
        bases: &[EndpointUrl],
        moment: Moment,
        tally: &Tally,
    ) -> Result<Verified, Refusal> {
        let known = self.known();
        let mut verified = request.verify(&known, bases, moment.now);
        if matches!(verified, Err(Refusal::Signature)) && self.learn(&known, moment).await {
            verified = request.verify(&self.known(), bases, moment.now);
            if verified.is_ok() {
                tally.add(Metric::KeysChanged, 1);
            }
        }
        if verified.as_ref().is_ok_and(Verified::is_by_next_key) {
            tally.add(Metric::NextKeyUsed, 1);
        }
        verified
    }

    fn known(&self) -> Arc<SigningKeys> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there are others by now than those that were `tried`.
    async fn learn(&self, tried: &Arc<SigningKeys>, moment: Moment) -> bool {
        if !self.variables.has_references() {
            return false;
        }
        let mut asked = self.asked.lock().await;
        // Somebody else may have learnt them while we waited.
        if !Arc::ptr_eq(tried, &self.known()) {
            return true;
        }
        if asked.elapsed(moment) < PAUSE {
            return false;
        }
        *asked = Age::begin(moment);
        match timeout(PATIENCE, self.read()).await {
            Ok(Some(keys)) if keys != **tried => {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                true
            }
            Ok(_) => false,
            Err(_elapsed) => {
                tracing::warn!("the signing keys could not be read anew in time");
                false
            }
        }
    }

    async fn read(&self) -> Option<SigningKeys> {
        let variables = self.variables.again(&SIGNING_KEYS).await;
        let mut reader = Reader::new(&variables);
        let keys = reader.signing_keys();
        if let Err(error) = reader.finish() {
            tracing::error!(error = %error, "the signing keys can't be read anew");
            return None;
        }
        keys
    }
}
