//! `complete_with`: a handler's own writes and `done` in one transaction.
//!
//! The effect then needs no idempotency of its own: it stands exactly if the record is done. The record comes first in
//! the transaction, and its verdict wins: where the lease is lost, nobody cares what the handler's conditions said.

use aws_sdk_dynamodb::{
    operation::transact_write_items::TransactWriteItemsError,
    types::{CancellationReason, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem},
};

use super::{
    LedgerError, Store, StoreError, Writes, WritesError,
    item::{Item, from_record},
    ledger::{HELD, held_values, lease_of, names, values_map},
};
use crate::{
    Millis,
    digest::Sha256,
    identity::EventKey,
    ledger::{Lease, Record, Refused, Status, rules},
};

/// A condition of the handler's own failed. Neither its writes nor `done` stand, and the lease is still held.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionFailed {
    /// Which of the handler's writes, counted from 0.
    pub write: usize,
    /// The item that the condition found, where the write asked for it
    /// (`ReturnValuesOnConditionCheckFailure::AllOld`).
    pub item: Option<Item>,
}

/// Why an attempt was not committed together with its writes.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The lease is lost: nothing was written.
    #[error("{0}")]
    Refused(Refused),
    /// A condition of the handler's own failed: nothing was written.
    #[error("the condition of write {} failed", .0.write)]
    Condition(ConditionFailed),
    /// The writes can't be sent as they are.
    #[error(transparent)]
    Writes(#[from] WritesError),
    /// The table.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LedgerError> for CommitError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused(refused) => Self::Refused(refused),
            LedgerError::Store(error) => Self::Store(error),
        }
    }
}

impl Store {
    /// Commits an attempt together with the handler's own writes: all of it, or none. `expires_at` is in seconds.
    /// Repeating it with the same arguments after a lost answer is a success and writes nothing twice: DynamoDB knows the
    /// request by its token for ten minutes, and the record knows it for ever.
    ///
    /// A transaction costs twice the write units of its items.
    pub async fn complete_with(
        &self,
        key: &EventKey,
        record: &Record,
        delivered: &[String],
        writes: &Writes,
        now: Millis,
        expires_at: i64,
    ) -> Result<Record, CommitError> {
        writes.check(&self.table)?;
        let lease = lease_of(record);
        let rule = |old: Option<&Record>| rules::complete(old, &lease, delivered, now, expires_at);
        let done = rule(Some(record)).map_err(CommitError::Refused)?;
        let mut items = vec![self.put_done(key, &done, &lease)];
        items.extend_from_slice(writes.items());
        let request = self.client.transact_write_items().set_transact_items(Some(items));
        match request.client_request_token(token(key, &lease)).send().await {
            Ok(_) => Ok(done),
            Err(error) => match cancelled(error.as_service_error()) {
                Cancelled::Lease(old) => rule(self.old_record(key, old).await?.as_ref()).map_err(CommitError::Refused),
                Cancelled::Repeated => match self.record(key).await? {
                    Some(record) if is_running(&record, &lease) => Err(StoreError::from(error).into()),
                    old => rule(old.as_ref()).map_err(CommitError::Refused),
                },
                Cancelled::Condition(failed) => Err(CommitError::Condition(failed)),
                Cancelled::Otherwise(reason) => Err(StoreError::cancelled(&reason, error).into()),
                Cancelled::Not => Err(StoreError::from(error).into()),
            },
        }
    }

    fn put_done(&self, key: &EventKey, done: &Record, lease: &Lease) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(from_record(key, done)))
            .condition_expression(HELD)
            .set_expression_attribute_names(Some(names(&["status", "owner"])))
            .set_expression_attribute_values(Some(values_map(held_values(lease))))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build();
        TransactWriteItem::builder().set_put(put.ok()).build()
    }
}

fn is_running(record: &Record, lease: &Lease) -> bool {
    record.status == Status::Running && record.is_held_by(&lease.owner, lease.fence)
}

