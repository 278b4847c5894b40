//! Token revocation (RFC 7009).

use std::sync::Arc;

use serde_json::json;
use tegata_core::{
    Batch, ClientId, CommitRefused, Event, EventType, StoreError, Timestamp, TokenId, port::Change,
};
use tegata_token::{
    AccessToken, Claims, Entry, KeysRefused, Order, Refusal, Revoked, Target, TransactionToken,
    Verified, revocation::Taken, verifier::TokenKind,
};

use crate::{
    client::{Client, NotRegistered},
    error::{Code, OAuthError, Refused},
    params::Params,
    provider::Provider,
};

/// A token that this issuer signed.
enum Issued {
    Access(Arc<Verified<AccessToken>>),
    Transaction(Arc<Verified<TransactionToken>>),
}

impl Issued {
    fn claims(&self) -> &Claims {
        match self {
            Self::Access(token) => token.claims(),
            Self::Transaction(token) => token.claims(),
        }
    }
}

impl Provider {
    /// Takes back everything that was issued to a client up to now, and in its own name. Answers up to
    /// when: no earlier than anything that this process has done, also when the wall clock was set back
    /// since.
    ///
    /// # Errors
    /// What the store says: then nothing is known to be taken back.
    pub async fn take_back_client(
        &self,
        id: &ClientId,
        order: &Order,
    ) -> Result<Timestamp, CommitRefused> {
        self.learn().await;
        let (up_to, entries) = self.up_to_now(id, order);
        let named = [
            ("client_id", json!(id)),
            ("reason", json!(order.reason)),
            ("actor", json!(order.actor)),
        ];
        let event = Event::new(self.node(), self.realm(), EventType::TokenRevoked, named);
        let batch = Batch::new(self.realm().clone()).journal(&event);
        self.revoker().commit(batch, entries).await?;
        Ok(up_to)
    }

    /// Takes back everything that was issued in the name of a subject up to now: a person, by one entry of
    /// the log, however much they have. Answers up to when, as [`Self::take_back_client`] does.
    ///
    /// # Errors
    /// What the store says: then nothing is known to be taken back.
    pub async fn take_back_subject(
        &self,
        sub: &str,
        order: &Order,
    ) -> Result<Timestamp, StoreError> {
        // Where everything was taken back in this second already, what was issued since begins in the
        // next.
        let view = self.revoker().view().realm(self.realm());
        let given = Timestamp::from_secs(view.earliest_issue(sub, None));
        let up_to = self.node().now().max(self.node().tick().wall()).max(given);
        let named = [
            ("user_id", json!(sub)),
            ("reason", json!(order.reason)),
            ("actor", json!(order.actor)),
        ];
        let event = Event::new(self.node(), self.realm(), EventType::TokenRevoked, named);
        let target = Target::Subject { sub: sub.to_owned(), up_to, tokens_only: false };
        // As long as any family could live that was begun before.
        let entry = order.entry(target, Vec::new(), (up_to, up_to + self.families().longest()));
        let batch = Batch::new(self.realm().clone()).journal(&event);
        self.revoker().commit_freely(batch, vec![entry]).await.map(|()| up_to)
    }

    /// Removes a client, with what must change in the same moment, and takes back what was issued to it
    /// until then. What it is given while that is under way, and its families and streams, are the
    /// caller's to take back afterwards.
    ///
    /// # Errors
    /// [`NotRegistered::Overtaken`] where something of it has changed since it was read.
    pub async fn remove_client(
        &self,
        id: &ClientId,
        besides: Vec<Change>,
        order: &Order,
    ) -> Result<(), NotRegistered> {
        self.learn().await;
        let clients = self.clients().at_wish_of(&order.actor);
        let commit = |batch| self.revoker().commit(batch, self.up_to_now(id, order).1);
        clients.remove_by(self.realm(), id, besides, commit).await
    }

    /// Learns what was taken back elsewhere. Where that cannot be had, what is known has to do: what is
    /// to be taken back now does not wait for it.
    pub(crate) async fn learn(&self) {
        if let Err(error) = self.revoker().view().catch_up(self.records()).await {
            tracing::warn!(%error, "what was taken back before is not all known");
        }
    }

    /// What takes back everything that a client has up to now, and up to when that is: where something
    /// of it was taken back in this second already, what it was given since begins in the next.
    pub(crate) fn up_to_now(&self, id: &ClientId, order: &Order) -> (Timestamp, Vec<Entry>) {
        let view = self.revoker().view().realm(self.realm());
        let given = Timestamp::from_secs(view.earliest_issue(id.as_str(), Some(id.as_str())));
        let up_to = self.node().now().max(self.node().tick().wall()).max(given);
        // As long as any family could live that was begun before.
        let until = up_to + self.families().longest();
        let entry = |target| order.entry(target, Vec::new(), (up_to, until));
        let issued = Target::Client { client: id.clone(), up_to };
        let own = Target::Subject { sub: id.as_str().to_owned(), up_to, tokens_only: false };
        (up_to, vec![entry(issued), entry(own)])
    }

