//! The table as it is, for whoever checks it.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{
    BillingMode, GlobalSecondaryIndexDescription, KeySchemaElement, PointInTimeRecoveryStatus, ProjectionType,
    TableDescription, TableStatus, TimeToLiveStatus,
};

use super::{
    Store, StoreError,
    item::{Reading, number, text, to_record},
};
use crate::{Millis, identity::EventKey, ledger::Record};

/// What DynamoDB says about the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Whether it takes calls.
    pub is_active: bool,
    /// Its key attributes, the partition's first.
    pub keys: Vec<String>,
    /// Its indexes by name.
    pub indexes: BTreeMap<String, Index>,
    /// The attribute by which items expire, where that is switched on.
    pub expiry: Option<String>,
    /// Whether it is paid by the request, so that nothing is throttled for want of provisioned units.
    pub is_on_demand: bool,
    /// Whether it can't be deleted by mistake.
    pub is_protected: bool,
    /// Whether it can be restored to any moment of the last days; `None` where DynamoDB does not say.
    pub has_backups: Option<bool>,
}

/// One index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Its key attributes, the partition's first.
    pub keys: Vec<String>,
    /// The attributes that it holds besides keys; `None` for all.
    pub attributes: Option<Vec<String>>,
}

/// Records that a look through the table found.
#[derive(Debug)]
pub struct Recent {
    /// In no order.
    pub records: Vec<Record>,
    /// Whether the whole table was read, and every record in it.
    pub is_whole: bool,
}

impl Store {
    /// Looks at the table; `None` where there is none of this name.
    pub async fn inspect(&self) -> Result<Option<Inspected>, StoreError> {
        let described = self.client.describe_table().table_name(&self.table).send().await;
        let table = match described {
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {
                return Ok(None);
            }
            other => other?.table.unwrap_or_else(|| TableDescription::builder().build()),
        };
        let expiry = self.expiry().await?;
        Ok(Some(Inspected { expiry, has_backups: self.has_backups().await, ..inspected(&table) }))
    }

    /// Shows every record, one page of the table in memory at a time. One that can't be read is shown as such.
    pub async fn each_record(
        &self,
        mut show: impl FnMut(EventKey, Result<Record, StoreError>),
    ) -> Result<(), StoreError> {
        let mut items = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression("sk = :ledger")
            .expression_attribute_values(":ledger", text("ledger"))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = items.next().await.transpose()? {
            if let Some(key) = Reading(&item).event_key() {
                show(key, to_record(&item));
            }
        }
        Ok(())
    }

    /// Returns the records that were written at `since` or later, from at most `most` pages of the table, of 1 MB each.
    pub async fn recent(&self, since: Millis, most: usize) -> Result<Recent, StoreError> {
        let scan =
            self.client.scan().table_name(&self.table).filter_expression("sk = :ledger AND updated_at >= :since");
        let scan = scan.expression_attribute_values(":ledger", text("ledger"));
        let mut pages = scan.expression_attribute_values(":since", number(since)).into_paginator().send();
        let (mut recent, mut is_last) = (Recent { records: Vec::new(), is_whole: true }, false);
        for _ in 0..most {
            let Some(page) = pages.next().await.transpose()? else { break };
            let read: Vec<Option<Record>> = page.items().iter().map(|item| to_record(item).ok()).collect();
            recent.is_whole &= read.iter().all(Option::is_some);
            recent.records.extend(read.into_iter().flatten());
            is_last = page.last_evaluated_key().is_none();
        }
        recent.is_whole &= is_last;
        Ok(recent)
    }

    async fn expiry(&self) -> Result<Option<String>, StoreError> {
        let answer = self.client.describe_time_to_live().table_name(&self.table).send().await?;
        let on = [TimeToLiveStatus::Enabled, TimeToLiveStatus::Enabling];
        let described = answer.time_to_live_description;
        let described = described.filter(|ttl| ttl.time_to_live_status().is_some_and(|status| on.contains(status)));
        Ok(described.and_then(|ttl| ttl.attribute_name))
    }

    /// Who may not ask is not told off for it.
    async fn has_backups(&self) -> Option<bool> {
        let answer = self.client.describe_continuous_backups().table_name(&self.table).send().await.ok()?;
        let recovery = answer.continuous_backups_description?.point_in_time_recovery_description?;
        Some(recovery.point_in_time_recovery_status? == PointInTimeRecoveryStatus::Enabled)
    }
}

fn inspected(table: &TableDescription) -> Inspected {
    let usable = [TableStatus::Active, TableStatus::Updating];
    Inspected {
        is_active: table.table_status().is_some_and(|status| usable.contains(status)),
        keys: names(table.key_schema()),
        indexes: table.global_secondary_indexes().iter().map(index).collect(),
        is_on_demand: table
            .billing_mode_summary()
            .is_some_and(|billing| billing.billing_mode() == Some(&BillingMode::PayPerRequest)),
        is_protected: table.deletion_protection_enabled().unwrap_or_default(),
        ..Inspected::default()
    }
}

fn index(described: &GlobalSecondaryIndexDescription) -> (String, Index) {
    let projection = described.projection();
    let attributes = match projection.and_then(|projection| projection.projection_type()) {
        Some(ProjectionType::All) => None,
        _ => Some(projection.map(|projection| projection.non_key_attributes().to_vec()).unwrap_or_default()),
    };
    (described.index_name().unwrap_or_default().to_owned(), Index { keys: names(described.key_schema()), attributes })
}

fn names(keys: &[KeySchemaElement]) -> Vec<String> {
    keys.iter().map(|key| key.attribute_name().to_owned()).collect()
}
