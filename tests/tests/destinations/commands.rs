//! The operator's `surehook routes …`, as processes.

use std::path::{Path, PathBuf};

use serde_json::json;
use surehook_local::{Stack, StackOptions};

use crate::support::{Ran, options, run};

const ROUTES: &str = r#"[[source]]
name = "github"
identity = "/delivery"

[[route]]
name = "shop"
source = "strapi"
events = ["entry.*"]
url = "https://shop.example/hook"

[[route]]
name = "sales"
source = "strapi"
when = [{ field = "/entry/price", above = 100 }]
url = "https://sales.example/"
"#;

/// A table without functions, and a folder for documents.
struct Desk {
    stack: Stack,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        let stack = Stack::start(StackOptions { program: None, ..options() }).await.unwrap();
        Self { stack, folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    async fn routes(&self, arguments: &[&str]) -> Ran {
        run(&self.stack, &[&["routes"], arguments].concat()).await
    }

    async fn on(&self, command: &str, document: &str) -> Ran {
        let file = self.write("routes.toml", document);
        self.routes(&[command, text(&file)]).await
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn apply_says_what_changes_and_keeps_every_version() {
    let desk = Desk::new().await;
    let first = desk.on("apply", ROUTES).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    for part in ["+ source github", "+ route shop to https://shop.example/hook", "Version 1 stands: 1 source, 2 routes"]
    {
        assert!(first.out.contains(part), "{part} in {first:?}");
    }
    let same = desk.on("apply", ROUTES).await;
    assert!(same.out.contains("Nothing changes: version 1"), "{same:?}");
    let moved = desk.on("apply", &ROUTES.replace("shop.example/hook", "shop.example/new")).await;
    assert!(moved.out.contains("~ route shop from https://shop.example/hook to https://shop.example/new"), "{moved:?}");
    let listed = desk.routes(&["show", "--versions"]).await;
    let rows: Vec<&str> = listed.out.lines().skip(1).collect();
    assert!(rows[0].starts_with('2') && rows[1].starts_with('1') && rows[1].ends_with("shop, sales"), "{listed:?}");
    let old = desk.routes(&["show", "1"]).await;
    assert!(old.out.contains("# version 1") && old.out.ends_with(&format!("\n\n{ROUTES}")), "{old:?}");
}

#[tokio::test]
async fn diff_changes_nothing() {
    let desk = Desk::new().await;
    desk.on("apply", ROUTES).await;
    let shorter = ROUTES.replace("events = [\"entry.*\"]", "timeout = \"2s\"");
    let diff = desk.on("diff", &shorter).await;
    let lines: Vec<&str> = diff.out.lines().collect();
    assert_eq!(lines, ["~ route shop: events from entry.* to *", "~ route shop: timeout from 8000 ms to 2000 ms"]);
    let file = desk.write("routes.toml", ROUTES);
    let none = desk.routes(&["diff", text(&file), "--json"]).await;
    assert_eq!(none.json(), json!([]));
    assert!(desk.routes(&["show"]).await.out.contains("# version 1"));
}

#[tokio::test]
async fn a_document_with_problems_is_refused_as_a_whole_with_all_of_them() {
    let desk = Desk::new().await;
    let bad = ROUTES.replace("\"/entry/price\"", "\"price\"").replace("https://shop", "ftp://shop");
    for command in ["apply", "diff"] {
        let refused = desk.on(command, &bad).await;
        assert_eq!(refused.code, Some(1));
        assert!(refused.err.contains("line 9: route \"shop\": url"), "{refused:?}");
        assert!(refused.err.contains("line 14: route \"sales\": condition on \"price\""), "{refused:?}");
    }
    assert_eq!(desk.stack.store().routes(true).await.unwrap().version, 0);
    let absent = desk.routes(&["apply", "/nowhere.toml"]).await;
    assert!(absent.err.contains("/nowhere.toml"), "{absent:?}");
}

#[tokio::test]
async fn apply_asks_whose_host_it_is_that_a_route_moves_to() {
    let desk = Desk::new().await;
    desk.on("apply", ROUTES).await;
    let elsewhere = ROUTES.replace("shop.example", "new.example");
    let asked = desk.on("apply", &elsewhere).await;
    assert_eq!(asked.code, Some(1));
    let known = desk.stack.store().routes(true).await.unwrap().by_name("shop").unwrap().id.clone();
    let line = format!("secret = \"{known}\"");
    assert!(asked.err.contains("to another host") && asked.err.contains(&line), "{asked:?}");
    let told = elsewhere.replace("events =", &format!("{line}\nevents ="));
    assert!(desk.on("apply", &told).await.out.contains("its secret goes along"), "the answer stands in the question");
}

/// Named after a defect: a tree of four megabytes of small values took half a gigabyte, more than a function has.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn megabytes_of_small_values_are_read_in_little_memory() {
    let desk = Desk::new().await;
    let routes = desk.write("routes.toml", ROUTES);
    let values = "{\"\":0},".repeat(500_000);
    let body = format!(r#"{{"event":"entry.create","createdAt":"x","entry":{{"price":101,"values":[{values}0]}}}}"#);
    let event = desk.write("event.json", &body);
    let arguments = ["routes", "test", text(&event), "--routes", text(&routes)];
    let program = env!("CARGO_BIN_EXE_surehook-under-test");
    // 64 MB of data, of which the threads have their share.
    let limited = std::process::Command::new("sh")
        .args(["-c", "ulimit -d 65536; exec \"$0\" \"$@\"", program])
        .args(arguments)
        .output();
    let said = limited.unwrap();
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(out.contains("→ shop") && out.contains("→ sales"), "{out}{err}");
}

#[tokio::test]
async fn rollback_brings_back_what_stood_with_its_ids_and_secrets() {
    let desk = Desk::new().await;
    desk.on("apply", ROUTES).await;
    desk.on("apply", &ROUTES.replace("\"shop\"", "\"store\"")).await;
    let renamed = desk.stack.store().routes(true).await.unwrap();
    desk.on("apply", "").await;
    let back = desk.routes(&["rollback"]).await;
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.out.contains("Version 4 stands, as version 2 was"), "{back:?}");
    let restored = desk.stack.store().routes(true).await.unwrap();
    assert_eq!((restored.version, &restored.routes), (4, &renamed.routes));
    let store = restored.by_name("store").unwrap();
    assert_eq!(store.secrets, std::slice::from_ref(&store.id));
    assert!(desk.routes(&["show"]).await.out.contains("name = \"store\""));
    let unknown = desk.routes(&["rollback", "9"]).await;
    assert!(unknown.err.contains("version 9 was never applied"), "{unknown:?}");
}

#[tokio::test]
async fn rollback_does_not_bring_a_replaced_secret_back() {
    let desk = Desk::new().await;
    let with = |secret: &str| {
        ROUTES.replace("source = \"strapi\"\nevents", &format!("source = \"strapi\"\nsecret = \"{secret}\"\nevents"))
    };
    desk.on("apply", &with("leaked")).await;
    desk.on("apply", &with("fresh")).await;
    let back = desk.routes(&["rollback"]).await;
    assert!(back.out.contains("Route shop keeps the secret that it has now"), "{back:?}");
    assert_eq!(desk.stack.store().routes(true).await.unwrap().by_name("shop").unwrap().secrets, ["fresh"]);
    desk.on("apply", "").await;
    let again = desk.routes(&["rollback", "1"]).await;
    assert!(
        again.out.contains("signs with the secret \"leaked\" again"),
        "nobody stands by whom to know better: {again:?}"
    );
}

#[tokio::test]
async fn there_is_nothing_to_roll_back_to_before_the_first_version() {
    let desk = Desk::new().await;
    for _ in 0..2 {
        let refused = desk.routes(&["rollback"]).await;
        assert!(refused.code == Some(1) && refused.err.contains("there is no version before"), "{refused:?}");
        desk.on("apply", ROUTES).await;
    }
}

#[tokio::test]
async fn test_says_who_gets_an_event_and_why_the_others_do_not() {
    let desk = Desk::new().await;
    desk.on("apply", ROUTES).await;
    let cheap = r#"{"event":"entry.create","createdAt":"x","entry":{"price":12}}"#;
    let file = desk.write("event.json", cheap);
    let tried = desk.routes(&["test", text(&file)]).await;
    assert_eq!(tried.code, Some(0), "{tried:?}");
    for part in
        ["→ shop", "sales https://sales.example/: /entry/price is 12, not above 100", "1 destination would get it"]
    {
        assert!(tried.out.contains(part), "{part} in {tried:?}");
    }
    let nobody = desk.write("event.json", r#"{"event":"media.create","createdAt":"x","media":{}}"#);
    let tried = desk.routes(&["test", text(&nobody), "--json"]).await;
    assert_eq!((tried.code, &tried.json()["routes"][0]["verdict"]), (Some(3), &json!("leaves")));
    assert_eq!(tried.json()["eventType"], "media.create");
    let malformed = desk.write("event.json", "{");
    let tried = desk.routes(&["test", text(&malformed)]).await;
    assert!(tried.code == Some(3) && tried.out.contains("malformed"), "{tried:?}");
}

#[tokio::test]
async fn test_tries_a_document_that_is_not_applied_and_needs_nothing_else() {
    let desk = Desk::new().await;
    let routes = desk.write("routes.toml", ROUTES);
    let event = desk.write("event.json", "not json");
    let alone = |source: &'static str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_surehook-under-test"));
        command.env_clear().args(["routes", "test", text(&event), "--routes", text(&routes), "--source", source]);
        let output = command.output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(alone("github").contains("Nobody would get it"));
    assert!(alone("stripe").contains("source \"stripe\" is neither built in nor in the routes"));
}

#[tokio::test]
async fn the_secret_of_a_route_is_shown_and_nothing_secret_stands_in_the_table() {
    let desk = Desk::new().await;
    desk.on("apply", ROUTES).await;
    let shown = desk.routes(&["secret", "shop"]).await;
    let secret = shown.out.trim();
    assert!(secret.starts_with("whsec_") && shown.out.lines().count() == 1, "{shown:?}");
    assert_ne!(desk.routes(&["secret", "sales"]).await.out.trim(), secret);
    let items = desk.stack.dynamo.client().scan().table_name("surehook").send().await.unwrap();
    let table = format!("{:?}", items.items());
    assert!(table.contains("shop.example") && !table.contains("whsec_"), "{table}");
    let unknown = desk.routes(&["secret", "shoop"]).await;
    assert!(unknown.err.contains("there are: shop, sales"), "{unknown:?}");
    let mut without = crate::support::surehook(&desk.stack, &["routes", "secret", "shop"]);
    let output = without.env_remove("SIGNING_SECRETS").output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("SIGNING_SECRETS is missing; set it to the value that the consumer has"), "{told}");
    assert!(!told.contains("openssl"), "a new master verifies nothing: {told}");
}

#[tokio::test]
async fn apply_warns_of_private_addresses_and_plain_http() {
    let desk = Desk::new().await;
    let file = desk.write(
        "routes.toml",
        &ROUTES.replace("https://shop.example", "http://0x7f.1").replace("https://sales", "http://sales"),
    );
    let mut command = crate::support::surehook(&desk.stack, &["routes", "apply", text(&file)]);
    let output = command.env_remove("ALLOW_PRIVATE_DESTINATIONS").output().await.unwrap();
    let warned = String::from_utf8(output.stderr).unwrap();
    assert!(warned.contains("route shop: http://0x7f.1/hook is not on the public internet"), "{warned}");
    assert!(warned.contains("route sales: events go over plain http"), "{warned}");
}

#[tokio::test]
async fn apply_warns_of_a_header_that_stored_dead_letters_lack() {
    let desk = Desk::new().await;
    crate::support::bury(&desk.stack, &crate::support::event("a letter"), "503").await;
    let forward = |names: &str| {
        format!(
            "[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"https://shop.example/\"\nforward = [{names}]\n"
        )
    };
    let versions = ["", "\"X-Tenant\"", "\"X-Api-Key\"", "", "\"X-Api-Key\""];
    let mut warned = Vec::new();
    for names in versions {
        let applied = desk.on("apply", &forward(names)).await;
        assert_eq!(applied.code, Some(0), "{applied:?}");
        warned.push(applied.err.contains("dead letters of strapi that are stored already lack the header x-api-key"));
    }
    assert_eq!(warned, [false, false, true, false, false]);
}
