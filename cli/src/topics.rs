//! `surehook topics`: makes a QStash topic deliver to our consumer, and its failures come to our requeuer, so that
//! nobody has to type that into the sender.

use std::{process::ExitCode, time::Duration};

use clap::Subcommand;
use serde_json::json;
use surehook::{config::Reader, outside, qstash::Client, retry::RETRIES_PER_ROUND, web::EndpointUrl};

use crate::Failure;

/// What to do with a topic.
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
}

pub(crate) async fn run(command: TopicsCommand) -> Result<ExitCode, Failure> {
    let TopicsCommand::Connect { topic, source, others } = command;
    let mut reader = Reader::new(&outside::variable);
    let (qstash, consumers, requeuer) = (reader.qstash(), reader.consumer_urls(true), reader.requeuer_url(true));
    reader.finish()?;
    let (url, token) = qstash.ok_or("QSTASH_TOKEN is required")?;
    let client = Client::new(url, token, Duration::from_secs(10))?;
    let consumer = consumers.first().ok_or("CONSUMER_URL is required")?.below(&format!("/{source}"), "");
    let requeuer = requeuer.ok_or("REQUEUER_URL is required")?;
    connect(&client, &topic, &consumer, &others, &requeuer).await?;
    println!("Topic {topic} delivers to {consumer}");
    for other in others {
        println!("                and to {other}");
    }
    println!("What fails comes to {requeuer}");
    Ok(ExitCode::SUCCESS)
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
    let retries = RETRIES_PER_ROUND.to_string();
    let headers = json!({
        "Upstash-Retries": retries,
        "Upstash-Failure-Callback": requeuer.to_string(),
        "Upstash-Failure-Callback-Retries": retries,
    });
    Ok(client.set_default_headers(topic, &headers).await?)
}
