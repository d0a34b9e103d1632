use super::super::Routes;
use crate::sources::{Place, Source};

fn compile(text: &str) -> Result<Routes, String> {
    Routes::compile(text, &Routes::default()).map_err(|error| error.to_string())
}

fn source(more: &str) -> Result<Source, String> {
    compile(&format!("[[source]]\nname = \"x\"\n{more}\n")).map(|routes| routes.sources[0].clone())
}

#[test]
fn a_recipe_says_all_of_a_source_but_its_secret() {
    let github = source("recipe = \"github\"\nsecret = \"gh\"").unwrap();
    assert_eq!(github.identity.to_string(), "header:x-github-delivery");
    assert_eq!(github.event_type.len(), 2);
    assert_eq!(github.signature.as_ref().unwrap().header, "x-hub-signature-256");
    assert_eq!(github.naming_headers().collect::<Vec<_>>(), ["x-github-delivery", "x-github-event"]);
    for recipe in crate::sources::recipe::Recipe::names() {
        assert!(source(&format!("recipe = \"{recipe}\"\nsecret = \"s\"")).is_ok(), "{recipe}");
    }
}

#[test]
fn what_a_source_says_stands_over_its_recipe() {
    let more = "recipe = \"stripe\"\nsecret = \"s\"\nidentity = \"body\"\nevent_type = \"header:X-Kind\"\n\
                signature = { tolerance = \"1h\" }";
    let stripe = source(more).unwrap();
    assert_eq!(stripe.identity.to_string(), "body");
    assert_eq!(stripe.event_type, [Place::Header("x-kind".into())]);
    let signature = stripe.signature.unwrap();
    assert_eq!((signature.header.as_str(), signature.tolerance_ms), ("stripe-signature", Some(3_600_000)));
}

#[test]
fn a_source_without_a_signature_needs_no_secret() {
    assert_eq!(source("identity = \"/id\"").unwrap().secret, None);
    assert_eq!(source("recipe = \"strapi\"").unwrap().signature, None);
    assert_eq!(source("recipe = \"strapi\"\nsecret = \"cms\"").unwrap().secret.as_deref(), Some("cms"));
}

#[test]
fn what_makes_no_sense_is_told_with_its_line() {
    for (more, line, part) in [
        ("", 2, "identity or recipe"),
        ("recipe = \"gitlab\"", 3, "generic, github, payload"),
        ("recipe = \"github\"", 2, "SOURCE_SECRETS"),
        ("recipe = \"github\"\nsecret = \"a b\"", 4, "secret is a name"),
        ("identity = \"payload\"", 3, "identity is"),
        ("identity = \"header:a b\"", 3, "identity is"),
        ("recipe = \"strapi\"\nidentity = \"/id\"", 4, "leave identity out"),
        ("identity = \"body\"\nevent_type = [\"/a\", \"b\"]", 4, "event_type is"),
        ("identity = \"body\"\nsecret = \"s\"\nsignature = { header = \"X-S\" }", 5, "needs algorithm"),
        ("identity = \"body\"\nsecret = \"s\"\nsignature = { header = \"X S\" }", 5, "not the name of a header"),
    ] {
        let told = source(more).unwrap_err();
        assert!(told.starts_with(&format!("line {line}: source \"x\": ")) && told.contains(part), "{more}: {told}");
    }
    let unknown = source("identity = \"body\"\nsecret = \"s\"\nsignature = { algorithm = \"md5\" }").unwrap_err();
    assert!(unknown.contains("md5"), "{unknown}");
}

#[test]
fn what_is_built_in_may_be_said_more_about_and_not_made_something_else() {
    let strapi = |more: &str| compile(&format!("[[source]]\nname = \"strapi\"\n{more}\n"));
    assert_eq!(
        strapi("recipe = \"strapi\"\nsecret = \"cms\"").unwrap().known("strapi").unwrap().secret.as_deref(),
        Some("cms")
    );
    for bad in ["identity = \"body\"", "recipe = \"github\"\nsecret = \"s\""] {
        assert!(strapi(bad).unwrap_err().contains("built in"), "{bad}");
    }
    let twice = "[[source]]\nname = \"x\"\nidentity = \"body\"\n";
    assert!(compile(&format!("{twice}{twice}")).unwrap_err().contains("line 5: source \"x\" is defined twice"));
}

