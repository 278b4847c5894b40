//! Passwords: kept as Argon2id hashes, set under a policy, changed together with their event.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Event, EventType, Expect, Kind, Lifetime, Node, Realm, Records, Secret,
    StoreError, Stored, Timestamp, UserId, repository::load,
};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::{
    user::User,
    workers::{self, Busy, Workers},
};

mod hasher;
mod phc;
mod policy;

pub use hasher::{Config as HasherConfig, InvalidConfig, PasswordHasher, Verdict};
pub use phc::{Caps, Phc, Unusable};
pub use policy::{PasswordPolicy, Weakness};

/// Where passwords are kept.
pub static PASSWORD_KIND: Kind =
    Kind { name: "password", indexes: &[], lifetime: Lifetime::Kept, secret: true };

/// The longest password that is looked at, in bytes as it was typed.
pub const LONGEST: usize = 1024;

/// A password as somebody typed it, in the form NFC, so that it does not matter how the keyboard
/// composes accents (RFC 8265 §4.2). All of it counts: nothing is trimmed or cut off.
#[derive(Clone)]
pub struct Password(Secret<String>);

/// A password that is longer than [`LONGEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has at most 1024 bytes")]
pub struct TooLong;

impl Password {
    /// Takes a typed password.
    ///
    /// # Errors
    /// [`TooLong`]
    pub fn new(typed: String) -> Result<Self, TooLong> {
        let typed = Zeroizing::new(typed);
        if typed.len() > LONGEST {
            return Err(TooLong);
        }
        // NFC makes no text more than three times as long; growing would leave copies behind.
        let mut form = String::with_capacity(typed.len() * 3);
        form.extend(typed.nfc());
        Ok(Self(Secret::new(form)))
    }

    /// The password of nobody.
    pub(crate) const fn empty() -> Self {
        Self(Secret::new(String::new()))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The password of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PasswordRecord {
    pub(crate) user: UserId,
    pub(crate) phc: Phc,
    pub(crate) changed: Timestamp,
    /// Rises when the password changes, and not when the same password is hashed anew.
    pub(crate) generation: u64,
}

impl PasswordRecord {
    pub(crate) const fn first(user: UserId, phc: Phc, now: Timestamp) -> Self {
        Self { user, phc, changed: now, generation: 1 }
    }
}

impl Stored for PasswordRecord {
    const KIND: &'static Kind = &PASSWORD_KIND;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        self.user.as_str()
    }
}

/// How often a change is tried again after somebody else changed the same user first.
const ATTEMPTS: u32 = 16;

/// Sets passwords.
#[derive(Clone)]
pub struct Passwords {
    node: Node,
    records: Arc<dyn Records>,
    hasher: Arc<PasswordHasher>,
    workers: Arc<dyn Workers>,
    policy: PasswordPolicy,
}

/// Why a password was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetRefused {
    /// The policy refuses it.
    #[error(transparent)]
    Weak(#[from] Weakness),
    /// There is no such user.
    #[error("there is no user `{0}`")]
    Unknown(UserId),
    /// Too much is being hashed.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// Others kept changing the same user.
    #[error("user `{0}` is being changed by others: try again")]
    Contended(UserId),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Passwords {
    /// Passwords in `records`, hashed on `workers`.
    #[must_use]
    pub fn new(
        node: Node,
        records: Arc<dyn Records>,
        hasher: Arc<PasswordHasher>,
        workers: Arc<dyn Workers>,
        policy: PasswordPolicy,
    ) -> Self {
        Self { node, records, hasher, workers, policy }
    }

    /// Hashes a password that somebody chose for the user name `username`, if the policy takes it.
    /// `second_factor` says whether the password is never enough alone.
    ///
    /// # Errors
    /// [`SetRefused::Weak`] and [`SetRefused::Busy`].
    pub async fn prepare(
        &self,
        password: Password,
        username: &str,
        second_factor: bool,
    ) -> Result<Phc, SetRefused> {
        self.policy.check(&password, username, second_factor)?;
        let (hasher, node) = (Arc::clone(&self.hasher), self.node.clone());
        let hashed =
            workers::run(self.workers.as_ref(), move || hasher.hash(&password, node.entropy()));
        // Out of memory is too busy, from where the client stands.
        hashed.await?.map_err(|_| Busy.into())
    }

    /// Gives a user this password, in place of the one before. `by` is who asked, for the journal.
    /// Ending what was signed in with the one before is for whoever hears the event.
    ///
    /// # Errors
    /// See [`SetRefused`].
    pub async fn set(
        &self,
        realm: &Realm,
        id: &UserId,
        phc: &Phc,
        by: &str,
    ) -> Result<(), SetRefused> {
        for _ in 0..ATTEMPTS {
            let records = self.records.as_ref();
            let user = load::<User>(records, realm, id.as_str()).await?;
            let user = user.ok_or_else(|| SetRefused::Unknown(id.clone()))?;
            let before = load::<PasswordRecord>(records, realm, id.as_str()).await?;
            let generation = before.as_ref().map_or(0, |before| before.value.generation) + 1;
            let changed = self.node.now();
            let next = PasswordRecord { user: id.clone(), phc: phc.clone(), changed, generation };
            let event = Event::new(
                &self.node,
                realm,
                EventType::CredentialChanged,
                [
                    ("user_id", id.as_str().into()),
                    ("credential", "password".into()),
                    ("actor", by.into()),
                ],
            );
            let batch = Batch::new(realm.clone())
                .with(user.require())
                .with(match &before {
                    Some(before) => before.replace(&next),
                    None => next.put(Expect::Absent),
                })
                .journal(&event);
            match self.records.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(SetRefused::Contended(id.clone()))
    }
}

#[cfg(test)]
mod tests;
