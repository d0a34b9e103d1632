//! Dead letters in DynamoDB: bury and purge (replay is beside it), each one transaction over record and letter.
//!
//! A letter's chunks are written before its head, and the head together with the record's new status, so that a record is
//! `dead` exactly when a whole letter stands. Chunks of a letter that is removed are left to expire instead of being
//! deleted: whoever finishes a removal that was cut short still finds the body.

use std::sync::atomic::Ordering;

use aws_sdk_dynamodb::{
    error::SdkError,
    primitives::Blob,
    types::{AttributeValue, Delete, Put, TransactWriteItem},
};

use super::{
    LedgerError, Store, StoreError,
    item::{Builder, Item, Reading, from_record, number, partition, text},
    ledger::{UNCHANGED, names, unchanged_values, values_map},
    letter_item::{DAY, HOUR, REGION, bytes_of, chunk_prefix, head_of, pack, sort_key, to_letter, unpack},
    schema::EXPIRY,
};
use crate::{
    Millis,
    identity::EventKey,
    ledger::{
        DeadLetter, Record, Refused,
        rules::{self, Burial},
    },
    qstash::Region,
};

/// Compressed bodies up to this size stand in the head itself.
const MOST_INLINE: usize = 64 * 1_024;
/// The size of one chunk; an item holds at most 400 KB.
const CHUNK: usize = 256 * 1_024;
/// How long the chunks of a removed letter are kept for whoever finishes its removal, in seconds.
const CHUNK_GRACE: i64 = 7 * 86_400;
/// How often a transaction is tried again when the record moved between reading and writing.
pub(super) const MOST_RACES: usize = 4;
/// A removal compares the time of the burial: another letter may stand under the same name by now.
const THIS_LETTER: &str = "attribute_not_exists(pk) OR dl_at = :at";
const DAYS: &str = "config#dead-letter-days";
/// Before every hour.
pub(super) const NO_HOUR: i64 = i64::MIN;

impl Store {
    /// Gives an event up: chunks, then head and `dead` in one transaction. Returns the letter as it stands.
    pub async fn bury(&self, burial: &Burial, letter: DeadLetter, body: &[u8]) -> Result<DeadLetter, LedgerError> {
        self.bury_until(burial, letter, body, None).await
    }

    /// The same for a letter that expires with its record at `expires_at` (seconds). Its chunks outlive it, for a replay that is begun
    /// shortly before.
    pub async fn bury_until(
        &self,
        burial: &Burial,
        letter: DeadLetter,
        body: &[u8],
        expires_at: Option<i64>,
    ) -> Result<DeadLetter, LedgerError> {
        let packed = pack(body);
        for _ in 0..MOST_RACES {
            let old = self.record(&letter.key).await?;
            let dead = rules::bury_until(old.as_ref(), burial, expires_at)?;
            let letter = DeadLetter { fence: dead.fence, ..letter.clone() };
            let chunks = self.write_chunks(&letter, &packed, expires_at).await?;
            self.note_day(letter.at).await?;
            let mut head = head_of(&letter, chunks.is_none().then_some(&packed), chunks.unwrap_or_default());
            head.extend(expires_at.map(|at| (EXPIRY.to_owned(), number(at))));
            if self.swap(&letter.key, old.as_ref(), &dead, vec![self.put(head)]).await? {
                return Ok(letter);
            }
        }
        Err(LedgerError::Refused(Refused::Changed(None)))
    }

    /// Removes a dead event for good; its record stays until `expires_at` (seconds). The chunks go last: a purge that is
    /// refused must leave a whole letter.
    pub async fn purge(&self, letter: &DeadLetter, now: Millis, expires_at: i64) -> Result<(), LedgerError> {
        for _ in 0..MOST_RACES {
            let old = self.record(&letter.key).await?;
            let purged = rules::purge(old.as_ref(), letter.fence, &letter.replay_id(), now, expires_at)?;
            let beside = vec![self.remove(letter)];
            if old.as_ref() == Some(&purged) {
                // The record was ended by something else, which left the letter.
                let at = vec![(":at", number(letter.at))];
                self.delete_if(partition(&letter.key), sort_key(letter.fence), THIS_LETTER, at).await?;
            }
            if old.as_ref() == Some(&purged) || self.swap(&letter.key, old.as_ref(), &purged, beside).await? {
                self.release_all_chunks(&letter.key, letter.fence, now).await?;
                return Ok(());
            }
        }
        Err(LedgerError::Refused(Refused::Changed(None)))
    }