/// The client request token: the same for every repetition of one commit, and for nothing else. DynamoDB takes 36
/// characters.
fn token(key: &EventKey, lease: &Lease) -> String {
    let parts = [b"commit".as_slice(), key.as_str().as_bytes(), &lease.fence.to_be_bytes(), lease.owner.as_bytes()];
    Sha256::of_parts(&parts).hex()[..36].to_owned()
}

/// Why a transaction was cancelled.
enum Cancelled {
    Lease(Option<Item>),
    Condition(ConditionFailed),
    Repeated,
    Otherwise(String),
    Not,
}

/// Reads why a transaction failed. The first reason of a cancellation is the record's. What is neither a condition nor a
/// defect of the request is a matter of the moment: conflicts with other transactions, and throttling.
///
/// A token that DynamoDB knows with other parameters is that of an earlier repetition: it compares requests as they were
/// written, and the order of their attributes may differ. What became of that one, the record says.
fn cancelled(error: Option<&TransactWriteItemsError>) -> Cancelled {
    let reasons = match error {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled.cancellation_reasons(),
        Some(TransactWriteItemsError::IdempotentParameterMismatchException(_)) => return Cancelled::Repeated,
        _ => return Cancelled::Not,
    };
    let failed = |reason: &CancellationReason| reason.code() == Some(CONDITION);
    let other = |reason: &CancellationReason| reason.code().filter(|code| *code != NO_REASON).map(str::to_owned);
    match reasons.split_first() {
        Some((record, _)) if failed(record) => Cancelled::Lease(record.item.clone()),
        Some((record, own)) => match (other(record), own.iter().position(failed)) {
            (Some(code), _) => Cancelled::Otherwise(code),
            (None, Some(write)) => Cancelled::Condition(ConditionFailed { write, item: own[write].item.clone() }),
            (None, None) => Cancelled::Otherwise(own.iter().find_map(other).unwrap_or_default()),
        },
        None => Cancelled::Otherwise(String::new()),
    }
}

const CONDITION: &str = "ConditionalCheckFailed";
const NO_REASON: &str = "None";

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::error::TransactionCanceledException;

    use super::*;

    fn error(codes: &[&str]) -> TransactWriteItemsError {
        let reasons = codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect();
        TransactWriteItemsError::TransactionCanceledException(
            TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build(),
        )
    }

    #[test]
    fn the_lease_wins_over_the_handlers_conditions() {
        let read = |codes: &[&str]| match cancelled(Some(&error(codes))) {
            Cancelled::Lease(_) => "lease".to_owned(),
            Cancelled::Condition(failed) => format!("write {}", failed.write),
            Cancelled::Otherwise(code) => code,
            Cancelled::Repeated | Cancelled::Not => "not cancelled".to_owned(),
        };
        assert_eq!(read(&["ConditionalCheckFailed", "None"]), "lease");
        assert_eq!(read(&["ConditionalCheckFailed", "ConditionalCheckFailed"]), "lease");
        assert_eq!(read(&["None", "None", "ConditionalCheckFailed"]), "write 1");
        assert_eq!(read(&["TransactionConflict", "ConditionalCheckFailed"]), "TransactionConflict");
        assert_eq!(read(&["None", "TransactionConflict"]), "TransactionConflict");
        assert_eq!(read(&[]), "");
    }

    #[test]
    fn a_defect_of_the_request_is_told_from_a_matter_of_the_moment() {
        let of = |code| StoreError::cancelled(code, std::io::Error::other("x"));
        assert!(of("TransactionConflict").is_away() && of("ThrottlingError").is_away());
        assert!(of("ValidationError").is_invalid());
    }

    #[test]
    fn a_token_names_one_commit_in_at_most_36_characters() {
        let key = EventKey::parse(&"a".repeat(64)).unwrap();
        let lease = |owner: &str, fence| Lease { owner: owner.into(), fence };
        let first = token(&key, &lease("a", 1));
        assert_eq!(first.len(), 36);
        assert_eq!(first, token(&key, &lease("a", 1)));
        for other in [token(&key, &lease("a", 2)), token(&key, &lease("b", 1))] {
            assert_ne!(first, other);
        }
    }
}
