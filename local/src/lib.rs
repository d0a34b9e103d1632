//! The development stack, on loopback: what the demo, the tests and `surehook dev` share.
//!
//! | module | stands for |
//! |---|---|
//! | [`dynamo`] | DynamoDB: an embedded one, served over HTTP to the real AWS SDK |
//! | [`qstash`] | QStash: publish, topics, signed delivery, retries, failure callbacks, the dead-letter queue |
//! | [`lambda`] | Lambda: each function as processes of its own over the Runtime API, behind function URLs |
//! | [`receiver`] | the user's API: it records what it gets and fails on command |
//! | [`stack`] | all of them together |
//! | [`memory`] | what the system tells of a process's memory, for whoever measures |
//! | [`strapi`] | webhooks captured from real Strapi servers |
//!
//! Nothing here is linked into a function.

pub mod dynamo;
mod dynamo_guard;
pub mod lambda;
pub mod memory;
pub mod receiver;
pub mod stack;
pub mod strapi;

use std::net::SocketAddr;

use tokio::net::TcpListener;

pub use stack::{Runtimes, Stack, StackOptions};
pub use surehook_qstash as qstash;

/// A port that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("port {port} is not free for {what}: {source}. Stop what uses it, or choose another with {flag}")]
pub struct PortInUse {
    what: &'static str,
    flag: &'static str,
    port: u16,
    #[source]
    source: std::io::Error,
}

/// Binds a port on loopback; 0 takes any that is free.
pub(crate) async fn bind(port: u16, what: &'static str, flag: &'static str) -> Result<TcpListener, PortInUse> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await;
    listener.map_err(|source| PortInUse { what, flag, port, source })
}

/// The URL of a listener, without a slash at its end.
pub(crate) fn url_of(listener: &TcpListener) -> String {
    listener.local_addr().map(|address| format!("http://{address}")).unwrap_or_default()
}
