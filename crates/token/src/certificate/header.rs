//! Certificates that a proxy tells of, which ended the client's TLS (RFC 9440).
//!
//! What stands there is as good as who wrote it: nobody but a trusted proxy is to be read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::CertificateDer;

use super::{CertificateRefused, ClientCertificate, LARGEST, LONGEST_CHAIN};

/// The header that carries the certificate, in lower case.
pub const CLIENT_CERT: &str = "client-cert";
/// The header that carries those which came with it, in lower case.
pub const CLIENT_CERT_CHAIN: &str = "client-cert-chain";

/// The longest field: of so many bytes that a certificate has in base64.
const LONGEST: usize = LARGEST.div_ceil(3) * 4 + 2;

/// Why the headers do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefused {
    /// The certificate is there more than once: a proxy let one pass that it did not write.
    #[error("Client-Cert stands more than once")]
    Several,
    /// A field is not as RFC 9440 writes it.
    #[error("Client-Cert or Client-Cert-Chain is not one byte sequence, or a list of them")]
    Malformed,
    /// There is no certificate, but what came with one.
    #[error("Client-Cert-Chain stands without Client-Cert")]
    Alone,
    /// What they hold is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateRefused),
}

/// The certificate that a proxy tells of, by the lines of both headers. `None`: the client showed
/// none.
///
/// # Errors
/// [`HeaderRefused`].
pub fn shown<'h>(
    mut own: impl Iterator<Item = &'h [u8]>,
    chain: impl Iterator<Item = &'h [u8]>,
) -> Result<Option<ClientCertificate>, HeaderRefused> {
    let mut chain = chain.flat_map(|line| line.split(|byte| *byte == b',')).peekable();
    let Some(line) = own.next() else {
        return if chain.peek().is_some() { Err(HeaderRefused::Alone) } else { Ok(None) };
    };
    if own.next().is_some() {
        return Err(HeaderRefused::Several);
    }
    let mut all = vec![byte_sequence(line)?];
    for item in chain.take(LONGEST_CHAIN + 1) {
        all.push(byte_sequence(item)?);
    }
    Ok(Some(ClientCertificate::read(&all)?))
}

/// A byte sequence (RFC 8941 §3.3.5), without parameters.
fn byte_sequence(text: &[u8]) -> Result<CertificateDer<'static>, HeaderRefused> {
    let text = text.trim_ascii();
    if text.len() > LONGEST {
        return Err(CertificateRefused::TooLarge.into());
    }
    let inner = text.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
    let inner = inner.filter(|inner| !inner.is_empty()).ok_or(HeaderRefused::Malformed)?;
    let der = STANDARD.decode(inner).map_err(|_| HeaderRefused::Malformed)?;
    Ok(der.into())
}

/// A certificate as a proxy tells of it: the values of both headers, the second where there is a
/// chain.
#[must_use]
pub fn told(certificate: &ClientCertificate) -> (String, Option<String>) {
    let item = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
    let chain: Vec<_> = certificate.chain().map(item).collect();
    (item(certificate.der()), (!chain.is_empty()).then(|| chain.join(", ")))
}
