//! DynamoDB and its two tables. The embedded one runs in a process of its own, so that its work is on nobody's clock.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use surehook::{
    outside,
    routes::Routes,
    store::{Store, schema::create_table},
};
use surehook_local::dynamo::{Dynamo, client_of};
use tokio::net::TcpListener;

use crate::error::BenchError;

/// A DynamoDB that listens. An embedded one ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Database {
    /// Where.
    pub(crate) url: String,
    /// It ends when its standard input does, even if this process is killed.
    _process: Option<(Child, ChildStdin)>,
}

/// The tables of one run, whose names nobody else uses.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    /// Surehook's.
    pub(crate) ours: String,
    /// The one that Powertools' documentation asks for.
    pub(crate) theirs: String,
}

impl Database {
    /// Starts this program once more as a database, or takes the one that was named.
    pub(crate) fn start(program: &Path, named: Option<&str>) -> Result<Self, BenchError> {
        if let Some(url) = named {
            return Ok(Self { url: url.trim_end_matches('/').to_owned(), _process: None });
        }
        let command = Command::new(program).arg("dynamodb").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = command.map_err(BenchError::system("the embedded DynamoDB can't be started"))?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or(BenchError::Dynamo)?;
        let first = BufReader::new(output).lines().next();
        let url = first.and_then(Result::ok).ok_or(BenchError::Dynamo)?;
        Ok(Self { url, _process: Some((child, input)) })
    }
}

/// What the process of the embedded DynamoDB does: it says where it listens, and serves until its standard input ends.
pub(crate) async fn serve() -> Result<(), BenchError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(BenchError::system("a port for DynamoDB"))?;
    let dynamo = Dynamo::start(listener, None, "unused").await.map_err(|error| BenchError::Table(error.to_string()))?;
    println!("{}", dynamo.url);
    let until_the_end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ended = until_the_end.await;
    Ok(())
}

impl Tables {
    /// Makes both tables, and a route to the destination in ours.
    pub(crate) async fn create(database: &str, destination: &str) -> Result<Self, BenchError> {
        let client = client_of(database);
        let id = outside::new_id();
        let tables = Self { ours: format!("surehook-bench-{id}"), theirs: format!("idempotency-bench-{id}") };
        create_table(&client, &tables.ours).await?;
        create_theirs(&client, &tables.theirs).await?;
        let document = format!("[[route]]\nname = \"bench\"\nsource = \"strapi\"\nurl = \"{destination}\"\n");
        let routes = Routes::compile(&document, &Routes::default())?;
        Store::new(client, &tables.ours).put_routes(&routes, &document, outside::now()).await?;
        Ok(tables)
    }
}

/// Expiry needs no word here: no run is long enough for it to matter.
async fn create_theirs(client: &Client, table: &str) -> Result<(), BenchError> {
    let wrong = |error: aws_sdk_dynamodb::error::BuildError| BenchError::Table(error.to_string());
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().map_err(wrong)?;
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
    let request = client.create_table().table_name(table).key_schema(key);
    let request = request.attribute_definitions(id.build().map_err(wrong)?).billing_mode(BillingMode::PayPerRequest);
    let made = request.send().await;
    made.map(|_| ()).map_err(|error| BenchError::Table(error.into_service_error().to_string()))
}
