//! What is known of a configuration, whoever told it.

use std::{collections::BTreeMap, time::Duration};

use surehook::{
    Millis,
    config::{ConfigError, QStashVariables, Reader, Variables},
    qstash::{LogEntry, Region, client::KeyPair, topic::KnownTopic},
    routes::Routes,
    store::inspect::{Inspected, Recent},
    web::{EndpointUrl, is_this_machine},
};
use surehook_dlq_processor::reply::Permissions;
use url::Url;

use crate::alarms::calls::{Alarm, Subscription};

/// The functions, as the template names them behind the stack's name.
pub(crate) use surehook_local::stack::FUNCTIONS;

pub(crate) use super::unknown::{Learned, Unknown};

/// Everything.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The clock of this machine when QStash was asked for its own.
    pub(crate) now: Millis,
    pub(crate) qstash_clock: Learned<Option<Millis>>,
    /// All four, in the order of [`FUNCTIONS`].
    pub(crate) functions: Vec<Function>,
    pub(crate) keys: Learned<KeyPair>,
    pub(crate) topics: Learned<Vec<Topic>>,
    pub(crate) table: Learned<Option<Inspected>>,
    pub(crate) routes: Learned<Routes>,
    /// What became of events since the routes were applied; `None` without routes.
    pub(crate) usage: Option<Learned<Usage>>,
    pub(crate) waiting: Learned<Waiting>,
    /// The stack's alarms; `None` before a deployment, and on the development stack.
    pub(crate) alarms: Option<Learned<Alarms>>,
    /// Executions at once; `None` before a deployment.
    pub(crate) concurrency: Option<Learned<Concurrency>>,
    /// Whether the DLQ processor's role grants its transactions; before a deployment, whether the shell's credentials do.
    pub(crate) permissions: Learned<Permissions>,
    /// The regions of QStash that are configured besides the one to publish to.
    pub(crate) other_regions: Vec<OtherRegion>,
    /// Calls of functions' URLs; none where they were not asked for.
    pub(crate) probes: Vec<Probe>,
    /// The signed event, or why it did not come through. `None` if it was not asked for.
    pub(crate) canary: Option<Result<Canary, String>>,
}

/// A region of QStash that is not published to.
#[derive(Debug)]
pub(crate) struct OtherRegion {
    pub(crate) region: Region,
    pub(crate) keys: Learned<KeyPair>,
    pub(crate) leftover: Learned<Leftover>,
}

/// What a region still has of this stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leftover {
    pub(crate) messages: usize,
    /// In its dead-letter queue.
    pub(crate) entries: usize,
    /// Whether all of its log and queue was read.
    pub(crate) is_whole: bool,
}

/// One function's settings.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) variables: Variables,
    /// What Lambda says of it; `None` before it is deployed.
    pub(crate) deployed: Option<Learned<Deployed>>,
}

/// A function as Lambda has it.
#[derive(Debug, Clone)]
pub(crate) struct Deployed {
    pub(crate) timeout: Duration,
    /// Its URL, and whether everybody may call it, which QStash must.
    pub(crate) url: Learned<Option<(EndpointUrl, bool)>>,
    /// Variables whose value is a secret itself.
    pub(crate) bare_secrets: Vec<&'static str>,
}

/// A topic, and the last message of it that QStash's log has: QStash need not show a topic's default headers, but what they made
/// of a message it does.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) known: KnownTopic,
    pub(crate) last: Option<LogEntry>,
}

/// Pages of the table that are read at most to see which routes take events, of 1 MB each. They cost 1,024 read units.
pub(crate) const MOST_PAGES: usize = 8;

/// Events since the routes were applied.
#[derive(Debug)]
pub(crate) struct Usage {
    /// All events that came since then met the routes that stand, and their records still live.
    pub(crate) since: Millis,
    /// Records that were written since then.
    pub(crate) recent: Recent,
}

/// What waits for somebody.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waiting {
    pub(crate) stranded: usize,
    pub(crate) letters: u64,
}

