//! Where the last sweep stopped: `pk = config#sweep`.
//!
//! `sk = cursor` is a page of QStash's dead-letter queue. Behind thousands of entries of other applications, a sweep that always began
//! at the first page would never reach ours. Where the stack names its regions, each has a page: `sk = cursor#<region>`. `sk = segment` is a part of the table and a key in it, from which the next sweep goes on
//! looking for abandoned records.

use super::{
    Store, StoreError,
    item::{Builder, Reading, number, text},
    stranded::TablePlace,
};
use crate::qstash::Region;

pub(super) const PARTITION: &str = "config#sweep";
const PLACE: &str = "cursor";
const SEGMENT: &str = "segment";

/// The sort key of the page of a region's queue.
fn place_of(region: Option<Region>) -> String {
    region.map_or_else(|| PLACE.to_owned(), |region| format!("{PLACE}#{region}"))
}

impl Store {
    /// The page of QStash's dead-letter queue that the next sweep begins with; `None` is the first.
    pub async fn sweep_place(&self, region: Option<Region>) -> Result<Option<String>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let output = request.key("pk", text(PARTITION)).key("sk", text(place_of(region))).send().await?;
        Ok(output.item().and_then(|item| Reading(item).optional_text(PLACE)))
    }

    /// Remembers the page that the next sweep begins with.
    pub async fn put_sweep_place(&self, region: Option<Region>, cursor: Option<&str>) -> Result<(), StoreError> {
        let item = Builder::new(PARTITION, place_of(region)).with_text(PLACE, cursor.unwrap_or_default()).build();
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await?;
        Ok(())
    }

    /// Returns the part of the table, and the key in it, from which the next sweep goes on.
    pub async fn table_place(&self) -> Result<TablePlace, StoreError> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let output = request.key("pk", text(PARTITION)).key("sk", text(SEGMENT)).send().await?;
        let Some(item) = output.item().map(Reading) else { return Ok(TablePlace::default()) };
        let after = item.optional_text("after_pk").zip(item.optional_text("after_sk"));
        Ok(TablePlace::new(item.optional_number(SEGMENT).unwrap_or_default(), after))
    }

    /// Remembers the part of the table, and the key in it, from which the next sweep goes on.
    pub async fn put_table_place(&self, place: &TablePlace) -> Result<(), StoreError> {
        let (pk, sk) = place.after.clone().unwrap_or_default();
        let item = Builder::new(PARTITION, SEGMENT).with(SEGMENT, number(place.segment));
        let item = item.with_text("after_pk", &pk).with_text("after_sk", &sk).build();
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await?;
        Ok(())
    }
}
