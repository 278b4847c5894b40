//! TLS toward the server: `sslmode` and `sslrootcert` mean what they mean to every other client.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tegata_core::{Expect, Records, StoreError};
use tegata_engines::PostgresServer;
use tegata_store::PostgresRefused;

use super::support::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Puts a certificate for `localhost` beside the server.
fn furnish(authority: &Authority, data: &Path) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    fs::write(data.join("server.crt"), certificate.pem()).unwrap();
    let file = data.join("server.key");
    fs::write(&file, key.serialize_pem()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, mode).unwrap();
}

#[tokio::test]
async fn a_server_is_verified_as_far_as_the_address_asks() {
    let (ours, foreign) = (authority(), authority());
    let server = PostgresServer::listening("ssl = on", |data| furnish(&ours, data));
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &Authority| {
        let path = directory.path().join(name);
        fs::write(&path, authority.pem()).unwrap();
        path.display().to_string()
    };
    let (ours, foreign) = (file("ours", &ours), file("foreign", &foreign));
    let database = server.database();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl WHERE ssl AND pid <> pg_backend_pid()";
    for (host, parameters, opens) in [
        ("localhost", "sslmode=disable".to_owned(), Some("0")),
        ("localhost", "sslmode=prefer".to_owned(), Some("1")),
        ("localhost", String::new(), Some("1")),
        ("localhost", "sslmode=require".to_owned(), Some("1")),
        ("localhost", format!("sslmode=require&sslrootcert={ours}"), Some("1")),
        // As in libpq, roots that are named are used.
        ("localhost", format!("sslmode=require&sslrootcert={foreign}"), None),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={ours}"), Some("1")),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={foreign}"), None),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ours}"), Some("1")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={foreign}"), None),
        ("localhost", "sslmode=verify-full&sslrootcert=system".to_owned(), None),
        ("localhost", "sslrootcert=system".to_owned(), None),
        // The certificate is for the name, not for the address.
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ours}"), Some("1")),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ours}"), None),
    ] {
        let url = format!("{}?{parameters}", database.url_on(host));
        let opened = open_with(&url, calm()).await;
        match (opened, opens) {
            (Ok(postgres), Some(sessions)) => {
                postgres.records().commit(note("one", Expect::Any, "")).await.unwrap();
                assert_eq!(database.sql(encrypted), sessions, "{parameters}");
                drop(postgres);
                soon(async || database.sql(encrypted) == "0").await;
            }
            // Nobody needs to wait for another certificate.
            (Err(PostgresRefused::Store(StoreError::Refused { detail, .. })), None) => {
                assert!(detail.contains("certificate"), "{parameters}: {detail}");
            }
            (opened, _) => panic!("{host} {parameters}: {opened:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_without_encryption_is_not_taken_for_one_with() {
    let server = PostgresServer::listening("", |_| {});
    let database = server.database();
    open(&format!("{}?sslmode=prefer", database.url_on("localhost"))).await;
    for parameters in ["sslmode=require", "sslmode=verify-full&sslrootcert=system"] {
        let url = format!("{}?{parameters}", database.url_on("localhost"));
        let refused = open_with(&url, calm()).await.unwrap_err().to_string();
        assert!(refused.contains("does not support TLS"), "{refused}");
    }
}
