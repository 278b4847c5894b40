//! Token exchange (RFC 8693): one token of a caller becomes narrow tokens for the services that
//! the caller goes on to call.
//!
//! A derived token is for one audience, never lives longer than its origin or five minutes, never
//! has a scope or role that its origin had not, nor one that the service is not to see, names the whole
//! chain of actors, and carries its origin's place, family and session and the names of everything else
//! that it was made from, so that taking back any of that takes it back.
//!
//! What is made of a token that is bound to a key or a certificate is bound to one, too: to what the
//! exchange itself proves to hold. That is what the origin is bound to, unless the origin is for the
//! client that exchanges it, which has seen the proof of its holder. An internal token of the gateway is
//! bound to nothing: the gateway has seen the proof, and what is made from it is bound where the exchange
//! proves something.
//!
//! | module | subject |
//! |---|---|
//! | `asked` | what the parameters ask for |
//! | `presented` | the tokens that are presented |
//! | `transaction` | transaction tokens |

use serde_json::{Map, json};
use tegata_core::{Batch, ClientId, Event, EventType, KeyId, TokenId};
use tegata_token::{Algorithm, Audience, Claims, Confirmation, Scope, claims::Actor, jws};

pub(crate) use self::asked::TRANSACTION_TOKEN;
use self::{
    asked::{Asked, Wanted},
    presented::Presented,
};
use crate::{
    authenticate::ProvenClient,
    client::Client,
    delegation::{Callers, Case, Delegation, Mandate, Purpose},
    dpop,
    error::{Code, OAuthError, Refused},
    issue::TokenAnswer,
    params::Params,
    provider::{Access, Provider},
    sees::Sees,
};

pub mod asked;
mod presented;
mod transaction;

/// A service that a token is asked for.
struct Target {
    name: String,
    /// What its callers may do there.
    callers: Callers,
    /// What of the subject's rights it is told.
    sees: Sees,
}

/// Everything that is known of an exchange for access tokens.
struct Exchange<'a> {
    client: &'a Client,
    subject: Presented,
    actor: Option<Presented>,
    delegations: Vec<Delegation>,
    /// No more than this.
    scope: Scope,
    /// What the exchange proves to hold.
    bound: Option<&'a Confirmation>,
    now: u64,
    /// The name of what is issued.
    issued: &'static str,
}

/// A token that was made, and that nobody has yet.
struct Derived<'t> {
    target: &'t str,
    claims: Claims,
    /// The key that signed it.
    kid: KeyId,
    answer: TokenAnswer,
    /// Whether it says who acts.
    names_actor: bool,
}

impl Provider {
    /// Answers an exchange. For several audiences, the answer has all tokens in `tokens`, by
    /// audience, and the first of them where RFC 8693 wants it.
    pub(super) async fn exchange(
        &self,
        client: &ProvenClient,
        params: &Params,
        bound: Option<&Confirmation>,
    ) -> Result<TokenAnswer, Refused> {
        let asked = Asked::read(params)?;
        match &asked.wanted {
            Wanted::AccessTokens(issued) => {
                self.access_tokens(client, params, &asked, issued, bound).await
            }
            Wanted::Transaction(details, context) => {
                let contexts = (details, context);
                self.transaction_token(client, params, &asked, contexts, bound).await
            }
        }
    }

    async fn access_tokens(
        &self,
        client: &ProvenClient,
        params: &Params,
        asked: &Asked<'_>,
        issued: &'static str,
        bound: Option<&Confirmation>,
    ) -> Result<TokenAnswer, Refused> {
        // Who acts decides what is looked up. Whether its token counts is settled below.
        let actor = self.actor(client, asked, bound).await?;
        let actor = actor.map_or(Ok(client.id.clone()), |actor| ClientId::new(&actor.claims.sub));
        let actor = actor.map_err(|_| OAuthError::request("actor_token names no client"))?;
        let targets = self.exchange_targets(client, &actor, params).await?;
        let delegations = self.targets().delegations(self.realm(), &actor).await?;
        // What is taken back from then on was issued by then; what was taken back before is seen when
        // the tokens are looked at, after the last look at the store.
        let now = client.since();
        let subject = self.subject(client, asked, bound).await?;
        let actor = self.actor(client, asked, bound).await?;
        if asked.scope.as_ref().is_some_and(|wanted| !subject.claims.scope.covers(wanted)) {
            let description = "scope is wider than that of the subject token";
            return Err(OAuthError::new(Code::InvalidScope, description).into());
        }
        let scope = asked.scope.clone().unwrap_or_else(|| subject.claims.scope.clone());
        let exchange = Exchange { client, subject, actor, delegations, scope, bound, now, issued };
        check_may_act(&exchange.subject.claims, exchange.actor_id())?;
        let mut derived = Vec::with_capacity(targets.len());
        for target in &targets {
            derived.push(self.derive(&exchange, target).await?);
        }
        self.note_derived(&exchange, &derived).await?;
        let tokens = (derived.len() > 1).then(|| {
            let each = derived.iter().map(|it| (it.target.to_owned(), one_of_several(&it.answer)));
            each.collect::<Map<_, _>>()
        });
        let first = derived.into_iter().next().map(|first| first.answer);
        let first = first.ok_or(OAuthError::request("audience is missing"))?;
        Ok(TokenAnswer { tokens, ..first })
    }

