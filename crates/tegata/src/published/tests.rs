//! Whom clients' addresses have asked, how often, and for how long the answer counts.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tegata_core::{ManualClock, SeededEntropy};

use super::*;

/// Answers everybody the same, with these fields, and counts them.
struct Host {
    base: String,
    asked: Arc<AtomicUsize>,
}

impl Host {
    fn answering(fields: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                     {fields}Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { base, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn asking() -> (Arc<ManualClock>, AskedClients) {
    let clock = Arc::new(ManualClock::default());
    let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
    let limits = TransportLimits { timeout: Duration::from_secs(30), ..TransportLimits::default() };
    (clock, AskedClients::new(Transport::new(limits), node))
}

#[test]
fn json_says_that_it_is() {
    for good in ["application/json", "Application/JSON; charset=utf-8", "application/cimd+json"] {
        assert!(is_json(good), "{good}");
    }
    for bad in ["", "text/html", "text/json", "application/jsonp", "application/octet-stream"] {
        assert!(!is_json(bad), "{bad}");
    }
}

#[tokio::test]
async fn a_document_is_kept_for_as_long_as_is_said_with_it() {
    let (_, clients) = asking();
    for (fields, fresh_for) in [
        ("", None),
        ("Cache-Control: public, max-age=120\r\n", Some(120)),
        ("Cache-Control: max-age=120\r\nAge: 100\r\n", Some(20)),
        ("Cache-Control: max-age=120, no-store\r\n", Some(0)),
    ] {
        let host = Host::answering(fields, "{}");
        let within = AtMost { longest: 100, time: Duration::from_secs(30) };
        let fetched = clients.description(&host.base, within).await.unwrap();
        assert_eq!(fetched.fresh_for, fresh_for.map(Duration::from_secs), "{fields:?}");
    }
}

/// Each address is another key set, and all are at one host.
#[tokio::test]
async fn whoever_invents_addresses_of_keys_has_a_host_asked_so_often() {
    let (clock, clients) = asking();
    let host = Host::answering("", "{\"keys\":[]}");
    let flood = async |word: Word, most: usize| {
        let before = host.asked();
        for n in 0..most {
            let address = format!("{}/{word:?}/{n}", host.base);
            assert!(clients.keys(KeysAt { address: &address, word }, None).await.is_err());
        }
        host.asked() - before
    };
    assert_eq!(flood(Word::Stranger, 100).await, 60);
    // Those that people have agreed to are none of them, and those of operators none of these.
    assert_eq!(flood(Word::Agreed, 700).await, 600);
    assert_eq!(flood(Word::Declared, 100).await, 100);
    clock.advance(Duration::from_secs(60));
    assert_eq!(flood(Word::Stranger, 100).await, 60);
}

#[test]
fn a_host_is_one_however_it_is_written() {
    let node = Node::with(Arc::new(ManualClock::default()), Arc::new(SeededEntropy::new(1)));
    let bounds = Bounds { at_once_of_host: 1, ..Bounds::STRANGERS };
    let gate = Bounded { crowd: Crowd::new(bounds), node };
    let place = gate.admit("app.example");
    assert!(place.is_some());
    for same in ["app.example", "app.example.", "App.Example"] {
        assert!(gate.admit(same).is_none(), "{same}");
    }
}

/// Nobody is asked again a moment after nothing was had, whatever key is looked for.
#[tokio::test]
async fn an_address_that_gave_no_keys_is_left_alone_for_a_moment() {
    let (clock, clients) = asking();
    let host = Host::answering("", "{\"keys\":[]}");
    let at = KeysAt { address: &host.base, word: Word::Stranger };
    for n in 0..20 {
        let kid = n.to_string();
        assert!(clients.keys(at, Some(&kid)).await.is_err());
        assert!(clients.keys_anew(at).await.is_err());
    }
    assert_eq!(host.asked(), 1);
    clock.advance(Duration::from_secs(1));
    assert!(clients.keys(at, None).await.is_err());
    assert_eq!(host.asked(), 2);
}

#[tokio::test]
async fn a_thousand_who_come_first_at_once_ask_once() {
    let (_, clients) = asking();
    let clients = Arc::new(clients);
    let host = Host::answering("", "{\"keys\":[]}");
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (clients, address) = (Arc::clone(&clients), host.base.clone());
        all.spawn(async move {
            let at = KeysAt { address: &address, word: Word::Agreed };
            clients.keys(at, None).await.is_err()
        });
    }
    assert!(all.join_all().await.into_iter().all(|none| none));
    assert_eq!(host.asked(), 1);
}
