//! The stack's policy in the table: `pk = config#policy`, `sk = current`. The DLQ processor alone writes it.

use super::{
    Store, StoreError,
    item::{Builder, Item, Reading, json, number, text},
};
use crate::{Millis, config::Policy};

const PARTITION: &str = "config#policy";
const CURRENT: &str = "current";

/// The policy as a sweep wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackPolicy {
    /// The policy.
    pub policy: Policy,
    /// When it was written.
    pub at: Millis,
}

impl Store {
    /// Reads the stack's policy; `None` where no sweep has written one yet.
    pub async fn policy(&self) -> Result<Option<StackPolicy>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let output = request.key("pk", text(PARTITION)).key("sk", text(CURRENT)).send().await?;
        output.item().map(to_policy).transpose()
    }

    /// Writes the stack's policy.
    pub async fn put_policy(&self, policy: &Policy, now: Millis) -> Result<(), StoreError> {
        let item = Builder::new(PARTITION, CURRENT)
            .with("settings", json(&policy.settings))
            .with("rounds", number(policy.rounds))
            .with("greatest_age_ms", number(policy.greatest_age))
            .with("horizon_ms", number(policy.horizon))
            .with("retention_ms", number(policy.retention))
            .with("written_at", number(now));
        self.client.put_item().table_name(&self.table).set_item(Some(item.build())).send().await?;
        Ok(())
    }
}

fn to_policy(item: &Item) -> Result<StackPolicy, StoreError> {
    let reading = Reading(item);
    let policy = Policy {
        settings: reading.json("settings")?,
        rounds: reading.number("rounds")?,
        greatest_age: reading.number("greatest_age_ms")?,
        horizon: reading.number("horizon_ms")?,
        retention: reading.number("retention_ms")?,
    };
    Ok(StackPolicy { policy, at: reading.number("written_at")? })
}
