//! What the tests of PostgreSQL share.

use std::{sync::Arc, time::Duration};

use tegata_core::{
    Batch, CommitRefused, EventId, Expect, Kind, Lifetime, Log, ManualClock, NodeId, Realm,
    Records, StoreError,
    port::{Append, Body, Change, Page, Pull},
};
use tegata_store::{Postgres, PostgresConfig, PostgresRefused};
use tokio_postgres::{Client, NoTls};

/// What most tests write.
pub(crate) static NOTES: Kind =
    Kind { name: "note", indexes: &["owner"], lifetime: Lifetime::Kept, secret: false };
/// A kind stored by day; keys are `epoch.day.rest`.
pub(crate) static DAILY: Kind = Kind {
    name: "daily",
    indexes: &["owner"],
    lifetime: Lifetime::ByDay(tegata_core::id::expiry_day),
    secret: false,
};
pub(crate) static KINDS: &[&Kind] = &[&NOTES, &DAILY];

/// Limits that let a machine under load take its time.
pub(crate) fn calm() -> PostgresConfig {
    PostgresConfig {
        connections: 8,
        patience: Duration::from_secs(20),
        connect: Duration::from_secs(10),
        statement: Duration::from_secs(20),
        silence: Duration::from_secs(10),
        ..PostgresConfig::default()
    }
}

/// Opens a database.
pub(crate) async fn open(url: &str) -> Postgres {
    open_with(url, calm()).await.unwrap()
}

/// Opens a database with limits.
pub(crate) async fn open_with(
    url: &str,
    config: PostgresConfig,
) -> Result<Postgres, PostgresRefused> {
    Postgres::open(url, config, KINDS, Arc::new(ManualClock::default())).await
}

/// A connection of the test's own, which can hold a transaction open.
pub(crate) async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn realm() -> Realm {
    Realm::default()
}

pub(crate) fn id(n: usize) -> EventId {
    EventId((n as u128).to_be_bytes())
}

pub(crate) fn put(kind: &'static Kind, key: &str, expect: Expect, body: &str) -> Batch {
    Batch::new(realm()).with(Change::Put {
        kind,
        key: key.to_owned(),
        expect,
        body: Body::Plain(body.into()),
        indexes: vec![("owner", "anna".to_owned())],
    })
}

pub(crate) fn note(key: &str, expect: Expect, body: &str) -> Batch {
    put(&NOTES, key, expect, body)
}

pub(crate) fn entry(n: usize) -> Append {
    Append { log: Log::Revocations, id: id(n), body: b"entry".to_vec() }
}

/// The note under a key, as version and text.
pub(crate) async fn noted(postgres: &Postgres, key: &str) -> Option<(u64, String)> {
    let record = postgres.records().load(&realm(), &NOTES, key).await.unwrap()?;
    match record.body {
        Body::Plain(bytes) => Some((record.version, String::from_utf8(bytes).unwrap())),
        Body::Sealed(_) => panic!("a sealed body"),
    }
}

/// All notes, by key.
pub(crate) async fn all(postgres: &Postgres, kind: &'static Kind) -> Vec<String> {
    let page = Page { after: None, limit: u32::MAX };
    let records = postgres.records().scan(&realm(), kind, page).await.unwrap();
    records.into_iter().map(|record| record.key).collect()
}

/// The whole log, after all that waits has got its position from `node`, which takes over the lease
/// from whoever had it.
pub(crate) async fn whole_log(postgres: &Postgres, node: u64) -> Pull {
    let records = postgres.records();
    take_lease(postgres, node).await;
    loop {
        let pull = records.pull(Log::Revocations, 0, u32::MAX).await.unwrap();
        if pull.waiting == Duration::ZERO {
            return pull;
        }
        records.sequence(Log::Revocations, NodeId(node)).await.unwrap();
    }
}

/// Waits until `node` holds the lease of the sequencer.
pub(crate) async fn take_lease(postgres: &Postgres, node: u64) {
    use tegata_core::port::Sequenced;
    let records = postgres.records();
    soon(async || {
        let sequenced = records.sequence(Log::Revocations, NodeId(node)).await.unwrap();
        sequenced != Sequenced::NotOurs
    })
    .await;
}

/// Waits until a condition holds.
pub(crate) async fn soon(mut holds: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it does not come about");
}

pub(crate) fn is_conflict(answer: &Result<(), CommitRefused>) -> bool {
    matches!(answer, Err(CommitRefused::Conflict { .. }))
}

pub(crate) fn is_unavailable(answer: &Result<(), CommitRefused>) -> bool {
    matches!(answer, Err(CommitRefused::Store(StoreError::Unavailable { .. })))
}

pub(crate) fn is_indeterminate(answer: &Result<(), CommitRefused>) -> bool {
    matches!(answer, Err(CommitRefused::Store(StoreError::Indeterminate { .. })))
}
