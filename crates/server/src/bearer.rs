//! Access tokens in the header `Authorization` (RFC 6750 §2.1, RFC 9449 §7.1, RFC 8705 §3).

use std::sync::Arc;

use axum::extract::Request;
use http::{HeaderMap, Method, header};
use tegata_oauth::{Code, Credential, OAuthError, Showing};
use tegata_token::ClientCertificate;

use crate::{app::App, certificate, dpop};

/// What stands in a header cannot be: in words.
pub(crate) use crate::certificate::Malformed;

/// The header is there more than once, or is none.
const MALFORMED: Malformed = Malformed("the Authorization header is malformed");

/// How a token is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// By itself.
    Bearer,
    /// With a proof in the header `DPoP`.
    Dpop,
}

/// The token that a request shows, and how.
pub(crate) struct Presented {
    scheme: Scheme,
    token: String,
    proof: Result<Option<String>, OAuthError>,
    certificate: Option<Arc<ClientCertificate>>,
    method: Method,
    path: String,
}

impl Presented {
    /// What a request shows. `None`: nothing, or something of another scheme, which is as good as
    /// nothing.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn of(app: &App, request: &Request) -> Result<Option<Self>, Malformed> {
        let shown = credentials(request.headers())?;
        shown.map(|(scheme, token)| Self::with(app, request, scheme, token)).transpose()
    }

    /// The same of a request that shows its token elsewhere.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn with(
        app: &App,
        request: &Request,
        scheme: Scheme,
        token: String,
    ) -> Result<Self, Malformed> {
        Ok(Self {
            scheme,
            token,
            proof: dpop::shown(request.headers()),
            certificate: certificate::shown(app, request)?,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
        })
    }

    /// The same with a token that stood elsewhere.
    pub(crate) fn showing(self, token: String) -> Self {
        Self { token, ..self }
    }

    /// What the provider is asked about.
    ///
    /// # Errors
    /// `invalid_dpop_proof`: the proof that there must be is not there, or there are several.
    pub(crate) fn credential(&self) -> Result<Credential<'_>, OAuthError> {
        if self.scheme == Scheme::Bearer {
            return Ok(match &self.certificate {
                Some(shown) => Credential::Certified(&self.token, shown),
                None => Credential::Bearer(&self.token),
            });
        }
        let proof = self.proof.as_ref().map_err(Clone::clone)?.as_deref();
        let missing = "there is no DPoP proof; send one in the header DPoP";
        let proof = proof.ok_or(OAuthError::new(Code::InvalidDpopProof, missing))?;
        let (method, path) = (self.method.as_str(), self.path.as_str());
        Ok(Credential::Bound(&self.token, Showing { proof, method, path }))
    }
}

/// A token that is shown by itself, and is bound to no key.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<String>, Malformed> {
    let shown = credentials(headers)?.filter(|(scheme, _)| *scheme == Scheme::Bearer);
    Ok(shown.map(|(_, token)| token))
}

fn credentials(headers: &HeaderMap) -> Result<Option<(Scheme, String)>, Malformed> {
    let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(MALFORMED);
    }
    let text = value.to_str().map_err(|_| MALFORMED)?;
    let Some((scheme, token)) = text.split_once(' ') else { return Ok(None) };
    let scheme = match scheme {
        it if it.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        it if it.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
        _ => return Ok(None),
    };
    Ok(Some((scheme, token.trim().to_owned())))
}
