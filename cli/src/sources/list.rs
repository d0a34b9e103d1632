//! `surehook sources list`.

use std::process::ExitCode;

use serde::Serialize;
use surehook::sources::{
    Place, Signature,
    recipe::{Recipe, Scheme},
};

use crate::{Failure, follow_up::runnable, operator::table::table, text::harmless_json};

/// A recipe, for people and programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    recipe: &'static str,
    about: String,
    docs: String,
    identity: String,
    event_type: Vec<Place>,
    signature: Option<Signature>,
    size: String,
    retries: String,
}

pub(super) fn run(wanted: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let known = || Recipe::names().collect::<Vec<_>>().join(", ");
    let shown: Vec<Shown> =
        Recipe::names().filter(|name| wanted.is_none_or(|wanted| wanted == *name)).filter_map(shown).collect();
    match (shown.as_slice(), wanted) {
        ([], wanted) => {
            Err(format!("there is no recipe \"{}\"; there are {}", wanted.unwrap_or_default(), known()).into())
        }
        (all, _) if json => {
            println!("{}", harmless_json(&serde_json::to_string_pretty(all)?));
            Ok(ExitCode::SUCCESS)
        }
        ([one], Some(_)) => {
            one.print();
            Ok(ExitCode::SUCCESS)
        }
        (all, _) => {
            print_table(all);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn shown(recipe: &'static str) -> Option<Shown> {
    let Recipe { about, docs, identity, event_type, size, retries, signature, .. } = Recipe::named(recipe)?;
    let signature = signature.and_then(|scheme: Scheme| scheme.compile().ok());
    Some(Shown { recipe, about, docs, identity: identity.to_string(), event_type, signature, size, retries })
}

fn print_table(all: &[Shown]) {
    let rows = all.iter().map(|one| vec![one.recipe.to_owned(), one.identity(), one.event_type(), one.proof()]);
    println!("{}", table(&["RECIPE", "TOLD APART BY", "TYPE", "PROVES ITSELF BY"], rows));
    let more = "`surehook sources list RECIPE` says more, and what to write into the routes document.";
    println!("\n{}", runnable(more));
}

impl Shown {
    fn identity(&self) -> String {
        match self.identity.as_str() {
            "payload" => "topic and id of the payload".to_owned(),
            "strapi" => "the raw body".to_owned(),
            place => place.to_owned(),
        }
    }

    fn event_type(&self) -> String {
        match (self.identity.as_str(), self.event_type.as_slice()) {
            ("payload", []) => "/eventType".to_owned(),
            ("strapi", []) => "/event".to_owned(),
            (_, []) => "-".to_owned(),
            (_, places) => places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . "),
        }
    }

    fn proof(&self) -> String {
        match &self.signature {
            None => "bearer token".to_owned(),
            Some(signature) => signature.header.clone(),
        }
    }

    fn print(&self) {
        println!("{}\n{}\n", self.about, self.docs);
        println!("told apart by   {}", self.identity());
        println!("type            {}", self.event_type());
        match &self.signature {
            None => println!("proof           bearer token"),
            Some(signature) => print_signature(signature),
        }
        println!("size            {}", self.size);
        println!("when refused    {}", self.retries);
        let secret = match &self.signature {
            Some(_) => format!("secret = \"{}\"            # its name in SOURCE_SECRETS", self.recipe),
            None => format!(
                "secret = \"{}\"            # optional: a token of its own in SOURCE_SECRETS instead of PRODUCER_TOKEN",
                self.recipe
            ),
        };
        println!(
            "\nIn the routes document (the sender posts to <ProducerUrl>{0}, with SOURCE_SECRETS = {{\"{0}\": \"…\", \"seal\": \"…\"}}):\n\n    [[source]]\n    name = \"{0}\"\n    recipe = \"{0}\"\n    {secret}\n\n    [[topic]]\n    name = \"{0}\"\n    source = \"{0}\"",
            self.recipe
        );
    }
}

fn print_signature(signature: &Signature) {
    let algorithm = format!("{:?}", signature.algorithm).to_lowercase();
    let encoding = format!("{:?}", signature.encoding).to_lowercase();
    let signed: String = signature.signed.clone().into();
    println!(
        "proof           {}: HMAC-{algorithm} in {encoding} behind \"{}\", over {signed}",
        signature.header, signature.prefix
    );
    if signature.timestamp.is_some() {
        let tolerance = signature.tolerance_ms.map_or("any age".to_owned(), |ms| format!("{} s", ms / 1_000));
        println!("tolerance       {tolerance}, judged when the event first arrives");
    }
}
