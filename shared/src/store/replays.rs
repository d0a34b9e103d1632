//! Replays in DynamoDB: a dead event is opened, its letter marked, and both are forgotten once the event was published.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};

use super::{
    LedgerError, SHARDS, Store, StoreError,
    item::{Reading, number, partition, text},
    ledger::{names, values_map},
    letter_item::{PENDING, chunk_prefix, pending_item, pending_partition, sort_key},
    letters::MOST_RACES,
};
use crate::{
    Millis,
    identity::EventKey,
    ledger::{DeadLetter, Record, Refused, rules},
};

/// A replay under way. Letters are stored under event and fence, and fences begin anew with each life of a record; so a
/// replay is told from later ones by an id of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingReplay {
    /// The letter's id.
    pub letter: String,
    /// The replay's id.
    pub replay: String,
}

impl Store {
    /// Opens a dead event for its replay and marks the letter, in one transaction. May be repeated.
    pub async fn begin_replay(&self, letter: &DeadLetter, now: Millis) -> Result<Record, LedgerError> {
        self.begin_replay_due(letter, now, now).await
    }

    /// The same for a replay that QStash delivers at `due`.
    pub async fn begin_replay_due(&self, letter: &DeadLetter, now: Millis, due: Millis) -> Result<Record, LedgerError> {
        let id = letter.replay_id();
        for _ in 0..MOST_RACES {
            let old = self.record(&letter.key).await?;
            let open = rules::replay_due(old.as_ref(), letter.fence, &id, now, due)?;
            if old.as_ref() == Some(&open) {
                return Ok(open);
            }
            let beside = vec![self.mark_replaying(letter, &id), self.put(pending_item(letter))];
            if self.swap(&letter.key, old.as_ref(), &open, beside).await? {
                return Ok(open);
            }
        }
        Err(LedgerError::Refused(Refused::Changed(None)))
    }

    /// Has the record of an event live until `expires_at` (seconds) at least. A record that does not expire is left alone.
    ///
    /// # Errors
    ///
    /// If the table can't be read or written, or if others change the record all the time.
    pub async fn keep_record(&self, key: &EventKey, expires_at: i64) -> Result<(), LedgerError> {
        self.change(key, |old| Ok(rules::kept_until(old, expires_at))).await
    }

    /// Gives destinations that refused a waiting event for good another chance. An event that does not wait is left alone.
    pub async fn reopen(&self, key: &EventKey, now: Millis, due: Millis) -> Result<(), LedgerError> {
        self.change(key, |old| Ok(rules::reopen(old, now, due).ok())).await
    }

    /// Removes a letter whose replay was published. One that was buried anew under the same name meanwhile is left alone,
    /// whether or not it is being replayed in its turn.
    pub async fn end_replay(&self, letter: &DeadLetter, now: Millis) -> Result<(), StoreError> {
        let condition = "attribute_not_exists(pk) OR replaying = :replay";
        let replay = vec![(":replay", text(letter.replay_id()))];
        if self.delete_if(partition(&letter.key), sort_key(letter.fence), condition, replay).await? {
            self.release_chunks(&letter.key, &chunk_prefix(letter), now).await?;
        }
        self.forget_pending(&PendingReplay { letter: letter.id(), replay: letter.replay_id() }).await
    }

    /// Replays that are under way, or were cut short: at most `limit`, the same number of each shard.
    pub async fn pending_replays(&self, limit: usize) -> Result<Vec<PendingReplay>, StoreError> {
        let mut pending = Vec::new();
        let of_each = i32::try_from(limit.div_ceil(usize::from(SHARDS))).unwrap_or(i32::MAX);
        for shard in 0..SHARDS {
            let output = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", text(format!("{PENDING}{shard}")))
                .consistent_read(true)
                .limit(of_each)
                .send()
                .await?;
            for item in output.items() {
                let reading = Reading(item);
                pending.push(PendingReplay { letter: reading.text("sk")?, replay: reading.text("replay")? });
            }
        }
        Ok(pending)
    }

    /// Forgets that a replay is under way. A later replay of a letter with the same name is not forgotten with it.
    pub async fn forget_pending(&self, pending: &PendingReplay) -> Result<(), StoreError> {
        let condition = "attribute_not_exists(pk) OR replay = :replay";
        let replay = vec![(":replay", text(&pending.replay))];
        self.delete_if(pending_partition(&pending.letter), pending.letter.clone(), condition, replay).await?;
        Ok(())
    }

    /// Removes a record once its replay is published, where nobody would ever complete it. One that was buried again
    /// meanwhile is left alone.
    pub async fn forget_replayed(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let condition = "#status = :retryable AND replay = :replay";
        let values = vec![(":retryable", text("retryable")), (":replay", text(letter.replay_id()))];
        self.delete_if(partition(&letter.key), "ledger".to_owned(), condition, values).await?;
        Ok(())
    }

    /// Deletes an item if the condition holds; `false` where it is something else by now.
    pub(super) async fn delete_if(
        &self,
        pk: String,
        sk: String,
        condition: &str,
        values: Vec<(&str, AttributeValue)>,
    ) -> Result<bool, StoreError> {
        let answer = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("pk", text(pk))
            .key("sk", text(sk))
            .condition_expression(condition)
            .set_expression_attribute_names(condition.contains("#status").then(|| names(&["status"])))
            .set_expression_attribute_values(Some(values_map(values)))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn mark_replaying(&self, letter: &DeadLetter, id: &str) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.table)
            .key("pk", text(partition(&letter.key)))
            .key("sk", text(sort_key(letter.fence)))
            .condition_expression("dl_at = :at")
            .update_expression("SET replaying = :id REMOVE expires_at")
            .expression_attribute_values(":at", number(letter.at))
            .expression_attribute_values(":id", text(id))
            .build();
        TransactWriteItem::builder().set_update(update.ok()).build()
    }
}
