//! The client credentials grant (RFC 6749 §4.4), and tokens of a service for one other service.

use std::time::Duration;

use serde_json::json;
use tegata_core::{Batch, Event, EventType, TokenId};
use tegata_token::{Algorithm, Audience, Claims, Confirmation};

use super::scope_within;
use crate::{
    authenticate::ProvenClient,
    client::Client,
    dpop,
    error::{Code, OAuthError, Refused},
    issue::TokenAnswer,
    params::Params,
    provider::{Access, Provider},
};

/// The longest life of a token for one service that is on no status list.
const UNLISTED: Duration = Duration::from_secs(60);

impl Provider {
    /// Answers a client credentials request.
    ///
    /// Without a target, the token is for the gateway (or for the client's first registered
    /// audience) and lives as long as any. With a target service in `audience` or `resource`
    /// (RFC 8707), it is for that service alone and lives 60 seconds, or 300 where it is bound to a
    /// certificate. One of a minute is not listed for revocation: it falls with its client or key
    /// before anybody could take it back.
    pub(super) async fn client_credentials(
        &self,
        client: &ProvenClient,
        params: &Params,
        bound: Option<&Confirmation>,
    ) -> Result<TokenAnswer, Refused> {
        let scope = scope_within(params, &client.scope)?.unwrap_or_else(|| client.scope.clone());
        let mut targets = params.all("audience").chain(params.all("resource"));
        let target = targets.next();
        if targets.next().is_some() {
            let description = "one audience at a time";
            return Err(OAuthError::new(Code::InvalidTarget, description).into());
        }
        let own = client.audiences.first().unwrap_or(&self.config().audience);
        let audience = target.unwrap_or(own);
        let listed = audience == self.config().audience
            || client.audiences.iter().any(|registered| registered == audience);
        let service = if listed { false } else { self.is_callable(client, audience).await? };

        let config = self.config();
        let of_certificate = bound.is_some_and(|it| it.certificate_alone().is_some());
        let lifetime = match service {
            true if of_certificate => config.bound_service_lifetime,
            true => config.service_lifetime,
            false => config.access_lifetime,
        };
        let iat = client.since();
        let jti = TokenId::generate(self.epoch(), self.node().entropy());
        let brief = service && lifetime <= UNLISTED;
        let place = if brief { None } else { Some(self.indexes().next(self.realm()).await?) };
        let claims = Claims {
            iss: self.issuer().to_owned(),
            sub: client.id.as_str().to_owned(),
            aud: Audience::from(audience),
            exp: iat + lifetime.as_secs(),
            iat,
            nbf: Some(iat),
            jti: jti.as_str().to_owned(),
            client_id: Some(client.id.as_str().to_owned()),
            scope: scope.clone(),
            status: place.map(|place| self.status(place)),
            cnf: bound.cloned(),
            may_act: client.may_act(),
            ..Claims::default()
        };
        let view = self.revoker().view().realm(self.realm());
        if view.check_claims(&claims, place, "").is_some() {
            let description = "what the client has was taken back just now";
            return Err(OAuthError::new(Code::InvalidClient, description).into());
        }
        let algorithm = if service { Algorithm::Es256 } else { client.access_token_alg };
        let access_token = self.sign(algorithm, "at+jwt", &claims.to_json())?;
        if service {
            self.note_service_token(client, audience, &jti).await?;
        }
        self.note_issued("client_credentials", &claims, None, place);
        Ok(TokenAnswer {
            access_token,
            token_type: dpop::token_type(bound),
            expires_in: lifetime.as_secs(),
            refresh_token: None,
            id_token: None,
            scope: scope.as_str().to_owned(),
            authorization_details: None,
            issued_token_type: None,
            tokens: None,
        })
    }

    async fn is_callable(&self, client: &Client, target: &str) -> Result<bool, Refused> {
        match self.targets().access(self.realm(), &client.id, target).await? {
            Access::Allowed | Access::InOwnName => Ok(true),
            // The same answer for both: who may not call a service need not learn of it.
            Access::Unknown | Access::Forbidden => {
                let description = "the audience is not known, or the client may not call it";
                Err(OAuthError::new(Code::InvalidTarget, description).into())
            }
        }
    }

    async fn note_service_token(
        &self,
        client: &Client,
        target: &str,
        jti: &TokenId,
    ) -> Result<(), Refused> {
        let data = [("service", json!(client.id)), ("target", json!(target)), ("jti", json!(jti))];
        let event = Event::new(self.node(), self.realm(), EventType::TokenIssued, data);
        let batch = Batch::new(self.realm().clone()).journal(&event);
        Ok(self.records().commit(batch).await?)
    }
}
