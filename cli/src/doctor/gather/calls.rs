//! Calls of the functions' URLs, signed as QStash signs: they prove that a function runs, knows its URL and has the keys.

use std::time::Duration;

use futures::future::join_all;
use surehook::{outside, qstash::token, secret::Secret, sources::CANARY, web::EndpointUrl};

use super::canary;
use crate::{
    doctor::facts::{Answer, Facts, Probe},
    text::with_causes,
};

/// A cold start, and a busy function.
const PATIENCE: Duration = Duration::from_secs(15);

/// Calls each URL once. The consumer's first is the canary's, if that came through.
pub(super) async fn probe(facts: &Facts) -> Vec<Probe> {
    let is_proved = matches!(facts.canary, Some(Ok(_)));
    // Without a key nothing can be signed, and a refusal would say nothing about the function.
    let can_sign = |function: &str| {
        let function = facts.function(function);
        function.unread(function.current_key()).is_none()
    };
    let consumers = facts.consumer_urls();
    let consumers =
        consumers.iter().filter(|_| can_sign("consumer")).skip(usize::from(is_proved)).map(canary::url_below);
    let calls = consumers
        .map(|url| call("consumer", url, key(facts, "consumer"), canary::body()))
        .chain(
            facts
                .requeuer_urls()
                .into_iter()
                .filter(|_| can_sign("requeuer"))
                .map(|url| call("requeuer", url, key(facts, "requeuer"), notice())),
        )
        .chain(producer(facts).map(|url| call("producer", url, None, String::new())));
    join_all(calls).await
}

fn key(facts: &Facts, function: &str) -> Option<Secret> {
    let function = facts.function(function);
    Secret::new(function.text(function.current_key()))
}

/// Without a token: its refusal proves that it is there, and leaves nothing behind.
fn producer(facts: &Facts) -> Option<EndpointUrl> {
    facts.function("producer").url().map(canary::url_below)
}

/// A failure callback about a message that nobody sent: its entry is not there, so nothing is left to do.
fn notice() -> String {
    let id = format!("{CANARY}-{}", outside::new_id());
    // In the form of QStash's own ids, of a time when there was no QStash.
    serde_json::json!({ "sourceMessageId": id, "dlqId": "1-0", "url": "https://canary.invalid/", "status": 503 })
        .to_string()
}

async fn call(function: &'static str, url: EndpointUrl, key: Option<Secret>, body: String) -> Probe {
    let answer = answer(&url, key, body).await;
    Probe { function, url: url.to_string(), answer }
}

async fn answer(url: &EndpointUrl, key: Option<Secret>, body: String) -> Result<Answer, String> {
    let url = url.to_string();
    let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
    let mut request = http.map_err(|error| with_causes(&error))?.post(&url).header("content-type", "application/json");
    if let Some(key) = key {
        let signature = token::sign(&key, &url, body.as_bytes(), outside::now() / 1_000, &outside::new_id());
        request = request.header("upstash-signature", signature);
    }
    let response = request.body(body).send().await.map_err(|error| with_causes(&error.without_url()))?;
    let status = response.status().as_u16();
    let text = response.text().await.unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    Ok(Answer { status, word: json["status"].as_str().unwrap_or_default().to_owned() })
}
