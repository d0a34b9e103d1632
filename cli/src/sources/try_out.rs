//! `surehook sources test`: what would become of a captured webhook at the door.

use std::{process::ExitCode, time::Duration};

use serde::Serialize;
use surehook::{
    Millis,
    config::{Reader, Variables},
    identity::{Delivered, Endpoint, Identified},
    outside,
    routes::Routes,
    secret::Secret,
    sources::{
        Source, Unmatched,
        recipe::{Recipe, Scheme},
    },
};

use super::{TestArguments, capture, capture::Capture};
use crate::{
    Failure,
    follow_up::runnable,
    input, routes,
    text::{date_and_distance, harmless, harmless_json},
};

/// How the command ends where the sender would be turned away; 1 is for what can't be tried at all.
const REFUSED: u8 = 3;

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    source: String,
    /// Why it would be refused.
    refused: Option<String>,
    /// When its sender says that it signed.
    signed_at: Option<Millis>,
    arrived: Millis,
    id: Option<String>,
    identity: String,
    event_type: Option<String>,
    malformed: bool,
    /// The key of its record, at the consumer's endpoint of this source.
    event: String,
    destinations: Vec<String>,
}

pub(super) async fn run(arguments: &TestArguments) -> Result<ExitCode, Failure> {
    let capture = capture::parse(&input::read(&arguments.capture)?)?;
    let (source, routes) = source(arguments).await?;
    let report = report(&source, &routes, &secrets(&source).await?, &capture, arguments.at)?;
    if arguments.json {
        println!("{}", harmless_json(&serde_json::to_string_pretty(&report)?));
    } else {
        report.print();
    }
    Ok(if report.refused.is_none() && !report.malformed { ExitCode::SUCCESS } else { REFUSED.into() })
}

async fn source(arguments: &TestArguments) -> Result<(Source, Routes), Failure> {
    if let Some(recipe) = &arguments.recipe {
        let source = of_recipe(recipe)?;
        return Ok((source.clone(), Routes { sources: vec![source], ..Routes::default() }));
    }
    let routes = match &arguments.routes {
        Some(file) => routes::compile(file, &routes::read(file)?, &Routes::default())?,
        None => routes::store()?.await.routes(true).await?,
    };
    let name = arguments.source.as_deref().unwrap_or_default();
    let source = routes.known(name).map(std::borrow::Cow::into_owned);
    let source = source.ok_or_else(|| format!("source \"{name}\" is neither built in nor in the routes document"))?;
    Ok((source, routes))
}

fn of_recipe(name: &str) -> Result<Source, Failure> {
    let recipe = Recipe::named(name).ok_or_else(|| {
        format!("there is no recipe \"{name}\"; there are {}", Recipe::names().collect::<Vec<_>>().join(", "))
    })?;
    let signature = recipe.signature.map(Scheme::compile).transpose()?;
    let secret = signature.as_ref().map(|_| name.to_owned());
    let (identity, event_type) = (recipe.identity, recipe.event_type);
    let name = name.to_owned();
    Ok(Source { name, identity, event_type, signature, secret, unmatched: Unmatched::Ignore, silence: None })
}

/// The secrets of a source; the producer's token where it has none of its own.
async fn secrets(source: &Source) -> Result<Vec<Secret>, Failure> {
    let variables = Variables::of_environment().await;
    let mut reader = Reader::new(&variables);
    let named = source.secret.as_ref().map(|name| (name, reader.source_secrets().named(name).to_vec()));
    let tokens = if named.is_none() { reader.producer_tokens() } else { Vec::new() };
    reader.finish()?;
    match named {
        None => Ok(tokens),
        Some((_, secrets)) if source.usable(&secrets) => Ok(secrets),
        Some((name, secrets)) if secrets.is_empty() => {
            Err(format!("set SOURCE_SECRETS to {{\"{name}\": \"<its secret>\"}}, as the functions have it").into())
        }
        Some((name, _)) => {
            Err(format!("the secret \"{name}\" is not base64, behind whsec_ or alone, as this scheme wants").into())
        }
    }
}

fn report(
    source: &Source,
    routes: &Routes,
    secrets: &[Secret],
    capture: &Capture,
    at: Option<Millis>,
) -> Result<Report, Failure> {
    let arrived = at.or(capture.at).unwrap_or_else(outside::now);
    let admitted = source.admit(secrets, &capture.headers, &capture.body);
    let signed_at = admitted.as_ref().ok().and_then(|stamp| stamp.0);
    let refused = admitted.and_then(|stamp| source.judge(stamp, arrived, Duration::ZERO)).err();
    let event = Delivered::new(&capture.headers, &capture.body, "");
    let endpoint = Endpoint::Ours { source: source.name.clone(), path: format!("/{}", source.name) };
    let Identified { key, event_type, malformed, .. } =
        routes.identify(&endpoint, event).ok_or("the source is not configured")?;
    let subject = routes.subject(&source.name, event_type.as_deref(), event);
    let destinations = routes.destinations(&subject).iter().map(|to| to.route.name.clone()).collect();
    Ok(Report {
        source: source.name.clone(),
        refused: refused.map(|refusal| refusal.to_string()),
        signed_at,
        arrived,
        id: source.identity.value_of(&event),
        identity: source.identity.to_string(),
        event_type,
        malformed,
        event: key.to_string(),
        destinations,
    })
}

impl Report {
    /// What is often the reason with captures.
    fn hint(&self) -> &'static str {
        match self.signed_at {
            Some(_) => "; if it arrived earlier than now, say when with --at",
            None => "; if the capture went through an editor, is there a line break at its end that was not sent?",
        }
    }

    fn print(&self) {
        let shown = |text: &Option<String>| text.as_deref().map_or("none".to_owned(), harmless);
        println!("source        {}", harmless(&self.source));
        match &self.refused {
            None => println!("sender        believed"),
            Some(why) => println!("sender        refused: {why}{}", self.hint()),
        }
        if let Some(at) = self.signed_at {
            println!("signed        {}", date_and_distance(at, self.arrived).replace(" ago", " before it arrived"));
        }
        println!("id            {}, by {}", shown(&self.id), harmless(&self.identity));
        println!("type          {}", shown(&self.event_type));
        println!("event         {}", self.event);
        if self.malformed {
            println!("body          not what this source sends: it is refused");
        }
        match self.destinations.as_slice() {
            [] => println!(
                "goes to       nobody, by the routes that were asked; {}",
                runnable("`surehook routes test` says why")
            ),
            names => println!("goes to       {}", names.join(", ")),
        }
    }
}
