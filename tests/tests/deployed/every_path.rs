//! Everything that functions can be asked, so that they write all that they can write.
//!
//! Whatever must not be told has [`UNSPEAKABLE`](super::lines::UNSPEAKABLE) in it: bodies, headers, tokens, and what destinations say.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::hmac;
use bytes::Bytes;
use serde_json::{Value, json};
use surehook::{
    identity::EventKey,
    ledger::{Claim, Status, rules::Attempted},
    outside,
};
use surehook_local::{
    Stack,
    qstash::Fault,
    receiver::{Reaction, Received},
};

use super::on_lambda::{CURRENT_KEY, GITHUB_SECRET, MOST_BYTES, OnLambda, PRODUCER_TOKEN};
use crate::{
    failure_path::callback,
    support::{
        Answered, answered, apply, bury, connect, event, key, ledger, post, proxy::Proxy, proxy::Verdict, publish_with,
        qstash, record, signature, signature_by, until,
    },
};

/// The trace of one event.
pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const AWAY: Verdict = Verdict::Answer(500, r#"{"__type":"InternalServerError"}"#);
/// What callers prove themselves with, or what belongs to their users.
const SECRET_HEADERS: [(&str, &str); 3] =
    [("authorization", "Bearer unspeakable"), ("cookie", "session=unspeakable"), ("x-api-key", "unspeakable")];

/// The traced event.
pub(crate) fn traced() -> String {
    event("unspeakable and traced")
}

/// The header that says which trace it belongs to.
pub(crate) fn traceparent() -> String {
    format!("00-{TRACE}-b7ad6b7169203331-01")
}

/// Where events go. Whoever holds them is a destination that answers when it is told to.
pub(crate) async fn routes(stack: &Stack, holder: &Proxy) {
    let (url, held) = (&stack.receiver.url, &holder.url);
    let route = |name: &str, source: &str, url: &str| {
        format!("[[route]]\nname = \"{name}\"\nsource = \"{source}\"\nevents = [\"*.create*\"]\nurl = \"{url}\"\n")
    };
    let sender = |name: &str, secret: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\nrecipe = \"{name}\"\nsecret = \"{secret}\"\n\
             [[topic]]\nname = \"{name}\"\nsource = \"{name}\"\n"
        )
    };
    let routes = [
        route("shop", "strapi", &format!("{url}/shop")),
        route("weak", "payload", &format!("{url}/weak")),
        sender("github", "gh"),
        sender("stripe", "nobody-has-it"),
        format!(
            "[[source]]\nname = \"slow\"\nidentity = \"body\"\n[[route]]\nname = \"slow\"\nsource = \"slow\"\nurl = \"{held}\"\n"
        ),
    ];
    apply(stack, &routes.concat()).await;
}

/// Delivers as QStash does, with more headers.
async fn send(stack: &Stack, path: &str, more: &[(&str, &str)], body: &str) -> Answered {
    let url = stack.function_url(&format!("consumer{path}"));
    let signed = signature(stack, &url, body.as_bytes());
    let mut request = reqwest::Client::new().post(&url).header("upstash-signature", signed);
    request = request.header("content-type", "application/json").header("upstash-message-id", "msg_told");
    for (name, value) in more.iter().chain(&SECRET_HEADERS) {
        request = request.header(*name, *value);
    }
    answered(request.body(body.to_owned()).send().await.unwrap()).await
}

/// Our own payload.
fn payload(id: &str, data: &str) -> String {
    json!({"id": id, "topic": "orders", "eventType": "order.created", "data": data}).to_string()
}

/// Refuses the next requests with this status, in words of which no line may have one.
fn refuse(stack: &Stack, status: u16, times: u32) {
    let left = AtomicU32::new(times);
    stack.receiver.react(move |_: &Received| {
        let refuses = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        Reaction::status(if refuses { status } else { 200 }).saying("an unspeakable answer")
    });
}

