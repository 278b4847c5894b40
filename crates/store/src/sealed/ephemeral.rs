//! `Ephemeral` that is sealed.

use std::sync::Arc;

use tegata_core::{
    Ephemeral, Realm, StoreError,
    port::{BoxFuture, Held, Put, Space, Swap},
};

use super::{envelope::Place, keys::Keys};

/// `Ephemeral` whose values are encrypted. Made by [`super::Sealed::ephemeral`].
pub struct SealedEphemeral {
    inner: Arc<dyn Ephemeral>,
    keys: Arc<Keys>,
}

impl SealedEphemeral {
    pub(super) const fn new(inner: Arc<dyn Ephemeral>, keys: Arc<Keys>) -> Self {
        Self { inner, keys }
    }

    fn seal(&self, realm: &Realm, space: &'static Space, put: Put) -> Result<Put, StoreError> {
        let place = Place::value(realm, space.name, &put.key);
        let value = self.keys.seal(&place, &put.value)?;
        Ok(Put { value, ..put })
    }

    async fn unseal(
        &self,
        realm: &Realm,
        space: &'static Space,
        key: &str,
        held: Held,
    ) -> Result<Held, StoreError> {
        let place = Place::value(realm, space.name, key);
        let value = self.keys.unseal(&place, &held.value).await?;
        Ok(Held { value, ..held })
    }

    async fn unseal_some(
        &self,
        realm: &Realm,
        space: &'static Space,
        key: &str,
        held: Option<Held>,
    ) -> Result<Option<Held>, StoreError> {
        match held {
            Some(held) => self.unseal(realm, space, key, held).await.map(Some),
            None => Ok(None),
        }
    }
}

impl Ephemeral for SealedEphemeral {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            let held = self.inner.get(realm, space, key).await?;
            self.unseal_some(realm, space, key, held).await
        })
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            let held = self.inner.recent(realm, space, key).await?;
            self.unseal_some(realm, space, key, held).await
        })
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let put = self.seal(realm, space, put)?;
            self.inner.put(realm, space, put).await
        })
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let sealed = puts.into_iter().map(|put| self.seal(realm, space, put));
            let sealed = sealed.collect::<Result<Vec<_>, _>>()?;
            self.inner.put_all(realm, space, sealed).await
        })
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let put = self.seal(realm, space, put)?;
            self.inner.add(realm, space, put).await
        })
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(async move {
            let key = put.key.clone();
            let put = self.seal(realm, space, put)?;
            match self.inner.swap(realm, space, revision, put).await? {
                Swap::Lost(held) => self.unseal(realm, space, &key, held).await.map(Swap::Lost),
                other => Ok(other),
            }
        })
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            let held = self.inner.take(realm, space, key).await?;
            self.unseal_some(realm, space, key, held).await
        })
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        Box::pin(async move {
            let mut found = Vec::new();
            for (key, held) in self.inner.find(realm, space, index, after, limit).await? {
                let held = self.unseal(realm, space, &key, held).await?;
                found.push((key, held));
            }
            Ok(found)
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.sweep()
    }
}
