//! Destinations over TLS: certificates, HTTP/2 where it is offered, and what is sent again on it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, extract::Request, routing::post};
use h2::{Reason, server::SendResponse};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use surehook_local::StackOptions;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
    server::TlsStream,
};

use crate::support::{apply, deliver, options, stack_with};

/// A listener over TLS, and the certificate that it is to be believed by.
struct Door {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    port: u16,
    certificate: String,
}

impl Door {
    async fn open(protocols: &[&str]) -> Self {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), port, certificate: cert.pem() }
    }

    /// Has this talk on each connection whose handshake succeeds.
    async fn serve<F: Future<Output = ()> + Send + 'static>(self, talk: impl Fn(TlsStream<TcpStream>) -> F) {
        loop {
            let (stream, _) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                tokio::spawn(talk(stream));
            }
        }
    }
}

/// Delivers to a destination behind a door, which the consumer believes or not, and says how that ended.
async fn deliver_through<F>(
    door: Door,
    is_trusted: bool,
    talk: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let (port, certificate) = (door.port, door.certificate.clone());
    tokio::spawn(door.serve(talk));
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, certificate).unwrap();
    let environment = is_trusted.then(|| ("SSL_CERT_FILE".to_owned(), trusted.to_str().unwrap().to_owned()));
    let stack =
        stack_with(StackOptions { environment: environment.into_iter().collect(), concurrency: 1, ..options() }).await;
    apply(&stack, &format!("[[route]]\nname = \"tls\"\nsource = \"strapi\"\nurl = \"https://localhost:{port}/\"\n"))
        .await;
    let body = r#"{"event":"media.create","createdAt":"tls","media":{}}"#;
    deliver(&stack, "/strapi", body.as_bytes()).await.word().to_owned()
}

/// Delivers to a destination that offers these protocols, and says by which it was spoken to.
async fn deliver_by(protocols: &[&str], is_trusted: bool) -> (String, Vec<http::Version>) {
    let (tell, mut versions) = mpsc::unbounded_channel();
    let app = Router::new().fallback(post(move |request: Request| {
        tell.send(request.version()).unwrap();
        async {}
    }));
    let talk = move |stream| {
        let service = TowerToHyperService::new(app.clone());
        async move {
            let _closed = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        }
    };
    let word = deliver_through(Door::open(protocols).await, is_trusted, talk).await;
    (word, std::iter::from_fn(|| versions.try_recv().ok()).collect())
}

/// What a destination does with a request on HTTP/2.
#[derive(Clone, Copy)]
enum Does {
    Accepts,
    /// Says that it has not processed it.
    Refuses,
    /// Closes the connection without a word.
    HangsUp,
}

/// Delivers to a destination that does this with the first request and accepts all others; says how often it was asked.
async fn deliver_by_http_2(first: Does) -> (String, usize) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let talk = move |stream| {
        let counting = Arc::clone(&counting);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_request, respond))) = connection.accept().await {
                let does = if counting.fetch_add(1, Ordering::SeqCst) == 0 { first } else { Does::Accepts };
                if !react(does, respond) {
                    return;
                }
            }
        }
    };
    let word = deliver_through(Door::open(&["h2"]).await, true, talk).await;
    (word, asked.load(Ordering::SeqCst))
}

/// Reacts to a request; says whether the connection goes on.
fn react(does: Does, mut respond: SendResponse<bytes::Bytes>) -> bool {
    match does {
        Does::Accepts => drop(respond.send_response(http::Response::new(()), true).unwrap()),
        Does::Refuses => respond.send_reset(Reason::REFUSED_STREAM),
        Does::HangsUp => return false,
    }
    true
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered() {
    assert_eq!(deliver_by(&["h2", "http/1.1"], true).await, ("processed".into(), vec![http::Version::HTTP_2]));
    assert_eq!(deliver_by(&["http/1.1"], true).await, ("processed".into(), vec![http::Version::HTTP_11]));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_gets_nothing() {
    assert_eq!(deliver_by(&["h2"], false).await, ("transient-failure".into(), vec![]));
}

#[tokio::test]
async fn what_a_destination_says_it_has_not_processed_is_sent_again_at_once() {
    assert_eq!(deliver_by_http_2(Does::Refuses).await, ("processed".into(), 2));
}

#[tokio::test]
async fn what_was_sent_on_http_2_and_not_answered_is_not_sent_again() {
    assert_eq!(deliver_by_http_2(Does::HangsUp).await, ("transient-failure".into(), 1));
}