/// A worker that holds an event which its destination was not ready for.
async fn hold(stack: &Stack, body: &str) {
    let content = record(stack, body).await.unwrap().content;
    let claim = Claim { content, ..ledger::claim("somebody", outside::now()) };
    stack.store().claim(&key(stack, body), &claim).await.unwrap();
}

/// Every answer of the consumer but the one to nobody's routes.
pub(crate) async fn consumer(lambda: &OnLambda, holder: &Proxy) {
    let stack = lambda.stack();
    handled(stack).await;
    not_taken(stack).await;
    held(stack, holder).await;
    forged(stack, "consumer/strapi").await;
    lambda.table.becomes(AWAY);
    assert_eq!(send(stack, "/strapi", &[], &event("unspeakable and away")).await.word(), "store-away");
    lambda.table.becomes(Verdict::Pass);
}

async fn handled(stack: &Stack) {
    for word in ["processed", "duplicate"] {
        let answer = send(stack, "/strapi", &[("traceparent", &traceparent())], &traced()).await;
        assert_eq!(answer.word(), word);
    }
    let unrouted = r#"{"event": "media.update", "createdAt": "x", "media": {"name": "unspeakable"}}"#;
    assert_eq!(send(stack, "/strapi", &[], unrouted).await.word(), "ignored");
    let buried = event("unspeakable and dead");
    bury(stack, &buried, "an unspeakable error").await;
    assert_eq!(send(stack, "/strapi", &[], &buried).await.word(), "dead");
    refuse(stack, 422, 1);
    assert_eq!(send(stack, "/strapi", &[], &event("unspeakable, refused")).await.word(), "permanent-failure");
    assert_eq!(send(stack, "/payload", &[], &payload("1", "unspeakable")).await.word(), "processed");
    assert_eq!(send(stack, "/payload", &[], &payload("1", "unspeakable too")).await.word(), "conflict");
}

