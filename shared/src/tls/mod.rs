//! Whom our connections trust.
//!
//! Each library reads the system's certificate authorities by itself, from a file and from a folder, and with a decoder that takes eighty
//! instructions for a byte: together that was three quarters of a cold start. A function reads them once, from one file, and needs none of
//! them for its calls to AWS: Amazon's own authorities vouch for its services. Elsewhere a start may take some milliseconds longer, and the
//! libraries do as they are used to.

use std::{
    convert::Infallible,
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::http_client_fn;
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::CertificateDer,
    version::{TLS12, TLS13},
};

use crate::{environment::Renewed, outside, telemetry::on_lambda};

/// Amazon Root CA 1 to 4 and Starfield Services Root Certificate Authority G2, none of which ends before 2037. Source: Amazon Trust
/// Services, "Repository": who keeps a list of his own is to have these five on it. Should AWS ever move on, the template's parameter
/// `CertificateAuthorities` names another list, without a new build (`docs/operations.md`, "AWS is not trusted").
const AMAZON: &[u8] = include_bytes!("amazon-roots.pem");

/// What every function has, on Lambda and on a laptop, and no command.
const IN_A_FUNCTION: &str = "AWS_LAMBDA_RUNTIME_API";

/// A file with the authorities to trust.
const FILE: &str = "SSL_CERT_FILE";
/// A folder with them, each in a file of its own.
const FOLDER: &str = "SSL_CERT_DIR";

/// Variables by which somebody says whom to trust, which way to go, or where AWS is.
const SAID_OTHERWISE: [&str; 10] = [
    FILE,
    FOLDER,
    "AWS_CONFIG_FILE",
    "AWS_SAM_LOCAL",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Regions of AWS's public partition and of its American government's. Others (China, the European Sovereign Cloud, those that are closed)
/// have authorities of their own, or may have.
const VOUCHED_FOR: [&str; 9] = ["af-", "ap-", "ca-", "eu-", "il-", "me-", "mx-", "sa-", "us-"];
const CLOSED: [&str; 2] = ["us-iso", "eu-iso"];

/// The variables that lead calls to AWS elsewhere.
pub(crate) const ENDPOINTS: [&str; 4] =
    ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL_SECRETS_MANAGER"];

/// The system's authorities, read when the first client is built.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| Arc::new(system()));

/// The one TLS configuration of all clients but those for AWS. A client that is built anew after a freeze resumes the sessions of the last.
static CONFIG: LazyLock<Option<ClientConfig>> = LazyLock::new(config);

/// Returns a builder of clients that trust the system's authorities, and speak HTTP/2 or 1.1.
pub fn client() -> reqwest::ClientBuilder {
    let config = if outside::variable(IN_A_FUNCTION).is_some() { CONFIG.clone() } else { None };
    let builder = reqwest::Client::builder();
    match config {
        Some(config) => builder.tls_backend_preconfigured(config),
        None => builder,
    }
}

/// Returns `None` only if the provider had no suites for both versions, which it has.
fn config() -> Option<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).ok()?;
    let mut config = builder.with_root_certificates(Arc::clone(&SYSTEM)).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some(config)
}

/// Returns the client for calls to AWS from a function, whose connections do not outlive a freeze; `None` elsewhere, where the SDK's own
/// client is the right one. It trusts Amazon alone, unless the environment says otherwise.
pub fn for_aws(look_up: impl Fn(&str) -> Option<String> + Copy + Send + Sync + 'static) -> Option<SharedHttpClient> {
    look_up(IN_A_FUNCTION)?;
    let build = move || {
        let amazons = if on_lambda() && amazon_vouches(look_up) { amazons_client() } else { None };
        Ok::<_, Infallible>(amazons.unwrap_or_else(systems_client))
    };
    let Ok(client) = Renewed::new(build);
    Some(http_client_fn(move |settings, components| client.get().http_connector(settings, components)))
}

/// Returns a client that trusts the system's authorities and goes through its proxies, as the SDK's own does.
fn systems_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut builder = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .proxy_config(ProxyConfig::from_env());
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        builder.build()
    })
}

fn amazons_client() -> Option<SharedHttpClient> {
    let trusted = TrustStore::empty().with_pem_certificate(AMAZON);
    let context = TlsContext::builder().with_trust_store(trusted).build().ok()?;
    Some(Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}

fn amazon_vouches(look_up: impl Fn(&str) -> Option<String>) -> bool {
    let region = look_up("AWS_REGION").unwrap_or_default();
    let is_elsewhere = |name: &str| look_up(name).is_some_and(|url| url.to_ascii_lowercase().starts_with("https:"));
    !SAID_OTHERWISE.into_iter().any(|name| look_up(name).is_some())
        && !ENDPOINTS.into_iter().any(is_elsewhere)
        && VOUCHED_FOR.into_iter().any(|prefix| region.starts_with(prefix))
        && !CLOSED.into_iter().any(|prefix| region.starts_with(prefix))
}

fn system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let certificates = bundle().unwrap_or_else(|| rustls_native_certs::load_native_certs().certs);
    let (known, _odd) = roots.add_parsable_certificates(certificates);
    if known == 0 {
        tracing::error!(
            "the system has no certificate authorities: no HTTPS destination can be reached. Set SSL_CERT_FILE"
        );
    }
    roots
}

/// The one file that has them all, where the system has such a file. Somebody who names folders has no such file in mind.
fn bundle() -> Option<Vec<CertificateDer<'static>>> {
    if outside::variable(FOLDER).is_some() {
        return None;
    }
    // A file that was named and is not there must not be replaced by another one.
    let file = outside::variable(FILE).map(PathBuf::from).or_else(|| openssl_probe::probe().cert_file)?;
    let text = fs::read_to_string(file).ok()?;
    Some(certificates(&text).collect()).filter(|found: &Vec<_>| !found.is_empty())
}

/// The certificates of a file. Source: RFC 7468, section 5.1, of which files of authorities use no more than this. What can't be
/// decoded is left out, as everybody does.
fn certificates(text: &str) -> impl Iterator<Item = CertificateDer<'static>> {
    text.split("-----BEGIN CERTIFICATE-----").skip(1).filter_map(|section| {
        let (encoded, _rest) = section.split_once("-----END CERTIFICATE-----")?;
        let digits: String = encoded.lines().map(str::trim).collect();
        STANDARD.decode(digits).ok().map(CertificateDer::from)
    })
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
