//! Signing out at the wish of a client (OpenID Connect RP-Initiated Logout 1.0).

use tegata_core::ClientId;
use tegata_token::hint::IdTokenHint;

use crate::{
    client::Client,
    described::NotDescribed,
    error::{OAuthError, Refused},
    params::Params,
    provider::Provider,
    redirect::with_query,
};

/// A request to sign out that may be asked about on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndSession {
    /// Who asks, if they say so.
    pub client: Option<Client>,
    /// Where the browser goes afterwards: registered, with the state in it.
    pub then: Option<String>,
}

impl Provider {
    /// Reads a request to sign out.
    ///
    /// # Errors
    /// `invalid_request`: then a page says so, and the browser is sent nowhere.
    pub async fn end_session(&self, params: &Params) -> Result<EndSession, Refused> {
        let hint = match params.get("id_token_hint") {
            Some(token) => {
                // An ID token that has expired still says who asked (§2).
                let read = IdTokenHint::read(token, self.keys().now().remembered(), self.issuer());
                Some(read.map_err(|_| OAuthError::request("id_token_hint is not valid"))?)
            }
            None => None,
        };
        let named = params.get("client_id");
        let claimed = match (&hint, named) {
            (Some(hint), Some(named)) if hint.client != named => {
                return Err(OAuthError::request("client_id is not that of id_token_hint").into());
            }
            (Some(hint), _) => Some(hint.client.as_str()),
            (None, named) => named,
        };
        let id = claimed.and_then(|id| ClientId::new(id).ok());
        let client = match id {
            Some(id) => match self.client(&id).await {
                Err(NotDescribed::Store(error)) => return Err(error.into()),
                // One that is not taken is sent nobody; people sign out all the same.
                found => found.unwrap_or_default(),
            },
            None => None,
        };
        let then = match (params.get("post_logout_redirect_uri"), &client) {
            (None, _) => None,
            (Some(uri), Some(client))
                if client.post_logout_redirect_uris.iter().any(|own| own.as_str() == uri) =>
            {
                let state: Vec<_> =
                    params.get("state").map(|it| ("state", it)).into_iter().collect();
                Some(with_query(uri, &state))
            }
            (Some(_), _) => {
                let description = "post_logout_redirect_uri is not registered for the client";
                return Err(OAuthError::request(description).into());
            }
        };
        Ok(EndSession { client, then })
    }
}
