//! Certificates that clients show, and tokens that are bound to them (RFC 8705 §3).

use std::borrow::Cow;

use http::HeaderValue;
use tegata_core::ClientCertificates;
use tegata_token::{ClientCertificate, Confirmation, certificate::header};

use crate::{
    gate::Gate,
    head::Head,
    phase::admit::Admitted,
    refusal::{Refusal, Refused},
};

/// The certificate that counts for a request: its own connection's, or the one that a trusted proxy
/// tells of. `None`: its client shows none.
pub(crate) fn shown<'r>(
    head: &Head<'r>,
    admitted: &Admitted<'_>,
    gate: &Gate,
) -> Result<Option<Cow<'r, ClientCertificate>>, Refused> {
    match gate.config.client_certificates {
        ClientCertificates::Off => Ok(None),
        // A proxy's own certificate is nobody's who comes through it.
        ClientCertificates::Tls if admitted.behind_proxy => Ok(None),
        ClientCertificates::Tls => Ok(head.certificate.map(Cow::Borrowed)),
        ClientCertificates::Header if !admitted.behind_proxy => Ok(None),
        ClientCertificates::Header => {
            let lines = |name| head.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
            let told = header::shown(lines(header::CLIENT_CERT), lines(header::CLIENT_CERT_CHAIN));
            told.map(|told| told.map(Cow::Owned)).map_err(|refused| {
                tracing::warn!(proxy = %head.peer, %refused, "a proxy tells of a client certificate wrongly");
                let detail = "`Client-Cert` and `Client-Cert-Chain` are not as RFC 9440 writes them";
                Refusal::bad_request("client_cert", detail)
            })
        }
    }
}

/// Refuses whoever does not show the certificate that a token is bound to.
pub(crate) fn check(
    bound: &Confirmation,
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    gate: &Gate,
) -> Result<(), Refused> {
    let shown = shown(head, admitted, gate)?;
    if shown.is_some_and(|shown| shown.confirms(bound, gate.node.now())) {
        return Ok(());
    }
    let detail = "the token is bound to a client certificate that the connection does not show";
    Err(Refusal::invalid_token("token_certificate", detail))
}

/// What Tegata's own endpoints are told of a certificate.
pub(crate) fn fields(
    shown: &ClientCertificate,
) -> impl Iterator<Item = (&'static str, HeaderValue)> {
    let (own, chain) = header::told(shown);
    let fields = [(header::CLIENT_CERT, Some(own)), (header::CLIENT_CERT_CHAIN, chain)];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?.try_into().ok()?)))
}
