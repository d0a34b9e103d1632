//! Whether the sender of an event is who it says, for sources whose senders sign.
//!
//! What the producer sealed was judged at its door. Of what a sender published straight to QStash the signature is verified here,
//! once: an event that was admitted before is not refused because its sender's secret was replaced since. The timestamp is judged
//! by the time at which the event first arrived, which its record keeps, so that no retry and no replay is too late.

use std::time::Duration;

use surehook::{
    digest::Sha256,
    ledger::Record,
    qstash::client::EVENT_HEADER,
    signing::SigningSecrets,
    sources::{SenderRefusal, Source, SourceSecrets, Stamp, seal},
    store::StoreError,
    web::{Answer, Incoming, Outcome},
};

use crate::{Consumer, Handler, Named, away};

/// What senders are judged by.
#[derive(Debug, Clone, Default)]
pub struct Senders {
    /// The secrets of senders.
    pub secrets: SourceSecrets,
    /// What opens the producer's seals; `None` where it is not configured, and no seal is believed.
    pub seals: Option<SigningSecrets>,
}

/// An event whose signature is right, and when it must have been made.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    source: Source,
    stamp: Stamp,
    /// How much longer it may have been on its way.
    delay: Duration,
}

impl Admission {
    /// Judges the timestamp by when the event first arrived.
    pub(crate) fn judge(&self, record: &Record) -> Result<(), SenderRefusal> {
        self.source.judge(self.stamp, record.first_seen, self.delay)
    }
}

impl Senders {
    /// Whether the producer has judged this event.
    fn is_sealed(&self, source: &Source, request: &Incoming) -> bool {
        let sealed = request.header(seal::SEAL_HEADER).zip(self.seals.as_ref());
        sealed.is_some_and(|(text, secrets)| {
            let body = Sha256::of(&request.body);
            seal::open(secrets, text, &source.name, body).is_some()
        })
    }
}

impl<H: Handler> Consumer<H> {
    /// Admits an event, or says why not. `None` where nothing is left to judge.
    pub(crate) async fn admit(
        &self,
        source: &Source,
        named: &Named,
        request: &Incoming,
    ) -> Result<Option<Admission>, Answer> {
        let Some((secret, _)) = source.secret.as_ref().zip(source.signature.as_ref()) else { return Ok(None) };
        if self.senders.is_sealed(source, request) {
            return Ok(None);
        }
        let secrets = self.senders.secrets.named(secret);
        if secrets.is_empty() {
            tracing::error!(source = source.name, secret, "SOURCE_SECRETS has no secret of this name");
            return Err(Answer::about(&named.event.key, Outcome::SecretMissing(source.name.clone())));
        }
        match source.admit(secrets, &request.headers, &request.body) {
            Ok(stamp) => Ok(Some(Admission { source: source.clone(), stamp, delay: self.delay(request) })),
            Err(_refused) if self.was_admitted(named).await.map_err(away)? => Ok(None),
            Err(refused) => Err(Answer::about(&named.event.key, Outcome::SenderRefused(refused))),
        }
    }

    /// An event that was claimed before was admitted then.
    async fn was_admitted(&self, named: &Named) -> Result<bool, StoreError> {
        let record = self.store.record(&named.event.key).await?;
        Ok(record.is_some_and(|record| record.attempts > 0 && record.content == named.content))
    }

    /// A retry may be days late, when the attempts before it never reached the table. No signature covers what tells a retry, so it
    /// gains no more than the time for which records are kept: what comes twice within that is recognised.
    fn delay(&self, request: &Incoming) -> Duration {
        let is_again = request.retried() > 0 || request.header(EVENT_HEADER).is_some();
        if is_again { self.retention } else { Duration::ZERO }
    }
}
