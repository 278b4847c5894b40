//! Families as administrators see them.

use tegata_core::{Realm, StoreError, port::Page, repository};

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
