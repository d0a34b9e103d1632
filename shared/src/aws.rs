//! How all our calls to AWS behave: short, because a throttled call must leave time to answer QStash.

use std::{error::Error, time::Duration};

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;

use crate::{causes::with_causes, outside, tls};

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

/// Why AWS can't be called at all, whatever the service. Each message names a command that fixes it.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No provider has credentials.
    #[error("no AWS credentials were found; run `aws configure`, or set AWS_PROFILE")]
    NoCredentials,
    /// A provider that is set up fails, because a session has expired for example. The text is the provider's.
    #[error("the AWS credentials can't be loaded ({0}); run `aws sts get-caller-identity`")]
    Unloaded(String),
    /// No region is set.
    #[error("no AWS region is set; set AWS_REGION to the stack's region, or run `aws configure`")]
    NoRegion,
    /// AWS knows no such key or session, or the session has expired. The text is AWS's error code.
    #[error("AWS rejects the credentials ({0}); run `aws sts get-caller-identity`, and sign in again")]
    Rejected(String),
}

/// Codes with which AWS rejects credentials. Source: AWS, "Common errors" of DynamoDB, SSM, Lambda and CloudWatch.
const REJECTED_CREDENTIALS: [&str; 6] = [
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "InvalidClientTokenId",
    "MissingAuthenticationTokenException",
    "ExpiredTokenException",
    "ExpiredToken",
];

impl AccessError {
    /// Returns why a call failed before its service considered it; `None` for every other error.
    pub fn of<E: ProvideErrorMetadata + Error + 'static>(error: &E) -> Option<Self> {
        let is_rejected = |code: &&str| REJECTED_CREDENTIALS.contains(code);
        let rejected = error.code().filter(is_rejected).map(|code| Self::Rejected(code.to_owned()));
        let first: &(dyn Error + 'static) = error;
        rejected.or_else(|| std::iter::successors(Some(first), |cause| (*cause).source()).find_map(of_cause))
    }
}

/// The errors of the endpoint's rules and of the signer without a region. Source: the AWS SDK for Rust, smithy-rs.
const NO_REGION: [&str; 2] = ["Invalid Configuration: Missing Region", "missing signing region"];

/// Reads one cause. The SDK has no type of its own for a missing region.
fn of_cause(cause: &(dyn Error + 'static)) -> Option<AccessError> {
    match cause.downcast_ref::<CredentialsError>() {
        Some(CredentialsError::CredentialsNotLoaded(_)) => Some(AccessError::NoCredentials),
        Some(other) => Some(AccessError::Unloaded(with_causes(other))),
        None => NO_REGION.iter().any(|text| cause.to_string() == *text).then_some(AccessError::NoRegion),
    }
}

/// Describes why a call to AWS failed, in one line for a person.
pub fn explained<E: ProvideErrorMetadata + Error + 'static>(error: &E) -> String {
    AccessError::of(error).map_or_else(|| with_causes(error), |access| access.to_string())
}
