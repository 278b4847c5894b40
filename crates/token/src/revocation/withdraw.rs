//! The registry of everything that can be taken back, so that a kill switch forgets no kind.

use std::{fmt, sync::Arc};

use tegata_core::{BoxFuture, ClientId, Realm, SessionId, StoreError, Timestamp, UserId};

use super::{Entry, Tally, Target};
use crate::status::StatusIndex;

/// Whose things are taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A person.
    User(UserId),
    /// A client, or a service.
    Client(ClientId),
    /// One session of a person.
    Session(SessionId),
}

/// Why, and by whom, something is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Why, in a word.
    pub reason: String,
    /// Who: a user id, a client id, or `system`.
    pub actor: String,
}

impl Order {
    /// What it has the log say: from when on, and when that may be forgotten.
    #[must_use]
    pub fn entry(
        &self,
        target: Target,
        places: Vec<StatusIndex>,
        (at, until): (Timestamp, Timestamp),
    ) -> Entry {
        let Self { reason, actor } = self.clone();
        Entry { target, places, at, until, reason, actor }
    }
}

/// How much of a kind was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// The kind, in the plural: `families`, `sessions`, `api keys` …
    pub kind: &'static str,
    /// How many.
    pub count: u64,
}

/// A kind of thing that can be taken back.
pub trait Withdrawable: Send + Sync {
    /// The kind, in the plural: `families`, `sessions`, `api keys` …
    fn kind(&self) -> &'static str;

    /// Whether such a holder can have any of this kind. Of those that cannot, nothing is said.
    fn concerns(&self, _: &Holder) -> bool {
        true
    }

    /// Takes back all that `holder` has of this kind. When this answers `Ok`, it is durable, and
    /// nothing of it is accepted on this node any more. Doing it again is no error. A kind of which
    /// a holder may have many says meanwhile in `tally` how far it is.
    fn withdraw<'a>(
        &'a self,
        realm: &'a Realm,
        holder: &'a Holder,
        order: &'a Order,
        tally: &'a Tally,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;
}

/// All kinds. Each crate that issues something registers it here.
#[derive(Clone, Default)]
pub struct Withdraw(Vec<Arc<dyn Withdrawable>>);

impl Withdraw {
    /// No kind yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind. Kinds are taken back in the order in which they were added: what makes new
    /// things comes before what it makes.
    #[must_use]
    pub fn with(mut self, kind: Arc<dyn Withdrawable>) -> Self {
        self.0.push(kind);
        self
    }

    /// Takes back everything that `holder` has, of every kind, and says how much it was.
    ///
    /// # Errors
    /// The first failure, after all kinds have been tried: a kind that fails keeps none of the
    /// others alive. Doing it again is safe.
    pub async fn everything_of(
        &self,
        realm: &Realm,
        holder: &Holder,
        order: &Order,
        tally: &Tally,
    ) -> Result<Vec<Withdrawn>, StoreError> {
        let mut proof = Vec::with_capacity(self.0.len());
        let mut failed = None;
        for kind in self.0.iter().filter(|kind| kind.concerns(holder)) {
            match kind.withdraw(realm, holder, order, tally).await {
                Ok(count) => proof.push(Withdrawn { kind: kind.kind(), count }),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(proof), Err)
    }
}

impl fmt::Debug for Withdraw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|kind| kind.kind())).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    struct Kind(&'static str, Result<u64, StoreError>);

    impl Withdrawable for Kind {
        fn kind(&self) -> &'static str {
            self.0
        }
        fn withdraw<'a>(
            &'a self,
            _: &'a Realm,
            _: &'a Holder,
            _: &'a Order,
            _: &'a Tally,
        ) -> BoxFuture<'a, Result<u64, StoreError>> {
            async { self.1.clone() }.boxed()
        }
    }

    #[test]
    fn tries_every_kind_even_after_one_failed_and_then_says_so() {
        let order = Order { reason: "stolen".into(), actor: "system".into() };
        let holder = Holder::User(UserId::new("usr_1").unwrap());
        let run = |withdraw: &Withdraw| {
            let (realm, tally) = (Realm::default(), Tally::default());
            let all = withdraw.everything_of(&realm, &holder, &order, &tally);
            all.now_or_never().unwrap()
        };
        let good = Withdraw::new()
            .with(Arc::new(Kind("sessions", Ok(2))))
            .with(Arc::new(Kind("families", Ok(3))));
        let counted: Vec<_> = run(&good).unwrap().iter().map(|it| (it.kind, it.count)).collect();
        assert_eq!(counted, [("sessions", 2), ("families", 3)]);

        let away = StoreError::Unavailable { backend: "store", detail: "away".into() };
        let bad = Withdraw::new()
            .with(Arc::new(Kind("sessions", Err(away.clone()))))
            .with(Arc::new(Kind("families", Ok(3))));
        assert_eq!(run(&bad), Err(away));
    }
}
