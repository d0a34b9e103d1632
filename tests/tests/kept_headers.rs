//! Which headers of a failed event the table keeps, and what a replay sends again.

use serde_json::{Value, json};
use surehook_local::{
    Stack,
    receiver::{Reaction, Received},
    stack::TABLE,
};

use crate::support::{accepted, apply, connect, event, letters, operate, publish_with, received, run, stack};

/// Values that the sender of these tests sends along.
const HEADERS: [(&str, &str); 4] = [
    ("upstash-forward-authorization", "Bearer unspeakable-token"),
    ("upstash-forward-x-api-key", "forwarded-key"),
    ("upstash-forward-x-tag", "one"),
    ("upstash-forward-x-tag", "two"),
];

fn route(stack: &Stack, forward: &str) -> String {
    let url = &stack.receiver.url;
    format!("[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"{url}/shop\"\nforward = [{forward}]\n")
}

/// Makes a dead letter of an event with these headers, and shows it.
async fn dead_letter(stack: &Stack, body: &str) -> Value {
    stack.receiver.react(|_| Reaction::status(422));
    publish_with(stack, "t", &HEADERS, body).await;
    stack.qstash.idle().await;
    let letter = letters(stack).await.remove(0);
    operate(stack, json!({"command": "show", "id": letter["id"], "reveal": true})).await["shown"].clone()
}

async fn replay(stack: &Stack) {
    stack.receiver.react(|_| Reaction::status(200));
    operate(stack, json!({"command": "replay", "selection": {"all": true}})).await;
    stack.qstash.idle().await;
}

/// The values of a header, whether the request had it once or several times.
fn values(received: &Received, name: &str) -> String {
    let values = received.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
    values.collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn the_table_keeps_no_credential_that_no_version_of_the_routes_forwards() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    apply(&stack, &route(&stack, "\"X-Api-Key\", \"X-Tag\"")).await;
    apply(&stack, &route(&stack, "\"X-Tag\"")).await;
    let body = event("credential");
    let shown = dead_letter(&stack, &body).await;
    assert_eq!(shown["headers"]["Authorization"], json!(["(not stored)"]), "{shown}");
    assert_eq!(shown["headers"]["X-Api-Key"], json!(["forwarded-key"]), "a version before forwards it");
    let scan = stack.dynamo.client().scan().table_name(TABLE).send().await.unwrap();
    assert!(!format!("{:?}", scan.items()).contains("unspeakable"));
    apply(&stack, &route(&stack, "\"X-Api-Key\", \"Authorization\"")).await;
    replay(&stack).await;
    let sent = received(&stack, &body).pop().unwrap();
    assert_eq!((sent.header("x-api-key"), sent.header("authorization")), (Some("forwarded-key"), None));
}

/// QStash calls it directly, with all headers.
#[tokio::test]
async fn an_endpoint_that_is_not_ours_gets_the_same_request_at_a_replay() {
    let stack = stack().await;
    connect(&stack, "t", &[format!("{}/other", stack.receiver.url)]).await;
    let body = event("other");
    stack.receiver.react(|received| Reaction::status(if received.path == "/other" { 410 } else { 200 }));
    publish_with(&stack, "t", &HEADERS, &body).await;
    stack.qstash.idle().await;
    replay(&stack).await;
    let sent: Vec<Received> = received(&stack, &body).into_iter().filter(|sent| sent.path == "/other").collect();
    let (first, replayed) = (&sent[0], sent.iter().find(|sent| sent.status == 200).unwrap());
    for (name, value) in [("authorization", "Bearer unspeakable-token"), ("x-tag", "one,two")] {
        assert_eq!([values(first, name), values(replayed, name)], [value; 2], "{name}");
    }
}

#[tokio::test]
async fn a_header_that_comes_twice_keeps_all_its_values_on_deliveries_and_replays() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    apply(&stack, &route(&stack, "\"X-Tag\"")).await;
    let body = event("twice");
    let shown = dead_letter(&stack, &body).await;
    assert_eq!(shown["headers"]["X-Tag"], json!(["one", "two"]));
    replay(&stack).await;
    assert_eq!(accepted(&stack, &body), 1);
    let sent = received(&stack, &body);
    assert_eq!(sent.iter().map(|sent| values(sent, "x-tag")).collect::<Vec<_>>(), ["one,two"; 2]);
}

/// The dead letter is older than the first route of its source.
#[tokio::test]
async fn applying_routes_warns_of_a_header_that_stored_dead_letters_lack() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let apply_document = async |document: String| {
        let file = folder.path().join("routes.toml");
        std::fs::write(&file, document).unwrap();
        run(&stack, &["routes", "apply", file.to_str().unwrap()]).await
    };
    let forwarding = route(&stack, "\"Authorization\"");
    let kept = "[[source]]\nname = \"strapi\"\nrecipe = \"strapi\"\nunmatched = \"keep\"\n";
    for document in [forwarding.clone(), kept.to_owned()] {
        let ran = apply_document(document).await;
        assert!(ran.code == Some(0) && !ran.err.contains("already lack"), "there is no dead letter: {ran:?}");
    }
    let other =
        "[[route]]\nname = \"o\"\nsource = \"payload\"\nurl = \"http://127.0.0.1:9/\"\nforward = [\"X-Api-Key\"]\n";
    publish_with(&stack, "t", &HEADERS, &event("unmatched")).await;
    stack.qstash.idle().await;
    assert_eq!(letters(&stack).await.len(), 1);
    let ran = apply_document(format!("{kept}{forwarding}{other}")).await;
    let warnings: Vec<&str> = ran.err.lines().filter(|line| line.contains("already lack")).collect();
    assert_eq!(
        warnings,
        [
            "warning: dead letters of payload that are stored already lack the header x-api-key, which no earlier version \
          used; replays send them without it"
        ],
        "version 1 forwards the other: {ran:?}"
    );
}
