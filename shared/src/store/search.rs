//! Looking for an event by what no key or index has.

use super::{
    Store, StoreError,
    item::{Reading, text},
};
use crate::identity::EventKey;

impl Store {
    /// The event that a message brought, by reading the whole table: nothing else remembers a message that QStash forgot.
    pub async fn event_of_message(&self, message_id: &str) -> Result<Option<EventKey>, StoreError> {
        let mut from = None;
        loop {
            let output = self
                .client
                .scan()
                .table_name(&self.table)
                .filter_expression("message_id = :id OR first_message_id = :id")
                .projection_expression("pk")
                .expression_attribute_values(":id", text(message_id))
                .set_exclusive_start_key(from)
                .send()
                .await?;
            if let Some(key) = output.items().iter().find_map(|item| Reading(item).event_key()) {
                return Ok(Some(key));
            }
            from = output.last_evaluated_key;
            if from.is_none() {
                return Ok(None);
            }
        }
    }
}
