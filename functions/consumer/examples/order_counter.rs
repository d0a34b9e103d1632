//! A consumer with a handler of its own: it counts orders, exactly.
//!
//! QStash delivers at least once, workers crash, answers get lost: a plain `ADD` would count some orders twice. Here the
//! `ADD` and `done` are one transaction, so each order counts once and none is left out. The test
//! `a_counter_is_exact_after_kills` runs this very file in eight processes that are killed at random.
//!
//! Deploy it like the consumer it replaces. Add `counter#*` to the keys of the statement `Ledger` of its role, and the counter's
//! table to the statement's resources if it is another one.

use std::process::ExitCode;

use serde::Deserialize;
use surehook::store::dynamodb::{
    error::BuildError,
    types::{AttributeValue, TransactWriteItem, Update},
};
use surehook_consumer::{Attempt, Effects, Event, Handler, HandlerError};

/// The handler. It holds no client: what it wants written, it hands over.
#[derive(Debug)]
pub(crate) struct OrderCounter {
    /// The table of the counter; any table of the same region and account.
    table: String,
}

/// The part of an order that counts.
#[derive(Debug, Deserialize)]
struct Order {
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    cents: u64,
}

impl Handler for OrderCounter {
    async fn handle(&self, event: &Event, attempt: &Attempt) -> Result<Effects, HandlerError> {
        let order: Order = serde_json::from_slice(&event.body)
            .map_err(|error| HandlerError::permanent(&format!("not an order: {error}"), attempt))?;
        let update = self.count(order.data.cents).map_err(|_| HandlerError::permanent("a defect", attempt))?;
        Ok(Effects::writing(vec![TransactWriteItem::builder().update(update).build()]))
    }
}

impl OrderCounter {
    fn count(&self, cents: u64) -> Result<Update, BuildError> {
        Update::builder()
            .table_name(&self.table)
            .key("pk", AttributeValue::S("counter#orders".into()))
            .key("sk", AttributeValue::S("total".into()))
            .update_expression("ADD orders :one, cents :cents")
            .expression_attribute_values(":one", AttributeValue::N("1".into()))
            .expression_attribute_values(":cents", AttributeValue::N(cents.to_string()))
            .build()
    }
}

/// What `main` of such a consumer does.
pub(crate) fn run() -> ExitCode {
    let consumer = surehook_consumer::run_with(|config, _routes| Ok(OrderCounter { table: config.table.clone() }));
    surehook::web::serve::run("order-counter", consumer)
}

#[allow(dead_code, reason = "the test's process includes this file and has a main of its own")]
fn main() -> ExitCode {
    run()
}
