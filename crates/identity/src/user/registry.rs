//! The registry of users. Each change and its journal event are one batch.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};
use tegata_core::{
    Batch, BoxFuture, CommitRefused, Event, EventType, Expect, Node, Realm, Records, StoreError,
    Stored as _, UserId, Versioned,
    port::{Change, Page},
    repository::{self, load},
};

use super::{Amendment, Claim, Imported, NewUser, Role, RoleChange, User};
use crate::{
    credential::password::{self, Caps, PasswordRecord, Phc},
    username::Username,
};

/// How often a change is tried again after somebody else changed the same user first.
pub(super) const ATTEMPTS: u32 = 16;

/// The registry of users.
#[derive(Clone)]
pub struct Users {
    pub(super) node: Node,
    pub(super) records: Arc<dyn Records>,
    narrowing: Option<Arc<dyn Narrowing>>,
}

/// Makes it known that people may do less than before. Whoever owns the revocation log gives this.
pub trait Narrowing: Send + Sync {
    /// Commits `batch` together with the word that tokens which were issued before to this user, as it is
    /// afterwards, say too much; of one who is disabled, that nothing counts from before. When this
    /// answers `Ok`, it is durable, and none of it is accepted on this node.
    fn commit<'a>(
        &'a self,
        batch: Batch,
        user: &'a User,
        by: &'a str,
    ) -> BoxFuture<'a, Result<(), CommitRefused>>;
}

/// Why a user was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterRefused {
    /// Somebody has this name.
    #[error("the user name `{0}` is taken: choose another")]
    NameTaken(Username),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a user was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// There is no such user.
    #[error("there is no user `{0}`")]
    Unknown(UserId),
    /// Others kept changing the same user.
    #[error("user `{0}` is being changed by others: try again")]
    Contended(UserId),
    /// It is none of the versions that it was to be changed from.
    #[error("user `{0}` was changed since it was read: read it again")]
    Overtaken(UserId),
    /// Whoever changes it has lost the role for that meanwhile, or was disabled.
    #[error("user `{0}` may not do this any more")]
    AskerRefused(UserId),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// On which conditions a user is changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Provided<'a> {
    /// The record's version is one of these.
    pub versions: Option<&'a [u64]>,
    /// The person who changes it has this role, and is not disabled, until it is done. So of two who
    /// would take the role from each other at once, one keeps it.
    pub asker: Option<(&'a UserId, &'a Role)>,
}

impl Users {
    /// The registry in `records`.
    #[must_use]
    pub fn new(node: Node, records: Arc<dyn Records>) -> Self {
        Self { node, records, narrowing: None }
    }

    /// The same, telling of everybody who may do less than before.
    #[must_use]
    pub fn telling(mut self, narrowing: Arc<dyn Narrowing>) -> Self {
        self.narrowing = Some(narrowing);
        self
    }

    /// Registers a user, with its name, its password if it has one, and the event. `by` is who
    /// asked, for the journal. Of many who register one name at once, one gets it.
    ///
    /// # Errors
    /// See [`RegisterRefused`].
    pub async fn register(
        &self,
        realm: &Realm,
        new: NewUser,
        by: &str,
    ) -> Result<User, RegisterRefused> {
        self.register_with(realm, new, false, None, by).await
    }

    /// Registers somebody whom another system hands over, as that system knows them.
    ///
    /// # Errors
    /// See [`RegisterRefused`].
    pub async fn take_over(
        &self,
        realm: &Realm,
        imported: Imported,
        by: &str,
    ) -> Result<User, RegisterRefused> {
        let Imported { new, email_verified, disabled } = imported;
        let user = User { email_verified, disabled, ..self.user_of(&new) };
        self.enter(realm, user, new.password, None, by).await
    }

    /// The same, with what else belongs into the batch. `verified`: whether mail to the address was
    /// answered.
    pub(crate) async fn register_with(
        &self,
        realm: &Realm,
        new: NewUser,
        verified: bool,
        besides: Option<Change>,
        by: &str,
    ) -> Result<User, RegisterRefused> {
        let user = User { email_verified: verified, ..self.user_of(&new) };
        self.enter(realm, user, new.password, besides, by).await
    }

    fn user_of(&self, new: &NewUser) -> User {
        let new = new.clone();
        User {
            id: UserId::generate(self.node.entropy()),
            username: new.username,
            email: new.email,
            email_verified: false,
            roles: new.roles,
            disabled: false,
            created: self.node.now(),
            authority: 1,
            lost_factor_at: 0,
            locale: new.locale,
            profile: new.profile,
            updated: None,
        }
    }

