//! What the tests of the account share.

use std::sync::Arc;

use bytes::Bytes;
use surehook::digest::Sha256;

use super::*;
use crate::{
    chaos::Chaos,
    choices::Choices,
    destination::Destination,
    message::{Answer, Origin},
    options::{Given, Options},
    users::USERS,
};

/// A message that was never accepted.
pub(crate) fn message(url: &str) -> Message {
    let choices = Choices::default();
    let options = Options::read(&Given::default(), Rules { plan: &Plan::PAYG, choices: &choices }).unwrap();
    Message {
        number: 1,
        key: 1,
        id: "msg_1".to_owned(),
        url: url.to_owned(),
        origin: Arc::new(Origin::default()),
        endpoint: None,
        options: Arc::new(options),
        body: Bytes::new(),
        digest: Sha256::of(b""),
        created_at: 0,
        not_before: 0,
    }
}

/// An account, its clock, and a log of what it sends.
pub(super) struct Bench {
    pub(super) account: Account,
    pub(super) chaos: Chaos,
    pub(super) now: Millis,
}

/// Some Thursday, in milliseconds since 1970: a round number is easy to read in a failure.
pub(super) const START: Millis = 1_780_000_000_000;

impl Bench {
    pub(super) fn on(plan: Plan) -> Self {
        let common = Common {
            plan,
            choices: Arc::new(Choices::default()),
            seed: 7,
            log_entries: 10_000,
            news: broadcast::channel(16).0,
        };
        Self { account: Account::new(0, &USERS[0], common), chaos: Chaos::new(7, Vec::new()), now: START }
    }

    pub(super) fn new() -> Self {
        Self::on(Plan::PAYG)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment::at(self.now)
    }

    pub(super) fn order(to: &str, headers: &[(&str, &str)], queue: Option<&str>) -> Order {
        Order {
            destination: Destination::read(to, "", true).unwrap(),
            given: Given::of_pairs(headers.iter().copied()),
            body: Bytes::from_static(b"body"),
            origin: Origin { queue: queue.map(str::to_owned), ..Origin::default() },
        }
    }

    /// Publishes, and gives the id of the first message.
    pub(super) fn publish(&mut self, to: &str, headers: &[(&str, &str)]) -> String {
        self.order_id(Self::order(to, headers, None))
    }

    pub(super) fn enqueue(&mut self, queue: &str, to: &str, headers: &[(&str, &str)]) -> String {
        self.order_id(Self::order(to, headers, Some(queue)))
    }

    fn order_id(&mut self, order: Order) -> String {
        let moment = self.moment();
        self.account.publish(order, moment).unwrap().messages.remove(0).0
    }

    /// The attempts that begin now.
    pub(super) fn starts(&mut self) -> Vec<Start> {
        let moment = self.moment();
        self.account.forget(moment);
        let mut starts = self.account.advance(moment);
        starts.extend(self.account.starts(moment, &mut self.chaos));
        starts
    }

    pub(super) fn answer(&mut self, start: &Start, status: u16) {
        let moment = self.moment();
        let answer = Answer { status, ..Answer::default() };
        self.account.finish(start, answer, moment, &mut self.chaos);
    }

    /// Makes every attempt until nothing is to come, each answered by `judge`; what was sent when, in milliseconds from the start.
    pub(super) fn run(&mut self, judge: impl Fn(&Start) -> u16) -> Vec<(Millis, String, u32)> {
        let mut sent = Vec::new();
        loop {
            let starts = self.starts();
            for start in &starts {
                sent.push((self.now - START, start.message.url.clone(), start.retried));
                if !start.is_late {
                    let status = judge(start);
                    self.answer(start, status);
                }
            }
            if starts.is_empty() {
                match self.account.next_due() {
                    Some(due) => self.now = due.max(self.now),
                    None => return sent,
                }
            }
        }
    }

    pub(super) fn states(&self, id: &str) -> Vec<&'static str> {
        self.account.log.of(id).map(|entry| entry.state.word()).collect()
    }
}
