//! A caller's token becomes narrow tokens for the services that are called on the caller's behalf
//! (RFC 8693).
//!
//! Several targets are asked for in one request, by repeating `audience`. The answer to one is the
//! standard one. The answer to several has the standard members for the first audience and beside
//! them `tokens`, an object that holds for each audience its own token; none is for two.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::Value;
use tegata_core::Secret;
use tegata_token::transaction::Context;

use crate::{
    authenticate::{Caller, InTransaction},
    provider::{Issued, Provider, TokenRefused},
};

/// The grant of RFC 8693 §2.1.
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What is asked for.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The same, where a transaction begins or goes on.
pub const TRANSACTION_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";

/// A transaction that is to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewTransaction<'t> {
    /// The trust domain, as the provider has it in `tokens.trust_domain`.
    pub trust_domain: &'t str,
    /// What it is for: no more than the caller's token is for.
    pub scope: &'t str,
    /// What does not change along the chain of calls: `tctx`.
    pub details: Option<&'t Context>,
    /// From where and how it was asked for: `rctx`.
    pub context: Option<&'t Context>,
}

/// A transaction token that the provider issued. It is nobody's credential, and goes with
/// [calls](crate::Call::in_transaction).
#[derive(Debug, Clone)]
pub struct TransactionIssued {
    /// The token.
    pub token: Arc<Secret<String>>,
    /// For how long it lives from when it was asked for.
    pub lives: Duration,
}

impl Provider {
    /// Tokens that speak for the caller, one for each target. All or none are issued.
    ///
    /// # Errors
    /// [`TokenRefused`], also where the answer lacks one of the targets.
    pub async fn exchange(
        &self,
        caller: &Caller,
        targets: &[&str],
    ) -> Result<HashMap<String, Issued>, TokenRefused> {
        self.exchange_with(caller, None, targets).await
    }

    /// The same, where another client acts: `actor` called with a token of its own, and the provider
    /// knows a delegation by which this service may exchange with it.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub async fn exchange_for(
        &self,
        caller: &Caller,
        actor: &Caller,
        targets: &[&str],
    ) -> Result<HashMap<String, Issued>, TokenRefused> {
        self.exchange_with(caller, Some(actor), targets).await
    }

    /// A token for a transaction that begins because of the caller. The provider knows a delegation by
    /// which this service may have one.
    ///
    /// # Errors
    /// [`TokenRefused`].
    pub async fn begin_transaction(
        &self,
        caller: &Caller,
        new: NewTransaction<'_>,
    ) -> Result<TransactionIssued, TokenRefused> {
        let (token, kind) = caller.subject_token();
        let text = |context: Option<&Context>| {
            context.map(|context| Value::Object(context.clone()).to_string())
        };
        let (details, context) = (text(new.details), text(new.context));
        let mut form = transaction_form(token, kind, new.trust_domain, new.scope);
        form.extend(details.as_deref().map(|details| ("request_details", details)));
        form.extend(context.as_deref().map(|context| ("request_context", context)));
        self.ask(&form).await?.first.accept_transaction()
    }

    /// A token in place of that of a transaction that goes on, with less scope, and with this service
    /// among those that asked for it. It lives no longer than the one before.
    ///
    /// # Errors
    /// [`TokenRefused`].
    pub async fn replace_transaction(
        &self,
        transaction: &InTransaction,
        trust_domain: &str,
        scope: &str,
    ) -> Result<TransactionIssued, TokenRefused> {
        let form = transaction_form(transaction.token(), TRANSACTION_TOKEN, trust_domain, scope);
        self.ask(&form).await?.first.accept_transaction()
    }

    async fn exchange_with(
        &self,
        caller: &Caller,
        actor: Option<&Caller>,
        targets: &[&str],
    ) -> Result<HashMap<String, Issued>, TokenRefused> {
        let (token, kind) = caller.subject_token();
        let mut form = vec![
            ("grant_type", GRANT),
            ("subject_token", token.expose()),
            ("subject_token_type", kind),
            ("requested_token_type", ACCESS_TOKEN),
        ];
        if let Some(actor) = actor {
            let (token, kind) = actor.subject_token();
            form.extend([("actor_token", token.expose().as_str()), ("actor_token_type", kind)]);
        }
        form.extend(targets.iter().map(|target| ("audience", *target)));
        let answer = self.ask(&form).await?;
        if let [only] = targets {
            return Ok(HashMap::from([((*only).to_owned(), answer.first.accept()?)]));
        }
        // One token for several audiences would let each of them pass for the caller at the others.
        let mut tokens = answer.tokens.ok_or_else(|| {
            TokenRefused::Answer("it has no `tokens`, though several audiences were asked".into())
        })?;
        let narrow = |target: &&str| {
            let missing = || TokenRefused::Answer(format!("it has no token for `{target}`"));
            let issued = tokens.remove(*target).ok_or_else(missing)?;
            Ok(((*target).to_owned(), issued.accept()?))
        };
        targets.iter().map(narrow).collect()
    }
}

fn transaction_form<'f>(
    token: &'f Secret<String>,
    kind: &'f str,
    trust_domain: &'f str,
    scope: &'f str,
) -> Vec<(&'f str, &'f str)> {
    vec![
        ("grant_type", GRANT),
        ("subject_token", token.expose()),
        ("subject_token_type", kind),
        ("requested_token_type", TRANSACTION_TOKEN),
        ("audience", trust_domain),
        ("scope", scope),
    ]
}
