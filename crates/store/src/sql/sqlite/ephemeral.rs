//! `Ephemeral` on SQLite.

use rusqlite::{Connection, OptionalExtension as _, Row};
use tegata_core::{
    Ephemeral, Realm, StoreError, Timestamp,
    port::{BoxFuture, Held, Put, Space, Swap},
};

use super::{
    Sqlite,
    table::{number, stored},
    writer::{Count, Tx, Undone},
};
use crate::declared;

/// How many values a sweep removes before it lets others write.
const PIECE: u32 = 1000;

/// A quarter of an hour, in milliseconds. What is indexed of the end of a lifetime is its quarter,
/// so that renewing a value does not move it in the index every time.
const QUARTER: u64 = 900_000;

/// A database as `Ephemeral`. Values are as durable as records.
#[derive(Clone)]
pub struct SqliteEphemeral(Sqlite);

/// Where a value stands.
struct At {
    realm: Realm,
    space: &'static str,
    key: String,
}

/// A value that stands there.
struct Standing {
    held: Held,
    until: Timestamp,
    found_by: Option<String>,
}

impl SqliteEphemeral {
    pub(super) const fn new(sqlite: Sqlite) -> Self {
        Self(sqlite)
    }

    fn now(&self) -> Timestamp {
        self.0.0.clock.now()
    }

    /// Does something in a transaction that changes at most one value.
    async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.0.writer.run(false, move |tx| Ok::<_, Undone<_>>(act(tx)?)).await
    }
}

impl At {
    fn new(realm: &Realm, space: &'static Space, key: &str) -> Self {
        Self { realm: realm.clone(), space: space.name, key: key.to_owned() }
    }

    fn params(&self) -> (&str, &str, &str) {
        (self.realm.as_str(), self.space, &self.key)
    }

