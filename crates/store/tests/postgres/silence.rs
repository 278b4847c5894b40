//! Silence: connections stay open, and nothing is heard of the server. Who waits is told soon, and
//! whoever is merely slow is not taken for silent.

use std::{net::TcpListener, time::Duration};

use tegata_core::{CommitRefused, Expect, Records, StoreError};
use tegata_engines::{Mode, PostgresDatabase, PostgresServer, Proxy};
use tegata_store::{Postgres, PostgresConfig, PostgresRecords};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout},
};
use tokio_postgres::Client;

use super::support::*;

/// Far less than any other limit of these tests, and more than a busy machine adds.
const TOLD: Duration = Duration::from_secs(5);

/// Limits of which only silence is short.
fn attentive(connections: usize) -> PostgresConfig {
    let silence = PostgresConfig::default().silence;
    PostgresConfig { connections, silence, connect: Duration::from_secs(2), ..calm() }
}

async fn opened(url: &str, config: &PostgresConfig) -> Postgres {
    let postgres = open_with(url, config.clone()).await.unwrap();
    let records = postgres.records();
    soon(async || records.commit(note("held", Expect::Any, "")).await.is_ok()).await;
    postgres
}

/// Holds the note, and all that is kept by day, so that nobody can change or read them.
async fn holder(database: &PostgresDatabase<'_>) -> Client {
    let client = client(&database.url()).await;
    let hold = "BEGIN; SELECT FROM tegata.r_note FOR UPDATE; LOCK TABLE tegata.r_daily";
    client.batch_execute(hold).await.unwrap();
    client
}

/// Lets go of all that is held, after so many seconds.
fn release(holder: Client, after: u32) -> JoinHandle<()> {
    let sql = format!("SELECT pg_sleep({after}); ROLLBACK");
    tokio::spawn(async move { holder.batch_execute(&sql).await.unwrap() })
}

fn change(records: &PostgresRecords) -> JoinHandle<Result<(), CommitRefused>> {
    let records = records.clone();
    tokio::spawn(async move { records.commit(note("held", Expect::Any, "changed")).await })
}

/// Asks for something, which is answered only when it is not held any more.
fn question(records: &PostgresRecords) -> JoinHandle<Result<(), CommitRefused>> {
    let records = records.clone();
    tokio::spawn(async move { Ok(records.load(&realm(), &DAILY, "1.30000.held").await.map(drop)?) })
}

/// Waits until so many statements wait for what is held.
async fn waiting(observer: &Client, count: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE wait_event_type = 'Lock' AND datname = current_database()";
    soon(async || observer.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == count).await;
}

/// How many connections the database has of ours.
async fn connected(observer: &Client) -> i64 {
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tegata' \
                AND datname = current_database()";
    observer.query_one(ours, &[]).await.unwrap().get(0)
}

/// Makes one change after the other, until one is not made.
async fn write_on(records: PostgresRecords, writer: String) -> CommitRefused {
    let mut n = 0;
    loop {
        n += 1;
        let batch = note(&format!("{writer}-{n}"), Expect::Absent, "");
        if let Err(refused) = records.commit(batch).await {
            return refused;
        }
    }
}

async fn told(task: JoinHandle<Result<(), CommitRefused>>) -> Result<(), CommitRefused> {
    timeout(TOLD, task).await.expect("nobody is told").unwrap()
}

/// Waits until many changes at once are made, which is no matter of one connection.
async fn works_again(postgres: &Postgres) {
    let records = postgres.records();
    let works = async || {
        let all: JoinSet<_> = (0..16).map(|_| change(&records)).map(flat).collect();
        all.join_all().await.iter().all(Result::is_ok)
    };
    timeout(TOLD * 2, soon(works)).await.expect("it is not found again");
}

