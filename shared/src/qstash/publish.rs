//! Publishing with everything that QStash offers: for code of your own that sends events.
//!
//! ```no_run
//! use std::time::Duration;
//! use surehook::{
//!     qstash::{Client, publish::{FlowControl, Once, PublishOptions}},
//!     secret::Secret,
//! };
//!
//! # async fn example(token: Secret) -> Result<(), Box<dyn std::error::Error>> {
//! let qstash = Client::new("https://qstash.upstash.io".parse()?, token, Duration::from_secs(5))?;
//! let options = PublishOptions {
//!     delay: Some(Duration::from_secs(60)),
//!     retries: Some(3),
//!     once: Some(Once::Id("order-17".into())),
//!     flow_control: Some(FlowControl { key: "shop".into(), rate: Some(50), ..FlowControl::default() }),
//!     labels: vec!["orders".into()],
//!     ..PublishOptions::json()
//! };
//! let payload = r#"{"id": "order-17", "topic": "orders", "eventType": "order.created", "data": {"id": 17}}"#;
//! let published = qstash.queue_webhook("orders", payload, &options).await?;
//! println!("QStash has it as {}", published[0].message_id);
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use super::{
    Client, ClientError,
    client::{Destination, is_name},
    duration,
};
use crate::{Millis, web::EndpointUrl};

/// The longest period of a flow control. Source: QStash documentation, "Flow control".
const LONGEST_PERIOD: Duration = Duration::from_secs(7 * 86_400);

/// What QStash shall do with a message. The default leaves everything to QStash and to the topic's own headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// `Content-Type` of the payload.
    pub content_type: Option<String>,
    /// The method of the delivery; `POST` unless given.
    pub method: Option<String>,
    /// Delivered so much later.
    pub delay: Option<Duration>,
    /// Delivered not before this moment; not together with `delay`.
    pub not_before: Option<Millis>,
    /// Retries after the first attempt; QStash's default is 3.
    pub retries: Option<u32>,
    /// The wait before each retry, an expression in milliseconds, such as `pow(2, retried) * 1000`.
    pub retry_delay: Option<String>,
    /// Called after every attempt.
    pub callback: Option<String>,
    /// Called once, when the message is given up.
    pub failure_callback: Option<String>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How many and how fast, together with all messages of the same key.
    pub flow_control: Option<FlowControl>,
    /// Labels, by which messages are found again.
    pub labels: Vec<String>,
    /// What is published twice within ten minutes is delivered once.
    pub once: Option<Once>,
    /// Headers of the delivery, without a prefix.
    pub headers: Vec<(String, String)>,
}

/// How QStash knows a message again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// By this id.
    Id(String),
    /// By destination, body and headers.
    Content,
}

/// Limits that all messages of a key share. At least one of parallelism and rate is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowControl {
    /// The key.
    pub key: String,
    /// Deliveries at the same time.
    pub parallelism: Option<u32>,
    /// Deliveries in a period.
    pub rate: Option<u32>,
    /// The period; a second unless given.
    pub period: Option<Duration>,
}

/// What was published: one message for each endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The message's id; of what was deduplicated, that of the first.
    pub message_id: String,
    /// Where it goes, where QStash says so.
    #[serde(default)]
    pub url: Option<String>,
    /// Whether it was published before.
    #[serde(default)]
    pub deduplicated: bool,
}

impl Published {
    /// Reads the status with the messages, because QStash answers a duplicate with 202 and the body need not say it. A body that names
    /// some duplicates is exact, so the status adds nothing to it.
    pub(super) fn under(status: StatusCode, mut published: Vec<Self>) -> Vec<Self> {
        if status == StatusCode::ACCEPTED && !published.iter().any(|one| one.deduplicated) {
            published.iter_mut().for_each(|one| one.deduplicated = true);
        }
        published
    }
}

/// Why a message can't be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// An option that QStash would refuse, or misunderstand.
    #[error("{option}: {problem}")]
    Option {
        /// Which.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The topic has no endpoints, or does not exist.
    #[error("topic \"{0}\" has no endpoints at QStash")]
    NoEndpoints(String),
    /// The call.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Client {
    /// Publishes a payload to a topic, or to a URL. Nothing is parsed or changed in it.
    pub async fn queue_webhook(
        &self,
        endpoint: impl Into<Destination>,
        payload: impl Into<Bytes>,
        options: &PublishOptions,
    ) -> Result<Vec<Published>, PublishError> {
        let (to, headers) = (endpoint.into(), options.to_headers()?);
        match (self.publish_messages(&to, &headers, payload.into()).await, to) {
            (Ok(published), Destination::Topic(topic)) if published.is_empty() => Err(PublishError::NoEndpoints(topic)),
            (Err(ClientError::NotFound), Destination::Topic(topic)) => Err(PublishError::NoEndpoints(topic)),
            (answer, _) => Ok(answer?),
        }
    }
}

