//! How the answer to an authorization request travels: in a query or a form, signed or not.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tegata_core::ClientId;
use tegata_token::Algorithm;

use super::AuthorizationRequest;
use crate::{
    client::Client,
    error::{OAuthError, Refused},
    params::Params,
    provider::Provider,
    redirect::with_query,
};

/// How an answer travels (`response_mode`). The least that is said is a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResponseMode {
    /// Whether the browser posts it (OAuth 2.0 Form Post Response Mode §2).
    pub posted: bool,
    /// What it is signed with, where it is (JARM §2.3).
    pub signed: Option<Algorithm>,
}

impl ResponseMode {
    /// The values of `response_mode`, as the metadata lists them.
    pub const NAMES: [&str; 5] = ["query", "form_post", "jwt", "query.jwt", "form_post.jwt"];

    /// Reads `response_mode`, for an answer to this address.
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn read(params: &Params, client: &Client, uri: &str) -> Result<Self, OAuthError> {
        let signed = Some(client.response_alg);
        let mode = match params.get("response_mode") {
            None | Some("query") => Self { posted: false, signed: None },
            Some("form_post") => Self { posted: true, signed: None },
            // For a code, `jwt` is `query.jwt` (JARM §2.3.4).
            Some("jwt" | "query.jwt") => Self { posted: false, signed },
            Some("form_post.jwt") => Self { posted: true, signed },
            Some(_) => return Err(OAuthError::request("response_mode is none that is offered")),
        };
        if mode.posted && !uri.starts_with("https://") && !uri.starts_with("http://") {
            return Err(OAuthError::request("a form can only be posted to http or https"));
        }
        Ok(mode)
    }
}

/// Where a browser is sent, and what it takes along.
#[derive(Clone, PartialEq, Eq)]
pub struct Redirect {
    address: String,
    fields: Option<Vec<(String, String)>>,
    error: Option<&'static str>,
}

impl Redirect {
    /// The address, with everything that its query carries. It may hold a code: not for logs.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the browser posts there. `None`: it is sent there with `GET`.
    #[must_use]
    pub fn fields(&self) -> Option<&[(String, String)]> {
        self.fields.as_deref()
    }

    /// The error that it tells the client, in a word. `None`: it brings what was asked for.
    #[must_use]
    pub const fn error(&self) -> Option<&'static str> {
        self.error
    }
}

impl std::fmt::Debug for Redirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redirect({}?…)", self.address.split('?').next().unwrap_or_default())
    }
}

/// The way of an answer.
pub(super) struct Way<'a> {
    pub(super) client: &'a ClientId,
    pub(super) uri: &'a str,
    pub(super) state: Option<&'a str>,
    pub(super) mode: ResponseMode,
}

impl<'a> From<&'a AuthorizationRequest> for Way<'a> {
    fn from(request: &'a AuthorizationRequest) -> Self {
        Self {
            client: &request.client,
            uri: &request.redirect_uri,
            state: request.state.as_deref(),
            mode: request.response_mode,
        }
    }
}

impl Provider {
    /// The answer that carries `parameters`, the state and the issuer (RFC 9207).
    ///
    /// # Errors
    /// [`Refused::Store`] where it cannot be signed.
    pub async fn answer_request(
        &self,
        request: &AuthorizationRequest,
        parameters: &[(&str, &str)],
    ) -> Result<Redirect, Refused> {
        self.send(&request.into(), parameters).await
    }

    /// The answer that carries an error.
    ///
    /// # Errors
    /// As [`Self::answer_request`].
    pub async fn refuse_request(
        &self,
        request: &AuthorizationRequest,
        error: &OAuthError,
    ) -> Result<Redirect, Refused> {
        self.send_error(&request.into(), error).await
    }

    pub(super) async fn send_error(
        &self,
        way: &Way<'_>,
        error: &OAuthError,
    ) -> Result<Redirect, Refused> {
        let (code, description) = (error.code.name(), error.description);
        let sent = self.send(way, &[("error", code), ("error_description", description)]).await?;
        Ok(Redirect { error: Some(code), ..sent })
    }

    async fn send(&self, way: &Way<'_>, parameters: &[(&str, &str)]) -> Result<Redirect, Refused> {
        let mut carried = parameters.to_vec();
        carried.extend(way.state.map(|state| ("state", state)));
        let response;
        match way.mode.signed {
            // The issuer stands in the JWT, and nowhere else (RFC 9207 §2.4).
            Some(algorithm) => {
                response = self.signed_response(algorithm, way.client, &carried).await?;
                carried = vec![("response", response.as_str())];
            }
            None => carried.push(("iss", self.issuer())),
        }
        if !way.mode.posted {
            return Ok(Redirect {
                address: with_query(way.uri, &carried),
                fields: None,
                error: None,
            });
        }
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let fields = Some(carried.iter().map(own).collect());
        Ok(Redirect { address: way.uri.to_owned(), fields, error: None })
    }

    /// The answer as a JWT (JARM §2.1). It lives as long as the code in it.
    async fn signed_response(
        &self,
        algorithm: Algorithm,
        client: &ClientId,
        carried: &[(&str, &str)],
    ) -> Result<String, Refused> {
        let until = self.node().now() + self.config().code_lifetime;
        let mut claims: Map<String, Value> =
            carried.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        claims.insert("iss".to_owned(), self.issuer().into());
        claims.insert("aud".to_owned(), client.as_str().into());
        claims.insert("exp".to_owned(), until.secs().into());
        self.sign(algorithm, "JWT", Value::Object(claims).to_string().as_bytes()).await
    }
}
