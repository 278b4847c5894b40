//! Outages: the server is killed, stopped, silent; callers are told soon, and it is found again.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tegata_core::{
    Ephemeral, Expect, Realm, Records, StoreError,
    port::{Put, Space},
};
use tegata_engines::PostgresServer;
use tegata_store::{Postgres, PostgresConfig};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    proxy::{Proxy, Wire},
    support::*,
};

static SESSIONS: Space = Space { name: "session", indexed: false };

/// Longer than any answer takes, however busy the machine: only what hangs takes as long.
const HANGING: Duration = Duration::from_secs(30);

/// Limits under which a caller is told soon.
fn impatient() -> PostgresConfig {
    PostgresConfig { patience: Duration::from_millis(100), ..PostgresConfig::default() }
}

/// Commits a note and a log entry again and again; notes what was acknowledged (`true`) and of what
/// nobody knows (`false`).
async fn write_on(
    postgres: Postgres,
    writer: usize,
    ended: watch::Receiver<bool>,
    written: Arc<AtomicUsize>,
) -> (usize, Vec<(usize, bool)>) {
    let (records, mut ledger, mut n) = (postgres.records(), Vec::new(), 0);
    while !*ended.borrow() {
        n += 1;
        let batch = note(&format!("{writer}-{n}"), Expect::Absent, "");
        match records.commit(batch.append(entry(writer * 100_000 + n))).await {
            Ok(()) => {
                written.fetch_add(1, Ordering::SeqCst);
                ledger.push((n, true));
            }
            answer if is_indeterminate(&answer) => ledger.push((n, false)),
            answer => {
                assert!(is_unavailable(&answer), "{answer:?}");
                tokio::task::yield_now().await;
            }
        }
    }
    (writer, ledger)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_server_that_is_killed() {
    let server = PostgresServer::start();
    let database = server.database();
    let url = database.url();
    let config = PostgresConfig { connections: 8, ..impatient() };
    let postgres = open_with(&url, config).await.unwrap();
    let session = Put {
        key: "cookie".to_owned(),
        value: b"session".to_vec(),
        lifetime: Duration::from_secs(60),
        index: None,
    };
    postgres.ephemeral().put(&Realm::default(), &SESSIONS, session).await.unwrap();

    for round in 0..3 {
        let (over, ended) = watch::channel(false);
        let (mut writers, written) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for writer in round * 16..round * 16 + 16 {
            let (ended, written) = (ended.clone(), written.clone());
            writers.spawn(write_on(postgres.clone(), writer, ended, written));
        }
        soon(async || written.load(Ordering::SeqCst) > 300).await;
        server.kill();
        let records = postgres.records();
        soon(async || {
            let answer = timeout(HANGING, records.commit(note("x", Expect::Any, "")));
            answer.await.expect("no answer").is_err()
        })
        .await;
        over.send_replace(true);
        let ledgers = writers.join_all().await;
        server.launch();
        // It is found again without anybody's help.
        soon(async || postgres.records().load(&realm(), &NOTES, "x").await.is_ok()).await;

        let notes = all(&postgres, &NOTES).await.into_iter().collect::<HashSet<_>>();
        let log = whole_log(&postgres, 1).await.entries;
        assert_eq!(log.last().unwrap().position, log.len() as u64);
        let log = log.into_iter().map(|entry| entry.id).collect::<HashSet<_>>();
        for (writer, ledger) in ledgers {
            for (n, acknowledged) in ledger {
                let noted = notes.contains(&format!("{writer}-{n}"));
                let logged = log.contains(&id(writer * 100_000 + n));
                assert_eq!(noted, logged, "a half of {writer}-{n} happened");
                assert!(noted || !acknowledged, "{writer}-{n} was acknowledged and is lost");
            }
        }
    }
    let held = postgres.ephemeral().get(&Realm::default(), &SESSIONS, "cookie").await.unwrap();
    assert_eq!(held.unwrap().value, b"session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_piles_up_while_the_server_is_gone() {
    let server = PostgresServer::start();
    let database = server.database();
    let postgres = open_with(&database.url(), impatient()).await.unwrap();
    postgres.records().commit(note("one", Expect::Absent, "")).await.unwrap();
    server.stop();
    let mut calls = JoinSet::new();
    for n in 0..1000 {
        let records = postgres.records();
        calls.spawn(async move {
            let commit = records.commit(note(&n.to_string(), Expect::Absent, ""));
            timeout(HANGING, commit).await.expect("no answer")
        });
    }
    for answer in calls.join_all().await {
        assert!(is_unavailable(&answer), "{answer:?}");
    }
    server.launch();
    soon(async || postgres.records().load(&realm(), &NOTES, "one").await.is_ok()).await;
    assert_eq!(noted(&postgres, "one").await, Some((1, String::new())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_given_up_and_found_again() {
    let server = PostgresServer::shared();
    let database = server.database();
    let proxy = Proxy::before(server.directory());
    let config = PostgresConfig {
        connections: 4,
        patience: Duration::from_millis(100),
        connect: Duration::from_millis(300),
        statement: Duration::from_millis(300),
        probe: Duration::from_millis(50),
        ..PostgresConfig::default()
    };
    open(&database.url()).await;
    let url = proxy.url(&database.url());
    let mut opened = open_with(&url, config.clone()).await;
    while opened.is_err() {
        opened = open_with(&url, config.clone()).await;
    }
    let postgres = Arc::new(opened.unwrap());
    let records = postgres.records();
    soon(async || records.commit(note("one", Expect::Any, "")).await.is_ok()).await;

    proxy.set(Wire::Silent);
    let silent = records.commit(note("one", Expect::Any, "")).await;
    assert!(is_indeterminate(&silent), "{silent:?}");
    // From now on no call waits for the network longer than its patience.
    let (before, realm) = (proxy.accepted(), realm());
    for _ in 0..200 {
        let loaded = timeout(HANGING, records.load(&realm, &NOTES, "one")).await;
        let loaded = loaded.expect("no answer");
        assert!(matches!(loaded, Err(StoreError::Unavailable { .. })), "{loaded:?}");
    }
    assert!(proxy.accepted() - before < 100, "every call tries to connect by itself");
    proxy.set(Wire::Sound);
    soon(async || records.load(&realm, &NOTES, "one").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_and_waiting_are_bounded() {
    let database = PostgresServer::shared().database();
    let config = PostgresConfig { connections: 3, waiting: 10, ..calm() };
    let postgres = open_with(&database.url(), config).await.unwrap();
    postgres.records().commit(note("held", Expect::Absent, "")).await.unwrap();
    let holder = client(&database.url()).await;
    holder.batch_execute("BEGIN; SELECT FROM tegata.r_note FOR UPDATE").await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let records = postgres.records();
        calls.spawn(async move { records.commit(note("held", Expect::Any, "")).await });
    }
    for _ in 0..37 {
        let refused = calls.join_next().await.unwrap().unwrap();
        assert!(is_unavailable(&refused), "{refused:?}");
    }
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tegata' \
                AND datname = current_database()";
    let observer = client(&database.url()).await;
    let ours = async || observer.query_one(ours, &[]).await.unwrap().get::<_, i64>(0);
    soon(async || ours().await >= 3).await;
    assert_eq!(ours().await, 3);
    holder.batch_execute("ROLLBACK").await.unwrap();
    let answers = calls.join_all().await;
    assert!(answers.len() == 13 && answers.iter().all(Result::is_ok), "{answers:?}");
}

/// A role that may have six connections, while the pool is configured for sixteen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_what_connections_the_server_takes() {
    let database = PostgresServer::shared().database();
    let role = "crowded";
    database.sql(&format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 6"));
    database.sql(&format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO {role}', current_database()); END $$"
    ));
    let url = database.url().replace("tester@", &format!("{role}@"));
    let config = PostgresConfig { connections: 16, ..calm() };
    let postgres = open_with(&url, config).await.unwrap();
    let mut calls = JoinSet::new();
    for n in 0..320 {
        let records = postgres.records();
        calls.spawn(async move { records.commit(note(&n.to_string(), Expect::Absent, "")).await });
    }
    let answers = calls.join_all().await;
    let failed: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert!(failed.is_empty(), "{} of 320: {:?}", failed.len(), failed.first());
    assert_eq!(all(&postgres, &NOTES).await.len(), 320);
}
