//! Aggregations in the store, as they were declared.

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Expect, Kind, Lifetime, Realm, StoreError, Stored, Versioned, port::Page,
    repository,
};
use tegata_mesh::DeclaredBff;

use super::{Registry, RegistryRefused, TRIES, Wanted, can_be_key, contended};

/// Where aggregations are kept.
pub(crate) static BFFS: Kind =
    Kind { name: "bff", indexes: &[], lifetime: Lifetime::Kept, secret: false };

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredBff {
    pub(super) declared: DeclaredBff,
}

impl Stored for StoredBff {
    const KIND: &'static Kind = &BFFS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.declared.name
    }
}

impl Registry {
    /// All aggregations, by name.
    pub(crate) async fn bffs(&self, realm: &Realm) -> Result<Vec<DeclaredBff>, StoreError> {
        let found = self.all::<StoredBff>(realm).await?;
        Ok(found.into_iter().map(|stored| stored.declared).collect())
    }

    /// A piece of them, by name.
    pub(crate) async fn page_of_bffs(
        &self,
        realm: &Realm,
        page: Page,
    ) -> Result<Vec<DeclaredBff>, StoreError> {
        let found = repository::scan::<StoredBff>(self.records.as_ref(), realm, page).await?;
        Ok(found.into_iter().map(|found| found.value.declared).collect())
    }

    /// An aggregation and its version.
    pub(crate) async fn bff(
        &self,
        realm: &Realm,
        name: &str,
    ) -> Result<Option<(DeclaredBff, u64)>, StoreError> {
        if !can_be_key(name) {
            return Ok(None);
        }
        let found = repository::load::<StoredBff>(self.records.as_ref(), realm, name).await?;
        Ok(found.map(|found| (found.value.declared, found.version)))
    }

    /// Puts an aggregation in the place of the one of its name, where its version is one of these, or
    /// declares it where there is none.
    pub(crate) async fn put_bff(
        &self,
        realm: &Realm,
        declared: &DeclaredBff,
        versions: Option<&[u64]>,
    ) -> Result<(), RegistryRefused> {
        let name = &declared.name;
        self.check_with(
            realm,
            Wanted { bffs: std::slice::from_ref(declared), ..Wanted::default() },
        )
        .await?;
        for _ in 0..TRIES {
            let found = repository::load::<StoredBff>(self.records.as_ref(), realm, name).await?;
            let version = found.as_ref().map(|found| found.version);
            if versions.is_some_and(|all| !version.is_some_and(|own| all.contains(&own))) {
                return Err(RegistryRefused::BffOvertaken(name.clone()));
            }
            if found.as_ref().is_some_and(|found| found.value.declared == *declared) {
                return Ok(());
            }
            let (change, expect) = match version {
                Some(version) => ("changed", Expect::Version(version)),
                None => ("registered", Expect::Absent),
            };
            let event = self.event(realm, &format!("bff `{name}`"), change);
            let put = StoredBff { declared: declared.clone() }.put(expect);
            let batch = Batch::new(realm.clone()).with(put).journal(&event);
            match self.records.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    /// Removes an aggregation. What it was put together of stays.
    pub(crate) async fn remove_bff(
        &self,
        realm: &Realm,
        name: &str,
    ) -> Result<(), RegistryRefused> {
        for _ in 0..TRIES {
            let found = self.versioned_bff(realm, name).await?;
            let event = self.event(realm, &format!("bff `{name}`"), "removed");
            let batch = Batch::new(realm.clone()).with(found.remove()).journal(&event);
            match self.records.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    async fn versioned_bff(
        &self,
        realm: &Realm,
        name: &str,
    ) -> Result<Versioned<StoredBff>, RegistryRefused> {
        let unknown = || RegistryRefused::NoBff(name.to_owned());
        if !can_be_key(name) {
            return Err(unknown());
        }
        let found = repository::load::<StoredBff>(self.records.as_ref(), realm, name).await?;
        found.ok_or_else(unknown)
    }
}
