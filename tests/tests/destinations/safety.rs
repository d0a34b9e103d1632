//! What a destination's URL, name or answer can't do to us.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::HeaderMap;
use surehook::ledger::Status;
use surehook_consumer::deliver::{
    address::{Lookup, system_lookup},
    connect::Connections,
};
use surehook_local::{Stack, StackOptions, receiver::Reaction};
use tokio::net::TcpSocket;

use crate::support::{
    apply, connect,
    consumer::{consumer, incoming, moment},
    deliver, event, options, publish, publish_with,
    raw::{OK, RawServer},
    received, record, stack, stack_with,
};

/// A stack whose consumer is as careful as on AWS.
async fn careful_stack(more: &[(&str, &str)]) -> Stack {
    let careful = [("ALLOW_PRIVATE_DESTINATIONS", "false")];
    let environment = careful.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    stack_with(StackOptions { environment: environment.collect(), ..options() }).await
}

async fn route_to(stack: &Stack, url: &str, more: &str) {
    apply(stack, &format!("[[route]]\nname = \"x\"\nsource = \"strapi\"\nurl = \"{url}\"\n{more}\n")).await;
}

/// What the record says of an event that is delivered to a URL.
async fn said(stack: &Stack, url: &str, more: &str) -> String {
    route_to(stack, url, more).await;
    let body = event(&format!("{url} {more}"));
    consumer(stack, stack.store()).await.call(incoming(stack, &body), moment()).await;
    let record = record(stack, &body).await.unwrap();
    assert_ne!(record.status, Status::Done, "{url}");
    record.last_error.unwrap().text
}

/// The same with connections of the test's own.
async fn said_with(stack: &Stack, connections: Connections, url: &str, more: &str) -> String {
    route_to(stack, url, more).await;
    let body = event(&format!("{url} {more}"));
    let mut consumer = consumer(stack, stack.store()).await;
    consumer.handler.connections = connections;
    consumer.call(incoming(stack, &body), moment()).await;
    record(stack, &body).await.unwrap().last_error.unwrap().text
}

async fn assert_refused(careful: &Connections, host: &str, server: &RawServer) {
    let url = format!("http://{host}:{}/", server.port);
    let error = careful.post(&url, HeaderMap::new(), "{}".into()).await.unwrap_err().to_string();
    assert!(error.contains("has no public address"), "{host}: {error}");
}

#[tokio::test]
async fn private_addresses_are_refused_by_the_function_itself() {
    let stack = careful_stack(&[]).await;
    route_to(&stack, &stack.receiver.url, "").await;
    let body = event("private");
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "transient-failure");
    let error = record(&stack, &body).await.unwrap().last_error.unwrap().text;
    assert!(error.contains("127.0.0.1 has no public address"), "{error}");
    assert!(stack.receiver.received().is_empty());
}

#[tokio::test]
async fn literal_addresses_in_any_notation_are_refused() {
    let careful = Connections::new(false, system_lookup()).unwrap();
    let server = RawServer::start(|connection| connection.serve(OK));
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "100.64.0.1",
        "0",
    ] {
        assert_refused(&careful, host, &server).await;
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn names_of_private_addresses_are_refused_with_or_without_a_dot_at_the_end() {
    let server = RawServer::start(|connection| connection.serve(OK));
    // What a name server answers that knows the name with its dot, which a file of hosts does not.
    let dns: Lookup = Arc::new(|_| Box::pin(async { Ok(vec!["127.0.0.1:0".parse().unwrap()]) }));
    for (host, lookup) in [("localhost", system_lookup()), ("LOCALHOST", system_lookup()), ("localhost.", dns)] {
        let careful = Connections::new(false, lookup).unwrap();
        assert_refused(&careful, host, &server).await;
    }
    assert!(server.requests().is_empty());
}

/// A name whose owner answers the check with one address and the connection with another: there is no second answer.
#[tokio::test]
async fn a_name_is_resolved_once_and_what_was_vetted_is_connected_to() {
    let server = RawServer::start(|connection| connection.serve(OK));
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_| {
        let first = counting.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move { Ok(vec![if first { "127.0.0.1:0" } else { "169.254.169.254:0" }.parse().unwrap()]) })
    });
    let connections = Connections::new(true, lookup).unwrap();
    let url = format!("http://rebound.example:{}/", server.port);
    let answer = connections.post(&url, HeaderMap::new(), "{}".into()).await.unwrap();
    assert_eq!((answer.status().as_u16(), asked.load(Ordering::SeqCst)), (200, 1));
    assert!(server.requests()[0].contains("host: rebound.example"), "{:?}", server.requests());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let stack = stack().await;
    let target = RawServer::start(|connection| connection.serve(OK));
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let answer = format!("HTTP/1.1 {status}\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", target.url);
        let server = RawServer::start(move |connection| connection.serve(&answer));
        let error = said(&stack, &server.url, "").await;
        assert!(error.contains("redirects are not followed"), "{error}");
    }
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let proxy = RawServer::start(|connection| connection.serve(OK));
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"];
    let mut environment: Vec<_> = names.map(|name| (name.to_owned(), proxy.url.clone())).into();
    // DynamoDB's client may use it, and shall not need to.
    environment.push(("NO_PROXY".to_owned(), "127.0.0.1".to_owned()));
    let stack = stack_with(StackOptions { environment, ..options() }).await;
    route_to(&stack, &format!("{}/x", stack.receiver.url.replace("127.0.0.1", "localhost")), "").await;
    let body = event("no proxy");
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "processed");
    let through_proxy = proxy.requests().iter().any(|request| request.contains("webhook-id"));
    assert_eq!((received(&stack, &body).len(), through_proxy), (1, false));
}

