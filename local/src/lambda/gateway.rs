//! The HTTP front of the host: function URLs, and direct invocation.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, request::Parts};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use surehook::outside;
use surehook_qstash::is_too_large;

use super::{InvokeError, description, function::Functions};

/// The largest request that a function URL takes. Source: AWS, "Lambda quotas".
const MOST_REQUEST: usize = 6 * 1_024 * 1_024;

pub(super) fn router(functions: Functions) -> Router {
    Router::new().fallback(front).with_state(functions)
}

async fn front(State(functions): State<Functions>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match axum::body::to_bytes(body, MOST_REQUEST).await {
        Ok(body) => body,
        Err(error) if is_too_large(&error) => {
            return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        Err(_) => return message(StatusCode::BAD_REQUEST, "the body did not arrive whole"),
    };
    let path = parts.uri.path().to_owned();
    if let Some(rest) = path.strip_prefix("/lambda-url/") {
        let (name, below) = rest.split_once('/').map_or((rest, ""), |(name, below)| (name, below));
        return function_url(&functions, name, &format!("/{below}"), &parts, body).await;
    }
    let direct = path.strip_prefix("/2015-03-31/functions/").and_then(|rest| rest.strip_suffix("/invocations"));
    match direct {
        Some(_) if parts.method != http::Method::POST => {
            message(StatusCode::METHOD_NOT_ALLOWED, "functions are invoked with POST")
        }
        Some(name) => invoke_directly(&functions, plain(name), body).await,
        None if parts.method == http::Method::GET => description::describe(&functions, &path, &parts.headers),
        None => message(
            StatusCode::NOT_FOUND,
            "use /lambda-url/<function>/… or /2015-03-31/functions/<function>/invocations",
        ),
    }
}

/// A function's name without that of its stack, which `surehook --stack local` puts before it, as the template does.
pub(super) fn plain(name: &str) -> &str {
    name.strip_prefix("local-").unwrap_or(name)
}

async fn invoke_directly(functions: &Functions, name: &str, body: Bytes) -> Response {
    let Some(function) = functions.get(name) else {
        return message(StatusCode::NOT_FOUND, "there is no such function");
    };
    match function.invoke(body).await {
        Ok(answer) => Response::new(Body::from(answer)),
        Err(InvokeError::FunctionError(text)) => {
            let response = Response::builder().header("x-amz-function-error", "Unhandled").body(Body::from(text));
            response.unwrap_or_default()
        }
        Err(error) => message(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

async fn function_url(functions: &Functions, name: &str, path: &str, parts: &Parts, body: Bytes) -> Response {
    let Some(function) = functions.get(name) else {
        return message(StatusCode::NOT_FOUND, "there is no such function");
    };
    let payload = event(name, path, parts, &body).to_string();
    if payload.len() > MOST_REQUEST {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    }
    match function.invoke(payload.into()).await {
        Ok(answer) => respond(&answer),
        // AWS tells the caller nothing; the log has the rest.
        Err(error) => {
            tracing::warn!(error = %error, "an invocation failed");
            message(StatusCode::BAD_GATEWAY, "Internal Server Error")
        }
    }
}

/// A function-URL event, payload format 2.0.
fn event(name: &str, path: &str, parts: &Parts, body: &Bytes) -> Value {
    let text = is_text(&parts.headers).then(|| std::str::from_utf8(body).ok()).flatten();
    let encoded = text.map_or_else(|| STANDARD.encode(body), str::to_owned);
    let domain = format!("{name}.lambda-url.local");
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": parts.uri.query().unwrap_or_default(),
        "headers": headers(&parts.headers),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": name,
            "domainName": domain,
            "domainPrefix": name,
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": parts.headers.get("user-agent").and_then(|value| value.to_str().ok()).unwrap_or_default(),
            },
            "requestId": outside::new_id(),
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": outside::now(),
        },
        "body": if body.is_empty() { Value::Null } else { Value::String(encoded) },
        "isBase64Encoded": text.is_none() && !body.is_empty(),
    })
}

/// Which bodies Lambda hands over as text; all others, and those without a type, come as base64.
fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["text/", "application/json", "application/xml", "application/javascript"].iter().any(|text| kind.starts_with(text))
}

/// Lower-case names; repeated headers are one, joined by a comma.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut joined = Map::new();
    for name in headers.keys() {
        let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        joined.insert(name.as_str().to_owned(), Value::String(values.join(",")));
    }
    joined
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionAnswer {
    status_code: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// JSON without a status code is a 200 with that JSON as its body, as on AWS.
fn respond(answer: &Bytes) -> Response {
    let Ok(answer) = serde_json::from_slice::<FunctionAnswer>(answer) else {
        return Response::new(Body::from(answer.clone()));
    };
    let text = answer.body.unwrap_or_default();
    let body = if answer.is_base64_encoded { STANDARD.decode(text).unwrap_or_default() } else { text.into_bytes() };
    let mut response = Response::builder().status(answer.status_code);
    for (name, value) in &answer.headers {
        response = response.header(name, value.as_str().unwrap_or_default());
    }
    response.body(Body::from(body)).unwrap_or_default()
}

pub(super) fn message(status: StatusCode, text: &str) -> Response {
    let body = json!({ "Message": text }).to_string();
    let response = Response::builder().status(status).header("content-type", "application/json").body(Body::from(body));
    response.unwrap_or_default()
}
