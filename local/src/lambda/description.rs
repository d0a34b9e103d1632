//! What Lambda tells about its functions: as much as `surehook doctor` asks.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    FunctionSpec,
    function::Functions,
    gateway::{message, plain},
};

/// Answers `GetFunctionConfiguration`, `GetFunctionUrlConfig`, `GetFunctionConcurrency` and `GetAccountSettings`.
pub(super) fn describe(functions: &Functions, path: &str, headers: &HeaderMap) -> Response {
    let mut parts = path.split('/').skip(2);
    let asked = (parts.next(), parts.next().map(plain), parts.next());
    if asked.0 == Some("account-settings") {
        return Response::new(Body::from(account(functions).to_string()));
    }
    let (Some("functions"), Some(name), Some(what)) = asked else {
        return message(StatusCode::NOT_FOUND, "there is nothing here");
    };
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let described = functions.get(name).and_then(|function| match what {
        "configuration" => Some(configuration(function.spec())),
        "concurrency" => Some(json!({ "ReservedConcurrentExecutions": function.spec().concurrency })),
        "url" if name != "dlq-processor" => Some(url(host, name)),
        _ => None,
    });
    match described {
        Some(json) => Response::new(Body::from(json.to_string())),
        None => not_found(),
    }
}

/// Each function has executions of its own, and 100 are left, as AWS leaves them.
fn account(functions: &Functions) -> Value {
    let reserved: usize = functions.values().map(|function| function.spec().concurrency).sum();
    json!({ "AccountLimit": { "ConcurrentExecutions": reserved + 100, "UnreservedConcurrentExecutions": 100 } })
}

fn configuration(spec: &FunctionSpec) -> Value {
    let variables: Map<String, Value> =
        spec.environment.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "FunctionName": spec.name,
        "Timeout": spec.time_limit.as_secs(),
        "MemorySize": 256,
        "Environment": { "Variables": variables },
    })
}

fn url(host: &str, name: &str) -> Value {
    json!({ "FunctionUrl": format!("http://{host}/lambda-url/{name}"), "AuthType": "NONE" })
}

fn not_found() -> Response {
    let mut error = message(StatusCode::NOT_FOUND, "there is no such function");
    error.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static("ResourceNotFoundException"));
    error
}
