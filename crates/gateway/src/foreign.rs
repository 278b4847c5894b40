//! Access tokens of other issuers: whose keys verify them, and who is asked whether they were taken
//! back.
//!
//! Memory is asked first, and nearly always enough: answers of a moment ago, then a filter whose "no" is
//! certain. A filter's "perhaps" is for one token in a thousand wrong, so it refuses nobody: then the
//! stores are asked, each with a limit.
//!
//! - Redis, where there is one, may have lost what it was told. That something *was* taken back is
//!   believed; that it was not is no answer.
//! - The durable store has everything that memory does not hold exactly, so both answers count.
//!
//! Where neither answers, the token is refused.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tegata_core::{Backstop, BoxFuture, Ephemeral, Node, Realm};
use tegata_token::{
    ForeignToken, ForeignView, Refusal as TokenRefusal, Revoked, Verified, Verifier,
    foreign::{Layer, Looked, Name, Names, Ticket, WITHDRAWN, mark_of},
    jws::Compact,
    verifier::said_issuer,
};
use tokio::time::timeout;

use crate::metrics::Layers;

/// How long Redis may take.
const NEAR: Duration = Duration::from_millis(5);

/// How long the durable store may take.
const DURABLE: Duration = Duration::from_millis(10);

/// Gets the keys of an issuer.
pub trait IssuerKeys: Send + Sync {
    /// Whether any is known.
    fn has_some(&self) -> bool;

    /// Asks the issuer for a key that is not known, unless it was asked a moment ago, and answers
    /// whether it has it. Its verifier knows it by then.
    fn look_for<'a>(&'a self, kid: &'a str) -> BoxFuture<'a, bool>;
}

/// Another issuer whose access tokens count.
pub struct ForeignIssuer {
    /// Verifies them.
    pub tokens: Arc<Verifier<ForeignToken>>,
    /// Gets the keys that they are verified with.
    pub keys: Arc<dyn IssuerKeys>,
}

/// The other issuers whose access tokens count, and what is known to be taken back of them.
pub struct Foreign {
    /// The issuers.
    pub issuers: Vec<ForeignIssuer>,
    /// What memory knows. The view of revocations has it learn.
    pub view: Arc<ForeignView>,
    /// A nearer store that may lose what it holds.
    pub near: Option<Arc<dyn Ephemeral>>,
    /// The store that has everything that was taken back, but for what memory holds exactly.
    pub durable: Arc<dyn Backstop>,
    /// The realm whose tokens count.
    pub realm: Realm,
}

/// Why a token of another issuer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotVerified {
    /// It is not what it should be.
    Refused(TokenRefusal),
    /// None of its issuer's keys is known.
    NoKeys,
}

/// No store says whether a token was taken back, and memory says that it may have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unanswered;

impl Foreign {
    /// A token that was verified a moment ago.
    pub(crate) fn remembered(
        &self,
        token: &str,
    ) -> Option<Result<Arc<Verified<ForeignToken>>, NotVerified>> {
        let known = self.issuers.iter().find_map(|issuer| issuer.tokens.remembered(token))?;
        Some(known.map_err(NotVerified::Refused))
    }

    /// Verifies a token that says it is of one of the issuers. `None`: it says it is not.
    pub(crate) async fn verify(
        &self,
        token: &str,
    ) -> Option<Result<Arc<Verified<ForeignToken>>, NotVerified>> {
        let issuer = self.issuer_of(token)?;
        let verified = match issuer.tokens.verify(token) {
            Err(TokenRefusal::UnknownKey) if !issuer.keys.has_some() => {
                return Some(Err(NotVerified::NoKeys));
            }
            Err(TokenRefusal::UnknownKey) if finds_key(issuer, token).await => {
                issuer.tokens.verify(token)
            }
            verified => verified,
        };
        Some(verified.map_err(NotVerified::Refused))
    }

    /// Whether a text says that it is a token of one of the issuers.
    pub(crate) fn is_of_any(&self, text: &str) -> bool {
        self.issuer_of(text).is_some()
    }

