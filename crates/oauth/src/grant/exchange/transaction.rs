//! Transaction tokens (draft-ietf-oauth-transaction-tokens): what a request is for and whom it speaks
//! for, signed, to go unchanged with every call that the request causes.
//!
//! One falls with what it was made from, with its own name, and with every workload that asked for it
//! or for its replacement. It is nobody's credential, and no verifier takes it for one.

use tegata_core::TokenId;
use tegata_token::{Algorithm, Audience, Claims, Confirmation, Transaction, transaction::Context};

use super::{
    asked::{Asked, TRANSACTION_TOKEN},
    check_length, check_may_act,
    presented::Presented,
};
use crate::{
    authenticate::ProvenClient,
    client::Client,
    delegation::{Case, Purpose},
    error::{Code, OAuthError, Refused},
    issue::TokenAnswer,
    params::Params,
    provider::Provider,
};

impl Provider {
    /// A token for a new transaction, or in place of one for a transaction that goes on.
    pub(super) async fn transaction_token(
        &self,
        client: &ProvenClient,
        params: &Params,
        asked: &Asked<'_>,
        contexts: (&Option<Context>, &Option<Context>),
        bound: Option<&Confirmation>,
    ) -> Result<TokenAnswer, Refused> {
        if asked.actor.is_some() {
            let description =
                "actor_token does not go with a transaction token: the client is named";
            return Err(OAuthError::request(description).into());
        }
        let domain = self.config().trust_domain.as_str();
        let mut audiences = params.all("audience").chain(params.all("resource"));
        match (audiences.next(), audiences.next()) {
            (None, _) => return Err(OAuthError::request("audience is missing").into()),
            (Some(audience), None) if audience == domain => {}
            _ => {
                let description = "audience must be the trust domain, and that alone";
                return Err(OAuthError::new(Code::InvalidTarget, description).into());
            }
        }
        let scope = asked.scope.as_ref().ok_or(OAuthError::request("scope is missing"))?;
        let now = client.since();
        let delegations = self.targets().delegations(self.realm(), &client.id).await?;
        let subject = self.subject(client, asked, bound).await?;
        check_may_act(&subject.claims, client.id.as_str())?;
        let transaction = self.transaction(client, &subject.claims, contexts)?;
        let workloads = transaction.workloads().count();
        let case = Case {
            client: client.id.as_str(),
            actor: client.id.as_str(),
            shown: false,
            chain: workloads,
            subject: &subject.claims,
            purpose: Purpose::Transaction,
        };
        let mandate = case.decide(&delegations).map_err(|_| {
            let description =
                "no delegation lets this client have transaction tokens for this subject";
            OAuthError::new(Code::InvalidTarget, description)
        })?;
        let longest = self.config().longest_chain;
        let most = mandate.most_actors.map_or(longest, |most| most.min(longest));
        if workloads > most {
            return Err(OAuthError::request("the transaction token was replaced too often").into());
        }
        let too_wide = |description| OAuthError::new(Code::InvalidScope, description);
        if !subject.claims.scope.covers(scope) {
            return Err(too_wide("scope is wider than that of the subject token").into());
        }
        if mandate.scope.is_some_and(|most| !most.covers(scope)) {
            return Err(too_wide("scope is wider than the delegation allows").into());
        }
        let claims = self.transaction_claims(client, &subject, transaction, now);
        let claims = Claims { scope: scope.clone(), ..claims };
        self.check_stands(&claims, &subject)?;
        let (token, kid) =
            self.signed_by(Algorithm::Es256, "txntoken+jwt", &claims.to_json()).await?;
        let access_token = check_length(token)?;
        self.note_issued("transaction", (&claims, &kid), Some(&subject.claims.jti), None);
        Ok(TokenAnswer {
            access_token,
            token_type: TokenAnswer::NOT_A_CREDENTIAL,
            expires_in: claims.exp.saturating_sub(now),
            refresh_token: None,
            id_token: None,
            scope: scope.as_str().to_owned(),
            authorization_details: None,
            issued_token_type: Some(TRANSACTION_TOKEN),
            tokens: None,
        })
    }

    /// The transaction: one that begins, or that of the token that is to be replaced.
    fn transaction(
        &self,
        client: &Client,
        subject: &Claims,
        (details, context): (&Option<Context>, &Option<Context>),
    ) -> Result<Transaction, OAuthError> {
        let workload = client.id.as_str();
        if !Transaction::can_name(workload) {
            let description = "a client id with a comma cannot stand in a transaction token";
            return Err(OAuthError::request(description));
        }
        Ok(match &subject.transaction {
            Some(going_on) => going_on.replaced_for(workload),
            None => Transaction {
                txn: TokenId::generate(self.epoch(), self.node().entropy()).as_str().to_owned(),
                req_wl: workload.to_owned(),
                tctx: details.clone(),
                rctx: context.clone(),
            },
        })
    }

    fn transaction_claims(
        &self,
        client: &Client,
        subject: &Presented,
        transaction: Transaction,
        now: u64,
    ) -> Claims {
        let origin = &subject.claims;
        let mut lineage = subject.lineage();
        let (iat, first) = (now.max(origin.iat), origin.first_issued());
        lineage.first_issued(first, iat);
        lineage.made_by(client.id.as_str(), now, first);
        Claims {
            iss: self.issuer().to_owned(),
            sub: origin.sub.clone(),
            aud: Audience::from(self.config().trust_domain.as_str()),
            exp: origin.exp.min(now + self.config().transaction_lifetime.as_secs()),
            iat,
            jti: TokenId::generate(self.epoch(), self.node().entropy()).as_str().to_owned(),
            client_id: Some(client.id.as_str().to_owned()),
            sid: origin.sid.clone(),
            outlives_session: origin.outlives_session,
            fid: origin.fid.clone(),
            status: origin.status.clone(),
            act: origin.act.clone(),
            may_act: origin.may_act.clone(),
            original_jti: Some(origin.original_jti.clone().unwrap_or_else(|| origin.jti.clone())),
            lineage: lineage.claim(),
            transaction: Some(Box::new(transaction)),
            ..Claims::default()
        }
    }
}