    /// What stands there, dead or alive.
    fn standing(&self, connection: &Connection) -> rusqlite::Result<Option<Standing>> {
        let mut statement = connection.prepare_cached(
            "SELECT value, revision, until, found_by FROM ephemeral
             WHERE realm = ?1 AND space = ?2 AND key = ?3",
        )?;
        let standing = |row: &Row<'_>| {
            let until = Timestamp::from_millis(number(row, 2)?);
            Ok(Standing { held: held(row, 0)?, until, found_by: row.get(3)? })
        };
        statement.query_row(self.params(), standing).optional()
    }

    /// What stands there, if it is alive.
    fn alive(&self, connection: &Connection, now: Timestamp) -> rusqlite::Result<Option<Standing>> {
        Ok(self.standing(connection)?.filter(|standing| now < standing.until))
    }

    /// Writes a value in place of a living one, if there is one; answers its revision.
    fn write(
        &self,
        tx: &mut Tx<'_>,
        put: &Put,
        until: Timestamp,
        alive: Option<&Standing>,
    ) -> rusqlite::Result<u64> {
        // INVARIANT: one count for all values, so a revision never returns under any key.
        let revision = tx.count(Count::Revision)? + 1;
        tx.count_to(Count::Revision, revision);
        let kept = alive.and_then(|standing| standing.found_by.as_deref());
        let found_by = put.index.as_deref().or(kept);
        let quarter = |until: Timestamp| until.millis() / QUARTER;
        let (realm, space, key) = self.params();
        let (number, end) = (stored(revision), stored(until.millis()));
        if alive.is_some_and(|it| found_by == kept && quarter(it.until) == quarter(until)) {
            let mut update = tx.connection.prepare_cached(
                "UPDATE ephemeral SET revision = ?4, until = ?5, value = ?6
                 WHERE realm = ?1 AND space = ?2 AND key = ?3",
            )?;
            update.execute((realm, space, key, number, end, &put.value))?;
        } else {
            let mut replace = tx.connection.prepare_cached(
                "INSERT OR REPLACE INTO ephemeral
                     (realm, space, key, revision, until, value, until_quarter, found_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            let quarter = stored(quarter(until));
            replace.execute((realm, space, key, number, end, &put.value, quarter, found_by))?;
        }
        Ok(revision)
    }
}

fn held(row: &Row<'_>, first: usize) -> rusqlite::Result<Held> {
    Ok(Held { value: row.get(first)?, revision: number(row, first + 1)? })
}

impl Ephemeral for SqliteEphemeral {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            declared::held(space, key)?;
            let (at, now) = (At::new(realm, space, key), self.now());
            let read = move |connection: &Connection| {
                Ok(at.alive(connection, now)?.map(|standing| standing.held))
            };
            self.0.0.readers.run(space.name, key, read).await
        })
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let now = self.now();
            let until = declared::ephemeral(space, &put, now)?;
            let at = At::new(realm, space, &put.key);
            let put = move |tx: &mut Tx<'_>| {
                let alive = at.alive(tx.connection, now)?;
                at.write(tx, &put, until, alive.as_ref()).map(drop)
            };
            self.write(put).await
        })
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let now = self.now();
            let until = declared::ephemeral(space, &put, now)?;
            let at = At::new(realm, space, &put.key);
            let add = move |tx: &mut Tx<'_>| match at.alive(tx.connection, now)? {
                Some(_) => Ok(false),
                None => at.write(tx, &put, until, None).map(|_| true),
            };
            self.write(add).await
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
            let now = self.now();
            let until = declared::ephemeral(space, &put, now)?;
            let at = At::new(realm, space, &put.key);
            let swap = move |tx: &mut Tx<'_>| match at.alive(tx.connection, now)? {
                None => Ok(Swap::Gone),
                Some(other) if other.held.revision != revision => Ok(Swap::Lost(other.held)),
                Some(alive) => at.write(tx, &put, until, Some(&alive)).map(Swap::Won),
            };
            self.write(swap).await
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
            let (at, now) = (At::new(realm, space, key), self.now());
            let take = move |tx: &mut Tx<'_>| {
                let mut statement = tx.connection.prepare_cached(
                    "DELETE FROM ephemeral WHERE realm = ?1 AND space = ?2 AND key = ?3
                     RETURNING value, revision, until",
                )?;
                let taken = |row: &Row<'_>| Ok((held(row, 0)?, number(row, 2)?));
                let taken = statement.query_row(at.params(), taken).optional()?;
                let alive = taken.filter(|(_, until)| now.millis() < *until);
                Ok(alive.map(|(held, _)| held))
            };
            self.write(take).await
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
            let (realm, index, now) =
                (realm.clone(), index.to_owned(), stored(self.now().millis()));
            let after = after.unwrap_or_default().to_owned();
            let read = move |connection: &Connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT key, value, revision FROM ephemeral
                     WHERE realm = ?1 AND space = ?2 AND found_by = ?3 AND key > ?4 AND until > ?5
                     ORDER BY key LIMIT ?6",
                )?;
                let values = (realm.as_str(), space.name, index, after, now, limit);
                statement.query_map(values, |row| Ok((row.get(0)?, held(row, 1)?)))?.collect()
            };
            self.0.0.readers.run(space.name, "find", read).await
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let now = self.now().millis();
            let mut gone = 0;
            loop {
                let piece = move |tx: &mut Tx<'_>| {
                    let mut statement = tx.connection.prepare_cached(
                        "DELETE FROM ephemeral WHERE (realm, space, key) IN
                             (SELECT realm, space, key FROM ephemeral
                              WHERE until_quarter <= ?1 AND until <= ?2 LIMIT ?3)",
                    )?;
                    statement.execute((stored(now / QUARTER), stored(now), PIECE))
                };
                let swept = u64::try_from(self.write(piece).await?).unwrap_or(u64::MAX);
                gone += swept;
                if swept < u64::from(PIECE) {
                    return Ok(gone);
                }
            }
        })
    }
}
