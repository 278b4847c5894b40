//! Authorization requests: read, held while a person signs in, answered.

use serde::{Deserialize, Serialize};
use tegata_core::{ClientId, StoreError, Timestamp};
use tegata_token::{Scope, hint::IdTokenHint};

use crate::{
    client::{Client, GrantType},
    error::{Code, OAuthError, Refused},
    params::Params,
    pkce::Challenge,
    provider::{Access, Provider},
    redirect::with_query,
};

/// The longest `state` and `nonce`: requests wait in the store for people.
const LONGEST: usize = 2048;

/// An authorization request that may be answered: its client is known, its redirect URI is the
/// client's, its parameters are good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client: ClientId,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// Whether the request named the redirect URI; then the token request must, too
    /// (RFC 6749 §4.1.3).
    pub redirect_uri_named: bool,
    /// Given back as it is.
    pub state: Option<String>,
    /// Put into the ID token as it is.
    pub nonce: Option<String>,
    /// What is asked for.
    pub scope: Scope,
    /// Whom the access token will be for.
    pub audience: Vec<String>,
    /// The code challenge.
    pub challenge: Option<Challenge>,
    /// What the person must, or must not, be asked.
    pub prompt: Prompt,
    /// For how many seconds a sign-in counts.
    pub max_age: Option<u64>,
    /// How strongly the person must have been authenticated: one of these.
    pub acr_values: Vec<String>,
    /// Whom the sign-in page greets.
    pub login_hint: Option<String>,
    /// The languages the person prefers, best first.
    pub ui_locales: Vec<String>,
    /// When it arrived.
    pub at: Timestamp,
    /// Whom the answer must be about, where an ID token was sent as a hint: nobody else
    /// (OpenID Connect Core §3.1.2.2).
    #[serde(default)]
    pub subject: Option<String>,
}

/// What the person must, or must not, be asked (OpenID Connect Core §3.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Prompt {
    /// Nothing at all.
    pub none: bool,
    /// Their credentials, even if they are signed in.
    pub login: bool,
    /// Their consent, even if it was given.
    pub consent: bool,
}

/// Why a request is not answered as it wishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAuthorized {
    /// There is nowhere safe to send the browser: a page says why (RFC 6749 §4.1.2.1).
    Page(Unsafe),
    /// The browser is sent back with an error.
    Redirect(Redirect),
    /// The store did not answer.
    Refused(Refused),
}

/// Why there is nowhere safe to send the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsafe {
    /// There is no such client.
    Client,
    /// The redirect URI is not registered for the client.
    RedirectUri,
    /// The request cannot be read.
    Malformed(&'static str),
}

/// Where a browser is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Redirect(String);

impl Redirect {
    /// The address, with everything it carries. It may hold a code: not for logs.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Redirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redirect({}?…)", self.0.split('?').next().unwrap_or_default())
    }
}

impl From<StoreError> for NotAuthorized {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl AuthorizationRequest {
    /// The answer that carries `parameters`, the state and the issuer (RFC 9207).
    #[must_use]
    pub fn answer(&self, issuer: &str, parameters: &[(&str, &str)]) -> Redirect {
        answer(&self.redirect_uri, self.state.as_deref(), issuer, parameters)
    }

    /// The answer that carries an error.
    #[must_use]
    pub fn refuse(&self, issuer: &str, error: &OAuthError) -> Redirect {
        let description = error.description;
        self.answer(issuer, &[("error", error.code.name()), ("error_description", description)])
    }

    /// Whether tokens are asked for that outlive the browser session.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.scope.contains("offline_access")
    }
}

impl Provider {
    /// Reads an authorization request.
    ///
    /// # Errors
    /// [`NotAuthorized`].
    pub async fn authorization_request(
        &self,
        params: &Params,
    ) -> Result<(AuthorizationRequest, Client), NotAuthorized> {
        let page = |why| NotAuthorized::Page(why);
        let client = params.get("client_id").and_then(|id| ClientId::new(id).ok());
        let client = client.ok_or(page(Unsafe::Client))?;
        let found = self.clients().load(self.realm(), &client).await?;
        let client = found.ok_or(page(Unsafe::Client))?.value;
        let named = params.get("redirect_uri");
        let redirect_uri = match (named, client.redirect_uris.as_slice()) {
            (Some(asked), all) if all.iter().any(|uri| uri.allows(asked)) => asked.to_owned(),
            // OAuth 2.1 lets a client leave its only one out; OpenID Connect Core §3.1.2.1 does not.
            (None, [only]) if !asks_openid(params) => only.as_str().to_owned(),
            _ => return Err(page(Unsafe::RedirectUri)),
        };
        // One that is too long for us is too long for a redirect.
        let state = params.get("state").filter(|state| state.len() <= LONGEST);
        match self.parameters(params, &client, &redirect_uri).await {
            Ok(request) => Ok((request, client)),
            Err(Refused::Store(error)) => Err(error.into()),
            Err(Refused::OAuth(error)) => {
                let carried =
                    [("error", error.code.name()), ("error_description", error.description)];
                let redirect = answer(&redirect_uri, state, self.issuer(), &carried);
                Err(NotAuthorized::Redirect(redirect))
            }
        }
    }

