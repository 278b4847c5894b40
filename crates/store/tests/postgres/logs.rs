//! Logs: positions are given, and nothing is passed by, however late a writer commits.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tegata_core::{
    Batch, Entropy as _, EventId, Expect, Log, NodeId, Records, SeededEntropy,
    port::{Positioned, Sequenced},
};
use tegata_engines::PostgresServer;
use tegata_store::Postgres;
use tokio::{sync::watch, task::JoinSet};
use tokio_postgres::Client;

use super::support::*;

const LOG: Log = Log::Revocations;
const END_LEASE: &str = "UPDATE tegata.sequencer SET leased_until = '-infinity'";

/// Leaves an entry and does not commit.
const APPEND_LATE: &str = "BEGIN; SELECT tegata.append_revocations('default', 0, \
    ARRAY['\\x000102030405060708090a0b0c0d0e0f'::bytea], ARRAY['late'::bytea])";

async fn sequenced(postgres: &Postgres) -> u64 {
    match postgres.records().sequence(LOG, NodeId(1)).await.unwrap() {
        Sequenced::Positioned(count) => count,
        other => panic!("{other:?}"),
    }
}

/// Lets the sequencer renew its lease a few times, which is when it notes what it need not look at
/// any more.
async fn renew(postgres: &Postgres, client: &Client) {
    for _ in 0..4 {
        client.batch_execute(END_LEASE).await.unwrap();
        assert_eq!(sequenced(postgres).await, 0);
    }
}

/// How many write at once.
const WRITERS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_misses_nothing_of_writers_that_commit_out_of_order() {
    reads_all_of_writers_that_commit_out_of_order(313).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a hundred thousand entries take minutes; docs/reliability.md says how it is run"]
async fn a_reader_misses_none_of_a_hundred_thousand_that_commit_out_of_order() {
    reads_all_of_writers_that_commit_out_of_order(1563).await;
}

/// [`WRITERS`] hold their transactions open for a while between appending and committing, so that
/// they commit in another order than they began; four nodes compete for the lease; one reads.
async fn reads_all_of_writers_that_commit_out_of_order(each: usize) {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let acknowledged = Arc::new(Mutex::new(Vec::<EventId>::new()));
    let (over, ended) = watch::channel(false);

    let mut sequencers = JoinSet::new();
    for node in 0..4 {
        let (records, ended) = (open(&database.url()).await.records(), ended.clone());
        sequencers.spawn(async move {
            while !*ended.borrow() {
                records.sequence(LOG, NodeId(node)).await.unwrap();
            }
        });
    }
    // The lease ends all the time, so that there is much taking over.
    let (ending, over_yet) = (client(&database.url()).await, ended.clone());
    sequencers.spawn(async move {
        while !*over_yet.borrow() {
            ending.batch_execute(END_LEASE).await.unwrap();
            ending.batch_execute("SELECT pg_sleep(0.002)").await.unwrap();
        }
    });
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (url, acknowledged) = (database.url(), acknowledged.clone());
        writers.spawn(async move {
            let client = client(&url).await;
            let entropy = SeededEntropy::new(writer as u64);
            for n in 0..each {
                let mut random = [0; 1];
                entropy.fill(&mut random);
                let id = id(writer * 10_000 + n);
                let hex = id.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                let delay = f64::from(random[0]) / 25_000.0;
                let append = format!(
                    "BEGIN; SELECT tegata.append_revocations('default', 0, \
                     ARRAY['\\x{hex}'::bytea], ARRAY[''::bytea]); SELECT pg_sleep({delay}); COMMIT"
                );
                client.batch_execute(&append).await.unwrap();
                acknowledged.lock().unwrap().push(id);
            }
        });
    }
    let reader = tokio::spawn({
        let (records, acknowledged) = (postgres.records(), acknowledged.clone());
        async move {
            let (mut seen, mut last, mut accounted) = (HashSet::new(), 0, 0);
            while seen.len() < WRITERS * each {
                let before = acknowledged.lock().unwrap().len();
                let pull = records.pull(LOG, last, 10_000).await.unwrap();
                for Positioned { position, id, .. } in pull.entries {
                    assert_eq!(position, last + 1, "a gap");
                    assert!(seen.insert(id), "an entry came twice");
                    last = position;
                }
                // What was acknowledged before we asked is here, or is said to be waiting.
                if last == pull.head && pull.waiting == Duration::ZERO {
                    for id in &acknowledged.lock().unwrap()[accounted..before] {
                        assert!(seen.contains(id), "an entry is unaccounted for");
                    }
                    accounted = before;
                }
            }
            seen
        }
    });
    writers.join_all().await;
    let seen = tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
    over.send_replace(true);
    sequencers.join_all().await;
    assert_eq!(seen, acknowledged.lock().unwrap().iter().copied().collect());
    assert_eq!(seen.len(), WRITERS * each);
}