/// Executions of functions at once, in the account and region of the stack.
#[derive(Debug, Clone)]
pub(crate) struct Concurrency {
    /// The limit of all functions together.
    pub(crate) limit: i64,
    /// The part that functions without a reservation share.
    pub(crate) unreserved: i64,
    /// The reservation of each function that has one.
    pub(crate) reserved: Vec<(&'static str, i64)>,
}

/// The alarms of a stack.
#[derive(Debug)]
pub(crate) struct Alarms {
    pub(crate) alarms: Vec<Alarm>,
    /// The subscriptions to each topic that an alarm is sent to; `None` for a topic that does not exist.
    pub(crate) topics: BTreeMap<String, Learned<Option<Vec<Subscription>>>>,
}

/// A signed call of a function's URL.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) function: &'static str,
    pub(crate) url: String,
    pub(crate) answer: Result<Answer, String>,
}

/// What a URL answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Our own word; empty where somebody else answered.
    pub(crate) word: String,
}

/// How the canary came through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canary {
    /// Until QStash had taken it.
    pub(crate) published: Duration,
    /// From then until a worker claimed it.
    pub(crate) delivered: Duration,
    /// From then until it was done.
    pub(crate) handled: Duration,
}

/// Whether two URLs are of one function: a query, and a slash behind a path, make no difference.
pub(crate) fn is_same_function(one: &EndpointUrl, other: &EndpointUrl) -> bool {
    one.below("/", "") == other.below("/", "")
}

impl Facts {
    pub(crate) fn function(&self, name: &str) -> &Function {
        let found = self.functions.iter().find(|function| function.name == name);
        found.unwrap_or_else(|| unreachable!("all four functions are gathered"))
    }

    /// Where topics deliver, as the failure path knows it.
    pub(crate) fn consumer_urls(&self) -> Vec<EndpointUrl> {
        self.function("dlq-processor").read(|reader| reader.consumer_urls(true))
    }

    /// Who hears of failures.
    pub(crate) fn requeuer_urls(&self) -> Vec<EndpointUrl> {
        self.function("dlq-processor").read(|reader| reader.requeuer_urls(true))
    }

    /// Whether this is the development stack, whose keys are published and whose table is not Amazon's.
    pub(crate) fn is_local(&self) -> bool {
        let url = self.consumer_urls().first().and_then(|url| Url::parse(url.origin()).ok());
        url.is_some_and(|url| is_this_machine(&url))
    }
}

impl Function {
    /// Reads a setting. What is wrong with it is told by the rule of settings, and not here again.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        read(&mut Reader::new(&self.variables))
    }

    /// The variables of each account of QStash that counts, the one to publish to first.
    pub(crate) fn accounts(&self) -> Vec<&'static QStashVariables> {
        self.read(|reader| reader.qstash_variables()).unwrap_or_default()
    }

    /// The variable of the key that signs now in the region to publish to.
    pub(crate) fn current_key(&self) -> &'static str {
        self.accounts().first().map_or(QStashVariables::of(None).keys[0], |own| own.keys[0])
    }

    /// A variable's text; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        self.variables.get(name).ok().flatten().unwrap_or_default().trim().to_owned()
    }

    /// Why a variable's secret can't be had here; the function itself may well have it.
    pub(crate) fn unread(&self, name: &str) -> Option<String> {
        self.variables.get(name).err()
    }

    /// Reads its settings as the function itself does when it starts.
    pub(crate) fn load(&self) -> Result<(), ConfigError> {
        let variables = &self.variables;
        match self.name {
            "consumer" => {
                surehook_consumer::config::Config::load(variables).and_then(|config| config.signing_secrets().map(drop))
            }
            "requeuer" => surehook_requeuer::config::Config::load(variables).map(drop),
            "producer" => surehook_producer::config::Config::load(variables).map(drop),
            _ => surehook_dlq_processor::config::Config::load(variables).map(drop),
        }
    }

    /// Returns whether its settings were read and are complete. Nothing can be said to be right about others.
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self.deployed, Some(Err(_))) && self.load().is_ok()
    }

    /// Its function URL, as far as Lambda says so.
    pub(crate) fn url(&self) -> Option<&EndpointUrl> {
        let (url, _) = self.lambda()?.url.as_ref().ok()?.as_ref()?;
        Some(url)
    }

    pub(crate) fn lambda(&self) -> Option<&Deployed> {
        self.deployed.as_ref().and_then(|deployed| deployed.as_ref().ok())
    }
}
