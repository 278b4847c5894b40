//! Changes of what a person has: each is one compare-and-set, with what the journal says of it.

use serde_json::Value;
use tegata_core::{
    Batch, CommitRefused, Event, EventType, Expect, Realm, StoreError, Stored as _, UserId,
    port::Change, repository::load,
};

use super::{Enrolled, FactorChange, FactorRecord, SecondFactors};
use crate::{
    credential::{passkey::Passkey, typed::Authenticator},
    user::{USER_KIND, User},
};

/// How often a change is tried again after somebody else changed the same person's first.
const ATTEMPTS: u32 = 16;

/// What a change makes of a record.
pub(crate) struct Changed<T> {
    next: Next,
    tells: Vec<Tells>,
    beside: Vec<Change>,
    answer: T,
}

/// What stands there afterwards.
enum Next {
    Is(FactorRecord),
    Nothing,
    WhatWas,
}

/// What the journal says of a change.
pub(crate) struct Tells {
    credential: Authenticator,
    change: &'static str,
    by: String,
    /// Of a passkey: which, and where it is.
    passkey: Option<(String, &'static str)>,
}

impl<T> Changed<T> {
    /// The record is this one afterwards; without it, there is none.
    pub(crate) fn to(next: Option<FactorRecord>, answer: T) -> Self {
        let next = next.map_or(Next::Nothing, Next::Is);
        Self { next, tells: Vec::new(), beside: Vec::new(), answer }
    }

    /// Nothing changes.
    pub(crate) const fn not(answer: T) -> Self {
        Self { next: Next::WhatWas, tells: Vec::new(), beside: Vec::new(), answer }
    }

    /// The journal says this, too.
    pub(crate) fn telling(mut self, tells: Tells) -> Self {
        self.tells.push(tells);
        self
    }

    /// This changes with it.
    pub(crate) fn with(mut self, beside: Change) -> Self {
        self.beside.push(beside);
        self
    }
}

impl Next {
    /// What counts no more that counted before, and so was perhaps shown for what people hold.
    fn takes_from(&self, before: &FactorRecord) -> Option<Less> {
        let after = match self {
            Self::Is(next) => next.enrolled(),
            Self::Nothing => Enrolled::nothing(),
            Self::WhatWas => return None,
        };
        let (before, names) = (before.enrolled(), after.names());
        let is_gone = |name: &String| !names.contains(name);
        let all = before.names().iter().any(is_gone);
        all.then(|| Less { in_hand: before.held_names().any(|name| is_gone(&name)) })
    }
}

/// That somebody has less than before.
#[derive(Debug, Clone, Copy)]
struct Less {
    /// Whether it is an app or a passkey, and not only a list of recovery codes.
    in_hand: bool,
}

impl Tells {
    pub(crate) fn new(credential: Authenticator, change: &'static str, by: &str) -> Self {
        Self { credential, change, by: by.to_owned(), passkey: None }
    }

    pub(crate) fn passkey(passkey: &Passkey, change: &'static str, by: &str) -> Self {
        let attachment = if passkey.platform { "platform" } else { "cross-platform" };
        let told = Self::new(Authenticator::Passkey, change, by);
        Self { passkey: Some((passkey.key(), attachment)), ..told }
    }