    /// Refuses what would be refused everywhere, since it is older than something that was taken back.
    fn check_stands(&self, claims: &Claims, subject: &Presented) -> Result<(), OAuthError> {
        let view = self.revoker().view().realm(self.realm());
        match view.check_claims(claims, subject.place, "") {
            None => Ok(()),
            Some(_) => Err(OAuthError::request(
                "what the client or the actor has was taken back since the subject_token was issued",
            )),
        }
    }

    /// The services that are asked for. Whoever asks and whoever acts may both call them: neither gets
    /// further through the other.
    async fn exchange_targets(
        &self,
        client: &Client,
        actor: &ClientId,
        params: &Params,
    ) -> Result<Vec<Target>, Refused> {
        let mut targets: Vec<Target> = Vec::new();
        for target in self.asked_targets(params, client)? {
            let access = self.targets().access(self.realm(), actor, target).await?;
            let forbidden = [Access::Unknown, Access::Forbidden];
            if forbidden.contains(&access)
                || (*actor != client.id && !self.may_call(client, target).await?)
            {
                let description = "the audience is not known, or the client may not call it";
                return Err(OAuthError::new(Code::InvalidTarget, description).into());
            }
            let callers =
                if access == Access::Allowed { Callers::MayAct } else { Callers::NeedDelegation };
            let sees = self.targets().sees(self.realm(), target).await?;
            targets.push(Target { name: target.to_owned(), callers, sees });
        }
        if targets.is_empty() {
            return Err(OAuthError::request("audience is missing").into());
        }
        Ok(targets)
    }

    async fn may_call(&self, client: &Client, target: &str) -> Result<bool, Refused> {
        let access = self.targets().access(self.realm(), &client.id, target).await?;
        Ok(matches!(access, Access::Allowed | Access::InOwnName))
    }

    async fn derive<'t>(
        &self,
        exchange: &Exchange<'_>,
        target: &'t Target,
    ) -> Result<Derived<'t>, Refused> {
        let mandate = exchange.mandate(target)?;
        let claims = self.derived_claims(exchange, target, &mandate)?;
        self.check_stands(&claims, &exchange.subject)?;
        let (token, kid) = self.signed_by(Algorithm::Es256, "at+jwt", &claims.to_json()).await?;
        let answer = TokenAnswer {
            access_token: check_length(token)?,
            token_type: dpop::token_type(exchange.bound),
            expires_in: claims.exp.saturating_sub(exchange.now),
            refresh_token: None,
            id_token: None,
            scope: claims.scope.as_str().to_owned(),
            authorization_details: None,
            issued_token_type: Some(exchange.issued),
            tokens: None,
        };
        Ok(Derived { target: &target.name, claims, kid, answer, names_actor: mandate.names_actor })
    }

    fn derived_claims(
        &self,
        exchange: &Exchange<'_>,
        target: &Target,
        mandate: &Mandate,
    ) -> Result<Claims, OAuthError> {
        let subject = &exchange.subject.claims;
        let mut scope = target.sees.scope_of(&scope_for(&exchange.scope, &target.name));
        if let Some(most) = &mandate.scope {
            scope = scope.narrowed_to(most);
        }
        let mut exp = subject.exp.min(exchange.now + self.config().exchanged_lifetime.as_secs());
        let mut lineage = exchange.subject.lineage();
        let (iat, first) = (exchange.now.max(subject.iat), subject.first_issued());
        // What takes the origin back by its time takes this back, wherever it was made.
        lineage.first_issued(first, iat);
        lineage.made_by(exchange.client.id.as_str(), exchange.now, first);
        if let Some(actor) = &exchange.actor {
            exp = exp.min(actor.claims.exp);
            actor.acts_in(&mut lineage);
        }
        Ok(Claims {
            iss: self.issuer().to_owned(),
            sub: subject.sub.clone(),
            aud: Audience::from(target.name.as_str()),
            exp,
            iat,
            nbf: None,
            jti: TokenId::generate(self.epoch(), self.node().entropy()).as_str().to_owned(),
            client_id: Some(exchange.client.id.as_str().to_owned()),
            scope,
            roles: target.sees.roles_of(&subject.roles),
            sid: subject.sid.clone(),
            outlives_session: subject.outlives_session,
            fid: subject.fid.clone(),
            acr: subject.acr.clone(),
            amr: subject.amr.clone(),
            auth_time: subject.auth_time,
            status: subject.status.clone(),
            cnf: exchange.bound.cloned(),
            act: exchange.act(mandate, self.config().longest_chain)?,
            may_act: subject.may_act.clone(),
            original_jti: Some(subject.original_jti.clone().unwrap_or_else(|| subject.jti.clone())),
            lineage: lineage.claim(),
            context: subject.context.clone(),
            ..Claims::default()
        })
    }

    /// Notes what is answered, when it is known that all of it is. Where whoever is called does not see
    /// who acts, the journal says it.
    async fn note_derived(
        &self,
        exchange: &Exchange<'_>,
        derived: &[Derived<'_>],
    ) -> Result<(), Refused> {
        let impersonations: Vec<_> = derived.iter().filter(|it| !it.names_actor).collect();
        if !impersonations.is_empty() {
            let batch = Batch::new(self.realm().clone());
            let batch = impersonations.into_iter().fold(batch, |batch, it| {
                let data = [
                    ("service", json!(exchange.client.id)),
                    ("target", json!(it.target)),
                    ("jti", json!(it.claims.jti)),
                    ("user_id", json!(it.claims.sub)),
                    ("impersonation", json!(true)),
                ];
                let event = Event::new(self.node(), self.realm(), EventType::TokenIssued, data);
                batch.journal(&event)
            });
            self.records().commit(batch).await?;
        }
        let subject = exchange.subject.claims.jti.as_str();
        for it in derived {
            self.note_issued("token_exchange", (&it.claims, &it.kid), Some(subject), None);
        }
        Ok(())
    }
}

