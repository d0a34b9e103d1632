//! `surehook topics`: makes QStash topics deliver to our consumer, and their failures come to our requeuer, so that nobody has to type
//! that into the sender.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use surehook::{
    config::{Reader, Variables},
    outside,
    qstash::{
        Client,
        topic::{TopicChange, WantedTopic},
    },
    retry::RETRIES_PER_ROUND,
    routes::{Routes, Topic},
    sources::{BUILT_IN, CANARY, Source},
    web::EndpointUrl,
};

use crate::{
    Failure,
    input::confirm,
    publish::client,
    routes,
    text::{counted, harmless_json, harmless_lines},
};

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Deliver a topic to the consumer, with retries and the failure callback as default headers of the topic
    Connect {
        /// The topic
        topic: String,
        /// The source: the path below the consumer's URL that tells the consumer what comes
        #[arg(long, default_value = "strapi")]
        source: String,
        /// More endpoints of the topic, which are not the consumer's
        #[arg(long = "also", value_name = "URL")]
        others: Vec<String>,
    },
    /// Make the topics of a routes document at QStash what it says: endpoints and default headers; shows the difference first
    Sync {
        /// The document
        file: PathBuf,
        /// Only show the difference
        #[arg(long)]
        dry_run: bool,
        /// With --dry-run: end with exit code 3 if a topic differs. Default headers that QStash does not show do not count
        #[arg(long, requires = "dry_run")]
        exit_code: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Print the difference as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Where topics deliver, and who hears of failures.
struct Own {
    consumer: EndpointUrl,
    requeuer: EndpointUrl,
}

pub(crate) async fn run(command: TopicsCommand) -> Result<ExitCode, Failure> {
    let (client, own) = (client().await?, own()?);
    match command {
        TopicsCommand::Connect { source, .. } if source == CANARY => {
            return Err(format!("events of {CANARY} go nowhere: choose another source").into());
        }
        TopicsCommand::Connect { topic, source, others } => {
            require_source(&source).await?;
            let consumer = own.consumer.below(&format!("/{source}"), "");
            connect(&client, &topic, &consumer, &others, &own.requeuer).await?;
            println!("Topic {topic} delivers to {consumer}");
            for other in others {
                println!("                and to {other}");
            }
            println!("What fails comes to {}", own.requeuer);
        }
        TopicsCommand::Sync { file, dry_run, exit_code, yes, json } => {
            let document = routes::compile(&file, &routes::read(&file)?, &Routes::default())?;
            let wanted: Vec<WantedTopic> = document.topics.iter().map(|topic| own.wanted(topic)).collect();
            return sync(&client, &wanted, Manner { dry_run, exit_code, yes, json }).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A topic with an unknown source would deliver, and each event would be answered 503.
async fn require_source(source: &str) -> Result<(), Failure> {
    // The built-in sources need no table.
    if Source::built_in(source).is_some() {
        return Ok(());
    }
    let routes = routes::store()?.await.routes(true).await?;
    if routes.known(source).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = routes.sources.iter().map(|source| source.name.as_str()).chain(BUILT_IN).collect();
    Err(format!(
        "there is no source \"{source}\"; there are {}. Add a [[source]] of this name to the routes document, and run `surehook \
         routes apply routes.toml`",
        names.join(", ")
    )
    .into())
}

fn own() -> Result<Own, Failure> {
    let variables = Variables::plain(outside::variable);
    let mut reader = Reader::new(&variables);
    let (consumers, requeuer) = (reader.consumer_urls(true), reader.requeuer_urls(true));
    reader.finish()?;
    let consumer = consumers.into_iter().next().ok_or("CONSUMER_URL is required")?;
    Ok(Own { consumer, requeuer: requeuer.into_iter().next().ok_or("REQUEUER_URL is required")? })
}

/// Sets endpoints and default headers.
pub(crate) async fn connect(
    client: &Client,
    topic: &str,
    consumer: &EndpointUrl,
    others: &[String],
    requeuer: &EndpointUrl,
) -> Result<(), Failure> {
    let endpoints: Vec<String> = std::iter::once(consumer.to_string()).chain(others.iter().cloned()).collect();
    client.add_endpoints(topic, &endpoints).await?;
    let headers = default_headers(RETRIES_PER_ROUND, requeuer);
    Ok(client.set_default_headers(topic, &serde_json::to_value(headers)?).await?)
}

/// What every message of a topic needs, whoever publishes it.
fn default_headers(retries: u32, requeuer: &EndpointUrl) -> BTreeMap<String, String> {
    let headers = [
        ("Upstash-Retries", retries.to_string()),
        ("Upstash-Failure-Callback", requeuer.to_string()),
        ("Upstash-Failure-Callback-Retries", RETRIES_PER_ROUND.to_string()),
    ];
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Own {
    /// The topic that the document describes. What it says of headers stands over what we need.
    fn wanted(&self, topic: &Topic) -> WantedTopic {
        let consumer = self.consumer.below(&format!("/{}", topic.source), "");
        let mut headers = default_headers(topic.retries.unwrap_or(RETRIES_PER_ROUND), &self.requeuer);
        for (name, value) in &topic.headers {
            headers.retain(|known, _| !known.eq_ignore_ascii_case(name));
            headers.insert(name.clone(), value.clone());
        }
        let endpoints = std::iter::once(consumer.to_string()).chain(topic.also.iter().cloned()).collect();
        WantedTopic { name: topic.name.clone(), endpoints, headers }
    }
}

/// How to synchronize.
#[derive(Debug, Clone, Copy)]
struct Manner {
    dry_run: bool,
    exit_code: bool,
    yes: bool,
    json: bool,
}

/// The exit code of `topics sync --dry-run --exit-code` if a topic differs.
const DIFFERENT: u8 = 3;

/// Shows what differs, asks, and changes it. Topics that the document does not name are left alone: the account may have others.
async fn sync(client: &Client, wanted: &[WantedTopic], manner: Manner) -> Result<ExitCode, Failure> {
    if wanted.is_empty() {
        return Err("the document names no topics: write [[topic]] with a name and a source".into());
    }
    let mut changes = Vec::new();
    for topic in wanted {
        changes.extend(topic.changes(client.topic(&topic.name).await?.as_ref()));
    }
    show(&changes, manner.json)?;
    if manner.exit_code && changes.iter().any(TopicChange::is_difference) {
        return Ok(ExitCode::from(DIFFERENT));
    }
    if changes.is_empty() || manner.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    confirm(&format!("Make {} at QStash?", counted(changes.len(), "change")), manner.yes)?;
    // What is new first: a topic that has lost its last endpoint is gone, and its default headers with it.
    let (removed, others): (Vec<_>, Vec<_>) =
        changes.iter().partition(|change| matches!(change, TopicChange::EndpointRemoved { .. }));
    for change in others.into_iter().chain(removed) {
        make(client, change).await?;
    }
    eprintln!("{} made.", counted(changes.len(), "change"));
    Ok(ExitCode::SUCCESS)
}

async fn make(client: &Client, change: &TopicChange) -> Result<(), Failure> {
    match change {
        // Its first endpoint makes it.
        TopicChange::Created { .. } => Ok(()),
        TopicChange::EndpointAdded { topic, url } => Ok(client.add_endpoints(topic, std::slice::from_ref(url)).await?),
        TopicChange::EndpointRemoved { topic, url } => {
            Ok(client.remove_endpoints(topic, std::slice::from_ref(url)).await?)
        }
        TopicChange::Headers { topic, to, .. } | TopicChange::HeadersUnseen { topic, to } => {
            Ok(client.set_default_headers(topic, &serde_json::to_value(to)?).await?)
        }
    }
}

fn show(changes: &[TopicChange], is_json: bool) -> Result<(), Failure> {
    if is_json {
        println!("{}", harmless_json(&serde_json::to_string_pretty(changes)?));
        return Ok(());
    }
    for change in changes {
        println!("{}", harmless_lines(&change.to_string()));
    }
    if changes.is_empty() {
        println!("Nothing differs: QStash has the topics as the document says.");
    }
    Ok(())
}
