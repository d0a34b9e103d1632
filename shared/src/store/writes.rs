//! A handler's own writes, and what is checked before they are sent together with `done`.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};

use super::item::{Item, size_of_item};

/// Writes beside the record: a transaction takes 100 (AWS, `TransactWriteItems`), and the record is one of them.
pub const MOST_WRITES: usize = 99;
/// Bytes of all items of a transaction (AWS, `TransactWriteItems`).
pub const MOST_BYTES: usize = 4 * 1_024 * 1_024;
/// What a record takes of it at most: its lists, its history and its texts are bounded.
const RECORD_BYTES: usize = 16 * 1_024;
/// The partitions that are ours. A handler that wrote to them could change the ledger behind its back.
const OUR_PARTITIONS: [&str; 7] = ["e#", "config#", "outbox#", "outbox-held#", "replay#", "breaker", "unmatched#"];

/// Writes of a handler that stand exactly if `done` stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Writes(Vec<TransactWriteItem>);

/// Why writes are not even sent. Each is a defect of the handler, and the same event would meet it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WritesError {
    /// Too many.
    #[error("{0} writes: a transaction takes {MOST_WRITES} beside the record")]
    TooMany(usize),
    /// Too large.
    #[error("{0} bytes of writes: a transaction takes {MOST_BYTES}, the record included")]
    TooLarge(usize),
    /// On a key that is ours.
    #[error(
        "write {0} is on a key of the ledger; partitions that begin with e#, config#, outbox#, outbox-held#, replay#, breaker or unmatched# are not yours"
    )]
    OurKey(usize),
}

impl From<Vec<TransactWriteItem>> for Writes {
    fn from(writes: Vec<TransactWriteItem>) -> Self {
        Self(writes)
    }
}

impl Writes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The writes, in the order in which errors count them.
    pub fn items(&self) -> &[TransactWriteItem] {
        &self.0
    }

    /// Checks what DynamoDB would refuse, and what only we know: our keys in `table`.
    pub fn check(&self, table: &str) -> Result<(), WritesError> {
        if self.0.len() > MOST_WRITES {
            return Err(WritesError::TooMany(self.0.len()));
        }
        let bytes = RECORD_BYTES + self.0.iter().map(bytes_of).sum::<usize>();
        if bytes > MOST_BYTES {
            return Err(WritesError::TooLarge(bytes));
        }
        self.0.iter().position(|write| is_ours(write, table)).map_or(Ok(()), |index| Err(WritesError::OurKey(index)))
    }
}

/// A write taken apart: its table, the attributes that hold its key, and the values of its expressions.
fn parts(write: &TransactWriteItem) -> Option<(&str, &Item, Option<&Item>)> {
    if let Some(put) = write.put() {
        return Some((put.table_name(), put.item(), put.expression_attribute_values()));
    }
    if let Some(update) = write.update() {
        return Some((update.table_name(), update.key(), update.expression_attribute_values()));
    }
    if let Some(delete) = write.delete() {
        return Some((delete.table_name(), delete.key(), delete.expression_attribute_values()));
    }
    let check = write.condition_check()?;
    Some((check.table_name(), check.key(), check.expression_attribute_values()))
}

fn bytes_of(write: &TransactWriteItem) -> usize {
    parts(write).map_or(0, |(_, item, values)| size_of_item(item) + values.map_or(0, size_of_item))
}

/// A table may be named by its ARN too.
fn is_ours(write: &TransactWriteItem, table: &str) -> bool {
    parts(write).is_some_and(|(named, item, _)| {
        let same = named == table || named.ends_with(&format!(":table/{table}"));
        let pk = item.get("pk").and_then(|value| AttributeValue::as_s(value).ok());
        same && pk.is_some_and(|pk| OUR_PARTITIONS.iter().any(|ours| pk.starts_with(ours)))
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{ConditionCheck, Delete, Put, Update};

    use super::*;

    fn put(table: &str, pk: &str, text: &str) -> TransactWriteItem {
        let put = Put::builder().table_name(table).item("pk", AttributeValue::S(pk.into()));
        let put = put.item("text", AttributeValue::S(text.into())).build().unwrap();
        TransactWriteItem::builder().put(put).build()
    }

    #[test]
    fn a_hundredth_write_and_a_fifth_megabyte_are_refused_before_they_are_sent() {
        let many = |count| Writes::from(vec![put("t", "order", ""); count]);
        assert_eq!(many(99).check("t"), Ok(()));
        assert_eq!(many(100).check("t"), Err(WritesError::TooMany(100)));
        let large = Writes::from(vec![put("t", "order", &"x".repeat(MOST_BYTES / 2)); 2]);
        assert!(matches!(large.check("t"), Err(WritesError::TooLarge(_))));
    }

    #[test]
    fn writes_on_keys_of_the_ledger_are_refused_in_our_table_only() {
        for pk in ["e#aa", "config#routes", "outbox#1", "outbox-held#t", "replay#0", "breaker", "unmatched#s"] {
            let name = |table: &str| Writes::from(vec![put("t", "mine", ""), put(table, pk, "")]).check("t");
            assert_eq!(name("t"), Err(WritesError::OurKey(1)), "{pk}");
            assert_eq!(name("arn:aws:dynamodb:eu-central-1:1:table/t"), Err(WritesError::OurKey(1)), "{pk}");
            assert_eq!(name("orders"), Ok(()), "{pk}");
        }
    }

    #[test]
    fn every_kind_of_write_is_checked() {
        let pk = || AttributeValue::S("e#aa".into());
        let update = Update::builder().table_name("t").key("pk", pk()).update_expression("SET a = :a").build();
        let delete = Delete::builder().table_name("t").key("pk", pk()).build();
        let check = ConditionCheck::builder().table_name("t").key("pk", pk()).condition_expression("a = :a").build();
        for write in [
            TransactWriteItem::builder().update(update.unwrap()).build(),
            TransactWriteItem::builder().delete(delete.unwrap()).build(),
            TransactWriteItem::builder().condition_check(check.unwrap()).build(),
        ] {
            assert_eq!(Writes::from(vec![write]).check("t"), Err(WritesError::OurKey(0)));
        }
    }
}
