//! The whole development stack.

use std::{
    future::{Future, poll_fn},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use surehook::store::Store;
use tokio::{net::TcpListener, runtime::Handle};

use crate::{
    PortInUse, bind,
    dynamo::{Dynamo, DynamoError},
    lambda::{FunctionSpec, Host, InvokeError},
    qstash::{Pace, Plan, QStash, Settings, TOKEN, Visitors},
    receiver::Receiver,
};

/// The table's name.
pub const TABLE: &str = "surehook";
/// The variable that says how many times as fast QStash's time passes.
pub const SPEED: &str = "SUREHOOK_SPEED";
/// What senders give the producer.
pub const PRODUCER_TOKEN: &str = "local-producer-token";
/// The four functions.
pub const FUNCTIONS: [&str; 4] = ["consumer", "requeuer", "producer", "dlq-processor"];
/// The master secret of the development stack, and of nothing else.
pub const SIGNING_SECRET: &str = surehook::signing::DEVELOPMENT_MASTER;

/// How to run it.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// A program that is a function's process when it is called with `function <name>`; `None` starts no functions.
    pub program: Option<PathBuf>,
    /// Port of the functions' gateway; 0 takes any.
    pub functions_port: u16,
    /// Port of QStash.
    pub qstash_port: u16,
    /// Port of DynamoDB.
    pub dynamo_port: u16,
    /// Port of the receiver.
    pub receiver_port: u16,
    /// Keeps the table in a file of this folder.
    pub data: Option<PathBuf>,
    /// How much faster QStash waits.
    pub speed: f64,
    /// The seed of QStash's ids. Two servers with the same seed give the same ids.
    pub seed: u64,
    /// Whether each event reads the routes, so that applied ones are used at once.
    pub reads_routes_each_time: bool,
    /// Deliveries that QStash makes at the same time; 100 is QStash's limit on pay as you go.
    pub parallelism: usize,
    /// Lambda's time limit.
    pub time_limit: Duration,
    /// Execution environments per function.
    pub concurrency: usize,
    /// Variables over those that the stack sets.
    pub environment: Vec<(String, String)>,
    /// The functions that are there, of [`FUNCTIONS`].
    pub functions: Vec<&'static str>,
    /// Entries that QStash's log remembers.
    pub log_entries: usize,
    /// Management calls that QStash takes in a second; `None` is no limit.
    pub burst_limit: Option<u32>,
    /// Which requests the listeners answer.
    pub visitors: Visitors,
    /// Whether DynamoDB answers without the guard, so that web pages that guess its port may call it. The guard passes each request on,
    /// which takes time that a measurement must not contain.
    pub has_bare_dynamo: bool,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            program: None,
            functions_port: 0,
            qstash_port: 0,
            dynamo_port: 0,
            receiver_port: 0,
            data: None,
            speed: 1.0,
            seed: Settings::default().seed,
            reads_routes_each_time: false,
            parallelism: 100,
            time_limit: Duration::from_secs(30),
            concurrency: 4,
            environment: Vec::new(),
            functions: FUNCTIONS.to_vec(),
            log_entries: Settings::default().log_entries,
            burst_limit: None,
            visitors: Visitors::default(),
            has_bare_dynamo: false,
        }
    }
}

/// What each part runs on. On runtimes of their own the system can tell how much each part uses.
#[derive(Debug, Clone)]
pub struct Runtimes {
    /// DynamoDB.
    pub dynamo: Handle,
    /// QStash.
    pub qstash: Handle,
    /// The functions' host; the functions are processes.
    pub functions: Handle,
    /// The receiver.
    pub receiver: Handle,
}

impl Runtimes {
    /// All of them on the runtime of the caller.
    pub fn current() -> Self {
        let current = Handle::current();
        Self { dynamo: current.clone(), qstash: current.clone(), functions: current.clone(), receiver: current }
    }
}

/// Polls a part's start inside its runtime, so that its sockets and tasks belong there.
async fn on<F: Future>(runtime: &Handle, start: F) -> F::Output {
    let mut start = pin!(start);
    poll_fn(|context| {
        let _inside = runtime.enter();
        start.as_mut().poll(context)
    })
    .await
}

/// A running stack. Everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Stack {
    /// DynamoDB.
    pub dynamo: Dynamo,
    /// QStash.
    pub qstash: QStash,
    /// The functions' host, where functions were asked for.
    pub host: Option<Host>,
    /// The user's API.
    pub receiver: Receiver,
    /// Where the functions are, without a slash at the end.
    pub functions_url: String,
    /// What the functions get as their environment.
    pub environment: Vec<(String, String)>,
}

