//! A requeuer in this process, which a test calls as QStash would.

use std::sync::Arc;

use serde_json::Value;
use surehook::{
    environment::Background,
    failure::FailurePath,
    outside,
    qstash::{KeyRing, SigningKeys},
    secret::Secret,
    store::{Store, routes_cache::RoutesCache},
    telemetry::{Form, Telemetry},
    web::{Answer, Incoming, Moment},
};
use surehook_local::Stack;
use surehook_requeuer::Requeuer;

use super::{consumer::moment, signature, url};

/// A requeuer as it starts. It reads the routes from a store of its own, which may count.
pub(crate) fn requeuer(stack: &Stack, path: FailurePath, routes: Store) -> Requeuer {
    let keys = SigningKeys::new(vec![Secret::new(stack.qstash.keys().0).unwrap()]).unwrap();
    Requeuer {
        keys: Arc::new(KeyRing::fixed(keys, moment())),
        bases: vec![url(&stack.function_url("requeuer"))],
        path: path.into(),
        routes: Arc::new(RoutesCache::new(routes, (), Background::default())),
        telemetry: Telemetry::new("test", "requeuer", Form::Text),
    }
}

/// One callback.
pub(crate) async fn call_back(requeuer: &Requeuer, stack: &Stack, callback: &Value) -> Answer {
    call_back_at(requeuer, stack, callback, moment()).await
}

/// One callback at a moment of the test's choice.
pub(crate) async fn call_back_at(requeuer: &Requeuer, stack: &Stack, callback: &Value, moment: Moment) -> Answer {
    let body = callback.to_string();
    let mut headers = http::HeaderMap::new();
    let signature = signature(stack, &stack.function_url("requeuer"), body.as_bytes());
    headers.insert("upstash-signature", signature.parse().unwrap());
    let request = Incoming {
        method: "POST".into(),
        path: String::new(),
        query: String::new(),
        domain: None,
        headers,
        body: body.into(),
        request_id: outside::new_id(),
    };
    requeuer.call(request, moment, 0.5).await
}
