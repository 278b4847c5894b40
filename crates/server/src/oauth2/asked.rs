//! What clients ask at the token endpoint and its siblings, and the one table of statuses for
//! what is wrong with it (RFC 6749 §5.2).

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use tegata_oauth::{
    Basic, Client, Code, OAuthError, Params, ProvenClient, ProvenKey, Refused, Showing,
};
use tegata_token::ClientCertificate;

use super::strangers::too_many_strangers;
use crate::{
    app::App,
    body::{self, Unreadable},
    caller,
    certificate::{self, Malformed},
    dpop,
    headers::NoStore,
    problem::whole_secs,
    recorded,
    refusals::Named,
};

/// A form of a client, with what it proves itself by in the header.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) params: Params,
    basic: Option<Basic>,
    certificate: Option<Arc<ClientCertificate>>,
    method: Method,
    proof: Result<Option<String>, OAuthError>,
    /// Where it comes from.
    address: IpAddr,
}

/// Why a client was refused.
#[derive(Debug)]
pub(crate) struct Rejected {
    why: Why,
    /// Whether it tried to prove itself in the header, and is asked to do so again.
    challenge: bool,
    /// The nonce to make another proof with.
    nonce: Option<[(HeaderName, HeaderValue); 1]>,
}

#[derive(Debug)]
enum Why {
    Body(Unreadable),
    Refused(Refused),
}

impl Asked {
    /// The client that asks at the endpoint with this path, proven.
    ///
    /// # Errors
    /// `invalid_client`; what the store says.
    pub(crate) async fn client(&self, app: &App, path: &str) -> Result<ProvenClient, Rejected> {
        let (basic, certificate) = (self.basic.as_ref(), self.certificate());
        if let Ok(named) = app.provider().claimed(basic, &self.params) {
            let too_many = too_many_strangers(app, self.address, &named).await;
            if too_many.map_err(|error| self.reject(error.into()))?.is_some() {
                let description = "too many clients that nobody knows are named from there";
                let refused = OAuthError::new(Code::TemporarilyUnavailable, description);
                return Err(self.reject(refused.into()));
            }
        }
        let client = app.provider().authenticate(basic, &self.params, certificate, path).await;
        let client = client.map_err(|refused| self.reject(refused))?;
        recorded::by(client.id.as_str());
        Ok(client)
    }

    /// The certificate that the client shows.
    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_deref()
    }

    /// Whether it comes with a proof of a key.
    pub(crate) const fn shows_proof(&self) -> bool {
        matches!(self.proof, Ok(Some(_)))
    }

    /// The key that the client proves to hold, at the endpoint with this path. `None`: it proves none.
    ///
    /// # Errors
    /// `invalid_dpop_proof`, `use_dpop_nonce`; what the store says.
    pub(crate) async fn key(
        &self,
        app: &App,
        client: &Client,
        path: &str,
    ) -> Result<Option<ProvenKey>, Rejected> {
        let shown = self.proof.clone().map_err(|error| self.reject(error.into()))?;
        let Some(proof) = &shown else { return Ok(None) };
        let showing = Showing { proof, method: self.method.as_str(), path };
        match app.provider().dpop_proof(&showing, Some(client), None).await {
            Ok(key) => Ok(Some(key)),
            Err(refused) => {
                let nonce = dpop::asked_for(app, &refused);
                Err(Rejected { nonce, ..self.reject(refused) })
            }
        }
    }

    /// A refusal of what is asked.
    pub(crate) fn reject(&self, refused: Refused) -> Rejected {
        Rejected { why: Why::Refused(refused), challenge: self.basic.is_some(), nonce: None }
    }
}

impl FromRequest<App> for Asked {
    type Rejection = Rejected;

