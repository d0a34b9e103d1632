//! `surehook routes apply` and `rollback`.

use std::path::Path;

use surehook::{
    config::{Reader, Variables},
    outside,
    routes::{DEFAULT_TIMEOUT, Route, Routes, diff},
    store::{
        LedgerError, Store,
        shelves::{Order, Walk},
    },
};
use surehook_consumer::deliver::connect::is_out_of_bounds;

use super::{compile, print_changes, read, store, unmatched, version};
use crate::{
    Failure,
    follow_up::runnable,
    text::{counted, harmless},
};

pub(super) async fn run(file: &Path) -> Result<(), Failure> {
    let document = read(file)?;
    let store = store()?.await;
    let current = store.routes(true).await?;
    let routes = compile(file, &document, &current)?;
    warn(&routes, may_be_private()?);
    warn_of_dropped(&store, &routes, &current).await?;
    let standing = store.applied_routes(current.version).await?;
    let is_same = routes == Routes { version: routes.version, ..current.clone() };
    if is_same && standing.is_some_and(|standing| standing.document == document) {
        println!("Nothing changes: version {} is this document.", current.version);
        return unmatched::tell(&store, &routes).await;
    }
    let changes = diff::changes(&current, &routes);
    print_changes(&changes);
    put(&store, &routes, &document).await?;
    tell(&routes, "");
    for change in &changes {
        if let diff::Change::Added { name, .. } = change {
            let verifies =
                format!("Its receiver verifies with the secret that `surehook routes secret {name}` prints.");
            println!("{}", runnable(&verifies));
        }
    }
    unmatched::tell(&store, &routes).await
}

/// Brings an older version back as it was compiled then, but for the secrets of destinations that stand.
pub(super) async fn roll_back(to: Option<u64>) -> Result<(), Failure> {
    let store = store()?.await;
    let current = store.routes(true).await?;
    let to = to.or(current.version.checked_sub(1)).filter(|to| *to > 0);
    let to = to.ok_or("there is no version before the one that stands")?;
    let old = version(&store, to).await?;
    let routes = old.routes.restored(&current)?;
    warn_of_dropped(&store, &routes, &current).await?;
    print_changes(&diff::changes(&current, &routes));
    put(&store, &routes, &old.document).await?;
    tell_secrets(&current, &old.routes, &routes);
    tell(&routes, &format!(", as version {to} was"));
    Ok(())
}

/// What a rollback does with secrets that the operator may not expect.
fn tell_secrets(current: &Routes, old: &Routes, restored: &Routes) {
    for (was, is) in old.routes.iter().zip(&restored.routes) {
        let comes_back = |secret: &&String| current.routes.iter().all(|route| !route.secret_names().contains(secret));
        if was.secrets != is.secrets {
            println!("Route {} keeps the secret that it has now; that version's document names another.", is.name);
        } else if let Some(secret) = is.secret_names().iter().find(comes_back) {
            println!(
                "Route {} signs with the secret \"{secret}\" again: replace it if it was given up because it leaked.",
                is.name
            );
        }
    }
}

/// Compiles a document against what stands, and puts it in its place.
pub(crate) async fn apply(store: &Store, document: &str) -> Result<Routes, Failure> {
    let routes = Routes::compile(document, &store.routes(true).await?)?;
    put(store, &routes, document).await?;
    Ok(routes)
}

async fn put(store: &Store, routes: &Routes, document: &str) -> Result<(), Failure> {
    store.put_routes(routes, document, outside::now()).await.map_err(|error| match error {
        LedgerError::Refused(_) => {
            "somebody else applied routes meanwhile: look at them, and run the command again".into()
        }
        LedgerError::Store(error) => error.into(),
    })
}

fn tell(routes: &Routes, how: &str) {
    let (sources, count) = (counted(routes.sources.len(), "source"), counted(routes.routes.len(), "route"));
    println!("Version {} stands{how}: {sources}, {count}.", routes.version);
    println!("Running consumers use it within two minutes.");
}

fn may_be_private() -> Result<bool, Failure> {
    let variables = Variables::plain(outside::variable);
    let mut reader = Reader::new(&variables);
    let may = reader.allow_private_destinations();
    reader.finish()?;
    Ok(may)
}

/// Warns of headers that stored dead letters lack, because no earlier version needed them. Without dead letters there is nothing to warn
/// of.
async fn warn_of_dropped(store: &Store, routes: &Routes, current: &Routes) -> Result<(), Failure> {
    let newly_kept = routes.newly_kept(current);
    if newly_kept.is_empty() || store.shelves(Walk::all(Order::NewestFirst)).await?.next().await?.is_none() {
        return Ok(());
    }
    for (source, header) in newly_kept {
        eprintln!(
            "warning: dead letters of {} that are stored already lack the header {}, which no earlier version used; replays \
             send them without it",
            harmless(&source),
            harmless(&header)
        );
    }
    Ok(())
}

/// What is allowed, and probably not meant.
fn warn(routes: &Routes, may_be_private: bool) {
    for route in &routes.routes {
        let Route { name, url, secrets, .. } = route;
        if is_out_of_bounds(url) && !may_be_private {
            eprintln!(
                "warning: route {name}: {} is not on the public internet; the consumer refuses it unless it has \
                 ALLOW_PRIVATE_DESTINATIONS=true",
                harmless(url)
            );
        }
        if url.contains('?') {
            eprintln!(
                "warning: route {name}: the query of its URL stands readable in the table; if it is a secret, have the sender \
                 send it as a header, and pass that on with forward = [\"…\"]"
            );
        }
        if route.timeout() > DEFAULT_TIMEOUT {
            eprintln!(
                "warning: route {name}: the consumer ends every delivery with its HANDLER_TIMEOUT, 8s unless you set it"
            );
        }
        if url.starts_with("http:") && !may_be_private {
            eprintln!("warning: route {name}: events go over plain http, readable on their way");
        }
        let others = routes.routes.iter().filter(|other| other.url == *url && other.source != route.source);
        for other in others.filter(|other| other.secrets != *secrets && other.name < *name) {
            eprintln!(
                "warning: routes {} and {name} send to one URL with two secrets; if its receiver knows one, write the same secret = \"…\" for both",
                other.name
            );
        }
    }
}
