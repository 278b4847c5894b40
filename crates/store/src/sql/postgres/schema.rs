//! Makes and completes the tables when a database is opened.
//!
//! The fixed tables grow by numbered migrations; the tables of kinds follow the declarations. Both
//! only ever *expand* what an older release may still be using; what shrinks it comes a release
//! later, in a migration that says so with `oldest`.

use std::{fmt::Write as _, sync::atomic::AtomicBool, time::Duration};

use tegata_core::{Log, StoreError};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    PostgresConfig, PostgresRefused,
    address::Address,
    fault,
    param::text,
    session::{Session, Unreached},
    silence::Ear,
    table::{Table, Tables},
};

/// A step of the fixed tables.
struct Migration {
    number: u32,
    /// The oldest release, by its newest migration, that can work with the database afterwards.
    oldest: u32,
    /// Statements.
    base: &'static str,
    /// Statements for each log, whose name stands for `{log}`.
    log: &'static str,
}

const MIGRATIONS: [Migration; 1] = [Migration {
    number: 1,
    oldest: 1,
    base: include_str!("migrations/0001_base.sql"),
    log: include_str!("migrations/0001_log.sql"),
}];

/// The lock that one node holds while it changes tables. Any number that nobody else uses.
const LOCK: i64 = 0x7465_6761_7461;

/// How long to wait for another node that changes tables.
const PATIENCE: Duration = Duration::from_secs(60);

/// Brings the tables up to date, alone among all nodes.
pub(super) async fn prepare(
    address: &Address,
    limits: &PostgresConfig,
    tables: &Tables,
) -> Result<(), PostgresRefused> {
    let database = Database(Session::connect(address, limits).await.map_err(Unreached::error)?);
    database.check().await?;
    database.lock().await?;
    // Making an index takes as long as it takes; waiting for a table does not, since everybody else
    // would wait behind us.
    database.0.run("SET statement_timeout = 0").await?;
    database.migrate().await?;
    for table in tables.all() {
        database.complete(table).await?;
    }
    // The lock ends with the session.
    Ok(())
}

/// The database while its tables are being changed.
struct Database(Session);

impl Database {
    /// Refuses servers and databases that cannot keep the promises of the ports.
    async fn check(&self) -> Result<(), PostgresRefused> {
        let setting = async |name| self.first("SELECT current_setting($1)", Some(name)).await;
        let version = setting("server_version_num").await?.unwrap_or_default();
        let encoding = setting("server_encoding").await?.unwrap_or_default();
        let fsync = setting("fsync").await?.unwrap_or_default();
        if version.parse::<u32>().is_ok_and(|version| version < 130_000) {
            let detail = format!("the server has version `{version}`, and 13 or later is needed");
            return Err(PostgresRefused::Unfit { detail });
        }
        if encoding != "UTF8" {
            let detail = format!(
                "its encoding is `{encoding}`, and `UTF8` is needed: make it with \
                 `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
            );
            return Err(PostgresRefused::Unfit { detail });
        }
        if fsync != "on" {
            tracing::warn!("the server runs with `fsync = off`: acknowledged changes may be lost");
        }
        Ok(())
    }

    /// Waits until no other node changes tables.
    async fn lock(&self) -> Result<(), PostgresRefused> {
        // Asked again and again, rather than waited for inside the server: a session that waits
        // there holds a snapshot, and `CREATE INDEX CONCURRENTLY` waits for all snapshots to end.
        let mut ticks = interval(Duration::from_millis(50));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let locked = timeout(PATIENCE, async {
            loop {
                ticks.tick().await;
                if self.is(&format!("pg_try_advisory_lock({LOCK})")).await? {
                    return Ok(());
                }
            }
        });
        locked.await.unwrap_or_else(|_| {
            Err(fault::refused("another node has been changing its tables for a minute").into())
        })
    }

