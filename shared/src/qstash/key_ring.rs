//! The signing keys as this process knows them, read anew when a signature fails against them.
//!
//! So keys that are rotated at QStash and replaced where they are kept need no deployment. Who sends us forged signatures makes us
//! ask for the keys once a minute at most.

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

/// How long the keys' keeper is left alone after it was asked.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a delivery waits for keys that are read anew.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keys, and where newer ones are.
#[derive(Debug)]
pub struct KeyRing {
    known: RwLock<Arc<SigningKeys>>,
    variables: Variables,
    /// When the keeper was asked last. Locked while it is being asked.
    asked: Mutex<Option<Age>>,
}

impl KeyRing {
    /// A ring of the keys that `variables` had. Where they only name the keys, it can learn newer ones.
    pub fn new(keys: SigningKeys, variables: Variables) -> Self {
        Self { known: RwLock::new(Arc::new(keys)), variables, asked: Mutex::default() }
    }

    /// A ring whose keys never change.
    pub fn fixed(keys: SigningKeys) -> Self {
        Self::new(keys, Variables::plain(|_| None))
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
        if asked.is_some_and(|asked| asked.elapsed(moment) < PAUSE) {
            return false;
        }
        *asked = Some(Age::begin(moment));
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
