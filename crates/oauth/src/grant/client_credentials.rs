//! The client credentials grant (RFC 6749 §4.4), and tokens of a service for one other service.

use std::time::Duration;

use serde_json::json;
use tegata_core::{Batch, Event, EventType, TokenId};
use tegata_token::{Algorithm, ApiKey, Audience, Claims, Confirmation, Lineage};

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
    /// audience) and lives as long as any. With target services in `audience` or `resource`
    /// (RFC 8707), it is for those alone and lives 60 seconds, or 300 where it is bound to a
    /// certificate. One of a minute is not listed for revocation: it falls with its client or key
    /// before anybody could take it back. Several targets are either all services, which live by that
    /// rule, or all the client's own audiences. For several services it is bound to a key or a
    /// certificate: each of them could show the others what it is sent, and pass for the client there
    /// (RFC 8707 §3).
    ///
    /// A client that showed an API key gets a token for services that the key may call, within the key's
    /// scope and for no longer than the key counts, which falls with the key.
    pub(super) async fn client_credentials(
        &self,
        client: &ProvenClient,
        params: &Params,
        bound: Option<&Confirmation>,
    ) -> Result<TokenAnswer, Refused> {
        let key = client.api_key();
        let allowed = match key {
            Some(key) => client.scope.narrowed_to(&key.grant.scope),
            None => client.scope.clone(),
        };
        let scope = scope_within(params, &allowed)?.unwrap_or(allowed);
        let mut audience = self.asked_targets(params, client)?;
        if audience.is_empty() {
            audience.push(client.audiences.first().unwrap_or(&self.config().audience));
        }
        let service = self.are_services(client, &audience).await?;
        if let Some(key) = key
            && !(service && audience.iter().all(|target| key.grant.gives_token_for(target)))
        {
            let description = "an API key gets tokens for services, one of those that it may call: name it \
                               in audience";
            return Err(OAuthError::new(Code::InvalidTarget, description).into());
        }
        if service && audience.len() > 1 && bound.is_none() {
            let description = "a token for several services is bound to a key or a certificate: prove one, \
                               or ask for a token for each";
            return Err(OAuthError::new(Code::InvalidTarget, description).into());
        }

        let config = self.config();
        let of_certificate = bound.is_some_and(|it| it.certificate_alone().is_some());
        let lifetime = match service {
            true if of_certificate => config.bound_service_lifetime,
            true => config.service_lifetime,
            false => config.access_lifetime,
        };
        let iat = client.since();
        // What a key gave ends with it.
        let left = key.map(|key| Duration::from_secs(key.expires.secs().saturating_sub(iat)));
        let lifetime = left.map_or(lifetime, |left| lifetime.min(left));
        let lineage = Lineage {
            jti: key.and_then(ApiKey::jti).map(|jti| jti.as_str().to_owned()).into_iter().collect(),
            ..Lineage::default()
        };
        let jti = TokenId::generate(self.epoch(), self.node().entropy());
        let brief = service && lifetime <= UNLISTED;
        let place = if brief { None } else { Some(self.indexes().next(self.realm()).await?) };
        let claims = Claims {
            iss: self.issuer().to_owned(),
            sub: client.id.as_str().to_owned(),
            aud: Audience(audience.iter().map(|&name| name.to_owned()).collect()),
            exp: iat + lifetime.as_secs(),
            iat,
            nbf: Some(iat),
            jti: jti.as_str().to_owned(),
            client_id: Some(client.id.as_str().to_owned()),
            scope: scope.clone(),
            status: place.map(|place| self.status(place)),
            cnf: bound.cloned(),
            may_act: client.may_act(),
            lineage: lineage.claim(),
            ..Claims::default()
        };
        let view = self.revoker().view().realm(self.realm());
        if view.check_claims(&claims, place, "").is_some() {
            let description = "what the client has was taken back just now";
            return Err(OAuthError::new(Code::InvalidClient, description).into());
        }
        let algorithm = if service { Algorithm::Es256 } else { client.access_token_alg };
        let (mut access_token, kid) =
            self.signed_by(algorithm, "at+jwt", &claims.to_json()).await?;
        // Services are inside: they read what they are sent.
        if !service {
            access_token = self.in_form_of(client, access_token, claims.exp).await?;
        }
        if service {
            self.note_service_token(client, &audience, &jti).await?;
        }
        self.note_issued("client_credentials", (&claims, &kid), None, place);
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

    /// Whether these are services, and not audiences of the client's own.
    async fn are_services(&self, client: &Client, audience: &[&str]) -> Result<bool, Refused> {
        let is_own = |name: &&str| {
            *name == self.config().audience || client.audiences.iter().any(|own| own == name)
        };
        let invalid = |description| OAuthError::new(Code::InvalidTarget, description);
        let own = audience.iter().filter(|name| is_own(name)).count();
        if own == audience.len() {
            return Ok(false);
        }
        for target in audience.iter().filter(|name| !is_own(name)) {
            match self.targets().access(self.realm(), &client.id, target).await? {
                Access::Allowed | Access::InOwnName => {}
                // The same answer for both: who may not call a service need not learn of it.
                Access::Unknown | Access::Forbidden => {
                    let description = "the audience is not known, or the client may not call it";
                    return Err(invalid(description).into());
                }
            }
        }
        // They live for different times, and are signed by different keys.
        if own > 0 {
            return Err(invalid("services are asked for apart from the client's audiences").into());
        }
        Ok(true)
    }

    async fn note_service_token(
        &self,
        client: &ProvenClient,
        targets: &[&str],
        jti: &TokenId,
    ) -> Result<(), Refused> {
        let batch = targets.iter().fold(Batch::new(self.realm().clone()), |batch, target| {
            let data =
                [("service", json!(client.id)), ("target", json!(target)), ("jti", json!(jti))];
            let mut event = Event::new(self.node(), self.realm(), EventType::TokenIssued, data);
            if let Some(key) = client.api_key() {
                event.data.insert("api_key".to_owned(), json!(key.id));
            }
            batch.journal(&event)
        });
        Ok(self.records().commit(batch).await?)
    }
}
