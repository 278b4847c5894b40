//! How fast SQLite is on this disk, by hand:
//! `cargo test --release -p tegata-store --test speed -- --ignored --nocapture`.
//! Put `TMPDIR` on the disk that is meant.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "all of this is a measurement, printed for whoever asked for it"
)]

use std::{sync::Arc, time::Duration};

use tegata_core::{
    Batch, Clock as _, EventId, Expect, Kind, Lifetime, Log, Realm, Records, SystemClock,
    port::{Append, Body, Change},
};
use tegata_store::{Sqlite, SqliteConfig, SqliteRecords};
use tokio::task::JoinSet;

static FAMILIES: Kind =
    Kind { name: "family", indexes: &["owner"], lifetime: Lifetime::Kept, secret: false };

fn put(key: &str, expect: Expect, byte: u8) -> Change {
    Change::Put {
        kind: &FAMILIES,
        key: key.to_owned(),
        expect,
        body: Body::Plain(vec![byte; 300]),
        indexes: vec![("owner", format!("owner of {key}"))],
    }
}

async fn commit(records: &SqliteRecords, change: Change, event: Option<u128>) {
    let mut batch = Batch::new(Realm::default()).with(change);
    if let Some(event) = event {
        let id = EventId(event.to_be_bytes());
        batch = batch.append(Append { log: Log::Journal, id, body: vec![7; 200] });
    }
    records.commit(batch).await.unwrap();
}

fn now() -> Duration {
    SystemClock.since_boot().0
}

fn percentiles(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 1000];
    println!("{what}: p50 {:?}, p99 {:?}, max {:?}", at(500), at(990), at(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, in release, when somebody asks"]
async fn how_fast_is_sqlite_here() {
    let directory = tempfile::tempdir().unwrap();
    let (path, clock) = (directory.path().join("speed.db"), Arc::new(SystemClock));
    let sqlite = Sqlite::open(&path, &SqliteConfig::default(), &[&FAMILIES], clock).unwrap();
    let records = sqlite.records();

    for (what, event) in [("lone commit", false), ("lone commit with an event", true)] {
        let mut took = Vec::new();
        for n in 0..5000_u32 {
            let begin = now();
            let event = event.then_some(u128::from(n));
            commit(&records, put("lone", Expect::Any, 1), event).await;
            took.push(now() - begin);
        }
        percentiles(what, took);
    }
    let mut took = Vec::new();
    for _ in 0..20_000 {
        let begin = now();
        records.load(&Realm::default(), &FAMILIES, "lone").await.unwrap();
        took.push(now() - begin);
    }
    percentiles("lone load", took);

    for (what, event) in [("1 change", false), ("1 change and 1 event", true)] {
        for loads in [false, true] {
            let begin = now();
            let mut clients = JoinSet::new();
            for client in 0..64_u32 {
                let records = records.clone();
                clients.spawn(async move {
                    let key = format!("client-{client}-{event}-{loads}");
                    commit(&records, put(&key, Expect::Absent, 0), None).await;
                    for n in 1..=1500_u32 {
                        let mut version = u64::from(n);
                        if loads {
                            let record = records.load(&Realm::default(), &FAMILIES, &key).await;
                            version = record.unwrap().unwrap().version;
                        }
                        let id = u128::from(client * 10_000 + n) << u32::from(loads);
                        let event = event.then_some(id << 32);
                        commit(&records, put(&key, Expect::Version(version), 1), event).await;
                    }
                });
            }
            clients.join_all().await;
            let rate = 64.0 * 1500.0 / (now() - begin).as_secs_f64();
            let loads = if loads { ", each after a load" } else { "" };
            println!("64 clients, {what}{loads}: {rate:.0} commits/s");
        }
    }
}
