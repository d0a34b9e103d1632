//! The consumer's configuration.

use std::time::Duration;

use surehook::{
    breaker::BreakerPolicy,
    config::{ConfigError, Lifetimes, Reader, Variables},
    qstash::SigningKeys,
    signing::{BadSecret, SigningSecrets},
    sources::SourceSecrets,
    web::EndpointUrl,
};

/// Everything that the consumer reads from its environment.
#[derive(Debug)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `STACK`.
    pub stack: String,
    /// `METRICS`.
    pub metrics: bool,
    /// `QSTASH_CURRENT_SIGNING_KEY`, `QSTASH_NEXT_SIGNING_KEY`.
    pub keys: Option<SigningKeys>,
    /// `CONSUMER_URL`; may be absent.
    pub bases: Vec<EndpointUrl>,
    /// `HANDLER_TIMEOUT`.
    pub handler_timeout: Duration,
    /// `RETRY_*` and the retentions.
    pub lifetimes: Lifetimes,
    /// `MAX_BODY_BYTES`.
    pub max_body_bytes: usize,
    /// `SIGNING_SECRETS`; only the default handler needs them.
    pub signing_secrets: Option<SigningSecrets>,
    /// `ROUTES_REFRESH`.
    pub routes_refresh: Duration,
    /// `SOURCE_SECRETS`.
    pub source_secrets: SourceSecrets,
    /// `BREAKER_WAIT`; `None` switches the breakers off.
    pub breaker: Option<BreakerPolicy>,
    /// `ALLOW_PRIVATE_DESTINATIONS`.
    pub allow_private: bool,
}

impl Config {
    /// Reads everything, or says everything that is wrong.
    pub fn load(variables: &Variables) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(variables);
        let config = Self {
            table: reader.table(),
            stack: reader.stack(),
            metrics: reader.metrics(),
            keys: reader.signing_keys(),
            bases: reader.consumer_urls(false),
            handler_timeout: reader.handler_timeout(),
            lifetimes: reader.lifetimes(),
            max_body_bytes: reader.max_body_bytes(),
            signing_secrets: reader.signing_secrets(),
            routes_refresh: reader.routes_refresh(),
            source_secrets: reader.source_secrets(),
            breaker: reader.breaker(),
            allow_private: reader.allow_private_destinations(),
        };
        reader.finish().map(|()| config)
    }

    /// The secrets that sign deliveries, which the default handler can't do without.
    pub fn signing_secrets(&self) -> Result<SigningSecrets, ConfigError> {
        self.signing_secrets.clone().ok_or_else(|| ConfigError::of("SIGNING_SECRETS", BadSecret::Missing))
    }
}
