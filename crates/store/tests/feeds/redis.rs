//! Redis Streams: what outsiders find, and what becomes of subscribers when a stream is cut, emptied
//! or replaced.

use std::sync::Arc;

use tegata_core::{Feed, Node, port::Topic};
use tegata_engines::{
    RedisSentinels, RedisServer,
    process::free_port,
    redis::{Answer, PASSWORD},
};
use tegata_store::{RedisFeed, RedisFeedConfig, RedisFeedRefused};

use super::support::*;

const STREAM: &str = "auth-revocations";

/// The entries of a stream, each with its fields.
fn entries(server: &RedisServer, stream: &str) -> Vec<Vec<(String, String)>> {
    let entries = server.node().ask(&["XRANGE", stream, "-", "+"]).list();
    entries.iter().filter_map(|entry| entry.list().get(1).map(Answer::fields)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outsiders_find_events_together_and_by_type() {
    let server = RedisServer::start();
    let feed = redis(&server.url()).await.unwrap();
    for n in [1, 2, 2] {
        feed.publish(event(n)).await.unwrap();
    }
    let all = entries(&server, "auth-events");
    assert_eq!(all, entries(&server, "auth-events.TOKEN_REVOKED"));
    for (entry, n) in all.iter().zip([1, 2, 2]) {
        let message = event(n);
        let expected = [
            ("id".to_owned(), message.id.unwrap().to_string()),
            ("type".to_owned(), "TOKEN_REVOKED".to_owned()),
            ("body".to_owned(), String::from_utf8(message.body).unwrap()),
        ];
        assert_eq!(*entry, expected);
    }
    assert_eq!(all.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded() {
    let server = RedisServer::start();
    let config = RedisFeedConfig { kept: 100, ..redis_config() };
    let feed = RedisFeed::open(&server.url(), config, &Node::start()).await.unwrap();
    for n in 0..2000 {
        insist(&feed, event(n)).await;
    }
    for stream in ["auth-events", "auth-events.TOKEN_REVOKED"] {
        let length = entries(&server, stream).len();
        assert!((100..400).contains(&length), "{stream} has {length} entries");
    }
}

/// What was cut off before anybody could read it is heard as a gap, also by whoever began with an
/// empty stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_before_it_was_read_is_a_gap() {
    let server = RedisServer::start();
    let config = RedisFeedConfig { kept: 100, waiting: 100_000, ..redis_config() };
    let here = RedisFeed::open(&server.url(), config.clone(), &Node::start()).await.unwrap();
    let there = RedisFeed::open(&server.url(), config, &Node::start()).await.unwrap();
    let mut heard = there.subscribe(Topic::Revocations).await.unwrap();
    for round in 0..3 {
        // More at once than the stream keeps, so that no reader can follow: it sees all or nothing.
        let script = format!(
            "for n = 1, 1000 do redis.call('XADD', '{STREAM}', 'MAXLEN', '100', '*', 'body', \
             '{round}-' .. n) end"
        );
        server.node().ask(&["EVAL", &script, "0"]);
        let (rest, gap) = until(heard.as_mut(), &format!("{round}-1000")).await;
        assert!(gap, "900 messages were missed and nothing tells");
        assert!(rest.len() < 200, "{} messages of 100", rest.len());
        insist(&here, push("whole")).await;
        let (_, gap) = until(heard.as_mut(), "whole").await;
        assert!(!gap, "nothing was missed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_emptied_is_a_gap_and_goes_on() {
    let server = RedisServer::start();
    let feed: Arc<dyn Feed> = Arc::new(redis(&server.url()).await.unwrap());
    let mut heard = feed.subscribe(Topic::Revocations).await.unwrap();
    let ways: [&[&str]; 3] = [&["FLUSHALL"], &["DEL", STREAM], &["XTRIM", STREAM, "MAXLEN", "0"]];
    for (n, way) in ways.into_iter().enumerate() {
        assert!(!until_carried(feed.clone(), heard.as_mut(), &format!("before {n}")).await);
        // What was said again is heard before it is gone.
        let mut all = feed.subscribe(Topic::Revocations).await.unwrap();
        insist(feed.as_ref(), push("the last")).await;
        until(all.as_mut(), "the last").await;
        server.node().ask(way);
        until_gap(all.as_mut()).await;
        until_gap(heard.as_mut()).await;
        insist(feed.as_ref(), push(&format!("after {n}"))).await;
        until(all.as_mut(), &format!("after {n}")).await;
        until(heard.as_mut(), &format!("after {n}")).await;
    }
}

/// A server in whose past there are later ids: its clock was ahead, or that of the next one is behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_begins_anew_with_smaller_ids_is_read() {
    let server = RedisServer::start();
    server.node().ask(&["XADD", STREAM, "99999999999999-0", "body", "of the future"]);
    let feed: Arc<dyn Feed> = Arc::new(redis(&server.url()).await.unwrap());
    let mut heard = feed.subscribe(Topic::Revocations).await.unwrap();
    server.node().ask(&["DEL", STREAM]);
    insist(feed.as_ref(), push("said into the gap")).await;
    until_gap(heard.as_mut()).await;
    until_carried(feed.clone(), heard.as_mut(), "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_there_stops_nothing() {
    let server = RedisServer::start();
    let feed = redis(&server.url()).await.unwrap();
    let mut heard = feed.subscribe(Topic::Revocations).await.unwrap();
    server.node().ask(&["XADD", STREAM, "*", "something", "else"]);
    server.node().ask(&["XADD", STREAM, "*", "body", "garbage", "body", "twice"]);
    insist(&feed, push("ours")).await;
    let (others, gap) = until(heard.as_mut(), "ours").await;
    assert!(others.len() <= 1 && !gap);
    // A key of the same name that is no stream is an outage of its topic, until it is removed.
    server.node().ask(&["DEL", STREAM]);
    server.node().ask(&["SET", STREAM, "no stream"]);
    feed.publish(push("nowhere")).await.unwrap_err();
    server.node().ask(&["DEL", STREAM]);
    until_carried(Arc::new(feed), heard.as_mut(), "again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_primary_is_found_and_heard_as_a_gap() {
    let sentinels = RedisSentinels::start();
    let here: Arc<dyn Feed> = Arc::new(redis(&sentinels.url()).await.unwrap());
    let there: Arc<dyn Feed> = Arc::new(redis(&sentinels.url()).await.unwrap());
    let mut heard = there.subscribe(Topic::Revocations).await.unwrap();
    assert!(!until_carried(here.clone(), heard.as_mut(), "before").await);
    sentinels.fail_over();
    assert!(until_carried(here.clone(), heard.as_mut(), "after").await);
    insist(here.as_ref(), event(1)).await;
    soon(async || here.outage().is_none() && there.outage().is_none()).await;
}

/// As after a failover that the first Sentinel did not see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_names_a_primary_that_is_gone_keeps_nobody_away() {
    let sentinels = RedisSentinels::start();
    let (first, nobody) = (&sentinels.sentinels()[0], free_port().to_string());
    first.ask(&["SENTINEL", "REMOVE", RedisSentinels::NAME]);
    first.ask(&["SENTINEL", "MONITOR", RedisSentinels::NAME, "127.0.0.1", &nobody, "2"]);
    let feed: Arc<dyn Feed> = Arc::new(redis(&sentinels.url()).await.unwrap());
    assert_eq!(feed.outage(), None);
    let mut heard = feed.subscribe(Topic::Revocations).await.unwrap();
    until_carried(feed.clone(), heard.as_mut(), "all the same").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_cannot_read_is_an_outage() {
    let server = RedisServer::start();
    let feed = redis(&server.url()).await.unwrap();
    let mut heard = feed.subscribe(Topic::Revocations).await.unwrap();
    assert_eq!(feed.outage(), None);
    server.node().ask(&["ACL", "SETUSER", "tester", "-xread"]);
    soon(async || feed.outage().is_some()).await;
    // Publishing goes on, and says nothing of that.
    feed.publish(push("unheard")).await.unwrap();
    let outage = feed.outage().unwrap();
    assert!(outage.contains(STREAM) && !outage.contains(PASSWORD), "{outage}");
    server.node().ask(&["ACL", "SETUSER", "tester", "+xread"]);
    soon(async || feed.outage().is_none()).await;
    insist(&feed, push("heard")).await;
    until(heard.as_mut(), "heard").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_so() {
    let server = RedisServer::start();
    let port = server.node().port();
    for login in ["", "tester:hunter2@", ":hunter2@"] {
        let refused = redis(&format!("redis://{login}127.0.0.1:{port}")).await;
        let refused = refused.err().expect("it is let in");
        assert!(matches!(refused, RedisFeedRefused::Login { .. }), "{refused}");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
    let refused = redis("redis-cluster://127.0.0.1:1").await.err().expect("it is taken");
    assert!(refused.to_string().contains("a Redis of its own"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_its_own_may_be_named() {
    let server = RedisServer::start();
    let feed = redis(&format!("{}/3", server.url())).await.unwrap();
    feed.publish(event(1)).await.unwrap();
    assert!(entries(&server, "auth-events").is_empty());
    assert_eq!(server.info_of_keys(), "db3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_by_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let _server = RedisServer::told(&format!(
        "tls-port {port}\ntls-cert-file {certificate}\ntls-key-file {key}\ntls-auth-clients no\n"
    ));
    let at = format!("rediss://tester:{PASSWORD}@localhost:{port}");
    let feed = redis(&format!("{at}?sslrootcert={certificate}")).await.unwrap();
    feed.publish(event(1)).await.unwrap();
    // One whom nobody vouches for is not spoken to.
    let doubting = redis(&at).await;
    assert!(doubting.is_err() || doubting.is_ok_and(|feed| feed.outage().is_some()));
}

/// What is asked of the server beside.
trait Keys {
    fn info_of_keys(&self) -> String;
}

impl Keys for RedisServer {
    /// The databases that hold something.
    fn info_of_keys(&self) -> String {
        let text = self.node().ask(&["INFO", "keyspace"]).text();
        let databases = text.lines().filter_map(|line| line.split_once(':'));
        databases.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    }
}