#[tokio::test]
async fn a_transaction_held_open_freezes_neither_positions_nor_staleness() {
    one_is_held_open_while_others_commit(0.05).await;
}

#[tokio::test]
#[ignore = "takes a minute; docs/reliability.md says how it is run"]
async fn a_transaction_held_open_for_a_minute_freezes_neither_positions_nor_staleness() {
    one_is_held_open_while_others_commit(60.0).await;
}

/// One transaction is held open for so many seconds at least, while ten others or more append and commit.
async fn one_is_held_open_while_others_commit(seconds: f64) {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let records = postgres.records();
    take_lease(&postgres, 1).await;
    let holder = client(&database.url()).await;
    holder.batch_execute(APPEND_LATE).await.unwrap();

    let began = database.sql("SELECT clock_timestamp()");
    let is_long = format!(
        "SELECT clock_timestamp() - '{began}'::timestamptz >= make_interval(secs => {seconds})"
    );
    let mut many = 0_u32;
    while many < 10 || database.sql(&is_long) != "t" {
        many += 1;
        let entry = entry(usize::try_from(many).unwrap());
        records.commit(note(&many.to_string(), Expect::Absent, "").append(entry)).await.unwrap();
        let waits = records.pull(LOG, 0, 0).await.unwrap();
        assert!(waits.waiting > Duration::ZERO, "what waits is not told");
        assert_eq!(records.sequence(LOG, NodeId(1)).await.unwrap(), Sequenced::Positioned(1));
        let last = u64::from(many);
        let pull = records.pull(LOG, last - 1, 100).await.unwrap();
        assert_eq!((pull.head, pull.waiting), (last, Duration::ZERO));
        assert_eq!(pull.entries.len(), 1);
    }
    // When it commits at last, it is as old as it is, and comes after what has been read.
    holder.batch_execute("COMMIT").await.unwrap();
    let last = u64::from(many);
    let pull = records.pull(LOG, last, 100).await.unwrap();
    assert!(pull.entries.is_empty() && pull.waiting >= Duration::from_secs_f64(seconds));
    assert_eq!(records.sequence(LOG, NodeId(1)).await.unwrap(), Sequenced::Positioned(1));
    let pull = records.pull(LOG, last, 100).await.unwrap();
    assert_eq!(pull.entries.first().map(|entry| entry.position), Some(last + 1));
    assert_eq!(pull.waiting, Duration::ZERO);
}

#[tokio::test]
async fn another_node_takes_over_within_two_seconds() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let records = postgres.records();
    let kept_out = async || {
        take_lease(&postgres, 1).await;
        records.sequence(LOG, NodeId(2)).await.unwrap() == Sequenced::NotOurs
    };
    soon(kept_out).await;
    let left = "SELECT leased_until < clock_timestamp() + interval '1.5 s' \
                FROM tegata.sequencer WHERE log = 'revocations'";
    assert_eq!(database.sql(left), "t");
    records.commit(note("one", Expect::Absent, "").append(entry(1))).await.unwrap();
    // The first is not heard of again.
    soon(async || records.sequence(LOG, NodeId(2)).await.unwrap() == Sequenced::Positioned(1))
        .await;
}

#[tokio::test]
async fn a_lease_from_before_the_clock_was_set_back_is_not_waited_for() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    take_lease(&postgres, 1).await;
    let later = "UPDATE tegata.sequencer SET leased_until = clock_timestamp() + interval '5 min'";
    database.sql(later);
    let sequenced = postgres.records().sequence(LOG, NodeId(2)).await.unwrap();
    assert_eq!(sequenced, Sequenced::Positioned(0));
}

