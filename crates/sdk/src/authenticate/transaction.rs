//! The transaction that a request belongs to, as the header `Txn-Token` says
//! (draft-ietf-oauth-transaction-tokens).

use std::{fmt, sync::Arc};

use http::HeaderName;
use tegata_core::{Secret, Timestamp};
use tegata_token::{Claims, Scope, Transaction, transaction::Context};

use super::{Reason, Subject};

/// The header that carries a transaction token.
pub const TXN_TOKEN: HeaderName = HeaderName::from_static("txn-token");

/// A transaction, of which everything stood in a token that was verified. It says what a request is
/// for and whom it concerns; who sent the request, the [caller](super::Caller) says. Cheap to clone.
#[derive(Clone)]
pub struct InTransaction(Arc<Inner>);

struct Inner {
    subject: Subject,
    claims: Claims,
    transaction: Transaction,
    token: Arc<Secret<String>>,
}

impl InTransaction {
    /// Takes verified claims.
    pub(super) fn new(token: &str, mut claims: Claims) -> Result<Self, Reason> {
        let transaction = claims.transaction.take();
        let transaction = *transaction.ok_or(Reason::Malformed("`Txn-Token` has no `txn`"))?;
        let subject = Subject::named(&claims.sub);
        let token = Arc::new(Secret::new(token.to_owned()));
        Ok(Self(Arc::new(Inner { subject, claims, transaction, token })))
    }

    /// The transaction's name, the same along the whole chain of calls: for logs.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.transaction.txn
    }

    /// Whom it concerns.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// What it is for.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.0.claims.scope
    }

    /// What does not change along the chain of calls: `tctx`.
    #[must_use]
    pub fn details(&self) -> Option<&Context> {
        self.0.transaction.tctx.as_ref()
    }

    /// From where and how it was asked for: `rctx`.
    #[must_use]
    pub fn context(&self) -> Option<&Context> {
        self.0.transaction.rctx.as_ref()
    }

    /// The workloads that asked for the token and its replacements, the first in front.
    pub fn workloads(&self) -> impl Iterator<Item = &str> {
        self.0.transaction.workloads()
    }

    /// When its token ends.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_secs(self.0.claims.exp)
    }

    /// The token, which goes with every call that the request causes.
    pub(crate) fn token(&self) -> &Arc<Secret<String>> {
        &self.0.token
    }
}

impl fmt::Debug for InTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InTransaction({})", self.id())
    }
}
