//! `Backstop` in memory.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tegata_core::{
    Backstop, Clock, Realm, StoreError, Timestamp,
    port::{BoxFuture, Withdrawal},
};

use crate::declared;

/// Withdrawals in memory. They are as durable as the process.
pub struct MemoryBackstop {
    clock: Arc<dyn Clock>,
    withdrawn: Mutex<HashMap<(Realm, String), (u64, Timestamp)>>,
}

impl MemoryBackstop {
    /// Nothing withdrawn yet, on this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, withdrawn: Mutex::default() }
    }
}

impl Backstop for MemoryBackstop {
    fn record<'a>(
        &'a self,
        realm: &'a Realm,
        withdrawals: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            declared::withdrawals(withdrawals)?;
            let forgotten = declared::forgettable(self.clock.now());
            let mut withdrawn = self.withdrawn.lock();
            // Before the map would grow, what has passed makes room.
            if withdrawn.len() + withdrawals.len() > withdrawn.capacity() {
                withdrawn.retain(|_, (_, until)| *until >= forgotten);
            }
            for Withdrawal { key, mark, until } in withdrawals {
                let entry = withdrawn.entry((realm.clone(), key.clone())).or_default();
                *entry = (entry.0.max(*mark), entry.1.max(*until));
            }
            Ok(())
        })
    }

    fn withdrawn<'a>(
        &'a self,
        realm: &'a Realm,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>> {
        Box::pin(async move {
            declared::text("key", key)?;
            let found = self.withdrawn.lock().get(&(realm.clone(), key.to_owned())).copied();
            let now = self.clock.now();
            Ok(found.filter(|(_, until)| now <= *until).map(|(mark, until)| Withdrawal {
                key: key.to_owned(),
                mark,
                until,
            }))
        })
    }
}
