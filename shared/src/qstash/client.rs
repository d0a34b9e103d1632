//! Calls to QStash.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::{
    entry::{DlqEntry, DlqPage},
    pace::{MAX_WAITS, Pace, burst_wait},
    publish::Published,
    topic::KnownTopic,
};
use crate::{Millis, environment::Renewed, identity::cut, secret::Secret, tls};

/// The header in which our retries forward the id of an event's first message.
pub const EVENT_HEADER: &str = "Surehook-Event";

/// One connection pool to one QStash account.
#[derive(Debug, Clone)]
pub struct Client {
    http: Arc<Renewed<reqwest::Client>>,
    base: Url,
    token: Secret,
    /// How fast calls other than publishing are made; `None` where each is made once.
    pace: Option<Arc<Pace>>,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A topic (URL group) by name.
    Topic(String),
    /// One URL.
    Url(String),
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer, in time or at all. The call may have taken effect.
    #[error("QStash did not answer")]
    Away(#[source] reqwest::Error),
    /// QStash is throttling us or has a fault of its own.
    #[error("QStash answered {status}: {text}")]
    Unavailable {
        /// The answer's status.
        status: u16,
        /// The start of the answer's body.
        text: String,
    },
    /// QStash refuses this call; sending it again changes nothing.
    #[error("QStash refused the call with {status}: {text}")]
    Refused {
        /// The answer's status.
        status: u16,
        /// The start of the answer's body.
        text: String,
    },
    /// There is no such thing at QStash.
    #[error("QStash knows nothing of that name")]
    NotFound,
    /// QStash's answer is not what it documents.
    #[error("QStash's answer can't be read")]
    Undecodable(#[source] serde_json::Error),
    /// The answer is larger than its reader can hold.
    #[error("QStash's answer is larger than {0} bytes")]
    TooLarge(usize),
    /// A name that must not stand in a QStash path, empty ones above all: `/v2/dlq/` deletes everything.
    #[error("\"{0}\" can't stand in a call to QStash")]
    BadName(String),
}

impl ClientError {
    /// Whether the same call may succeed later.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Unavailable { .. } | Self::Undecodable(_) | Self::TooLarge(_))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answered {
    Many(Vec<Published>),
    One(Published),
    Wrapped { messages: Vec<Published> },
}

/// The part of a flow-control key that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flow {
    #[serde(default)]
    wait_list_size: u64,
}

/// The signing keys of an account.
#[derive(Debug, Deserialize)]
pub struct KeyPair {
    /// The key that signs now.
    pub current: String,
    /// The key that signs after the next rotation.
    pub next: String,
}

impl Client {
    /// A client for one account. `base` is `QSTASH_URL`; no call takes longer than `timeout`.
    pub fn new(base: Url, token: Secret, timeout: Duration) -> Result<Self, reqwest::Error> {
        let build = move || {
            tls::client()
                .timeout(timeout)
                .connect_timeout(timeout.min(Duration::from_secs(3)))
                .redirect(reqwest::redirect::Policy::none())
                .build()
        };
        Ok(Self { http: Arc::new(Renewed::new(build)?), base, token, pace: None })
    }

    /// Returns a client whose calls wait where QStash's burst limit is hit. Publishing has no such limit and is not held up.
    pub fn paced(&self, pace: Arc<Pace>) -> Self {
        Self { pace: Some(pace), ..self.clone() }
    }

