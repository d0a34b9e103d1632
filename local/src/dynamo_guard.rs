//! Rejects requests of web pages before they reach the embedded DynamoDB.
//!
//! The embedded DynamoDB answers pages of every origin. It therefore listens where no page finds it, and [`serve`] passes on the
//! requests that [`Visitors`] admits.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use surehook_qstash::Visitors;
use tokio::net::TcpListener;

/// The largest request and answer, in bytes. Source: AWS, "DynamoDB quotas": 16 MB.
const MAX_BODY: usize = 16 * 1_024 * 1_024;

/// The embedded DynamoDB, behind the guard.
#[derive(Debug, Clone)]
struct Hidden {
    http: reqwest::Client,
    url: String,
}

/// Binds a loopback address that `draw`, of 0 to 1, chooses among 16 million. Where the system has one loopback address only, a page
/// would still have to guess the port.
pub(crate) async fn hidden_listener(draw: f64) -> std::io::Result<TcpListener> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the draw is between 0 and 1")]
    let host = 1 + (draw * f64::from(0x00ff_fffd_u32)) as u32;
    let chosen = Ipv4Addr::from(0x7f00_0000 | host);
    match TcpListener::bind(SocketAddr::from((chosen, 0))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
    }
}

/// Passes requests on to the hidden listener's URL until it is dropped.
pub(crate) fn serve(
    listener: TcpListener,
    visitors: Visitors,
    url: String,
) -> Result<impl Future<Output = ()>, reqwest::Error> {
    let hidden = Hidden { http: reqwest::Client::builder().no_proxy().build()?, url };
    let app = visitors.guard(Router::new().fallback(pass_on).with_state(hidden));
    Ok(async move {
        let _ended = axum::serve(listener, app).await;
    })
}

async fn pass_on(State(hidden): State<Hidden>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else { return status(StatusCode::PAYLOAD_TOO_LARGE) };
    let mut headers = parts.headers;
    headers.remove("host");
    let sent = hidden.http.request(parts.method, format!("{}{}", hidden.url, parts.uri)).headers(headers).body(body);
    let Ok(answer) = sent.send().await else { return status(StatusCode::BAD_GATEWAY) };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    match answer.bytes().await {
        Ok(bytes) => response.body(Body::from(bytes)).unwrap_or_default(),
        Err(_) => status(StatusCode::BAD_GATEWAY),
    }
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}