    async fn parameters(
        &self,
        params: &Params,
        client: &Client,
        redirect_uri: &str,
    ) -> Result<AuthorizationRequest, Refused> {
        let error = OAuthError::new;
        if params.get("request").is_some() {
            let description = "request objects are not supported";
            return Err(error(Code::RequestNotSupported, description).into());
        }
        if params.get("request_uri").is_some() {
            let description = "request_uri is not supported";
            return Err(error(Code::RequestUriNotSupported, description).into());
        }
        match params.get("response_type") {
            Some("code") => {}
            Some(_) => {
                let description = "response_type must be code";
                return Err(error(Code::UnsupportedResponseType, description).into());
            }
            None => return Err(OAuthError::request("response_type is missing").into()),
        }
        if !client.may_use(GrantType::AuthorizationCode) {
            let description = "the client is not registered for authorization_code";
            return Err(error(Code::UnauthorizedClient, description).into());
        }
        if params.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(OAuthError::request("response_mode must be query").into());
        }
        let long = |name: &&str| params.get(name).is_some_and(|value| value.len() > LONGEST);
        if ["state", "nonce", "acr_values", "ui_locales"].iter().any(long) {
            return Err(OAuthError::request("a parameter is longer than 2048 bytes").into());
        }
        let challenge = Challenge::from_params(params)?;
        if challenge.is_none() && client.require_pkce {
            return Err(OAuthError::request("code_challenge is missing").into());
        }
        let max_age = params.get("max_age").map(str::parse).transpose();
        let max_age = max_age.map_err(|_| OAuthError::request("max_age is not a number"))?;
        let words = |name: &str| -> Vec<String> {
            let values = params.get(name).unwrap_or_default().split(' ');
            values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
        };
        Ok(AuthorizationRequest {
            client: client.id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            redirect_uri_named: params.get("redirect_uri").is_some(),
            state: params.get("state").map(str::to_owned),
            nonce: params.get("nonce").map(str::to_owned),
            scope: asked_scope(params, client)?,
            audience: self.asked_audience(params, client).await?,
            challenge,
            prompt: prompt(params)?,
            max_age,
            acr_values: words("acr_values"),
            login_hint: params.get("login_hint").map(|hint| hint.chars().take(256).collect()),
            ui_locales: words("ui_locales"),
            at: self.node().now(),
            subject: self.hinted(params)?,
        })
    }

    /// Whom an ID token speaks of that was sent as a hint. It may have expired, and be another
    /// client's.
    fn hinted(&self, params: &Params) -> Result<Option<String>, OAuthError> {
        let Some(token) = params.get("id_token_hint") else { return Ok(None) };
        let read = IdTokenHint::read(token, &self.keys().now().key_set(), self.issuer());
        let invalid = |_| OAuthError::request("id_token_hint is not valid");
        read.map(|hint| Some(hint.sub)).map_err(invalid)
    }

    /// Whether a request that has waited would still be taken: its client may have been registered
    /// anew meanwhile.
    pub(crate) async fn still_stands(
        &self,
        request: &AuthorizationRequest,
        client: &Client,
    ) -> Result<bool, StoreError> {
        let stands = client.redirect_uris.iter().any(|uri| uri.allows(&request.redirect_uri))
            && client.may_use(GrantType::AuthorizationCode)
            && client.scope.covers(&request.scope)
            && (request.challenge.is_some() || !client.require_pkce);
        if !stands {
            return Ok(false);
        }
        for audience in &request.audience {
            if !self.is_for(client, audience).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a client's tokens may be for this audience.
    async fn is_for(&self, client: &Client, audience: &str) -> Result<bool, StoreError> {
        Ok(audience == self.config().audience
            || client.audiences.iter().any(|registered| registered == audience)
            || self.targets().access(self.realm(), &client.id, audience).await? == Access::Allowed)
    }

    /// Whom the access token will be for: the resources that were asked for (RFC 8707), or the
    /// client's registered audiences, or the gateway.
    async fn asked_audience(
        &self,
        params: &Params,
        client: &Client,
    ) -> Result<Vec<String>, Refused> {
        let mut audience: Vec<String> = Vec::new();
        for asked in params.all("resource").chain(params.all("audience")) {
            if !self.is_for(client, asked).await? {
                let description = "the resource is not known, or not for this client";
                return Err(OAuthError::new(Code::InvalidTarget, description).into());
            }
            if !audience.iter().any(|known| known == asked) {
                audience.push(asked.to_owned());
            }
        }
        if audience.is_empty() {
            audience = if client.audiences.is_empty() {
                vec![self.config().audience.clone()]
            } else {
                client.audiences.clone()
            };
        }
        Ok(audience)
    }
}

fn asked_scope(params: &Params, client: &Client) -> Result<Scope, OAuthError> {
    match super::grant::scope_within(params, &client.scope)? {
        Some(scope) => Ok(scope),
        None => {
            // What is not asked for is not given beyond the session (OpenID Connect Core §11).
            let kept: Vec<_> =
                client.scope.values().filter(|value| *value != "offline_access").collect();
            Scope::new(&kept.join(" "))
                .map_err(|_| OAuthError::new(Code::InvalidScope, "scope is malformed"))
        }
    }
}

fn prompt(params: &Params) -> Result<Prompt, OAuthError> {
    let mut prompt = Prompt::default();
    for word in params.get("prompt").unwrap_or_default().split(' ').filter(|it| !it.is_empty()) {
        match word {
            "none" => prompt.none = true,
            "login" | "select_account" => prompt.login = true,
            "consent" => prompt.consent = true,
            _ => return Err(OAuthError::request("prompt has an unknown value")),
        }
    }
    if prompt.none && (prompt.login || prompt.consent) {
        return Err(OAuthError::request("prompt=none stands alone"));
    }
    Ok(prompt)
}

fn asks_openid(params: &Params) -> bool {
    params.get("scope").is_some_and(|scope| scope.split(' ').any(|value| value == "openid"))
}

fn answer(uri: &str, state: Option<&str>, issuer: &str, parameters: &[(&str, &str)]) -> Redirect {
    let mut carried = parameters.to_vec();
    carried.extend(state.map(|state| ("state", state)));
    carried.push(("iss", issuer));
    Redirect(with_query(uri, &carried))
}
