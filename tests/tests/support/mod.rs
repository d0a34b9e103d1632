//! What the tests share: a stack with function processes, and signed deliveries.

pub(crate) mod consumer;
pub(crate) mod fuse;
pub(crate) mod ledger;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod requeuer;
#[cfg(target_os = "linux")]
pub(crate) mod wall_clock;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use http::HeaderMap;
use serde_json::{Value, json};
use surehook::{
    config::{Policy, Reader, Variables},
    environment::Background,
    identity::{Delivered, Endpoint, EventKey, Identified, Identity, identify},
    ledger::{Cause, DeadLetter, Failure, Record, rules::Burial},
    outside,
    qstash::{Client, token},
    routes::Routes,
    secret::Secret,
    store::routes_cache::RoutesCache,
    telemetry::{Form, Telemetry},
    web::EndpointUrl,
};
use surehook_dlq_processor::{PolicyRole, Processor};
use surehook_local::{
    Stack, StackOptions,
    qstash::{Fault, TOKEN},
    receiver::Received,
};
use url::Url;

/// The message id of deliveries that a test signs itself.
pub(crate) const MESSAGE: &str = "msg_test";

/// Options for a stack with the four functions as processes; QStash hardly waits.
pub(crate) fn options() -> StackOptions {
    StackOptions {
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_surehook-under-test"))),
        speed: 100_000.0,
        has_bare_dynamo: true,
        ..StackOptions::default()
    }
}

/// A stack whose Strapi events go to the receiver's `/shop`.
pub(crate) async fn stack() -> Stack {
    stack_with(options()).await
}

pub(crate) async fn stack_with(options: StackOptions) -> Stack {
    let stack = Stack::start(options).await.unwrap();
    let shop = format!("{}/shop", stack.receiver.url);
    apply(
        &stack,
        &format!(
            "[[route]]\nname = \"shop\"\nsource = \"strapi\"\nevents = [\"entry.*\"]\nurl = \"{shop}\"\n\
             [[route]]\nname = \"warehouse\"\nsource = \"payload\"\nurl = \"{}/warehouse\"\n",
            stack.receiver.url
        ),
    )
    .await;
    stack
}

/// A stack in which callbacks are lost, so that only the test and the sweep act.
pub(crate) async fn quiet_stack() -> Stack {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    stack
}

/// Sends Strapi events to these paths of the receiver, and nowhere else.
pub(crate) async fn apply_paths(stack: &Stack, paths: &[&str]) {
    let route = |path: &&str| {
        let url = &stack.receiver.url;
        format!("[[route]]\nname = \"{path}\"\nsource = \"strapi\"\nurl = \"{url}/{path}\"\n")
    };
    apply(stack, &paths.iter().map(route).collect::<String>()).await;
}

/// Replaces the routes.
pub(crate) async fn apply(stack: &Stack, document: &str) {
    let store = stack.store();
    let previous = store.routes(true).await.unwrap();
    let routes = Routes::compile(document, &previous).unwrap();
    store.put_routes(&routes, document, outside::now()).await.unwrap();
}

/// A Strapi event that no other test sends.
pub(crate) fn event(name: &str) -> String {
    json!({"event": "entry.create", "createdAt": "2026-01-01T00:00:00.000Z", "model": "m", "uid": "api::m.m", "entry": {"name": name}})
        .to_string()
}