    async fn enter(
        &self,
        realm: &Realm,
        user: User,
        password: Option<Phc>,
        besides: Option<Change>,
        by: &str,
    ) -> Result<User, RegisterRefused> {
        let claim = Claim { name: user.username.clone(), user: user.id.clone() };
        let event = Event::new(
            &self.node,
            realm,
            EventType::RegistryChanged,
            [
                ("subject", user.id.as_str().into()),
                ("change", "user_registered".into()),
                ("actor", by.into()),
            ],
        );
        let mut batch = Batch::new(realm.clone())
            .with(claim.put(Expect::Absent))
            .with(user.put(Expect::Absent))
            .journal(&event);
        batch = besides.into_iter().fold(batch, Batch::with);
        if let Some(phc) = password {
            // Read with the widest bounds: whoever checks it has their own.
            if let Ok(effort) = phc.effort(&Caps::default()) {
                password::note(self.records.as_ref(), realm, effort, self.node.now()).await;
            }
            let record = PasswordRecord::first(user.id.clone(), phc, self.node.now());
            batch = batch.with(record.put(Expect::Absent));
        }
        let refused = match self.records.commit(batch).await {
            Ok(()) => return Ok(user),
            Err(CommitRefused::Conflict { .. }) => None,
            Err(CommitRefused::Store(error @ StoreError::Indeterminate { .. })) => Some(error),
            Err(CommitRefused::Store(error)) => return Err(error.into()),
        };
        // The ids are random, so a conflict is about the name, or about what came besides, which somebody
        // used who has the name now. A lost answer is settled by looking whose the name is.
        match (self.claim(realm, user.username.as_str()).await?, refused) {
            (Some(owner), _) if owner == user.id => Ok(user),
            (None, Some(indeterminate)) => Err(indeterminate.into()),
            _ => Err(RegisterRefused::NameTaken(user.username)),
        }
    }

