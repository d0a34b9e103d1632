//! Verifies kept requests again, with the secrets of now, and publishes those that pass.

use surehook::{
    sources::Source,
    store::kept::{KeptRequest, Slot},
    web::{Moment, Outcome},
};

use crate::{Producer, door::Admitted};

/// What became of a kept request.
#[derive(Debug)]
pub enum Rechecked {
    /// It passes, and its events are durable.
    Published,
    /// It passes; nothing was published, because that was only asked.
    Passes,
    /// It does not pass, or its events could not be made durable. It is kept.
    Rejected(Box<Outcome>),
}

impl Producer {
    /// Verifies a kept request of a source as of its time of arrival. If it passes and `publishes`, its events become durable, and it is
    /// forgotten. May be repeated: its events keep their ids.
    pub async fn recheck(&self, source: &Source, slot: &Slot, publishes: bool, moment: Moment) -> Rechecked {
        match self.publish_kept(source, &slot.request, publishes, moment).await {
            Err(rejected) => Rechecked::Rejected(Box::new(rejected)),
            Ok(()) if !publishes => Rechecked::Passes,
            Ok(()) => {
                if let Err(error) = self.durable.store.forget_request(&source.name, slot).await {
                    tracing::warn!(error = %error, "a request was published, but is still kept");
                }
                Rechecked::Published
            }
        }
    }

    async fn publish_kept(
        &self,
        source: &Source,
        kept: &KeptRequest,
        publishes: bool,
        moment: Moment,
    ) -> Result<(), Outcome> {
        let request = kept.restored(self.door.secrets_of(source));
        let arrival = Moment { now: kept.at, ..moment };
        self.door.judge_sender(source, &request, arrival)?;
        let routes = self.door.routes.available(self.door.patience, moment).await;
        let admitted = Admitted { source: source.clone(), routes };
        let events = self.events(&kept.topic, &admitted, &request, moment, &kept.fresh_id)?;
        if !publishes {
            return Ok(());
        }
        let part = self.make_durable(events, moment).await;
        if part.outcome.is_accepted() { Ok(()) } else { Err(part.outcome) }
    }
}
