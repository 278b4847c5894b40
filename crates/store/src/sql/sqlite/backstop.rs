//! `Backstop` on SQLite.

use rusqlite::{Connection, OptionalExtension as _};
use tegata_core::{
    Backstop, Realm, StoreError, Timestamp,
    port::{BoxFuture, Withdrawal},
};

use super::{
    Sqlite,
    table::{number, stored},
    writer::{Tx, Undone},
};
use crate::declared;

/// How many withdrawals that have passed are forgotten with each record of new ones.
const FORGOTTEN_AT_ONCE: u32 = 16;

/// A database as `Backstop`.
#[derive(Clone)]
pub struct SqliteBackstop(Sqlite);

impl SqliteBackstop {
    pub(super) const fn new(sqlite: Sqlite) -> Self {
        Self(sqlite)
    }
}

/// Marks are kept as eight bytes, greatest first, because they use all 64 bits: SQLite compares
/// such values as numbers are compared.
fn record(
    tx: &Tx<'_>,
    realm: &Realm,
    withdrawals: &[Withdrawal],
    forgettable: Timestamp,
) -> rusqlite::Result<()> {
    let mut write = tx.connection.prepare_cached(
        "INSERT INTO backstop (realm, key, mark, until) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (realm, key) DO UPDATE
         SET mark = max(mark, excluded.mark), until = max(until, excluded.until)",
    )?;
    for Withdrawal { key, mark, until } in withdrawals {
        write.execute((realm.as_str(), key, mark.to_be_bytes(), stored(until.millis())))?;
    }
    let mut forget = tx.connection.prepare_cached(
        "DELETE FROM backstop WHERE (realm, key) IN
             (SELECT realm, key FROM backstop WHERE until < ?1 LIMIT ?2)",
    )?;
    forget.execute((stored(forgettable.millis()), FORGOTTEN_AT_ONCE)).map(drop)
}

impl Backstop for SqliteBackstop {
    fn record<'a>(
        &'a self,
        realm: &'a Realm,
        withdrawals: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            declared::withdrawals(withdrawals)?;
            let open = &self.0.0;
            let (realm, withdrawals) = (realm.clone(), withdrawals.to_vec());
            let forgettable = declared::forgettable(open.clock.now());
            let act = move |tx: &mut Tx<'_>| {
                Ok::<_, Undone<_>>(record(tx, &realm, &withdrawals, forgettable)?)
            };
            open.writer.run(true, act).await
        })
    }

    fn withdrawn<'a>(
        &'a self,
        realm: &'a Realm,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>> {
        Box::pin(async move {
            declared::text("key", key)?;
            let open = &self.0.0;
            let (realm, owned, now) = (realm.clone(), key.to_owned(), open.clock.now());
            let read = move |connection: &Connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT mark, until FROM backstop WHERE realm = ?1 AND key = ?2",
                )?;
                let found = statement.query_row((realm.as_str(), &owned), |row| {
                    Ok((u64::from_be_bytes(row.get(0)?), Timestamp::from_millis(number(row, 1)?)))
                });
                let alive = found.optional()?.filter(|(_, until)| now <= *until);
                Ok(alive.map(|(mark, until)| Withdrawal { key: owned, mark, until }))
            };
            open.readers.run("backstop", key, read).await
        })
    }
}