    /// The user with this id.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load(&self, realm: &Realm, id: &UserId) -> Result<Option<User>, StoreError> {
        Ok(self.versioned(realm, id).await?.map(|user| user.value))
    }

    /// As [`Self::load`], where it need not be the latest: what was changed elsewhere a moment ago may
    /// not be seen yet. What takes something away from a person is also in the revocation log.
    ///
    /// # Errors
    /// What the store says.
    pub async fn recent(&self, realm: &Realm, id: &UserId) -> Result<Option<User>, StoreError> {
        let found = repository::recent::<User>(self.records.as_ref(), realm, id.as_str());
        Ok(found.await?.map(|user| user.value))
    }

    /// [`Self::recent`], unless what they may do is known to have `changed` lately: a copy may be older.
    ///
    /// # Errors
    /// What the store says.
    pub async fn recent_unless(
        &self,
        changed: bool,
        realm: &Realm,
        id: &UserId,
    ) -> Result<Option<User>, StoreError> {
        if changed { self.load(realm, id).await } else { self.recent(realm, id).await }
    }

    /// The user with this name.
    ///
    /// # Errors
    /// What the store says.
    pub async fn by_username(
        &self,
        realm: &Realm,
        name: &Username,
    ) -> Result<Option<User>, StoreError> {
        match self.claim(realm, name.as_str()).await? {
            Some(id) => self.load(realm, &id).await,
            None => Ok(None),
        }
    }

    /// Users in the order of their ids.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, realm: &Realm, page: Page) -> Result<Vec<User>, StoreError> {
        let users = repository::scan::<User>(self.records.as_ref(), realm, page).await?;
        Ok(users.into_iter().map(|user| user.value).collect())
    }

    /// Changes the roles of a user. A change that changes nothing leaves no trace.
    ///
    /// # Errors
    /// See [`ChangeRefused`].
    pub async fn change_roles(
        &self,
        realm: &Realm,
        id: &UserId,
        change: &RoleChange,
        by: &str,
    ) -> Result<User, ChangeRefused> {
        let edit = |user: &mut User| user.roles = change.applied_to(&user.roles);
        Ok(self.change(realm, id, Provided::default(), by, edit).await?.value)
    }

    /// Changes several things of a user at once. A change that changes nothing leaves no trace.
    ///
    /// # Errors
    /// See [`ChangeRefused`].
    pub async fn amend(
        &self,
        realm: &Realm,
        id: &UserId,
        amendment: &Amendment,
        provided: Provided<'_>,
        by: &str,
    ) -> Result<Versioned<User>, ChangeRefused> {
        self.change(realm, id, provided, by, |user| amendment.apply_to(user)).await
    }

    /// Keeps a user from signing in. What the user holds is refused from the same moment on, where
    /// somebody is told ([`Self::telling`]); ending it is for whoever hears the event.
    ///
    /// # Errors
    /// See [`ChangeRefused`].
    pub async fn disable(
        &self,
        realm: &Realm,
        id: &UserId,
        by: &str,
    ) -> Result<User, ChangeRefused> {
        let edit = |user: &mut User| user.disabled = true;
        Ok(self.change(realm, id, Provided::default(), by, edit).await?.value)
    }

    /// Lets a user sign in again.
    ///
    /// # Errors
    /// See [`ChangeRefused`].
    pub async fn enable(
        &self,
        realm: &Realm,
        id: &UserId,
        by: &str,
    ) -> Result<User, ChangeRefused> {
        let edit = |user: &mut User| user.disabled = false;
        Ok(self.change(realm, id, Provided::default(), by, edit).await?.value)
    }

    /// Whose name this is.
    pub(crate) async fn claim(
        &self,
        realm: &Realm,
        name: &str,
    ) -> Result<Option<UserId>, StoreError> {
        let claim = load::<Claim>(self.records.as_ref(), realm, name).await?;
        Ok(claim.map(|claim| claim.value.user))
    }

    /// The user with this id, for whoever does something only as long as it is the same.
    ///
    /// # Errors
    /// What the store says.
    pub async fn versioned(
        &self,
        realm: &Realm,
        id: &UserId,
    ) -> Result<Option<Versioned<User>>, StoreError> {
        load(self.records.as_ref(), realm, id.as_str()).await
    }

    async fn change(
        &self,
        realm: &Realm,
        id: &UserId,
        provided: Provided<'_>,
        by: &str,
        edit: impl Fn(&mut User) + Send,
    ) -> Result<Versioned<User>, ChangeRefused> {
        for _ in 0..ATTEMPTS {
            let Some(before) = self.versioned(realm, id).await? else {
                return Err(ChangeRefused::Unknown(id.clone()));
            };
            if provided.versions.is_some_and(|wanted| !wanted.contains(&before.version)) {
                return Err(ChangeRefused::Overtaken(id.clone()));
            }
            let mut user = before.value.clone();
            edit(&mut user);
            let asker = self.asker(realm, provided, &before).await?;
            if user == before.value {
                return Ok(before);
            }
            let batch = asker.into_iter().fold(Batch::new(realm.clone()), Batch::with);
            let (batch, user) = self.changing(batch, &before, user, by);
            // Who may do more keeps what they have; who may do less, or nothing, does not.
            let less = !user.roles.is_superset(&before.value.roles)
                || (user.disabled && !before.value.disabled);
            let committed = match self.narrowing.as_ref().filter(|_| less) {
                Some(narrowing) => narrowing.commit(batch, &user, by).await,
                None => self.records.commit(batch).await,
            };
            match committed {
                Ok(()) => return Ok(Versioned { value: user, version: before.version + 1 }),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(ChangeRefused::Contended(id.clone()))
    }

    /// The requirement that whoever changes a user still may.
    async fn asker(
        &self,
        realm: &Realm,
        provided: Provided<'_>,
        changed: &Versioned<User>,
    ) -> Result<Option<Change>, ChangeRefused> {
        let Some((asker, role)) = provided.asker else { return Ok(None) };
        let may = |user: &User| !user.disabled && user.roles.contains(role);
        let refused = || ChangeRefused::AskerRefused(asker.clone());
        // One's own record is replaced as it was read, which requires the same.
        if *asker == changed.value.id {
            return if may(&changed.value) { Ok(None) } else { Err(refused()) };
        }
        let found = self.versioned(realm, asker).await?.filter(|found| may(&found.value));
        found.map(|found| Some(found.require())).ok_or_else(refused)
    }

    /// What makes a user be as it is to be, with the events that tell it.
    fn changing(
        &self,
        batch: Batch,
        before: &Versioned<User>,
        mut user: User,
        by: &str,
    ) -> (Batch, User) {
        let was = &before.value;
        let mut events = Vec::new();
        let told = |user: &User| (user.email.clone(), user.locale.clone(), user.profile.clone());
        if told(was) != told(&user) {
            user.updated = Some(self.node.now());
            let data = [
                ("subject", user.id.as_str().into()),
                ("change", "user_changed".into()),
                ("actor", by.into()),
            ];
            events.push(Event::new(&self.node, &batch.realm, EventType::RegistryChanged, data));
        }
        if (&was.roles, was.disabled) != (&user.roles, user.disabled) {
            user.authority += 1;
            let data = [
                ("user_id", user.id.as_str().into()),
                ("changes", changes(was, &user)),
                ("authority", user.authority.into()),
                ("actor", by.into()),
            ];
            events.push(Event::new(&self.node, &batch.realm, EventType::PermissionsChanged, data));
        }
        let batch = events.iter().fold(batch.with(before.replace(&user)), Batch::journal);
        (batch, user)
    }
}

/// What differs, as the event tells it.
fn changes(before: &User, after: &User) -> Value {
    let names = |roles: BTreeSet<&Role>| -> Value {
        roles.into_iter().map(|role| Value::from(role.as_str())).collect()
    };
    let mut changes = Map::new();
    if before.roles != after.roles {
        let granted = names(after.roles.difference(&before.roles).collect());
        let withdrawn = names(before.roles.difference(&after.roles).collect());
        let now = names(after.roles.iter().collect());
        let roles = json!({"granted": granted, "withdrawn": withdrawn, "now": now});
        changes.insert("roles".to_owned(), roles);
    }
    if before.disabled != after.disabled {
        changes.insert("disabled".to_owned(), after.disabled.into());
    }
    changes.into()
}

#[cfg(test)]
mod tests;
