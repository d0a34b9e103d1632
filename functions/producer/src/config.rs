//! The producer's configuration.

use std::time::Duration;

use surehook::{
    config::{ConfigError, Reader, Variables},
    secret::Secret,
    sources::SourceSecrets,
};
use url::Url;

/// Everything that the producer reads from its environment.
#[derive(Debug)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `STACK`.
    pub stack: String,
    /// `METRICS`.
    pub metrics: bool,
    /// `QSTASH_URL`, `QSTASH_TOKEN`.
    pub qstash: Option<(Url, Secret)>,
    /// `PRODUCER_TOKEN`.
    pub tokens: Vec<Secret>,
    /// `ROUTES_REFRESH`.
    pub routes_refresh: Duration,
    /// `SOURCE_SECRETS`.
    pub source_secrets: SourceSecrets,
    /// `TOPICS`.
    pub topics: Vec<String>,
    /// `MAX_BODY_BYTES`.
    pub max_body_bytes: usize,
    /// `ANSWER_WITHIN`.
    pub answer_within: Duration,
}

impl Config {
    /// Reads everything, or says everything that is wrong.
    pub fn load(variables: &Variables) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(variables);
        let config = Self {
            table: reader.table(),
            stack: reader.stack(),
            metrics: reader.metrics(),
            qstash: reader.qstash(),
            tokens: reader.producer_tokens(),
            routes_refresh: reader.routes_refresh(),
            source_secrets: reader.source_secrets(),
            topics: reader.topics(),
            max_body_bytes: reader.max_body_bytes(),
            answer_within: reader.answer_within(),
        };
        reader.finish().map(|()| config)
    }
}
