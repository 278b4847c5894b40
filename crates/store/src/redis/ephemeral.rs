//! `Ephemeral` in Redis. Every value is one key, so that a cluster can hold each where it likes, and
//! every change of one is a script that runs at once.
//!
//! An index is a sorted set of keys, with the moment until which each may live, and lies on another
//! node than the values. So a place in it is made before the value, and outlives it; whoever reads
//! the index looks at the values, which say themselves by what they are found.
//!
//! Expiry is by the clock of the node that asks, as in every adapter. Redis removes what has been
//! dead for a while: its own clock decides nothing.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use redis::Value;
use tegata_core::{
    Ephemeral, Realm, StoreError, Timestamp,
    port::{BoxFuture, Held, Put, Space, Swap},
};

use super::{
    BACKEND, Inner,
    fault::Fault,
    held::{self, Kept},
    reach::Role,
    script::{Known, Scripts},
};
use crate::declared;

/// For how long a dead value stays, in case a clock was ahead when it died.
const GRACE: Duration = Duration::from_secs(600);

/// How many commands of one caller are under way at once.
const AT_ONCE: usize = 100;

/// How often a write is tried again whose place in an index others keep changing.
const TRIES: u32 = 20;

/// Where values are read from that need not be the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsFrom {
    /// From the server that takes the writes.
    Primary,
    /// From a replica.
    Replica,
}

/// `Ephemeral` in Redis.
#[derive(Clone)]
pub struct RedisEphemeral {
    redis: Arc<Inner>,
    scripts: Arc<Scripts>,
    from: ReadsFrom,
}

/// What a script answered.
enum Written {
    Won,
    Lost(Vec<u8>),
    Gone,
    /// The value stays in this index, and its place there must be seen to first.
    Index(String),
}

/// A value on its way.
struct Write {
    space: &'static Space,
    name: Vec<u8>,
    put: Put,
    now: Timestamp,
    until: Timestamp,
    revision: u64,
}

impl RedisEphemeral {
    pub(super) fn new(redis: Arc<Inner>, from: ReadsFrom) -> Self {
        Self { redis, scripts: Arc::new(Scripts::new()), from }
    }

    /// The name of the Redis key of a value. Empty braces first, so that no key of a caller decides
    /// with its own braces on which node it lies.
    fn name(&self, realm: &Realm, space: &Space, key: &str) -> Vec<u8> {
        format!("{}{{}}:v:{}:{realm}:{key}", self.redis.prefix, space.name).into_bytes()
    }

    fn index_name(&self, realm: &Realm, space: &Space, index: &str) -> Vec<u8> {
        format!("{}{{}}:i:{}:{realm}:{index}", self.redis.prefix, space.name).into_bytes()
    }

    fn prepare(&self, realm: &Realm, space: &'static Space, put: Put) -> Result<Write, StoreError> {
        let now = self.redis.node.now();
        let until = declared::ephemeral(space, &put, now)?;
        let name = self.name(realm, space, &put.key);
        let mut revision = [0; 8];
        self.redis.node.entropy().fill(&mut revision);
        let revision = u64::from_be_bytes(revision);
        Ok(Write { space, name, put, now, until, revision })
    }

    /// Runs a writing script, after the value's place in its index has been seen to.
    async fn write(
        &self,
        realm: &Realm,
        write: &Write,
        script: &Known,
        expected: u64,
    ) -> Result<Written, StoreError> {
        let own = write.put.index.as_deref().unwrap_or_default();
        let now = write.now.millis().to_string();
        let lifetime = write.kept_for();
        let (until, revision) = (write.until.millis().to_be_bytes(), write.revision.to_be_bytes());
        let expected = expected.to_be_bytes();
        let mut stays = String::new();
        for _ in 0..TRIES {
            let placed = if own.is_empty() { stays.as_str() } else { own };
            if !placed.is_empty() {
                self.place(realm, write, placed).await?;
            }
            let arguments: [&[u8]; 8] = [
                now.as_bytes(),
                &until,
                lifetime.as_bytes(),
                &revision,
                own.as_bytes(),
                &write.put.value,
                stays.as_bytes(),
                &expected,
            ];
            let answer = self.redis.wire.run(script, &write.name, &arguments).await;
            let answer = answer.map_err(Fault::of_change)?;
            match Written::read(answer).ok_or_else(|| write.strange())? {
                Written::Index(index) => stays = index,
                written => return Ok(written),
            }
        }
        let detail = "its place in an index changes all the time".to_owned();
        Err(StoreError::Unavailable { backend: BACKEND, detail })
    }

    /// Gives a value a place in an index for as long as it may live.
    async fn place(&self, realm: &Realm, write: &Write, index: &str) -> Result<(), StoreError> {
        let name = self.index_name(realm, write.space, index);
        let until = write.until.millis().to_string();
        let over = (write.now - GRACE).millis().to_string();
        let lifetime = write.kept_for();
        let arguments = [until.as_bytes(), over.as_bytes(), lifetime.as_bytes()];
        let arguments = [&[write.put.key.as_bytes()][..], &arguments].concat();
        // A place without a value is no harm, so that it was made says nothing yet.
        let made = self.redis.wire.run(&self.scripts.place, &name, &arguments).await;
        made.map(drop).map_err(Fault::of_question)
    }

    async fn read(
        &self,
        role: Role,
        realm: &Realm,
        space: &'static Space,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let name = self.name(realm, space, key);
        let mut get = redis::cmd("GET");
        get.arg(&name);
        let answer = self.redis.wire.ask(role, &name, &get).await.map_err(Fault::of_question)?;
        Ok(bytes(answer))
    }

