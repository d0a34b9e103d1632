//! Whether the sender of an event is who it says, for sources whose senders sign.
//!
//! What the producer sealed was judged at its door. What a sender published straight to QStash is judged here, before its event is
//! claimed: so what was claimed before was admitted, and no retry of it is refused because its timestamp has grown old or its sender's
//! secret was replaced.

use std::time::Duration;

use surehook::{
    Millis,
    identity::Identity,
    ledger::Record,
    secret::Secret,
    sources::{
        SenderRefusal, Source,
        seal::{SEAL_HEADER, SEAL_SECRET, Sealed},
    },
    store::StoreError,
    web::{Answer, Incoming, Outcome},
};

use crate::{Consumer, Delivery, Event, Handler, Named, away};

impl<H: Handler> Consumer<H> {
    /// Admits an event, or says why not.
    pub(crate) async fn admit(&self, source: &Source, named: &Named, delivery: Delivery<'_>) -> Result<(), Answer> {
        if source.signature.is_none() {
            return Ok(());
        }
        let now = delivery.moment.now;
        let judged = match self.judge(source, delivery) {
            Err(Outcome::SenderRefused(_)) if self.was_admitted(named, now).await.map_err(away)? => Ok(()),
            judged => judged,
        };
        judged.map_err(|outcome| Answer::about(&named.event.key, outcome))
    }

    fn judge(&self, source: &Source, delivery: Delivery<'_>) -> Result<(), Outcome> {
        let Delivery { endpoint, request, moment, .. } = delivery;
        // One endpoint: below another path the same bytes would be another event, and nobody signs paths.
        if endpoint.name() != format!("/{}", source.name) {
            return Err(Outcome::SenderRefused(SenderRefusal::OtherPath));
        }
        match request.header(SEAL_HEADER) {
            Some(seal) => self.judge_sealed(source, delivery, seal),
            None => self.judge_signed(source, request, moment.now),
        }
    }

    /// A seal says when the event arrived. Records are not kept for longer than their retention, and so no seal is believed.
    fn judge_sealed(&self, source: &Source, delivery: Delivery<'_>, seal: &str) -> Result<(), Outcome> {
        let Delivery { verified, request, moment, .. } = delivery;
        let secrets = self.secrets_of(source, SEAL_SECRET)?;
        let sealed = Sealed { source, headers: &request.headers, body: verified.digest() };
        let arrived = sealed.open(secrets, seal).ok_or(Outcome::SenderRefused(SenderRefusal::BadSeal))?;
        let age = Duration::from_millis(u64::try_from(moment.now.saturating_sub(arrived)).unwrap_or_default());
        if age < self.retention { Ok(()) } else { Err(Outcome::SenderRefused(SenderRefusal::Stale)) }
    }

    fn judge_signed(&self, source: &Source, request: &Incoming, now: Millis) -> Result<(), Outcome> {
        let secrets = self.secrets_of(source, source.secret.as_deref().unwrap_or_default())?;
        if !source.usable(secrets) {
            return Err(self.lacks(source, "a secret that the scheme of this source can use"));
        }
        let stamp = source.admit(secrets, &request.headers, &request.body);
        let judged = stamp.and_then(|stamp| source.judge(stamp, now, self.delay(source)));
        judged.map_err(Outcome::SenderRefused)
    }

    fn secrets_of(&self, source: &Source, name: &str) -> Result<&[Secret], Outcome> {
        match self.secrets.named(name) {
            [] => Err(self.lacks(source, name)),
            secrets => Ok(secrets),
        }
    }

    fn lacks(&self, source: &Source, what: &str) -> Outcome {
        tracing::error!(source = source.name, what, "SOURCE_SECRETS has not what a source needs");
        Outcome::SecretMissing(source.name.clone())
    }

    /// Returns whether an event was claimed before: it was admitted then. A conflict that was replayed as a new event has a record of its
    /// own.
    async fn was_admitted(&self, named: &Named, now: Millis) -> Result<bool, StoreError> {
        let Named { event: Event { key, event_type, .. }, content } = named;
        let was_admitted =
            |record: &Record| !record.is_expired(now) && record.has_admitted(content, event_type.as_deref());
        let record = self.store.record(key).await?;
        let is_other = record.as_ref().is_some_and(|record| record.content != *content);
        let record = if is_other { self.store.record(&key.of_conflict(content)).await? } else { record };
        Ok(record.is_some_and(|record| was_admitted(&record)))
    }

    /// How much longer an event may have been on its way than its tolerance. Nobody whom we believe says when QStash got it: it may have
    /// been published with a delay, held back, or tried while the table was away. So it may be as old as the same event is recognised;
    /// where the signature does not cover what names an event, nothing would be recognised, and the tolerance is all.
    fn delay(&self, source: &Source) -> Duration {
        if matches!(source.identity, Identity::HeaderAndBody(_) | Identity::Message) {
            return Duration::ZERO;
        }
        let tolerance = source.signature.as_ref().and_then(|signature| signature.tolerance_ms).unwrap_or_default();
        self.retention.saturating_sub(Duration::from_millis(tolerance) * 3)
    }
}
