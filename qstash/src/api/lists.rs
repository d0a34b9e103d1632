//! Messages, the dead-letter queue and the log: what can be listed, filtered and changed in bulk.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Call, Reply,
    filter::{Filter, Seen},
    views::{self, View},
    wrong_method,
};
use crate::{
    account::{Account, DlqId},
    clock::{Clock, Moment},
    message::Dead,
    options::Given,
};

/// Entries of a page of the dead-letter queue, at most and unless the call says otherwise.
const DEAD: usize = 100;
/// Entries of a page of the log unless the call says otherwise (API description), and at most (SDKs).
const LOGGED: (usize, usize) = (100, 1_000);

/// The older form of bulk calls: ids in the body.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ids {
    message_ids: Option<Vec<String>>,
    dlq_ids: Option<Vec<String>>,
}

impl Call<'_> {
    pub(super) fn messages(self, rest: &[&str]) -> Result<Reply, Reply> {
        match (self.method, rest) {
            (_, [""] | ["", "retry"]) => Err(Reply::bad_request("the message id is empty")),
            (&Method::GET, [id]) => {
                let clock = &self.server.clock;
                let found = self.read(|account| account.pending_of(id).map(|one| views::message(&one.message, clock)));
                Reply::one(found, "message")
            }
            (&Method::DELETE, [id]) => match self.change(|account, moment| account.cancel(id, moment)) {
                true => Ok(Reply::ok(json!({ "cancelled": 1 }))),
                false => Err(Reply::not_found("message")),
            },
            (&Method::DELETE, []) => self.cancel_messages(),
            (&Method::POST, [id, "retry"]) => self.retry_now(id),
            _ => Err(wrong_method()),
        }
    }

    /// Delivers a message now that waits for its delay or its next retry. It makes no attempt more than it would have made.
    fn retry_now(self, id: &str) -> Result<Reply, Reply> {
        self.change(|account, moment| {
            let pending = account.pending_of(id).ok_or_else(|| Reply::not_found("message"))?;
            if pending.message.origin.queue.is_some() {
                return Err(Reply::bad_request(
                    "messages of a queue can't be retried now: they go when it is their turn",
                ));
            }
            match account.hurry(id, moment) {
                true => Ok(Reply::nothing()),
                false => Err(Reply::bad_request("the message does not wait for a delay or a retry")),
            }
        })
    }

    /// No filter means everything (documented); an empty list of ids means nothing.
    fn cancel_messages(self) -> Result<Reply, Reply> {
        let filter = self.filter_with_ids()?;
        let clock = &self.server.clock;
        let cancelled = self.change(|account, moment| {
            account.cancel_where(moment, |message| {
                filter.wants(message, Seen { at: clock.shown(message.created_at), ..Seen::default() })
            })
        });
        Ok(Reply::ok(json!({ "cancelled": cancelled })))
    }

    /// Returns the filter of a bulk call. Ids, from the query or the body, override every other filter.
    fn filter_with_ids(&self) -> Result<Filter, Reply> {
        self.filter_of_query_and_body().map(Filter::ids_alone)
    }

    fn filter_of_query_and_body(&self) -> Result<Filter, Reply> {
        let filter = self.filter()?;
        if self.body.is_empty() {
            return Ok(filter);
        }
        let ids: Ids = self.json()?;
        let named = [("messageIds", ids.message_ids), ("dlqIds", ids.dlq_ids)];
        if named.iter().all(|(_, ids)| ids.is_none()) {
            return Err(Reply::bad_request("the body has neither messageIds nor dlqIds"));
        }
        let mut given = named.into_iter().filter_map(|(name, ids)| Some((name, ids?)));
        given.try_fold(filter, |filter, (name, ids)| filter.with_ids(name, ids)).map_err(Reply::bad_request)
    }

    pub(super) fn dlq(self, rest: &[&str]) -> Result<Reply, Reply> {
        match (self.method, rest) {
            (_, [""] | ["retry", ""]) => Err(Reply::bad_request("the dlq id is empty")),
            (&Method::GET, []) => self.dlq_page(),
            (&Method::GET, [id]) => {
                let clock = &self.server.clock;
                let found = self.read(|account| {
                    let (id, dead) = account.dlq.get_key_value(&id.parse().ok()?)?;
                    Some(views::dead(id, dead, clock))
                });
                Reply::one(found, "dlq message")
            }
            (&Method::DELETE, []) => self.delete_dead(),
            (&Method::POST, ["retry"]) => self.retry_dead(),
            (&Method::DELETE, [id]) => {
                let removed = self.change(|account, _| account.dlq.remove(&id.parse().ok()?));
                Ok(Reply::found(removed.is_some(), "dlq message"))
            }
            (&Method::POST, ["retry", id]) => self.retry_one(id),
            _ => Err(wrong_method()),
        }
    }

    fn dlq_page(self) -> Result<Reply, Reply> {
        let filter = self.filter()?;
        let clock = &self.server.clock;
        let (messages, cursor): (Vec<Value>, Option<String>) = self.read(|account| {
            let (ids, cursor) = page(account, &filter, clock)?;
            let shown = |id: &DlqId| account.dlq.get(id).map(|dead| views::dead(id, dead, clock));
            Ok((ids.iter().filter_map(shown).collect(), cursor))
        })?;
        Ok(Reply::ok(View::default().put("messages", messages).some("cursor", cursor).done()))
    }

    fn delete_dead(self) -> Result<Reply, Reply> {
        let filter = self.filter_with_ids()?;
        let clock = &self.server.clock;
        let (deleted, cursor) = self.change(|account, _| {
            let (ids, cursor) = page(account, &filter, clock)?;
            Ok((ids.iter().filter(|id| account.dlq.remove(id).is_some()).count(), cursor))
        })?;
        Ok(Reply::ok(View::default().put("deleted", deleted).some("cursor", cursor).done()))
    }

    fn retry_one(self, id: &str) -> Result<Reply, Reply> {
        let given = self.given_without_body();
        let id: DlqId = id.parse().map_err(|()| Reply::not_found("dlq message"))?;
        let retried = self.change(|account, moment| account.retry_dead(id, &given, moment));
        let published = retried.map_err(|refused| self.refused(&refused))?;
        let published = published.ok_or_else(|| Reply::not_found("dlq message"))?;
        let (message, _) = published.messages.first().cloned().unwrap_or_default();
        Ok(Reply::with(StatusCode::CREATED, json!({ "messageId": message })))
    }

    /// The headers of a retry. The call has no body, so its content type is not the message's.
    fn given_without_body(&self) -> Given {
        let mut headers = self.parts.headers.clone();
        headers.remove("content-type");
        Given::of_call(&headers, self.query)
    }

    /// Several at once: all that the filter finds, or none where a named one is missing.
    fn retry_dead(self) -> Result<Reply, Reply> {
        let (filter, given) = (self.filter_with_ids()?, self.given_without_body());
        let clock = &self.server.clock;
        let (responses, cursor) = self.change(|account, moment| {
            let (ids, cursor) = page(account, &filter, clock)?;
            if filter.ids("dlqIds").is_some_and(|wanted| wanted != ids.len()) {
                return Err(Reply::not_found("dlq message"));
            }
            // All of them or none, also where the messages of the day come to their end.
            account.room_today(ids.len() as u64, moment).map_err(|refused| self.refused(&refused))?;
            Ok((retry_all(account, &ids, &given, moment).map_err(|refused| self.refused(&refused))?, cursor))
        })?;
        // The last page has an empty cursor here (seen).
        Ok(Reply::with(StatusCode::CREATED, json!({ "responses": responses, "cursor": cursor.unwrap_or_default() })))
    }

    /// The log, the newest entry first.
    pub(super) fn logs(self, cancelled: &str) -> Result<Reply, Reply> {
        if self.method != Method::GET {
            return Err(wrong_method());
        }
        let filter = self.filter()?;
        let before = filter.cursor.as_ref().map_or(Ok(u64::MAX), |cursor| cursor.parse());
        let before = before.map_err(|_bad| Reply::bad_request("the cursor is none of ours"))?;
        let (clock, count) = (&self.server.clock, filter.page(LOGGED.0, LOGGED.1));
        let (entries, cursor): (Vec<Value>, _) = self.read(|account| {
            let wanted = |entry: &&crate::account::Entry| {
                entry.sequence < before && filter.wants(&entry.message, seen(entry, clock))
            };
            let (page, last) = cut(account.log.newest_first().filter(wanted), count);
            let shown = page.iter().map(|entry| views::logged(entry, cancelled, clock)).collect();
            (shown, last.map(|entry| entry.sequence.to_string()))
        });
        let mut reply = View::default();
        reply.put("logs", entries.clone()).put("events", entries).some("cursor", cursor);
        Ok(Reply::ok(reply.done()))
    }
}

