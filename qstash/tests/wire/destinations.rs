//! Reference 1.1 to 1.3: who may call, which calls take a message, and how its destination is written.

use serde_json::json;
use surehook_qstash::{Choices, Settings, TOKEN};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Wire, claims, stepped};

/// A call whose target no URL library has touched.
async fn raw(wire: &Wire, target: &str) -> String {
    let host = wire.qstash.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("POST {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {TOKEN}");
    let call = format!("{head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(call.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_token_stands_in_the_header_or_in_the_query() {
    let wire = Wire::start().await;
    let bearer = format!("Bearer {TOKEN}");
    let in_query = format!("/v2/queues?qstash_token={TOKEN}");
    assert_eq!(wire.anonymous("GET", "/v2/queues", &[("authorization", &bearer)], b"").await.status, 200);
    assert_eq!(wire.anonymous("GET", &in_query, &[], b"").await.status, 200);
    for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", TOKEN)]] {
        let refused = wire.anonymous("GET", "/v2/queues", headers, b"").await.expect(401);
        assert_eq!(refused.error(), "unable to authenticate: invalid token", "{headers:?}");
    }
}

#[tokio::test]
async fn errors_are_objects_with_one_text() {
    let wire = Wire::start().await;
    for (method, path, status) in [
        ("POST", "/v2/publish/nobody", 404),
        ("POST", "/v2/publish/", 400),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v1/topics", 404),
        ("PUT", "/v2/keys", 405),
    ] {
        let answer = wire.call(method, path, &[], b"").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.body.as_object().unwrap().len() == 1 && !answer.error().is_empty(), "{method} {path}");
        assert_eq!(answer.headers["content-type"], "application/json", "{method} {path}");
    }
}

#[tokio::test]
async fn every_call_that_takes_a_message_delivers_its_bytes_unchanged() {
    let wire = Wire::start().await;
    let bytes = b"\x00\xff{ \"a\" : 1 }\r\n";
    for call in ["/v2/publish/", "/v2/enqueue/q/", "/v1/publish/"] {
        wire.receiver.forget();
        wire.call("POST", &format!("{call}{}", wire.to("/in")), &[], bytes).await.expect(201);
        wire.settle().await;
        assert_eq!(&wire.receiver.only().body[..], bytes, "{call}");
    }
}

#[tokio::test]
async fn only_post_takes_a_message() {
    let wire = Wire::start().await;
    for call in ["/v2/publish/https://a.example/", "/v2/enqueue/q/https://a.example/", "/v2/batch"] {
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            assert_eq!(wire.call(method, call, &[], b"[]").await.status, 405, "{method} {call}");
        }
    }
}

#[tokio::test]
async fn a_url_is_appended_raw_and_reaches_the_destination_byte_for_byte() {
    let wire = Wire::start().await;
    for target in [
        "/plain",
        "/a//b",
        "/a%20b",
        "/caf%C3%A9",
        "/a%2Fb",
        "/x?a=1&b=2",
        "/x?a=%20+|&&b=&c",
        "/x?a=1?b=2",
        "/x?next=https://b.example/?y=1",
        "/x/",
        "/",
    ] {
        wire.receiver.forget();
        wire.publish_to(target, &[]).await.expect(201);
        wire.settle().await;
        let received = wire.receiver.only();
        assert_eq!((received.target.as_str(), claims(&received)["sub"].clone()), (target, json!(wire.to(target))));
    }
}

#[tokio::test]
async fn a_client_that_writes_its_own_request_line_gets_the_same() {
    let wire = Wire::start().await;
    let answer = raw(&wire, &format!("/v2/publish/{}/a//b%20c?x=%2F&&y", wire.receiver.url)).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    wire.settle().await;
    assert_eq!(wire.receiver.only().target, "/a//b%20c?x=%2F&&y");
}

