use http::HeaderMap;

use super::*;
use crate::{
    identity::Delivered,
    payload::Payload,
    secret::Secret,
    sources::{SenderRefusal, Source},
    strapi::StrapiEvent,
};

fn recipes() -> impl Iterator<Item = (&'static str, Recipe)> {
    FILES.iter().map(|(name, file)| (*name, toml::from_str(file).unwrap_or_else(|error| panic!("{name}: {error}"))))
}

fn source(recipe: &Recipe, vector: &Vector) -> Source {
    let scheme = recipe.signature.as_ref().map(|scheme| scheme.with(vector.signature.as_ref()));
    Source {
        name: "x".into(),
        identity: recipe.identity.clone(),
        event_type: recipe.event_type.clone(),
        signature: scheme.map(|scheme| scheme.compile().unwrap()),
        secret: Some("x".into()),
        unmatched: Default::default(),
        silence: None,
    }
}

fn headers(vector: &Vector) -> HeaderMap {
    HeaderMap::try_from(&vector.headers.clone().into_iter().collect::<std::collections::HashMap<_, _>>()).unwrap()
}

fn believes(source: &Source, headers: &HeaderMap, vector: &Vector, body: &[u8]) -> Result<(), SenderRefusal> {
    let secrets = [Secret::new(vector.secret.clone()).unwrap()];
    source.admit(&secrets, headers, body).and_then(|stamp| source.judge(stamp, vector.at * 1_000, Duration::ZERO))
}

#[test]
fn every_recipe_has_vectors_and_passes_them() {
    for (name, recipe) in recipes() {
        assert!(!recipe.vectors.is_empty(), "{name}");
        assert!(Recipe::named(name).is_some());
        for vector in &recipe.vectors {
            let source = source(&recipe, vector);
            let (headers, body) = (headers(vector), vector.body.as_bytes());
            assert_eq!(believes(&source, &headers, vector, body), Ok(()), "{name}: {}", vector.from);
            let event = Delivered::new(&headers, body, "m");
            assert_eq!(source.identity.value_of(&event), vector.id, "{name}: {}", vector.from);
            let event_type = match source.identity {
                Identity::Payload => Payload::parse(body).ok().map(|payload| payload.event_type.into_owned()),
                Identity::Strapi => StrapiEvent::parse(body).ok().map(|event| event.event),
                _ => source.type_of(&event).text,
            };
            assert_eq!(event_type, vector.event_type, "{name}: {}", vector.from);
        }
    }
}

#[test]
fn every_recipe_refuses_its_vectors_with_one_byte_changed() {
    for (name, recipe) in recipes() {
        for vector in &recipe.vectors {
            let source = source(&recipe, vector);
            let signed: Vec<String> = match &source.signature {
                Some(signature) => signature.headers().map(str::to_owned).collect(),
                None => vec!["authorization".to_owned()],
            };
            for header in signed {
                let value = headers(vector)[header.as_str()].as_bytes().to_vec();
                for at in 0..value.len() {
                    let (mut headers, mut value) = (headers(vector), value.clone());
                    value[at] ^= 1;
                    headers.insert(http::HeaderName::try_from(&header).unwrap(), value.as_slice().try_into().unwrap());
                    let told = believes(&source, &headers, vector, vector.body.as_bytes());
                    assert!(told.is_err(), "{name}: {header} at {at}");
                }
            }
            // A bearer token says nothing of the body.
            for at in (0..vector.body.len()).filter(|_| source.signature.is_some()) {
                let mut body = vector.body.clone().into_bytes();
                body[at] ^= 1;
                let told = believes(&source, &headers(vector), vector, &body);
                assert_eq!(told, Err(SenderRefusal::Mismatch), "{name}: body at {at}");
            }
            let other = Vector { secret: format!("{}x", vector.secret), ..vector.clone() };
            assert!(believes(&source, &headers(vector), &other, vector.body.as_bytes()).is_err(), "{name}");
        }
    }
}

#[test]
fn a_vector_that_arrives_late_is_stale_where_its_sender_stamps_it() {
    let mut stamped = 0;
    for (name, recipe) in recipes() {
        for vector in &recipe.vectors {
            let source = source(&recipe, vector);
            let late = Vector { at: vector.at + 3_600, ..vector.clone() };
            let told = believes(&source, &headers(vector), &late, vector.body.as_bytes());
            let has_stamp = source.signature.as_ref().is_some_and(|signature| signature.timestamp.is_some());
            stamped += u32::from(has_stamp);
            assert_eq!(told, if has_stamp { Err(SenderRefusal::Stale) } else { Ok(()) }, "{name}");
        }
    }
    assert!(stamped >= 4);
}

#[test]
fn what_an_operator_says_stands_over_the_recipe() {
    let over: Scheme = toml::from_str("prefix = \"v9=\"\ntolerance = \"off\"").unwrap();
    let stripe = Recipe::named("stripe").unwrap().signature.unwrap().with(Some(&over)).compile().unwrap();
    assert_eq!(
        (stripe.header.as_str(), stripe.prefix.as_str(), stripe.tolerance_ms),
        ("stripe-signature", "v9=", None)
    );
}
