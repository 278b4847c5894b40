//! One connection: its settings, the statements it has prepared, and how one statement is asked.

use std::{
    collections::HashMap,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::TryStreamExt as _;
use parking_lot::Mutex;
use tokio::{task::AbortHandle, time::timeout};
use tokio_postgres::{Client, Config, Row, Statement, error::SqlState, types::ToSql};

use super::{
    PostgresConfig,
    address::Address,
    door::Door,
    fault::{self, Fault},
    param::Param,
    silence::Ear,
};
use tegata_core::StoreError;

/// How many prepared statements a connection keeps. Batches have many shapes; what is beyond this
/// is prepared each time, which costs the server some planning.
const PREPARED: usize = 256;

/// A longer statement is prepared each time: no other batch is likely to be like it.
const PREPARED_LENGTH: usize = 4096;

/// A connection.
pub(super) struct Session {
    /// Where it leads to.
    pub(super) door: Door,
    client: Client,
    driver: AbortHandle,
    prepared: Mutex<HashMap<String, Statement>>,
}

/// Why there is no connection.
pub(super) struct Unreached {
    /// In words.
    pub(super) why: String,
    /// Whether the server is there, and has given out all the connections that it gives.
    pub(super) full: bool,
    /// Whether one of its addresses is there, and refuses us until somebody has mended it.
    pub(super) refused: bool,
}

impl Unreached {
    /// As callers are told.
    pub(super) fn error(self) -> StoreError {
        if self.refused { fault::refused(self.why) } else { fault::unavailable(self.why) }
    }
}

impl Session {
    /// Connects to the first address that takes us and takes writes. Each has its time, so that one
    /// that is dead does not take the time of the next.
    pub(super) async fn connect(
        address: &Address,
        limits: &PostgresConfig,
    ) -> Result<Self, Unreached> {
        let mut unreached =
            Unreached { why: "its name has no address".to_owned(), full: false, refused: false };
        for at in 0..address.hosts() {
            let doors = address.doors(at).await.unwrap_or_else(|error| {
                unreached.why = format!("its name has no address: {error}");
                Vec::new()
            });
            for door in doors {
                let config = address.through(&door, at);
                let connecting = Self::set_up(config, address, door, limits);
                match timeout(address.each, connecting).await {
                    Ok(Ok(session)) => return Ok(session),
                    Ok(Err(error)) => {
                        unreached.full |= error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS);
                        unreached.refused |= !fault::is_away(&error);
                        unreached.why = fault::text(&error);
                    }
                    Err(_) => "it does not answer".clone_into(&mut unreached.why),
                }
            }
        }
        Err(unreached)
    }

    /// Connects, and makes the settings that the adapter relies on.
    async fn set_up(
        config: Config,
        address: &Address,
        door: Door,
        limits: &PostgresConfig,
    ) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = config.connect(address.tls.clone()).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = fault::text(&error), "a connection to PostgreSQL ended");
            }
        });
        let driver = driver.abort_handle();
        let session = Self { door, client, driver, prepared: Mutex::default() };
        session.client.batch_execute(&settings(limits)).await?;
        Ok(session)
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks one statement, and reads its answer to the end, which is when it is committed. Sets
    /// `sent` when the statement may be on its way, and tells `ear` of what is heard meanwhile.
    pub(super) async fn ask(
        &self,
        sql: &str,
        params: &[Param<'_>],
        sent: &AtomicBool,
        ear: &Ear,
    ) -> Result<Vec<Row>, Fault> {
        let statement = self.prepare(sql, params, ear).await?;
        sent.store(true, Ordering::SeqCst);
        let answer = self.answer(statement, sql, params, ear).await;
        if answer.as_ref().is_err_and(Fault::is_forgotten) {
            self.prepared.lock().clear();
        }
        answer
    }

    async fn answer(
        &self,
        statement: Option<Statement>,
        sql: &str,
        params: &[Param<'_>],
        ear: &Ear,
    ) -> Result<Vec<Row>, Fault> {
        let values = params.iter().map(|(value, _)| value.as_ref() as &(dyn ToSql + Sync));
        let asked = match statement {
            Some(statement) => self.client.query_raw(&statement, values).await,
            None => {
                let types = params.iter().map(|(_, kind)| kind.clone());
                self.client.query_typed_raw(sql, values.zip(types)).await
            }
        };
        let mut stream = pin!(asked.map_err(|error| Fault::answering(&error, false))?);
        let mut rows = Vec::new();
        loop {
            match stream.try_next().await {
                Ok(Some(row)) => {
                    ear.hears();
                    rows.push(row);
                }
                Ok(None) => return Ok(rows),
                Err(error) => return Err(Fault::answering(&error, !rows.is_empty())),
            }
        }
    }

    /// The prepared form of a statement, unless so many are prepared already that this one is not.
    async fn prepare(
        &self,
        sql: &str,
        params: &[Param<'_>],
        ear: &Ear,
    ) -> Result<Option<Statement>, Fault> {
        let room = {
            let prepared = self.prepared.lock();
            if let Some(statement) = prepared.get(sql) {
                return Ok(Some(statement.clone()));
            }
            prepared.len() < PREPARED && sql.len() < PREPARED_LENGTH
        };
        if !room {
            return Ok(None);
        }
        let types = params.iter().map(|(_, kind)| kind.clone()).collect::<Vec<_>>();
        let statement = self.client.prepare_typed(sql, &types).await;
        let statement = statement.map_err(|error| Fault::preparing(&error))?;
        ear.hears();
        self.prepared.lock().insert(sql.to_owned(), statement.clone());
        Ok(Some(statement))
    }

    /// Runs statements that take no values: to set things up.
    pub(super) async fn run(&self, sql: &str) -> Result<(), StoreError> {
        let ran = self.client.batch_execute(sql).await;
        ran.map_err(|error| fault::of_setting_up(&error))
    }

    /// Waits until the server has answered all that it was asked.
    pub(super) async fn settle(&self) -> bool {
        self.client.check_connection().await.is_ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A driver that still waits for a server that is gone would wait as long as TCP does.
        self.driver.abort();
    }
}

/// What a session is told before its first use.
fn settings(limits: &PostgresConfig) -> String {
    // The server's deadline comes before ours: then it is the server that says that nothing
    // happened, and not we who do not know.
    // 0 would mean that there is none.
    let statement = (limits.statement.as_millis() * 9 / 10).max(1);
    let lock = (limits.statement.as_millis() * 4 / 10).max(1);
    let standby = if limits.needs_standby { NEEDS_STANDBY } else { "" };
    format!(
        "SET statement_timeout = {statement};
         SET lock_timeout = {lock};
         SET idle_in_transaction_session_timeout = {statement};
         SET client_min_messages = warning;
         -- Whatever others have put into `public` cannot stand in for what we call.
         SET search_path = pg_catalog;
         -- What is acknowledged is on disk, and on the standbys that the server waits for, even
         -- where the server, the database or the role is set to less. `remote_apply` is more.
         SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                               WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false);
         -- `commit` relies on this level.
         SET default_transaction_isolation = 'read committed';
         -- Every statement is written for an index, and planned once. A plan that was made while a
         -- table was empty must not read it from end to end when it is large.
         SET enable_seqscan = off;
         SET enable_bitmapscan = off;
         SET plan_cache_mode = force_generic_plan;
         SET jit = off;
         {standby}"
    )
}

/// Refuses a server that waits for no standby. Of one that waits, nothing is acknowledged while there is
/// none, so how many there are at the moment need not be asked.
const NEEDS_STANDBY: &str = "
    DO $$ BEGIN
        IF pg_catalog.current_setting('synchronous_standby_names') = '' THEN
            RAISE EXCEPTION USING MESSAGE =
                '`synchronous_standby` of `[store]` is `required`, and the server acknowledges what no '
                'standby has: let it wait for one with `ALTER SYSTEM SET synchronous_standby_names = '
                '''ANY 1 (*)''` and `SELECT pg_reload_conf()`';
        END IF;
    END $$;";
