//! DynamoDB: the embedded one, served over HTTP, so that the real AWS SDK talks to it.

use std::path::Path;

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
};
use dynoxide::Database;
use surehook::{
    outside,
    store::{Store, StoreError, schema::create_table},
};
use surehook_qstash::Visitors;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::{dynamo_guard, url_of};

/// A running DynamoDB. It ends when this is dropped.
#[derive(Debug)]
pub struct Dynamo {
    /// Where it listens: `AWS_ENDPOINT_URL_DYNAMODB`.
    pub url: String,
    stop: Option<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
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
    /// There is no port behind the guard.
    #[error("DynamoDB gets no port of its own")]
    Port(#[source] std::io::Error),
    /// The guard has no HTTP client.
    #[error("DynamoDB's guard can't make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// The table can't be made.
    #[error("the table can't be made")]
    Table(#[from] StoreError),
}

impl Dynamo {
    /// Starts one that answers only the requests that the visitors' rules admit. The guard passes each request on, which takes time.
    pub async fn start_guarded(
        listener: TcpListener,
        visitors: Visitors,
        file: Option<&Path>,
        table: &str,
    ) -> Result<Self, DynamoError> {
        let hidden = dynamo_guard::hidden_listener(outside::draw()).await.map_err(DynamoError::Port)?;
        let url = url_of(&listener);
        let guard = dynamo_guard::serve(listener, visitors, url_of(&hidden)).map_err(DynamoError::Client)?;
        let mut dynamo = Self::start(hidden, file, table).await?;
        dynamo.tasks.push(tokio::spawn(guard));
        dynamo.url = url;
        Ok(dynamo)
    }

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
        let dynamo = Self { url, stop: Some(stop), tasks: vec![task] };
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
        self.tasks.iter().for_each(JoinHandle::abort);
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
