//! Circuit breakers in the table: `pk = breaker`, `sk = <destination id>`. One partition, so that one small query reads all.
//!
//! They expire by themselves: a destination that has not failed for an hour is healthy.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;

use super::{
    Store, StoreError,
    item::{Builder, Reading, json, number, text},
};
use crate::breaker::Breaker;

const PARTITION: &str = "breaker";
/// How long a breaker is remembered after it was last written, in milliseconds.
const REMEMBERED: i64 = 3_600_000;

impl Store {
    /// What is known of destinations that failed lately, by their ids. It may be a moment old.
    pub async fn breakers(&self) -> Result<BTreeMap<String, Breaker>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(PARTITION));
        let output = query.set_return_consumed_capacity(self.wants_capacity()).send().await?;
        self.count_read(output.consumed_capacity());
        let breaker = |item| Some((Reading(item).optional_text("sk")?, Reading(item).json("state").ok()?));
        Ok(output.items().iter().filter_map(breaker).collect())
    }

    /// Writes a breaker, if it still is as it was `seen`. Otherwise says how it is by now.
    pub async fn put_breaker(
        &self,
        destination: &str,
        seen: Option<&Breaker>,
        breaker: &Breaker,
    ) -> Result<Result<(), Option<Breaker>>, StoreError> {
        let item = Builder::new(PARTITION, destination)
            .with("state", json(breaker))
            .with("version", number(breaker.version))
            .with("expires_at", number((breaker.version + REMEMBERED) / 1_000));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item.build()));
        let put = match seen {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(seen) => {
                put.condition_expression("version = :seen").expression_attribute_values(":seen", number(seen.version))
            }
        };
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.set_return_consumed_capacity(self.wants_capacity()).send().await {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                Ok(Ok(()))
            }
            Err(error) => match error.as_service_error() {
                Some(aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Err(failed.item().and_then(|item| Reading(item).json("state").ok())))
                }
                _ => Err(error.into()),
            },
        }
    }

    /// Closes a breaker, if it still is as it was `seen`; says whether it was.
    pub async fn close_breaker(&self, destination: &str, seen: &Breaker) -> Result<bool, StoreError> {
        let version = vec![(":seen", number(seen.version))];
        self.delete_if(PARTITION.to_owned(), destination.to_owned(), "version = :seen", version).await
    }
}