#[tokio::test]
async fn a_percent_encoded_url_and_other_schemes_are_refused_with_the_known_text() {
    let wire = Wire::start().await;
    for destination in [
        "https%3A%2F%2Fh.example%2Fin",
        "https%3a//h.example/in",
        "ftp://h.example/",
        "h.example/in",
        "//h.example/in",
        "mailto:a@h.example",
    ] {
        let cron = [("upstash-cron", "* * * * *")];
        for (call, headers) in [("publish", &[][..]), ("enqueue/q", &[]), ("schedules", &cron)] {
            let path = format!("/v2/{call}/{destination}");
            let refused = wire.call("POST", &path, headers, b"").await;
            let text = "invalid destination url: endpoint has invalid scheme, add http:// or https://";
            assert_eq!((refused.status, refused.error()), (400, text), "{path}");
        }
    }
}

#[tokio::test]
async fn a_topic_is_named_by_letters_digits_and_three_marks() {
    let wire = Wire::start().await;
    for name in ["orders", "a-b_c.d", "42"] {
        wire.receiver.forget();
        wire.topic(name, &["/one", "/two"]).await;
        wire.post(&format!("/v2/publish/{name}")).await.expect(201);
        wire.settle().await;
        let mut targets = wire.receiver.targets();
        targets.sort();
        assert_eq!(targets, ["/one", "/two"], "{name}");
    }
    for name in ["a%20b", "a,b", "a/b", ".."] {
        let answer = wire.send_json("POST", &format!("/v2/publish/{name}"), &json!({})).await;
        assert!((400..405).contains(&answer.status), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn providers_on_the_internet_are_refused_as_such() {
    let wire = Wire::start().await;
    for destination in ["api/llm", "email/resend"] {
        let refused = wire.post(&format!("/v2/publish/{destination}")).await.expect(400);
        assert!(refused.error().contains(destination), "{refused:?}");
    }
}

#[tokio::test]
async fn options_and_the_token_are_taken_out_of_the_query_and_nothing_else() {
    let wire = Wire::start().await;
    for (query, kept) in [
        ("upstash-retries=1", "/x"),
        ("a=1&upstash-retries=1&b=%20", "/x?a=1&b=%20"),
        ("upstash-delay=0s&&a", "/x?&a"),
        ("upstashed=1&my-upstash-x=2&Upstash-Delay=1s", "/x?upstashed=1&my-upstash-x=2&Upstash-Delay=1s"),
        ("qstash_token=wrong&a=1", "/x?a=1"),
        ("qstash_tokens=1", "/x?qstash_tokens=1"),
    ] {
        wire.receiver.forget();
        wire.publish_to(&format!("/x?{query}"), &[]).await.expect(201);
        wire.settle().await;
        assert_eq!(wire.receiver.only().target, kept, "{query}");
    }
}

#[tokio::test]
async fn whether_options_are_stripped_can_be_chosen_but_the_token_never_leaves() {
    let choices = Choices { strip_query_options: false, ..Choices::default() };
    let wire = Wire::with(Settings { choices, ..stepped() }).await;
    let path = format!("/v2/publish/{}?upstash-retries=1&qstash_token={TOKEN}", wire.to("/x"));
    wire.anonymous("POST", &path, &[], b"").await.expect(201);
    wire.settle().await;
    assert_eq!(wire.receiver.only().target, "/x?upstash-retries=1");
}

#[tokio::test]
async fn a_destination_without_a_path_is_called_at_its_root() {
    let wire = Wire::start().await;
    wire.publish_to("", &[]).await.expect(201);
    wire.settle().await;
    let received = wire.receiver.only();
    assert_eq!((received.target.as_str(), claims(&received)["sub"].clone()), ("/", json!(wire.receiver.url)));
}

/// Its token would name a URL that no request can be sent to.
#[tokio::test]
async fn a_fragment_in_a_batch_is_cut_whatever_stands_before_it() {
    let wire = Wire::start().await;
    let items = [format!("{}?a=1#p", wire.to("/in")), format!("{}#f?y", wire.to("/in"))];
    let batch: Vec<_> = items.iter().map(|destination| json!({ "destination": destination })).collect();
    wire.send_json("POST", "/v2/batch", &json!(batch)).await.expect(200);
    wire.settle().await;
    let mut targets = wire.receiver.targets();
    targets.sort();
    assert_eq!(targets, ["/in", "/in?a=1"]);
}
