//! Families as administrators and their people see them.

use tegata_core::{FamilyId, Realm, StoreError, Timestamp, port::Page, repository};

use super::Families;
use crate::{family::Family, revocation::Holder};

impl Families {
    /// A piece of a holder's families, or of all, in the order of their names: also of those that have
    /// ended, as long as they are remembered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn page(
        &self,
        realm: &Realm,
        holder: Option<&Holder>,
        page: Page,
    ) -> Result<Vec<Family>, StoreError> {
        let records = self.records.as_ref();
        let found = match holder.map(Holder::index) {
            Some((index, value)) => {
                repository::find::<Family>(records, realm, index, value, page).await?
            }
            None => repository::scan::<Family>(records, realm, page).await?,
        };
        Ok(found.into_iter().map(|found| found.value).collect())
    }

    /// The family of this name, also one that has ended, as long as it is remembered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn find(&self, realm: &Realm, id: &FamilyId) -> Result<Option<Family>, StoreError> {
        let found = repository::load(self.records.as_ref(), realm, id.as_str()).await?;
        Ok(found.map(|found| found.value))
    }
}

impl Family {
    /// When its refresh token was used last, or given out.
    #[must_use]
    pub fn last_used(&self) -> Timestamp {
        self.used.map_or(self.made, |used| used.max(self.made))
    }

    /// Whether its refresh token would still count, by what its record says.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.ended.is_none() && !self.is_over(now)
    }
}

impl Holder {
    /// By which index their families are found.
    pub(super) fn index(&self) -> (&'static str, &str) {
        match self {
            Self::User(user) => ("user", user.as_str()),
            Self::Client(client) => ("client", client.as_str()),
            Self::Session(session) => ("session", session.as_str()),
        }
    }
}
