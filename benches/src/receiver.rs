//! The destination: it answers 200 to everything and keeps what it got, so that the harness can compare it with what was sent.

use std::{
    io::{self, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::http;

type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

/// A running destination. Its threads end with the program.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Where functions post to.
    pub(crate) url: String,
    bodies: Bodies,
}

impl Receiver {
    /// Starts one on a free port, with a thread for each connection.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let bodies = Bodies::default();
        let kept = Arc::clone(&bodies);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Ok(Self { url, bodies })
    }

    /// What came since this was called last.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().map(|mut bodies| std::mem::take(&mut *bodies)).unwrap_or_default()
    }
}

/// A body is kept before it is answered, so that who has the answer finds the body here.
fn serve(stream: TcpStream, kept: &Bodies) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(64 * 1_024, stream);
    while let Some(request) = http::read(&mut reader, &mut writer)? {
        if let Ok(mut bodies) = kept.lock() {
            bodies.push(request.body);
        }
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
    Ok(())
}
