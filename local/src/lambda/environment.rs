//! One execution environment: a process, and the Runtime API that it asks for work.

use std::{
    collections::{BTreeSet, VecDeque},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};
use bytes::Bytes;
use http::StatusCode;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use surehook_qstash::Visitors;

use super::{FunctionSpec, LogLine};
use crate::url_of;

/// How long a process may take to ask for its first work. Lambda gives 10 s; a debug build on a busy machine needs more.
const LONGEST_INIT: Duration = Duration::from_secs(60);
/// Lines that are kept to explain a crash.
const MOST_LINES: usize = 30;

/// Where the answer to an invocation goes: the function's response, or its error.
type ReplySender = oneshot::Sender<Result<Bytes, Bytes>>;

/// Ids of a function's living processes.
pub(super) type Processes = Arc<Mutex<BTreeSet<u32>>>;

/// Work for a process.
pub(super) struct Invocation {
    pub(super) id: String,
    pub(super) payload: Bytes,
    pub(super) deadline_ms: i64,
    pub(super) reply: ReplySender,
}

/// A process that takes one invocation at a time.
pub(super) struct Environment {
    work: mpsc::Sender<Invocation>,
    ready: watch::Receiver<bool>,
    lines: Arc<Mutex<VecDeque<String>>>,
    pub(super) child: Child,
    api: JoinHandle<()>,
    _listed: Listed,
}

/// A process that stands in its function's list for as long as its environment lives.
struct Listed {
    processes: Processes,
    id: Option<u32>,
}

impl Listed {
    fn new(processes: &Processes, id: Option<u32>) -> Self {
        if let Ok(mut processes) = processes.lock() {
            processes.extend(id);
        }
        Self { processes: Arc::clone(processes), id }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let (Ok(mut processes), Some(id)) = (self.processes.lock(), self.id) {
            processes.remove(&id);
        }
    }
}

struct Api {
    work: AsyncMutex<mpsc::Receiver<Invocation>>,
    running: Mutex<Option<(String, ReplySender)>>,
    ready: watch::Sender<bool>,
}

impl Environment {
    pub(super) async fn start(
        spec: &FunctionSpec,
        logs: &broadcast::Sender<LogLine>,
        processes: &Processes,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = url_of(&listener).replace("http://", "");
        let (work, queue) = mpsc::channel(1);
        let (ready_sender, ready) = watch::channel(false);
        let api = Arc::new(Api { work: AsyncMutex::new(queue), running: Mutex::new(None), ready: ready_sender });
        let api = tokio::spawn(async move {
            let _ended = axum::serve(listener, Visitors::default().guard(router(api))).await;
        });
        let mut child = spawn(spec, &address)?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        follow(child.stdout.take(), spec, logs, &lines);
        follow(child.stderr.take(), spec, logs, &lines);
        let _listed = Listed::new(processes, child.id());
        Ok(Self { work, ready, lines, child, api, _listed })
    }

    /// Waits until the process asks for work; `false` if it ended or took too long.
    pub(super) async fn is_ready(&mut self) -> bool {
        let mut ready = self.ready.clone();
        tokio::select! {
            asked = timeout(LONGEST_INIT, ready.wait_for(|ready| *ready)) => matches!(asked, Ok(Ok(_))),
            _ended = self.child.wait() => false,
        }
    }

    pub(super) async fn send(&self, invocation: Invocation) -> bool {
        self.work.send(invocation).await.is_ok()
    }

    /// What the process wrote last.
    pub(super) fn last_words(&self) -> String {
        let lines = self.lines.lock().map(|lines| lines.iter().cloned().collect::<Vec<_>>());
        lines.unwrap_or_default().join("\n")
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.api.abort();
    }
}

fn spawn(spec: &FunctionSpec, runtime_api: &str) -> std::io::Result<Child> {
    let kept = ["PATH", "HOME", "RUST_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];
    let inherited = kept.into_iter().filter_map(|name| Some((name, surehook::outside::variable(name)?)));
    Command::new(&spec.program)
        .args(&spec.arguments)
        .env_clear()
        .envs(inherited)
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "surehook-local")
        .envs(spec.environment.iter().cloned())
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
        .env("AWS_LAMBDA_FUNCTION_NAME", &spec.name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", spec.name))
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "local")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

fn follow(
    stream: Option<impl AsyncRead + Unpin + Send + 'static>,
    spec: &FunctionSpec,
    logs: &broadcast::Sender<LogLine>,
    kept: &Arc<Mutex<VecDeque<String>>>,
) {
    let Some(stream) = stream else { return };
    let (function, logs, kept) = (spec.name.clone(), logs.clone(), Arc::clone(kept));
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(mut kept) = kept.lock() {
                if kept.len() == MOST_LINES {
                    kept.pop_front();
                }
                kept.push_back(line.clone());
            }
            let _nobody_listens = logs.send(LogLine { function: function.clone(), line });
        }
    });
}

/// The Runtime API. Source: AWS, "Using the Lambda runtime API for custom runtimes".
fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(accepted))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(api)
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    api.ready.send_replace(true);
    let Some(invocation) = api.work.lock().await.recv().await else {
        return status(StatusCode::GONE);
    };
    if let Ok(mut running) = api.running.lock() {
        *running = Some((invocation.id.clone(), invocation.reply));
    }
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", &invocation.id)
        .header("lambda-runtime-deadline-ms", invocation.deadline_ms)
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:local")
        .header("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0")
        .body(Body::from(invocation.payload));
    response.unwrap_or_default()
}

async fn response(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> Response {
    api.finish(&id, Ok(body))
}

async fn error(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> Response {
    api.finish(&id, Err(body))
}

async fn accepted() -> Response {
    status(StatusCode::ACCEPTED)
}

impl Api {
    fn finish(&self, id: &str, result: Result<Bytes, Bytes>) -> Response {
        let running = self.running.lock().ok().and_then(|mut running| running.take_if(|(running, _)| running == id));
        match running {
            Some((_, reply)) => {
                let _caller_gone = reply.send(result);
                status(StatusCode::ACCEPTED)
            }
            None => status(StatusCode::BAD_REQUEST),
        }
    }
}

fn status(code: StatusCode) -> Response {
    Response::builder().status(code).body(Body::from("{}")).unwrap_or_default()
}