#[tokio::test]
async fn of_an_events_headers_only_the_allowed_ones_leave_us() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    route_to(
        &stack,
        &format!("{}/x", stack.receiver.url),
        "headers = { X-Tenant = \"blue\" }\nforward = [\"X-Wanted\"]",
    )
    .await;
    let body = event("headers");
    let sent = [
        ("upstash-forward-x-wanted", "yes"),
        ("upstash-forward-authorization", "Bearer secret"),
        ("upstash-forward-cookie", "a=b"),
        ("upstash-forward-webhook-id", "forged"),
        ("upstash-forward-webhook-signature", "v1,forged"),
        ("upstash-forward-x-tenant", "red"),
        ("upstash-forward-traceparent", "00-1-2-01"),
    ];
    publish_with(&stack, "t", &sent, &body).await;
    stack.qstash.idle().await;
    let got = received(&stack, &body).remove(0);
    assert_eq!(
        (got.header("x-wanted"), got.header("x-tenant"), got.header("traceparent")),
        (Some("yes"), Some("blue"), Some("00-1-2-01"))
    );
    assert_eq!(got.header("webhook-id").unwrap().len(), 64);
    let signature = got.header("webhook-signature").unwrap();
    assert!(signature.starts_with("v1,") && !signature.contains("forged"));
    let names: Vec<&str> = got.headers.keys().map(http::HeaderName::as_str).collect();
    for absent in ["authorization", "cookie", "upstash-signature", "upstash-message-id", "accept-encoding"] {
        assert!(!names.contains(&absent), "{absent} in {names:?}");
    }
}

#[tokio::test]
async fn authorization_of_the_sender_is_passed_on_only_where_a_route_asks_for_it() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    route_to(&stack, &format!("{}/x", stack.receiver.url), "forward = [\"authorization\"]").await;
    let body = event("authorized");
    publish_with(&stack, "t", &[("upstash-forward-authorization", "Bearer for-the-shop")], &body).await;
    stack.qstash.idle().await;
    assert_eq!(received(&stack, &body)[0].header("authorization"), Some("Bearer for-the-shop"));
}

/// Named after a defect: a stricter rule for documents took headers away from routes that were in place.
#[tokio::test]
async fn a_header_that_the_table_has_is_sent_though_a_document_may_no_longer_have_it() {
    let stack = stack().await;
    route_to(&stack, &format!("{}/x", stack.receiver.url), "").await;
    let mut routes = stack.store().routes(true).await.unwrap();
    routes.version += 1;
    routes.routes[0].headers.insert("x-gitlab-token".into(), "known to the receiver".into());
    stack.store().put_routes(&routes, "", 0).await.unwrap();
    let body = event("a header of old");
    assert_eq!(deliver(&stack, "/strapi", body.as_bytes()).await.word(), "processed");
    assert_eq!(received(&stack, &body)[0].header("x-gitlab-token"), Some("known to the receiver"));
}

const HASTE: &str = "timeout = \"300ms\"";
const TOO_LATE: &str = "x: no answer in time";

/// Named after a defect: what is left of the handler's time was mistaken for what is left of the route's.
#[tokio::test]
async fn a_destination_with_the_shortest_time_limit_is_tried() {
    let stack = stack().await;
    let never: Lookup = Arc::new(|_| Box::pin(std::future::pending()));
    let connections = Connections::new(true, never).unwrap();
    assert_eq!(said_with(&stack, connections, "http://slow.example/", "timeout = \"100ms\"").await, TOO_LATE);
}

#[tokio::test]
async fn one_deadline_covers_the_look_up_of_the_name() {
    let stack = stack().await;
    let never: Lookup = Arc::new(|_| Box::pin(std::future::pending()));
    let connections = Connections::new(true, never).unwrap();
    assert_eq!(said_with(&stack, connections, "http://slow.example/", HASTE).await, TOO_LATE);
}