    /// Publishes a message; answers the ids of what it became, one per endpoint.
    pub async fn publish(
        &self,
        to: &Destination,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<Vec<String>, ClientError> {
        let published = self.publish_messages(to, headers, body).await?;
        Ok(published.into_iter().map(|one| one.message_id).collect())
    }

    /// Publishes a message; answers all that QStash says of what it became.
    pub(super) async fn publish_messages(
        &self,
        to: &Destination,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<Vec<Published>, ClientError> {
        let url = self.publish_url(to)?;
        let response = accept(self.send_once(Method::POST, url, headers, body).await?).await?;
        let status = response.status();
        let published = match decode::<Answered>(response).await? {
            Answered::Many(many) | Answered::Wrapped { messages: many } => many,
            Answered::One(one) => vec![one],
        };
        Ok(Published::under(status, published))
    }

    /// QStash takes a destination raw behind the path, never percent-encoded.
    fn publish_url(&self, to: &Destination) -> Result<Url, ClientError> {
        let destination = match to {
            Destination::Topic(name) if is_name(name) => name,
            Destination::Url(url) if url.starts_with("http://") || url.starts_with("https://") => url,
            Destination::Topic(bad) | Destination::Url(bad) => return Err(ClientError::BadName(bad.clone())),
        };
        let text = format!("{}/v2/publish/{destination}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|_bad| ClientError::BadName(destination.clone()))
    }

    /// One entry of the dead-letter queue.
    pub async fn dlq_entry(&self, id: &str) -> Result<DlqEntry, ClientError> {
        let response = self.send(Method::GET, self.url(&["v2", "dlq", id])?, &[], Bytes::new()).await?;
        let mut entry: DlqEntry = decode(response).await?;
        // The schema leaves `dlqId` out of single entries, though real answers have it.
        id.clone_into(&mut entry.dlq_id);
        Ok(entry)
    }

    /// A page of the dead-letter queue, of at most `count` entries. One of more than `most` bytes is not read
    /// ([`ClientError::TooLarge`]), unless it is asked for a single entry: that is as small as a page can be.
    pub async fn dlq_page(&self, cursor: Option<&str>, count: usize, most: usize) -> Result<DlqPage, ClientError> {
        let mut url = self.url(&["v2", "dlq"])?;
        url.query_pairs_mut().append_pair("count", &count.to_string());
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let response = self.send(Method::GET, url, &[], Bytes::new()).await?;
        let body = read_up_to(response, if count > 1 { most } else { usize::MAX }).await?;
        let mut page: DlqPage = serde_json::from_slice(&body).map_err(ClientError::Undecodable)?;
        page.cursor = page.cursor.filter(|cursor| !cursor.is_empty());
        Ok(page)
    }

    /// A message that waits or is being delivered; `None` where QStash has delivered it, given it up or never had it.
    pub async fn message(&self, id: &str) -> Result<Option<DlqEntry>, ClientError> {
        match self.send(Method::GET, self.url(&["v2", "messages", id])?, &[], Bytes::new()).await {
            Ok(response) => decode(response).await.map(Some),
            Err(ClientError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The entry of the dead-letter queue that a message became.
    pub async fn dlq_find(&self, message: &str) -> Result<Option<DlqEntry>, ClientError> {
        let mut url = self.url(&["v2", "dlq"])?;
        url.query_pairs_mut().append_pair("messageId", message).append_pair("count", "1");
        let page: DlqPage = decode(self.send(Method::GET, url, &[], Bytes::new()).await?).await?;
        let entry = page.entries().next().transpose().map_err(ClientError::Undecodable)?;
        Ok(entry.filter(|entry| entry.message_id == message))
    }

    /// Has QStash deliver an entry again, as a new message; answers that message's id, where QStash says it. An entry can be used
    /// once: [`ClientError::NotFound`] after that.
    pub async fn dlq_retry(&self, id: &str, headers: &[(String, String)]) -> Result<Option<String>, ClientError> {
        let url = self.url(&["v2", "dlq", "retry", id])?;
        let response = self.send(Method::POST, url, headers, Bytes::new()).await?;
        // The retry stands whatever its answer looks like.
        Ok(decode::<Published>(response).await.ok().map(|one| one.message_id))
    }

    /// Deletes an entry. One that is gone already counts as deleted.
    pub async fn dlq_delete(&self, id: &str) -> Result<(), ClientError> {
        match self.send(Method::DELETE, self.url(&["v2", "dlq", id])?, &[], Bytes::new()).await {
            Ok(_) | Err(ClientError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A topic; `None` where there is none of that name.
    pub async fn topic(&self, name: &str) -> Result<Option<KnownTopic>, ClientError> {
        match self.send(Method::GET, self.url(&["v2", "topics", name])?, &[], Bytes::new()).await {
            Ok(response) => decode(response).await.map(Some),
            Err(ClientError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes endpoints from a topic, which is gone when it has none left.
    pub async fn remove_endpoints(&self, topic: &str, urls: &[String]) -> Result<(), ClientError> {
        self.change_endpoints(Method::DELETE, topic, urls).await
    }

    /// Adds endpoints to a topic, which is made if it does not exist.
    pub async fn add_endpoints(&self, topic: &str, urls: &[String]) -> Result<(), ClientError> {
        self.change_endpoints(Method::POST, topic, urls).await
    }

    async fn change_endpoints(&self, method: Method, topic: &str, urls: &[String]) -> Result<(), ClientError> {
        let endpoints: Vec<_> = urls.iter().map(|url| serde_json::json!({ "url": url })).collect();
        let url = self.url(&["v2", "topics", topic, "endpoints"])?;
        self.send_json(method, url, &serde_json::json!({ "endpoints": endpoints })).await
    }

    /// Sets the headers that every publish to a topic gets by default.
    pub async fn set_default_headers(&self, topic: &str, headers: &serde_json::Value) -> Result<(), ClientError> {
        let url = self.url(&["v2", "topics", topic])?;
        self.send_json(Method::PATCH, url, &serde_json::json!({ "headers": headers })).await
    }

    /// How many messages of a flow-control key wait for their turn; none where QStash does not know the key.
    pub async fn waiting_in_flow(&self, key: &str) -> Result<u64, ClientError> {
        match self.send(Method::GET, self.url(&["v2", "flowControl", key])?, &[], Bytes::new()).await {
            Ok(response) => decode::<Flow>(response).await.map(|flow| flow.wait_list_size),
            Err(ClientError::NotFound) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Takes a message back that waits. One that is gone already counts as taken back.
    pub async fn cancel(&self, message: &str) -> Result<(), ClientError> {
        match self.send(Method::DELETE, self.url(&["v2", "messages", message])?, &[], Bytes::new()).await {
            Ok(_) | Err(ClientError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All topics of the account.
    pub async fn topics(&self) -> Result<Vec<KnownTopic>, ClientError> {
        decode(self.send(Method::GET, self.url(&["v2", "topics"])?, &[], Bytes::new()).await?).await
    }

    /// The clock of QStash, in milliseconds since the epoch, as the head of an answer tells it: to the second.
    pub async fn clock(&self) -> Result<Option<Millis>, ClientError> {
        let answer = self.send(Method::GET, self.url(&["v2", "keys"])?, &[], Bytes::new()).await?;
        let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        Ok(since.and_then(|since| Millis::try_from(since.as_millis()).ok()))
    }

    /// The account's signing keys.
    pub async fn keys(&self) -> Result<KeyPair, ClientError> {
        decode(self.send(Method::GET, self.url(&["v2", "keys"])?, &[], Bytes::new()).await?).await
    }

    async fn send_json(&self, method: Method, url: Url, body: &serde_json::Value) -> Result<(), ClientError> {
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        self.send(method, url, &headers, body.to_string().into()).await.map(drop)
    }

    pub(super) fn url(&self, segments: &[&str]) -> Result<Url, ClientError> {
        if let Some(bad) = segments.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(ClientError::BadName((*bad).to_owned()));
        }
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => path.pop_if_empty().extend(segments),
            Err(()) => return Err(ClientError::BadName(self.base.to_string())),
        };
        Ok(url)
    }

    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<Response, ClientError> {
        let Some(pace) = &self.pace else {
            return accept(self.send_once(method, url, headers, body).await?).await;
        };
        for _ in 0..MAX_WAITS {
            let permit = pace.enter().await;
            let answer = self.send_once(method.clone(), url.clone(), headers, body.clone()).await;
            let wait = answer.as_ref().ok().and_then(burst_wait);
            wait.into_iter().for_each(|wait| pace.slow_down(wait));
            pace.leave(permit, wait.is_none() && answer.is_ok());
            if wait.is_none() {
                return accept(answer?).await;
            }
        }
        let text = "its burst limit rejected every attempt".to_owned();
        Err(ClientError::Unavailable { status: StatusCode::TOO_MANY_REQUESTS.as_u16(), text })
    }

    async fn send_once(
        &self,
        method: Method,
        url: Url,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<Response, ClientError> {
        let mut request = self.http.get().request(method, url).bearer_auth(self.token.expose()).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.map_err(|error| ClientError::Away(error.without_url()))
    }
}

/// Returns the answer to a call that succeeded, or why QStash did not do it.
async fn accept(response: Response) -> Result<Response, ClientError> {
    if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
}

/// The statuses by which QStash rejects the content of a call: malformed, above a quota of the plan, too large. Every other failure
/// says that QStash, its host, or our token is not as it should be, and the same call may succeed later.
const REJECTIONS: [u16; 3] = [400, 412, 413];

/// Letters, digits, `-`, `_` and `.`, but not only dots: what QStash takes as a topic's name.
pub fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(allowed) && !name.chars().all(|c| c == '.')
}

async fn refusal(response: Response) -> ClientError {
    let status = response.status();
    if status == StatusCode::NOT_FOUND {
        return ClientError::NotFound;
    }
    let text = cut(response.text().await.unwrap_or_default(), 256);
    match status.as_u16() {
        status if REJECTIONS.contains(&status) => ClientError::Refused { status, text },
        status => ClientError::Unavailable { status, text },
    }
}

/// An answer's body, if it is not larger than this.
async fn read_up_to(mut response: Response, most: usize) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| ClientError::Away(error.without_url()))? {
        if body.len() + chunk.len() > most {
            return Err(ClientError::TooLarge(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) async fn decode<T: for<'de> Deserialize<'de>>(response: Response) -> Result<T, ClientError> {
    let body = response.bytes().await.map_err(|error| ClientError::Away(error.without_url()))?;
    serde_json::from_slice(&body).map_err(ClientError::Undecodable)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