impl PublishOptions {
    /// Options for a JSON payload.
    pub fn json() -> Self {
        Self { content_type: Some("application/json".to_owned()), ..Self::default() }
    }

    /// The headers of the publish call.
    pub fn to_headers(&self) -> Result<Vec<(String, String)>, PublishError> {
        if self.delay.is_some() && self.not_before.is_some() {
            return Err(wrong("not_before", "not together with delay"));
        }
        let mut headers: Vec<(String, String)> = self.options()?.into_iter().flatten().collect();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name)
                .map_err(|_bad| wrong("headers", format!("\"{name}\" is no header's name")))?;
            headers.push((format!("Upstash-Forward-{name}"), value.clone()));
        }
        match headers.iter().find(|(_, value)| HeaderValue::from_str(value).is_err()) {
            Some((name, _)) => Err(wrong("headers", format!("the value of {name} can't stand in a header"))),
            None => Ok(headers),
        }
    }

    fn options(&self) -> Result<Vec<Option<(String, String)>>, PublishError> {
        let given = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
        let span = |span: Option<Duration>| span.map(duration::write);
        let [flow_key, flow_value] =
            self.flow_control.as_ref().map(FlowControl::to_headers).transpose()?.unwrap_or_default();
        Ok(vec![
            given("Content-Type", self.content_type.clone()),
            given("Upstash-Method", self.method.clone()),
            given("Upstash-Delay", span(self.delay)),
            given("Upstash-Not-Before", self.not_before.map(|at| (at / 1_000).to_string())),
            given("Upstash-Retries", self.retries.map(|retries| retries.to_string())),
            given("Upstash-Retry-Delay", self.retry_delay.clone()),
            given("Upstash-Callback", url("callback", self.callback.as_deref())?),
            given("Upstash-Failure-Callback", url("failure_callback", self.failure_callback.as_deref())?),
            given("Upstash-Timeout", span(self.timeout)),
            given("Upstash-Flow-Control-Key", flow_key),
            given("Upstash-Flow-Control-Value", flow_value),
            given("Upstash-Label", self.label()?),
            self.once.as_ref().map(Once::to_header).transpose()?,
        ])
    }

    fn label(&self) -> Result<Option<String>, PublishError> {
        if self.labels.iter().any(|label| label.is_empty() || label.contains(',')) {
            return Err(wrong("labels", "a label is not empty and has no comma"));
        }
        Ok((!self.labels.is_empty()).then(|| self.labels.join(",")))
    }
}

impl Once {
    fn to_header(&self) -> Result<(String, String), PublishError> {
        match self {
            Self::Content => Ok(("Upstash-Content-Based-Deduplication".to_owned(), "true".to_owned())),
            // QStash refuses a colon; white space it refused once.
            Self::Id(id) if id.is_empty() || id.contains(|c: char| c == ':' || c.is_whitespace()) => {
                Err(wrong("once", "a deduplication id is not empty, and has no colon and no white space"))
            }
            Self::Id(id) => Ok(("Upstash-Deduplication-Id".to_owned(), id.clone())),
        }
    }
}

impl FlowControl {
    fn to_headers(&self) -> Result<[Option<String>; 2], PublishError> {
        let problem = match self.period {
            _ if !is_name(&self.key) => Some("a key has letters, digits, '-', '_' and '.'"),
            _ if self.parallelism.is_none() && self.rate.is_none() => Some("it needs a parallelism or a rate"),
            Some(period) if period < Duration::from_secs(1) || period > LONGEST_PERIOD => {
                Some("a period is between a second and a week")
            }
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(wrong("flow_control", problem));
        }
        let parts = [
            self.parallelism.map(|parallelism| format!("parallelism={parallelism}")),
            self.rate.map(|rate| format!("rate={rate}")),
            self.period.map(|period| format!("period={}", duration::write(period))),
        ];
        let value = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        Ok([Some(self.key.clone()), Some(value)])
    }
}

