//! The routes document in the table: `pk = config#routes`, `sk = current`.

use super::{
    LedgerError, Store, StoreError,
    item::{Builder, Reading, number, text},
};
use crate::{ledger::Refused, routes::Routes};

const PARTITION: &str = "config#routes";

impl Store {
    /// The routes that stand; the empty ones of version 0 where none were applied. `consistent` costs twice as much.
    pub async fn routes(&self, consistent: bool) -> Result<Routes, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", text(PARTITION))
            .key("sk", text("current"))
            .consistent_read(consistent)
            .set_return_consumed_capacity(self.wants_capacity())
            .send()
            .await?;
        self.count_read(output.consumed_capacity());
        let Some(item) = output.item() else {
            return Ok(Routes::default());
        };
        Reading(item).json("compiled").ok_or_else(|| StoreError::unreadable(PARTITION, "compiled"))
    }

    /// Replaces the routes, unless somebody else did since `routes` was compiled.
    pub async fn put_routes(&self, routes: &Routes) -> Result<(), LedgerError> {
        let compiled = serde_json::to_string(routes).unwrap_or_default();
        let item = Builder::new(PARTITION, "current")
            .with("compiled", text(compiled))
            .with("version", number(routes.version))
            .build();
        let answer = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR version = :seen")
            .expression_attribute_values(":seen", number(routes.version - 1))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Err(LedgerError::Refused(Refused::Changed(None)))
            }
            Err(error) => Err(StoreError::from(error).into()),
        }
    }
}
