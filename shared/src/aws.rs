//! How all our calls to AWS behave: short, because a throttled call must leave time to answer QStash.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};

use crate::{outside, tls};

/// The environment's settings (credentials, region, `AWS_ENDPOINT_URL…`) with our time-outs and retries. In a function on Lambda their
/// client trusts Amazon alone, unless the environment says otherwise ([`tls::for_aws`]).
pub async fn settings() -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retries()).timeout_config(time_outs());
    match tls::for_aws(outside::variable) {
        Some(client) => loader.http_client(client).load().await,
        None => loader.load().await,
    }
}

/// Callers that have less time left drop the call, retries and all.
pub fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(3)
}

/// One second to connect, two for an attempt, five for a call with its retries.
pub fn time_outs() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(5))
        .build()
}

/// Retries of what a function can't start without: many that start at once are throttled, and Lambda gives each 10 s.
pub fn patient_retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(8).with_max_backoff(Duration::from_secs(2))
}

/// The same attempts, within 9 s.
pub fn patient_time_outs() -> TimeoutConfig {
    time_outs().to_builder().operation_timeout(Duration::from_secs(9)).build()
}
