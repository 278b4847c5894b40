//! The addresses of people: whose one is, and what follows when it becomes another.

use serde_json::json;
use tegata_core::{
    Batch, CommitRefused, Event, EventType, Expect, Realm, StoreError, Stored as _, UserId,
    port::{Change, Page},
    repository,
};

use super::{ChangeRefused, Claim, User, Users, registry::ATTEMPTS};
use crate::{credential::password::still_hold, name::EmailAddress, username::Username};

/// The most people that one address leads to.
const MOST: u32 = 5;

impl Users {
    /// Those whose address this is, in the form in which addresses are compared. Operators may have
    /// given one address to several.
    ///
    /// # Errors
    /// What the store says.
    pub async fn by_address(
        &self,
        realm: &Realm,
        address: &EmailAddress,
    ) -> Result<Vec<User>, StoreError> {
        let page = Page { after: None, limit: MOST };
        let (records, form) = (self.records.as_ref(), address.form());
        let found = repository::find::<User>(records, realm, "email", &form, page).await?;
        Ok(found.into_iter().map(|found| found.value).collect())
    }

    /// Gives a person another address, which has answered mail. Where their address was their user name,
    /// the new one is. `besides` happens in the same moment, or holds in it.
    ///
    /// # Errors
    /// [`ChangeRefused`]; [`ChangeRefused::Overtaken`] where `besides` can happen no more, or does not hold;
    /// [`ChangeRefused::Contended`] also where somebody else has the new address for a user name.
    pub(crate) async fn change_address(
        &self,
        realm: &Realm,
        id: &UserId,
        address: &EmailAddress,
        besides: &[Change],
        by: &str,
    ) -> Result<User, ChangeRefused> {
        for _ in 0..ATTEMPTS {
            let before = self.versioned(realm, id).await?;
            let before = before.ok_or_else(|| ChangeRefused::Unknown(id.clone()))?;
            let mut user = before.value.clone();
            (user.email, user.email_verified) = (Some(address.clone()), true);
            let claimed = self.moved(realm, &before.value, &mut user).await?;
            let event = Event::new(
                &self.node,
                realm,
                EventType::RegistryChanged,
                [
                    ("subject", id.as_str().into()),
                    ("change", "address_verified".into()),
                    ("username_changed", json!(user.username != before.value.username)),
                    ("actor", by.into()),
                ],
            );
            let batch = Batch::new(realm.clone()).with(before.replace(&user)).journal(&event);
            let batch = claimed.into_iter().chain(besides.iter().cloned()).fold(batch, Batch::with);
            match self.records.commit(batch).await {
                Ok(()) => return Ok(user),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
            if !still_hold(self.records.as_ref(), realm, besides).await? {
                return Err(ChangeRefused::Overtaken(id.clone()));
            }
        }
        Err(ChangeRefused::Contended(id.clone()))
    }

    /// The change by which the user name follows the address, where it was the address before. The name
    /// of before stays the person's: whoever declares or names them by it means them, and nobody else
    /// can take it.
    async fn moved(
        &self,
        realm: &Realm,
        before: &User,
        user: &mut User,
    ) -> Result<Option<Change>, StoreError> {
        let name = |user: &User| user.email.as_ref().and_then(|it| Username::new(it.as_str()).ok());
        let was_name = name(before).is_some_and(|own| own == before.username);
        let next = name(user).filter(|next| was_name && *next != user.username);
        let Some(next) = next else { return Ok(None) };
        let records = self.records.as_ref();
        let known = repository::load::<Claim>(records, realm, next.as_str()).await?;
        let is_theirs = known.is_some_and(|claim| claim.value.user == user.id);
        let claim = Claim { name: next.clone(), user: user.id.clone() };
        user.username = next;
        // Of somebody else, the name is not to be had: then the commit is refused.
        Ok((!is_theirs).then(|| claim.put(Expect::Absent)))
    }
}
