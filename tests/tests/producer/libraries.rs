//! What the official libraries of senders sign is believed, and nothing else of it.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use surehook::{
    outside,
    secret::Secret,
    sources::{SenderRefusal, Source, recipe::Recipe},
};

/// An event as a library signed it.
#[derive(Deserialize)]
struct Signed {
    recipe: String,
    secret: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Signed {
    fn source(&self) -> Source {
        let recipe = Recipe::named(&self.recipe).unwrap();
        Source {
            name: self.recipe.clone(),
            identity: recipe.identity,
            event_type: recipe.event_type,
            signature: Some(recipe.signature.unwrap().compile().unwrap()),
            secret: None,
            unmatched: Default::default(),
            silence: None,
        }
    }

    fn judge(&self, body: &[u8]) -> Result<(), SenderRefusal> {
        let pairs = self.headers.iter();
        let headers = pairs.map(|(name, value)| (http::HeaderName::try_from(name).unwrap(), value.parse().unwrap()));
        let (source, headers) = (self.source(), headers.collect());
        let stamp = source.admit(&[Secret::new(self.secret.clone()).unwrap()], &headers, body)?;
        source.judge(stamp, outside::now(), Duration::ZERO)
    }
}

/// `.ci/signatures` installs the libraries and runs this; `TEST_SENDERS` lists commands that print signed events, one a line.
#[test]
#[ignore = "needs the official libraries of senders for JavaScript and Python, which .ci/signatures installs"]
fn the_libraries_of_senders_sign_what_our_recipes_believe() {
    let senders = outside::variable("TEST_SENDERS").expect("TEST_SENDERS lists commands, one per line");
    let mut believed: BTreeMap<String, usize> = BTreeMap::new();
    for sender in senders.lines() {
        let output = std::process::Command::new("sh").args(["-c", sender]).output().unwrap();
        assert!(output.status.success(), "{sender}: {}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let signed: Signed = serde_json::from_str(line).unwrap();
            assert_eq!(signed.judge(signed.body.as_bytes()), Ok(()), "{line}");
            let other = [signed.body.as_bytes(), b" "].concat();
            assert_eq!(signed.judge(&other), Err(SenderRefusal::Mismatch), "{line}");
            *believed.entry(signed.recipe).or_default() += 1;
        }
    }
    println!("believed: {believed:?}");
    for recipe in ["github", "standard-webhooks", "stripe"] {
        assert!(believed.get(recipe).is_some_and(|count| *count >= 4), "{recipe}: {believed:?}");
    }
}
