//! Token exchange (RFC 8693): one token of a caller becomes narrow tokens for the services that
//! the caller goes on to call.
//!
//! A derived token is for one audience, never lives longer than its origin or five minutes, never
//! has a scope that its origin had not, names the whole chain of actors, and carries its origin's
//! place, family and session, so that taking back the origin takes back what was made from it.
//!
//! What is made of a token that is bound to a key is bound to one, too: to the key that the exchange
//! itself proves. That is the origin's own key, unless the origin is for the client that exchanges it,
//! which has seen the proof of its holder. An internal token of the gateway is bound to none: the
//! gateway has seen the proof, and what is made from it is bound where the exchange proves a key.

use serde_json::{Map, json};
use tegata_core::TokenId;
use tegata_token::{Algorithm, Audience, Claims, Scope, claims::Actor, foreign::is_foreign};

use crate::{
    client::Client,
    dpop,
    error::{Code, OAuthError, Refused},
    issue::TokenAnswer,
    params::Params,
    provider::{Access, Provider},
};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// How many tokens one call can ask for.
const MOST_TARGETS: usize = 16;

impl Provider {
    /// Answers an exchange. For several audiences, the answer has all tokens in `tokens`, by
    /// audience, and the first of them where RFC 8693 wants it.
    pub(super) async fn exchange(
        &self,
        client: &Client,
        params: &Params,
        jkt: Option<&str>,
    ) -> Result<TokenAnswer, Refused> {
        check_forms(params)?;
        let targets = self.exchange_targets(client, params).await?;
        // What is taken back from now on was issued by now; what was taken back before is seen when
        // the subject is looked at, after the last look at the store.
        let now = self.node().now().secs();
        // As for client credentials: one that is still there now may go on.
        if self.clients().load(self.realm(), &client.id).await?.is_none() {
            return Err(OAuthError::new(Code::InvalidClient, "the client is not known").into());
        }
        let subject = self.subject(client, params, jkt).await?;
        let wanted = params.get("scope").map(Scope::new).transpose();
        let wanted =
            wanted.map_err(|_| OAuthError::new(Code::InvalidScope, "scope is malformed"))?;
        if wanted.as_ref().is_some_and(|wanted| !subject.scope.covers(wanted)) {
            let description = "scope is wider than that of the subject token";
            return Err(OAuthError::new(Code::InvalidScope, description).into());
        }
        let base = wanted.unwrap_or_else(|| subject.scope.clone());
        let actor = self.actor(client, &subject)?;
        let mut answers = Vec::with_capacity(targets.len());
        for target in &targets {
            let answer = self.derive(client, &subject, &actor, (target, jkt), &base, now)?;
            answers.push((target.clone(), answer));
        }
        let tokens = (answers.len() > 1).then(|| {
            let token = |answer: &TokenAnswer| {
                json!({
                    "access_token": answer.access_token,
                    "issued_token_type": ACCESS_TOKEN,
                    "token_type": answer.token_type,
                    "expires_in": answer.expires_in,
                    "scope": answer.scope,
                })
            };
            answers
                .iter()
                .map(|(target, answer)| (target.clone(), token(answer)))
                .collect::<Map<_, _>>()
        });
        let first = answers.into_iter().next().map(|(_, answer)| answer);
        let first = first.ok_or(OAuthError::request("audience is missing"))?;
        Ok(TokenAnswer { tokens, ..first })
    }

    /// The claims of the subject token: valid, not revoked, and addressed to the client that wants
    /// to exchange it, to one of the audiences that it is registered for, or to the gateway.
    async fn subject(
        &self,
        client: &Client,
        params: &Params,
        jkt: Option<&str>,
    ) -> Result<Claims, Refused> {
        let invalid = |description| OAuthError::new(Code::InvalidRequest, description);
        let token = params.require("subject_token", "subject_token is missing")?;
        let unusable = "subject_token is not valid, has expired or has been revoked";
        self.revoker().know_enough().await?;
        let view = self.revoker().view().realm(self.realm());
        let (claims, revoked) = if let Ok(verified) = self.verifier().verify(token) {
            (verified.claims().clone(), view.check(&verified))
        } else {
            let verified = self.internal_verifier().verify(token).map_err(|_| invalid(unusable))?;
            (verified.claims().clone(), view.check(&verified))
        };
        if revoked.is_some() {
            return Err(invalid(unusable).into());
        }
        let addressed = claims.aud.0.iter().any(|audience| {
            audience == client.id.as_str()
                || *audience == self.config().audience
                || client.audiences.contains(audience)
        });
        // Its origin is taken back in a way that what is derived here does not fall with.
        if is_foreign(&claims.sub) {
            let description = "subject_token speaks of somebody whom another issuer knows";
            return Err(invalid(description).into());
        }
        if !addressed {
            return Err(invalid("subject_token is not for this client").into());
        }
        check_bound(client, &claims, jkt)?;
        Ok(claims)
    }

    async fn exchange_targets(
        &self,
        client: &Client,
        params: &Params,
    ) -> Result<Vec<String>, Refused> {
        let mut targets: Vec<String> = Vec::new();
        for target in params.all("audience").chain(params.all("resource")) {
            if targets.iter().any(|known| known == target) {
                continue;
            }
            if self.targets().access(self.realm(), &client.id, target).await? != Access::Allowed {
                let description = "the audience is not known, or the client may not call it";
                return Err(OAuthError::new(Code::InvalidTarget, description).into());
            }
            targets.push(target.to_owned());
        }
        if targets.is_empty() {
            return Err(OAuthError::request("audience is missing").into());
        }
        if targets.len() > MOST_TARGETS {
            return Err(OAuthError::request("more than 16 audiences").into());
        }
        Ok(targets)
    }