#[test]
fn a_topic_may_not_say_for_all_of_its_events_what_tells_them_apart() {
    let document = |header: &str| {
        compile(&format!(
            "[[source]]\nname = \"gh\"\nrecipe = \"github\"\nsecret = \"s\"\n\
             [[topic]]\nname = \"gh\"\nsource = \"gh\"\nheaders = {{ {header} }}\n"
        ))
    };
    assert!(document("Upstash-Forward-X-GitHub-Event = \"push\"").unwrap_err().contains("names or types"));
    assert!(document("Upstash-Forward-Authorization = \"Bearer x\"").unwrap_err().contains("readable in the table"));
    assert!(document("Upstash-Retry-Delay = \"1\"").unwrap_err().contains("ours to set"));
    assert!(document("Upstash-Forward-X-Tenant = \"blue\"").is_ok());
}

#[test]
fn a_topic_brings_the_events_of_a_source() {
    let document =
        "[[topic]]\nname = \"orders\"\nsource = \"payload\"\nalso = [\"https://other.example/\"]\nretries = 1\n";
    let routes = compile(document).unwrap();
    assert_eq!(routes.of_topic("orders").unwrap().name, "payload");
    assert!(routes.of_topic("payload").is_none());
    assert_eq!((routes.topics[0].also.len(), routes.topics[0].retries), (1, Some(1)));
    let told = compile(
        "[[topic]]\nname = \"a/b\"\nsource = \"nobody\"\nalso = [\"ftp://x\"]\nheaders = { \"a b\" = \"x\", upstash-retries = \"9\" }\nretries = 4\n\
         [[topic]]\nname = \"a/b\"\nsource = \"strapi\"\n",
    );
    let told = told.unwrap_err();
    let lines: Vec<&str> = told.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["line 2", "line 3", "line 4", "line 5", "line 5", "line 6", "line 8", "line 8"], "{told}");
}

/// Routes that an older version compiled must still be read: its functions may run beside those of this one.
#[test]
fn what_an_older_version_compiled_is_read() {
    let old = r#"{"version":3,"sources":[{"name":"a","recipe":{"pointer":"/id"},"event_type":"/type"},
        {"name":"b","recipe":"message","event_type":null}],"routes":[]}"#;
    let routes: Routes = serde_json::from_str(old).unwrap();
    assert_eq!(routes.known("a").unwrap().event_type, [Place::Body("/type".into())]);
    assert_eq!(routes.known("b").unwrap().identity.to_string(), "message");
    let written = serde_json::to_value(&routes).unwrap();
    let types: Vec<_> =
        written["sources"].as_array().unwrap().iter().map(|source| source["event_type"].clone()).collect();
    assert_eq!(types, [serde_json::json!("/type"), serde_json::Value::Null], "and is read by it");
}

#[test]
fn a_source_says_what_becomes_of_events_that_no_route_takes() {
    let document =
        |value: &str| format!("[[source]]\nname = \"strapi\"\nrecipe = \"strapi\"\nunmatched = \"{value}\"\n");
    let routes = compile(&document("keep")).unwrap();
    assert!(routes.keeps_unmatched("strapi") && !routes.keeps_unmatched("payload"));
    assert!(!compile(&document("ignore")).unwrap().keeps_unmatched("strapi"));
    let told = compile(&document("drop")).unwrap_err();
    assert!(told.starts_with("line 4: source \"strapi\": unmatched is \"keep\" or \"ignore\""), "{told}");
    let written = serde_json::to_value(compile(&document("ignore")).unwrap()).unwrap();
    assert!(written["sources"][0].get("unmatched").is_none(), "an older version reads it");
}

#[test]
fn a_source_says_how_long_it_may_be_silent() {
    let document = |value: &str| format!("[[source]]\nname = \"strapi\"\nrecipe = \"strapi\"\nsilence = \"{value}\"\n");
    let silence = |value: &str| compile(&document(value)).unwrap().source("strapi").unwrap().silence;
    assert_eq!((silence("6h"), silence("15m"), silence("30d")), (Some(21_600_000), Some(900_000), Some(2_592_000_000)));
    for bad in ["14m", "31d", "soon", ""] {
        let told = compile(&document(bad)).unwrap_err();
        assert!(told.starts_with("line 4: source \"strapi\": silence is a span"), "{told}");
    }
    let written = serde_json::to_value(compile("[[source]]\nname = \"a\"\nidentity = \"body\"\n").unwrap()).unwrap();
    assert!(written["sources"][0].get("silence_ms").is_none(), "an older version reads it");
}
