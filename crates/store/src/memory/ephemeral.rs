//! `Ephemeral` in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use parking_lot::Mutex;
use tegata_core::{
    Clock, Ephemeral, Realm, StoreError, Timestamp,
    port::{BoxFuture, Held, Put, Space, Swap},
};

use crate::declared;

/// Values with a lifetime, in memory.
pub struct MemoryEphemeral {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

type At = (Realm, &'static str, String);

#[derive(Default)]
struct State {
    values: BTreeMap<At, Value>,
    /// Realm, space, index value and key of every value that an index finds.
    indexed: BTreeSet<(Realm, &'static str, String, String)>,
    /// The last revision given. One count for all values, so that a revision never returns, not
    /// even after its value was taken and the key written anew.
    revision: u64,
}

struct Value {
    held: Held,
    until: Timestamp,
    index: Option<String>,
}

impl MemoryEphemeral {
    /// Nothing yet, on this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }
}

impl State {
    fn alive(&self, at: &At, now: Timestamp) -> Option<&Value> {
        self.values.get(at).filter(|value| now < value.until)
    }

    /// Writes a value; answers its revision.
    fn write(&mut self, at: At, put: Put, until: Timestamp, now: Timestamp) -> u64 {
        let kept = self.alive(&at, now).and_then(|value| value.index.clone());
        self.remove(&at);
        self.revision += 1;
        let held = Held { value: put.value, revision: self.revision };
        let index = put.index.or(kept);
        if let Some(index) = &index {
            self.indexed.insert((at.0.clone(), at.1, index.clone(), at.2.clone()));
        }
        self.values.insert(at, Value { held, until, index });
        self.revision
    }

    fn remove(&mut self, at: &At) -> Option<Value> {
        let value = self.values.remove(at)?;
        if let Some(index) = &value.index {
            self.indexed.remove(&(at.0.clone(), at.1, index.clone(), at.2.clone()));
        }
        Some(value)
    }
}

fn at(realm: &Realm, space: &'static Space, key: &str) -> At {
    (realm.clone(), space.name, key.to_owned())
}

impl Ephemeral for MemoryEphemeral {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            declared::held(space, key)?;
            let state = self.state.lock();
            let value = state.alive(&at(realm, space, key), self.clock.now());
            Ok(value.map(|value| value.held.clone()))
        })
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let until = declared::ephemeral(space, &put, now)?;
            self.state.lock().write(at(realm, space, &put.key), put, until, now);
            Ok(())
        })
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let until = declared::ephemeral(space, &put, now)?;
            let at = at(realm, space, &put.key);
            let mut state = self.state.lock();
            let free = state.alive(&at, now).is_none();
            if free {
                state.write(at, put, until, now);
            }
            Ok(free)
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
            let now = self.clock.now();
            let until = declared::ephemeral(space, &put, now)?;
            let at = at(realm, space, &put.key);
            let mut state = self.state.lock();
            Ok(match state.alive(&at, now) {
                None => Swap::Gone,
                Some(value) if value.held.revision != revision => Swap::Lost(value.held.clone()),
                Some(_) => Swap::Won(state.write(at, put, until, now)),
            })
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
            let now = self.clock.now();
            let value = self.state.lock().remove(&at(realm, space, key));
            Ok(value.filter(|value| now < value.until).map(|value| value.held))
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
            let now = self.clock.now();
            let state = self.state.lock();
            let start = (realm.clone(), space.name, index.into(), after.unwrap_or("").to_owned());
            let found = state
                .indexed
                .range((Bound::Excluded(start), Bound::Unbounded))
                .take_while(|(of, name, value, _)| {
                    of == realm && *name == space.name && value == index
                })
                .filter_map(|(_, _, _, key)| {
                    let value = state.alive(&at(realm, space, key), now)?;
                    Some((key.clone(), value.held.clone()))
                });
            Ok(found.take(declared::count(limit)).collect())
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let mut state = self.state.lock();
            let dead = state.values.iter().filter(|(_, value)| value.until <= now);
            let dead = dead.map(|(at, _)| at.clone()).collect::<Vec<_>>();
            Ok(dead.iter().fold(0, |gone, at| {
                state.remove(at);
                gone + 1
            }))
        })
    }
}
