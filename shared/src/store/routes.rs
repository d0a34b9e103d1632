//! The routes in the table: `pk = config#routes`.
//!
//! `sk = current` is the compiled form that functions read. `sk = v#<version>` keeps each version as it was applied, with its
//! document; it is never written again. `sk = version` is the number of what stands, small enough to be asked for with every event
//! that is tried again. All three are written in one transaction.

use aws_sdk_dynamodb::{
    error::SdkError,
    types::{Put, TransactWriteItem},
};

use super::{
    LedgerError, Store, StoreError,
    item::{Builder, Item, Reading, json, number, text},
    letters::is_race,
};
use crate::{Millis, ledger::Refused, routes::Routes};

const PARTITION: &str = "config#routes";
const CURRENT: &str = "current";
const VERSION: &str = "version";

/// A version as it was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// What the functions read.
    pub routes: Routes,
    /// The document as it was written.
    pub document: String,
    /// When.
    pub at: Millis,
}

impl Store {
    /// The routes that stand; the empty ones of version 0 where none were applied. `consistent` costs twice as much.
    pub async fn routes(&self, consistent: bool) -> Result<Routes, StoreError> {
        let item = self.routes_item(CURRENT.to_owned(), consistent).await?;
        item.as_ref().map_or_else(|| Ok(Routes::default()), compiled)
    }

    /// The version of the routes that stand at this moment; 0 where none were applied.
    pub async fn routes_version(&self) -> Result<u64, StoreError> {
        let item = self.routes_item(VERSION.to_owned(), true).await?;
        item.as_ref().map_or(Ok(0), |item| Reading(item).number("version"))
    }

    /// A version by its number; `None` where it was never applied.
    pub async fn applied_routes(&self, version: u64) -> Result<Option<Applied>, StoreError> {
        let item = self.routes_item(version_key(version), true).await?;
        item.as_ref().map(applied).transpose()
    }

    /// The last versions, the newest first.
    pub async fn last_applied_routes(&self, limit: usize) -> Result<Vec<Applied>, StoreError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :version)")
            .expression_attribute_values(":pk", text(PARTITION))
            .expression_attribute_values(":version", text("v#"))
            .scan_index_forward(false)
            .consistent_read(true)
            .into_paginator()
            .page_size(i32::try_from(limit).unwrap_or(i32::MAX))
            .items()
            .send();
        let mut versions = Vec::new();
        while let Some(item) = items.next().await.transpose()? {
            versions.push(applied(&item)?);
            if versions.len() == limit {
                break;
            }
        }
        Ok(versions)
    }

    async fn routes_item(&self, sk: String, consistent: bool) -> Result<Option<Item>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", text(PARTITION))
            .key("sk", text(sk))
            .consistent_read(consistent)
            .set_return_consumed_capacity(self.wants_capacity())
            .send()
            .await?;
        self.count_read(output.consumed_capacity());
        Ok(output.item)
    }

    /// Replaces the routes, and keeps them as a version of their own, unless somebody else replaced them since they were
    /// compiled. May be repeated after a lost answer: what stands already is refused as changed.
    pub async fn put_routes(&self, routes: &Routes, document: &str, now: Millis) -> Result<(), LedgerError> {
        let compiled = json(routes);
        let item = |sk: &str| {
            Builder::new(PARTITION, sk).with("compiled", compiled.clone()).with("version", number(routes.version))
        };
        let version =
            item(&version_key(routes.version)).with_text("document", document).with("applied_at", number(now));
        let current = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item(CURRENT).build()))
            .condition_expression("attribute_not_exists(pk) OR version = :seen")
            .expression_attribute_values(":seen", number(routes.version.saturating_sub(1)))
            .build();
        let current = TransactWriteItem::builder().set_put(current.ok()).build();
        let standing = Builder::new(PARTITION, VERSION).with("version", number(routes.version));
        let items = vec![current, self.put(version.build()), self.put(standing.build())];
        match self.client.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error)) if is_race(error.err()) => {
                Err(LedgerError::Refused(Refused::Changed(None)))
            }
            Err(error) => Err(StoreError::from(error).into()),
        }
    }
}

/// Sorts as the number does.
fn version_key(version: u64) -> String {
    format!("v#{version:010}")
}

fn compiled(item: &Item) -> Result<Routes, StoreError> {
    Reading(item).json("compiled")
}

fn applied(item: &Item) -> Result<Applied, StoreError> {
    let reading = Reading(item);
    Ok(Applied {
        routes: compiled(item)?,
        document: reading.optional_text("document").unwrap_or_default(),
        at: reading.number("applied_at")?,
    })
}