#[tokio::test]
async fn one_deadline_covers_the_connection() {
    let stack = stack().await;
    // A queue for one connection, which nobody takes: whoever comes after it waits for an answer to its SYN.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _first = tokio::net::TcpStream::connect(address).await.unwrap();
    assert_eq!(said(&stack, &format!("http://{address}/"), HASTE).await, TOO_LATE);
}

#[tokio::test]
async fn one_deadline_covers_the_handshake_of_tls() {
    let stack = stack().await;
    let silent = RawServer::start(|connection| connection.be_silent());
    assert_eq!(said(&stack, &format!("https://localhost:{}/", silent.port), HASTE).await, TOO_LATE);
}

#[tokio::test]
async fn one_deadline_covers_the_sending() {
    let stack = stack().await;
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = deaf.listen(8).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    route_to(&stack, &url, HASTE).await;
    // More than the buffers of both ends hold.
    let body = event(&"x".repeat(4_400_000));
    let answer = consumer(&stack, stack.store()).await.call(incoming(&stack, &body), moment()).await;
    assert_eq!(answer.outcome.word(), "transient-failure");
    assert_eq!(record(&stack, &body).await.unwrap().last_error.unwrap().text, TOO_LATE);
}

#[tokio::test]
async fn one_deadline_covers_the_answer() {
    let stack = stack().await;
    let silent = RawServer::start(|connection| {
        connection.read();
        connection.be_silent();
    });
    assert_eq!(said(&stack, &silent.url, HASTE).await, TOO_LATE);
}

#[tokio::test]
async fn a_status_is_the_verdict_even_if_its_body_never_ends() {
    let stack = stack().await;
    let started = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 1000\r\n\r\nno such field");
    let refusing = RawServer::start(move |connection| {
        connection.read();
        connection.write(&started("422 Unprocessable"));
        connection.be_silent();
    });
    assert_eq!(said(&stack, &refusing.url, "timeout = \"2s\"").await, "x: 422 no such field");
    let accepting = RawServer::start(move |connection| {
        connection.read();
        connection.write(&started("200 OK"));
        connection.be_silent();
    });
    route_to(&stack, &accepting.url, "").await;
    let body = event("accepted by its status");
    let answer = consumer(&stack, stack.store()).await.call(incoming(&stack, &body), moment()).await;
    assert_eq!(answer.outcome.word(), "processed");
}

#[tokio::test]
async fn an_endless_answer_is_read_up_to_64_kilobytes() {
    let stack = stack().await;
    let written = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&written);
    let endless = RawServer::start(move |connection| {
        connection.read();
        connection.write("HTTP/1.1 500 no\r\ntransfer-encoding: chunked\r\n\r\n");
        while connection.write(&format!("1000\r\n{}\r\n", "y".repeat(0x1000))) {
            counting.fetch_add(0x1000, Ordering::SeqCst);
        }
    });
    let error = said(&stack, &endless.url, "").await;
    assert!(error.starts_with("x: 500 yyyy") && error.len() <= 210, "{error}");
    endless.stand_still_until_it_closed_one();
    // What it could write is what the buffers of two sockets hold, and not what it had to say in eight seconds.
    assert!(written.load(Ordering::SeqCst) < 20_000_000, "{written:?}");
}

#[tokio::test]
async fn an_encoding_that_was_not_asked_for_is_not_decoded() {
    let stack = stack().await;
    let bomb = RawServer::start(|connection| {
        connection.serve("HTTP/1.1 500 no\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x08xx");
    });
    let error = said(&stack, &bomb.url, "").await;
    assert_eq!(error, "x: 500 (answered in an encoding that was not asked for)");
    assert!(!bomb.requests()[0].to_lowercase().contains("accept-encoding"), "{:?}", bomb.requests());
}

#[tokio::test]
async fn what_is_not_http_is_a_failure_that_may_pass() {
    let stack = stack().await;
    for noise in ["SSH-2.0-x\r\n", "HTTP/1.1 999 x\r\n\r\n", "HTTP/1.1 20"] {
        let server = RawServer::start(move |connection| {
            connection.read();
            connection.write(noise);
        });
        let error = said(&stack, &server.url, "").await;
        assert!(error.starts_with("x: "), "{noise}: {error}");
    }
}

#[tokio::test]
async fn a_destination_that_throttles_is_heard_and_retried_by_its_word() {
    let stack = stack().await;
    connect(&stack, "t", &[]).await;
    stack.receiver.react(|received| match received.number {
        0 => Reaction { status: 429, retry_after: Some(1), ..Reaction::default() },
        _ => Reaction::status(200).after(Duration::ZERO),
    });
    let body = event("throttled");
    publish(&stack, "t", &body).await;
    stack.qstash.idle().await;
    assert_eq!(received(&stack, &body).len(), 2);
    assert!(stack.store().breakers().await.unwrap().is_empty(), "who throttles is not in trouble");
}