impl Exchange<'_> {
    /// Who acts: whoever showed an actor token, or else the client that asks.
    fn actor_id(&self) -> &str {
        self.actor.as_ref().map_or(self.client.id.as_str(), |actor| actor.claims.sub.as_str())
    }

    fn mandate(&self, target: &Target) -> Result<Mandate, OAuthError> {
        let case = Case {
            client: self.client.id.as_str(),
            actor: self.actor_id(),
            shown: self.actor.is_some(),
            chain: 1 + chain(self.subject.claims.act.as_deref()),
            subject: &self.subject.claims,
            purpose: Purpose::Service(&target.name, target.callers),
        };
        case.decide(&self.delegations).map_err(|_| {
            let description = "no delegation lets this actor act for this subject there";
            OAuthError::new(Code::InvalidTarget, description)
        })
    }

    /// The chain of actors with this one in front (RFC 8693 §4.1). One that acts twice counts twice.
    fn act(&self, mandate: &Mandate, longest: usize) -> Result<Option<Box<Actor>>, OAuthError> {
        let before = &self.subject.claims.act;
        if !mandate.names_actor {
            // Whoever acted before would pass for the one who calls.
            return if before.is_none() {
                Ok(None)
            } else {
                Err(OAuthError::request(
                    "subject_token names an actor already, so the one that acts now has to be named: \
                     send its actor_token",
                ))
            };
        }
        let actor = Actor { sub: self.actor_id().to_owned(), act: before.clone() };
        if chain(Some(&actor)) > mandate.most_actors.map_or(longest, |most| most.min(longest)) {
            return Err(OAuthError::request(
                "the chain of actors is too long: the token was passed on as often as it may be",
            ));
        }
        Ok(Some(Box::new(actor)))
    }
}

/// How many actors there are.
fn chain(last: Option<&Actor>) -> usize {
    std::iter::successors(last, |actor| actor.act.as_deref()).count()
}

/// Refuses an actor that is not the one whom the subject token lets act (RFC 8693 §4.4).
fn check_may_act(subject: &Claims, actor: &str) -> Result<(), OAuthError> {
    match &subject.may_act {
        Some(only) if only.sub != actor => {
            Err(OAuthError::request("subject_token lets another act, and nobody else"))
        }
        _ => Ok(()),
    }
}

/// What is longer than any token that is read would be refused by whoever gets it.
fn check_length(token: String) -> Result<String, OAuthError> {
    if token.len() > jws::LONGEST {
        return Err(OAuthError::request(
            "the new token would be longer than 8192 bytes: ask for less scope or a shorter context",
        ));
    }
    Ok(token)
}

fn one_of_several(answer: &TokenAnswer) -> serde_json::Value {
    json!({
        "access_token": answer.access_token,
        "issued_token_type": answer.issued_token_type,
        "token_type": answer.token_type,
        "expires_in": answer.expires_in,
        "scope": answer.scope,
    })
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