/// Why the stack can't run.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A port is taken.
    #[error(transparent)]
    Port(#[from] PortInUse),
    /// DynamoDB did not start.
    #[error(transparent)]
    Dynamo(#[from] DynamoError),
    /// A function did not start.
    #[error(transparent)]
    Function(#[from] InvokeError),
    /// QStash has no HTTP client.
    #[error("QStash can't make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// The data folder can't be made.
    #[error("the folder {0} can't be made: {1}. Choose another with --data")]
    Data(PathBuf, #[source] std::io::Error),
}

impl Stack {
    /// Starts everything, the functions included, and returns when all of it answers.
    pub async fn start(options: StackOptions) -> Result<Self, StackError> {
        Self::start_on(options, &Runtimes::current()).await
    }

    /// The same, each part on the runtime that is named for it.
    pub async fn start_on(options: StackOptions, runtimes: &Runtimes) -> Result<Self, StackError> {
        let gateway = match options.program {
            Some(_) => {
                let port = bind(options.functions_port, "the functions", "--functions-port");
                Some(on(&runtimes.functions, port).await?)
            }
            None => None,
        };
        let qstash = on(&runtimes.qstash, bind(options.qstash_port, "QStash", "--qstash-port")).await?;
        let dynamo = on(&runtimes.dynamo, bind(options.dynamo_port, "DynamoDB", "--dynamo-port")).await?;
        let receiver = on(&runtimes.receiver, bind(options.receiver_port, "the receiver", "--receiver-port")).await?;
        let file = options.data.as_ref().map(|folder| folder.join("surehook.db"));
        if let Some(folder) = &options.data {
            std::fs::create_dir_all(folder).map_err(|error| StackError::Data(folder.clone(), error))?;
        }
        let dynamo = on(&runtimes.dynamo, async {
            match options.has_bare_dynamo {
                true => Dynamo::start(dynamo, file.as_deref(), TABLE).await,
                false => Dynamo::start_guarded(dynamo, options.visitors.clone(), file.as_deref(), TABLE).await,
            }
        })
        .await?;
        let qstash = on(&runtimes.qstash, async { QStash::start(qstash, settings(&options)) }).await;
        let qstash = qstash.map_err(StackError::Client)?;
        let receiver = on(&runtimes.receiver, async { Receiver::start(receiver, options.visitors.clone()) }).await;
        let elsewhere = format!("http://127.0.0.1:{}", options.functions_port);
        let functions_url = format!("{}/lambda-url", gateway.as_ref().map_or(elsewhere, crate::url_of));
        let mut environment = environment(&dynamo.url, &qstash, &functions_url, &options);
        environment.extend(options.environment.iter().cloned());
        let host = on(&runtimes.functions, host(gateway, &options, &environment)).await?;
        Ok(Self { dynamo, qstash, host, receiver, functions_url, environment })
    }

    /// The URL of a function, for topics and curl.
    pub fn function_url(&self, name: &str) -> String {
        format!("{}/{name}", self.functions_url)
    }

    /// A function's processes; `None` where somebody else runs them.
    pub fn function(&self, name: &str) -> Option<&std::sync::Arc<crate::lambda::Function>> {
        self.host.as_ref().and_then(|host| host.function(name))
    }

    /// The table.
    pub fn store(&self) -> Store {
        self.dynamo.store(TABLE)
    }

    /// Looks a variable up as the functions see it.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.environment.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// The functions' host, where there is a port for it. It returns when each function has asked for work.
async fn host(
    gateway: Option<TcpListener>,
    options: &StackOptions,
    environment: &[(String, String)],
) -> Result<Option<Host>, InvokeError> {
    let Some(gateway) = gateway else { return Ok(None) };
    let host = Host::start(gateway, options.visitors.clone(), specs(options, environment));
    host.warm().await?;
    Ok(Some(host))
}

/// QStash as the stack runs it: fast where it waits, and nothing is forgotten while somebody still looks at it.
fn settings(options: &StackOptions) -> Settings {
    Settings {
        pace: Pace::Times(options.speed),
        seed: options.seed,
        plan: Plan { parallelism: options.parallelism, dlq_retention: None, log_retention: None, ..Plan::PAYG },
        log_entries: options.log_entries,
        burst_limit: options.burst_limit,
        visitors: options.visitors.clone(),
        ..Settings::default()
    }
}

fn environment(dynamo: &str, qstash: &QStash, functions: &str, options: &StackOptions) -> Vec<(String, String)> {
    let (current, next) = qstash.keys();
    // A minute that passes as fast as QStash's, up to the hour that is the most.
    let breaker_wait = format!("{}ms", (60_000.0 / options.speed).ceil().clamp(1.0, 3_600_000.0));
    let routes_refresh = if options.reads_routes_each_time { "1ms" } else { "60s" };
    [
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamo),
        // For `--function`, which invokes functions as on AWS.
        ("AWS_ENDPOINT_URL_LAMBDA", functions.trim_end_matches("/lambda-url")),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_REGION", "us-east-1"),
        ("QSTASH_URL", &qstash.url),
        ("QSTASH_TOKEN", TOKEN),
        ("QSTASH_CURRENT_SIGNING_KEY", &current),
        ("QSTASH_NEXT_SIGNING_KEY", &next),
        ("TABLE_NAME", TABLE),
        ("STACK", "local"),
        ("CONSUMER_URL", &format!("{functions}/consumer")),
        ("REQUEUER_URL", &format!("{functions}/requeuer")),
        ("PRODUCER_TOKEN", PRODUCER_TOKEN),
        ("TOPICS", "orders"),
        ("SIGNING_SECRETS", SIGNING_SECRET),
        ("BREAKER_WAIT", &breaker_wait),
        ("ROUTES_REFRESH", routes_refresh),
        // For `surehook why`, whose times are those of a wall clock.
        (SPEED, &options.speed.to_string()),
        ("ALLOW_PRIVATE_DESTINATIONS", "true"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

fn specs(options: &StackOptions, environment: &[(String, String)]) -> Vec<FunctionSpec> {
    let Some(program) = &options.program else {
        return Vec::new();
    };
    let spec = |name: &str| FunctionSpec {
        name: name.to_owned(),
        program: program.clone(),
        arguments: vec!["function".to_owned(), name.to_owned()],
        environment: environment.to_vec(),
        time_limit: options.time_limit,
        concurrency: options.concurrency,
    };
    options.functions.iter().copied().map(spec).collect()
}