    fn held(&self, space: &Space, key: &str, kept: &[u8]) -> Result<Option<Held>, StoreError> {
        let kept = Kept::read(kept).ok_or_else(|| corrupt(space, key))?;
        Ok(kept.held(self.redis.node.now()))
    }

    /// The keys that an index may find, in order.
    async fn placed(
        &self,
        realm: &Realm,
        space: &'static Space,
        index: &str,
    ) -> Result<Vec<String>, StoreError> {
        let name = self.index_name(realm, space, index);
        let mut range = redis::cmd("ZRANGEBYSCORE");
        let now = self.redis.node.now().millis();
        range.arg(&name).arg(format!("({now}")).arg("+inf");
        let answer = self.redis.wire.ask(Role::Primary, &name, &range).await;
        let keys = redis::from_redis_value::<Vec<String>>(answer.map_err(Fault::of_question)?);
        let mut keys = keys.map_err(|_| corrupt(space, index))?;
        keys.sort_unstable();
        Ok(keys)
    }
}

impl Write {
    /// For how many milliseconds Redis keeps it.
    fn kept_for(&self) -> String {
        self.put.lifetime.saturating_add(GRACE).as_millis().to_string()
    }

    fn strange(&self) -> StoreError {
        let detail = format!("a script about `{}` answered what it never does", self.space.name);
        StoreError::Indeterminate { backend: BACKEND, detail }
    }
}

impl Written {
    fn read(answer: Value) -> Option<Self> {
        let Value::Array(parts) = answer else { return None };
        let mut parts = parts.into_iter();
        let word = bytes(parts.next()?)?;
        Some(match word.as_slice() {
            b"won" => Self::Won,
            b"gone" => Self::Gone,
            b"lost" => Self::Lost(bytes(parts.next()?)?),
            b"index" => Self::Index(String::from_utf8(bytes(parts.next()?)?).ok()?),
            _ => return None,
        })
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

fn corrupt(space: &Space, key: &str) -> StoreError {
    let detail = "it is in no form of ours: is another program using the same keys?".to_owned();
    StoreError::Corrupt { backend: BACKEND, kind: space.name, key: key.to_owned(), detail }
}

impl Ephemeral for RedisEphemeral {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            declared::held(space, key)?;
            match self.read(Role::Primary, realm, space, key).await? {
                Some(kept) => self.held(space, key, &kept),
                None => Ok(None),
            }
        })
    }

    fn recent<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            declared::held(space, key)?;
            let role = match self.from {
                ReadsFrom::Replica if self.redis.wire.has_replicas() => Role::Replica,
                ReadsFrom::Replica | ReadsFrom::Primary => Role::Primary,
            };
            match self.read(role, realm, space, key).await? {
                Some(kept) => self.held(space, key, &kept),
                None => Ok(None),
            }
        })
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let write = self.prepare(realm, space, put)?;
            if space.indexed {
                return self.write(realm, &write, &self.scripts.put, 0).await.map(drop);
            }
            // Nothing of what is there stays, so it need not be looked at.
            let form = held::form(write.until, write.revision, &write.put.value);
            let mut set = redis::cmd("SET");
            set.arg(&write.name).arg(form).arg("PX").arg(write.kept_for());
            let answer = self.redis.wire.change(&write.name, &set).await;
            answer.map(drop).map_err(Fault::of_change)
        })
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            // They go out together, each to the node that it belongs to.
            let puts = puts.into_iter().map(|put| self.put(realm, space, put));
            stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await
        })
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let write = self.prepare(realm, space, put)?;
            let written = self.write(realm, &write, &self.scripts.add, 0).await?;
            Ok(matches!(written, Written::Won))
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
            let write = self.prepare(realm, space, put)?;
            match self.write(realm, &write, &self.scripts.swap, revision).await? {
                Written::Won => Ok(Swap::Won(write.revision)),
                Written::Lost(kept) => {
                    let held = self.held(space, &write.put.key, &kept)?;
                    Ok(held.map_or(Swap::Gone, Swap::Lost))
                }
                Written::Gone | Written::Index(_) => Ok(Swap::Gone),
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
            declared::held(space, key)?;
            let name = self.name(realm, space, key);
            let taken = self.redis.wire.run(&self.scripts.take, &name, &[]).await;
            match bytes(taken.map_err(Fault::of_change)?) {
                Some(kept) => self.held(space, key, &kept),
                None => Ok(None),
            }
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
            declared::held(space, index)?;
            let limit = declared::count(limit);
            let mut keys = self.placed(realm, space, index).await?;
            keys.retain(|key| after.is_none_or(|after| key.as_str() > after));
            let mut found = Vec::new();
            for some in keys.chunks(limit.max(1)) {
                let read = some.iter().map(|key| self.read(Role::Primary, realm, space, key));
                for (key, kept) in some.iter().zip(try_join_all(read).await?) {
                    if found.len() >= limit {
                        return Ok(found);
                    }
                    let Some(kept) = kept else { continue };
                    let kept = Kept::read(&kept).ok_or_else(|| corrupt(space, key))?;
                    // It may have been written anew since, under another index.
                    let held = kept.held(self.redis.node.now());
                    if let Some(held) = held.filter(|_| kept.index == index.as_bytes()) {
                        found.push((key.clone(), held));
                    }
                }
            }
            Ok(found)
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }
}
