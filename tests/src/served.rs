//! A server of a test's own, on a port of its own.

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Where it listens.
    pub url: String,
    task: JoinHandle<()>,
}

impl Served {
    /// Serves what `app` makes of the server's own URL.
    pub fn start(app: impl FnOnce(&str) -> Router) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = app(&url);
        let task = tokio::spawn(async move {
            let _ended = axum::serve(TcpListener::from_std(listener).unwrap(), app).await;
        });
        Self { url, task }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}