async fn flat<T>(task: JoinHandle<T>) -> T {
    task.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_wait_when_the_server_falls_silent_are_told() {
    let server = PostgresServer::start();
    let database = server.database();
    let postgres = opened(&database.url(), &attentive(4)).await;
    let (observer, records) = (client(&database.url()).await, postgres.records());
    for _ in 0..3 {
        let holder = holder(&database).await;
        let changes = [change(&records), change(&records)];
        let questions = [question(&records), question(&records)];
        waiting(&observer, 4).await;
        let queued: Vec<_> = (0..20).flat_map(|_| [change(&records), question(&records)]).collect();

        server.hold();
        let begun = Instant::now();
        for change in changes {
            let answer = told(change).await;
            assert!(is_indeterminate(&answer), "{answer:?}");
        }
        for unchanged in questions.into_iter().chain(queued) {
            let answer = told(unchanged).await;
            assert!(is_unavailable(&answer), "{answer:?}");
        }
        assert!(begun.elapsed() < TOLD, "some are told late");
        let begun = Instant::now();
        for _ in 0..200 {
            let answer = told(change(&records)).await;
            assert!(is_unavailable(&answer), "{answer:?}");
        }
        assert!(begun.elapsed() < TOLD, "those who come later wait");

        server.go_on();
        let works = async || records.load(&realm(), &NOTES, "again").await.is_ok();
        timeout(TOLD * 2, soon(works)).await.expect("it is not found again");
        release(holder, 0).await.unwrap();
        works_again(&postgres).await;
        soon(async || connected(&observer).await <= 4).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_all_is_noticed_by_those_who_write() {
    let server = PostgresServer::listening("", |_| {});
    let database = server.database();
    let proxy = Proxy::before(server.port());
    let postgres = opened(&database.url_at("127.0.0.1", proxy.port()), &attentive(8)).await;
    for round in 0..5 {
        let mut writers = JoinSet::new();
        for writer in 0..16 {
            writers.spawn(write_on(postgres.records(), format!("{round}-{writer}")));
        }
        let written = async || all(&postgres, &NOTES).await.len() > round * 100;
        soon(written).await;
        proxy.set(Mode::BlackHole);
        let ended = timeout(TOLD, writers.join_all()).await.expect("nobody is told");
        for refused in ended {
            let answer = Err(refused);
            assert!(is_unavailable(&answer) || is_indeterminate(&answer), "{answer:?}");
        }
        proxy.set(Mode::Sound);
        works_again(&postgres).await;
    }
}

#[tokio::test]
async fn one_slow_statement_is_waited_for() {
    let database = PostgresServer::shared().database();
    // With an idle connection beside, and with none.
    for connections in [2, 1] {
        let postgres = opened(&database.url(), &attentive(connections)).await;
        let (records, observer) = (postgres.records(), client(&database.url()).await);
        soon(async || {
            let both = [question(&records), question(&records)];
            for answer in both {
                answer.await.unwrap().unwrap();
            }
            connected(&observer).await == i64::try_from(connections).unwrap()
        })
        .await;
        let holder = holder(&database).await;
        let slow = change(&records);
        waiting(&observer, 1).await;
        release(holder, 3).await.unwrap();
        slow.await.unwrap().unwrap();
        assert!(noted(&postgres, "held").await.unwrap().1 == "changed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slow_statement_among_quick_ones_is_waited_for() {
    let database = PostgresServer::shared().database();
    let postgres = opened(&database.url(), &attentive(4)).await;
    let holder = holder(&database).await;
    let slow = change(&postgres.records());
    waiting(&client(&database.url()).await, 1).await;
    let released = release(holder, 2);
    while !released.is_finished() {
        assert!(noted(&postgres, "held").await.is_some());
    }
    slow.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_is_not_silent() {
    let server = PostgresServer::listening("max_connections = 12", |_| {});
    let database = server.database();
    let postgres = opened(&database.url_on("127.0.0.1"), &attentive(1)).await;
    let holder = holder(&database).await;
    let slow = change(&postgres.records());
    waiting(&client(&database.url()).await, 1).await;
    let mut all = Vec::new();
    soon(async || {
        let connected = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await;
        let Ok((client, connection)) = connected else { return true };
        tokio::spawn(connection);
        all.push(client);
        false
    })
    .await;
    release(holder, 3).await.unwrap();
    slow.await.unwrap().unwrap();

    let slow = question(&postgres.records());
    server.hold();
    // It may have been answered just before.
    let answer = told(slow).await;
    assert!(answer.is_ok() || is_unavailable(&answer), "{answer:?}");
    let answer = told(change(&postgres.records())).await;
    assert!(is_unavailable(&answer) || is_indeterminate(&answer), "{answer:?}");
    server.go_on();
}

#[tokio::test]
async fn only_the_host_that_was_asked_counts() {
    let server = PostgresServer::listening("", |_| {});
    let database = server.database();
    let (proxy, mute) = (Proxy::before(server.port()), TcpListener::bind("127.0.0.1:0").unwrap());
    // The first host never answers, and the third is the same as the second.
    let ports = [mute.local_addr().unwrap().port(), proxy.port(), server.port()];
    let hosts = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let url = format!("postgres://tester@{hosts}/{}", database.name());
    let postgres = opened(&url, &attentive(1)).await;
    let released = holder(&database).await;
    let observer = client(&database.url()).await;
    let slow = change(&postgres.records());
    waiting(&observer, 1).await;
    release(released, 3).await.unwrap();
    slow.await.unwrap().unwrap();

    let released = holder(&database).await;
    let slow = change(&postgres.records());
    waiting(&observer, 1).await;
    proxy.set(Mode::BlackHole);
    let answer = told(slow).await;
    assert!(is_indeterminate(&answer), "{answer:?}");
    release(released, 0).await.unwrap();
    // The first two take their time, and the third is found.
    works_again(&postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_went_away_hold_nobody_up_when_it_speaks_again() {
    let server = PostgresServer::start();
    let database = server.database();
    let postgres = opened(&database.url(), &attentive(3)).await;
    let holder = holder(&database).await;
    let records = postgres.records();
    let abandoned = [change(&records), change(&records), question(&records)];
    waiting(&client(&database.url()).await, 3).await;
    abandoned.iter().for_each(JoinHandle::abort);
    server.hold();
    let answer = told(change(&records)).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    server.go_on();
    let works = async || records.load(&realm(), &NOTES, "again").await.is_ok();
    timeout(TOLD, soon(works)).await.expect("those who went away are in the way");
    release(holder, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_no_silence() {
    let server = PostgresServer::start();
    let database = server.database();
    let config = PostgresConfig { silence: Duration::from_secs(8), ..attentive(4) };
    let postgres = opened(&database.url(), &config).await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let records = postgres.records();
            tokio::spawn(async move {
                for n in 0..300 {
                    records.commit(note(&format!("{writer}-{n}"), Expect::Absent, "")).await?;
                }
                Ok::<_, CommitRefused>(())
            })
        })
        .collect();
    soon(async || all(&postgres, &NOTES).await.len() > 100).await;
    server.hold();
    // Longer than after which a sign of life is asked for.
    timeout(config.silence / 2, std::future::pending::<()>()).await.unwrap_err();
    server.go_on();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_process_that_is_given_no_time_does_not_blame_the_server() {
    let server = PostgresServer::listening("", |_| {});
    let database = server.database();
    let postgres = opened(&database.url_on("127.0.0.1"), &attentive(1)).await;
    let holder = holder(&database).await;
    let slow = change(&postgres.records());
    waiting(&client(&database.url()).await, 1).await;
    let released = release(holder, 4);
    while !released.is_finished() {
        // Nothing in this process is done for a while, and then not much.
        std::thread::park_timeout(Duration::from_millis(300));
        tokio::task::yield_now().await;
    }
    slow.await.unwrap().unwrap();
}

/// What a process that has just begun asks first.
#[tokio::test]
async fn who_comes_while_the_server_is_silent_is_told() {
    let server = PostgresServer::start();
    let database = server.database();
    let config = PostgresConfig { patience: Duration::from_millis(400), ..attentive(4) };
    let first = opened(&database.url(), &config).await;
    let second = open_with(&database.url(), config).await.unwrap();
    server.hold();
    for postgres in [first, second] {
        let loaded = timeout(TOLD, postgres.records().load(&realm(), &NOTES, "held")).await;
        let loaded = loaded.expect("nobody is told");
        assert!(matches!(loaded, Err(StoreError::Unavailable { .. })), "{loaded:?}");
    }
    server.go_on();
}
