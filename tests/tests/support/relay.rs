//! A relay that passes bytes on and counts the connections that are made to it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A running relay. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Where it listens.
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay to a URL without a path.
    pub(crate) fn to(upstream: &str) -> Self {
        let address = upstream.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(accept(TcpListener::from_std(listener).unwrap(), address, Arc::clone(&connections)));
        Self { url, connections, task }
    }

    /// The number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, upstream: String, connections: Arc<AtomicUsize>) {
    while let Ok((mut client, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let upstream = upstream.clone();
        tokio::spawn(async move {
            let mut server = TcpStream::connect(upstream).await.unwrap();
            let _closed = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
