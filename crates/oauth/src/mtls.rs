//! Certificates that clients show (RFC 8705): by which they prove who they are, and to which their
//! tokens are bound.
//!
//! That the client holds the certificate's key was proven before anybody gets here, by who ended its
//! TLS. Whether the certificate counts is decided anew for each request.

use tegata_core::Timestamp;
use tegata_token::{Binding, ClientCertificate};

use crate::{
    client::{AuthMethod, Client},
    dpop::ProvenKey,
    error::{Code, OAuthError, Refused},
    provider::Provider,
};

/// What a client is told whose certificate does not count now.
const EXPIRED: &str =
    "the client certificate has expired, or does not count yet; show one that counts";

/// That certificates of clients are seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MutualTls {
    /// What the addresses of the endpoints begin with that ask for them, where those are others than
    /// the issuer's (RFC 8705 §5).
    pub at: Option<String>,
}

/// What whoever makes a request has just proven to hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proven<'r> {
    /// A key, by a DPoP proof.
    pub key: Option<&'r ProvenKey>,
    /// The key of a certificate, in the handshake of the connection.
    pub certificate: Option<&'r ClientCertificate>,
}

impl<'r> Proven<'r> {
    /// A key alone, or nothing.
    #[must_use]
    pub const fn by(key: Option<&'r ProvenKey>) -> Self {
        Self { key, certificate: None }
    }

    /// The same without a certificate that does not count at this time.
    pub(crate) fn at(self, now: Timestamp) -> Self {
        Self { certificate: self.certificate.filter(|shown| shown.counts_at(now)), ..self }
    }

    /// Whom a refresh token is given to: the holder of a key or of a certificate, a client that proves
    /// itself, or whoever is at a place.
    pub(crate) fn holder(&self, client: &Client, place: &Binding) -> Binding {
        if let Some(key) = self.key {
            let jkt = key.jkt().to_owned();
            return if client.is_public() { Binding::Key(jkt) } else { Binding::ClientKey(jkt) };
        }
        let x5t = |shown: &ClientCertificate| shown.thumbprint().to_owned();
        let is_bound = client.certificate_bound || client.proves_by_certificate();
        match (self.certificate.filter(|_| is_bound), client.is_public()) {
            (Some(shown), true) => Binding::Certificate(x5t(shown)),
            // It proves itself at each refresh, and may have another certificate by then (RFC 8705 §7.1).
            (Some(shown), false) => Binding::ClientCertificate(x5t(shown)),
            (_, true) => place.clone(),
            (_, false) => Binding::Client,
        }
    }
}

impl Provider {
    /// By which means clients can prove themselves here.
    pub(crate) fn auth_methods(&self) -> impl Iterator<Item = AuthMethod> {
        let are_seen = self.config().mtls.is_some();
        let are_signed = are_seen && !self.parts().authorities.is_empty();
        let are_vouched = !self.parts().trust_domains.is_empty();
        AuthMethod::ALL.into_iter().filter(move |method| match method {
            AuthMethod::TlsClientAuth => are_signed,
            AuthMethod::SelfSignedTlsClientAuth => are_seen,
            AuthMethod::SpiffeJwt => are_vouched,
            AuthMethod::SpiffeX509 => are_seen && are_vouched,
            _ => true,
        })
    }

    /// Refuses a token request that does not prove what the client's tokens must be bound to.
    pub(crate) fn check_proven(
        &self,
        client: &Client,
        proven: &Proven<'_>,
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        let counts = proven.certificate.is_some_and(|shown| shown.counts_at(now));
        if client.certificate_bound && proven.key.is_some() {
            let description =
                "the client's tokens are bound to its certificate; send no DPoP proof";
            return Err(OAuthError::request(description));
        }
        if client.certificate_bound && !counts {
            return Err(OAuthError::request(match proven.certificate {
                Some(_) => EXPIRED,
                None => self.shows_no_certificate(),
            }));
        }
        // A parameter is missing (RFC 6749 §5.2): `invalid_dpop_proof` is about a proof that was sent.
        if client.dpop_bound && proven.key.is_none() {
            let description = "the client's tokens must be bound to a key; send a DPoP proof";
            return Err(OAuthError::request(description));
        }
        let by_certificate = client.certificate_bound || client.proves_by_certificate();
        let is_bound = proven.key.is_some() || (by_certificate && counts);
        if client.needs_sender_constraint() && !is_bound {
            return Err(OAuthError::request(match (by_certificate, proven.certificate) {
                (true, Some(_)) => EXPIRED,
                (true, None) => self.shows_no_certificate(),
                (false, _) => "the client's tokens must be bound to a key; send a DPoP proof",
            }));
        }
        Ok(())
    }

    /// What a client is told that has to show a certificate, and shows none.
    pub(crate) fn shows_no_certificate(&self) -> &'static str {
        if self.config().mtls.is_some() {
            "the client shows no certificate; send the request to an endpoint that asks for one, and show \
             it there"
        } else {
            "the client has to show a certificate, and nothing here asks for one; see to \
             `client_certificates` or `mtls_listen` in the configuration of this server"
        }
    }

    /// What the addresses of our endpoints begin with: as the issuer, or where certificates are asked
    /// for.
    pub(crate) fn bases(&self) -> impl Iterator<Item = &str> {
        let other = self.config().mtls.as_ref().and_then(|mtls| mtls.at.as_deref());
        [Some(self.issuer()), other].into_iter().flatten()
    }

    /// Looks whether a certificate is the one that a client proves itself by.
    pub(crate) async fn accept_certificate(
        &self,
        client: &Client,
        shown: &ClientCertificate,
    ) -> Result<(), Refused> {
        let now = self.node().now();
        let refused = |why: &dyn std::fmt::Display| {
            let certificate = shown.thumbprint();
            tracing::info!(client = %client.id, certificate, %why, "a client certificate was refused");
            let description = "the client certificate has expired, is none of the client's, or is \
                               signed by nobody who is trusted";
            OAuthError::new(Code::InvalidClient, description)
        };
        if !shown.counts_at(now) {
            return Err(refused(&"it has expired, or does not count yet").into());
        }
        match (client.auth, &client.certificate_name) {
            (AuthMethod::TlsClientAuth, Some(name)) => {
                if !shown.is_of(name) {
                    return Err(refused(&"it names somebody else").into());
                }
                let vouched = self.parts().authorities.vouch(shown, now);
                Ok(vouched.map_err(|why| refused(&why))?)
            }
            (AuthMethod::SelfSignedTlsClientAuth, _) => {
                match self.knows_certificate(client, shown).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(refused(&"its key is none of the client's").into()),
                    Err(why) => Err(refused(&why).into()),
                }
            }
            (AuthMethod::SpiffeX509, _) => Ok(self.accept_x509_svid(client, shown)?),
            _ => Err(refused(&"the client does not prove itself so").into()),
        }
    }
}