async fn not_taken(stack: &Stack) {
    let large = event(&"unspeakable ".repeat(MOST_BYTES / 12));
    for (path, body, word) in [
        ("/strapi", r#"{"event": "unspeakable"#, "malformed"),
        ("/strapi", &large, "too-large"),
        ("/nobody", r#"{"unspeakable": 1}"#, "source-unconfigured"),
        ("/stripe", r#"{"id": "evt_1", "type": "invoice.paid", "data": "unspeakable"}"#, "secret-missing"),
        ("/github", r#"{"unspeakable": 1}"#, "sender-refused"),
    ] {
        let stranger = [("x-hub-signature-256", "sha256=unspeakable"), ("x-github-delivery", "d-1")];
        assert_eq!(send(stack, path, &stranger, body).await.word(), word, "{path}");
    }
    // One destination that keeps failing is left alone, which has a line of its own.
    stack.receiver.react(|_| Reaction::status(503).saying("an unspeakable answer"));
    for number in 0..12 {
        let body = payload(&format!("weak {number}"), "unspeakable");
        assert_eq!(send(stack, "/payload", &[], &body).await.word(), "transient-failure");
    }
    until("it is left alone", || async { stack.store().breakers().await.unwrap().values().any(|b| b.opened > 0) })
        .await;
}

/// While the destination holds an event its worker has it, until another worker takes it and fails.
async fn held(stack: &Stack, holder: &Proxy) {
    let body = r#"{"unspeakable": "held"}"#;
    stack.receiver.react(|_| Reaction::status(200));
    let (first, second) = tokio::join!(send(stack, "/slow", &[], body), async {
        holder.gate.holds_one().await;
        let second = send(stack, "/slow", &[], body).await;
        take_over(stack, &EventKey::parse(second.body["event"].as_str().unwrap()).unwrap()).await;
        holder.gate.open();
        second
    });
    assert_eq!((first.word(), second.word()), ("lease-lost", "in-progress"));
}

async fn take_over(stack: &Stack, key: &EventKey) {
    let old = stack.store().record(key).await.unwrap().unwrap();
    let now = old.lease_until + 1;
    let claim = Claim { content: old.content, source: old.source, ..ledger::claim("another", now) };
    let taken = stack.store().claim(key, &claim).await.unwrap();
    let nothing = Attempted::default();
    let failed = stack.store().fail(key, &taken, &nothing, &ledger::failure(), now).await.unwrap();
    assert_eq!(failed.status, Status::Retryable);
}

/// Unsigned, nonsense, signed by somebody else, and signed long ago.
async fn forged(stack: &Stack, function: &str) {
    let (url, body) = (stack.function_url(function), event("unspeakable forgery"));
    let now = outside::now() / 1_000;
    let signed = signature_by("sig_unspeakable_stranger", &url, body.as_bytes(), now);
    let stale = signature_by(CURRENT_KEY, &url, body.as_bytes(), now - 600);
    for shown in [None, Some("unspeakable.nonsense".to_owned()), Some(signed), Some(stale)] {
        assert_eq!(post(&url, shown, body.as_bytes()).await.word(), "signature-refused");
    }
}

/// Every answer of the requeuer.
pub(crate) async fn requeuer(lambda: &OnLambda) {
    let stack = lambda.stack();
    connect(stack, "t", &[]).await;
    refuse(stack, 503, 4);
    publish(stack, &event("unspeakable, and requeued")).await;
    refuse(stack, 422, 1);
    publish(stack, &event("unspeakable, and buried")).await;
    stack.qstash.set_faults(&[Fault::LoseCallback]);
    refuse(stack, 503, 4);
    let body = event("unspeakable, and its callback is lost");
    publish(stack, &body).await;
    stack.qstash.set_faults(&[]);
    forged(stack, "requeuer").await;
    callbacks(lambda, &body).await;
}

async fn publish(stack: &Stack, body: &str) {
    let secret = [("upstash-forward-authorization", "Bearer unspeakable"), ("upstash-forward-cookie", "unspeakable")];
    publish_with(stack, "t", &secret, body).await;
    stack.qstash.idle().await;
}

async fn callbacks(lambda: &OnLambda, body: &str) {
    let stack = lambda.stack();
    let real = callback(stack).await;
    hold(stack, body).await;
    assert_eq!(call_back(stack, &real).await, "in-progress");
    lambda.qstash.becomes(Verdict::Answer(503, "{}"));
    assert_eq!(call_back(stack, &real).await, "qstash-away");
    lambda.qstash.becomes(Verdict::Pass);
    lambda.table.becomes(AWAY);
    assert_eq!(call_back(stack, &real).await, "store-away");
    lambda.table.becomes(Verdict::Pass);
    let differs = json!({"sourceMessageId": "msg_other", "url": real["url"], "dlqId": real["dlqId"]});
    let names_none = json!({"sourceMessageId": "msg_other", "url": real["url"], "body": "unspeakable"});
    for (callback, word) in
        [(differs, "settled"), (names_none, "settled"), (json!({"unspeakable": 1}), "undecodable-callback")]
    {
        assert_eq!(call_back(stack, &callback).await, word, "{callback}");
    }
}

async fn call_back(stack: &Stack, callback: &Value) -> String {
    let (url, body) = (stack.function_url("requeuer"), callback.to_string());
    post(&url, Some(signature(stack, &url, body.as_bytes())), body.as_bytes()).await.word().to_owned()
}

/// Every answer of the producer.
pub(crate) async fn producer(lambda: &OnLambda) {
    let stack = lambda.stack();
    qstash(stack).add_endpoints("orders", &[stack.function_url("consumer/payload")]).await.unwrap();
    qstash(stack).add_endpoints("github", &[stack.function_url("consumer/github")]).await.unwrap();
    stack.receiver.react(|_| Reaction::status(200));
    believed(stack).await;
    turned_away(stack).await;
    not_durable(lambda).await;
    stack.qstash.idle().await;
}

/// Posts to a topic with a bearer token.
async fn post_to(stack: &Stack, topic: &str, token: &str, body: &str) -> String {
    let request = reqwest::Client::new().post(stack.function_url(&format!("producer/{topic}"))).bearer_auth(token);
    let request = request.header("cookie", "session=unspeakable").header("content-type", "application/json");
    answered(request.body(body.to_owned()).send().await.unwrap()).await.word().to_owned()
}

fn order(data: &str) -> Value {
    json!({"eventType": "order.created", "data": data})
}

async fn believed(stack: &Stack) {
    let (one, two) = (order("unspeakable"), order("unspeakable too"));
    for body in [one.clone(), json!([one, two])] {
        assert_eq!(post_to(stack, "orders", PRODUCER_TOKEN, &body.to_string()).await, "accepted");
    }
    let body = r#"{"action": "opened", "issue": "unspeakable"}"#;
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, GITHUB_SECRET.as_bytes()), body.as_bytes());
    let mac: String = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let request = reqwest::Client::new().post(stack.function_url("producer/github"));
    let request = request.header("x-hub-signature-256", format!("sha256={mac}")).header("x-github-delivery", "d-2");
    assert_eq!(answered(request.body(body).send().await.unwrap()).await.word(), "accepted");
}

async fn turned_away(stack: &Stack) {
    let (good, large) = (order("unspeakable").to_string(), "unspeakable ".repeat(MOST_BYTES / 11));
    let half = json!([order("unspeakable"), {"unspeakable": 1}]).to_string();
    for (topic, token, body, word) in [
        ("orders", "unspeakable-stranger", good.as_str(), "unauthorized"),
        ("stripe", PRODUCER_TOKEN, &good, "secret-missing"),
        ("nowhere", PRODUCER_TOKEN, &good, "unknown-topic"),
        ("orders", PRODUCER_TOKEN, r#"{"unspeakable": 1}"#, "bad-request"),
        ("orders", PRODUCER_TOKEN, &half, "refused"),
        ("orders", PRODUCER_TOKEN, &large, "payload-too-large"),
    ] {
        assert_eq!(post_to(stack, topic, token, body).await, word, "{topic}");
    }
    let asked = reqwest::Client::new().get(stack.function_url("producer/orders?token=unspeakable"));
    assert_eq!(answered(asked.bearer_auth(PRODUCER_TOKEN).send().await.unwrap()).await.word(), "method-not-allowed");
}

async fn not_durable(lambda: &OnLambda) {
    let post = async |body: Value| post_to(lambda.stack(), "orders", PRODUCER_TOKEN, &body.to_string()).await;
    // Too large for a row of the outbox.
    let large = order(&"unspeakable ".repeat(33_000));
    lambda.qstash.becomes(Verdict::Answer(400, r#"{"error": "no such plan"}"#));
    assert_eq!(post(order("unspeakable, and rejected by QStash")).await, "rejected-by-qstash");
    lambda.qstash.becomes(Verdict::Answer(503, "{}"));
    assert_eq!(post(order("unspeakable, in the outbox")).await, "accepted");
    assert_eq!(post(large.clone()).await, "qstash-away");
    assert_eq!(post(json!([order("unspeakable, in the outbox too"), large])).await, "partly-accepted");
    lambda.table.becomes(AWAY);
    assert_eq!(post(order("unspeakable, nowhere")).await, "store-away");
    lambda.table.becomes(Verdict::Pass);
    lambda.qstash.becomes(Verdict::Pass);
}

/// Every command, and some that fail.
pub(crate) async fn processor(lambda: &OnLambda) {
    let stack = lambda.stack();
    let id = bury(stack, &event("unspeakable letter"), "an unspeakable error").await.id();
    let forgotten = key(stack, &event("unspeakable, and forgotten"));
    stack.store().claim(&forgotten, &ledger::claim("dead", outside::now() - 30 * 86_400_000)).await.unwrap();
    for command in [
        json!({"command": "list"}),
        json!({"command": "causes"}),
        json!({"command": "show", "id": id, "reveal": true}),
        json!({"command": "body", "id": id}),
        json!({"command": "why", "subject": id}),
        json!({"command": "replay", "selection": {"ids": [id]}}),
        json!({"command": "outcomes", "ids": [id]}),
        json!({"command": "purge", "selection": {"all": true}}),
        json!({"command": "stranded", "deep": true}),
        json!({"command": "sweep"}),
        json!({"command": "dismiss", "events": [forgotten.as_str()]}),
    ] {
        ask(lambda, &command).await.unwrap();
        stack.qstash.idle().await;
    }
    failing_commands(lambda, &id).await;
}

async fn failing_commands(lambda: &OnLambda, id: &str) {
    ask(lambda, &json!({"command": "show", "id": id})).await.unwrap_err();
    ask(lambda, &json!({"command": "why", "subject": "msg_of_nobody"})).await.unwrap_err();
    lambda.qstash.becomes(Verdict::Answer(503, "{}"));
    ask(lambda, &json!({"command": "why", "subject": "msg_of_nobody"})).await.unwrap_err();
    ask(lambda, &json!({"command": "sweep"})).await.unwrap();
    lambda.qstash.becomes(Verdict::Pass);
    lambda.table.becomes(AWAY);
    ask(lambda, &json!({"command": "list"})).await.unwrap_err();
    lambda.table.becomes(Verdict::Pass);
}

/// Invokes the DLQ processor, and takes note of what its line must say.
async fn ask(lambda: &OnLambda, command: &Value) -> Result<Bytes, String> {
    let function = lambda.stack().function("dlq-processor").unwrap();
    let answer = function.invoke(command.to_string().into()).await;
    let word = if answer.is_ok() { command["command"].as_str().unwrap() } else { "failed" };
    lambda.front.note("dlq-processor", word);
    answer.map_err(|error| error.to_string())
}

/// The table and QStash answer what nobody can read, with what they were asked for in it.
pub(crate) async fn mumbled(lambda: &OnLambda) {
    let stack = lambda.stack();
    let id = bury(stack, &event("unspeakable, kept"), "an unspeakable error").await.id();
    let callback = json!({"sourceMessageId": "msg_1", "url": stack.function_url("consumer/strapi"), "dlqId": "1-0"});
    let subject = json!({"command": "why", "subject": "msg_1"});
    for answer in [
        r#"{"messages": "unspeakable", "header": "unspeakable", "body": "unspeakable"}"#,
        r#"{"messages": [{"dlqId": "1-0", "header": "unspeakable"}]}"#,
        "unspeakable",
    ] {
        lambda.qstash.becomes(Verdict::Answer(200, answer));
        call_back(stack, &callback).await;
        post_to(stack, "orders", PRODUCER_TOKEN, &order("unspeakable").to_string()).await;
        for command in
            [json!({"command": "sweep"}), json!({"command": "replay", "selection": {"ids": [id]}}), subject.clone()]
        {
            let _either_way = ask(lambda, &command).await;
        }
    }
    lambda.qstash.becomes(Verdict::Pass);
    lambda.table.becomes(Verdict::Answer(
        200,
        r#"{"Item": {"pk": {"S": "unspeakable"}}, "Items": [{"body": {"S": "unspeakable""#,
    ));
    call_back(stack, &callback).await;
    send(stack, "/strapi", &[], &event("unspeakable, and nobody knows")).await;
    for command in [json!({"command": "list"}), json!({"command": "show", "id": id}), json!({"command": "sweep"})] {
        let _either_way = ask(lambda, &command).await;
    }
    lambda.table.becomes(Verdict::Pass);
}

/// Nobody's routes make events wait. What the functions knew before is gone after it.
pub(crate) async fn no_routes(stack: &Stack) {
    apply(stack, "").await;
    // What the routes of before take, the processes still know.
    let unrouted = r#"{"event": "media.update", "createdAt": "y", "media": {"name": "unspeakable"}}"#;
    assert_eq!(send(stack, "/strapi", &[], unrouted).await.word(), "no-routes");
}
