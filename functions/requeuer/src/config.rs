//! The requeuer's configuration.

use surehook::{
    config::{ConfigError, Lifetimes, Reader, Variables},
    qstash::{Account, SigningKeys},
    web::EndpointUrl,
};

/// Everything that the requeuer reads from its environment.
#[derive(Debug)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `STACK`.
    pub stack: String,
    /// `METRICS`.
    pub metrics: bool,
    /// `QSTASH_CURRENT_SIGNING_KEY`, `QSTASH_NEXT_SIGNING_KEY`, or those of each region.
    pub keys: Option<SigningKeys>,
    /// `QSTASH_URL`, `QSTASH_TOKEN`, or those of each region.
    pub qstash: Option<Vec<Account>>,
    /// `CONSUMER_URL`.
    pub consumers: Vec<EndpointUrl>,
    /// `REQUEUER_URL`; may be absent.
    pub bases: Vec<EndpointUrl>,
    /// `RETRY_*`.
    pub lifetimes: Lifetimes,
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
            qstash: reader.qstash_accounts(),
            consumers: reader.consumer_urls(true),
            bases: reader.requeuer_urls(false),
            lifetimes: reader.lifetimes(),
        };
        reader.finish().map(|()| config)
    }
}
