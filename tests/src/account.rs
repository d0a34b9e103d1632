//! A guard in front of DynamoDB: each function may do only what the template's role of that function allows.

use std::{
    collections::BTreeSet,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures::future::try_join_all;
use http::{HeaderMap, StatusCode, header::HOST};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    policy::{Call, Grant, Policies},
    relay::relay,
    served::Served,
    template::{FUNCTIONS, Template},
};

/// What was allowed and what was denied.
#[derive(Debug, Default)]
pub struct Book {
    /// The permissions that calls needed.
    pub used: BTreeSet<Grant>,
    /// Denied calls, as text.
    pub denied: Vec<String>,
}

/// The guarded way to a table.
#[derive(Debug)]
pub struct Account {
    /// Where it listens.
    pub url: String,
    /// Everything that the roles allow.
    pub grants: BTreeSet<Grant>,
    /// What was allowed and what was denied.
    pub book: Arc<Mutex<Book>>,
    _served: Served,
}

#[derive(Clone)]
struct Guard {
    upstream: String,
    policies: Policies,
    caller: Caller,
    book: Arc<Mutex<Book>>,
    /// Is given each permission when it is first used, and each denial.
    log: fn(&str),
    http: reqwest::Client,
}

/// How the guard knows which function calls.
#[derive(Debug, Clone, Copy)]
enum Caller {
    /// The id of the access key is the function's name.
    OfAccessKey,
    /// One function has a port of its own.
    Always(&'static str),
}

impl Account {
    /// Starts a guard for functions whose access key ids are their names.
    pub fn start(template: &Template, upstream: &str) -> Self {
        let policies = Policies::of(template);
        let grants = policies.grants();
        let guard = Guard::new(policies, upstream, Caller::OfAccessKey, |_| ());
        let book = Arc::clone(&guard.book);
        let served = Served::start(|_| guard.router());
        Self { url: served.url.clone(), grants, book, _served: served }
    }
}

/// Guards `upstream` until the process ends. The functions have consecutive ports, in the order of [`FUNCTIONS`].
pub async fn guard(template: &Template, upstream: &str, first_port: u16, log: fn(&str)) -> io::Result<()> {
    let policies = Policies::of(template);
    let serve = async |(port, (name, _)): (u16, (&'static str, _))| {
        let guard = Guard::new(policies.clone(), upstream, Caller::Always(name), log);
        axum::serve(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?, guard.router()).await
    };
    try_join_all((first_port..).zip(FUNCTIONS).map(serve)).await.map(drop)
}

impl Guard {
    fn new(policies: Policies, upstream: &str, caller: Caller, log: fn(&str)) -> Self {
        let (upstream, http) = (upstream.to_owned(), reqwest::Client::new());
        Self { upstream, policies, caller, book: Arc::default(), log, http }
    }

    fn router(self) -> Router {
        Router::new().fallback(answer).with_state(self)
    }

    fn caller<'h>(&self, headers: &'h HeaderMap) -> &'h str {
        match self.caller {
            Caller::Always(name) => name,
            Caller::OfAccessKey => text(headers, "authorization").split(['=', '/']).nth(1).unwrap_or_default(),
        }
    }

    /// Judges a call and keeps the verdict.
    fn judge(&self, caller: &str, call: &Call) -> Result<(), String> {
        let verdict = self.policies.judge(caller, call);
        let mut book = self.book.lock().unwrap();
        match verdict {
            Ok(used) => {
                for grant in used.difference(&book.used) {
                    let keys = grant.keys.as_deref().unwrap_or("*");
                    (self.log)(&format!("used: {caller} {} {} {keys}", grant.sid, grant.action));
                }
                book.used.extend(used);
                Ok(())
            }
            Err(denied) => {
                (self.log)(&format!("denied: {denied}"));
                book.denied.push(denied.to_string());
                Err(denied.to_string())
            }
        }
    }
}

async fn answer(State(guard): State<Guard>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(&body) else { return denied("this is no call of DynamoDB") };
    let operation = text(&headers, "x-amz-target").rsplit('.').next().unwrap_or_default();
    if let Err(message) = guard.judge(guard.caller(&headers), &Call::of(operation, &request)) {
        return denied(&message);
    }
    // The caller's signature covers the host that it called.
    relay(guard.http.post(&guard.upstream).header(HOST, text(&headers, "host")), headers, body).await
}

fn denied(message: &str) -> Response {
    let body = json!({ "__type": "com.amazon.coral.service#AccessDeniedException", "Message": message }).to_string();
    let response =
        Response::builder().status(StatusCode::BAD_REQUEST).header("content-type", "application/x-amz-json-1.0");
    response.body(Body::from(body)).unwrap()
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
