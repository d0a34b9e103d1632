//! A QStash server for development, written from QStash's documentation: `surehook qstash`.
//!
//! | module | what it is for |
//! |---|---|
//! | [`account`] | one user's QStash: all rules, without input or output |
//! | [`server`] | the accounts, the clock and the timer that moves them on |
//! | [`deliver`] | HTTP to destinations, signed |
//! | [`api`] | HTTP from clients: `/v1`, `/v2`, and `/_surehook` for tests and the page |
//! | [`options`], [`destination`], [`expression`], [`cron`] | what a call may say |
//! | [`burst`] | the limit of management calls |
//! | [`retry`] | what an answer means |
//! | [`clock`], [`chance`], [`chaos`] | time, chance and unkindness, all of which can be played again |
//! | [`plan`], [`users`], [`choices`] | data: the plans' limits, the published users, and what was chosen where the documentation is silent |

mod account;
mod api;
mod burst;
mod chance;
mod chaos;
mod choices;
mod clock;
mod cron;
mod deliver;
mod destination;
mod expression;
mod message;
mod options;
mod page;
mod plan;
mod retry;
mod server;
mod users;
mod visitors;

use std::{net::SocketAddr, sync::Arc};

use surehook::{Millis, qstash::Region};
use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle};

pub use api::is_too_large;
pub use chaos::{Fault, Rule, RuleError};
pub use choices::{ChoiceError, Choices};
pub use clock::{Callers, FASTEST, LATEST_START, Pace, SLOWEST};
pub use message::{Kind, News, State};
pub use plan::Plan;
pub use users::{USERS, User};
pub use visitors::{Rejected, Visitors};

/// Returns the waits before each of `retries` retries by an expression of `Upstash-Retry-Delay`.
///
/// # Errors
///
/// If the expression can't be read; the text says why.
pub fn retry_waits(expression: &str, retries: u32) -> Result<Vec<std::time::Duration>, String> {
    let expression = expression::Expression::parse(expression).map_err(|error| error.to_string())?;
    Ok((0..retries).map(|retried| expression.wait(retried)).collect())
}

use server::Server;

/// The token of the first user.
pub const TOKEN: &str = USERS[0].token;

/// How to run a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How time passes.
    pub pace: Pace,
    /// Whose clock callers and receivers live by.
    pub callers: Callers,
    /// What the clock shows at first, in milliseconds since 1970; the real time unless given.
    pub origin: Option<Millis>,
    /// The plan that every user has.
    pub plan: Plan,
    /// What to do where the documentation is silent.
    pub choices: Choices,
    /// Ids and unkindness follow from it.
    pub seed: u64,
    /// What goes wrong.
    pub chaos: Vec<Rule>,
    /// Entries that the log remembers.
    pub log_entries: usize,
    /// Management calls that each user has in a second, by the callers' clock; `None` is no limit.
    pub burst_limit: Option<u32>,
    /// Which requests the server answers. It has a page, and is open if it listens on more than this machine's loopback address.
    pub visitors: Visitors,
    /// The region that deliveries name; Europe unless given.
    pub region: Option<Region>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pace: Pace::Times(1.0),
            callers: Callers::Real,
            origin: None,
            plan: Plan::PAYG,
            choices: Choices::default(),
            seed: 0,
            chaos: Vec::new(),
            log_entries: 10_000,
            burst_limit: None,
            visitors: Visitors::default(),
            region: None,
        }
    }
}

/// A running QStash. It ends when this is dropped, with whatever it held.
#[derive(Debug)]
pub struct QStash {
    /// Where it listens: `QSTASH_URL`.
    pub url: String,
    server: Arc<Server>,
    tasks: [JoinHandle<()>; 2],
}

impl QStash {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// If the system gives no HTTP client.
    pub fn start(listener: TcpListener, settings: Settings) -> Result<Self, reqwest::Error> {
        let address = listener.local_addr().ok();
        let url = address.map(|address| format!("http://{address}")).unwrap_or_default();
        let visitors = Visitors {
            is_open: address.is_some_and(|address| !address.ip().is_loopback()),
            has_page: true,
            ..settings.visitors.clone()
        };
        let server = Server::new(settings)?;
        let app = visitors.guard(api::router(Arc::clone(&server))).into_make_service_with_connect_info::<SocketAddr>();
        let serve = tokio::spawn(async move {
            let _ended = axum::serve(listener, app).await;
        });
        let timer = tokio::spawn(Arc::clone(&server).keep_time());
        Ok(Self { url, server, tasks: [serve, timer] })
    }

    /// What happens from now on, to all users' messages.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.server.news.subscribe()
    }

    /// The first user's signing keys, current and next.
    pub fn keys(&self) -> (String, String) {
        self.server.read(0, |account, _| (account.keys.current.clone(), account.keys.next.clone()))
    }

    /// Makes things go wrong from now on, or right again.
    pub fn set_chaos(&self, rules: Vec<Rule>) {
        self.server.chaos().replace(rules);
    }

    /// Makes these faults strike everything from now on, and no others.
    pub fn set_faults(&self, faults: &[Fault]) {
        self.set_chaos(faults.iter().copied().map(Rule::of).collect());
    }

    /// Entries in the first user's dead-letter queue.
    pub fn dlq_len(&self) -> usize {
        self.server.read(0, |account, _| account.dlq.len())
    }

    /// Messages that wait or are being delivered, and aborted calls that are to arrive.
    pub fn pending(&self) -> usize {
        *self.server.busy.borrow()
    }

    /// Waits until no message waits or is being delivered, and no aborted call is to arrive.
    pub async fn idle(&self) {
        let mut busy = self.server.busy.subscribe();
        let _closed = busy.wait_for(|busy| *busy == 0).await;
    }

    /// Steps a clock that stands to that time, everything on the way in its order; gives the time. `None` where time passes by itself.
    pub async fn step_to(&self, to: Millis) -> Option<Millis> {
        self.server.step(|_| Some(to)).await
    }
}

impl Drop for QStash {
    fn drop(&mut self) {
        self.server.close();
        for task in &self.tasks {
            task.abort();
        }
    }
}