    async fn from_request(request: Request, app: &App) -> Result<Self, Rejected> {
        let challenge = request.headers().contains_key(header::AUTHORIZATION);
        let rejected = |why, challenge| Rejected { why, challenge, nonce: None };
        let refused = |error: OAuthError| rejected(Why::Refused(error.into()), challenge);
        let (method, proof) = (request.method().clone(), dpop::shown(request.headers()));
        let address = caller::address(app, request.headers(), request.extensions());
        let basic = basic(request.headers()).map_err(refused)?;
        let certificate = certificate::shown(app, &request);
        let certificate =
            certificate.map_err(|Malformed(why)| refused(OAuthError::request(why)))?;
        let fields = body::fields(app, request).await;
        let fields = fields.map_err(|why| rejected(Why::Body(why), false))?;
        let params = Params::new(fields.into_pairs()).map_err(refused)?;
        Ok(Self { params, basic, certificate, method, proof, address })
    }
}

/// Name and secret in the header. A scheme that is not offered is an error, not nothing: whoever
/// proves something is told that it did not count.
fn basic(headers: &HeaderMap) -> Result<Option<Basic>, OAuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(OAuthError::request("there is more than one Authorization header"));
    }
    let wrong = OAuthError::new(Code::InvalidClient, "the Authorization header is not Basic");
    let text = value.to_str().map_err(|_| wrong.clone())?;
    Basic::from_header(text)?.ok_or(wrong).map(Some)
}

impl Rejected {
    /// The code, as it is told and counted.
    pub(crate) fn code(&self) -> &'static str {
        match &self.why {
            Why::Body(_) => Code::InvalidRequest.name(),
            Why::Refused(Refused::OAuth(error)) => error.code.name(),
            Why::Refused(Refused::Store(error)) if error.retry_after().is_some() => {
                Code::TemporarilyUnavailable.name()
            }
            Why::Refused(Refused::Store(_)) => "server_error",
        }
    }

    const fn status(&self) -> StatusCode {
        match &self.why {
            Why::Body(Unreadable::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Why::Body(Unreadable::Late) => StatusCode::REQUEST_TIMEOUT,
            Why::Body(Unreadable::MediaType | Unreadable::Broken | Unreadable::Malformed) => {
                StatusCode::BAD_REQUEST
            }
            Why::Refused(Refused::OAuth(error)) => match error.code {
                Code::InvalidClient => StatusCode::UNAUTHORIZED,
                Code::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
                Code::InvalidRequest
                | Code::InvalidGrant
                | Code::UnauthorizedClient
                | Code::UnsupportedGrantType
                | Code::UnsupportedResponseType
                | Code::InvalidScope
                | Code::InvalidTarget
                | Code::InvalidAuthorizationDetails
                | Code::AccessDenied
                | Code::LoginRequired
                | Code::ConsentRequired
                | Code::InteractionRequired
                | Code::UnmetAuthenticationRequirements
                | Code::InvalidRequestObject
                | Code::RequestUriNotSupported
                | Code::InvalidDpopProof
                | Code::UseDpopNonce
                | Code::AuthorizationPending
                | Code::SlowDown
                | Code::ExpiredToken => StatusCode::BAD_REQUEST,
            },
            Why::Refused(Refused::Store(error)) => match error.retry_after() {
                Some(_) => StatusCode::SERVICE_UNAVAILABLE,
                None => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    fn description(&self) -> &'static str {
        match &self.why {
            Why::Body(unreadable) => unreadable.text(),
            Why::Refused(Refused::OAuth(error)) => error.description,
            Why::Refused(Refused::Store(error)) => {
                tracing::warn!(%error, "the store did not answer");
                "something is away that is needed"
            }
        }
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = json!({"error": self.code(), "error_description": self.description()});
        let mut response = NoStore((status, Json(body))).into_response();
        response.extensions_mut().insert(Named(self.code()));
        let headers = response.headers_mut();
        headers.extend(self.nonce.clone().into_iter().flatten());
        if let Why::Refused(Refused::Store(error)) = &self.why
            && let Some(wait) = error.retry_after()
        {
            headers.insert(header::RETRY_AFTER, whole_secs(wait).into());
        }
        if status == StatusCode::UNAUTHORIZED && self.challenge {
            let challenge = HeaderValue::from_static("Basic realm=\"tegata\", charset=\"UTF-8\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
