//! An AWS account in miniature: a table that lets each function do only what the template's role of that function allows, and
//! takes note of what it did.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use wildmatch::WildMatch;

use super::template::{FUNCTIONS, Template, each};
use crate::support::{proxy::relay, served::Served};

/// One thing that a role allows: an action on the table or one of its indexes, on keys of a pattern where it has keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grant {
    pub(crate) function: &'static str,
    /// Which statement: what one call does must be allowed by one of them.
    pub(crate) sid: String,
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) keys: Option<String>,
}

/// What one request does to one item, or to one range of items.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Act {
    action: String,
    resource: String,
    key: Option<String>,
}

/// Grants, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) used: BTreeSet<Grant>,
    pub(crate) denied: Vec<String>,
}

/// The guarded way to the table.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) url: String,
    pub(crate) grants: BTreeSet<Grant>,
    pub(crate) book: Arc<Mutex<Book>>,
    _served: Served,
}

#[derive(Clone)]
struct Guard {
    upstream: String,
    grants: BTreeSet<Grant>,
    book: Arc<Mutex<Book>>,
    http: reqwest::Client,
}

impl Account {
    pub(crate) fn start(template: &Template, upstream: &str) -> Self {
        let grants: BTreeSet<Grant> = FUNCTIONS.into_iter().flat_map(|(name, id)| grants(template, name, id)).collect();
        let book = Arc::<Mutex<Book>>::default();
        let http = reqwest::Client::new();
        let guard = Guard { upstream: upstream.to_owned(), grants: grants.clone(), book: Arc::clone(&book), http };
        let served = Served::start(|_| Router::new().fallback(answer).with_state(guard));
        Self { url: served.url.clone(), grants, book, _served: served }
    }
}

/// What a role allows on the table.
fn grants(template: &Template, function: &'static str, id: &str) -> Vec<Grant> {
    let mut grants = Vec::new();
    for statement in template.statements(id) {
        for action in each(&statement["Action"]) {
            let Some(action) = action.as_str().unwrap().strip_prefix("dynamodb:").map(str::to_owned) else { continue };
            for resource in each(&statement["Resource"]).iter().map(resource_of) {
                for keys in keys_of(&statement) {
                    let (action, resource) = (action.clone(), resource.clone());
                    let sid = statement["Sid"].as_str().unwrap().to_owned();
                    grants.push(Grant { function, sid, action, resource, keys });
                }
            }
        }
    }
    grants
}

fn resource_of(resource: &Value) -> String {
    if *resource == json!({"!GetAtt": "Table.Arn"}) {
        return "table".to_owned();
    }
    let sub = resource["!Sub"].as_str().and_then(|text| text.strip_prefix("${Table.Arn}/"));
    sub.unwrap_or_else(|| panic!("a role allows something on {resource}")).to_owned()
}

fn keys_of(statement: &Value) -> Vec<Option<String>> {
    let Some(condition) = statement["Condition"].as_object() else { return vec![None] };
    let patterns = condition.values().flat_map(|operator| each(&operator["dynamodb:LeadingKeys"]));
    patterns.map(|pattern| Some(pattern.as_str().unwrap().to_owned())).collect()
}

async fn answer(State(guard): State<Guard>, headers: HeaderMap, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let operation = text(&headers, "x-amz-target").rsplit('.').next().unwrap_or_default();
    // The access key's id is the function's name: each function has credentials of its own, as on Lambda.
    let caller = text(&headers, "authorization").split(['=', '/']).nth(1).unwrap_or_default();
    let acts = acts(operation, &request);
    for action in acts.iter().map(|act| act.action.as_str()).collect::<BTreeSet<_>>() {
        let alike: Vec<&Act> = acts.iter().filter(|act| act.action == action).collect();
        if !guard.allows(caller, &alike) {
            let message = format!("{caller} is not authorized to perform dynamodb:{action} on {alike:?}");
            guard.book.lock().unwrap().denied.push(message.clone());
            return refused(&message);
        }
    }
    relay(guard.http.post(&guard.upstream), headers, body).await
}

impl Guard {
    /// Whether one statement allows all that a call does by one action. AWS does not say whether it judges a transaction item by
    /// item or by all of its keys at once; what is allowed here is allowed either way.
    fn allows(&self, caller: &str, acts: &[&Act]) -> bool {
        let sids: BTreeSet<&str> = self.grants.iter().map(|grant| grant.sid.as_str()).collect();
        let by = |sid: &str| acts.iter().map(|act| self.grant(caller, sid, act)).collect::<Option<Vec<_>>>();
        let used = sids.into_iter().find_map(by);
        self.book.lock().unwrap().used.extend(used.iter().flatten().map(|grant| (*grant).clone()));
        used.is_some()
    }

    fn grant(&self, caller: &str, sid: &str, act: &Act) -> Option<&Grant> {
        let matches = |keys: &String| act.key.as_ref().is_some_and(|key| WildMatch::new(keys).matches(key));
        self.grants.iter().find(|grant| {
            (grant.function, grant.sid.as_str()) == (caller, sid)
                && grant.action == act.action
                && grant.resource == act.resource
                && grant.keys.as_ref().is_none_or(matches)
        })
    }
}

/// Source: AWS, "Actions, resources, and condition keys for Amazon DynamoDB": a transaction needs the permissions of its parts.
fn acts(operation: &str, request: &Value) -> Vec<Act> {
    let key = |item: &Value| item["pk"]["S"].as_str().map(str::to_owned);
    let on_table = |action: &str, key| Act { action: action.to_owned(), resource: "table".to_owned(), key };
    match operation {
        "TransactWriteItems" => {
            let parts = request["TransactItems"].as_array().unwrap().iter().flat_map(|part| part.as_object().unwrap());
            let act = |(kind, part): (&String, &Value)| match kind.as_str() {
                "Put" => on_table("PutItem", key(&part["Item"])),
                "ConditionCheck" => on_table("ConditionCheckItem", key(&part["Key"])),
                other => on_table(&format!("{other}Item"), key(&part["Key"])),
            };
            parts.map(act).collect()
        }
        "Query" => vec![query(request)],
        "PutItem" => vec![on_table(operation, key(&request["Item"]))],
        _ => vec![on_table(operation, key(&request["Key"]))],
    }
}

/// The partition of a query is what its condition compares first.
fn query(request: &Value) -> Act {
    let condition = request["KeyConditionExpression"].as_str().unwrap();
    let name = condition.split_once('=').map(|(_, rest)| rest.trim().split([' ', ')']).next().unwrap_or_default());
    let key = request["ExpressionAttributeValues"][name.unwrap_or_default()]["S"].as_str().map(str::to_owned);
    let resource = request["IndexName"].as_str().map_or("table".to_owned(), |index| format!("index/{index}"));
    Act { action: "Query".to_owned(), resource, key }
}

fn refused(message: &str) -> Response {
    let body = json!({ "__type": "com.amazon.coral.service#AccessDeniedException", "Message": message }).to_string();
    let response =
        Response::builder().status(StatusCode::BAD_REQUEST).header("content-type", "application/x-amz-json-1.0");
    response.body(Body::from(body)).unwrap()
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