    /// What the person is told of it all. `None`: nothing.
    pub(super) fn together(tells: &[Self]) -> Option<FactorChange> {
        use Authenticator as A;
        match tells {
            [] => None,
            [tells] => match (tells.credential, tells.change) {
                (A::Totp, "create") => Some(FactorChange::AppSetUp),
                (A::Totp, "update") => Some(FactorChange::AppReplaced),
                (A::Totp, "delete") => Some(FactorChange::AppRemoved),
                (A::Passkey, "create") => Some(FactorChange::PasskeyAdded),
                (A::Passkey, "delete") => Some(FactorChange::PasskeyRemoved),
                (A::RecoveryCode, "update") => Some(FactorChange::CodesRenewed),
                (A::RecoveryCode, "used") => Some(FactorChange::CodeUsed),
                _ => None,
            },
            // Several change at once where all are taken away.
            _ => Some(FactorChange::AllRemoved),
        }
    }
}

impl SecondFactors {
    /// Makes of the record what `edit` says, if `required` holds. Whoever loses something by it has less
    /// authority than before, from the same moment on.
    pub(crate) async fn change<T: Send, E: From<StoreError> + Send>(
        &self,
        realm: &Realm,
        user: &UserId,
        required: &[Change],
        edit: impl Fn(Option<&FactorRecord>) -> Result<Changed<T>, E> + Send,
    ) -> Result<T, E> {
        for _ in 0..ATTEMPTS {
            let found = load::<FactorRecord>(self.records.as_ref(), realm, user.as_str()).await?;
            let changed = edit(found.as_ref().map(|found| &found.value))?;
            let Changed { next, tells, beside, answer } = changed;
            let less = found.as_ref().and_then(|found| next.takes_from(&found.value));
            let (change, left) = match (&found, &next) {
                (Some(found), Next::Is(next)) => (found.replace(next), next.recovery_codes()),
                (Some(found), Next::Nothing) => (found.remove(), 0),
                (None, Next::Is(next)) => (next.put(Expect::Absent), next.recovery_codes()),
                (None, Next::Nothing) | (_, Next::WhatWas) => return Ok(answer),
            };
            let batch = Batch::new(realm.clone()).with(change);
            let told = self.letter(realm, user, &tells).await?;
            let batch = beside.into_iter().chain(told).fold(batch, Batch::with);
            let tell = |batch: Batch, tells| batch.journal(&self.event(realm, user, tells, left));
            let batch = tells.iter().fold(batch, tell);
            let by = tells.first().map_or("system", |tells| tells.by.as_str());
            let less = less.map(|less| (less, by));
            match self.commit(batch, user, required, less).await {
                Ok(()) => return Ok(answer),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        let detail = "a person's second factors changed faster than they could be used".to_owned();
        Err(StoreError::Unavailable { backend: "the record store", detail }.into())
    }

    /// Commits a change if `required` holds. By `less`, whoever has them loses one, and by whom.
    async fn commit(
        &self,
        batch: Batch,
        user: &UserId,
        required: &[Change],
        less: Option<(Less, &str)>,
    ) -> Result<(), CommitRefused> {
        let person = match less {
            Some(_) => load::<User>(self.records.as_ref(), &batch.realm, user.as_str()).await?,
            None => None,
        };
        let (Some(person), Some((less, by))) = (person, less) else {
            return self.records.commit(required.iter().cloned().fold(batch, Batch::with)).await;
        };
        let mut others = Vec::new();
        for change in required {
            match change {
                // Replacing their record as it was read requires the same.
                Change::Require { kind, key, expect } if is_person(kind.name, key, user) => {
                    if *expect != Expect::Version(person.version) {
                        return Err(CommitRefused::Conflict { kind: kind.name, key: key.clone() });
                    }
                }
                other => others.push(other.clone()),
            }
        }
        let authority = person.value.authority.saturating_add(1);
        let lost_factor_at = if less.in_hand { authority } else { person.value.lost_factor_at };
        let next = User { authority, lost_factor_at, ..person.value.clone() };
        let batch = others.into_iter().fold(batch.with(person.replace(&next)), Batch::with);
        match &self.narrowing {
            Some(narrowing) => narrowing.commit(batch, &next, by).await,
            None => self.records.commit(batch).await,
        }
    }

    /// The event of a change that leaves so many recovery codes.
    fn event(&self, realm: &Realm, user: &UserId, tells: &Tells, left: usize) -> Event {
        let mut event = Event::new(
            &self.node,
            realm,
            EventType::CredentialChanged,
            [
                ("user_id", user.as_str().into()),
                ("credential", tells.credential.as_str().into()),
                ("change", tells.change.into()),
                ("recovery_codes", Value::from(left)),
                ("actor", tells.by.as_str().into()),
            ],
        );
        if let Some((passkey, attachment)) = &tells.passkey {
            event.data.insert("passkey".to_owned(), passkey.as_str().into());
            event.data.insert("attachment".to_owned(), (*attachment).into());
        }
        event
    }
}

fn is_person(kind: &str, key: &str, user: &UserId) -> bool {
    kind == USER_KIND.name && key == user.as_str()
}
