//! The addresses of people: whose one is, and what follows when it becomes another.

use serde_json::json;
use tegata_core::{
    Batch, CommitRefused, Event, EventType, Expect, Realm, StoreError, Stored as _, UserId,
    Versioned,
    port::{Change, Page},
    repository,
};

use super::{ChangeRefused, Claim, User, Users, registry::ATTEMPTS};
use crate::{name::EmailAddress, username::Username};

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
    /// the new one is. `required` holds in the same moment, and `besides` happens in it.
    ///
    /// # Errors
    /// [`ChangeRefused`]; [`ChangeRefused::Contended`] also where what is required does not hold, or
    /// somebody else has the new address for a user name.
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
            let moved = self.moved(realm, &before, &mut user).await?;
            let event = Event::new(
                &self.node,
                realm,
                EventType::RegistryChanged,
                [
                    ("subject", id.as_str().into()),
                    ("change", "address_verified".into()),
                    ("username_changed", json!(!moved.is_empty())),
                    ("actor", by.into()),
                ],
            );
            let batch = Batch::new(realm.clone()).with(before.replace(&user)).journal(&event);
            let batch = moved.into_iter().chain(besides.iter().cloned()).fold(batch, Batch::with);
            match self.records.commit(batch).await {
                Ok(()) => return Ok(user),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(ChangeRefused::Contended(id.clone()))
    }

    /// The changes by which the user name follows the address, where it was the address before.
    async fn moved(
        &self,
        realm: &Realm,
        before: &Versioned<User>,
        user: &mut User,
    ) -> Result<Vec<Change>, StoreError> {
        let name = |user: &User| user.email.as_ref().and_then(|it| Username::new(it.as_str()).ok());
        let own = name(&before.value).filter(|own| *own == before.value.username);
        let next = name(user).filter(|next| *next != user.username);
        let (Some(own), Some(next)) = (own, next) else { return Ok(Vec::new()) };
        let records = self.records.as_ref();
        let Some(claimed) = repository::load::<Claim>(records, realm, own.as_str()).await? else {
            return Ok(Vec::new());
        };
        let claim = Claim { name: next.clone(), user: user.id.clone() };
        user.username = next;
        Ok(vec![claimed.remove(), claim.put(Expect::Absent)])
    }
}
