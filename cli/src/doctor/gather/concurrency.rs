//! How many executions the account allows at once, and how many of them are reserved for the stack's functions.

use aws_sdk_lambda::Client;
use surehook::aws;

use super::deployed::name;
use crate::doctor::facts::{Concurrency, FUNCTIONS, Learned, Unknown};

/// Asks Lambda.
pub(super) async fn of(stack: &str) -> Learned<Concurrency> {
    let client = Client::new(&aws::settings().await);
    let account = client.get_account_settings().send().await.map_err(|error| Unknown::of_aws(&error))?;
    let limit = account.account_limit().ok_or(Unknown::Unanswered("Lambda names no limit".to_owned()))?;
    let mut reserved = Vec::new();
    for function in FUNCTIONS {
        let asked = client.get_function_concurrency().function_name(name(stack, function)).send().await;
        let asked = asked.map_err(|error| Unknown::of_aws(&error))?;
        reserved.extend(asked.reserved_concurrent_executions().map(|count| (function, i64::from(count))));
    }
    let unreserved = limit.unreserved_concurrent_executions().unwrap_or_default();
    Ok(Concurrency { limit: limit.concurrent_executions().into(), unreserved: unreserved.into(), reserved })
}
