//! When a source with a `silence` was last heard: `pk = config#heard`, `sk = <source>`.

use std::collections::BTreeMap;

use super::{
    Store, StoreError,
    item::{Builder, Reading, number, text},
    schema::EXPIRY,
};
use crate::Millis;

const PARTITION: &str = "config#heard";
/// How long a source is remembered, in milliseconds: longer than the longest silence.
const REMEMBERED: Millis = 60 * 86_400_000;

impl Store {
    /// Writes that a source was heard.
    pub async fn put_heard(&self, source: &str, now: Millis) -> Result<(), StoreError> {
        let item = Builder::new(PARTITION, source).with("at", number(now));
        let item = item.with(EXPIRY, number((now + REMEMBERED) / 1_000)).build();
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let output = put.set_return_consumed_capacity(self.wants_capacity()).send().await?;
        self.count_write(output.consumed_capacity());
        Ok(())
    }

    /// Returns when each source was last heard.
    pub async fn heard(&self) -> Result<BTreeMap<String, Millis>, StoreError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(PARTITION))
            .into_paginator()
            .items()
            .send();
        let mut heard = BTreeMap::new();
        while let Some(item) = items.next().await.transpose()? {
            let reading = Reading(&item);
            heard.insert(reading.text("sk")?, reading.number("at")?);
        }
        Ok(heard)
    }
}
