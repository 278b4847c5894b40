//! The certificate that the client of a request shows: to our own TLS, or to a proxy that tells of it.

use std::sync::Arc;

use axum::extract::Request;
use http::HeaderValue;
use tegata_core::ClientCertificates;
use tegata_token::{ClientCertificate, certificate::header};

use crate::{app::App, caller::Peer};

/// The certificate that the client at the other end of the connection has shown, proven in the
/// handshake. Whoever serves the router puts it among the extensions of each request.
#[derive(Debug, Clone)]
pub struct PeerCertificate(pub Arc<ClientCertificate>);

/// What trusted proxies wrote is no certificate. In words for whoever made the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The certificate that counts for a request. `None`: its client shows none.
///
/// # Errors
/// [`Malformed`]: a trusted proxy tells of something else, or let pass what a client wrote.
pub(crate) fn shown(
    app: &App,
    request: &Request,
) -> Result<Option<Arc<ClientCertificate>>, Malformed> {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let behind_proxy = app.proxies().are_at(peer.0);
    match app.certificates() {
        ClientCertificates::Off => Ok(None),
        // A proxy's own certificate is nobody's who comes through it.
        ClientCertificates::Tls if behind_proxy => Ok(None),
        ClientCertificates::Header if !behind_proxy => Ok(None),
        ClientCertificates::Tls => {
            let own = request.extensions().get::<PeerCertificate>();
            Ok(own.map(|PeerCertificate(shown)| Arc::clone(shown)))
        }
        ClientCertificates::Header => {
            let lines =
                |name| request.headers().get_all(name).into_iter().map(HeaderValue::as_bytes);
            let told = header::shown(lines(header::CLIENT_CERT), lines(header::CLIENT_CERT_CHAIN));
            told.map(|told| told.map(Arc::new)).map_err(|refused| {
                tracing::warn!(proxy = %peer.0, %refused, "a proxy tells of a client certificate wrongly");
                Malformed("Client-Cert and Client-Cert-Chain are not as RFC 9440 writes them")
            })
        }
    }
}
