//! The floor: what the runtime, the AWS SDK and the HTTP client cost for one event, and nothing else.
//!
//! It makes the two DynamoDB calls that the consumer makes, with the consumer's own store, and posts the body to the destination.
//! It verifies nothing, identifies nothing, knows no routes and writes no line. What the consumer takes beyond this is our own.

use std::{process::ExitCode, sync::Arc};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::{Value, json};
use surehook::{identity::EventKey, ledger::Claim, outside, store::Store, tls, web::serve};

/// The event, of which only the body is read, because without it nothing could be posted.
#[derive(Debug, Deserialize)]
struct Delivery {
    body: String,
}

#[derive(Debug)]
struct Floor {
    store: Store,
    http: reqwest::Client,
    destination: String,
}

/// On the consumer's runtime, and with its HTTP client: what they cost is not the consumer's own either.
fn main() -> ExitCode {
    serve::run("floor", run())
}

async fn run() -> Result<(), Error> {
    let floor = Arc::new(Floor {
        store: Store::connect(required("TABLE_NAME")?).await,
        http: tls::client().no_proxy().build()?,
        destination: required("DESTINATION_URL")?,
    });
    // The consumer reads its routes here, which connects to DynamoDB before the first event.
    let _routes = floor.store.routes(false).await?;
    lambda_runtime::run(service_fn(move |event| {
        let floor = Arc::clone(&floor);
        async move { floor.call(event).await }
    }))
    .await
}

impl Floor {
    async fn call(&self, event: LambdaEvent<Delivery>) -> Result<Value, Error> {
        let key = key_of(&event.context.request_id)?;
        let claim = claim(&key, event.context.request_id);
        let record = self.store.claim(&key, &claim).await?;
        let request = self.http.post(&self.destination).header("content-type", "application/json");
        request.body(event.payload.body).send().await?.error_for_status()?;
        let expires_at = claim.now / 1_000 + 86_400;
        self.store.complete(&key, &record, &["destination".to_owned()], claim.now, expires_at).await?;
        Ok(json!({ "statusCode": 200, "body": "{\"status\":\"processed\"}" }))
    }
}

fn claim(key: &EventKey, owner: String) -> Claim {
    let now = outside::now();
    Claim {
        owner,
        content: key.as_str().to_owned(),
        source: "strapi".to_owned(),
        event_type: Some("entry.update".to_owned()),
        message_id: "msg_floor".to_owned(),
        now,
        lease_until: now + 11_000,
    }
}

/// A key without looking at the body: the request's id, twice.
fn key_of(request_id: &str) -> Result<EventKey, Error> {
    let digits = request_id.replace('-', "");
    EventKey::parse(&digits.repeat(2)).ok_or_else(|| "the host must use UUIDs as request ids".into())
}

fn required(name: &str) -> Result<String, Error> {
    outside::variable(name).ok_or_else(|| format!("{name} is not set: this program is started by the harness").into())
}