/// The first so many, and the last of them where there are more: what the next page begins after.
fn cut<T: Copy>(mut found: impl Iterator<Item = T>, count: usize) -> (Vec<T>, Option<T>) {
    let page: Vec<T> = found.by_ref().take(count).collect();
    let last = found.next().and(page.last().copied());
    (page, last)
}

/// What filters see of an entry of the log.
fn seen(entry: &crate::account::Entry, clock: &Clock) -> Seen {
    let status = entry.answer.as_ref().map(|answer| answer.status);
    Seen { at: clock.shown(entry.at), dlq_id: entry.dlq_id, status, state: Some(entry.state.word()) }
}

/// The ids that a filter finds, a page of them, and where the next page begins.
fn page(account: &Account, filter: &Filter, clock: &Clock) -> Result<(Vec<DlqId>, Option<String>), Reply> {
    let count = filter.ids("dlqIds").unwrap_or_else(|| filter.page(DEAD, DEAD));
    let after = filter.cursor.as_ref().map(|cursor| cursor.parse()).transpose();
    let after = after.map_err(|()| Reply::bad_request("the cursor is none of ours"))?;
    let wanted = |(id, dead): &(&DlqId, &Dead)| {
        let seen = Seen { at: clock.shown(id.at), dlq_id: Some(**id), status: Some(dead.answer.status), state: None };
        filter.wants(&dead.message, seen)
    };
    let (page, last) = cut(account.dead_after(after).filter(wanted).map(|(id, _)| *id), count);
    Ok((page, last.map(|id| id.to_string())))
}

fn retry_all(
    account: &mut Account,
    ids: &[DlqId],
    given: &Given,
    moment: Moment,
) -> Result<Vec<Value>, crate::account::Refused> {
    let mut responses = Vec::new();
    for id in ids {
        let published = account.retry_dead(*id, given, moment)?;
        responses.extend(published.into_iter().flat_map(|one| one.messages).map(|(id, _)| json!({ "messageId": id })));
    }
    Ok(responses)
}
