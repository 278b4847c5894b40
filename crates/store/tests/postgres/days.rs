//! Kinds stored by day: partitions come when they are needed and go whole.

use tegata_core::{Clock as _, Expect, ManualClock, Records, Timestamp};
use tegata_engines::PostgresServer;
use tokio::task::JoinSet;

use super::support::*;

fn key(day: u32, n: usize) -> String {
    format!("1.{day}.{n}")
}

const PARTITIONS: &str =
    "SELECT count(*) FROM pg_inherits WHERE inhparent = 'tegata.r_daily'::regclass";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_meet_a_new_day_at_once_all_write() {
    let database = PostgresServer::shared().database();
    let nodes = [open(&database.url()).await, open(&database.url()).await];
    let mut writers = JoinSet::new();
    for n in 0..64 {
        let records = nodes[n % 2].records();
        writers.spawn(async move {
            let day = 30_000 + u32::try_from(n % 4).unwrap();
            let batch = put(&DAILY, &key(day, n), Expect::Absent, "").append(entry(n));
            records.commit(batch).await
        });
    }
    assert!(writers.join_all().await.iter().all(Result::is_ok));
    assert_eq!(all(&nodes[0], &DAILY).await.len(), 64);
    assert_eq!(database.sql(PARTITIONS), "4");
    assert_eq!(whole_log(&nodes[0], 1).await.entries.len(), 64);
}

#[tokio::test]
async fn a_day_that_somebody_is_reading_is_dropped_later() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let records = postgres.records();
    let now = ManualClock::default().now();
    let past = key(now.day() - 1, 1);
    records.commit(put(&DAILY, &past, Expect::Absent, "")).await.unwrap();
    let reader = client(&database.url()).await;
    reader.batch_execute("BEGIN; SELECT FROM tegata.r_daily").await.unwrap();
    assert_eq!(records.purge(now, Timestamp::default()).await.unwrap(), 0);
    assert!(records.load(&realm(), &DAILY, &past).await.unwrap().is_some());
    reader.batch_execute("COMMIT").await.unwrap();
    assert_eq!(records.purge(now, Timestamp::default()).await.unwrap(), 1);
    assert_eq!(database.sql(PARTITIONS), "0");
    assert!(records.load(&realm(), &DAILY, &past).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_asked_of_a_day_that_has_no_partition_is_answered() {
    let database = PostgresServer::shared().database();
    let records = open(&database.url()).await.records();
    let missing = key(31_000, 1);
    assert!(records.load(&realm(), &DAILY, &missing).await.unwrap().is_none());
    assert!(is_conflict(&records.commit(put(&DAILY, &missing, Expect::Version(1), "")).await));
    let mut batch = put(&DAILY, &missing, Expect::Any, "");
    batch.changes.insert(
        0,
        tegata_core::port::Change::Require {
            kind: &DAILY,
            key: missing.clone(),
            expect: Expect::Absent,
        },
    );
    records.commit(batch).await.unwrap();
    assert!(records.load(&realm(), &DAILY, &missing).await.unwrap().is_some());
}
