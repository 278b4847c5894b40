//! Passwords: kept as Argon2id hashes (those of other systems until their first use), set under a policy, changed together with their event.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, BoxFuture, CommitRefused, Event, EventType, Expect, Kind, Lifetime, Node, Realm,
    Records, Secret, StoreError, Stored, Timestamp, UserId, port::Change, repository::load,
};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::{
    user::User,
    workers::{self, Busy, Workers},
};

mod breached;
mod effort;
mod foreign;
mod hasher;
mod phc;
mod policy;

pub use breached::Breached;
pub use effort::{EFFORT_KIND, Effort, Way};
pub(crate) use effort::{Efforts, note};
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

/// Which of their passwords a person has now (0 where they have none), and the requirement that they
/// still have it.
///
/// # Errors
/// What the store says.
pub(crate) async fn required(
    records: &dyn Records,
    realm: &Realm,
    id: &UserId,
) -> Result<(u64, Change), StoreError> {
    let found = load::<PasswordRecord>(records, realm, id.as_str()).await?;
    Ok(found.map_or_else(
        || {
            let (kind, key) = (PasswordRecord::KIND, id.as_str().to_owned());
            (0, Change::Require { kind, key, expect: Expect::Absent })
        },
        |found| (found.value.generation, found.require()),
    ))
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
    superseding: Option<Arc<dyn Superseding>>,
    breached: Option<Arc<dyn Breached>>,
}

/// Makes it known that what came of a password counts no more, because there is another. Whoever owns
/// the revocation log gives this.
pub trait Superseding: Send + Sync {
    /// Commits `batch` together with the word that everything of this person from before is taken back.
    /// When this answers `Ok`, it is durable, and none of it is accepted on this node.
    fn commit<'a>(
        &'a self,
        batch: Batch,
        user: &'a User,
        by: &'a str,
    ) -> BoxFuture<'a, Result<(), CommitRefused>>;
}

