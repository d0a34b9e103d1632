//! The proof: what the receiver got and what the ledger says, compared with what was published.

use std::collections::HashMap;

use surehook::{
    identity::{Delivered, Endpoint, Identity, identify},
    ledger::Status,
    secret::Secret,
    signing::SigningSecrets,
    store::shelves::{Order, Walk},
    web::EndpointUrl,
};
use surehook_local::{Stack, receiver::Received, stack::SIGNING_SECRET, strapi::Capture};

use super::{
    scene::{OTHER, SHOP},
    watch::{History, Story},
};
use crate::{
    Failure,
    text::{check, counted},
};

/// One event at its two endpoints.
#[derive(Debug)]
struct Row {
    label: String,
    bytes: usize,
    status: Option<Status>,
    shop: Side,
    other: Side,
}

/// One endpoint's side of an event.
#[derive(Debug)]
struct Side {
    accepted: usize,
    /// Whether something came after it had been accepted.
    again: bool,
    story: Story,
}

/// Every event.
#[derive(Debug)]
pub(super) struct Account {
    rows: Vec<Row>,
    unknown: usize,
    dlq: usize,
    letters: usize,
    /// Requests to the shop, and those whose signature its secret confirms.
    to_shop: usize,
    signed: usize,
}

impl Account {
    pub(super) async fn take(stack: &Stack, captures: &[Capture], history: &History) -> Result<Self, Failure> {
        let mut answers: HashMap<(String, String), Vec<u16>> = HashMap::new();
        let to_shop: Vec<Received> =
            stack.receiver.received().into_iter().filter(|received| received.path == SHOP).collect();
        let secrets = SigningSecrets::new(&[Secret::new(SIGNING_SECRET).ok_or("the development secret is empty")?])?;
        let routes = stack.store().routes(true).await?;
        let names = routes.by_name("shop").map(|shop| shop.secrets.as_slice()).unwrap_or_default();
        let signed = to_shop.iter().filter(|received| is_signed(received, &secrets, names)).count();
        for received in stack.receiver.received() {
            answers.entry((received.body_sha256, received.path)).or_default().push(received.status);
        }
        let mut rows = Vec::new();
        for (index, capture) in captures.iter().enumerate() {
            let digest = capture.digest();
            let side = |path: &'static str, answers: Option<Vec<u16>>| {
                Side::new(
                    &answers.unwrap_or_default(),
                    history.get(&(digest.clone(), path)).cloned().unwrap_or_default(),
                )
            };
            let shop = answers.remove(&(digest.clone(), SHOP.to_owned()));
            let other = answers.remove(&(digest.clone(), OTHER.to_owned()));
            rows.push(Row {
                label: format!("{} #{}", capture.event(), index + 1),
                bytes: capture.body.len(),
                status: status(stack, capture).await?,
                shop: side(SHOP, shop),
                other: side(OTHER, other),
            });
        }
        // Whatever is left came with a body that nobody published.
        Ok(Self {
            rows,
            unknown: answers.len(),
            dlq: stack.qstash.dlq_len(),
            letters: letters(stack).await?,
            to_shop: to_shop.len(),
            signed,
        })
    }

    pub(super) fn print(&self) {
        println!("  {:<22} {:>8}   {:<34} {:<34}", "event", "bytes", "shop (through our consumer)", "the other API");
        for row in &self.rows {
            let (shop, other) = (row.shop.text(row.status == Some(Status::Dead)), row.other.text(false));
            println!("  {:<22} {:>8}   {shop:<34} {other:<34}", row.label, row.bytes);
        }
        let delivered = self.rows.iter().filter(|row| row.shop.accepted == 1).count();
        let buried = self.rows.iter().filter(|row| row.status == Some(Status::Dead)).count();
        println!("\n  {} events: {delivered} delivered to the shop, {buried} buried and kept.", self.rows.len());
    }

    /// Whether nothing is lost and nothing that had succeeded was sent again, said point by point.
    pub(super) fn verdict(&self, before: &Self) -> bool {
        let all = self.rows.len();
        let count = |what: fn(&Row) -> bool| self.rows.iter().filter(|row| what(row)).count();
        let shop = count(|row| row.shop.accepted == 1);
        let other = count(|row| row.other.accepted == 1);
        let again = count(|row| row.shop.again || row.other.again);
        let done = count(|row| row.status == Some(Status::Done));
        let buried = before.rows.iter().filter(|row| row.status == Some(Status::Dead)).count();
        let left = self.dlq + self.letters;
        println!("\nVerdict:");
        [
            check(shop == all, &format!("{shop} of {all} events arrived at the shop, bytes unchanged")),
            check(other == all, &format!("{other} of {all} events arrived at the other API, bytes unchanged")),
            check(
                self.signed == self.to_shop,
                &format!("{} of {} requests to the shop are signed with its own secret", self.signed, self.to_shop),
            ),
            check(again == 0, &format!("{again} events were sent again after they had succeeded")),
            check(done == all, &format!("{done} of {all} events are done in the ledger")),
            check(buried > 0, &format!("{buried} was buried, and arrived when it was replayed")),
            check(left == 0, &format!("{left} are left in QStash's dead-letter queue or as dead letters")),
            check(self.unknown == 0, &format!("{} requests had a body that nobody published", self.unknown)),
        ]
        .into_iter()
        .all(|held| held)
    }
}

impl Side {
    fn new(answers: &[u16], story: Story) -> Self {
        let first = answers.iter().position(|status| *status == 200);
        Self {
            accepted: answers.iter().filter(|status| **status == 200).count(),
            again: first.is_some_and(|first| first + 1 < answers.len()),
            story,
        }
    }

    fn text(&self, dead: bool) -> String {
        let attempts = counted(usize::try_from(self.story.attempts).unwrap_or(usize::MAX), "attempt");
        match (dead, self.accepted, self.story.again) {
            (true, ..) => format!("buried after {attempts}"),
            (false, 0, _) => format!("NOT DELIVERED after {attempts}"),
            (false, _, 0) => format!("delivered, {attempts}"),
            (false, _, again) => format!("requeued {again}×, delivered, {attempts}"),
        }
    }
}

/// Whether the signature is the one that the shop computes of what it got.
fn is_signed(received: &Received, secrets: &SigningSecrets, names: &[String]) -> bool {
    let header = |name: &str| received.header(name).unwrap_or_default();
    let timestamp = header("webhook-timestamp").parse().unwrap_or_default();
    header("webhook-signature") == secrets.sign(names, header("webhook-id"), timestamp, &received.body)
}

async fn status(stack: &Stack, capture: &Capture) -> Result<Option<Status>, Failure> {
    let endpoint = strapi_endpoint(stack)?;
    let event = identify(&endpoint, &Identity::Strapi, Delivered::bare(capture.body.as_bytes(), ""));
    Ok(stack.store().record(&event.key).await?.map(|record| record.status))
}

/// Where Strapi's events come in.
pub(crate) fn strapi_endpoint(stack: &Stack) -> Result<Endpoint, Failure> {
    let url = EndpointUrl::parse(&stack.function_url("consumer/strapi"))?;
    Ok(Endpoint::of(&url, &[EndpointUrl::parse(&stack.function_url("consumer"))?]))
}

async fn letters(stack: &Stack) -> Result<usize, Failure> {
    let (store, mut count) = (stack.store(), 0);
    let mut shelves = store.shelves(Walk::all(Order::OldestFirst)).await?;
    while shelves.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}