    async fn migrate(&self) -> Result<(), PostgresRefused> {
        if !self.is("to_regnamespace('tegata') IS NOT NULL").await? {
            self.0.run("CREATE SCHEMA tegata").await?;
        }
        if !self.is("to_regclass('tegata.schema') IS NOT NULL").await? {
            let table = "CREATE TABLE tegata.schema (number integer PRIMARY KEY, \
                         oldest integer NOT NULL, applied timestamptz NOT NULL DEFAULT now())";
            self.0.run(table).await?;
        }
        let found = self.newest("number").await?;
        let oldest = self.newest("oldest").await?;
        let known = MIGRATIONS.last().map_or(0, |migration| migration.number);
        if oldest > known {
            return Err(PostgresRefused::Newer { found, oldest, known });
        }
        for migration in MIGRATIONS.iter().filter(|migration| migration.number > found) {
            let mut sql = migration.base.to_owned();
            for log in Log::ALL {
                sql.push_str(&migration.log.replace("{log}", log.name()));
            }
            let Migration { number, oldest, .. } = migration;
            let _ = write!(
                sql,
                "INSERT INTO tegata.schema (number, oldest) VALUES ({number}, {oldest});"
            );
            // Sent as one, so all of it happens or nothing.
            self.0.run(&sql).await?;
        }
        Ok(())
    }

    /// Makes the table of a kind, or what it lacks.
    async fn complete(&self, table: &Table) -> Result<(), PostgresRefused> {
        let exists = "SELECT relkind::text FROM pg_class \
                      WHERE oid = to_regclass('tegata.' || $1)";
        let found = self.first(exists, Some(&table.name)).await?;
        let partitioned = found.as_deref() == Some("p");
        match found {
            None => {
                let mut sql = table.make();
                for index in table.kind.indexes {
                    let (name, on) = table.index(index);
                    let _ = write!(sql, "; CREATE INDEX {name} {on}");
                }
                self.0.run(&sql).await?;
            }
            Some(_) if partitioned != table.by_day() => {
                let detail = format!(
                    "`{}` is stored with another lifetime than it is declared with: move its \
                     records into a kind of another name",
                    table.kind.name
                );
                return Err(PostgresRefused::Unfit { detail });
            }
            Some(_) => {
                for index in table.kind.indexes {
                    self.add_index(table, index, partitioned).await?;
                }
            }
        }
        for function in [&table.put, &table.remove, &table.require] {
            let exists = "SELECT proname::text FROM pg_proc WHERE proname = $1 \
                          AND pronamespace = to_regnamespace('tegata')";
            if self.first(exists, Some(&function.name)).await?.is_none() {
                self.0.run(&function.make).await?;
            }
        }
        Ok(())
    }

    /// Adds an index to a table that others are using. An older release does not know it: what that
    /// one writes is found by the value that stood there before, or not at all. So a release that
    /// relies on an index comes after the one that declares it.
    async fn add_index(
        &self,
        table: &Table,
        index: &str,
        partitioned: bool,
    ) -> Result<(), PostgresRefused> {
        let (name, on) = table.index(index);
        let state = "SELECT indisvalid::text FROM pg_index \
                     WHERE indexrelid = to_regclass('tegata.' || $1)";
        match self.first(state, Some(&name)).await?.as_deref() {
            Some("true") => return Ok(()),
            // It was being made when its maker was stopped.
            Some(_) => self.0.run(&format!("DROP INDEX tegata.{name}")).await?,
            None => {}
        }
        let column = format!(
            "ALTER TABLE tegata.{} ADD COLUMN IF NOT EXISTS i_{index} text COLLATE \"C\"",
            table.name
        );
        self.0.run(&column).await?;
        // The table of a day is small; partitioned tables have no other way.
        let way = if partitioned { "" } else { "CONCURRENTLY " };
        self.0.run(&format!("CREATE INDEX {way}{name} {on}")).await?;
        Ok(())
    }

    /// The greatest value of a column of the migrations that were applied.
    async fn newest(&self, column: &str) -> Result<u32, StoreError> {
        let sql = format!("SELECT max({column})::text FROM tegata.schema");
        let newest = self.first(&sql, None).await?;
        Ok(newest.and_then(|newest| newest.parse().ok()).unwrap_or(0))
    }

    /// Whether a condition holds.
    async fn is(&self, condition: &str) -> Result<bool, StoreError> {
        let answer = self.first(&format!("SELECT ({condition})::text"), None).await?;
        Ok(answer.as_deref() == Some("true"))
    }

    /// The first text that a question is answered with.
    async fn first(&self, sql: &str, about: Option<&str>) -> Result<Option<String>, StoreError> {
        let params = about.map(text).into_iter().collect::<Vec<_>>();
        let rows = self.0.ask(sql, &params, &AtomicBool::default(), &Ear::default()).await;
        let rows = rows.map_err(|fault| fault.of_reading("schema", about.unwrap_or_default()))?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok().flatten()))
    }
}
