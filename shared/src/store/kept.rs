//! Rejected requests that look like their sender's own: `pk = rejected#<source>`, `sk = <slot>`.
//!
//! A source has a fixed number of slots, so that an attacker can't fill the table. The items expire by themselves. A bearer token is not
//! kept; its salted digest is, so that the request can be verified once the right token is known.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use super::{
    Store, StoreError,
    item::{Builder, Item, Reading, json, number, text},
    schema::EXPIRY,
};
use crate::{
    Millis,
    digest::Sha256,
    routes::credentials::is_secret,
    secret::Secret,
    sources::{Source, shown_token},
    web::Incoming,
};

const PREFIX: &str = "rejected#";
/// Requests that are kept of one source.
pub const MAX_KEPT: u16 = 1_000;
/// The largest body that is kept, in bytes.
pub const MAX_KEPT_BODY: usize = 100_000;
/// How long a request is kept, in milliseconds.
pub const KEPT_FOR: Millis = 3 * 86_400_000;
/// Bytes of headers that are kept; one that does not fit is left out.
const MAX_HEADERS: usize = 16_384;

/// A rejected request.
#[derive(Debug, Clone)]
pub struct KeptRequest {
    /// When it arrived.
    pub at: Millis,
    /// The topic that it was posted to.
    pub topic: String,
    /// The id of its event, where neither sender nor source gives one.
    pub fresh_id: String,
    /// Its headers, without secret ones. Those that its source's signature needs are never secret.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The salted digest of the bearer token that it showed.
    token: Option<String>,
}

/// A kept request and where it is kept.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Its slot.
    pub number: u16,
    /// The request.
    pub request: KeptRequest,
}

impl KeptRequest {
    /// Takes from a request of a source what is kept.
    pub fn new(source: &Source, topic: &str, request: &Incoming, fresh_id: &str, at: Millis) -> Self {
        let token = shown_token(&request.headers).map(|token| digest(fresh_id, token));
        let headers = kept_headers(source, &request.headers);
        let (topic, fresh_id, body) = (topic.to_owned(), fresh_id.to_owned(), request.body.clone());
        Self { at, topic, fresh_id, headers, body, token }
    }

    /// Returns the request as it arrived. Its bearer token is there only if it is one of these.
    pub fn restored(&self, tokens: &[Secret]) -> Incoming {
        let mut headers = self.headers.clone();
        let shown = tokens.iter().find(|token| Some(digest(&self.fresh_id, token.expose())) == self.token);
        let bearer = shown.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok());
        headers.extend(bearer.map(|bearer| (AUTHORIZATION, bearer)));
        Incoming {
            method: "POST".to_owned(),
            path: format!("/{}", self.topic),
            query: String::new(),
            domain: None,
            headers,
            body: self.body.clone(),
            request_id: self.fresh_id.clone(),
        }
    }

    fn item(&self, source: &str, slot: u16) -> Item {
        let headers: BTreeMap<&str, Vec<&str>> =
            self.headers.keys().map(|name| (name.as_str(), self.values(name))).collect();
        key(source, slot)
            .with("at", number(self.at))
            .with("topic", text(&self.topic))
            .with("fresh_id", text(&self.fresh_id))
            .with("headers", json(&headers))
            .with("body", AttributeValue::B(Blob::new(self.body.clone())))
            .with_some("token", self.token.as_ref().map(text))
            .with(EXPIRY, number((self.at + KEPT_FOR) / 1_000))
            .build()
    }

    fn values(&self, name: &HeaderName) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }
}

impl Store {
    /// Keeps a request in a slot; `false` if another one is kept there.
    pub async fn keep_request(&self, source: &str, slot: u16, request: &KeptRequest) -> Result<bool, StoreError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(request.item(source, slot)));
        let answer = put
            .condition_expression("attribute_not_exists(pk) OR expires_at <= :now")
            .expression_attribute_values(":now", number(request.at / 1_000))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a page of the requests that are kept of a source, and where the next begins. A page has at most 1 MB.
    pub async fn kept_requests(
        &self,
        source: &str,
        after: Option<u16>,
        now: Millis,
    ) -> Result<(Vec<Slot>, Option<u16>), StoreError> {
        let key = |slot: u16| key(source, slot).build();
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(format!("{PREFIX}{source}")))
            .consistent_read(true)
            .set_exclusive_start_key(after.map(key))
            .send()
            .await?;
        let readable = |item| {
            to_slot(item).inspect_err(|error| tracing::error!(error = %error, "a kept request can't be read")).ok()
        };
        let slots =
            output.items().iter().filter_map(readable).filter(|slot| slot.request.at + KEPT_FOR > now).collect();
        Ok((slots, output.last_evaluated_key().and_then(slot_of)))
    }

    /// Removes a request, unless its slot holds another one by now.
    pub async fn forget_request(&self, source: &str, slot: &Slot) -> Result<(), StoreError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(source, slot.number).build()))
            .condition_expression("fresh_id = :id")
            .expression_attribute_values(":id", text(&slot.request.fresh_id));
        match delete.send().await {
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            answer => Ok(answer.map(drop)?),
        }
    }
}

fn key(source: &str, slot: u16) -> Builder {
    Builder::new(format!("{PREFIX}{source}"), format!("{slot:03}"))
}

fn slot_of(item: &Item) -> Option<u16> {
    Reading(item).optional_text("sk")?.parse().ok()
}

fn to_slot(item: &Item) -> Result<Slot, StoreError> {
    let reading = Reading(item);
    let body = item.get("body").and_then(|body| body.as_b().ok());
    let body = body.ok_or_else(|| StoreError::unreadable(PREFIX, "body"))?;
    let headers: BTreeMap<String, Vec<String>> = reading.json("headers")?;
    let request = KeptRequest {
        at: reading.number("at")?,
        topic: reading.text("topic")?,
        fresh_id: reading.text("fresh_id")?,
        headers: header_map(&headers),
        body: Bytes::copy_from_slice(body.as_ref()),
        token: reading.optional_text("token"),
    };
    let number = slot_of(item).ok_or_else(|| StoreError::unreadable(PREFIX, "sk"))?;
    Ok(Slot { number, request })
}

fn header_map(headers: &BTreeMap<String, Vec<String>>) -> HeaderMap {
    let each = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    each.filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    })
    .collect()
}

/// Returns the headers that are not secret or that the source needs, as far as there is room. A signature is no secret: it is valid for
/// its request alone.
fn kept_headers(source: &Source, headers: &HeaderMap) -> HeaderMap {
    let mut room = MAX_HEADERS;
    let is_kept = |name: &str| source.needed_headers().any(|needed| needed == name) || !is_secret(name);
    let kept = headers.iter().filter(|(name, _)| is_kept(name.as_str()));
    let kept = kept.filter(|(name, value)| {
        let size = name.as_str().len() + value.len();
        room.checked_sub(size).inspect(|left| room = *left).is_some()
    });
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The salt is the request's own id, so that equal tokens of two requests look different.
fn digest(salt: &str, token: &str) -> String {
    Sha256::of_parts(&[b"surehook rejected token/1", salt.as_bytes(), token.trim().as_bytes()]).hex()
}
