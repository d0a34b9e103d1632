//! The producer's configuration.

use surehook::{
    config::{ConfigError, Reader},
    secret::Secret,
};
use url::Url;

/// Everything that the producer reads from its environment.
#[derive(Debug)]
pub struct Config {
    /// `TABLE_NAME`.
    pub table: String,
    /// `STACK`.
    pub stack: String,
    /// `QSTASH_URL`, `QSTASH_TOKEN`.
    pub qstash: Option<(Url, Secret)>,
    /// `PRODUCER_TOKEN`.
    pub token: Option<Secret>,
    /// `TOPICS`.
    pub topics: Vec<String>,
    /// `MAX_BODY_BYTES`.
    pub max_body_bytes: usize,
}

impl Config {
    /// Reads everything, or says everything that is wrong.
    pub fn load(look_up: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(look_up);
        let config = Self {
            table: reader.table(),
            stack: reader.stack(),
            qstash: reader.qstash(),
            token: reader.producer_token(),
            topics: reader.topics(),
            max_body_bytes: reader.max_body_bytes(),
        };
        reader.finish().map(|()| config)
    }
}