    /// The chain of actors with this client in front.
    fn actor(&self, client: &Client, subject: &Claims) -> Result<Actor, Refused> {
        let actor = Actor { sub: client.id.as_str().to_owned(), act: subject.act.clone() };
        let length = std::iter::successors(Some(&actor), |actor| actor.act.as_deref()).count();
        if length > self.config().longest_chain {
            return Err(OAuthError::request("the chain of actors is too long").into());
        }
        Ok(actor)
    }

    fn derive(
        &self,
        client: &Client,
        subject: &Claims,
        actor: &Actor,
        (target, jkt): (&str, Option<&str>),
        scope: &Scope,
        now: u64,
    ) -> Result<TokenAnswer, Refused> {
        let exp = subject.exp.min(now + self.config().exchanged_lifetime.as_secs());
        let scope = scope_for(scope, target);
        let own = subject.jti.clone();
        let claims = Claims {
            iss: self.issuer().to_owned(),
            sub: subject.sub.clone(),
            aud: Audience::from(target),
            exp,
            // As old as what it was made of: what takes that back takes this back, wherever it was made.
            iat: subject.iat,
            nbf: None,
            jti: TokenId::generate(self.epoch(), self.node().entropy()).as_str().to_owned(),
            client_id: Some(client.id.as_str().to_owned()),
            scope: scope.clone(),
            roles: subject.roles.clone(),
            sid: subject.sid.clone(),
            fid: subject.fid.clone(),
            acr: subject.acr.clone(),
            amr: subject.amr.clone(),
            auth_time: subject.auth_time,
            status: subject.status.clone(),
            cnf: dpop::confirmation(jkt),
            act: Some(Box::new(actor.clone())),
            original_jti: Some(subject.original_jti.clone().unwrap_or(own)),
            ..Claims::default()
        };
        self.note_issued("token_exchange", &claims, Some(&subject.jti));
        Ok(TokenAnswer {
            access_token: self.sign(Algorithm::Es256, "at+jwt", &claims.to_json())?,
            token_type: dpop::token_type(jkt.is_some()),
            expires_in: exp.saturating_sub(now),
            refresh_token: None,
            id_token: None,
            scope: scope.as_str().to_owned(),
            authorization_details: None,
            issued_token_type: Some(ACCESS_TOKEN),
            tokens: None,
        })
    }
}

/// Refuses to unbind a token, and to bind it to the key of somebody who may have stolen it.
fn check_bound(client: &Client, subject: &Claims, jkt: Option<&str>) -> Result<(), OAuthError> {
    let Some(bound) = &subject.cnf else { return Ok(()) };
    // `audiences` of the client are whom it calls, and so no sign that the token is for it.
    let is_theirs = matches!(subject.aud.0.as_slice(), [only] if only == client.id.as_str());
    match (bound.key_alone(), jkt) {
        (Some(own), Some(shown)) if own == shown || is_theirs => Ok(()),
        (Some(_), None) => Err(OAuthError::request(
            "subject_token is bound to a key: send a DPoP proof, whose key the new token has",
        )),
        (Some(_), Some(_)) => Err(OAuthError::request(
            "subject_token is bound to another key than that of the DPoP proof, and not for this \
             client alone",
        )),
        (None, _) => {
            Err(OAuthError::request("subject_token is bound to what exchange cannot check"))
        }
    }
}

/// What is present but not understood is an error, never "not given".
fn check_forms(params: &Params) -> Result<(), OAuthError> {
    let kind = params.require("subject_token_type", "subject_token_type is missing")?;
    if ![ACCESS_TOKEN, JWT].contains(&kind) {
        return Err(OAuthError::request("subject_token_type must be that of an access token"));
    }
    if params.get("actor_token").is_some() || params.get("actor_token_type").is_some() {
        return Err(OAuthError::request("actor_token is not supported: the client is the actor"));
    }
    let requested = params.get("requested_token_type").unwrap_or(ACCESS_TOKEN);
    if ![ACCESS_TOKEN, JWT].contains(&requested) {
        return Err(OAuthError::request("requested_token_type must be that of an access token"));
    }
    Ok(())
}

/// The part of a scope that concerns a target: `orders`, `orders.read`, `orders:read` for `orders`.
fn scope_for(scope: &Scope, target: &str) -> Scope {
    let concerns = |value: &str| {
        value
            .strip_prefix(target)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
    };
    let kept: Vec<_> = scope.values().filter(|value| concerns(value)).collect();
    // Values of a scope are a scope.
    Scope::new(&kept.join(" ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_gets_only_what_concerns_it() {
        let scope =
            Scope::new("openid orders.read orders:write ordersx.read payments.write orders")
                .unwrap();
        assert_eq!(scope_for(&scope, "orders").as_str(), "orders.read orders:write orders");
        assert_eq!(scope_for(&scope, "payments").as_str(), "payments.write");
        assert_eq!(scope_for(&scope, "shipping").as_str(), "");
    }
}
