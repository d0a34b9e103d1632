//! A server whose clock is stepped, a destination, and calls between them.

mod receiver;
mod token;

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;
use surehook::Millis;
use surehook_qstash::{Callers, Pace, QStash, Settings, USERS};
use tokio::net::TcpListener;

pub(crate) use receiver::{Receiver, Reply};
pub(crate) use token::{claims, digest, is_signed_with};

/// What the clock shows at first: Thursday, 2026-05-28 at 20:26:40 UTC.
pub(crate) const START: Millis = 1_780_000_000_000;
pub(crate) const SECOND: Millis = 1_000;
pub(crate) const MINUTE: Millis = 60 * SECOND;
pub(crate) const HOUR: Millis = 60 * MINUTE;
pub(crate) const DAY: Millis = 24 * HOUR;

/// Headers of a call.
pub(crate) type Pairs<'a> = &'a [(&'a str, &'a str)];

/// One clock for all, which stands until it is stepped.
pub(crate) fn stepped() -> Settings {
    Settings { pace: Pace::Stepped, callers: Callers::Same, origin: Some(START), ..Settings::default() }
}

/// What a call was answered with.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The JSON of the body; null where it is empty.
    pub(crate) body: Value,
}

impl Answered {
    /// The id of the one message that was accepted.
    pub(crate) fn id(&self) -> String {
        self.body["messageId"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    pub(crate) fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_else(|| panic!("{self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// A server and a destination.
pub(crate) struct Wire {
    pub(crate) qstash: QStash,
    pub(crate) receiver: Receiver,
    /// Its own connections would make a redirect of the server invisible.
    http: reqwest::Client,
}

impl Wire {
    pub(crate) async fn start() -> Self {
        Self::with(stepped()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { qstash: QStash::start(listener, settings).unwrap(), receiver: Receiver::start().await, http }
    }

    /// A URL of the destination.
    pub(crate) fn to(&self, path: &str) -> String {
        format!("{}{path}", self.receiver.url)
    }

    /// A call without a token.
    pub(crate) async fn anonymous(&self, method: &str, path: &str, headers: Pairs<'_>, body: &[u8]) -> Answered {
        let url = format!("{}{path}", self.qstash.url);
        let request = self.http.request(method.parse().unwrap(), url);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.body(body.to_vec()).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answered { status, headers, body }
    }

    /// A call of one of the users, 0 first.
    pub(crate) async fn call_as(
        &self,
        user: usize,
        method: &str,
        path: &str,
        headers: Pairs<'_>,
        body: &[u8],
    ) -> Answered {
        let bearer = format!("Bearer {}", USERS[user].token);
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        self.anonymous(method, path, &headers, body).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, headers: Pairs<'_>, body: &[u8]) -> Answered {
        self.call_as(0, method, path, headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call("GET", path, &[], b"").await.expect(200).body
    }

    pub(crate) async fn post(&self, path: &str) -> Answered {
        self.call("POST", path, &[], b"").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answered {
        self.call("DELETE", path, &[], b"").await
    }

    pub(crate) async fn send_json(&self, method: &str, path: &str, body: &Value) -> Answered {
        self.call(method, path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
    }

    /// Publishes "body" to a path of the destination.
    pub(crate) async fn publish_to(&self, path: &str, headers: Pairs<'_>) -> Answered {
        self.call("POST", &format!("/v2/publish/{}", self.to(path)), headers, b"body").await
    }

    /// Publishes "body" to `/in`; gives the id.
    pub(crate) async fn publish(&self, headers: Pairs<'_>) -> String {
        self.publish_to("/in", headers).await.expect(201).id()
    }

    /// Puts "body" to a path of the destination into a queue; gives the id.
    pub(crate) async fn enqueue(&self, queue: &str, path: &str, headers: Pairs<'_>) -> String {
        let call = format!("/v2/enqueue/{queue}/{}", self.to(path));
        self.call("POST", &call, headers, b"body").await.expect(201).id()
    }

    /// Makes a topic of paths of the destination.
    pub(crate) async fn topic(&self, name: &str, paths: &[&str]) {
        let endpoints: Vec<Value> = paths.iter().map(|path| serde_json::json!({ "url": self.to(path) })).collect();
        let body = serde_json::json!({ "endpoints": endpoints });
        self.send_json("POST", &format!("/v2/topics/{name}/endpoints"), &body).await.expect(200);
    }

    /// Makes a schedule of `/in`; gives the id.
    pub(crate) async fn schedule(&self, cron: &str, headers: Pairs<'_>) -> String {
        let headers = [&[("upstash-cron", cron)], headers].concat();
        let answer = self.call("POST", &format!("/v2/schedules/{}", self.to("/in")), &headers, b"body").await;
        answer.expect(201).body["scheduleId"].as_str().unwrap().to_owned()
    }

    /// A pending message as the API shows it.
    pub(crate) async fn message(&self, id: &str) -> Value {
        self.get(&format!("/v2/messages/{id}")).await
    }

    /// Waits for the deliveries that are being made, whatever they lead to at the same time included.
    pub(crate) async fn settle(&self) {
        self.at(0).await;
    }

    /// Steps the clock to so long after the start.
    pub(crate) async fn at(&self, after_start: Millis) {
        bounded(self.qstash.step_to(START + after_start)).await.unwrap();
    }

    /// The entries of the log that a query finds, the oldest first.
    pub(crate) async fn log(&self, query: &str) -> Vec<Value> {
        let mut page = self.get(&format!("/v2/logs?count=1000&{query}")).await;
        let mut entries: Vec<Value> = serde_json::from_value(page["logs"].take()).unwrap();
        entries.reverse();
        entries
    }

    /// The states that a message went through.
    pub(crate) async fn states(&self, id: &str) -> Vec<String> {
        texts(&self.log(&format!("messageId={id}")).await, "state")
    }

    /// When attempts of a message began, in milliseconds from the start.
    pub(crate) async fn attempts(&self, id: &str) -> Vec<Millis> {
        let entries = self.log(&format!("messageId={id}&state=ACTIVE")).await;
        entries.iter().map(|entry| entry["time"].as_i64().unwrap() - START).collect()
    }

    /// When a message that waits comes next, in milliseconds from the start.
    pub(crate) async fn due(&self, id: &str) -> Millis {
        self.settle().await;
        let entry = self.log(&format!("messageId={id}&state=CREATED,RETRY")).await.pop().unwrap();
        entry["nextDeliveryTime"].as_i64().unwrap() - START
    }

    /// The entries of the dead-letter queue.
    pub(crate) async fn dead(&self) -> Vec<Value> {
        self.get("/v2/dlq").await["messages"].as_array().unwrap().clone()
    }
}

/// Something that is over at once unless it never is: a test that fails says more than one that hangs.
pub(crate) async fn bounded<T>(something: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), something).await.expect("this hangs")
}

/// One field of each entry.
pub(crate) fn texts(entries: &[Value], field: &str) -> Vec<String> {
    entries.iter().map(|entry| entry[field].as_str().unwrap_or_default().to_owned()).collect()
}

/// What a query of this text would be.
pub(crate) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
