//! `Records` on SQLite.

use rusqlite::Connection;
use tegata_core::{
    Batch, CommitRefused, Kind, Lifetime, Log, Realm, Records, StoreError, Timestamp,
    id::NodeId,
    port::{BoxFuture, Page, Pull, Record, Sequenced},
};

use super::{
    Sqlite, batch, log,
    table::{self, Table},
    unchanged::Recalled,
    writer::{Tx, Undone},
};

/// How many rows a purge drops before it lets others write.
const PIECE: u32 = 1000;

/// A database as `Records`. Positions are given when a batch is committed, so nothing ever waits
/// for the sequencer.
#[derive(Clone)]
pub struct SqliteRecords(Sqlite);

impl SqliteRecords {
    pub(super) const fn new(sqlite: Sqlite) -> Self {
        Self(sqlite)
    }

    /// Reads from the table of a declared kind.
    async fn read<T: Send + 'static>(
        &self,
        kind: &'static Kind,
        key: &str,
        act: impl FnOnce(&Connection, &Table) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let open = &self.0.0;
        let tables = open.tables.clone();
        let read = move |connection: &Connection| match tables.of(kind) {
            Some(table) => act(connection, table).map(Some),
            None => Ok(None),
        };
        let undeclared = || StoreError::Misused { detail: format!("no kind `{}`", kind.name) };
        open.readers.run(kind.name, key, read).await?.ok_or_else(undeclared)
    }

    /// Repeats a piece of work in transactions of its own until it is done; answers the sum.
    async fn in_pieces<F>(&self, piece: F) -> Result<u64, StoreError>
    where
        F: Fn(&mut Tx<'_>) -> rusqlite::Result<u64> + Clone + Send + 'static,
    {
        let mut sum = 0;
        loop {
            let piece = piece.clone();
            let gone = self.0.0.writer.run(true, move |tx| Ok::<_, Undone<_>>(piece(tx)?)).await?;
            sum += gone;
            if gone < u64::from(PIECE) {
                return Ok(sum);
            }
        }
    }
}

fn list(
    connection: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Vec<Record>> {
    connection.prepare_cached(sql)?.query_map(values, table::record)?.collect()
}

impl Records for SqliteRecords {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let open = &self.0.0;
            open.declared.load(kind, key)?;
            let version = match open.unchanged.recall(realm, kind, key) {
                Recalled::Is(record) => return Ok(Some(Record::clone(&record))),
                Recalled::AsOf(version) => Some(version),
                Recalled::Unknown => None,
            };
            let (of_realm, owned) = (realm.clone(), key.to_owned());
            let read = move |connection: &Connection, table: &Table| {
                Ok(list(connection, &table.load, &[&of_realm.as_str(), &owned])?.pop())
            };
            let found = self.read(kind, key, read).await?;
            if let (Some(version), Some(record)) = (version, &found) {
                open.unchanged.remember(version, realm, kind, record);
            }
            Ok(found)
        })
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            self.0.0.declared.find(kind, index, value)?;
            let (realm, value) = (realm.clone(), value.to_owned());
            let read = move |connection: &Connection, table: &Table| {
                let after = page.after.unwrap_or_default();
                let sql = table.find.get(index).map_or("", String::as_str);
                list(connection, sql, &[&realm.as_str(), &value, &after, &page.limit])
            };
            self.read(kind, index, read).await
        })
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            self.0.0.declared.kind(kind)?;
            let realm = realm.clone();
            let read = move |connection: &Connection, table: &Table| {
                let after = page.after.unwrap_or_default();
                list(connection, &table.scan, &[&realm.as_str(), &after, &page.limit])
            };
            self.read(kind, "scan", read).await
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(async move {
            let open = &self.0.0;
            open.declared.batch(&batch)?;
            let (tables, now) = (open.tables.clone(), open.clock.now());
            let parts = batch.changes.len() + batch.appends.len() > 1;
            open.writer.run(parts, move |tx| batch::apply(tx, &tables, now, &batch)).await
        })
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        let read = move |connection: &Connection| log::pull(connection, log, after, limit);
        Box::pin(self.0.0.readers.run(log.name(), "pull", read))
    }

    fn sequence(&self, _: Log, _: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        Box::pin(async { Ok(Sequenced::AtCommit) })
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut gone = 0;
            let by_day = |kind: &&Kind| matches!(kind.lifetime, Lifetime::ByDay(_));
            for kind in self.0.0.declared.kinds().filter(by_day) {
                let (tables, today) = (self.0.0.tables.clone(), now.day());
                let piece = move |tx: &mut Tx<'_>| {
                    let Some(table) = tables.of(kind) else { return Ok(0) };
                    let mut purge = tx.connection.prepare_cached(&table.purge)?;
                    Ok(u64::try_from(purge.execute((today, PIECE))?).unwrap_or(u64::MAX))
                };
                gone += self.in_pieces(piece).await?;
            }
            for log in Log::ALL {
                gone += self.in_pieces(move |tx| log::trim(tx, log, logs_before, PIECE)).await?;
            }
            Ok(gone)
        })
    }
}
