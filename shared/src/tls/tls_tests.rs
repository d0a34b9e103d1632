use std::collections::HashSet;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use rustls::pki_types::pem::PemObject;

use super::*;

fn amazon_vouches_with(variables: &[(&str, &str)]) -> bool {
    let known = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    amazon_vouches(known)
}

fn amazon() -> &'static str {
    std::str::from_utf8(AMAZON).unwrap()
}

#[test]
fn amazon_vouches_for_itself_unless_somebody_says_otherwise() {
    for (region, expected) in [
        ("eu-central-1", true),
        ("us-gov-west-1", true),
        ("cn-north-1", false),
        ("us-iso-east-1", false),
        ("us-isob-east-1", false),
        ("eu-isoe-west-1", false),
        ("eusc-de-east-1", false),
        ("", false),
    ] {
        assert_eq!(amazon_vouches_with(&[("AWS_REGION", region)]), expected, "{region}");
    }
    for (others, expected) in [
        (vec![("SSL_CERT_FILE", "/etc/pki/tls/certs/ca-bundle.crt")], false),
        (vec![("SSL_CERT_DIR", "/etc/ssl/certs")], false),
        (vec![("https_proxy", "http://proxy:3128")], false),
        (vec![("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000")], true),
        (vec![("AWS_ENDPOINT_URL_DYNAMODB", "https://dynamodb.example")], false),
        (vec![("AWS_ENDPOINT_URL", "HTTPS://localhost.example")], false),
        (vec![("AWS_CONFIG_FILE", "/opt/aws/config")], false),
    ] {
        let variables: Vec<_> = others.iter().copied().chain([("AWS_REGION", "eu-central-1")]).collect();
        assert_eq!(amazon_vouches_with(&variables), expected, "{others:?}");
    }
}

#[test]
fn all_five_of_amazons_authorities_are_there() {
    assert_eq!(RootCertStore::empty().add_parsable_certificates(certificates(amazon())), (5, 0));
}

#[test]
fn a_file_of_authorities_reads_as_rustls_reads_it() {
    let plain = amazon().to_owned();
    let (windows, told) = (plain.replace('\n', "\r\n"), format!("# Amazon\n{plain}\n# the end"));
    for text in [plain, windows, told, String::new()] {
        let theirs: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(certificates(&text).collect::<Vec<_>>(), theirs);
    }
}

#[test]
fn an_entry_that_can_not_be_decoded_hides_no_other() {
    let (broken, cut_off) = (amazon().replacen("MII", "!!!", 1), &amazon()[..amazon().len() - 30]);
    assert_eq!(certificates(&broken).count(), 4);
    assert_eq!(certificates(cut_off).count(), 4);
}

#[test]
fn a_function_trusts_whom_the_libraries_trust_on_this_system() {
    let mut theirs = RootCertStore::empty();
    theirs.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let ours: HashSet<_> = SYSTEM.roots.iter().map(|root| root.subject.to_vec()).collect();
    assert!(theirs.roots.iter().all(|root| ours.contains(root.subject.as_ref())), "{} of {}", ours.len(), theirs.len());
}

#[test]
fn a_client_for_aws_can_be_built() {
    let client = amazons_client().unwrap();
    let settings = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).region(Region::new("eu-central-1"));
    drop(aws_sdk_dynamodb::Client::new(&settings.http_client(client).build()));
}
