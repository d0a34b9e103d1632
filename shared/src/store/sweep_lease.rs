//! Which run of the sweep works now: `pk = config#sweep`, `sk = lease`.
//!
//! Two runs at once do no harm, because the ledger decides each step. The lease keeps them from doing the same work twice and from
//! sharing the limits of QStash. A run renews it while it works. A run that died blocks the next for no longer than one term.

use super::{
    Store, StoreError,
    item::{Reading, number, text},
    place::PARTITION,
};
use crate::Millis;

const LEASE: &str = "lease";

/// The right to sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepLease {
    /// The run that holds it.
    pub owner: String,
    /// Grows with each claim, so that a run that lost the lease cannot renew it.
    pub fence: u64,
}

impl Store {
    /// Claims the lease for a run until a time; `None` if another run holds it. May be repeated after a lost answer.
    pub async fn claim_sweep(&self, owner: &str, now: Millis, until: Millis) -> Result<Option<SweepLease>, StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(PARTITION))
            .key("sk", text(LEASE))
            .condition_expression("attribute_not_exists(pk) OR lease_until <= :now OR lease_owner = :owner")
            .update_expression("SET lease_owner = :owner, lease_until = :until ADD fence :one")
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":until", number(until))
            .expression_attribute_values(":one", number(1))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::UpdatedNew)
            .send()
            .await;
        match answer {
            Ok(output) => {
                let fence = output.attributes().and_then(|item| Reading(item).optional_number("fence"));
                let fence = fence.ok_or_else(|| StoreError::unreadable(PARTITION, "fence"))?;
                Ok(Some(SweepLease { owner: owner.to_owned(), fence }))
            }
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Extends the lease to a time, or ends it with a time in the past; `false` if another run holds it by now.
    pub async fn renew_sweep(&self, lease: &SweepLease, until: Millis) -> Result<bool, StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(PARTITION))
            .key("sk", text(LEASE))
            .condition_expression("lease_owner = :owner AND fence = :fence")
            .update_expression("SET lease_until = :until")
            .expression_attribute_values(":owner", text(&lease.owner))
            .expression_attribute_values(":fence", number(lease.fence))
            .expression_attribute_values(":until", number(until))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