/// An answer of a function.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answered {
    pub(crate) fn word(&self) -> &str {
        self.body["status"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether it is the pair that QStash never retries.
    pub(crate) fn is_final(&self) -> bool {
        self.status == 489 && self.header("upstash-nonretryable-error") == Some("true")
    }
}

/// Signs as QStash would, now.
pub(crate) fn signature(stack: &Stack, url: &str, body: &[u8]) -> String {
    signature_at(stack, url, body, outside::now() / 1_000)
}

pub(crate) fn signature_at(stack: &Stack, url: &str, body: &[u8], now: i64) -> String {
    signature_by(&stack.qstash.keys().0, url, body, now)
}

/// Signs with any key.
pub(crate) fn signature_by(key: &str, url: &str, body: &[u8], now: i64) -> String {
    token::sign(&Secret::new(key).unwrap(), url, body, now, &outside::new_id())
}

/// Delivers a body to the consumer as QStash does.
pub(crate) async fn deliver(stack: &Stack, path: &str, body: &[u8]) -> Answered {
    let url = stack.function_url(&format!("consumer{path}"));
    post(&url, Some(signature(stack, &url, body)), body).await
}

/// Posts a body with a signature, or without one.
pub(crate) async fn post(url: &str, signature: Option<String>, body: &[u8]) -> Answered {
    post_by(&reqwest::Client::new(), url, signature, body).await
}

/// Posts with a client that exists already: making one costs more than the request.
pub(crate) async fn post_by(client: &reqwest::Client, url: &str, signature: Option<String>, body: &[u8]) -> Answered {
    let mut request = client.post(url).header("content-type", "application/json").header("upstash-message-id", MESSAGE);
    if let Some(signature) = signature {
        request = request.header("upstash-signature", signature);
    }
    answered(request.body(body.to_vec()).send().await.unwrap()).await
}

pub(crate) async fn answered(response: reqwest::Response) -> Answered {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null);
    Answered { status, headers, body }
}

pub(crate) fn url(text: &str) -> EndpointUrl {
    EndpointUrl::parse(text).unwrap()
}

/// The key of a Strapi event at the consumer's `/strapi`.
pub(crate) fn key(stack: &Stack, body: &str) -> EventKey {
    identified(stack, body).key
}

/// The record of a Strapi event.
pub(crate) async fn record(stack: &Stack, body: &str) -> Option<Record> {
    stack.store().record(&key(stack, body)).await.unwrap()
}

/// What the receiver got with this body.
pub(crate) fn received(stack: &Stack, body: &str) -> Vec<Received> {
    stack.receiver.received().into_iter().filter(|received| received.body == body).collect()
}

/// The different ids under which an event was sent.
pub(crate) fn webhook_ids(stack: &Stack, body: &str) -> BTreeSet<String> {
    received(stack, body).iter().map(|sent| sent.header("webhook-id").unwrap().to_owned()).collect()
}

/// How often the receiver accepted this body.
pub(crate) fn accepted(stack: &Stack, body: &str) -> usize {
    received(stack, body).iter().filter(|received| received.status == 200).count()
}

/// A client of the stack's QStash.
pub(crate) fn qstash(stack: &Stack) -> Client {
    qstash_at(&stack.qstash.url)
}

pub(crate) fn qstash_at(base: &str) -> Client {
    Client::new(Url::parse(base).unwrap(), Secret::new(TOKEN).unwrap(), Duration::from_secs(10)).unwrap()
}

/// A topic whose endpoint is the consumer, and whose failures come to the requeuer.
pub(crate) async fn connect(stack: &Stack, topic: &str, more: &[String]) {
    let client = qstash(stack);
    let mut endpoints = vec![stack.function_url("consumer/strapi")];
    endpoints.extend(more.iter().cloned());
    client.add_endpoints(topic, &endpoints).await.unwrap();
    let headers = json!({
        "Upstash-Retries": "3",
        "Upstash-Failure-Callback": stack.function_url("requeuer"),
    });
    client.set_default_headers(topic, &headers).await.unwrap();
}

/// Publishes as Strapi does.
pub(crate) async fn publish(stack: &Stack, topic: &str, body: &str) {
    publish_with(stack, topic, &[], body).await;
}

/// Publishes as Strapi does, with more headers.
pub(crate) async fn publish_with(stack: &Stack, topic: &str, headers: &[(&str, &str)], body: &str) {
    let mut request = reqwest::Client::new()
        .post(format!("{}/v2/publish/{topic}", stack.qstash.url))
        .bearer_auth(TOKEN)
        .header("content-type", "application/json")
        .header("upstash-forward-x-strapi-event", "entry.create");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body.to_owned()).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
}

