//! Two regions of QStash: what comes from one goes back there, whichever is published to.
//!
//! | module | what must hold |
//! |---|---|
//! | [`migration`] | three days after a migration nothing is lost and nothing is sent twice |
//! | [`letters`] | dead letters are replayed in the region that has them |
//! | [`doctor`] | the doctor sees what an old region still has |
//! | [`template`] | the template names the secrets of the regions that its parameters name |

mod doctor;
mod letters;
mod migration;
mod template;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use surehook::{
    Millis,
    config::QStashVariables,
    outside,
    qstash::{Client, Region, client::Destination},
    secret::Secret,
};
use surehook_local::{
    Stack, StackOptions,
    lambda::{FunctionSpec, Host},
    qstash::{Pace, Plan, QStash, Settings, User, Visitors},
    receiver::Reaction,
    stack::FUNCTIONS,
};
use tokio::{net::TcpListener, time::sleep};
use url::Url;

use crate::support::{operate, options, stack_with};

const HOUR: Millis = 3_600_000;
/// Hours between two sweeps.
const SWEEP: u32 = 6;

/// One region: a QStash server whose clock stands until it is stepped.
struct Side {
    region: Region,
    qstash: QStash,
    client: Client,
}

impl Side {
    async fn start(region: Region, origin: Millis) -> Self {
        let settings = Settings {
            pace: Pace::Stepped,
            origin: Some(origin),
            plan: Plan { dlq_retention: None, log_retention: None, ..Plan::PAYG },
            seed: region as u64,
            region: Some(region),
            ..Settings::default()
        };
        let qstash = QStash::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), settings).unwrap();
        let token = Secret::new(User::of(Some(region)).token).unwrap();
        let client = Client::new(Url::parse(&qstash.url).unwrap(), token, Duration::from_secs(10)).unwrap();
        Self { region, qstash, client }
    }

    /// The variables of this region, as the SDKs name them.
    fn variables(&self) -> Vec<(String, String)> {
        let (names, user) = (QStashVariables::of(Some(self.region)), User::of(Some(self.region)));
        let values = [&self.qstash.url, user.token, user.current_key, user.next_key];
        let names = [names.url, names.token, names.keys[0], names.keys[1]];
        names.into_iter().zip(values).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Makes the topics of the stack here, as *Migrate* does.
    async fn connect(&self, stack: &Stack) {
        for (topic, source) in [("t", "strapi"), ("orders", "payload")] {
            let endpoint = stack.function_url(&format!("consumer/{source}"));
            self.client.add_endpoints(topic, &[endpoint]).await.unwrap();
            let headers = json!({"Upstash-Retries": "3", "Upstash-Failure-Callback": stack.function_url("requeuer")});
            self.client.set_default_headers(topic, &headers).await.unwrap();
        }
    }

    /// Publishes as Strapi does.
    async fn publish(&self, body: &str) {
        self.publish_with(body, &[]).await;
    }

    async fn publish_with(&self, body: &str, headers: &[(&str, &str)]) {
        let own = [("content-type", "application/json"), ("upstash-forward-x-strapi-event", "entry.create")];
        let headers: Vec<(String, String)> =
            own.iter().chain(headers).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.client.publish(&Destination::Topic("t".into()), &headers, body.to_owned().into()).await.unwrap();
    }

    /// Entries of its dead-letter queue.
    async fn dead(&self) -> usize {
        self.client.dlq_page(None, 100, usize::MAX).await.unwrap().messages.len()
    }

    /// The id of the only entry of its dead-letter queue.
    async fn only_entry(&self) -> String {
        let page = self.client.dlq_page(None, 100, usize::MAX).await.unwrap();
        let ids: Vec<String> = page.entries().map(|entry| entry.unwrap().dlq_id).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids[0].clone()
    }

    /// How many of its messages had this body.
    async fn messages_of(&self, body: &str) -> usize {
        let (mut messages, mut cursor) = (std::collections::BTreeSet::new(), None);
        loop {
            let (entries, next) = self.client.log_page(cursor.as_deref()).await.unwrap();
            let of_body = entries.into_iter().filter(|entry| entry.body().as_deref() == Some(body.as_bytes()));
            messages.extend(of_body.map(|entry| entry.message_id));
            cursor = next;
            if cursor.is_none() {
                return messages.len();
            }
        }
    }
}

/// A stack beside two regions, in time that the test steps.
struct World {
    stack: Stack,
    eu: Side,
    us: Side,
    now: Millis,
    is_down: Arc<AtomicBool>,
}

impl World {
    /// Starts a stack that publishes to Europe and knows the United States as well. Its receiver is down.
    async fn start() -> Self {
        let now = outside::now();
        let (eu, us) = (Side::start(Region::EuCentral1, now).await, Side::start(Region::UsEast1, now).await);
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        // Eight rounds outlast the three days.
        let environment = [("BREAKER_WAIT", "off"), ("RETRY_ROUNDS", "8")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        // The functions are those of `restart`.
        let stack = stack_with(StackOptions { program: None, functions_port: port, environment, ..options() }).await;
        for side in [&eu, &us] {
            side.connect(&stack).await;
        }
        let mut world = Self { stack, eu, us, now, is_down: Arc::new(AtomicBool::new(true)) };
        world.restart(Region::EuCentral1, &[Region::UsEast1]).await;
        let is_down = Arc::clone(&world.is_down);
        world.stack.receiver.react(move |_| Reaction::status(if is_down.load(Ordering::SeqCst) { 503 } else { 200 }));
        world
    }

    fn side(&self, region: Region) -> &Side {
        if region == Region::EuCentral1 { &self.eu } else { &self.us }
    }

    /// Deploys the functions with these regions, the one to publish to first.
    async fn restart(&mut self, own: Region, others: &[Region]) {
        let port = self.stack.functions_url.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
        self.stack.host = None;
        let listener = loop {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => break listener,
                Err(_still_closing) => sleep(Duration::from_millis(10)).await,
            }
        };
        self.stack.environment.retain(|(name, _)| !name.contains("_1_QSTASH_"));
        self.stack.environment.push(("QSTASH_REGION".to_owned(), own.as_str().to_owned()));
        for region in std::iter::once(&own).chain(others) {
            let variables = self.side(*region).variables();
            self.stack.environment.extend(variables);
        }
        let host = Host::start(listener, Visitors::default(), FUNCTIONS.map(|name| self.spec(name)).into());
        host.warm().await.unwrap();
        self.stack.host = Some(host);
    }

    fn spec(&self, name: &str) -> FunctionSpec {
        FunctionSpec {
            name: name.to_owned(),
            program: options().program.unwrap(),
            arguments: vec!["function".to_owned(), name.to_owned()],
            environment: self.stack.environment.clone(),
            time_limit: Duration::from_secs(30),
            concurrency: 4,
        }
    }

    /// Lets hours pass in both regions, with the sweeps that are due.
    async fn pass(&mut self, hours: u32) {
        for hour in 1..=hours {
            self.now += HOUR;
            for side in [&self.eu, &self.us] {
                side.qstash.step_to(self.now).await.unwrap();
            }
            if hour.is_multiple_of(SWEEP) {
                self.sweep().await;
            }
        }
    }

    async fn sweep(&self) -> Value {
        let swept = operate(&self.stack, json!({"command": "sweep"})).await;
        assert_eq!(swept["swept"]["failed"], 0, "{swept}");
        swept
    }

    async fn replay_all(&self) -> Value {
        operate(&self.stack, json!({"command": "replay", "selection": {"all": true}})).await
    }

    fn receiver_is_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }
}
