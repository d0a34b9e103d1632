//! `surehook routes show` and `secret`.

use std::collections::BTreeMap;

use surehook::{
    breaker::{Breaker, Passage},
    config::{Reader, Variables},
    outside,
    routes::{Route, Routes},
    store::Store,
};

use super::{ShowArguments, store, version};
use crate::{
    Failure,
    follow_up::runnable,
    operator::table::table,
    text::{date, date_and_distance, harmless, harmless_json, harmless_lines},
};

const MOST_VERSIONS: usize = 20;

pub(super) async fn run(arguments: &ShowArguments) -> Result<(), Failure> {
    let store = store()?.await;
    if arguments.versions {
        return versions(&store).await;
    }
    let current = store.routes(true).await?;
    if current.version == 0 {
        println!("{}", runnable("No routes were applied yet. See `surehook routes apply --help`."));
        return Ok(());
    }
    let shown = version(&store, arguments.number.unwrap_or(current.version)).await?;
    if arguments.json {
        println!("{}", harmless_json(&serde_json::to_string_pretty(&shown.routes)?));
        return Ok(());
    }
    println!("# version {}, applied {}", shown.routes.version, date_and_distance(shown.at, outside::now()));
    if shown.routes.version == current.version {
        destinations(&current, &store.breakers().await?);
    }
    println!("\n{}", harmless_lines(shown.document.trim_end()));
    Ok(())
}

/// What the document does not say: how each destination stands in records, whose secret signs, and who is left alone now.
fn destinations(routes: &Routes, breakers: &BTreeMap<String, Breaker>) {
    for route in &routes.routes {
        let Route { id, name, secrets, .. } = route;
        let secret = if secrets.as_slice() == [id.clone()] {
            String::new()
        } else {
            format!(", signed with the secret {}", secrets.join(" and "))
        };
        let trouble = breakers.get(id).and_then(left_alone).unwrap_or_default();
        println!("# {name} is destination {id}{secret}{}", harmless(&trouble));
    }
}

fn left_alone(breaker: &Breaker) -> Option<String> {
    let now = outside::now();
    match breaker.passage(now) {
        Passage::Closed => None,
        Passage::Open(until) => {
            Some(format!("; left alone until {}: {}", date_and_distance(until, now), breaker.reason))
        }
        Passage::HalfOpen => Some(format!("; left alone until the next event tries it: {}", breaker.reason)),
    }
}

async fn versions(store: &Store) -> Result<(), Failure> {
    let applied = store.last_applied_routes(MOST_VERSIONS).await?;
    let rows = applied.iter().map(|applied| {
        let names: Vec<&str> = applied.routes.routes.iter().map(|route| route.name.as_str()).collect();
        vec![applied.routes.version.to_string(), date(applied.at), names.join(", ")]
    });
    println!("{}", table(&["version", "applied", "routes"], rows));
    Ok(())
}

/// A new master would verify nothing, because the consumer signs with its own.
const NO_MASTER: &str = "SIGNING_SECRETS is missing; set it to the value that the consumer has, for example \
                         SIGNING_SECRETS=ssm:/surehook/signing-secrets";

pub(super) async fn secret(name: &str) -> Result<(), Failure> {
    let variables = Variables::of_environment().await;
    let mut reader = Reader::new(&variables);
    let secrets = reader.signing_secrets();
    reader.finish()?;
    let secrets = secrets.ok_or(NO_MASTER)?;
    let routes = store()?.await.routes(true).await?;
    let route = routes.by_name(name).ok_or_else(|| {
        let names: Vec<&str> = routes.routes.iter().map(|route| route.name.as_str()).collect();
        format!("there is no route \"{name}\"; there are: {}", names.join(", "))
    })?;
    let shown: Vec<_> = route.secret_names().iter().flat_map(|secret| secrets.named(secret)).collect();
    for secret in &shown {
        println!("{}", secret.expose());
    }
    if shown.len() > 1 {
        eprintln!(
            "Each of them signs every delivery now. Give the receiver the first; the others end with the rotation."
        );
    }
    Ok(())
}
