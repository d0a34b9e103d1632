//! What a destination is sent besides the body: an event's own headers as far as they are allowed, the route's, and those of
//! Standard Webhooks.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue};
use surehook::{
    Millis,
    routes::{
        Route,
        headers::{PASSED_ON, forwardable},
    },
    signing::SigningSecrets,
};

use crate::handler::Event;

/// The headers of one delivery. Names that are not allowed are left out even where the routes in the table have them.
pub(super) fn headers(route: &Route, event: &Event, secrets: &SigningSecrets, now: Millis) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let asked = route.forward.iter().filter_map(|name| forwardable(name).ok());
    let names: HashSet<HeaderName> = PASSED_ON.into_iter().map(HeaderName::from_static).chain(asked).collect();
    for name in names {
        for value in event.headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    for (name, value) in &route.headers {
        // What looks like a secret was for `apply` to refuse: a receiver may need what an older version let into the table.
        if let (Ok(name), Ok(value)) = (forwardable(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    sign(&mut headers, route, event, secrets, now);
    headers
}

/// Source: Standard Webhooks, "Webhook headers". The id is the event's key, the same for every attempt and destination.
fn sign(headers: &mut HeaderMap, route: &Route, event: &Event, secrets: &SigningSecrets, now: Millis) {
    let (id, timestamp) = (event.key.as_str(), now / 1_000);
    let signature = secrets.sign(route.secret_names(), id, timestamp, &event.body);
    let own =
        [("webhook-id", id.to_owned()), ("webhook-timestamp", timestamp.to_string()), ("webhook-signature", signature)];
    for (name, value) in own {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