/// A password that takes the place of a certain one.
pub struct Replacement<'a> {
    /// Of whom.
    pub user: &'a UserId,
    /// The new one, hashed.
    pub phc: &'a Phc,
    /// Which of their passwords is replaced ([`Passwords::generation`]): no other one is.
    pub of: u64,
    /// What must happen in the same moment.
    pub besides: &'a [Change],
    /// Who asked, for the journal.
    pub by: &'a str,
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
    /// The password that was to be replaced is not the person's any more, or what had to happen in the
    /// same moment could not.
    #[error("the password of user `{0}` was changed meanwhile")]
    Overtaken(UserId),
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
        Self { node, records, hasher, workers, policy, superseding: None, breached: None }
    }

    /// The same, telling of everybody whose password was replaced.
    #[must_use]
    pub fn telling(mut self, superseding: Arc<dyn Superseding>) -> Self {
        self.superseding = Some(superseding);
        self
    }

    /// The same, letting nobody choose what this list has.
    #[must_use]
    pub fn refusing(mut self, breached: Arc<dyn Breached>) -> Self {
        self.breached = Some(breached);
        self
    }

    /// Which of their passwords a person has now; 0 where they have none.
    ///
    /// # Errors
    /// What the store says.
    pub async fn generation(&self, realm: &Realm, id: &UserId) -> Result<u64, StoreError> {
        let found = load::<PasswordRecord>(self.records.as_ref(), realm, id.as_str()).await?;
        Ok(found.map_or(0, |found| found.value.generation))
    }

    /// The hash of a person's password, for another system that takes them over. Whoever has it can guess
    /// the password as fast as they like.
    ///
    /// # Errors
    /// What the store says.
    pub async fn hash_of(&self, realm: &Realm, id: &UserId) -> Result<Option<Phc>, StoreError> {
        let found = load::<PasswordRecord>(self.records.as_ref(), realm, id.as_str()).await?;
        Ok(found.map(|found| found.value.phc))
    }

    /// Hashes a password that somebody chose who has these names (a user name, an address), if the
    /// policy takes it.
    /// `second_factor` says whether the password is never enough alone.
    ///
    /// # Errors
    /// [`SetRefused::Weak`] and [`SetRefused::Busy`]; [`SetRefused::Store`] where the list of breached
    /// passwords cannot be read.
    pub async fn prepare(
        &self,
        password: Password,
        names: &[&str],
        second_factor: bool,
    ) -> Result<Phc, SetRefused> {
        self.policy.check(&password, names, second_factor)?;
        let (hasher, node) = (Arc::clone(&self.hasher), self.node.clone());
        let breached = self.breached.clone();
        let hashed = workers::run(self.workers.as_ref(), move || {
            if let Some(list) = breached {
                check_breached(list.as_ref(), &password)?;
            }
            // Out of memory is too busy, from where the client stands.
            hasher.hash(&password, node.entropy()).map_err(|_| Busy.into())
        });
        hashed.await?
    }

    /// Gives a user this password, in place of whichever was before, and takes back what came of that.
    /// `by` is who asked, for the journal.
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
        self.set_with(realm, id, phc, &[], by).await
    }

    /// The same, with what must happen in the same moment.
    ///
    /// # Errors
    /// See [`SetRefused`].
    pub async fn set_with(
        &self,
        realm: &Realm,
        id: &UserId,
        phc: &Phc,
        besides: &[Change],
        by: &str,
    ) -> Result<(), SetRefused> {
        for _ in 0..ATTEMPTS {
            let of = self.generation(realm, id).await?;
            let replacement = Replacement { user: id, phc, of, besides, by };
            match self.replace(realm, &replacement).await {
                Err(SetRefused::Overtaken(_)) => {}
                settled => return settled.map(|_| ()),
            }
        }
        Err(SetRefused::Contended(id.clone()))
    }

    /// Gives a user a password in place of a certain one, and takes back what came of that. Answers who
    /// it is. Of many who replace one password at once, on however many nodes, one does.
    ///
    /// # Errors
    /// See [`SetRefused`]. Where the answer of the store is lost, it may have happened.
    pub async fn replace(
        &self,
        realm: &Realm,
        replacement: &Replacement<'_>,
    ) -> Result<User, SetRefused> {
        let Replacement { user: id, phc, of, besides, by } = *replacement;
        let effort = phc.effort(self.hasher.caps()).ok().filter(|it| *it != self.hasher.effort());
        if let Some(effort) = effort {
            note(self.records.as_ref(), realm, effort, self.node.now()).await;
        }
        for _ in 0..ATTEMPTS {
            let records = self.records.as_ref();
            let user = load::<User>(records, realm, id.as_str()).await?;
            let user = user.ok_or_else(|| SetRefused::Unknown(id.clone()))?;
            let before = load::<PasswordRecord>(records, realm, id.as_str()).await?;
            if before.as_ref().map_or(0, |before| before.value.generation) != of {
                return Err(SetRefused::Overtaken(id.clone()));
            }
            if !still_hold(records, realm, besides).await? {
                return Err(SetRefused::Overtaken(id.clone()));
            }
            let changed = self.node.now();
            let next =
                PasswordRecord { user: id.clone(), phc: phc.clone(), changed, generation: of + 1 };
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
            let batch = besides.iter().cloned().fold(batch, Batch::with);
            let committed = match &self.superseding {
                Some(superseding) => superseding.commit(batch, &user.value, by).await,
                None => self.records.commit(batch).await,
            };
            match committed {
                Ok(()) => return Ok(user.value),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(SetRefused::Contended(id.clone()))
    }
}

/// Refuses what a list has, and everything where the list cannot be read: what nobody looked at may be on it.
fn check_breached(list: &dyn Breached, password: &Password) -> Result<(), SetRefused> {
    let away =
        |detail| StoreError::Unavailable { backend: "the list of breached passwords", detail };
    let sha1 = breached::sha1(password).ok_or_else(|| away("nothing was hashed".to_owned()))?;
    match list.has(&sha1) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Weakness::Breached.into()),
        Err(why) => Err(away(why).into()),
    }
}

/// Whether what must happen or hold in the same moment still can: whoever lost that is not to try in vain.
pub(crate) async fn still_hold(
    records: &dyn Records,
    realm: &Realm,
    besides: &[Change],
) -> Result<bool, StoreError> {
    for change in besides {
        let (Change::Remove { kind, key, expect } | Change::Require { kind, key, expect }) = change
        else {
            continue;
        };
        let version = records.load(realm, kind, key).await?.map(|found| found.version);
        let holds = match expect {
            Expect::Version(expected) => version == Some(*expected),
            Expect::Absent => version.is_none(),
            Expect::Any => true,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