    /// Points a redacted letter to the entry that a region of QStash has of it now.
    pub async fn point_letter(
        &self,
        key: &EventKey,
        fence: u64,
        dlq_id: &str,
        region: Option<Region>,
    ) -> Result<(), StoreError> {
        let (mut change, mut values) = ("SET dlq_id = :entry".to_owned(), vec![(":entry", text(dlq_id))]);
        if let Some(region) = region {
            change = format!("{change}, {REGION} = :region");
            values.push((":region", text(region.as_str())));
        }
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(partition(key)))
            .key("sk", text(sort_key(fence)))
            .condition_expression("attribute_exists(reason) AND dlq_id <> :entry")
            .update_expression(change)
            .set_expression_attribute_values(Some(values_map(values)))
            .send()
            .await;
        match answer {
            Err(error) if !error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    /// Reads one letter with its body.
    pub async fn letter(&self, key: &EventKey, fence: u64) -> Result<Option<(DeadLetter, Vec<u8>)>, StoreError> {
        let mut items = self.letter_items(key, &sort_key(fence)).await?.into_iter();
        // Chunks without a head are what a purge left to expire, or a burial that was cut short.
        let Some(head) = items.next().filter(|item| Reading(item).optional_text("reason").is_some()) else {
            return Ok(None);
        };
        let letter = to_letter(key, &head)?;
        let own = chunk_prefix(&letter);
        let is_own = |item: &Item| Reading(item).optional_text("sk").is_some_and(|sk| sk.starts_with(&own));
        let chunks: Vec<Item> = items.filter(is_own).collect();
        if Reading(&head).optional_number("chunks") != Some(chunks.len()) {
            return Err(StoreError::unreadable(&partition(key), "chunks"));
        }
        let packed: Vec<u8> = std::iter::once(&head).chain(&chunks).flat_map(bytes_of).collect();
        let body = unpack(&packed).map_err(|_corrupt| StoreError::unreadable(&partition(key), "body"))?;
        Ok(Some((letter, body)))
    }

    /// The heads of an event's letters, the oldest first.
    pub async fn heads(&self, key: &EventKey) -> Result<Vec<DeadLetter>, StoreError> {
        let items = self.query_letters(key, "dead-letter#", Some("attribute_exists(reason)")).await?;
        items.iter().map(|item| to_letter(key, item)).collect()
    }

    async fn letter_items(&self, key: &EventKey, prefix: &str) -> Result<Vec<Item>, StoreError> {
        self.query_letters(key, prefix, None).await
    }

    async fn query_letters(&self, key: &EventKey, prefix: &str, filter: Option<&str>) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let output = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .set_filter_expression(filter.map(str::to_owned))
                .expression_attribute_values(":pk", text(partition(key)))
                .expression_attribute_values(":prefix", text(prefix))
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await?;
            items.extend(output.items.unwrap_or_default());
            from = output.last_evaluated_key;
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// The days on which letters were buried, the newest first, as days since the epoch.
    pub async fn letter_days(&self) -> Result<Vec<i64>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let output = request.key("pk", text(DAYS)).key("sk", text("days")).send().await?;
        let listed = output.item().and_then(|item| item.get("days")).and_then(|days| days.as_ns().ok());
        let mut days: Vec<i64> = listed.into_iter().flatten().filter_map(|day| day.parse().ok()).collect();
        days.sort_unstable_by(|a, b| b.cmp(a));
        Ok(days)
    }

