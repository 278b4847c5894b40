//! NATS: who is let in, the stream of events, and what outsiders find in it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
    stream::{Config, StorageType},
};
use futures_util::StreamExt as _;
use tegata_core::{Feed as _, Node, StoreError, port::Topic};
use tegata_engines::NatsServer;
use tegata_store::{NatsConfig, NatsFeed, NatsRefused};
use tokio::sync::watch;

use super::support::*;

const STREAM: &str = "auth-events";

/// The server as somebody else sees it.
async fn outsider(server: &NatsServer) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

/// All entries of the stream: id, subject, body.
async fn replay(server: &NatsServer) -> Vec<(String, String, Vec<u8>)> {
    let stream = outsider(server).await.get_stream(STREAM).await.unwrap();
    let expected = stream.cached_info().state.messages;
    let config = pull::Config {
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let mut replayed = Vec::new();
    while (replayed.len() as u64) < expected {
        let message = messages.next().await.unwrap().unwrap();
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
        let id = id.map(ToString::to_string).unwrap_or_default();
        replayed.push((id, message.subject.to_string(), message.payload.to_vec()));
    }
    replayed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outsiders_find_each_event_once_under_its_type() {
    let server = NatsServer::start();
    let (here, there) = (nats(&server.url()).await.unwrap(), nats(&server.url()).await.unwrap());
    for n in 0..20 {
        for feed in [&here, &there, &here] {
            feed.publish(event(n)).await.unwrap();
        }
    }
    let replayed = replay(&server).await;
    assert_eq!(replayed.len(), 20, "an event that was said again was kept again");
    for (n, (id, subject, body)) in (0..).zip(replayed) {
        let message = event(n);
        assert_eq!(id, message.id.unwrap().to_string());
        assert_eq!(subject, "auth-events.TOKEN_REVOKED");
        assert_eq!(body, message.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_ok_is_kept_once_however_often_the_server_is_killed() {
    let server = Arc::new(NatsServer::start());
    let config = NatsConfig { answer: Duration::from_secs(2), ..nats_config() };
    let feed = NatsFeed::open(&server.url(), config, &Node::start()).await.unwrap();
    let (over, ended) = watch::channel(false);
    let kept = AtomicU32::new(0);
    let publishing = async {
        let mut n = 0;
        while !*ended.borrow() {
            n += 1;
            insist(&feed, event(n)).await;
            kept.store(n, Ordering::SeqCst);
        }
    };
    let more = async || {
        let before = kept.load(Ordering::SeqCst);
        soon(async || kept.load(Ordering::SeqCst) > before + 200).await;
    };
    let failing = async {
        for _ in 0..3 {
            more().await;
            let server = server.clone();
            let failed = tokio::task::spawn_blocking(move || {
                server.kill();
                server.launch();
            });
            failed.await.unwrap();
        }
        more().await;
        over.send_replace(true);
    };
    tokio::join!(publishing, failing);
    let mut found = BTreeMap::<String, u32>::new();
    for (id, ..) in replay(&server).await {
        *found.entry(id).or_default() += 1;
    }
    for n in 1..=kept.load(Ordering::SeqCst) {
        let id = event(n).id.unwrap().to_string();
        assert_eq!(found.get(&id), Some(&1), "event {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_gone_is_made_anew() {
    let server = NatsServer::start();
    let feed: Arc<dyn tegata_core::Feed> = Arc::new(nats(&server.url()).await.unwrap());
    let mut heard = feed.subscribe(Topic::Events).await.unwrap();
    feed.publish(event(1)).await.unwrap();
    server.kill();
    server.launch_empty();
    insist(feed.as_ref(), event(2)).await;
    until_gap(heard.as_mut()).await;
    assert_eq!(replay(&server).await.len(), 1);

    outsider(&server).await.delete_stream(STREAM).await.unwrap();
    // We hear events ourselves, so the server does not say that nobody does.
    let refused = feed.publish(event(3)).await;
    assert!(matches!(refused, Err(StoreError::Indeterminate { .. })), "{refused:?}");
    insist(feed.as_ref(), event(3)).await;
    soon(async || feed.outage().is_none()).await;
    assert_eq!(replay(&server).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_gone_unheard_is_made_anew_at_once() {
    let server = NatsServer::start();
    let feed = nats(&server.url()).await.unwrap();
    outsider(&server).await.delete_stream(STREAM).await.unwrap();
    let refused = feed.publish(event(1)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    insist(&feed, event(1)).await;
    assert_eq!(replay(&server).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_somebody_made_keeps_its_bounds() {
    let server = NatsServer::start();
    let theirs = Config {
        name: STREAM.to_owned(),
        subjects: vec!["theirs".to_owned()],
        max_messages: 12,
        storage: StorageType::Memory,
        ..Config::default()
    };
    outsider(&server).await.create_stream(theirs).await.unwrap();
    let feed = nats(&server.url()).await.unwrap();
    feed.publish(event(1)).await.unwrap();
    let stream = outsider(&server).await.get_stream(STREAM).await.unwrap();
    let config = &stream.cached_info().config;
    assert_eq!((config.max_messages, config.storage), (12, StorageType::Memory));
    assert_eq!(config.subjects, ["theirs", "auth-events", "auth-events.>"]);
    assert_eq!(stream.cached_info().state.messages, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_another_name_may_keep_the_events() {
    let server = NatsServer::start();
    let theirs = Config {
        name: "EVERYTHING".to_owned(),
        subjects: vec!["auth-events".to_owned(), "auth-events.>".to_owned()],
        ..Config::default()
    };
    outsider(&server).await.create_stream(theirs).await.unwrap();
    let feed = nats(&server.url()).await.unwrap();
    feed.publish(event(1)).await.unwrap();
    assert_eq!(feed.outage(), None);
    let stream = outsider(&server).await.get_stream("EVERYTHING").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_open_at_once_make_one_stream() {
    let server = NatsServer::start();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = server.url();
        opening.spawn(async move { nats(&url).await.unwrap() });
    }
    for feed in opening.join_all().await {
        feed.publish(event(1)).await.unwrap();
    }
    assert_eq!(replay(&server).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_streams_is_refused_with_how_to_mend_it() {
    let server = NatsServer::told(&[]);
    let refused = nats(&server.url()).await.err().expect("it is taken");
    assert!(matches!(refused, NatsRefused::NoJetStream { .. }), "{refused}");
    assert!(refused.to_string().contains("`nats-server -js`"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_so() {
    let server = NatsServer::told(&["-js", "--user", "tegata", "--pass", "s3:cr@t"]);
    let at = |login: &str| format!("nats://{login}127.0.0.1:{}", server.port());
    for login in ["", "tegata:hunter2@", "hunter2@"] {
        let refused = nats(&at(login)).await.err().expect("it is let in");
        assert!(matches!(refused, NatsRefused::Login { .. }), "{refused}");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
    let feed = nats(&at("tegata:s3%3Acr%40t@")).await.unwrap();
    feed.publish(event(1)).await.unwrap();

    let server = NatsServer::told(&["-js", "--auth", "s3cret"]);
    let url = format!("nats://s3cret@127.0.0.1:{}", server.port());
    nats(&url).await.unwrap().publish(event(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_by_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let words = ["-js", "--tls", "--tlscert", &certificate, "--tlskey", &key];
    let server = NatsServer::told(&words);
    let trusting = format!("tls://localhost:{}?sslrootcert={certificate}", server.port());
    let feed = nats(&trusting).await.unwrap();
    feed.publish(event(1)).await.unwrap();
    let mut heard = feed.subscribe(Topic::Revocations).await.unwrap();
    feed.publish(push("over TLS")).await.unwrap();
    until(heard.as_mut(), "over TLS").await;

    // One whom nobody vouches for is not spoken to.
    let doubting = nats(&format!("tls://localhost:{}", server.port())).await;
    assert!(doubting.is_err_and(|error| matches!(error, NatsRefused::Address { .. })));
}

/// A subscription that is dropped leaves the others as they are, and a topic can be subscribed to
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_come_and_go() {
    let server = NatsServer::start();
    let feed = nats(&server.url()).await.unwrap();
    for n in 0..20 {
        let mut heard = feed.subscribe(Topic::Revocations).await.unwrap();
        feed.publish(push(&n.to_string())).await.unwrap();
        until(heard.as_mut(), &n.to_string()).await;
    }
}
