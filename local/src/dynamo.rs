//! DynamoDB: the embedded one, served over HTTP, so that the real AWS SDK talks to it.

use std::path::Path;

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
};
use dynoxide::Database;
use surehook::store::{Store, StoreError, schema::create_table};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::url_of;

/// A running DynamoDB. It ends when this is dropped.
#[derive(Debug)]
pub struct Dynamo {
    /// Where it listens: `AWS_ENDPOINT_URL_DYNAMODB`.
    pub url: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Why it could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DynamoError {
    /// The file can't be opened or made.
    #[error("the database {path} can't be opened: {text}. Is the folder writable?")]
    Open {
        /// The file.
        path: String,
        /// What was said.
        text: String,
    },
    /// The table can't be made.
    #[error("the table can't be made")]
    Table(#[from] StoreError),
}

impl Dynamo {
    /// Starts one in memory, or in a file that outlives it, with the table in it.
    pub async fn start(listener: TcpListener, file: Option<&Path>, table: &str) -> Result<Self, DynamoError> {
        let path = file.map(|file| file.display().to_string());
        let opened = path.as_deref().map_or_else(Database::memory, Database::new);
        let database = opened.map_err(|error| DynamoError::Open {
            path: path.unwrap_or_else(|| "in memory".to_owned()),
            text: error.to_string(),
        })?;
        let url = url_of(&listener);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = dynoxide::server::serve_with_shutdown(listener, database, async {
            let _dropped = stopped.await;
        });
        let task = tokio::spawn(async {
            let _ended = serving.await;
        });
        let dynamo = Self { url, stop: Some(stop), task };
        create_table(&dynamo.client(), table).await?;
        Ok(dynamo)
    }

    /// A client for it, with made-up credentials.
    pub fn client(&self) -> Client {
        client_of(&self.url)
    }

    /// A store on it.
    pub fn store(&self, table: &str) -> Store {
        Store::new(self.client(), table)
    }

    /// Stops it at once, as an outage does.
    pub fn cut_off(&mut self) {
        self.stop.take();
        self.task.abort();
    }
}

/// A client for a DynamoDB on this machine, with made-up credentials.
pub fn client_of(url: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "surehook-local"))
        .endpoint_url(url)
        .build();
    Client::from_conf(config)
}

impl Drop for Dynamo {
    fn drop(&mut self) {
        self.cut_off();
    }
}
