//! The tokens that an exchange presents: whether they count, and whether they are this client's to use.

use tegata_token::{Claims, Confirmation, Lineage, StatusIndex, Verified, foreign::is_foreign};

use super::asked::Asked;
use crate::{
    client::Client,
    error::{OAuthError, Refused},
    provider::Provider,
};

/// A token that counts.
#[derive(Debug, Clone)]
pub(super) struct Presented {
    pub(super) claims: Claims,
    pub(super) place: Option<StatusIndex>,
    kid: String,
}

impl Presented {
    fn of<K>(verified: &Verified<K>) -> Self {
        let (claims, place) = (verified.claims().clone(), verified.place());
        Self { claims, place, kid: verified.kid().as_str().to_owned() }
    }

    /// The lineage of what is made from it.
    pub(super) fn lineage(&self) -> Lineage {
        Lineage::of(&self.claims, &self.kid)
    }

    /// Adds it to a lineage as that by which an actor showed who it is.
    pub(super) fn acts_in(&self, lineage: &mut Lineage) {
        lineage.acted(&self.claims, &self.kid, self.place);
    }
}

impl Provider {
    /// The subject token: valid, not revoked, and addressed to the client that wants to exchange it,
    /// issued to it for one of its own audiences, or addressed to the gateway.
    pub(super) async fn subject(
        &self,
        client: &Client,
        asked: &Asked<'_>,
        shown: Option<&Confirmation>,
    ) -> Result<Presented, Refused> {
        let invalid = OAuthError::request;
        self.revoker().know_enough().await?;
        let subject = self.counting(&self.resolved(asked.subject).await?, asked.replaces);
        let subject = subject.ok_or(invalid(
            "subject_token is not valid, is not of its subject_token_type, has expired or has been \
             revoked",
        ))?;
        let claims = &subject.claims;
        // Its origin is taken back in a way that what is derived here does not fall with.
        if is_foreign(&claims.sub) {
            let description = "subject_token speaks of somebody whom another issuer knows";
            return Err(invalid(description).into());
        }
        // A transaction token is for whoever takes part in the transaction.
        if !asked.replaces && !self.is_addressed(client, claims) {
            return Err(invalid("subject_token is not for this client").into());
        }
        check_bound(client, claims, shown)?;
        Ok(subject)
    }

    /// The actor token, where there is one: it counts as a subject token does, and is one that its
    /// owner, a client, got in its own name.
    pub(super) async fn actor(
        &self,
        client: &Client,
        asked: &Asked<'_>,
        shown: Option<&Confirmation>,
    ) -> Result<Option<Presented>, Refused> {
        let Some(token) = asked.actor else { return Ok(None) };
        let invalid = OAuthError::request;
        self.revoker().know_enough().await?;
        let token = self.resolved(token).await?;
        let actor = self.verifier().verify(&token).ok().filter(|it| self.is_alive(it));
        let actor = actor.map(|it| Presented::of(&it)).ok_or(invalid(
            "actor_token is not valid, is no access token, has expired or has been revoked",
        ))?;
        let claims = &actor.claims;
        let own = claims.client_id.as_ref() == Some(&claims.sub);
        let is_derived = claims.original_jti.is_some() || claims.lineage.is_some();
        let is_of_somebody = claims.act.is_some() || claims.sid.is_some() || claims.fid.is_some();
        if !own || is_derived || is_of_somebody {
            let description = "actor_token is not one that a client got in its own name";
            return Err(invalid(description).into());
        }
        if claims.sub != client.id.as_str() && !self.is_addressed(client, claims) {
            return Err(invalid("actor_token is not for this client").into());
        }
        if let Some(own) = &claims.cnf
            && (!own.is_known() || shown != Some(own))
        {
            let description = "actor_token is bound to a key or a certificate: send a DPoP proof made with \
                               it, or show the certificate";
            return Err(invalid(description).into());
        }
        Ok(Some(actor))
    }

    /// What a token says that counts: an access token or an internal token, or a transaction token
    /// where it is to be one.
    fn counting(&self, token: &str, is_transaction: bool) -> Option<Presented> {
        if is_transaction {
            let verified = self.transaction_verifier().verify(token).ok()?;
            return self.is_alive(&verified).then(|| Presented::of(&verified));
        }
        if let Ok(verified) = self.verifier().verify(token) {
            return self.is_alive(&verified).then(|| Presented::of(&verified));
        }
        let verified = self.internal_verifier().verify(token).ok()?;
        self.is_alive(&verified).then(|| Presented::of(&verified))
    }

    fn is_alive<K>(&self, verified: &Verified<K>) -> bool {
        self.revoker().view().realm(self.realm()).check(verified).is_none()
    }

    /// Whether a token is for this client to use. That it is for a service which the client calls is
    /// no sign of that, unless it was issued to the client itself.
    fn is_addressed(&self, client: &Client, claims: &Claims) -> bool {
        let is_own = claims.client_id.as_deref() == Some(client.id.as_str());
        claims.aud.0.iter().any(|audience| {
            audience == client.id.as_str()
                || *audience == self.config().audience
                || (is_own && client.audiences.contains(audience))
        })
    }
}

/// Refuses to unbind a token, and to bind it to what somebody holds who may have stolen it.
fn check_bound(
    client: &Client,
    subject: &Claims,
    shown: Option<&Confirmation>,
) -> Result<(), OAuthError> {
    let Some(own) = &subject.cnf else { return Ok(()) };
    // `audiences` of the client are whom it calls, and so no sign that the token is for it.
    let is_theirs = matches!(subject.aud.0.as_slice(), [only] if only == client.id.as_str());
    match shown {
        _ if !own.is_known() => {
            Err(OAuthError::request("subject_token is bound to what exchange cannot check"))
        }
        Some(shown) if shown == own || is_theirs => Ok(()),
        Some(_) => Err(OAuthError::request(
            "subject_token is bound to another key or certificate than the one that is shown, and not \
             for this client alone",
        )),
        None => Err(OAuthError::request(
            "subject_token is bound to a key or a certificate: send a DPoP proof, or show a certificate \
             that your tokens are bound to; the new token is bound to the same",
        )),
    }
}
