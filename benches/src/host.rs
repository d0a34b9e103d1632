//! Lambda, for one process: it starts a function, hands it one event at a time, and says how long each took.
//!
//! A thread for each connection reads; the caller's thread writes. Neither does anything while a function works, so that the
//! function, DynamoDB and the destination have the machine to themselves.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use surehook::outside;

use crate::{
    contestant::Contestant,
    error::BenchError,
    http::{self, Request},
    process::{CpuClock, Memory},
};

/// A function that is silent for so long will say nothing any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time limit that functions are told, in milliseconds.
const TIME_LIMIT: i64 = 30_000;

/// What a function's process says.
enum Message {
    /// It asks for an event, and waits for it on this connection.
    Next(TcpStream),
    /// It has an answer, which was here in full at this moment.
    Answer(Vec<u8>, Instant),
    /// It failed.
    Failure(Vec<u8>),
}

/// How a function is started.
#[derive(Debug)]
pub(crate) struct Start {
    /// Which.
    pub(crate) contestant: Contestant,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// All of its environment but the Runtime API's address.
    pub(crate) variables: Vec<(String, String)>,
    /// Where what it writes goes.
    pub(crate) log: PathBuf,
}

/// A function's process that waits for an event. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Function {
    contestant: Contestant,
    child: Child,
    log: PathBuf,
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    messages: mpsc::Receiver<Message>,
    waiting: TcpStream,
    clock: CpuClock,
    /// From the process's start to its asking for an event.
    pub(crate) init: Duration,
}

/// One event's way.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// From handing the event over to having the answer.
    pub(crate) took: Duration,
    /// The answer.
    pub(crate) answer: Vec<u8>,
}

impl Function {
    /// Starts a process and waits until it asks for its first event.
    pub(crate) fn start(start: &Start) -> Result<Self, BenchError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(BenchError::system("a port for the Runtime API"))?;
        let address = listener.local_addr().map_err(BenchError::system("a port for the Runtime API"))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (sender, messages) = mpsc::channel();
        let ends = Arc::clone(&is_over);
        thread::spawn(move || accept(&listener, &ends, &sender));
        let output = log_file(&start.log).map_err(BenchError::file(&start.log))?;
        let began = Instant::now();
        let child = spawn(start, address, output).map_err(BenchError::system(format!(
            "{} can't be started as {}",
            start.contestant.name(),
            start.command.join(" ")
        )))?;
        let clock = CpuClock::of(child.id());
        let waiting = first_of(&messages, start, child.id())?;
        let (contestant, log) = (start.contestant, start.log.clone());
        Ok(Self { contestant, child, log, address, is_over, messages, waiting, clock, init: began.elapsed() })
    }

    /// Hands an event over and waits until the function asks for the next one, so that what it does after its answer counts too.
    pub(crate) fn invoke(&mut self, event: &[u8]) -> Result<Invocation, BenchError> {
        let head = head(event.len());
        let began = Instant::now();
        let handed = self.waiting.write_all(head.as_bytes()).and_then(|()| self.waiting.write_all(event));
        handed.map_err(|error| self.blame(format!("took no event: {error}")))?;
        let mut answered = None;
        loop {
            match self.messages.recv_timeout(PATIENCE) {
                Ok(Message::Answer(answer, at)) => answered = Some(Invocation { took: at - began, answer }),
                Ok(Message::Failure(text)) => {
                    return Err(self.blame(format!("failed: {}", String::from_utf8_lossy(&text))));
                }
                Ok(Message::Next(stream)) => {
                    self.waiting = stream;
                    return answered.ok_or_else(|| self.blame("asked for work without having answered".to_owned()));
                }
                Err(_silent) => return Err(self.blame("did not answer".to_owned())),
            }
        }
    }

    /// Has the process end of itself, so that whoever watches it can sum up.
    pub(crate) fn end(mut self) {
        let id = i32::try_from(self.child.id()).map(Pid::from_raw);
        let _asked = id.ok().and_then(|id| kill(id, Signal::SIGTERM).ok());
        let _ended = self.child.wait();
    }

    /// The CPU time that the process has used.
    pub(crate) fn cpu(&self) -> Duration {
        self.clock.read()
    }

    /// The memory that it takes.
    pub(crate) fn memory(&self) -> Memory {
        Memory::of(self.child.id())
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error of this function.
    pub(crate) fn blame(&self, what: String) -> BenchError {
        BenchError::Function { who: self.contestant.name(), what, log: self.log.display().to_string() }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections, so that it sees that it is over.
        let _woken = TcpStream::connect(self.address);
    }
}

fn log_file(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn spawn(start: &Start, address: SocketAddr, output: File) -> io::Result<Child> {
    let (program, arguments) = start.command.split_first().ok_or_else(|| io::Error::other("no program"))?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(start.variables.iter().cloned())
        .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
}

fn first_of(messages: &mpsc::Receiver<Message>, start: &Start, process: u32) -> Result<TcpStream, BenchError> {
    let fault = |what: String| BenchError::Function {
        who: start.contestant.name(),
        what,
        log: start.log.display().to_string(),
    };
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match messages.recv_timeout(Duration::from_millis(500)) {
            Ok(Message::Next(stream)) => return Ok(stream),
            Ok(Message::Failure(text)) => {
                return Err(fault(format!("can't start: {}", String::from_utf8_lossy(&text))));
            }
            Ok(Message::Answer(..)) => return Err(fault("answered what nobody asked".to_owned())),
            Err(_nothing_yet) if has_ended(process) => return Err(fault("ended before it asked for work".to_owned())),
            Err(_nothing_yet) => {}
        }
    }
    Err(fault("never asked for work".to_owned()))
}

/// A process that ended and that nobody has waited for is a zombie.
fn has_ended(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z'))
}

fn accept(listener: &TcpListener, is_over: &AtomicBool, messages: &mpsc::Sender<Message>) {
    for stream in listener.incoming().flatten() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let messages = messages.clone();
        thread::spawn(move || converse(stream, &messages));
    }
}

/// Reads what comes on one connection. Who asks for an event gets its answer from [`Function::invoke`].
fn converse(stream: TcpStream, messages: &mpsc::Sender<Message>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = http::read(&mut reader, &mut writer)? {
        let at = Instant::now();
        let message = if request.line.starts_with("GET") {
            Message::Next(writer.try_clone()?)
        } else {
            accepted(&mut writer)?;
            said(request, at)
        };
        if messages.send(message).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn accepted(writer: &mut TcpStream) -> io::Result<()> {
    let answer =
        "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"status\":\"OK\"}";
    writer.write_all(answer.as_bytes())
}

fn said(request: Request, at: Instant) -> Message {
    let path = request.line.split(' ').nth(1).unwrap_or_default();
    if path.ends_with("/response") { Message::Answer(request.body, at) } else { Message::Failure(request.body) }
}

fn head(length: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-runtime-aws-request-id: {}\r\n\
         lambda-runtime-deadline-ms: {}\r\n\
         lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:000000000000:function:bench\r\n\
         lambda-runtime-trace-id: Root=1-00000000-000000000000000000000000;Sampled=0\r\ncontent-length: {length}\r\n\r\n",
        outside::new_id(),
        outside::now() + TIME_LIMIT,
    )
}
