//! Introspection (RFC 7662): what a token says, for those who may ask; signed, for those who keep it
//! as evidence (RFC 9701). Whoever asks is told of people in its own words, and where these are names of a
//! sector, of those alone whom the token names so.

use serde_json::{Value, json};
use tegata_core::StoreError;

use crate::{
    client::Client,
    dpop,
    error::{Code, OAuthError, Refused},
    grant::exchange::TRANSACTION_TOKEN,
    params::Params,
    provider::{Asking, Provider},
};

impl Provider {
    /// Answers an introspection request of an authenticated client. Whatever is wrong with the
    /// token, the answer is the same: it is not active (RFC 7662 §2.2).
    ///
    /// # Errors
    /// `unauthorized_client` where the client may not ask, `invalid_request` without a token.
    pub async fn introspect(&self, client: &Client, params: &Params) -> Result<Value, Refused> {
        if !client.may_introspect {
            let description = "the client may not introspect tokens";
            return Err(OAuthError::new(Code::UnauthorizedClient, description).into());
        }
        let token = params.require("token", "token is missing")?;
        if params.get("token_type_hint") == Some(TRANSACTION_TOKEN) {
            return self.introspect_transaction(client, token).await;
        }
        let inactive = json!({"active": false});
        let token = &*self.resolved(token).await?;
        if let Ok(verified) = self.verifier().verify(token) {
            // Whoever asks here relies on the answer, and can do without one for a while.
            self.revoker().know_enough().await?;
            let view = self.revoker().view().realm(self.realm());
            if view.check(&verified).is_some() {
                return Ok(inactive);
            }
            let mut answer = serde_json::to_value(verified.claims()).unwrap_or_default();
            if let Some(members) = answer.as_object_mut() {
                members.insert("active".to_owned(), true.into());
                let kind = dpop::token_type(verified.claims().cnf.as_ref());
                members.insert("token_type".to_owned(), kind.into());
                // A user name would say to everybody who it is.
                if !client.is_pairwise() {
                    self.add_username(members, &verified.claims().sub).await?;
                }
                self.reword_for(client, members, verified.subject_told());
            }
            return Ok(answer);
        }
        Ok(self.introspect_refresh(client, token).await?.unwrap_or(inactive))
    }

    /// Its answer as a JWT (RFC 9701 §5), which its type and its claims keep from being taken for a
    /// token.
    ///
    /// # Errors
    /// What the store, or whoever signs, says.
    pub async fn sign_introspection(
        &self,
        client: &Client,
        answer: Value,
    ) -> Result<String, Refused> {
        let claims = json!({
            "iss": self.issuer(),
            "aud": client.id,
            "iat": self.node().now().secs(),
            "token_introspection": answer,
        });
        let algorithm = client.introspection_alg();
        self.sign(algorithm, "token-introspection+jwt", claims.to_string().as_bytes()).await
    }

    /// What a transaction token says. Told only to those who say that they ask about one: whoever
    /// asks whether a bearer token counts must not take it for one.
    async fn introspect_transaction(&self, client: &Client, token: &str) -> Result<Value, Refused> {
        let inactive = json!({"active": false});
        let Ok(verified) = self.transaction_verifier().verify(token) else { return Ok(inactive) };
        self.revoker().know_enough().await?;
        let view = self.revoker().view().realm(self.realm());
        if view.check(&verified).is_some() {
            return Ok(inactive);
        }
        let mut answer = serde_json::to_value(verified.claims()).unwrap_or_default();
        if let Some(members) = answer.as_object_mut() {
            members.insert("active".to_owned(), true.into());
            members.insert("token_type".to_owned(), "N_A".into());
            members.insert("issued_token_type".to_owned(), TRANSACTION_TOKEN.into());
            self.reword_for(client, members, &verified.claims().sub);
        }
        Ok(answer)
    }

    async fn introspect_refresh(
        &self,
        client: &Client,
        token: &str,
    ) -> Result<Option<Value>, StoreError> {
        let Some((family, generation)) = self.families().of_token(self.realm(), token).await?
        else {
            return Ok(None);
        };
        let now = self.node().now();
        if generation != family.generation || family.ended.is_some() || family.is_over(now) {
            return Ok(None);
        }
        let owner = self.owner(self.realm(), &family, Asking::Introspect).await?;
        let client_now = self.clients().load(self.realm(), &family.client).await?;
        // Our own scripts are in no registry. What another had of the same name is not its.
        let is_anothers = client_now.as_ref().is_some_and(|it| {
            !it.value.was_there(family.started) || !it.value.calls_people_as(&family)
        });
        let sector = family.grant.sector.as_deref();
        let sector = sector.or(client_now.as_ref().map(|it| it.value.written_sector()));
        if owner.is_none() || is_anothers {
            return Ok(None);
        }
        let mut answer = json!({
            "active": true,
            "iss": self.issuer(),
            "client_id": family.client,
            "scope": family.grant.scope,
            "fid": family.id,
            "iat": family.made.secs(),
            "exp": family.ends.secs(),
            "token_type": "refresh_token",
        });
        let details = &family.grant.details;
        if let Some(members) = answer.as_object_mut() {
            if !details.is_empty() {
                members.insert("authorization_details".to_owned(), json!(details));
            }
            // Of whom it is is told to those who call people as its own client does, or by their ids.
            if !client.is_pairwise() || sector == Some(client.written_sector()) {
                let sub = self.subject_for(client, family.user.as_str());
                members.insert("sub".to_owned(), sub.into());
            }
        }
        Ok(Some(answer))
    }

    async fn add_username(
        &self,
        members: &mut serde_json::Map<String, Value>,
        sub: &str,
    ) -> Result<(), StoreError> {
        if sub.starts_with("usr_")
            && let Some(user) = self.active_user(self.realm(), sub).await?
        {
            members.insert("username".to_owned(), user.value.username.as_str().into());
        }
        Ok(())
    }
}