impl From<&str> for Destination {
    /// A URL where it begins as one, or else a topic.
    fn from(text: &str) -> Self {
        match text.starts_with("http://") || text.starts_with("https://") {
            true => Self::Url(text.to_owned()),
            false => Self::Topic(text.to_owned()),
        }
    }
}

fn url(option: &'static str, text: Option<&str>) -> Result<Option<String>, PublishError> {
    let Some(text) = text else { return Ok(None) };
    EndpointUrl::parse(text).map(|_| Some(text.to_owned())).map_err(|error| wrong(option, error.to_string()))
}

fn wrong(option: &'static str, problem: impl Into<String>) -> PublishError {
    PublishError::Option { option, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(options: &PublishOptions) -> Result<String, String> {
        let headers = options.to_headers().map_err(|error| error.to_string())?;
        Ok(headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn every_option_has_its_header() {
        let options = PublishOptions {
            method: Some("PUT".into()),
            delay: Some(Duration::from_millis(1_500)),
            retries: Some(0),
            retry_delay: Some("pow(2, retried) * 1000".into()),
            callback: Some("https://a.example/x?y=1".into()),
            failure_callback: Some("https://b.example/".into()),
            timeout: Some(Duration::from_secs(30)),
            flow_control: Some(FlowControl {
                key: "k".into(),
                parallelism: Some(2),
                rate: Some(5),
                period: Some(Duration::from_secs(60)),
            }),
            labels: vec!["a".into(), "b".into()],
            once: Some(Once::Id("o-1".into())),
            headers: vec![("X-Tenant".into(), "blue".into())],
            ..PublishOptions::json()
        };
        let expected = "Content-Type: application/json\nUpstash-Method: PUT\nUpstash-Delay: 2s\nUpstash-Retries: 0\n\
            Upstash-Retry-Delay: pow(2, retried) * 1000\nUpstash-Callback: https://a.example/x?y=1\n\
            Upstash-Failure-Callback: https://b.example/\nUpstash-Timeout: 30s\nUpstash-Flow-Control-Key: k\n\
            Upstash-Flow-Control-Value: parallelism=2, rate=5, period=60s\nUpstash-Label: a,b\n\
            Upstash-Deduplication-Id: o-1\nUpstash-Forward-x-tenant: blue";
        assert_eq!(headers(&options).unwrap(), expected);
        let later = PublishOptions {
            not_before: Some(1_700_000_000_999),
            once: Some(Once::Content),
            ..PublishOptions::default()
        };
        let expected = "Upstash-Not-Before: 1700000000\nUpstash-Content-Based-Deduplication: true";
        assert_eq!(headers(&later).unwrap(), expected);
        assert_eq!(headers(&PublishOptions::default()).unwrap(), "");
    }

    #[test]
    fn what_qstash_would_refuse_is_refused_before_it_is_sent() {
        let default = PublishOptions::default;
        let flow = |flow: FlowControl| PublishOptions { flow_control: Some(flow), ..default() };
        let key = || FlowControl { key: "k".into(), ..FlowControl::default() };
        for (options, part) in [
            (PublishOptions { delay: Some(Duration::ZERO), not_before: Some(1), ..default() }, "not_before"),
            (PublishOptions { once: Some(Once::Id("a:b".into())), ..default() }, "once"),
            (PublishOptions { once: Some(Once::Id(String::new())), ..default() }, "once"),
            (PublishOptions { labels: vec!["a,b".into()], ..default() }, "labels"),
            (PublishOptions { callback: Some("x".into()), ..default() }, "callback"),
            (PublishOptions { failure_callback: Some("ftp://x".into()), ..default() }, "failure_callback"),
            (PublishOptions { headers: vec![("a b".into(), "x".into())], ..default() }, "headers"),
            (PublishOptions { headers: vec![("a".into(), "x\ny".into())], ..default() }, "headers"),
            (PublishOptions { retry_delay: Some("1\n2".into()), ..default() }, "Retry-Delay"),
            (flow(key()), "flow_control"),
            (flow(FlowControl { rate: Some(1), period: Some(Duration::from_secs(700_000)), ..key() }), "flow_control"),
            (flow(FlowControl { rate: Some(1), ..FlowControl::default() }), "flow_control"),
        ] {
            let told = headers(&options).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_or_a_topic() {
        assert_eq!(Destination::from("orders"), Destination::Topic("orders".into()));
        assert_eq!(Destination::from("https://a.example/"), Destination::Url("https://a.example/".into()));
    }
}