    fn issuer_of(&self, token: &str) -> Option<&ForeignIssuer> {
        let said = said_issuer(token)?;
        self.issuers.iter().find(|issuer| issuer.tokens.issuer() == said)
    }

    /// Whether a token was taken back, as far as memory knows. `None`: a store would have to be asked.
    pub(crate) fn known(&self, names: &Names) -> Option<bool> {
        match self.view.look(names) {
            Looked::Known(revoked, _) => Some(revoked.is_some()),
            Looked::Ask(..) => None,
        }
    }

    /// By what a token was taken back, if it was, and who says so.
    pub(crate) async fn check(
        &self,
        names: &Names,
        node: &Node,
        layers: &Layers,
    ) -> Result<(Option<Revoked>, Layer), Unanswered> {
        let (held, ticket) = match self.view.look(names) {
            Looked::Known(revoked, layer) => return Ok((revoked, layer)),
            Looked::Ask(held, ticket) => (held, ticket),
        };
        let began = node.since_boot();
        if let Some(near) = &self.near {
            let said = self.ask_near(near.as_ref(), names, &held).await;
            match said {
                Ok(Some(by)) => {
                    self.view.note(ticket, Some(by));
                    return Ok((Some(by), Layer::Redis));
                }
                Ok(None) => layers.of(Layer::Redis).unsure.note(node.elapsed(began)),
                Err(Unanswered) => layers.of(Layer::Redis).failed.note(node.elapsed(began)),
            }
        }
        let began = node.since_boot();
        match self.ask_durable(names, &held, &ticket).await {
            Ok(revoked) => {
                self.view.note(ticket, revoked);
                Ok((revoked, Layer::Durable))
            }
            Err(Unanswered) => {
                layers.of(Layer::Durable).failed.note(node.elapsed(began));
                Err(Unanswered)
            }
        }
    }

    /// What the nearer store says was taken back. `Ok(None)` says nothing: it may have lost it.
    async fn ask_near(
        &self,
        near: &dyn Ephemeral,
        names: &Names,
        held: &[(Name, Revoked)],
    ) -> Result<Option<Revoked>, Unanswered> {
        let asked = held.iter().map(async |(name, by)| {
            let key = name.key();
            let found = timeout(NEAR, near.recent(&self.realm, &WITHDRAWN, &key)).await;
            let found = found.map_err(|_| Unanswered)?.map_err(|_| Unanswered)?;
            let mark = found.and_then(|held| mark_of(&held.value));
            Ok(mark.is_some_and(|mark| names.covered(mark)).then_some(*by))
        });
        settle(join_all(asked).await)
    }

    async fn ask_durable(
        &self,
        names: &Names,
        held: &[(Name, Revoked)],
        ticket: &Ticket,
    ) -> Result<Option<Revoked>, Unanswered> {
        let asked = held.iter().map(async |(name, by)| {
            let key = name.key();
            let found = timeout(DURABLE, self.durable.withdrawn(&self.realm, &key)).await;
            let found = found.map_err(|_| Unanswered)?.map_err(|_| Unanswered)?;
            let mark = found.map(|found| found.mark);
            self.view.note_mark(ticket, names, name, mark);
            Ok(mark.is_some_and(|mark| names.covered(mark)).then_some(*by))
        });
        settle(join_all(asked).await)
    }
}

/// One "yes" is enough; a "no" needs all.
fn settle(
    answers: Vec<Result<Option<Revoked>, Unanswered>>,
) -> Result<Option<Revoked>, Unanswered> {
    let yes = answers.iter().find_map(|answer| answer.ok().flatten());
    if yes.is_some() {
        return Ok(yes);
    }
    answers.into_iter().collect::<Result<Vec<_>, _>>().map(|_| None)
}

async fn finds_key(issuer: &ForeignIssuer, token: &str) -> bool {
    let kid = Compact::parse(token).ok().and_then(|compact| compact.header.kid);
    match kid {
        Some(kid) => issuer.keys.look_for(&kid).await,
        None => false,
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.issuers.iter().map(|issuer| issuer.tokens.issuer())).finish()
    }
}

#[cfg(test)]
mod tests;
