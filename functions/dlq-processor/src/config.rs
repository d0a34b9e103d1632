//! The processor's configuration, for the function and for the command line.

use surehook::{
    config::{ConfigError, Lifetimes, Reader, Variables},
    qstash::Account,
    web::EndpointUrl,
};

/// Everything that the processor reads from its environment.
#[derive(Debug)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `STACK`.
    pub stack: String,
    /// `METRICS`.
    pub metrics: bool,
    /// `QSTASH_URL`, `QSTASH_TOKEN`, or those of each region.
    pub qstash: Option<Vec<Account>>,
    /// `CONSUMER_URL`.
    pub consumers: Vec<EndpointUrl>,
    /// `REQUEUER_URL`.
    pub requeuers: Vec<EndpointUrl>,
    /// `RETRY_*` and the retentions.
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
            qstash: reader.qstash_accounts(),
            consumers: reader.consumer_urls(true),
            requeuers: reader.requeuer_urls(true),
            lifetimes: reader.lifetimes(),
        };
        reader.finish().map(|()| config)
    }
}
