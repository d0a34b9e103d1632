//! Senders that are rejected: `pk = config#rejected`, `sk = <source>#<environment>`. An environment of the producer writes its item
//! at most once a minute, and only after it rejected a plausible request.

use std::collections::BTreeMap;

use super::{
    Store, StoreError,
    item::{Builder, Reading, number, text},
    schema::EXPIRY,
};
use crate::Millis;

const PARTITION: &str = "config#rejected";
/// Age up to which counts say something about the present.
const WINDOW: Millis = 3_600_000;

/// Requests of one source in the last hour of one environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderCounts {
    /// Accepted requests.
    pub accepted: u64,
    /// Rejected requests that are plausible.
    pub rejected: u64,
}

impl SenderCounts {
    /// Returns whether the source is rejecting: at least half of its requests were rejected.
    pub fn is_rejecting(self) -> bool {
        self.rejected > 0 && self.rejected >= self.accepted
    }
}

impl Store {
    /// Replaces the counts of one environment.
    pub async fn put_rejected(
        &self,
        source: &str,
        environment: &str,
        counts: SenderCounts,
        now: Millis,
    ) -> Result<(), StoreError> {
        let item = Builder::new(PARTITION, format!("{source}#{environment}"))
            .with("source", text(source))
            .with("accepted", number(counts.accepted))
            .with("rejected", number(counts.rejected))
            .with("at", number(now))
            .with(EXPIRY, number((now + WINDOW) / 1_000))
            .build();
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await?;
        Ok(())
    }

    /// Returns the counts of the last hour of each source that rejected a plausible request, over all environments.
    pub async fn rejected(&self, now: Millis) -> Result<BTreeMap<String, SenderCounts>, StoreError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(PARTITION))
            .into_paginator()
            .items()
            .send();
        let mut sources: BTreeMap<String, SenderCounts> = BTreeMap::new();
        while let Some(item) = items.next().await.transpose()? {
            let reading = Reading(&item);
            if reading.number::<Millis>("at")? > now - WINDOW {
                let counts = sources.entry(reading.text("source")?).or_default();
                counts.accepted += reading.number::<u64>("accepted")?;
                counts.rejected += reading.number::<u64>("rejected")?;
            }
        }
        Ok(sources)
    }
}
