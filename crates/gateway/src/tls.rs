//! TLS, from certificates in files, for all listeners of the program.

use std::{fs, io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

mod asking;
mod identity;
mod outward;

pub use identity::Identity;
pub(crate) use outward::Outward;

use asking::Asking;

/// A digest of what files held.
type Digest = [u8; 32];

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsRefused {
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{path}` holds no {what} in PEM")]
    Pem {
        /// Which.
        path: String,
        /// What it should hold.
        what: &'static str,
    },
    /// The certificate and the key do not fit, or are of a kind that is not used.
    #[error("the certificate or its key cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
}

/// Whether a listener asks clients for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// It does not: browsers would ask the person.
    Nothing,
    /// It does, and goes on without one. Whoever shows one proves to hold its key, on each connection.
    Certificates,
}

/// TLS for clients: 1.3, and 1.2 with few ciphers; HTTP/2 preferred.
///
/// # Errors
/// What the library says.
pub fn server(identity: &Arc<Identity>, asks: Asks) -> Result<Arc<ServerConfig>, TlsRefused> {
    let builder =
        ServerConfig::builder_with_provider(recommended()).with_safe_default_protocol_versions()?;
    let builder = match asks {
        Asks::Nothing => builder.with_no_client_auth(),
        Asks::Certificates => builder.with_client_cert_verifier(Arc::new(Asking::new())),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(identity) as Arc<_>);
    if asks == Asks::Certificates {
        // A session that is taken up again would bring a certificate that nobody proves anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS toward services whose certificates are signed by those in a file.
///
/// # Errors
/// What is wrong with the file.
pub fn client(ca: &Path) -> Result<Arc<ClientConfig>, TlsRefused> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, &read(ca)?)? {
        roots.add(certificate)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// With the ciphers that BCP 195 recommends for TLS 1.2, and no others (RFC 9325 §4.2, FAPI 2.0
/// Security Profile §5.2.2). Whoever is better off with another speaks TLS 1.3.
fn recommended() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|cipher| {
        use rustls::CipherSuite as C;
        let recommended = [
            C::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            C::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            C::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            C::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ];
        cipher.tls13().is_some() || recommended.contains(&cipher.suite())
    });
    Arc::new(provider)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsRefused> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| not_pem(path, "certificate"))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsRefused> {
    fs::read(path).map_err(|error| TlsRefused::File { path: path.display().to_string(), error })
}

fn not_pem(path: &Path, what: &'static str) -> TlsRefused {
    TlsRefused::Pem { path: path.display().to_string(), what }
}
