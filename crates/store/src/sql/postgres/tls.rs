//! TLS toward the database, with the meaning that libpq gives to `sslmode` and `sslrootcert`.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};

use super::PostgresRefused;

/// Where systems keep the certificates of the authorities that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/etc/ssl/cert.pem",                  // Alpine, macOS
];

/// How much a connection is protected: `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Not at all.
    Disable,
    /// Encrypted if the server can, so that whoever is in between decides.
    Prefer,
    /// Encrypted, but not certain with whom.
    Require,
    /// With a server whose certificate a trusted authority has signed.
    VerifyCa,
    /// With the server that the address names.
    VerifyFull,
}

impl Mode {
    /// Whether somebody in between can pose as the server.
    pub(super) fn is_blind(self) -> bool {
        matches!(self, Self::Disable | Self::Prefer | Self::Require)
    }

    pub(super) fn read(text: &str) -> Result<Self, PostgresRefused> {
        Ok(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => {
                return refused(
                    "`sslmode` is none of `disable`, `prefer`, `require`, `verify-ca`, \
                     `verify-full`"
                        .to_owned(),
                );
            }
        })
    }
}

/// What an address says about TLS.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust {
    /// `sslmode`.
    pub(super) mode: Option<Mode>,
    /// `sslrootcert`: a file, or `system`.
    pub(super) roots: Option<String>,
    /// `sslcert`: a file with our certificate.
    pub(super) certificate: Option<String>,
    /// `sslkey`: a file with its key.
    pub(super) key: Option<String>,
}

impl Trust {
    /// The mode that is meant. As in libpq, the roots of the system, which have signed certificates
    /// for half the world, are worth something only together with the name, and roots that were
    /// named are used even where `require` alone would not.
    pub(super) fn mode(&self) -> Mode {
        match (self.mode, self.roots.as_deref()) {
            (None | Some(Mode::VerifyFull), Some("system")) => Mode::VerifyFull,
            (Some(Mode::Require), Some(_)) => Mode::VerifyCa,
            (mode, _) => mode.unwrap_or(Mode::Prefer),
        }
    }
}

/// The TLS client that an address asks for.
pub(super) fn client(trust: &Trust) -> Result<ClientConfig, PostgresRefused> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mode = trust.mode();
    let system = trust.roots.as_deref() == Some("system");
    if system && mode != Mode::VerifyFull {
        return refused("`sslrootcert=system` needs `sslmode=verify-full`".to_owned());
    }
    let roots = if mode.is_blind() { None } else { Some(roots(trust)?) };
    let named = mode == Mode::VerifyFull;
    let verifier = Verifier { provider: provider.clone(), roots, named };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .or_else(|error| refused(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match (&trust.certificate, &trust.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let file = key;
            let key = PrivateKeyDer::from_pem_file(file)
                .or_else(|error| refused(format!("`sslkey` `{file}`: {error}")))?;
            builder
                .with_client_auth_cert(certificates("sslcert", certificate)?, key)
                .or_else(|error| refused(format!("`sslcert` and `sslkey`: {error}")))
        }
        _ => refused("`sslcert` and `sslkey` are given together or not at all".to_owned()),
    }
}

fn roots(trust: &Trust) -> Result<RootCertStore, PostgresRefused> {
    let file = match trust.roots.as_deref() {
        Some("system") => SYSTEM_ROOTS
            .into_iter()
            .find(|file| Path::new(file).exists())
            .map_or_else(|| refused("`sslrootcert=system` finds no certificates".to_owned()), Ok)?,
        Some(file) => file,
        None => {
            return refused(
                "`sslmode` asks to verify the server, so `sslrootcert` must name a file of \
                 certificates, or `system`"
                    .to_owned(),
            );
        }
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates("sslrootcert", file)?);
    if added == 0 {
        return refused(format!("`sslrootcert` `{file}` holds no certificate"));
    }
    Ok(roots)
}

fn certificates(
    parameter: &str,
    file: &str,
) -> Result<Vec<CertificateDer<'static>>, PostgresRefused> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .or_else(|error| refused(format!("`{parameter}` `{file}`: {error}")))
}

/// Decides whether a server is the one that is meant. Whatever the mode, the handshake proves that
/// the server has the key of the certificate that it shows.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// Who may have signed the certificate. `prefer` and `require` do not ask: they keep out who
    /// listens, not who poses as the server.
    roots: Option<RootCertStore>,
    /// Whether the certificate must be for the name in the address.
    named: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
            if self.named {
                verify_server_name(&certificate, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn refused<T>(detail: String) -> Result<T, PostgresRefused> {
    Err(PostgresRefused::Address { detail })
}