#[tokio::test]
async fn a_sequencer_with_nothing_to_do_writes_nothing() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    take_lease(&postgres, 1).await;
    let client = client(&database.url()).await;
    let version = async || {
        let version = "SELECT xmin::text FROM tegata.sequencer WHERE log = 'revocations'";
        client.query_one(version, &[]).await.unwrap().get::<_, String>(0)
    };
    // But for the lease, which is renewed now and then.
    soon(async || {
        let before = version().await;
        for _ in 0..20 {
            assert_eq!(sequenced(&postgres).await, 0);
        }
        version().await == before
    })
    .await;
}

/// An entry whose number is small, because it was taken long ago, is found however late it commits,
/// and however sure the sequencer is of all that came after it.
#[tokio::test]
async fn the_sequencer_looks_where_a_writer_may_still_commit() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let (holder, client) = (client(&database.url()).await, client(&database.url()).await);
    // Before there is any entry, and so for the very first of them.
    renew(&postgres, &client).await;
    for round in 0..3_u64 {
        holder.batch_execute(APPEND_LATE).await.unwrap();
        for n in 0..3 {
            let entry = entry(usize::try_from(round).unwrap() * 10 + n);
            postgres.records().commit(Batch::new(realm()).append(entry)).await.unwrap();
            assert_eq!(sequenced(&postgres).await, 1);
            renew(&postgres, &client).await;
        }
        let another = format!(
            "UPDATE tegata.revocations_pending SET id = decode(md5('{round}'), 'hex'); COMMIT"
        );
        holder.batch_execute(&another).await.unwrap();
        let pull = postgres.records().pull(LOG, 0, 0).await.unwrap();
        assert!(pull.waiting > Duration::ZERO, "the entry of round {round} is not told of");
        assert_eq!(sequenced(&postgres).await, 1, "the entry of round {round} was passed by");
        renew(&postgres, &client).await;
        assert_eq!(postgres.records().pull(LOG, 0, 0).await.unwrap().head, (round + 1) * 4);
    }
}

/// While somebody keeps a snapshot, what was positioned stays in the way as dead rows.
#[tokio::test]
async fn the_sequencer_does_not_look_where_nothing_can_come_any_more() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let (holder, client) = (client(&database.url()).await, client(&database.url()).await);
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM tegata.revocations_pending";
    holder.batch_execute(snapshot).await.unwrap();
    for n in 0..10 {
        postgres.records().commit(Batch::new(realm()).append(entry(n))).await.unwrap();
    }
    take_lease(&postgres, 1).await;
    renew(&postgres, &client).await;
    let passed = "SELECT done = (SELECT last_value FROM tegata.revocations_seq) \
                  FROM tegata.sequencer WHERE log = 'revocations'";
    // What else this server does may not have ended yet.
    soon(async || {
        renew(&postgres, &client).await;
        client.query_one(passed, &[]).await.unwrap().get::<_, bool>(0)
    })
    .await;
    postgres.records().commit(Batch::new(realm()).append(entry(10))).await.unwrap();
    assert_eq!(whole_log(&postgres, 1).await.entries.len(), 11);
}

#[tokio::test]
async fn a_restore_that_left_numbers_out_hides_nothing() {
    let database = PostgresServer::shared().database();
    let postgres = open(&database.url()).await;
    let client = client(&database.url()).await;
    for n in 0..10 {
        postgres.records().commit(Batch::new(realm()).append(entry(n))).await.unwrap();
    }
    take_lease(&postgres, 1).await;
    soon(async || {
        renew(&postgres, &client).await;
        let passed = "SELECT done > 0 FROM tegata.sequencer WHERE log = 'revocations'";
        client.query_one(passed, &[]).await.unwrap().get::<_, bool>(0)
    })
    .await;
    // The numbers of entries and of transactions are those of another server.
    let restored = "ALTER SEQUENCE tegata.revocations_seq RESTART; \
                    UPDATE tegata.sequencer SET done_when = '9999999999'";
    client.batch_execute(restored).await.unwrap();
    postgres.records().commit(Batch::new(realm()).append(entry(10))).await.unwrap();
    assert_eq!(sequenced(&postgres).await, 1);
    renew(&postgres, &client).await;
    postgres.records().commit(Batch::new(realm()).append(entry(11))).await.unwrap();
    assert_eq!(sequenced(&postgres).await, 1);
    assert_eq!(postgres.records().pull(LOG, 0, 100).await.unwrap().entries.len(), 12);
}
