//! DynamoDB: the only modules that name an `AttributeValue`.
//!
//! One table, `pk` + `sk`. All items of one event share `pk = e#<event key>`.
//!
//! | module | items |
//! |---|---|
//! | [`ledger`], `commit` | `sk = ledger`: the record |
//! | [`letters`] | `sk = dead-letter#<fence>`: heads; `…#<ms>#000` and so on: chunks of the body |
//! | [`routes`] | `pk = config#routes`: what stands, and every version; [`routes_cache`] keeps it for a process |
//! | [`outbox`] | `pk = outbox#<0..7>` |
//! | [`held`] | `pk = outbox-held#<topic>`: rows of topics without endpoints; `pk = config#held-topics` lists those topics |
//! | [`letters`] | `pk = config#dead-letter-days`: the days that have letters; [`shelves`] reads letters by time |
//! | [`replays`] | `pk = replay#<0..7>`: replays under way |
//! | [`place`], [`sweep_lease`] | `pk = config#sweep`: where the last sweep stopped; which run sweeps now |
//! | [`rejected`] | `pk = config#rejected`: senders whose plausible requests the producer rejects |
//! | [`policy`] | `pk = config#policy`: the settings by which the stack retries and forgets events |
//! | [`breakers`] | `pk = breaker`: destinations that keep failing |
//! | [`unmatched`] | `pk = unmatched#<source>`: event types that no route took lately |
//! | [`schema`], [`inspect`] | the table itself and its indexes: as it should be, and as it is |
//! | `permissions` | none: proves what the caller is allowed to write |

pub mod breakers;
mod commit;
pub mod error;
pub mod heard;
pub mod held;
pub mod inspect;
mod item;
pub mod kept;
pub mod ledger;
mod letter_item;
pub mod letters;
pub mod outbox;
mod permissions;
pub mod place;
pub mod policy;
pub mod rejected;
pub mod replays;
pub mod routes;
pub mod routes_cache;
pub mod schema;
mod search;
pub mod shelves;
#[cfg(test)]
mod spread_tests;
pub mod stranded;
pub mod sweep_lease;
pub mod unmatched;
pub mod waiting;
mod writes;

use std::sync::{Arc, Mutex, atomic::AtomicI64};

use aws_sdk_dynamodb::{Client, types::ConsumedCapacity};

/// The SDK that a handler's own writes are built with.
pub use aws_sdk_dynamodb as dynamodb;
pub use commit::{CommitError, ConditionFailed};
pub use error::{LedgerError, StoreError};
pub use writes::{MOST_BYTES, MOST_WRITES, Writes, WritesError};

use crate::aws;

/// How many partitions letters, replays under way and the outbox are spread over.
pub const SHARDS: u8 = 8;
/// The same of events that wait. When a destination of all events is away, each attempt writes here twice, and one partition takes
/// 1,000 writes a second. The eight names that older versions chose are among these, and so what they wrote is found.
pub const OPEN_SHARDS: u8 = 64;

/// The table.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table: String,
    /// The last day of which this process knows that the table lists it among those that have letters.
    noted_hour: Arc<AtomicI64>,
    /// What DynamoDB reports to have charged, for tests and benchmarks that ask.
    meter: Option<Arc<Mutex<Capacity>>>,
}

/// Capacity that DynamoDB reported.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Capacity {
    /// Write units.
    pub written: f64,
    /// Read units.
    pub read: f64,
}

/// The time-outs and retries of all our calls, for a client that is not built from the environment.
pub fn limited(config: aws_sdk_dynamodb::config::Builder) -> aws_sdk_dynamodb::config::Builder {
    config.retry_config(aws::retries()).timeout_config(aws::time_outs())
}

impl Store {
    /// A store over a client.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        let noted_hour = Arc::new(AtomicI64::new(letters::NO_HOUR));
        Self { client, table: table.into(), noted_hour, meter: None }
    }

    /// A store from the environment's AWS settings (`AWS_ENDPOINT_URL_DYNAMODB` for a local table).
    pub async fn connect(table: impl Into<String>) -> Self {
        Self::new(Client::new(&aws::settings().await), table)
    }

    /// The same store, counting what DynamoDB says that each call costs.
    pub fn metered(mut self) -> Self {
        self.meter = Some(Arc::default());
        self
    }

    /// What was counted so far.
    pub fn capacity(&self) -> Capacity {
        self.meter.as_ref().and_then(|meter| meter.lock().ok().map(|capacity| *capacity)).unwrap_or_default()
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    fn wants_capacity(&self) -> Option<aws_sdk_dynamodb::types::ReturnConsumedCapacity> {
        self.meter.as_ref().map(|_| aws_sdk_dynamodb::types::ReturnConsumedCapacity::Indexes)
    }

    fn count_write(&self, consumed: Option<&ConsumedCapacity>) {
        self.count(consumed, |capacity, units| capacity.written += units);
    }

    fn count_read(&self, consumed: Option<&ConsumedCapacity>) {
        self.count(consumed, |capacity, units| capacity.read += units);
    }

    fn count(&self, consumed: Option<&ConsumedCapacity>, add: impl FnOnce(&mut Capacity, f64)) {
        let units = consumed.and_then(ConsumedCapacity::capacity_units).unwrap_or_default();
        if let Some(Ok(mut capacity)) = self.meter.as_ref().map(|meter| meter.lock()) {
            add(&mut capacity, units);
        }
    }
}
