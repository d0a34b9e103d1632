//! Connections: kept, replaced when they are dead, never used to send twice; HTTP/2 where it is offered.

use std::sync::{Arc, Mutex, mpsc::channel};

use axum::{Router, extract::Request, routing::post};
use http::HeaderMap;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use surehook_consumer::{
    Consumer,
    deliver::{Deliverer, address::system_lookup, connect::Connections},
};
use surehook_local::{Stack, StackOptions};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

use crate::support::{
    apply,
    consumer::{consumer, incoming, moment},
    deliver, event, options,
    raw::{OK, RawServer},
    stack, stack_with,
};

fn connections() -> Connections {
    Connections::new(true, system_lookup()).unwrap()
}

/// Posts, and reads the answer to its end, as a delivery does.
async fn post_to(connections: &Connections, url: &str) -> Result<u16, String> {
    let answer = connections.post(url, HeaderMap::new(), "{}".into()).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    answer.bytes().await.map_err(|error| error.to_string())?;
    Ok(status)
}

/// A consumer that delivers everything to a server.
async fn consumer_of(stack: &Stack, server: &RawServer) -> Consumer<Deliverer> {
    apply(stack, &format!("[[route]]\nname = \"raw\"\nsource = \"strapi\"\nurl = \"{}/\"\n", server.url)).await;
    consumer(stack, stack.store()).await
}

async fn outcome(consumer: &Consumer<Deliverer>, stack: &Stack, text: &str) -> &'static str {
    consumer.call(incoming(stack, &event(text)), moment()).await.outcome.word()
}

#[tokio::test]
async fn a_connection_serves_one_event_after_another() {
    let server = RawServer::start(|connection| match connection.number {
        0 => connection.serve(OK),
        _ => connection.serve("HTTP/1.1 500 another connection\r\ncontent-length: 0\r\n\r\n"),
    });
    let connections = connections();
    for _ in 0..5 {
        assert_eq!(post_to(&connections, &server.url).await, Ok(200));
    }
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn a_delivery_leaves_its_connection_ready_for_the_next() {
    let stack = stack().await;
    let server = RawServer::start(|connection| match connection.number {
        0 => connection.serve(OK),
        _ => connection.serve("HTTP/1.1 500 another connection\r\ncontent-length: 0\r\n\r\n"),
    });
    let consumer = consumer_of(&stack, &server).await;
    for n in 0..3 {
        assert_eq!(outcome(&consumer, &stack, &format!("kept {n}")).await, "processed");
    }
    assert_eq!(server.requests().len(), 3);
}

/// The environment is frozen after its answer, and the destination closes the connection meanwhile: the runtime of this test has
/// one thread, and that stands still. The next event comes by way of the ledger, and so not before the sockets were looked at.
#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_died_in_a_freeze_is_replaced_and_the_request_is_sent_once() {
    let stack = stack().await;
    let (freeze, frozen) = channel();
    let frozen = Mutex::new(frozen);
    let server = RawServer::start(move |connection| match connection.number {
        0 => {
            connection.read();
            connection.write(OK);
            frozen.lock().unwrap().recv().unwrap();
        }
        _ => connection.serve(OK),
    });
    let consumer = consumer_of(&stack, &server).await;
    assert_eq!(outcome(&consumer, &stack, "before").await, "processed");
    freeze.send(()).unwrap();
    server.stand_still_until_it_closed_one();
    assert_eq!(outcome(&consumer, &stack, "after").await, "processed");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_request_that_was_sent_and_not_answered_is_not_sent_again() {
    let server = RawServer::start(|connection| match connection.number {
        0 => {
            connection.read();
            connection.write(OK);
            // The second request is read, and the connection closed without a word.
            connection.read();
        }
        _ => connection.serve(OK),
    });
    let connections = connections();
    assert_eq!(post_to(&connections, &server.url).await, Ok(200));
    assert!(post_to(&connections, &server.url).await.is_err());
    assert_eq!(server.requests().len(), 2, "the destination may have done its work: only QStash tries again");
}

/// A destination over TLS that offers HTTP/2, and the certificate that it is to be believed by.
async fn tls_server(versions: mpsc::UnboundedSender<http::Version>, protocols: &[&str]) -> (u16, String) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let app = Router::new().fallback(post(move |request: Request| {
        versions.send(request.version()).unwrap();
        async {}
    }));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(app.clone()));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _closed =
                        Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    (port, cert.pem())
}

/// Delivers to a TLS destination, which the consumer believes or not, and says what it was answered, and by which protocol.
async fn deliver_over_tls(protocols: &[&str], is_trusted: bool) -> (String, Vec<http::Version>) {
    let (tell, mut versions) = mpsc::unbounded_channel();
    let (port, certificate) = tls_server(tell, protocols).await;
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, certificate).unwrap();
    let environment = is_trusted.then(|| ("SSL_CERT_FILE".to_owned(), trusted.to_str().unwrap().to_owned()));
    let stack =
        stack_with(StackOptions { environment: environment.into_iter().collect(), concurrency: 1, ..options() }).await;
    apply(&stack, &format!("[[route]]\nname = \"tls\"\nsource = \"strapi\"\nurl = \"https://localhost:{port}/\"\n"))
        .await;
    let body = r#"{"event":"media.create","createdAt":"tls","media":{}}"#;
    let answer = deliver(&stack, "/strapi", body.as_bytes()).await;
    let mut seen = Vec::new();
    while let Ok(version) = versions.try_recv() {
        seen.push(version);
    }
    (answer.word().to_owned(), seen)
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered() {
    assert_eq!(deliver_over_tls(&["h2", "http/1.1"], true).await, ("processed".into(), vec![http::Version::HTTP_2]));
    assert_eq!(deliver_over_tls(&["http/1.1"], true).await, ("processed".into(), vec![http::Version::HTTP_11]));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_gets_nothing() {
    assert_eq!(deliver_over_tls(&["h2"], false).await, ("transient-failure".into(), vec![]));
}
