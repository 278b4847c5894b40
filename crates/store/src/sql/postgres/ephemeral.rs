//! `Ephemeral`: one table for all spaces. Expiry is by the clock of the node that asks, and looked
//! at by every question; sweeping only makes room.

use std::sync::Arc;

use tegata_core::{
    Ephemeral, Realm, StoreError, Timestamp,
    port::{BoxFuture, Held, Put, Space, Swap},
};
use tokio_postgres::Row;

use super::{
    Inner,
    fault::Fault,
    logs::{signed, unsigned},
    param::{Param, bytes, maybe_text, number, text},
    records::{count, field},
};
use crate::declared;

const GET: &str = "SELECT revision, value FROM tegata.ephemeral \
    WHERE realm = $1 AND space = $2 AND key = $3 AND expires_at > $4";

/// The index of a dead value does not come back with its key.
const PUT: &str = "INSERT INTO tegata.ephemeral AS e \
        (realm, space, key, revision, value, expires_at, expires_in, index) \
    VALUES ($1, $2, $3, nextval('tegata.revision'), $5, $6, $7, $8) \
    ON CONFLICT (realm, space, key) DO UPDATE \
    SET revision = excluded.revision, value = excluded.value, \
        expires_at = excluded.expires_at, expires_in = excluded.expires_in, \
        index = COALESCE(excluded.index, CASE WHEN e.expires_at > $4 THEN e.index END) \
    RETURNING revision, NULL::bytea";

/// The same where nothing is there. What is dead is as good as nothing; the row is locked before it
/// is looked at, so one of many finds it dead.
const ADD: &str = "INSERT INTO tegata.ephemeral AS e \
        (realm, space, key, revision, value, expires_at, expires_in, index) \
    VALUES ($1, $2, $3, nextval('tegata.revision'), $5, $6, $7, $8) \
    ON CONFLICT (realm, space, key) DO UPDATE \
    SET revision = excluded.revision, value = excluded.value, \
        expires_at = excluded.expires_at, expires_in = excluded.expires_in, \
        index = excluded.index \
    WHERE e.expires_at <= $4 \
    RETURNING revision, NULL::bytea";

const SWAP: &str = "SELECT won, lost, lost_value \
    FROM tegata.swap($1, $2, $3, $9, $4, $5, $6, $7, $8)";

const TAKE: &str = "DELETE FROM tegata.ephemeral \
    WHERE realm = $1 AND space = $2 AND key = $3 RETURNING revision, value, expires_at > $4";

const FIND: &str = "SELECT revision, value, key FROM tegata.ephemeral \
    WHERE realm = $1 AND space = $2 AND index = $3 AND expires_at > $4 AND key > $5 \
    ORDER BY key LIMIT $6";

/// What another is using is left for the next sweep.
const SWEEP: &str = "WITH dead AS ( \
        SELECT realm, space, key FROM tegata.ephemeral \
        WHERE expires_in <= $1 AND expires_at <= $2 LIMIT $3 FOR UPDATE SKIP LOCKED \
    ), gone AS ( \
        DELETE FROM tegata.ephemeral e USING dead d \
        WHERE e.realm = d.realm AND e.space = d.space AND e.key = d.key RETURNING 1 \
    ) SELECT count(*) FROM gone";

/// How many values one step of a sweep removes, and how many steps one sweep takes at most.
const SWEPT_AT_ONCE: i32 = 1000;
const SWEEP_STEPS: u32 = 100;

/// `Ephemeral` in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresEphemeral(pub(super) Arc<Inner>);

impl Inner {
    async fn ask_about(
        &self,
        space: &'static Space,
        key: &str,
        sql: &str,
        params: &[Param<'_>],
        as_error: fn(Fault, &'static str, &str) -> StoreError,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.pool.ask(sql, params).await;
        rows.map_err(|fault| as_error(fault, space.name, key))
    }

    /// Writes a value with `PUT`, `ADD` or `SWAP`.
    async fn write(
        &self,
        realm: &Realm,
        space: &'static Space,
        put: &Put,
        sql: &str,
        expected: Option<u64>,
    ) -> Result<Vec<Row>, StoreError> {
        let now = self.clock.now();
        let until = declared::ephemeral(space, put, now)?;
        let mut params = vec![
            text(realm.as_str()),
            text(space.name),
            text(&put.key),
            number(signed(now.millis())),
            bytes(&put.value),
            number(signed(until.millis())),
            number(signed(ten_minutes(until))),
            maybe_text(put.index.as_deref()),
        ];
        params.extend(expected.map(|revision| number(signed(revision))));
        self.ask_about(space, &put.key, sql, &params, Fault::of_writing).await
    }

    /// What the parameters of the questions about one key begin with.
    fn address<'a>(&self, realm: &'a Realm, space: &'a Space, key: &'a str) -> Vec<Param<'a>> {
        let now = number(signed(self.clock.now().millis()));
        vec![text(realm.as_str()), text(space.name), text(key), now]
    }
}

/// The span of ten minutes that a time lies in.
fn ten_minutes(time: Timestamp) -> u64 {
    time.millis() / 600_000
}

fn held(space: &'static Space, key: &str, row: &Row) -> Result<Held, StoreError> {
    let revision = unsigned(field(row, 0, space.name, key)?);
    Ok(Held { revision, value: field(row, 1, space.name, key)? })
}

impl Ephemeral for PostgresEphemeral {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            declared::held(space, key)?;
            let params = self.0.address(realm, space, key);
            let rows = self.0.ask_about(space, key, GET, &params, Fault::of_reading).await?;
            rows.first().map(|row| held(space, key, row)).transpose()
        })
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.0.write(realm, space, &put, PUT, None).await.map(drop) })
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let rows = self.0.write(realm, space, &put, ADD, None).await?;
            Ok(!rows.is_empty())
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
            let rows = self.0.write(realm, space, &put, SWAP, Some(revision)).await?;
            let Some(row) = rows.first() else { return Ok(Swap::Gone) };
            if let Some(won) = field::<Option<i64>>(row, 0, space.name, &put.key)? {
                return Ok(Swap::Won(unsigned(won)));
            }
            let revision = unsigned(field(row, 1, space.name, &put.key)?);
            Ok(Swap::Lost(Held { revision, value: field(row, 2, space.name, &put.key)? }))
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
            let params = self.0.address(realm, space, key);
            let rows = self.0.ask_about(space, key, TAKE, &params, Fault::of_writing).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            let alive = field::<bool>(row, 2, space.name, key)?;
            if alive { held(space, key, row).map(Some) } else { Ok(None) }
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
            let mut params = self.0.address(realm, space, index);
            params.extend([text(after.unwrap_or_default()), number(i64::from(limit))]);
            let rows = self.0.ask_about(space, index, FIND, &params, Fault::of_reading).await?;
            let found = rows.iter().map(|row| {
                let key = field::<String>(row, 2, space.name, index)?;
                held(space, &key, row).map(|held| (key, held))
            });
            found.collect()
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let now = self.0.clock.now();
            let mut gone = 0;
            for _ in 0..SWEEP_STEPS {
                let params = [
                    number(signed(ten_minutes(now))),
                    number(signed(now.millis())),
                    number(i64::from(SWEPT_AT_ONCE)),
                ];
                let rows = self.0.pool.ask(SWEEP, &params).await;
                let rows = rows.map_err(|fault| fault.of_writing("ephemeral", ""))?;
                let swept = count(rows.first(), "ephemeral")?;
                gone += swept;
                if swept < u64::from(SWEPT_AT_ONCE.unsigned_abs()) {
                    break;
                }
            }
            Ok(gone)
        })
    }
}
