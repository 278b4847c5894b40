//! Commits: what is acknowledged has happened, what is refused has not, and nobody guesses.

use std::time::Duration;

use tegata_core::{Batch, CommitRefused, Expect, Records, StoreError, port::Change};
use tegata_engines::PostgresServer;
use tegata_store::PostgresConfig;
use tokio::task::JoinSet;

use super::{
    proxy::{Proxy, Wire},
    support::*,
};

fn short() -> PostgresConfig {
    PostgresConfig { connections: 1, statement: Duration::from_secs(2), ..calm() }
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_it_open_what_happened() {
    let server = PostgresServer::shared();
    let database = server.database();
    let proxy = Proxy::before(server.directory());
    let config = PostgresConfig { connections: 1, ..calm() };
    let postgres = open_with(&proxy.url(&database.url()), config).await.unwrap();
    let records = postgres.records();
    records.commit(note("known", Expect::Absent, "").append(entry(1))).await.unwrap();

    proxy.set(Wire::LosesAnswers);
    let answer = records.commit(note("happened", Expect::Absent, "").append(entry(2))).await;
    assert!(is_indeterminate(&answer), "{answer:?}");
    proxy.set(Wire::Sound);
    let known = || async { records.load(&realm(), &NOTES, "known").await.is_ok() };
    soon(known).await;
    assert_eq!(noted(&postgres, "happened").await, Some((1, String::new())));
    records.commit(note("also known", Expect::Absent, "").append(entry(3))).await.unwrap();

    proxy.set(Wire::LosesQuestions);
    let answer = records.commit(note("did not happen", Expect::Absent, "").append(entry(4))).await;
    assert!(is_indeterminate(&answer), "{answer:?}");
    proxy.set(Wire::Sound);
    soon(known).await;
    assert_eq!(noted(&postgres, "did not happen").await, None);

    let ids = whole_log(&postgres, 1).await.entries.into_iter().map(|entry| entry.id);
    assert_eq!(ids.collect::<Vec<_>>(), [id(1), id(2), id(3)]);
}

#[tokio::test]
async fn what_the_server_refuses_when_it_commits_is_never_acknowledged() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    database.sql(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'too late'; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON tegata.r_note \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()",
    );
    let answer = postgres.records().commit(note("late", Expect::Absent, "").append(entry(1))).await;
    let refused = matches!(answer, Err(CommitRefused::Store(StoreError::Refused { .. })));
    assert!(refused, "{answer:?}");
    assert_eq!(noted(&postgres, "late").await, None);
    assert!(whole_log(&postgres, 1).await.entries.is_empty());
}

#[tokio::test]
async fn a_session_that_is_ended_before_it_is_done_has_done_nothing() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let records = postgres.records();
    records.commit(note("held", Expect::Absent, "")).await.unwrap();
    let holder = client(&database.url()).await;
    holder.batch_execute("BEGIN; SELECT FROM tegata.r_note FOR UPDATE").await.unwrap();

    let commit = tokio::spawn({
        let records = records.clone();
        async move { records.commit(note("held", Expect::Version(1), "changed")).await }
    });
    let waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let observer = client(&database.url()).await;
    soon(async || !observer.query(waiting, &[]).await.unwrap().is_empty()).await;
    let answer = commit.await.unwrap();
    assert!(is_unavailable(&answer), "{answer:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(noted(&postgres, "held").await, Some((1, String::new())));
}

#[tokio::test]
async fn who_waits_too_long_for_a_record_is_told_that_nothing_happened() {
    let database = PostgresServer::shared().database();
    let postgres = open_with(&database.url(), short()).await.unwrap();
    let records = postgres.records();
    records.commit(note("held", Expect::Absent, "")).await.unwrap();
    let holder = client(&database.url()).await;
    holder.batch_execute("BEGIN; SELECT FROM tegata.r_note FOR UPDATE").await.unwrap();
    let answer = records.commit(note("held", Expect::Version(1), "").append(entry(1))).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    records.commit(note("held", Expect::Version(1), "")).await.unwrap();
    assert!(whole_log(&postgres, 1).await.entries.is_empty());
}

