//! DynamoDB behind TLS, as it is on AWS: a front with a certificate of an authority that the functions are told to trust.
//!
//! The certificate is RSA with 2,048 bits, as DynamoDB's is. The file of authorities has the system's own in it too: who reads such
//! a file at start reads as much as on Lambda.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

use crate::error::BenchError;

/// Where systems keep the authorities that they trust: Debian, Amazon Linux, Alpine.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A running front. It ends with the runtime that it was started on.
#[derive(Debug)]
pub(crate) struct Front {
    /// Where functions find DynamoDB.
    pub(crate) url: String,
    /// The authority alone, for who adds it to what is built in.
    pub(crate) authority: PathBuf,
    /// The authority with the system's, for who reads nothing else.
    pub(crate) authorities: PathBuf,
}

struct Identity {
    authority: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Front {
    /// Starts one before a database, and writes the files of authorities into a folder.
    pub(crate) async fn start(database: &str, folder: &Path) -> Result<Self, BenchError> {
        let identity = identity()?;
        let authority = folder.join("authority.pem");
        let authorities = folder.join("authorities.pem");
        fs::write(&authority, &identity.authority).map_err(BenchError::file(&authority))?;
        let all = system_authorities() + "\n" + &identity.authority;
        fs::write(&authorities, all).map_err(BenchError::file(&authorities))?;
        let upstream = database.trim_start_matches("http://").replace("localhost", "127.0.0.1");
        let upstream: SocketAddr =
            upstream.parse().map_err(|_not_so| BenchError::Table(format!("{database} is no address with a port")))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(BenchError::system("a port for TLS"))?;
        let port = listener.local_addr().map_err(BenchError::system("a port for TLS"))?.port();
        tokio::spawn(serve(listener, acceptor(identity)?, upstream));
        Ok(Self { url: format!("https://localhost:{port}"), authority, authorities })
    }
}

fn identity() -> Result<Identity, BenchError> {
    let mut params = CertificateParams::new(Vec::new())?;
    // Without a name of its own, OpenSSL would take what it signs for signed by itself.
    params.distinguished_name.push(DnType::CommonName, "Surehook benchmark authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let root = params.self_signed(&root_key)?;
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let issuer = Issuer::new(params, root_key);
    let leaf = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    Ok(Identity { authority: root.pem(), chain: vec![leaf.der().clone()], key: key.into() })
}

fn acceptor(identity: Identity) -> Result<TlsAcceptor, BenchError> {
    let builder =
        ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(identity.chain, identity.key)?;
    // DynamoDB speaks nothing newer.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn system_authorities() -> String {
    SYSTEM_AUTHORITIES.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default()
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, upstream: SocketAddr) {
    while let Ok((stream, _client)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A function that is killed breaks its connection off; that is nobody's error.
            let _ended = pass(stream, &acceptor, upstream).await;
        });
    }
}

async fn pass(stream: TcpStream, acceptor: &TlsAcceptor, upstream: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut inside = TcpStream::connect(upstream).await?;
    inside.set_nodelay(true)?;
    let mut outside = acceptor.accept(stream).await?;
    tokio::io::copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}