    /// Answers a revocation request of an authenticated client: when this answers `Ok`, the token
    /// is refused on this node, durably, and soon everywhere. A token that is none is no error
    /// (RFC 7009 §2.2). Taking back a refresh token ends its family. Answers whether anything had to be
    /// written for it: of what is no token of this issuer, that nothing was taken back.
    ///
    /// # Errors
    /// `unauthorized_client` for another client's token; what the store says, also where the key of a
    /// token cannot be looked for, and then nothing is known to have been taken back.
    pub async fn revoke(&self, client: &Client, params: &Params) -> Result<Taken, Refused> {
        let token = &*self.resolved(params.require("token", "token is missing")?).await?;
        // `token_type_hint` speeds nothing up here: the two kinds look different.
        if let Some((family, _)) = self.families().of_token(self.realm(), token).await? {
            self.check_owner(client, family.client.as_str())?;
            let order = order(client);
            let ended = self.families().revoke(self.realm(), &family.id, &order).await?;
            return Ok(if ended { Taken::Now } else { Taken::Before });
        }
        if let Some(issued) = self.known(token).await? {
            self.check_owner(client, issued.claims().client_id.as_deref().unwrap_or_default())?;
            return self.revoke_issued(&issued, &order(client)).await;
        }
        // INVARIANT: nobody is told that this is refused. It may be a good token of another issuer.
        Ok(Taken::Nothing)
    }

    /// A token of this issuer, whatever its times: a clock that is wrong keeps nothing alive. A key
    /// that this node has not heard of yet is looked for once.
    ///
    /// # Errors
    /// What the store says when it is: the token may be one of ours.
    async fn known(&self, token: &str) -> Result<Option<Issued>, StoreError> {
        match self.issued(token) {
            Err(Refusal::UnknownKey) => {
                self.keys().reload().await.map_err(|refused| match refused {
                    KeysRefused::Store(error) => error,
                    other => StoreError::Misused {
                        detail: format!("the key rings cannot be read for a revocation: {other}"),
                    },
                })?;
                Ok(self.issued(token).ok())
            }
            issued => Ok(issued.ok()),
        }
    }

    fn issued(&self, token: &str) -> Result<Issued, Refusal> {
        match self.verifier().danger_verify_at_any_time(token) {
            // What was promised to be taken back is: a transaction token is given at the same endpoint.
            Err(Refusal::Kind) => {
                let verified = self.transaction_verifier().danger_verify_at_any_time(token);
                verified.map(Issued::Transaction)
            }
            verified => verified.map(Issued::Access),
        }
    }

    async fn revoke_issued(&self, issued: &Issued, order: &Order) -> Result<Taken, Refused> {
        match issued {
            Issued::Access(token) => self.revoke_verified(token, order).await,
            Issued::Transaction(token) => self.revoke_verified(token, order).await,
        }
    }

    async fn revoke_verified<K: TokenKind>(
        &self,
        token: &Verified<K>,
        order: &Order,
    ) -> Result<Taken, Refused> {
        let claims = token.claims();
        // Tokens of this issuer have ids of this issuer's making.
        let Ok(jti) = TokenId::new(&claims.jti) else { return Ok(Taken::Nothing) };
        let view = self.revoker().view().realm(self.realm());
        // A token that was made from another shares its place: that is the other's to lose.
        let own = claims.original_jti.is_none();
        let place = token.place().filter(|_| own);
        // Whoever reads status lists knows no names.
        let is_listed = place.is_none_or(|place| view.is_listed(place));
        if is_listed && view.has_taken_back(token) {
            return Ok(Taken::Before);
        }
        let now = self.node().now();
        let event = Event::new(
            self.node(),
            self.realm(),
            EventType::TokenRevoked,
            [
                ("jti", json!(claims.jti)),
                ("user_id", json!(claims.sub)),
                ("client_id", json!(claims.client_id)),
                ("reason", json!(order.reason)),
                ("actor", json!(order.actor)),
            ],
        );
        let until = Timestamp::from_secs(claims.exp) + self.config().access_lifetime * 2;
        let entry = order.entry(Target::Token(jti), place.into_iter().collect(), (now, until));
        let batch = Batch::new(self.realm().clone()).journal(&event);
        self.revoker().commit(batch, vec![entry]).await?;
        Ok(Taken::Now)
    }

    /// Takes back an access token or a transaction token by its text, at the wish of an operator. Answers
    /// its `jti`, and whether anything had to be written for it.
    ///
    /// # Errors
    /// `invalid_request` where it is not a token of this issuer; what the store says.
    pub async fn revoke_token(
        &self,
        token: &str,
        order: &Order,
    ) -> Result<(String, Taken), Refused> {
        let token = self.resolved(token).await?;
        let issued = self.known(&token).await?.ok_or(OAuthError::request(
            "this is neither an access token nor a transaction token of this issuer",
        ))?;
        let taken = self.revoke_issued(&issued, order).await?;
        Ok((issued.claims().jti.clone(), taken))
    }

    /// What an access token or a transaction token says, and by what it is revoked, if it is.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn inspect(&self, token: &str) -> Result<(Claims, Option<Revoked>), Refusal> {
        let view = self.revoker().view().realm(self.realm());
        match self.verifier().verify(token) {
            Err(Refusal::Kind) => {
                let verified = self.transaction_verifier().verify(token)?;
                Ok((verified.claims().clone(), view.check(&verified)))
            }
            verified => {
                let verified = verified?;
                Ok((verified.claims().clone(), view.check(&verified)))
            }
        }
    }

    /// Only a token's own client takes it back, or one that may ask about all.
    fn check_owner(&self, client: &Client, owner: &str) -> Result<(), OAuthError> {
        if client.id.as_str() == owner || client.may_introspect {
            Ok(())
        } else {
            let description = "the token was issued to another client";
            Err(OAuthError::new(Code::UnauthorizedClient, description))
        }
    }
}

fn order(client: &Client) -> Order {
    Order { reason: "revoked".to_owned(), actor: client.id.as_str().to_owned() }
}
