//! TLS toward services: whose certificates count, and which one the gateway shows. From files, and anew
//! when they change.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use tegata_mesh::reach;
use zeroize::Zeroizing;

use super::{Digest, TlsRefused, certificates, not_pem, provider, read};

/// How connections to a service are secured. Without what its files should hold there are none.
pub(crate) struct Outward {
    said: reach::Outward,
    config: ArcSwapOption<ClientConfig>,
    /// Which of its contents this is: connections that were made with others are not used.
    generation: AtomicU64,
    /// The digest of what the files held.
    held: Mutex<Option<Digest>>,
}

impl Outward {
    /// What `said` names, with `authorities` where it names none of its own. The files are not read yet.
    pub(crate) fn new(said: &reach::Outward, authorities: Option<&PathBuf>) -> Self {
        let mut said = said.clone();
        said.ca_file = said.ca_file.or_else(|| authorities.cloned());
        Self {
            said,
            config: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            held: Mutex::new(None),
        }
    }

    /// Whether it is what `said` and `authorities` would make.
    pub(crate) fn is_of(&self, said: &reach::Outward, authorities: Option<&PathBuf>) -> bool {
        let own = said.ca_file.as_ref().or(authorities);
        self.said.ca_file.as_ref() == own
            && self.said.client == said.client
            && self.said.server_name == said.server_name
            && self.said.spiffe_id == said.spiffe_id
    }

    /// Whether they are the same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// What connections are made with; nothing where a file could never be used.
    pub(crate) fn config(&self) -> Option<Arc<ClientConfig>> {
        self.config.load_full()
    }

    /// The name to ask for, where it is another than the host.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.said.server_name.as_deref()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Takes over what the files hold now, and answers whether that is something else than before.
    /// Blocks.
    ///
    /// # Errors
    /// What is wrong with them: then what they held before counts, and nothing if that was nothing.
    pub(crate) fn renew(&self) -> Result<bool, TlsRefused> {
        let mut held = self.held.lock();
        let ca_file = self.said.ca_file.as_ref().ok_or_else(|| TlsRefused::File {
            path: "ca_file".to_owned(),
            error: io::Error::new(io::ErrorKind::NotFound, "no file is named"),
        })?;
        let roots = read(ca_file)?;
        let mut context = Context::new(&SHA256);
        context.update(&roots.len().to_be_bytes());
        context.update(&roots);
        let client = match &self.said.client {
            None => None,
            Some((certificate, key)) => {
                let shown = read(certificate)?;
                let secret = Zeroizing::new(read(key)?);
                context.update(&shown.len().to_be_bytes());
                context.update(&shown);
                context.update(&secret);
                Some((certificate, shown, key, secret))
            }
        };
        let mut digest = Digest::default();
        digest.copy_from_slice(context.finish().as_ref());
        if *held == Some(digest) {
            return Ok(false);
        }
        let mut store = RootCertStore::empty();
        for certificate in certificates(ca_file, &roots)? {
            store.add(certificate)?;
        }
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.said.spiffe_id {
            None => builder.with_root_certificates(store),
            Some(id) => {
                let named = Named { id: id.clone(), roots: store, provider };
                // Less is not checked, but something else: the URI in place of the name.
                builder.dangerous().with_custom_certificate_verifier(Arc::new(named))
            }
        };
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, shown, key, secret)) => {
                let chain = certificates(certificate, &shown)?;
                let secret = PrivateKeyDer::from_pem_slice(&secret)
                    .map_err(|_| not_pem(key, "private key"))?;
                builder.with_client_auth_cert(chain, secret)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        self.config.store(Some(Arc::new(config)));
        *held = Some(digest);
        // After what it stands for: a connection that is kept under the number was made with no older.
        self.generation.fetch_add(1, Ordering::Release);
        Ok(true)
    }
}

/// Knows a service by the SPIFFE ID in its certificate (X509-SVID §5.2), whatever its host is called.
#[derive(Debug)]
struct Named {
    id: String,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let roots = &self.roots;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        let certificate = webpki::EndEntityCert::try_from(end_entity)
            .map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
        // One URI: with several, readers would disagree about who it is.
        let mut names = certificate.valid_uri_names();
        match (names.next(), names.next()) {
            (Some(name), None) if name == self.id => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Outward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outward({:?})", self.said)
    }
}
