//! Authorization requests: read, held while a person signs in, answered.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{ClientId, StoreError, Timestamp};
use tegata_token::{Details, Scope, hint::IdTokenHint};

use crate::{
    client::{Client, GrantType},
    described::NotDescribed,
    dpop::asked_key,
    error::{Code, OAuthError, Refused},
    grant::narrowing,
    params::Params,
    pkce::Challenge,
    provider::{Access, Provider},
};

mod answer;
pub(crate) mod claims;
mod object;
mod pushed;

pub use answer::{Redirect, ResponseMode};
pub use claims::{AskedClaims, ClaimsParameter};
pub use pushed::{PUSHED, Pushed};

use answer::Way;
use pushed::Origin;

/// The longest `state` and `nonce`: requests wait in the store for people.
const LONGEST: usize = 2048;

/// Values of OpenID Connect that are passed over where a client may not have them, and not refused (Core
/// §3.1.2.1, §5.4, §11): a wish for more about the person, or for longer.
const PASSED_OVER: [&str; 5] = ["profile", "email", "address", "phone", "offline_access"];

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
    /// The key that the code will be bound to: a thumbprint (RFC 9449 §10).
    #[serde(default)]
    pub dpop_jkt: Option<String>,
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
    /// (OpenID Connect Core §3.1.2.2). In the words of the client.
    #[serde(default)]
    pub subject: Option<String>,
    /// How the answer travels.
    #[serde(default)]
    pub response_mode: ResponseMode,
    /// What the access token may be used for in detail.
    #[serde(default)]
    pub details: Details,
    /// The claims that were asked for alone.
    #[serde(default)]
    pub claims: AskedClaims,
    /// How strongly the person must have been authenticated, or the client wants no answer: one of
    /// these, whatever they mean (OpenID Connect Core §5.5.1.1).
    #[serde(default)]
    pub essential_acr: Vec<String>,
    /// Where it waits, if it was pushed.
    #[serde(default)]
    pub(crate) pushed: Option<Origin>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsafe {
    /// There is no such client.
    Client,
    /// The client describes itself, and is not taken.
    Described(NotDescribed),
    /// The redirect URI is not registered for the client.
    RedirectUri,
    /// The request cannot be read.
    Malformed(&'static str),
    /// There is no pushed request of this name for this client, it has been answered, or another browser has it.
    Expired,
}

impl From<StoreError> for NotAuthorized {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl AuthorizationRequest {
    /// What a person is asked for: the scope, and what single claims come to.
    #[must_use]
    pub fn asked_of_person(&self) -> Scope {
        let mut all: Vec<_> = self.scope.values().collect();
        all.extend(self.claims.implied());
        // Of valid values, and few more than there were.
        Scope::new(&all.join(" ")).unwrap_or_else(|_| self.scope.clone())
    }

    /// Whether tokens are asked for that outlive the browser session.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.scope.contains("offline_access")
    }
}

impl Provider {
    /// Reads an authorization request, in whichever form it comes: as parameters, in a request
    /// object (RFC 9101), or pushed before (RFC 9126).
    ///
    /// A pushed request is had by one browser. This one is known by nothing, and is told from every
    /// other: it comes once.
    ///
    /// # Errors
    /// [`NotAuthorized`].
    pub async fn authorization_request(
        &self,
        params: &Params,
    ) -> Result<(AuthorizationRequest, Client), NotAuthorized> {
        let mut bytes = [0_u8; 32];
        self.node().entropy().fill(&mut bytes);
        self.authorization_request_of(params, &URL_SAFE_NO_PAD.encode(bytes)).await
    }

    /// The same for a browser that is known by a text that nobody else has, such as a cookie. It can bring
    /// a pushed request again, until that is answered.
    ///
    /// # Errors
    /// [`NotAuthorized`].
    pub async fn authorization_request_of(
        &self,
        params: &Params,
        browser: &str,
    ) -> Result<(AuthorizationRequest, Client), NotAuthorized> {
        let page = |why| NotAuthorized::Page(why);
        let client = params.get("client_id").and_then(|id| ClientId::new(id).ok());
        let client = client.ok_or(page(Unsafe::Client))?;
        let found = self.client(&client).await.map_err(|why| match why {
            NotDescribed::Store(error) => error.into(),
            why => page(Unsafe::Described(why)),
        })?;
        let client = found.ok_or(page(Unsafe::Client))?;
        if let Some(uri) = params.get("request_uri") {
            if let Err(error) = check_reference(params, uri) {
                return Err(self.told(params, &client, error.into()).await);
            }
            let pushed = self.pushed(uri, &client, browser).await?;
            return Ok((pushed.ok_or(page(Unsafe::Expired))?, client));
        }
        if client.require_pushed {
            let error = OAuthError::request("the client must push its requests");
            return Err(self.told(params, &client, error.into()).await);
        }
        let unpacked = match self.unpacked(params, &client).await {
            Ok(unpacked) => unpacked,
            Err(error) => return Err(self.told(params, &client, error.into()).await),
        };
        match self.read(&unpacked, &client).await {
            Ok(request) => Ok((request, client)),
            Err(refused) => Err(self.told(&unpacked, &client, refused).await),
        }
    }

    /// How a refusal is told: to the client, where its request names an address of its own; else on
    /// a page.
    async fn told(&self, params: &Params, client: &Client, refused: Refused) -> NotAuthorized {
        let error = match refused {
            Refused::Store(error) => return error.into(),
            Refused::OAuth(error) => error,
        };
        let Some(uri) = redirect_uri(params, client) else {
            return NotAuthorized::Page(Unsafe::RedirectUri);
        };
        let way = Way {
            client: &client.id,
            uri,
            // One that is too long for us is too long for a redirect.
            state: params.get("state").filter(|state| state.len() <= LONGEST),
            mode: ResponseMode::read(params, client, uri).unwrap_or_default(),
        };
        match self.send_error(&way, &error).await {
            Ok(redirect) => NotAuthorized::Redirect(redirect),
            Err(refused) => NotAuthorized::Refused(refused),
        }
    }

    /// Reads the parameters that count.
    async fn read(
        &self,
        params: &Params,
        client: &Client,
    ) -> Result<AuthorizationRequest, Refused> {
        let error = OAuthError::new;
        let redirect_uri = redirect_uri(params, client)
            .ok_or(OAuthError::request("redirect_uri is not one of the client's"))?;
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
        let max_age = max_age.or(client.default_max_age);
        let words = |name: &str| -> Vec<String> {
            let values = params.get(name).unwrap_or_default().split(' ');
            values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
        };
        let details = narrowing::details(params)?.unwrap_or_default();
        narrowing::check_types(&details, &self.config().details_types, client)?;
        let asked = ClaimsParameter::read(params, client)?;
        let mut acr_values = [words("acr_values"), asked.acr].concat();
        // OpenID Connect Dynamic Client Registration 1.0 §2: whatever a request says of it overrides this.
        if acr_values.is_empty() && asked.essential_acr.is_empty() {
            acr_values.clone_from(&client.default_acr_values);
        }
        let mut subject = self.hinted(params)?;
        if let Some(named) = asked.subject {
            claims::join_subject(&mut subject, named)?;
        }
        Ok(AuthorizationRequest {
            client: client.id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            redirect_uri_named: params.get("redirect_uri").is_some(),
            state: params.get("state").map(str::to_owned),
            nonce: params.get("nonce").map(str::to_owned),
            scope: asked_scope(params, client)?,
            audience: self.asked_audience(params, client).await?,
            dpop_jkt: asked_key(params)?,
            challenge,
            prompt: prompt(params)?,
            max_age,
            acr_values,
            login_hint: params.get("login_hint").map(|hint| hint.chars().take(256).collect()),
            ui_locales: words("ui_locales"),
            at: self.node().now(),
            subject,
            details,
            claims: asked.asked,
            essential_acr: asked.essential_acr,
            pushed: None,
            response_mode: ResponseMode::read(params, client, redirect_uri)?,
        })
    }

    /// Whom an ID token speaks of that was sent as a hint. It may have expired, and be another
    /// client's: then it means somebody where both call people the same, and otherwise nobody, or two
    /// clients could find out together who is who.
    fn hinted(&self, params: &Params) -> Result<Option<String>, OAuthError> {
        let Some(token) = params.get("id_token_hint") else { return Ok(None) };
        let read = IdTokenHint::read(token, self.keys().now().remembered(), self.issuer());
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
        let asked = (&request.asked_of_person(), &request.details, request.audience.as_slice());
        let stands = client.redirect_uris.iter().any(|uri| uri.allows(&request.redirect_uri))
            && client.may_use(GrantType::AuthorizationCode)
            && (request.challenge.is_some() || !client.require_pkce);
        Ok(stands && self.may_have(client, asked).await?)
    }

    /// Whether a client may be allowed this scope, these authorization details, for this audience.
    pub(crate) async fn may_have(
        &self,
        client: &Client,
        (scope, details, audience): (&Scope, &Details, &[String]),
    ) -> Result<bool, StoreError> {
        let known = &self.config().details_types;
        if !client.scope.covers(scope) || narrowing::check_types(details, known, client).is_err() {
            return Ok(false);
        }
        for audience in audience {
            if !self.is_for(client, audience).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a client's tokens may be for this audience.
    async fn is_for(&self, client: &Client, audience: &str) -> Result<bool, StoreError> {
        if client.is_pairwise() {
            // Nobody else could tell of whom its tokens speak.
            return Ok(audience == self.config().audience);
        }
        Ok(audience == self.config().audience
            || client.audiences.iter().any(|registered| registered == audience)
            || self.targets().access(self.realm(), &client.id, audience).await? == Access::Allowed)
    }

    /// Whom the access token will be for: the resources that were asked for (RFC 8707), or the
    /// client's registered audiences, or the gateway.
    pub(crate) async fn asked_audience(
        &self,
        params: &Params,
        client: &Client,
    ) -> Result<Vec<String>, Refused> {
        let mut audience: Vec<String> = Vec::new();
        for asked in self.asked_targets(params, client)? {
            if !self.is_for(client, asked).await? {
                let description = "the resource is not known, or not for this client";
                return Err(OAuthError::new(Code::InvalidTarget, description).into());
            }
            audience.push(asked.to_owned());
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

/// What is asked for: what the request names, or all that the client may have in a session.
pub(crate) fn asked_scope(params: &Params, client: &Client) -> Result<Scope, OAuthError> {
    let invalid = |description| OAuthError::new(Code::InvalidScope, description);
    match params.get("scope") {
        Some(text) => {
            let asked = Scope::new(text).map_err(|_| invalid("scope is malformed"))?;
            let openid = asked.contains("openid");
            let is_passed_over = |value: &str| {
                openid && PASSED_OVER.contains(&value) && !client.scope.contains(value)
            };
            let kept: Vec<_> = asked.values().filter(|value| !is_passed_over(value)).collect();
            let scope = Scope::new(&kept.join(" ")).map_err(|_| invalid("scope is malformed"))?;
            if client.scope.covers(&scope) {
                Ok(scope)
            } else {
                Err(invalid("scope is wider than the client may ask for"))
            }
        }
        // Whoever says in detail what it wants does not want everything besides.
        None if params.get("authorization_details").is_some() => Ok(Scope::default()),
        None => {
            // What is not asked for is not given beyond the session (OpenID Connect Core §11).
            let kept: Vec<_> =
                client.scope.values().filter(|value| *value != "offline_access").collect();
            Scope::new(&kept.join(" ")).map_err(|_| invalid("scope is malformed"))
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

/// Where the answer may go. `None`: what is asked for is not registered.
fn redirect_uri<'a>(params: &'a Params, client: &'a Client) -> Option<&'a str> {
    match (params.get("redirect_uri"), client.redirect_uris.as_slice()) {
        (Some(asked), all) if all.iter().any(|uri| uri.allows(asked)) => Some(asked),
        // OAuth 2.1 lets a client leave its only one out; OpenID Connect Core §3.1.2.1 does not, nor
        // does FAPI 2.0 §5.3.2.2.
        (None, [only]) if !asks_openid(params) && !client.is_fapi() => Some(only.as_str()),
        _ => None,
    }
}

/// Refuses a `request_uri` that is not the name of a pushed request: none is fetched (RFC 9101
/// §10.4).
fn check_reference(params: &Params, uri: &str) -> Result<(), OAuthError> {
    if params.get("request").is_some() {
        return Err(OAuthError::request("request and request_uri stand together"));
    }
    if pushed::is_pushed(uri) {
        return Ok(());
    }
    let description = "request_uri is not that of a pushed request; none is fetched";
    Err(OAuthError::new(Code::RequestUriNotSupported, description))
}
