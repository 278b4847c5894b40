//! The token endpoint: one file for each grant type.

use tegata_core::Realm;
use tegata_identity::User;
use tegata_token::{Binding, Scope};

use crate::{
    authenticate::ProvenClient,
    client::GrantType,
    error::{Code, OAuthError, Refused},
    issue::TokenAnswer,
    mtls::Proven,
    params::Params,
    provider::Provider,
};

pub(crate) mod allowed;
pub mod client_credentials;
pub mod code;
pub mod device;
pub mod exchange;
pub(crate) mod narrowing;
pub mod refresh;

impl Provider {
    /// Answers a token request of an authenticated client (RFC 6749 §3.2). `place` is where it
    /// comes from, which binds refresh tokens of public clients that prove nothing; `proven` is what
    /// the request proves to hold.
    ///
    /// # Errors
    /// [`Refused`], as the RFC of the grant type names it.
    pub async fn token(
        &self,
        client: &ProvenClient,
        params: &Params,
        place: &Binding,
        proven: Proven<'_>,
    ) -> Result<TokenAnswer, Refused> {
        let asked = params.require("grant_type", "grant_type is missing")?;
        let grant = GrantType::ALL.into_iter().find(|grant| grant.name() == asked);
        let grant = grant.ok_or(OAuthError::new(
            Code::UnsupportedGrantType,
            "grant_type is none that is offered",
        ))?;
        if !client.may_use(grant) {
            let description = "the client is not registered for this grant_type";
            return Err(OAuthError::new(Code::UnauthorizedClient, description).into());
        }
        if client.api_key().is_some() && grant != GrantType::ClientCredentials {
            let description = "an API key gets tokens for services by client_credentials alone";
            return Err(OAuthError::new(Code::UnauthorizedClient, description).into());
        }
        let now = self.node().now();
        self.check_proven(client, &proven, now)?;
        let proven = proven.at(now);
        let binding = &proven.holder(client, place);
        let bound = binding.confirmation();
        let details = params.get("authorization_details").is_some();
        if details && !gives_what_was_allowed(grant) {
            let description = "authorization_details are not offered for this grant_type";
            let code = Code::InvalidAuthorizationDetails;
            return Err(OAuthError::new(code, description).into());
        }
        match grant {
            GrantType::AuthorizationCode => self.redeem(client, params, binding).await,
            GrantType::RefreshToken => self.refresh(client, params, binding).await,
            GrantType::ClientCredentials => {
                self.client_credentials(client, params, bound.as_ref()).await
            }
            GrantType::DeviceCode => self.device_token(client, params, binding).await,
            GrantType::TokenExchange => self.exchange(client, params, bound.as_ref()).await,
        }
    }

    /// The user with this id, if it may have tokens.
    pub(crate) async fn active_user(
        &self,
        realm: &Realm,
        id: &str,
    ) -> Result<Option<tegata_core::Versioned<User>>, tegata_core::StoreError> {
        let found = tegata_core::repository::load::<User>(self.records(), realm, id).await?;
        Ok(found.filter(|user| !user.value.disabled))
    }
}

/// Whether a grant type gives what a person has allowed before, or less.
const fn gives_what_was_allowed(grant: GrantType) -> bool {
    use GrantType as G;
    matches!(grant, G::AuthorizationCode | G::RefreshToken | G::DeviceCode)
}

/// Reads the parameter `scope`, which must be within `allowed`.
///
/// # Errors
/// `invalid_scope`.
pub(crate) fn scope_within(params: &Params, allowed: &Scope) -> Result<Option<Scope>, OAuthError> {
    let Some(text) = params.get("scope") else { return Ok(None) };
    let invalid = |description| OAuthError::new(Code::InvalidScope, description);
    let scope = Scope::new(text).map_err(|_| invalid("scope is malformed"))?;
    if allowed.covers(&scope) {
        Ok(Some(scope))
    } else {
        Err(invalid("scope is wider than the client may ask for"))
    }
}
