use super::*;
use crate::identity::{Delivered, Identity};

const DOCUMENT: &str = r#"
[[source]]
name = "github"
identity = "/delivery"
event_type = "/action"

[[route]]
name = "shop"
source = "strapi"
events = ["entry.*", "media.create"]
when = [{ field = "/entry/price", at_least = 10, below = 20.5 }, { field = "/uid", one_of = ["a", 1, true] }]
url = "https://shop.example/hook"
timeout = "5s"
headers = { "X-Tenant" = "blue" }
forward = ["Authorization"]

[[route]]
name = "all"
source = "github"
url = "https://all.example/"
"#;

fn compile(text: &str) -> Result<Routes, RoutesError> {
    Routes::compile(text, &Routes::default())
}

fn problems(text: &str) -> Vec<String> {
    match compile(text) {
        Err(RoutesError::Invalid(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

/// A document of one route with these lines more, which begin in line 5.
fn route(more: &str) -> String {
    format!("[[route]]\nname = \"x\"\nsource = \"strapi\"\nurl = \"https://x.example/\"\n{more}\n")
}

#[test]
fn a_document_says_all_that_a_route_is() {
    let routes = compile(DOCUMENT).unwrap();
    let shop = routes.by_name("shop").unwrap();
    assert_eq!((shop.timeout_ms, shop.when.len(), shop.when[0].tests.len()), (5_000, 2, 2));
    assert_eq!(shop.headers["x-tenant"], "blue");
    assert_eq!((&shop.forward, &shop.secrets), (&vec!["authorization".into()], &vec![shop.id.clone()]));
    let all = routes.by_name("all").unwrap();
    assert_eq!((all.events.as_slice(), all.timeout_ms), (&["*".into()][..], 8_000));
    assert_eq!(routes.version, 1);
}

#[test]
fn sources_are_known_only_when_somebody_configured_them() {
    let routes = compile(DOCUMENT).unwrap();
    let identity = |source: &str| routes.known(source).map(|source| source.identity.clone());
    assert_eq!(identity("strapi"), Some(Identity::Strapi));
    assert_eq!(identity("github"), Some(Identity::Pointer("/delivery".into())));
    assert_eq!(identity("stripe"), None);
}

#[test]
fn a_destination_is_its_source_and_url_and_nothing_else() {
    let id = |text: &str| compile(text).unwrap().routes[0].id.clone();
    let first = id(DOCUMENT);
    assert_eq!(id(&DOCUMENT.replace("name = \"shop\"", "name = \"store\"")), first, "renamed");
    assert_ne!(id(&DOCUMENT.replace("shop.example", "new.example")), first, "moved");
    assert_eq!(id(&DOCUMENT.replace("https://shop.example", "HTTPS://Shop.Example:443")), first, "spelled otherwise");
    let moved = Routes::compile(&DOCUMENT.replace("/hook", "/new"), &compile(DOCUMENT).unwrap()).unwrap();
    let back = Routes::compile(DOCUMENT, &moved).unwrap();
    assert_eq!((back.routes[0].id.as_str(), back.version), (first.as_str(), 3), "it remembers what it has accepted");
}

#[test]
fn all_problems_are_told_at_once_with_their_lines() {
    let bad = r#"[[source]]
name = "a/b"
identity = "id"
event_type = "type"
[[route]]
name = "x y"
source = "nowhere"
url = "ftp://x"
timeout = "soon"
events = []
when = [
  { field = "price", above = 1 },
  { field = "/price" },
  { field = "/price", one_of = [] },
  { field = "/price", exists = false, below = 3 },
]
headers = { host = "x", x-ok = "yes", authorization = "Bearer x" }
forward = ["webhook-id"]
secret = []
[[route]]
name = "x y"
source = "strapi"
url = "https://ok.example"
"#;
    let found = problems(bad);
    let lines: Vec<&str> = found.iter().map(|problem| problem.split(':').next().unwrap()).collect();
    let expected = [2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 17, 17, 18, 19, 21, 21].map(|line| format!("line {line}"));
    assert_eq!(lines, expected, "{found:#?}");
}

#[test]
fn a_route_that_no_event_could_take_is_refused() {
    let told = problems(&route("when = [{ field = \"/a\", above = 10, below = 5 }]"));
    assert_eq!(
        told,
        [r#"line 5: route "x": condition on "/a": nothing is above 10 and below 5: the route would never be taken"#]
    );
    let apart = "when = [\n{ field = \"/a\", equals = 1 },\n{ field = \"/b\", equals = 2 },\n{ field = \"/a\", equals = 2 },\n]";
    assert!(problems(&route(apart))[0].starts_with("line 8: "));
    assert!(compile(&route("when = [{ field = \"/a\", at_least = 5, at_most = 5 }]")).is_ok());
}

#[test]
fn a_time_limit_that_no_function_could_keep_is_refused() {
    for timeout in ["0s", "500us", "16m", "99999999999d", "5 apples"] {
        assert!(problems(&route(&format!("timeout = \"{timeout}\"")))[0].starts_with("line 5: "), "{timeout}");
    }
}

#[test]
fn unknown_fields_are_errors_with_their_line() {
    let error = compile("[[route]]\nnmae = \"x\"").unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
    let error = compile(&route("when = [{ field = \"/a\", equal = 1 }]")).unwrap_err();
    assert!(error.to_string().contains("line 5"), "{error}");
    let error = compile(&route("when = [{ field = \"/a\", above = nan }]")).unwrap_err();
    assert!(error.to_string().contains("line 5"), "{error}");
}

#[test]
fn conditions_mean_what_they_say() {
    let routes = compile(DOCUMENT).unwrap();
    let takes = |body: &str| {
        !routes
            .destinations(&routes.subject("strapi", Some("entry.x"), Delivered::bare(body.as_bytes(), "")))
            .is_empty()
    };
    assert!(takes(r#"{"entry": {"price": 20.4}, "uid": 1}"#));
    assert!(!takes(r#"{"entry": {"price": 20.5}, "uid": 1}"#));
    assert!(!takes(r#"{"entry": {"price": 12}, "uid": "b"}"#));
}

#[test]
fn more_than_a_table_can_hold_is_refused() {
    let many: String = (0..101).map(|n| route("").replace("\"x\"", &format!("\"x{n}\""))).collect();
    assert!(problems(&many)[0].contains("more than 100 routes"));
    let long = route(&format!("# {}", "x".repeat(MOST_BYTES)));
    assert!(problems(&long)[0].contains("380000 are the most"));
}

#[test]
fn what_an_older_version_compiled_can_still_be_read() {
    let old = r#"{"version": 3, "next_id": 9, "sources": [], "document": "", "routes": [{"id": "d1", "name": "a",
        "source": "strapi", "events": ["*"], "url": "https://a.example/", "timeout_ms": 8000}]}"#;
    let routes: Routes = serde_json::from_str(old).unwrap();
    assert_eq!((routes.version, routes.routes[0].id.as_str(), routes.routes[0].secrets.len()), (3, "d1", 0));
}
