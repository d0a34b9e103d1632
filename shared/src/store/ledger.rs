//! The ledger's transitions in DynamoDB, each one conditional write.
//!
//! A first delivery and what may race with it:
//!
//! ```text
//! worker a  claim ── handle ─────────────── complete ✓
//! worker b      claim ✗ in progress
//! worker c                                            claim ✗ done
//! a crashes:    claim ── handle ─ ✗
//! worker b                            (lease over) claim ✓ fence+1 ── complete ✓
//! a wakes up:                                                      complete ✗ owner and fence are another's
//! ```
//!
//! A failed condition brings the item along (`ALL_OLD`); the pure rule then says what it means, so that adapter and rules
//! can't drift apart in what they answer.

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};

use super::{
    LedgerError, Store, StoreError,
    item::{Item, from_record, number, partition, size_of_item, text, to_record},
};
use crate::{
    Millis,
    identity::EventKey,
    ledger::{
        Claim, Failure, Lease, Record, Refused, Status,
        record::VERSION,
        rules::{self, Attempted},
    },
};

/// See [`rules::claim`]: no record, or the same content and either waiting or abandoned, and never expired. Nor is one taken that a
/// newer version wrote.
const CLAIMABLE: &str = "attribute_not_exists(pk) OR (content_sha256 = :content AND v <= :v \
    AND (attribute_not_exists(expires_at) OR expires_at > :now_s) \
    AND (#status = :retryable OR (#status = :running AND lease_until <= :now)))";

const TAKE: &str = "SET v = :v, #status = :running, #owner = :owner, fence = if_not_exists(fence, :zero) + :one, \
    attempts = if_not_exists(attempts, :zero) + :one, lease_until = :lease_until, \
    first_seen = if_not_exists(first_seen, :now), updated_at = :now, content_sha256 = :content, \
    #source = :source, message_id = :message_id, event_type = :event_type REMOVE #open, open_since";

const TAKE_UNTYPED: &str = "SET v = :v, #status = :running, #owner = :owner, fence = if_not_exists(fence, :zero) + :one, \
    attempts = if_not_exists(attempts, :zero) + :one, lease_until = :lease_until, \
    first_seen = if_not_exists(first_seen, :now), updated_at = :now, content_sha256 = :content, \
    #source = :source, message_id = :message_id REMOVE #open, open_since";

/// See [`rules::complete`] and [`rules::fail`]: a worker that lost its lease writes nothing.
pub(super) const HELD: &str = "#status = :running AND #owner = :owner AND fence = :fence";

/// What a write of the failure path compares: status and fence tell whether the record moved within one life, the time of its
/// last write tells lives apart, because fences begin anew.
pub(super) const UNCHANGED: &str = "#status = :status AND fence = :fence AND updated_at = :updated_at";

