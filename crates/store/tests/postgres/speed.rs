//! How long a commit takes, beside a bare `UPDATE` on a connection of its own.

use std::{collections::BTreeMap, time::Duration};

use tegata_core::{Clock as _, Expect, Records, SystemClock};
use tegata_engines::PostgresServer;

use super::support::*;

const ROUNDS: usize = 60;
const KEYS: usize = 100;

/// Prints the best of many rounds, in which the machine was the least busy with other things.
/// `TMPDIR=/dev/shm` takes the disk out of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, when somebody asks"]
async fn how_long_a_commit_takes_here() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let records = postgres.records();
    let client = client(&database.url()).await;
    let key = |n: usize| format!("key-{n}");
    for n in 0..KEYS {
        records.commit(note(&key(n), Expect::Absent, "")).await.unwrap();
    }
    let update = "UPDATE tegata.r_note SET version = version + 1, body = $3 \
                  WHERE realm = $1 AND key = $2";
    let update = client.prepare(update).await.unwrap();
    let body = "x".repeat(300);

    let mut best = BTreeMap::<&str, Duration>::new();
    let mut measure = |what, begun: tegata_core::SinceBoot| {
        let took = SystemClock.since_boot().since(begun) / u32::try_from(KEYS).unwrap();
        let least = best.entry(what).or_insert(took);
        *least = took.min(*least);
    };
    for round in 0..ROUNDS {
        let begun = SystemClock.since_boot();
        for n in 0..KEYS {
            client.execute(&update, &[&"default", &key(n), &body.as_bytes()]).await.unwrap();
        }
        measure("1. a bare update", begun);
        let version = noted(&postgres, &key(0)).await.unwrap().0;
        for (entries, what) in ["2. a put", "3. and an entry", "4. and two"].iter().enumerate() {
            let expect = Expect::Version(version + entries as u64);
            let begun = SystemClock.since_boot();
            for n in 0..KEYS {
                let mut batch = note(&key(n), expect, &body);
                for entry_number in 0..entries {
                    let number = ((round * 10 + entries) * 10 + entry_number) * KEYS + n;
                    batch = batch.append(entry(number));
                }
                records.commit(batch).await.unwrap();
            }
            measure(what, begun);
        }
        let begun = SystemClock.since_boot();
        for n in 0..KEYS {
            records.commit(note(&key(n), Expect::Version(1), "")).await.unwrap_err();
        }
        measure("5. a put that comes too late", begun);
        let begun = SystemClock.since_boot();
        for n in 0..KEYS {
            records.load(&realm(), &NOTES, &key(n)).await.unwrap();
        }
        measure("6. a load", begun);
    }
    println!("{best:#?}");
}
