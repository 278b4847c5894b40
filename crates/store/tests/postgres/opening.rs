//! Opening: by several nodes, by releases that differ, of databases that are not fit.

use std::sync::Arc;

use tegata_core::{
    Batch, Expect, Kind, Lifetime, ManualClock, Records, StoreError,
    port::{Body, Change, Page},
};
use tegata_engines::PostgresServer;
use tegata_store::{Postgres, PostgresConfig, PostgresRefused};
use tokio::task::JoinSet;

use super::support::*;

static NEXT_NOTES: Kind =
    Kind { name: "note", indexes: &["owner", "colour"], lifetime: Lifetime::Kept, secret: false };
static NEXT_DAILY: Kind = Kind { indexes: &["owner", "colour"], ..DAILY };
static NEXT: &[&Kind] = &[&NEXT_NOTES, &NEXT_DAILY];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_open_an_empty_database_at_once() {
    let database = PostgresServer::shared().database();
    let mut opening = JoinSet::new();
    for n in 0..12 {
        let url = database.url();
        opening.spawn(async move {
            let postgres = open(&url).await;
            postgres.records().commit(note(&n.to_string(), Expect::Absent, "")).await.unwrap();
        });
    }
    opening.join_all().await;
    assert_eq!(all(&open(&database.url()).await, &NOTES).await.len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_whose_kinds_differ_work_on_one_database() {
    let database = PostgresServer::shared().database();
    let old = open(&database.url()).await.records();
    old.commit(note("before", Expect::Absent, "")).await.unwrap();
    old.commit(put(&DAILY, "1.30000.before", Expect::Absent, "")).await.unwrap();

    let (url, clock) = (database.url(), Arc::new(ManualClock::default()));
    let next = Postgres::open(&url, calm(), NEXT, clock).await.unwrap().records();
    for (kind, key) in [(&NEXT_NOTES, "before"), (&NEXT_DAILY, "1.30000.before")] {
        let change = Change::Put {
            kind,
            key: key.to_owned(),
            expect: Expect::Version(1),
            body: Body::Plain(b"next".to_vec()),
            indexes: vec![("owner", "ben".to_owned()), ("colour", "red".to_owned())],
        };
        next.commit(Batch::new(realm()).with(change)).await.unwrap();
        let page = Page { after: None, limit: 9 };
        let found = next.find(&realm(), kind, "colour", "red", page).await.unwrap();
        assert_eq!(found.len(), 1);
    }
    // The older release still reads and writes, while it is being replaced and after.
    old.commit(note("before", Expect::Version(2), "")).await.unwrap();
    old.commit(put(&DAILY, "1.30000.before", Expect::Version(2), "")).await.unwrap();
    let again = open(&database.url()).await.records();
    again.commit(note("after", Expect::Absent, "")).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid"), "0");
}

#[tokio::test]
async fn a_server_that_waits_for_no_standby_is_refused_where_there_must_be_one() {
    let server = PostgresServer::start();
    let url = server.database().url();
    let needs = || PostgresConfig { needs_standby: true, ..calm() };
    let clock = Arc::new(ManualClock::default());
    let open = async |settings| Postgres::open(&url, settings, KINDS, clock.clone()).await;
    let refused = open(needs()).await.unwrap_err().to_string();
    assert!(refused.contains("ALTER SYSTEM SET synchronous_standby_names"), "{refused}");
    open(calm()).await.unwrap();
    // One that waits is taken, though no standby is there to be waited for.
    server.set("synchronous_standby_names", "ANY 1 (*)");
    let postgres = open(needs()).await.unwrap();
    let waits = postgres.records().commit(note("one", Expect::Absent, "")).await;
    assert!(waits.is_err(), "it was acknowledged without a standby");
}

#[tokio::test]
async fn refuses_a_database_that_a_newer_release_has_changed_for_good() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    database.sql("INSERT INTO tegata.schema (number, oldest) VALUES (98, 1)");
    drop(postgres);
    open(&database.url()).await;
    database.sql("INSERT INTO tegata.schema (number, oldest) VALUES (99, 97)");
    let refused = open_with(&database.url(), calm()).await.unwrap_err();
    assert_eq!(refused, PostgresRefused::Newer { found: 99, oldest: 97, known: 1 });
}

#[tokio::test]
async fn refuses_a_kind_that_was_stored_with_another_lifetime() {
    static NOW_BY_DAY: Kind = Kind { name: "note", ..DAILY };
    let database = PostgresServer::shared().database();
    open(&database.url()).await;
    let clock = Arc::new(ManualClock::default());
    let refused = Postgres::open(&database.url(), calm(), &[&NOW_BY_DAY], clock).await;
    assert!(matches!(refused, Err(PostgresRefused::Unfit { detail }) if detail.contains("`note`")));
}

#[tokio::test]
async fn refuses_a_database_that_cannot_hold_every_text() {
    let database = PostgresServer::shared().database();
    database.sql("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
    let (base, _) =
        database.url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let refused = open_with(&format!("{base}/ascii"), calm()).await;
    assert!(matches!(refused, Err(PostgresRefused::Unfit { detail }) if detail.contains("UTF8")));
}

#[tokio::test]
async fn connects_to_no_server_that_takes_no_writes() {
    let database = PostgresServer::shared().database();
    open(&database.url()).await;
    let name = database.sql("SELECT current_database()");
    database.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    for attributes in ["", "?target_session_attrs=any"] {
        let refused = open_with(&format!("{}{attributes}", database.url()), calm()).await;
        let unavailable = StoreError::Unavailable {
            backend: "PostgreSQL",
            detail: "error connecting to server: database does not allow writes".to_owned(),
        };
        assert_eq!(refused.unwrap_err(), PostgresRefused::Store(unavailable));
    }
}

#[tokio::test]
async fn tells_what_may_pass_from_what_somebody_has_to_mend() {
    let server = PostgresServer::listening("", |data| {
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
    });
    let database = server.database();
    database.sql("ALTER ROLE tester PASSWORD 'right'; CREATE ROLE stranger LOGIN");
    let opened = async |url: &str| match open_with(url, calm()).await {
        Err(PostgresRefused::Store(error)) => error,
        other => panic!("{url}: {other:?}"),
    };
    let by_network = database.url_on("127.0.0.1");
    for (url, code) in [
        (by_network.replace("tester@", "tester:wrong@"), "28P01"),
        (server.named("nothing").url(), "3D000"),
        (database.url().replace("tester@", "stranger@"), "42501"),
    ] {
        let error = opened(&url).await;
        assert!(matches!(error, StoreError::Refused { .. }), "{url}: {error}");
        assert!(error.to_string().contains(code), "{url}: {error}");
    }
    open(&by_network.replace("tester@", "tester:right@")).await;
    // A privilege that is missed later.
    database.sql(
        "GRANT ALL ON SCHEMA tegata TO stranger; \
         GRANT SELECT ON ALL TABLES IN SCHEMA tegata TO stranger",
    );
    let postgres = open(&database.url().replace("tester@", "stranger@")).await;
    database.sql("REVOKE SELECT ON ALL TABLES IN SCHEMA tegata FROM stranger");
    let error = postgres.records().load(&realm(), &NOTES, "one").await;
    assert!(matches!(error, Err(StoreError::Refused { .. })), "{error:?}");
    server.stop();
    let error = opened(&database.url()).await;
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn an_index_that_was_never_finished_is_made_anew() {
    let database = PostgresServer::shared().database();
    open(&database.url()).await;
    let next = || async {
        let clock = Arc::new(ManualClock::default());
        Postgres::open(&database.url(), calm(), NEXT, clock).await.unwrap().records()
    };
    next().await;
    let which = "WHERE indexrelid::regclass::text LIKE 'tegata.r_note_colour_%'";
    let is_valid = format!("SELECT indisvalid FROM pg_index {which}");
    assert_eq!(database.sql(&is_valid), "t");
    database.sql(&format!("UPDATE pg_index SET indisvalid = false {which}"));
    assert_eq!(database.sql(&is_valid), "f");
    next().await;
    assert_eq!(database.sql(&is_valid), "t");
}
