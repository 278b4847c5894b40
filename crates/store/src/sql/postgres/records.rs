//! `Records`: documents. Batches are in `commit`, logs in `logs`.

use std::sync::Arc;

use tegata_core::{
    Batch, CommitRefused, Kind, Log, NodeId, Realm, Records, StoreError, Timestamp,
    port::{Body, BoxFuture, Page, Pull, Record, Sequenced},
};
use tokio_postgres::{Row, types::FromSql};

use super::{
    BACKEND, Inner,
    param::{number, small, text},
};

/// `Records` in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresRecords(pub(super) Arc<Inner>);

impl Inner {
    async fn load(
        &self,
        realm: &Realm,
        kind: &'static Kind,
        key: &str,
    ) -> Result<Option<Record>, StoreError> {
        self.tables.declared.load(kind, key)?;
        let table = self.tables.of(kind)?;
        let mut params = vec![text(realm.as_str()), text(key)];
        if table.by_day() {
            params.push(small(table.day(key)));
        }
        let rows = self.pool.ask(&table.load, &params).await;
        let rows = rows.map_err(|fault| fault.of_reading(kind.name, key))?;
        rows.first().map(|row| record(kind, row)).transpose()
    }

    async fn find(
        &self,
        realm: &Realm,
        kind: &'static Kind,
        index: &str,
        value: &str,
        page: Page,
    ) -> Result<Vec<Record>, StoreError> {
        self.tables.declared.find(kind, index, value)?;
        let sql = self.tables.of(kind)?.find(index).unwrap_or_default();
        let after = page.after.unwrap_or_default();
        let params =
            [text(realm.as_str()), text(value), text(&after), number(i64::from(page.limit))];
        let rows = self.pool.ask(sql, &params).await;
        let rows = rows.map_err(|fault| fault.of_reading(kind.name, value))?;
        rows.iter().map(|row| record(kind, row)).collect()
    }

    async fn scan(
        &self,
        realm: &Realm,
        kind: &'static Kind,
        page: Page,
    ) -> Result<Vec<Record>, StoreError> {
        self.tables.declared.kind(kind)?;
        let table = self.tables.of(kind)?;
        let after = page.after.unwrap_or_default();
        let params = [text(realm.as_str()), text(&after), number(i64::from(page.limit))];
        let rows = self.pool.ask(&table.scan, &params).await;
        let rows = rows.map_err(|fault| fault.of_reading(kind.name, &after))?;
        rows.iter().map(|row| record(kind, row)).collect()
    }

    /// Drops the partitions of days before `today`; answers how many records went with them.
    async fn drop_days(&self, today: u32) -> Result<u64, StoreError> {
        let mut gone = 0;
        for table in self.tables.all().filter(|table| table.by_day()) {
            let kind = table.kind.name;
            let days = "SELECT substring(inhrelid::regclass::text FROM '[0-9]+$')::integer \
                        FROM pg_inherits WHERE inhparent = to_regclass('tegata.' || $1)";
            let rows = self.pool.ask(days, &[text(&table.name)]).await;
            for row in rows.map_err(|fault| fault.of_reading(kind, ""))? {
                // A partition without a day in its name is not ours.
                let past = field::<Option<i32>>(&row, 0, kind, "")?;
                let Some(past) = past.filter(|day| i64::from(*day) < i64::from(today)) else {
                    continue;
                };
                let params = [text(&table.name), small(past)];
                let sql = "SELECT COALESCE(tegata.drop_day($1, $2), 0)";
                let dropped = self.pool.ask(sql, &params).await;
                let dropped = dropped.map_err(|fault| fault.of_writing(kind, ""))?;
                gone += count(dropped.first(), kind)?;
            }
        }
        Ok(gone)
    }
}

/// A record as a row holds it: key, version, whether sealed, body.
fn record(kind: &'static Kind, row: &Row) -> Result<Record, StoreError> {
    let kind = kind.name;
    let key = field::<String>(row, 0, kind, "")?;
    let version = field::<i64>(row, 1, kind, &key)?;
    let version = u64::try_from(version).or_else(|_| corrupt(kind, &key, "its version"))?;
    let sealed = field::<bool>(row, 2, kind, &key)?;
    let body = field::<Vec<u8>>(row, 3, kind, &key)?;
    let body = if sealed { Body::Sealed(body) } else { Body::Plain(body) };
    Ok(Record { key, version, body })
}

/// A column of a row.
pub(super) fn field<'a, T: FromSql<'a>>(
    row: &'a Row,
    column: usize,
    kind: &'static str,
    key: &str,
) -> Result<T, StoreError> {
    row.try_get(column).or_else(|_| corrupt(kind, key, &format!("column {column}")))
}

/// The count that a statement answers.
pub(super) fn count(row: Option<&Row>, kind: &'static str) -> Result<u64, StoreError> {
    let count = row.map_or(Ok(0), |row| field::<i64>(row, 0, kind, ""))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(super) fn corrupt<T>(kind: &'static str, key: &str, what: &str) -> Result<T, StoreError> {
    let detail = format!("{what} is not what it should be");
    Err(StoreError::Corrupt { backend: BACKEND, kind, key: key.to_owned(), detail })
}

impl Records for PostgresRecords {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.0.load(realm, kind, key))
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.0.find(realm, kind, index, value, page))
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.0.scan(realm, kind, page))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(self.0.commit(batch))
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        Box::pin(self.0.pull(log, after, limit))
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        Box::pin(self.0.sequence(log, node))
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut gone = self.0.drop_days(now.day()).await?;
            for log in Log::ALL {
                gone += self.0.trim(log, logs_before).await?;
            }
            Ok(gone)
        })
    }
}