#[tokio::test]
async fn a_full_disk_is_named() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    database.sql(
        "CREATE FUNCTION disk() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full', \
                MESSAGE = 'could not extend file: No space left on device'; END $$;
         CREATE TRIGGER disk BEFORE INSERT ON tegata.r_note \
             FOR EACH ROW EXECUTE FUNCTION disk()",
    );
    let answer = postgres.records().commit(note("one", Expect::Absent, "")).await;
    assert!(matches!(answer, Err(CommitRefused::Store(StoreError::Full { .. }))), "{answer:?}");
}

#[tokio::test]
async fn what_is_acknowledged_is_on_disk_whatever_the_database_is_set_to() {
    let database = PostgresServer::shared().database();
    let name = database.sql("SELECT current_database()");
    database.sql(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    database.sql(&format!(
        "ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
    ));
    let postgres = open(&database.url()).await;
    database.sql(
        "CREATE TABLE said (setting text);
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.said VALUES (current_setting('synchronous_commit')),
                                     (current_setting('transaction_isolation'));
             RETURN NEW; END $$;
         CREATE TRIGGER tell BEFORE INSERT ON tegata.r_note \
             FOR EACH ROW EXECUTE FUNCTION tell()",
    );
    postgres.records().commit(note("one", Expect::Absent, "")).await.unwrap();
    assert_eq!(database.sql("SELECT * FROM said"), "on\nread committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_absence_of_a_record_can_be_required() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let absent =
        |key: &str| Change::Require { kind: &NOTES, key: key.to_owned(), expect: Expect::Absent };
    // Each of two requires that there is not what the other makes.
    for round in 0..50 {
        let mut both = JoinSet::new();
        for n in 0..2 {
            let records = postgres.records();
            let (ours, theirs) = (format!("{round}-{n}"), format!("{round}-{}", 1 - n));
            let batch = note(&ours, Expect::Absent, "").with(absent(&theirs));
            both.spawn(async move { records.commit(batch).await });
        }
        let answers = both.join_all().await;
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!(won == 1 && answers.iter().any(is_conflict), "round {round}: {answers:?}");
    }
    assert_eq!(all(&postgres, &NOTES).await.len(), 50, "a requirement left a record behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_the_connection_in_order() {
    let database = PostgresServer::shared().database();
    let config = PostgresConfig { connections: 2, ..calm() };
    let postgres = open_with(&database.url(), config).await.unwrap();
    let records = postgres.records();
    records.commit(note("held", Expect::Absent, "")).await.unwrap();
    let holder = client(&database.url()).await;
    let observer = client(&database.url()).await;
    let connected = async |what: &str| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'tegata' AND {what}"
        );
        observer.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    for _ in 0..3 {
        holder.batch_execute("BEGIN; SELECT FROM tegata.r_note FOR UPDATE").await.unwrap();
        let mut commits = JoinSet::new();
        for _ in 0..2 {
            let records = records.clone();
            let batch = note("held", Expect::Any, "").append(entry(1));
            commits.spawn(async move { records.commit(batch).await });
        }
        soon(async || connected("wait_event_type = 'Lock'").await == 2).await;
        commits.shutdown().await;
        assert_eq!(connected("true").await, 2, "abandoned calls use more than is allowed");
        holder.batch_execute("ROLLBACK").await.unwrap();
        records.load(&realm(), &NOTES, "held").await.unwrap();
        assert_eq!(connected("true").await, 2);
    }
}

#[tokio::test]
async fn a_batch_that_no_statement_can_hold_is_refused() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let batch = |count: usize| {
        let mut batch = Batch::new(realm());
        for n in 0..count {
            batch.changes.extend(note(&n.to_string(), Expect::Absent, "").changes);
            batch.appends.push(entry(n));
        }
        batch
    };
    let refused = postgres.records().commit(batch(2001)).await;
    assert!(matches!(refused, Err(CommitRefused::Store(StoreError::Misused { .. }))));
    postgres.records().commit(batch(2000)).await.unwrap();
    assert_eq!(whole_log(&postgres, 1).await.entries.len(), 2000);
}
