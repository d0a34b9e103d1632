//! The network between the processor and what it calls: time on the way, and DynamoDB's limits for each partition key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};
use surehook_local::dynamo;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use crate::{READ_UNITS, WRITE_UNITS};

/// The units that each partition key has left, and when that was.
type Budgets = Arc<Mutex<HashMap<(String, bool), (f64, Instant)>>>;

#[derive(Clone)]
struct Way {
    upstream: String,
    delay: Duration,
    /// `None` where nothing is limited.
    budgets: Option<Budgets>,
    http: reqwest::Client,
}

/// Starts a way to a server; returns its URL.
pub(crate) async fn way(upstream: &str, delay: Duration, is_table: bool) -> String {
    let budgets = is_table.then(Budgets::default);
    let way = Way { upstream: upstream.to_owned(), delay, budgets, http: reqwest::Client::new() };
    serve(Router::new().fallback(pass).with_state(way)).await
}

/// Serves on a port of its own; returns the URL.
pub(crate) async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn pass(State(way): State<Way>, request: Request) -> Response {
    sleep(way.delay).await;
    let (mut parts, body) = request.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.unwrap();
    let mut keys = Vec::new();
    if way.budgets.is_some() {
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let mut call: Value = serde_json::from_slice(&body).unwrap();
        keys = keys_of(target, &call);
        if keys.iter().any(|(key, is_write)| !way.has_units(key, *is_write)) {
            return throttled();
        }
        call["ReturnConsumedCapacity"] = json!("TOTAL");
        body = Bytes::from(call.to_string());
    }
    parts.headers.remove("host");
    parts.headers.remove("content-length");
    let url = format!("{}{}", way.upstream, parts.uri);
    let sent = way.http.request(parts.method, url).headers(parts.headers).body(body).send().await.unwrap();
    let (status, headers, body) = (sent.status(), sent.headers().clone(), sent.bytes().await.unwrap());
    if !keys.is_empty() {
        way.charge(&keys, &body);
    }
    let mut response = Response::new(Body::from(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    // The checksum of the answer as it was without the units.
    response.headers_mut().remove("transfer-encoding");
    response
}

impl Way {
    fn has_units(&self, key: &str, is_write: bool) -> bool {
        self.units(key, is_write, 0.0) > 0.0
    }

    /// What a call cost is known from its answer, so that a key may be in debt for a moment.
    fn charge(&self, keys: &[(String, bool)], answer: &[u8]) {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let consumed = &answer["ConsumedCapacity"];
        let units = |one: &Value| one["CapacityUnits"].as_f64().unwrap_or_default();
        let total = consumed.as_array().map_or_else(|| units(consumed), |all| all.iter().map(units).sum());
        for (key, is_write) in keys {
            self.units(key, *is_write, total / keys.len() as f64);
        }
    }

    /// Takes units of a key; returns what it has left. No more than those of one second are saved up.
    fn units(&self, key: &str, is_write: bool, taken: f64) -> f64 {
        let rate = if is_write { WRITE_UNITS } else { READ_UNITS };
        let mut budgets = self.budgets.as_ref().unwrap().lock().unwrap();
        let (left, at) = budgets.entry((key.to_owned(), is_write)).or_insert((rate, Instant::now()));
        *left = (*left + at.elapsed().as_secs_f64() * rate).min(rate) - taken;
        *at = Instant::now();
        *left
    }
}

/// The partition keys that a call is about, in table and indexes, and whether it writes.
fn keys_of(target: &str, call: &Value) -> Vec<(String, bool)> {
    let of_item = |item: &Value| {
        let keys = ["pk", "open", "dl"].into_iter().filter_map(|name| item[name]["S"].as_str().map(str::to_owned));
        keys.map(|key| (key, true)).collect::<Vec<_>>()
    };
    match target.rsplit('.').next().unwrap_or_default() {
        "TransactWriteItems" => call["TransactItems"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|part| part.as_object()?.values().next())
            .flat_map(|part| if part["Item"].is_object() { of_item(&part["Item"]) } else { of_item(&part["Key"]) })
            .collect(),
        "PutItem" => of_item(&call["Item"]),
        "UpdateItem" | "DeleteItem" => of_item(&call["Key"]),
        "GetItem" => of_item(&call["Key"]).into_iter().map(|(key, _)| (key, false)).collect(),
        "Query" => {
            let values = call["ExpressionAttributeValues"].as_object();
            let names = [":pk", ":dl", ":shard"];
            let key = names.into_iter().find_map(|name| values?.get(name)?["S"].as_str());
            key.map(|key| (key.to_owned(), false)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn throttled() -> Response {
    let body = json!({"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}).to_string();
    let response = Response::builder().status(400).header("content-type", "application/x-amz-json-1.0");
    response.body(Body::from(body)).unwrap()
}

/// A client that does not go through the network, for the stage itself.
pub(crate) fn store_at(url: &str) -> surehook::store::Store {
    surehook::store::Store::new(dynamo::client_of(url), surehook_local::stack::TABLE)
}
