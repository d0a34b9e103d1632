//! A destination that speaks TCP: it answers what a script writes, byte for byte, or nothing at all.
//!
//! It runs in threads of its own, so that a test can stand still, as a frozen Lambda environment does, while it works.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use socket2::SockRef;

/// An answer after which the connection may be used again.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The limit only ends a test that has failed.
const LONGEST_GOODBYE: Duration = Duration::from_secs(10);

/// A running destination. Its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct RawServer {
    /// Where it listens.
    pub(crate) url: String,
    /// Its port.
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    closed: mpsc::Receiver<()>,
}

/// One connection, as a script sees it.
pub(crate) struct Connection {
    /// Counts connections from 0.
    pub(crate) number: usize,
    stream: BufReader<TcpStream>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl RawServer {
    pub(crate) fn start(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (tell, closed) = mpsc::channel();
        let (log, script) = (Arc::clone(&requests), Arc::new(script));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (log, script, tell) = (Arc::clone(&log), Arc::clone(&script), tell.clone());
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    // Closed means that the other side's kernel knows it: on a busy machine it may hear of it later.
                    SockRef::from(&stream).set_linger(Some(LONGEST_GOODBYE)).unwrap();
                    let mut connection = Connection { number, stream: BufReader::new(stream), requests: log };
                    script(&mut connection);
                    drop(connection);
                    let _test_is_over = tell.send(());
                });
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), port, requests, closed }
    }

    /// The heads of all requests that it read whole.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Stands still until it has closed a connection, and this side could know it.
    pub(crate) fn stand_still_until_it_closed_one(&self) {
        self.closed.recv().unwrap();
    }
}

impl Connection {
    /// Reads one request, if one comes.
    pub(crate) fn read(&mut self) -> bool {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).unwrap_or(0) == 0 {
                return false;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        let whole = self.stream.read_exact(&mut body).is_ok();
        if whole {
            self.requests.lock().unwrap().push(head);
        }
        whole
    }

    /// Writes; what nobody reads any more is no matter.
    pub(crate) fn write(&mut self, text: &str) -> bool {
        self.stream.get_mut().write_all(text.as_bytes()).is_ok()
    }

    /// Answers every request of the connection.
    pub(crate) fn serve(&mut self, answer: &str) {
        while self.read() && self.write(answer) {}
    }

    /// Keeps the connection open and says nothing, until the other side closes it.
    pub(crate) fn be_silent(&mut self) {
        let _until_it_closes = self.stream.read_to_end(&mut Vec::new());
    }
}