/// Invokes the DLQ processor.
pub(crate) async fn operate(stack: &Stack, command: Value) -> Value {
    let function = stack.function("dlq-processor").unwrap();
    let reply = function.invoke(command.to_string().into()).await.unwrap();
    serde_json::from_slice(&reply).unwrap()
}

/// Ends the lease of a sweep that was killed, as the passing of its term does.
pub(crate) async fn end_lease(stack: &Stack) {
    stack.store().claim_sweep("the next run", i64::MAX, 0).await.unwrap();
}

/// The name of a Strapi event at the consumer's `/strapi`, and what belongs to it.
fn identified(stack: &Stack, body: &str) -> Identified {
    let endpoint = Endpoint::of(&url(&stack.function_url("consumer/strapi")), &[url(&stack.function_url("consumer"))]);
    identify(&endpoint, &Identity::Strapi, Delivered::bare(body.as_bytes(), ""))
}

/// Makes a dead letter of a Strapi event, as the failure path would, without an event's way to it.
pub(crate) async fn bury(stack: &Stack, body: &str, error: &str) -> DeadLetter {
    let (named, now) = (identified(stack, body), outside::now());
    let kind = named.event_type.clone().unwrap_or_default();
    let cause = Cause { error, status: 489, source: "strapi", event_type: &kind, endpoint: "/strapi" };
    let letter = DeadLetter {
        error: error.to_owned(),
        fingerprint: cause.fingerprint(),
        url: stack.function_url("consumer/strapi"),
        event_type: named.event_type.clone(),
        headers: [("Content-Type".to_owned(), vec!["application/json".to_owned()])].into(),
        size: body.len() as u64,
        ..crate::contract::letter(&named.key, now)
    };
    let burial = Burial {
        content: named.content,
        source: "strapi".into(),
        event_type: named.event_type,
        failure: Failure { class: "permanent".into(), text: error.to_owned() },
        ..ledger::burial(now)
    };
    stack.store().bury(&burial, letter, body.as_bytes()).await.unwrap()
}

/// What a command of `surehook` came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// The command line as an operator has it, with the variables of `.env.surehook`.
pub(crate) fn surehook(stack: &Stack, arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_surehook-under-test"));
    command.args(arguments).env_clear().envs(stack.environment.iter().cloned());
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn run(stack: &Stack, arguments: &[&str]) -> Ran {
    let output = surehook(stack, arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The dead letters, as the processor lists them.
pub(crate) async fn letters(stack: &Stack) -> Vec<Value> {
    let listed = operate(stack, json!({ "command": "list" })).await;
    listed["listed"]["letters"].as_array().unwrap().clone()
}

/// The policy of a stack that sets nothing.
pub(crate) fn default_policy() -> Policy {
    let variables = Variables::plain(|_| None);
    let mut reader = Reader::new(&variables);
    Policy::of(&reader.stack(), &reader.lifetimes())
}

/// A processor whose calls go through a fuse.
pub(crate) fn processor(stack: &Stack, fuse: &fuse::Fuse) -> Processor {
    let path = fuse.failure_path(stack);
    Processor {
        routes: Arc::new(RoutesCache::new(path.store.clone(), (), Background::default())),
        path,
        requeuer: url(&stack.function_url("requeuer")),
        requeuers: vec![url(&stack.function_url("requeuer"))],
        policy: default_policy(),
        role: PolicyRole::States,
        stack: "test".into(),
        telemetry: Telemetry::new("test", "dlq-processor", Form::Text),
    }
}

/// Waits until something holds; the limit only ends a test that has failed.
pub(crate) async fn until<F, Fut>(what: &str, holds: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "{what} did not come to pass");
}

/// Bytes that do not compress.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}
