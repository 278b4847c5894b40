//! `Ephemeral`: values with a lifetime.

use std::time::Duration;

use super::{BoxFuture, StoreError};
use crate::id::Realm;

/// A named space of keys, declared by the domain crate that owns it.
#[derive(Debug)]
pub struct Space {
    /// `a-z` and `_`, at most 40 characters. Never reused for something else.
    pub name: &'static str,
    /// Whether its values are found by an index. Where they are not, none may be given.
    pub indexed: bool,
}

/// A value as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What was written.
    pub value: Vec<u8>,
    /// Changes with every write, and never returns for the same key, not even after the value was
    /// taken or outlived. Whoever swaps names the one it read.
    pub revision: u64,
}

/// A value to write.
#[derive(Debug, Clone)]
pub struct Put {
    /// Under which key: 1 to 255 bytes, none of them NUL.
    pub key: String,
    /// What.
    pub value: Vec<u8>,
    /// For how long, at most 400 days. Rounded up to milliseconds.
    pub lifetime: Duration,
    /// The value under which [`Ephemeral::find`] finds it, like a key. `None` keeps the index of
    /// the living value that is written over, if there is one.
    pub index: Option<String>,
}

/// What became of an attempt to replace a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// It was replaced; this is the new revision.
    Won(u64),
    /// Somebody else was first; this is what stands there now.
    Lost(Held),
    /// It is not there (any more).
    Gone,
}

/// Values with a lifetime. What has outlived it is never answered, whether or not it has been
/// cleaned away yet.
///
/// Nothing that decides security for longer than its lifetime is kept here alone: a backend may
/// lose what it holds.
pub trait Ephemeral: Send + Sync {
    /// The value under a key.
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>>;

    /// As [`Self::get`], where it need not be the latest: what was written, taken or outlived a
    /// moment ago may not be seen yet. A replica or a cache can answer.
    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.get(realm, space, key)
    }

    /// Writes a value, whatever was there.
    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Writes several values, each as [`Self::put`] does; they may be written in any order, and some
    /// of them when this fails.
    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            for put in puts {
                self.put(realm, space, put).await?;
            }
            Ok(())
        })
    }

    /// Writes a value if there is none: of many at once, exactly one is answered `true`.
    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Replaces a value whose revision is `revision`: of many at once, exactly one wins. The
    /// lifetime starts anew; the index stays where `put.index` is `None`.
    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>>;

    /// Removes a value and answers it: of many at once, at most one gets it. Where its answer is
    /// lost, nobody does: after [`StoreError::Indeterminate`] the value may be gone, and `Ok(None)`
    /// may mean that too, where the adapter has asked again by itself.
    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>>;

    /// Keys with this index value, in order, after `after`, at most `limit`.
    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>>;

    /// Cleans away what has outlived its lifetime; answers how many values went. Backends that do
    /// so themselves answer 0.
    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>>;
}
