//! Whether the caller has the permissions for the transactions of the failure path.

use aws_sdk_dynamodb::{
    error::SdkError,
    types::{Delete, Put, TransactWriteItem, Update},
};

use super::{
    Store, StoreError,
    item::{Builder, text},
    letters::is_race,
};

/// No event and no replay has these partitions: a real one ends with a SHA-256 or a number.
const EVENT: &str = "e#surehook-doctor";
const REPLAY: &str = "replay#surehook-doctor";
/// It contradicts itself, so it holds for no item.
const NEVER: &str = "attribute_exists(pk) AND attribute_not_exists(pk)";

impl Store {
    /// Attempts one transaction with every action and every kind of key that replays and purges have. It writes nothing,
    /// because its conditions never hold. DynamoDB authorizes a call before it looks at conditions, so a failed condition
    /// proves the permissions.
    pub async fn prove_transactions(&self) -> Result<(), StoreError> {
        let items =
            vec![self.never_put(EVENT), self.never_update(EVENT), self.never_delete(EVENT), self.never_put(REPLAY)];
        match self.client.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error)) if is_race(error.err()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn never_put(&self, pk: &str) -> TransactWriteItem {
        let item = Builder::new(pk, "put").build();
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).condition_expression(NEVER);
        TransactWriteItem::builder().set_put(put.build().ok()).build()
    }

    fn never_update(&self, pk: &str) -> TransactWriteItem {
        let update = Update::builder().table_name(&self.table).key("pk", text(pk)).key("sk", text("update"));
        let update = update.condition_expression(NEVER).update_expression("REMOVE replaying").build();
        TransactWriteItem::builder().set_update(update.ok()).build()
    }

    fn never_delete(&self, pk: &str) -> TransactWriteItem {
        let delete = Delete::builder().table_name(&self.table).key("pk", text(pk)).key("sk", text("delete"));
        let delete = delete.condition_expression(NEVER).build();
        TransactWriteItem::builder().set_delete(delete.ok()).build()
    }
}