impl Store {
    /// Takes the lease of an event: one write, nothing read.
    pub async fn claim(&self, key: &EventKey, claim: &Claim) -> Result<Record, LedgerError> {
        let answer = self.claim_request(key, claim).send().await;
        match answer {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                Ok(to_record(output.attributes().unwrap_or(&Item::new()))?)
            }
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let old = match error.into_err() {
                    aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(
                        failed,
                    ) => failed.item,
                    _ => None,
                };
                let old = self.old_record(key, old).await?;
                Ok(rules::claim(old.as_ref(), claim)?)
            }
            Err(error) => Err(StoreError::from(error).into()),
        }
    }

    fn claim_request(
        &self,
        key: &EventKey,
        claim: &Claim,
    ) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        let expression = if claim.event_type.is_some() { TAKE } else { TAKE_UNTYPED };
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(partition(key)))
            .key("sk", text("ledger"))
            .condition_expression(CLAIMABLE)
            .update_expression(expression)
            .set_expression_attribute_names(Some(names(&["status", "owner", "source", "open"])))
            .set_expression_attribute_values(Some(claim_values(claim)))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .set_return_consumed_capacity(self.wants_capacity())
    }

    /// Begins a new life over an expired record, which must still be as it was read.
    pub async fn renew(
        &self,
        key: &EventKey,
        claim: &Claim,
        fence: u64,
        expires_at: i64,
    ) -> Result<Record, LedgerError> {
        let fresh = claim.fresh(fence + 1);
        let condition = "fence = :fence AND expires_at = :expires_at";
        let values = [(":fence", number(fence)), (":expires_at", number(expires_at))];
        let rule = |old: Option<&Record>| rules::renew(old, claim, fence, expires_at);
        self.put_record(key, fresh, condition, values.into(), &[], rule).await
    }

    /// Commits an attempt. `expires_at` is in seconds.
    pub async fn complete(
        &self,
        key: &EventKey,
        record: &Record,
        delivered: &[String],
        now: Millis,
        expires_at: i64,
    ) -> Result<Record, LedgerError> {
        let lease = lease_of(record);
        let done = rules::complete(Some(record), &lease, delivered, now, expires_at)?;
        self.put_held(key, done, &lease, |old| rules::complete(old, &lease, delivered, now, expires_at)).await
    }

    /// Gives a lease back after a failed attempt.
    pub async fn fail(
        &self,
        key: &EventKey,
        record: &Record,
        attempted: &Attempted,
        failure: &Failure,
        now: Millis,
    ) -> Result<Record, LedgerError> {
        let lease = lease_of(record);
        let failed = rules::fail(Some(record), &lease, attempted, failure, now)?;
        self.put_held(key, failed, &lease, |old| rules::fail(old, &lease, attempted, failure, now)).await
    }

    /// Notes in a waiting record when it is delivered again; a record that has moved on is left alone.
    pub async fn note_round(
        &self,
        key: &EventKey,
        record: &Record,
        round: u32,
        next_at: Millis,
        message_id: &str,
    ) -> Result<(), StoreError> {
        let Ok(noted) = rules::note_round(record, round, next_at, message_id) else { return Ok(()) };
        let refuse = |old: Option<&Record>| Err(Refused::Changed(old.map(|old| old.status)));
        match self.put_record(key, noted, UNCHANGED, unchanged_values(record), &["status"], refuse).await {
            Ok(_) | Err(LedgerError::Refused(_)) => Ok(()),
            Err(LedgerError::Store(error)) => Err(error),
        }
    }

    pub(super) async fn put_held(
        &self,
        key: &EventKey,
        record: Record,
        lease: &Lease,
        rule: impl Fn(Option<&Record>) -> Result<Record, Refused>,
    ) -> Result<Record, LedgerError> {
        self.put_record(key, record, HELD, held_values(lease), &["status", "owner"], rule).await
    }

    /// Puts a record if the condition holds; if not, `rule` says what the record that is there means.
    async fn put_record(
        &self,
        key: &EventKey,
        record: Record,
        condition: &str,
        values: Vec<(&str, AttributeValue)>,
        attribute_names: &[&str],
        rule: impl Fn(Option<&Record>) -> Result<Record, Refused>,
    ) -> Result<Record, LedgerError> {
        let answer = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(from_record(key, &record)))
            .condition_expression(condition)
            .set_expression_attribute_names((!attribute_names.is_empty()).then(|| names(attribute_names)))
            .set_expression_attribute_values(Some(values_map(values)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .set_return_consumed_capacity(self.wants_capacity())
            .send()
            .await;
        match answer {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                Ok(record)
            }
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let old = match error.into_err() {
                    PutItemError::ConditionalCheckFailedException(failed) => failed.item,
                    _ => None,
                };
                let old = self.old_record(key, old).await?;
                Ok(rule(old.as_ref())?)
            }
            Err(error) => Err(StoreError::from(error).into()),
        }
    }

    /// The record that a failed condition found. Old builds of DynamoDB Local do not send it along.
    pub(super) async fn old_record(&self, key: &EventKey, sent: Option<Item>) -> Result<Option<Record>, StoreError> {
        match sent {
            Some(item) => to_record(&item).map(Some),
            None => self.record(key).await,
        }
    }

    /// Reads an event's record, consistently.
    pub async fn record(&self, key: &EventKey) -> Result<Option<Record>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", text(partition(key)))
            .key("sk", text("ledger"))
            .consistent_read(true)
            .set_return_consumed_capacity(self.wants_capacity())
            .send()
            .await?;
        self.count_read(output.consumed_capacity());
        output.item().map(to_record).transpose()
    }

    /// Reads an event's record, consistently. A record whose life has ended says nothing about an event that comes now, so it counts as
    /// missing.
    pub async fn living_record(&self, key: &EventKey, now: Millis) -> Result<Option<Record>, StoreError> {
        Ok(self.record(key).await?.filter(|record| !record.is_expired(now)))
    }

    /// The size of a record as DynamoDB charges it: names and values of its attributes, in bytes.
    pub async fn record_size(&self, key: &EventKey) -> Result<usize, StoreError> {
        Ok(self.record(key).await?.map_or(0, |record| size_of_item(&from_record(key, &record))))
    }
}

pub(super) fn lease_of(record: &Record) -> Lease {
    Lease { owner: record.owner.clone(), fence: record.fence }
}

/// The values of [`HELD`].
pub(super) fn held_values(lease: &Lease) -> Vec<(&'static str, AttributeValue)> {
    vec![(":running", text(Status::Running.word())), (":owner", text(&lease.owner)), (":fence", number(lease.fence))]
}

/// The values of [`UNCHANGED`].
pub(super) fn unchanged_values(record: &Record) -> Vec<(&'static str, AttributeValue)> {
    vec![
        (":status", text(record.status.word())),
        (":fence", number(record.fence)),
        (":updated_at", number(record.updated_at)),
    ]
}

pub(super) fn names(attributes: &[&str]) -> std::collections::HashMap<String, String> {
    attributes.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect()
}

pub(super) fn values_map(values: Vec<(&str, AttributeValue)>) -> Item {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn claim_values(claim: &Claim) -> Item {
    let mut values = values_map(vec![
        (":v", number(VERSION)),
        (":running", text(Status::Running.word())),
        (":retryable", text(Status::Retryable.word())),
        (":owner", text(&claim.owner)),
        (":zero", number(0)),
        (":one", number(1)),
        (":now", number(claim.now)),
        (":now_s", number(claim.now / 1_000)),
        (":lease_until", number(claim.lease_until)),
        (":content", text(&claim.content)),
        (":source", text(&claim.source)),
        (":message_id", text(&claim.message_id)),
    ]);
    if let Some(event_type) = &claim.event_type {
        values.insert(":event_type".to_owned(), text(event_type));
    }
    values
}