    /// Has the table list a day that will have a letter, so that lists need not guess how far back to look. The letter's head is written
    /// after that: nobody would be shown the letters of a day that is not listed. All burials share this one item, so a process writes it
    /// once an hour, and not once a day: where a restored table does not list the day, the next hour's burials mend that.
    async fn note_day(&self, at: Millis) -> Result<(), StoreError> {
        let hour = at / HOUR;
        if self.noted_hour.load(Ordering::Relaxed) != hour {
            self.list_day(at / DAY).await?;
            self.noted_hour.store(hour, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn list_day(&self, day: i64) -> Result<(), StoreError> {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(DAYS))
            .key("sk", text("days"))
            .update_expression("ADD days :day")
            .expression_attribute_values(":day", AttributeValue::Ns(vec![day.to_string()]))
            .send()
            .await?;
        Ok(())
    }

    /// Writes a body that is too large for the head; the number of chunks, or `None` where it fits.
    async fn write_chunks(
        &self,
        letter: &DeadLetter,
        packed: &[u8],
        expires_at: Option<i64>,
    ) -> Result<Option<usize>, StoreError> {
        if packed.len() <= MOST_INLINE {
            return Ok(None);
        }
        for (index, chunk) in packed.chunks(CHUNK).enumerate() {
            let item = Builder::new(partition(&letter.key), format!("{}{index:03}", chunk_prefix(letter)))
                .with("body", AttributeValue::B(Blob::new(chunk)))
                .with_some(EXPIRY, expires_at.map(|at| number(at + CHUNK_GRACE)))
                .build();
            self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await?;
        }
        Ok(Some(packed.len().div_ceil(CHUNK)))
    }

    /// Lets whatever chunks stand under a letter's name expire; says how many there were.
    pub async fn release_all_chunks(&self, key: &EventKey, fence: u64, now: Millis) -> Result<usize, StoreError> {
        self.release_chunks(key, &format!("{}#", sort_key(fence)), now).await
    }

    pub(super) async fn release_chunks(&self, key: &EventKey, prefix: &str, now: Millis) -> Result<usize, StoreError> {
        let chunks = self.letter_items(key, prefix).await?;
        for item in &chunks {
            self.client
                .update_item()
                .table_name(&self.table)
                .key("pk", text(partition(key)))
                .key("sk", text(Reading(item).text("sk")?))
                .update_expression("SET expires_at = :at")
                .expression_attribute_values(":at", number(now / 1_000 + CHUNK_GRACE))
                .send()
                .await?;
        }
        Ok(chunks.len())
    }

    /// Changes a record alone, as a rule says of it as it stands; where the rule has no change for it, it is left as it is.
    pub(super) async fn change(
        &self,
        key: &EventKey,
        rule: impl Fn(Option<&Record>) -> Result<Option<Record>, Refused>,
    ) -> Result<(), LedgerError> {
        for _ in 0..MOST_RACES {
            let old = self.record(key).await?;
            let Some(new) = rule(old.as_ref())? else { return Ok(()) };
            if old.as_ref() == Some(&new) || self.swap(key, old.as_ref(), &new, Vec::new()).await? {
                return Ok(());
            }
        }
        Err(LedgerError::Refused(Refused::Changed(None)))
    }

    /// One transaction: the record goes from `old` to `new`, and `beside` happens to its letter. `false` where the record
    /// moved meanwhile.
    pub(super) async fn swap(
        &self,
        key: &EventKey,
        old: Option<&Record>,
        new: &Record,
        beside: Vec<TransactWriteItem>,
    ) -> Result<bool, StoreError> {
        let mut items = vec![self.put_over(key, old, new)];
        items.extend(beside);
        match self.client.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if is_race(error.err()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn put_over(&self, key: &EventKey, old: Option<&Record>, new: &Record) -> TransactWriteItem {
        let put = Put::builder().table_name(&self.table).set_item(Some(from_record(key, new)));
        let put = match old {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(old) => put
                .condition_expression(UNCHANGED)
                .set_expression_attribute_names(Some(names(&["status"])))
                .set_expression_attribute_values(Some(values_map(unchanged_values(old)))),
        };
        TransactWriteItem::builder().set_put(put.build().ok()).build()
    }

    pub(super) fn put(&self, item: Item) -> TransactWriteItem {
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).build();
        TransactWriteItem::builder().set_put(put.ok()).build()
    }

    fn remove(&self, letter: &DeadLetter) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.table)
            .key("pk", text(partition(&letter.key)))
            .key("sk", text(sort_key(letter.fence)))
            .condition_expression(THIS_LETTER)
            .expression_attribute_values(":at", number(letter.at))
            .build();
        TransactWriteItem::builder().set_delete(delete.ok()).build()
    }
}

pub(super) fn is_race(error: &aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError) -> bool {
    use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError as Error;
    let Error::TransactionCanceledException(cancelled) = error else {
        return false;
    };
    let raced = |code: &str| matches!(code, "ConditionalCheckFailed" | "TransactionConflict");
    cancelled.cancellation_reasons().iter().any(|reason| reason.code().is_some_and(raced))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::{
        operation::transact_write_items::TransactWriteItemsError,
        types::{CancellationReason, error::TransactionCanceledException},
    };

    #[test]
    fn a_conflict_with_another_transaction_is_a_race_and_a_throttle_is_not() {
        let is_race = |codes: &[&str]| {
            let reasons = codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect();
            let cancelled = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
            super::is_race(&TransactWriteItemsError::TransactionCanceledException(cancelled))
        };
        assert!(is_race(&["None", "TransactionConflict"]) && is_race(&["ConditionalCheckFailed", "None"]));
        assert!(!is_race(&["ThrottlingError", "None"]) && !is_race(&["ValidationError"]) && !is_race(&[]));
    }
}
