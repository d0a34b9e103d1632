//! Passing a request on.

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use http::HeaderMap;

/// Sends a request on with its headers and body, and answers what is answered. The host is the caller's to set.
pub async fn relay(request: reqwest::RequestBuilder, mut headers: HeaderMap, body: Bytes) -> Response {
    headers.remove("host");
    let sent = request.headers(headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(sent.status());
    for (name, value) in sent.headers() {
        response = response.header(name, value);
    }
    response.body(Body::from(sent.bytes().await.unwrap())).unwrap()
}
