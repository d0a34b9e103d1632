//! Where the last sweep was cut short: `pk = config#sweep`, `sk = cursor`. Behind thousands of entries of somebody else's, a
//! sweep that always began at the first page would never come to ours.

use super::{
    Store, StoreError,
    item::{Builder, Reading, text},
};

const PARTITION: &str = "config#sweep";
const PLACE: &str = "cursor";

impl Store {
    /// The page of QStash's dead-letter queue that the next sweep begins with; `None` is the first.
    pub async fn sweep_place(&self) -> Result<Option<String>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let output = request.key("pk", text(PARTITION)).key("sk", text(PLACE)).send().await?;
        Ok(output.item().and_then(|item| Reading(item).optional_text(PLACE)))
    }

    /// Remembers the page that the next sweep begins with.
    pub async fn put_sweep_place(&self, cursor: Option<&str>) -> Result<(), StoreError> {
        let item = Builder::new(PARTITION, PLACE).with_text(PLACE, cursor.unwrap_or_default()).build();
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await?;
        Ok(())
    }
}
