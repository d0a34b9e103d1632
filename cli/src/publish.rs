//! `surehook publish`: one event to a QStash topic or URL, with the options that QStash has.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::json;
use surehook::{
    Millis,
    config::{Reader, Variables},
    qstash::{
        Client,
        client::Destination,
        duration,
        publish::{FlowControl, Once, PublishOptions, Published},
    },
};

use crate::{
    Failure,
    follow_up::runnable,
    input,
    text::{counted, harmless, harmless_json},
};

/// What, where to, and how.
#[derive(Debug, Args)]
pub(crate) struct PublishArguments {
    /// A file with the body, sent byte for byte; - reads it from standard input
    #[arg(default_value = "-")]
    body: PathBuf,
    /// The topic
    #[arg(long, required_unless_present = "url", conflicts_with = "url")]
    topic: Option<String>,
    /// One URL instead of a topic
    #[arg(long)]
    url: Option<String>,
    /// The body's type; JSON where it is JSON unless given
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The method of the delivery; POST unless given
    #[arg(long)]
    method: Option<String>,
    /// Deliver so much later, such as 90s or 1d12h
    #[arg(long, value_name = "SPAN", value_parser = span, conflicts_with = "not_before")]
    delay: Option<Duration>,
    /// Deliver not before, such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    not_before: Option<Millis>,
    /// Publish once, whatever is sent with this id within ten minutes
    #[arg(long, value_name = "ID")]
    dedup_id: Option<String>,
    /// Publish once, whatever has the same destination, body and headers within ten minutes
    #[arg(long, conflicts_with = "dedup_id")]
    dedup_by_content: bool,
    /// Retries after the first attempt
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// The wait before each retry, an expression in milliseconds, such as "pow(2, retried) * 1000"
    #[arg(long, value_name = "EXPRESSION")]
    retry_delay: Option<String>,
    /// How long one attempt may take
    #[arg(long, value_name = "SPAN", value_parser = span)]
    timeout: Option<Duration>,
    /// Called after every attempt
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// Called when the message is given up; a topic may have one by default
    #[arg(long, value_name = "URL")]
    failure_callback: Option<String>,
    /// Share the limits of this key
    #[arg(long, value_name = "KEY")]
    flow_key: Option<String>,
    /// Deliveries of the key at the same time
    #[arg(long, value_name = "N", requires = "flow_key")]
    parallelism: Option<u32>,
    /// Deliveries of the key in a period
    #[arg(long, value_name = "N", requires = "flow_key")]
    rate: Option<u32>,
    /// The period of the rate
    #[arg(long, value_name = "SPAN", value_parser = span, requires = "rate")]
    period: Option<Duration>,
    /// A label, by which QStash finds the message again; may be repeated
    #[arg(long = "label")]
    labels: Vec<String>,
    /// A header of the delivery, such as "X-Tenant: blue"; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: PublishArguments) -> Result<ExitCode, Failure> {
    let body = input::read(&arguments.body)?;
    let client = client().await?;
    let to = match (&arguments.topic, &arguments.url) {
        (Some(topic), _) => Destination::Topic(topic.clone()),
        (None, url) => Destination::Url(url.clone().unwrap_or_default()),
    };
    let options = arguments.options(&body);
    tell(&client.queue_webhook(to, body, &options).await?, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

/// A client of the account that the environment names.
pub(crate) async fn client() -> Result<Client, Failure> {
    let variables = Variables::of_environment().await;
    let mut reader = Reader::new(&variables);
    let qstash = reader.qstash();
    reader.finish()?;
    let (url, token) = qstash.ok_or("QSTASH_TOKEN is required")?;
    Ok(Client::new(url, token, Duration::from_secs(10))?)
}

impl PublishArguments {
    fn options(&self, body: &[u8]) -> PublishOptions {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        let flow_control = self.flow_key.clone().map(|key| FlowControl {
            key,
            parallelism: self.parallelism,
            rate: self.rate,
            period: self.period,
        });
        PublishOptions {
            content_type: self.content_type.clone().or(is_json.then(|| "application/json".to_owned())),
            method: self.method.clone(),
            delay: self.delay,
            not_before: self.not_before,
            retries: self.retries,
            retry_delay: self.retry_delay.clone(),
            callback: self.callback.clone(),
            failure_callback: self.failure_callback.clone(),
            timeout: self.timeout,
            flow_control,
            labels: self.labels.clone(),
            once: self.dedup_id.clone().map(Once::Id).or(self.dedup_by_content.then_some(Once::Content)),
            headers: self.headers.clone(),
        }
    }
}

fn tell(published: &[Published], is_json: bool) -> Result<(), Failure> {
    if is_json {
        let listed = published
            .iter()
            .map(|one| json!({ "messageId": one.message_id, "url": one.url, "deduplicated": one.deduplicated }));
        println!("{}", harmless_json(&serde_json::to_string_pretty(&listed.collect::<Vec<_>>())?));
        return Ok(());
    }
    for one in published {
        let url = one.url.as_deref().map(|url| format!(" to {}", harmless(url))).unwrap_or_default();
        let again = if one.deduplicated { ": published before, and not again" } else { "" };
        println!("{}{url}{again}", harmless(&one.message_id));
    }
    let published = counted(published.len(), "message");
    println!("{published}. {}", runnable("`surehook why MESSAGE` tells what becomes of it."));
    Ok(())
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "a span is a number of seconds, or such as 90s, 15m, 1d12h".to_owned())
}

pub(crate) fn time(text: &str) -> Result<Millis, String> {
    let time =
        humantime::parse_rfc3339_weak(text).map_err(|_bad| "a time is such as 2026-12-24T18:00:00Z".to_owned())?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_bad| "that is before 1970".to_owned())?;
    Millis::try_from(since.as_millis()).map_err(|_bad| "that is too late".to_owned())
}

pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written \"Name: value\"")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
