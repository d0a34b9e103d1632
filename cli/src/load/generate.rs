//! Publishes a load, and answers for its destination.
//!
//! A steady load is an *open loop*: each event has its moment, whether or not those before it were answered, and its latency counts from that
//! moment. Where publishing falls behind, the wait is part of the latency and is not left out (no coordinated omission).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use surehook::{
    digest::Sha256,
    qstash::{Client, publish::PublishOptions},
};
use surehook_local::receiver::{Reaction, Received};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    account::{Account, micros},
    plan::{Plan, Rate},
};
use crate::{Failure, text::with_causes};

/// Calls to QStash at the same time. More only wait at QStash instead of here, each with a connection.
const MOST_CALLS: usize = 128;
/// What publishing may be behind at the end of a load. What is due and not published by then is left out, and said.
const MOST_BEHIND: Duration = Duration::from_secs(1);

/// A load under way.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) plan: Plan,
    begun: Instant,
    topic: &'static str,
    client: Client,
    account: Mutex<Account>,
    calls: Arc<Semaphore>,
    /// Room for events that are on their way, where the load goes as fast as they arrive.
    room: Semaphore,
}

impl Load {
    /// A load that begins now.
    pub(super) fn new(plan: Plan, client: Client, topic: &'static str, in_flight: usize) -> Result<Arc<Self>, Failure> {
        let account = Mutex::new(Account::new(plan.expected().unwrap_or_default())?);
        let (calls, room) = (Arc::new(Semaphore::new(MOST_CALLS)), Semaphore::new(in_flight));
        Ok(Arc::new(Self { plan, begun: Instant::now(), topic, client, account, calls, room }))
    }

    /// How long it has been going on.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A panic while it was locked would be the tool's own, and is told by whoever panicked.
    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the destination answers.
    pub(super) fn react(&self, received: &Received) -> Reaction {
        let answer = self.account().receive(&received.body, &received.body_sha256, self.elapsed());
        if answer.makes_room {
            self.room.add_permits(1);
        }
        Reaction::status(answer.status)
    }

    /// Publishes everything, and returns when QStash has answered every call.
    pub(super) async fn generate(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        for number in 0.. {
            let Some((due, call)) = self.turn(number).await else { break };
            self.begin(number, due, call, &mut tasks);
            // Those that have ended need not be kept until the load is over.
            while let Some(ended) = tasks.try_join_next() {
                self.note_end(ended);
            }
        }
        self.account().close(self.elapsed().max(self.plan.duration));
        while let Some(ended) = tasks.join_next().await {
            self.note_end(ended);
        }
    }

    /// A task that panicked has told nobody whether QStash has its message, so that the load proves nothing.
    fn note_end(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            self.account().fail(with_causes(&error));
        }
    }

    /// Waits until an event may be published; `None` where the load is over. Tells when it was due.
    async fn turn(&self, number: u64) -> Option<(Duration, OwnedSemaphorePermit)> {
        let end = self.begun + self.plan.duration;
        let call = Arc::clone(&self.calls).acquire_owned();
        match self.plan.rate {
            Rate::Max => {
                let room = timeout_at(end, self.room.acquire()).await.ok()?.ok()?;
                // It is given back by the destination.
                room.forget();
                let call = call.await.ok()?;
                (Instant::now() < end).then(|| (self.elapsed(), call))
            }
            Rate::Steady(_) => {
                let due = self.plan.at(number)?;
                sleep_until(self.begun + due).await;
                let latest = end + MOST_BEHIND;
                let call = timeout_at(latest, call).await.ok()?.ok()?;
                // What is there at once is given also when the time is over.
                (Instant::now() <= latest).then_some((due, call))
            }
        }
    }

    fn begin(self: &Arc<Self>, number: u64, due: Duration, call: OwnedSemaphorePermit, tasks: &mut JoinSet<()>) {
        let body = self.plan.body(number);
        let (digest, failures) = (Sha256::of(&body), self.plan.failures(number));
        {
            let mut account = self.account();
            account.publish(digest, due, failures);
            account.lateness.saturating_record(micros(self.elapsed().saturating_sub(due)).max(1));
        }
        let load = Arc::clone(self);
        tasks.spawn(async move {
            load.publish(number, body, call).await;
        });
        if let Some(after) = self.plan.copy_after(number) {
            tasks.spawn(Arc::clone(self).copy(number, self.begun + due + after));
        }
    }

    async fn copy(self: Arc<Self>, number: u64, due: Instant) {
        sleep_until(due).await;
        if let Ok(call) = Arc::clone(&self.calls).acquire_owned().await {
            self.publish(number, self.plan.body(number), call).await;
        }
    }

    async fn publish(&self, number: u64, body: bytes::Bytes, _call: OwnedSemaphorePermit) {
        match self.client.queue_webhook(self.topic, body, &PublishOptions::json()).await {
            Ok(_published) => self.account().take(number),
            Err(error) => {
                let makes_room = self.account().refuse(number, with_causes(&error));
                self.room.add_permits(usize::from(makes_room));
            }
        }
    }
}
