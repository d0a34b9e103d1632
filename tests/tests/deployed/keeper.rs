//! A keeper of secrets: Parameter Store and Secrets Manager in one, as far as the functions ask them.
//!
//! Sources: AWS, "`GetParameters`" and "`GetSecretValue`", requests, answers and errors of the JSON protocol 1.1.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use http::HeaderMap;
use serde_json::{Value, json};
use surehook_tests::served::Served;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    /// As it should.
    #[default]
    Well,
    /// The caller's role does not allow it.
    Denies,
    /// It has a fault of its own.
    Fails,
    /// Never.
    Hangs,
    /// With what it was asked for, in an answer that ends too soon to be read.
    Mumbles,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) operation: String,
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Default)]
struct Kept {
    values: BTreeMap<String, String>,
    mood: Mood,
    asked: Vec<Asked>,
}

/// A running keeper. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) url: String,
    kept: Arc<Mutex<Kept>>,
    _served: Served,
}

impl Keeper {
    /// Starts one that keeps these, by name.
    pub(crate) fn start(values: &[(&str, &str)]) -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let served = Served::start(|_| Router::new().fallback(answer).with_state(Arc::clone(&kept)));
        let keeper = Self { url: served.url.clone(), kept, _served: served };
        values.iter().for_each(|(name, value)| keeper.put(name, value));
        keeper
    }

    /// Keeps another value from now on.
    pub(crate) fn put(&self, name: &str, value: &str) {
        self.kept.lock().unwrap().values.insert(name.to_owned(), value.to_owned());
    }

    /// Answers otherwise from now on.
    pub(crate) fn becomes(&self, mood: Mood) {
        self.kept.lock().unwrap().mood = mood;
    }

    /// All calls so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.kept.lock().unwrap().asked.clone()
    }

    /// The variables with which functions find it.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        super::pairs([("AWS_ENDPOINT_URL_SSM", &self.url), ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.url)])
    }
}

async fn answer(State(kept): State<Arc<Mutex<Kept>>>, headers: HeaderMap, body: Bytes) -> Response {
    let operation = headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap().to_owned();
    let request: Value = serde_json::from_slice(&body).unwrap();
    let (mood, known) = kept.lock().unwrap().look_up(&operation, &request);
    match mood {
        Mood::Well => {
            known.map_or_else(|error| respond(400, &error.to_string()), |found| respond(200, &found.to_string()))
        }
        Mood::Denies => {
            let told = json!({"__type": "AccessDeniedException", "Message": "the role of these tests is not authorized to perform this"});
            respond(400, &told.to_string())
        }
        Mood::Fails => respond(500, r#"{"__type": "InternalServerError", "Message": "a fault of its own"}"#),
        Mood::Hangs => std::future::pending().await,
        Mood::Mumbles => {
            let found = known.unwrap_or_default().to_string();
            respond(200, &found[..found.len() - 1])
        }
    }
}

impl Kept {
    fn look_up(&mut self, operation: &str, request: &Value) -> (Mood, Result<Value, Value>) {
        let names = if operation == "GetParameters" { request["Names"].clone() } else { json!([request["SecretId"]]) };
        let names: Vec<String> = serde_json::from_value(names).unwrap();
        self.asked.push(Asked { operation: operation.to_owned(), names: names.clone() });
        let known = if operation == "GetParameters" {
            Ok(self.parameters(&names, request["WithDecryption"] == true))
        } else {
            self.secret(&names[0])
        };
        (self.mood, known)
    }

    fn parameters(&self, names: &[String], decrypted: bool) -> Value {
        let (found, missing): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| self.values.contains_key(*name));
        let value = |name: &String| if decrypted { self.values[name].as_str() } else { "AQICAHg-still-encrypted" };
        let shown = |name: &String| json!({"Name": name, "Type": "SecureString", "Value": value(name), "Version": 1, "ARN": format!("arn:aws:ssm:us-east-1:000000000000:parameter{name}")});
        json!({"Parameters": found.into_iter().map(shown).collect::<Vec<_>>(), "InvalidParameters": missing})
    }

    fn secret(&self, name: &str) -> Result<Value, Value> {
        let unknown = json!({"__type": "ResourceNotFoundException", "Message": "Secrets Manager can't find the specified secret."});
        let value = self.values.get(name).ok_or(unknown)?;
        let arn = format!("arn:aws:secretsmanager:us-east-1:000000000000:secret:{name}-a1B2c3");
        Ok(json!({"ARN": arn, "Name": name, "SecretString": value, "VersionId": "1", "VersionStages": ["AWSCURRENT"]}))
    }
}

fn respond(status: u16, body: &str) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.1");
    response.body(Body::from(body.to_owned())).unwrap()
}
