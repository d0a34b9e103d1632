//! `surehook routes test`: which destinations would get an event, and why.

use std::{
    collections::{BTreeSet, HashMap},
    process::ExitCode,
};

use http::HeaderMap;
use serde::Serialize;
use surehook::{
    identity::{Delivered, Endpoint, Identified},
    routes::{Match, Route, Routes},
};

use super::{TestArguments, compile, read, store};
use crate::{
    Failure, input,
    text::{counted, harmless, harmless_json},
};

/// How the command ends where nobody would get the event; 1 is for what can't be tried at all.
const NOBODY: u8 = 3;

/// What would become of an event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    source: &'a str,
    event_type: Option<String>,
    /// Whether the consumer refuses the body before it asks any route.
    malformed: bool,
    routes: Vec<Said<'a>>,
}

#[derive(Debug, Serialize)]
struct Said<'a> {
    route: &'a str,
    url: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn run(arguments: &TestArguments) -> Result<ExitCode, Failure> {
    let routes = match &arguments.routes {
        Some(file) => compile(file, &read(file)?, &Routes::default())?,
        None => store()?.await.routes(true).await?,
    };
    let source = source(&routes, arguments.source.as_deref())?;
    let body = input::read(&arguments.event)?;
    let headers = HeaderMap::try_from(&arguments.headers.iter().cloned().collect::<HashMap<_, _>>())?;
    let report = report(&routes, source, Delivered::new(&headers, &body, ""))?;
    if arguments.json {
        println!("{}", harmless_json(&serde_json::to_string_pretty(&report)?));
    } else {
        report.print();
    }
    Ok(if report.taken() > 0 { ExitCode::SUCCESS } else { NOBODY.into() })
}

fn source<'a>(routes: &'a Routes, asked: Option<&'a str>) -> Result<&'a str, Failure> {
    if let Some(source) = asked {
        return Ok(source);
    }
    let sources: BTreeSet<&str> = routes.routes.iter().map(|route| route.source.as_str()).collect();
    match sources.iter().copied().collect::<Vec<_>>().as_slice() {
        [] => Err("there are no routes".into()),
        [only] => Ok(only),
        several => Err(format!("say where the event comes from, with --source: {}", several.join(", ")).into()),
    }
}

fn report<'a>(routes: &'a Routes, source: &'a str, event: Delivered<'_>) -> Result<Report<'a>, Failure> {
    let endpoint = Endpoint::Ours { source: source.to_owned(), path: format!("/{source}") };
    let identified = routes.identify(&endpoint, event);
    let Identified { event_type, malformed, .. } = identified.ok_or_else(|| {
        format!(
            "source \"{source}\" is neither built in nor in the routes: the consumer answers 503, and its events wait"
        )
    })?;
    let subject = routes.subject(source, event_type.as_deref(), event);
    let destinations = routes.destinations(&subject);
    let said = |route: &'a Route| {
        let (verdict, reason) = match route.judge(&subject) {
            _ if malformed => ("refused", Some(format!("the body is not what {source} sends"))),
            Match::Leaves(reason) => ("leaves", Some(reason)),
            Match::Undecided => {
                ("undecided", Some("its events and conditions can't be decided: the body is not JSON".to_owned()))
            }
            Match::Takes => match destinations.iter().find(|destination| destination.route.id == route.id) {
                Some(first) if first.route.name != route.name => (
                    "same",
                    Some(format!("it sends where {} does, and a destination gets an event once", first.route.name)),
                ),
                _ => ("takes", None),
            },
        };
        Said { route: &route.name, url: &route.url, verdict, reason }
    };
    let routes = routes.routes.iter().map(said).collect();
    Ok(Report { source, malformed, routes, event_type: event_type.clone() })
}

impl Report<'_> {
    fn taken(&self) -> usize {
        self.routes.iter().filter(|said| said.verdict == "takes").count()
    }

    fn print(&self) {
        let event_type = self.event_type.as_deref().unwrap_or("without a type");
        println!("An event of source {}, {}:", harmless(self.source), harmless(event_type));
        for said in &self.routes {
            let reason = said.reason.as_deref().map(|reason| format!(": {}", harmless(reason))).unwrap_or_default();
            let mark = match said.verdict {
                "takes" => "→ ",
                "leaves" => "  ",
                "same" => "= ",
                _ => "! ",
            };
            println!("  {mark}{} {}{reason}", said.route, harmless(said.url));
        }
        println!("{}", self.summary());
    }

    fn summary(&self) -> String {
        let undecided = self.routes.iter().any(|said| said.verdict == "undecided");
        match self.taken() {
            _ if self.malformed => "The consumer refuses it (malformed), and it becomes a dead letter.".to_owned(),
            0 if undecided => "Nobody gets it, and it becomes a dead letter.".to_owned(),
            0 => "Nobody would get it: the consumer answers \"ignored\", and it is done.".to_owned(),
            count => {
                let rest =
                    if undecided { "; because of the undecided it becomes a dead letter all the same" } else { "" };
                format!("{} would get it{rest}.", counted(count, "destination"))
            }
        }
    }
}
