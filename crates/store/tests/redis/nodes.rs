//! What the nodes of a cluster say, word for word, and what we make of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tegata_core::{
    Ephemeral, Node, Realm, StoreError,
    port::{Put, Space},
};
use tegata_store::{ReadsFrom, Redis, RedisConfig, RedisEphemeral};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

static NOTES: Space = Space { name: "note", indexed: false };

/// How long something may take on a busy machine until the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a node makes of a command.
enum Answer {
    Say(String),
    /// The usual.
    Usual,
    /// Its connection ends.
    Close,
}

fn say(answer: impl Into<String>) -> Answer {
    Answer::Say(answer.into())
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// The first slot, the last, and the nodes that have them.
type Range<'a> = (u16, u16, &'a [(Option<&'a str>, u16)]);

/// What `CLUSTER SLOTS` answers.
fn slots(ranges: &[Range<'_>]) -> String {
    let mut said = format!("*{}\r\n", ranges.len());
    for (first, last, nodes) in ranges {
        said += &format!("*{}\r\n:{first}\r\n:{last}\r\n", 2 + nodes.len());
        for (host, port) in *nodes {
            let host = host.map_or("_\r\n".to_owned(), bulk);
            said += &format!("*4\r\n{host}:{port}\r\n{}*0\r\n", bulk("id"));
        }
    }
    said
}

type Heard = Arc<Mutex<BTreeMap<usize, Vec<Vec<String>>>>>;

/// A node that says what it is told to.
#[derive(Clone)]
struct Fake {
    port: u16,
    /// What it heard on each connection.
    heard: Heard,
}

impl Fake {
    /// One that listens, and says nothing yet.
    async fn bound() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn serve(
        (listener, port): (TcpListener, u16),
        act: impl Fn(&[String], &[Vec<String>]) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let heard = Heard::default();
        let (act, all) = (Arc::new(act), heard.clone());
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(Self::converse(stream, number, port, act.clone(), all.clone()));
            }
        });
        Self { port, heard }
    }

    async fn converse(
        stream: TcpStream,
        number: usize,
        port: u16,
        act: Arc<impl Fn(&[String], &[Vec<String>]) -> Answer>,
        heard: Heard,
    ) {
        let mut stream = BufReader::new(stream);
        while let Some(words) = command(&mut stream).await {
            let answer = {
                let mut heard = heard.lock().unwrap();
                let own = heard.entry(number).or_default();
                let answer = act(&words, own);
                own.push(words.clone());
                answer
            };
            let said = match answer {
                Answer::Say(said) => said,
                Answer::Close => return,
                Answer::Usual => usual(&words, port),
            };
            if stream.get_mut().write_all(said.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// All that it heard that begins so, on whatever connection.
    fn heard(&self, verb: &str) -> usize {
        let heard = self.heard.lock().unwrap();
        heard.values().flatten().filter(|words| words[0] == verb).count()
    }
}

async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..number(stream, '*').await? {
        let mut bytes = vec![0; number(stream, '$').await? + 2];
        stream.read_exact(&mut bytes).await.ok()?;
        bytes.truncate(bytes.len() - 2);
        words.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    Some(words)
}

async fn number(stream: &mut BufReader<TcpStream>, sign: char) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().strip_prefix(sign)?.parse().ok()
}

/// What one says that has all slots, and nothing in them.
fn usual(words: &[String], port: u16) -> String {
    let words = words.iter().map(String::as_str).collect::<Vec<_>>();
    match words[..] {
        ["HELLO", ..] => "%1\r\n+proto\r\n:3\r\n".to_owned(),
        ["INFO", ..] => bulk("run_id:x\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n"),
        ["CLUSTER", "INFO"] => bulk("cluster_state:ok\r\ncluster_current_epoch:1\r\n"),
        ["CLUSTER", "SLOTS"] => slots(&[(0, 16_383, &[(None, port)])]),
        ["CLUSTER", "NODES"] => {
            bulk(&format!("id :{port}@1 myself,master - 0 0 1 connected 0-16383\n"))
        }
        ["GET", ..] => "_\r\n".to_owned(),
        ["EVALSHA", ..] => format!("*1\r\n{}", bulk("won")),
        _ => "+OK\r\n".to_owned(),
    }
}

async fn opened(nodes: &[&Fake], map: &[(&str, u16)]) -> Redis {
    let places = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
    let url = format!("redis-cluster://{}", places.collect::<Vec<_>>().join(","));
    let reached = |(from, port): &(&str, u16)| ((*from).to_owned(), format!("127.0.0.1:{port}"));
    let config = RedisConfig {
        connections: 2,
        timeout: Duration::from_secs(4),
        // Nobody looks while the test counts.
        look: PATIENCE,
        address_map: map.iter().map(reached).collect(),
        ..RedisConfig::default()
    };
    Redis::open(&url, config, &Node::start()).await.unwrap()
}

async fn read(store: &RedisEphemeral, key: &str) -> Result<(), StoreError> {
    store.get(&Realm::default(), &NOTES, key).await.map(drop)
}

fn note(key: &str) -> Put {
    let lifetime = Duration::from_secs(60);
    Put { key: key.to_owned(), value: b"noted".to_vec(), lifetime, index: None }
}

/// Whether this was not heard on the connection before.
fn is_first(verb: &str, before: &[Vec<String>]) -> bool {
    before.iter().all(|words| words[0] != verb)
}

#[tokio::test]
async fn a_change_whose_connection_breaks_is_sent_once_and_a_question_again() {
    let first = Arc::new(Mutex::new(true));
    let node = Fake::serve(Fake::bound().await, move |words, _| match words[0].as_str() {
        "SET" | "EVALSHA" => Answer::Close,
        "GET" if std::mem::take(&mut *first.lock().unwrap()) => Answer::Close,
        _ => Answer::Usual,
    });
    let store = opened(&[&node], &[]).await.ephemeral(ReadsFrom::Primary);
    let realm = Realm::default();
    let is_unknown = |failed: StoreError| matches!(failed, StoreError::Indeterminate { .. });
    assert!(is_unknown(store.put(&realm, &NOTES, note("a")).await.unwrap_err()));
    assert_eq!(node.heard("SET"), 1);
    assert!(is_unknown(store.take(&realm, &NOTES, "a").await.unwrap_err()));
    assert!(is_unknown(store.add(&realm, &NOTES, note("a")).await.unwrap_err()));
    assert!(is_unknown(store.swap(&realm, &NOTES, 1, note("a")).await.unwrap_err()));
    assert_eq!(node.heard("EVALSHA"), 3);
    read(&store, "a").await.unwrap();
    assert_eq!(node.heard("GET"), 2);
}

#[tokio::test]
async fn nodes_that_name_each_other_hold_no_command_for_ever_and_are_not_beset() {
    let (one, two) = (Fake::bound().await, Fake::bound().await);
    let (to_two, to_one) = (two.1, one.1);
    let names = |port: u16| {
        move |words: &[String], _: &[Vec<String>]| match words[0].as_str() {
            "GET" | "SET" => say(format!("-MOVED 1 127.0.0.1:{port}\r\n")),
            _ => Answer::Usual,
        }
    };
    let (one, two) = (Fake::serve(one, names(to_two)), Fake::serve(two, names(to_one)));
    let store = opened(&[&one], &[]).await.ephemeral(ReadsFrom::Primary);
    let realm = Realm::default();
    let put = store.put(&realm, &NOTES, note("a"));
    assert!(timeout(PATIENCE, put).await.unwrap().is_err());
    assert!(read(&store, "a").await.is_err());
    let heard = one.heard("SET") + two.heard("SET");
    assert!((4..400).contains(&heard), "it was sent {heard} times in two seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_be_asked_elsewhere_comes_there_right_after_asking() {
    let (from, to) = (Fake::bound().await, Fake::bound().await);
    let (old, new) = (from.1, to.1);
    // Both say the same, whichever is asked.
    let map = move || slots(&[(0, 8191, &[(None, old)]), (8192, 16_383, &[(None, new)])]);
    let from = Fake::serve(from, move |words, _| match words {
        [verb, what] if verb == "CLUSTER" && what == "SLOTS" => say(map()),
        [verb, ..] if verb == "GET" || verb == "EVALSHA" => {
            say(format!("-ASK 1 127.0.0.1:{new}\r\n"))
        }
        _ => Answer::Usual,
    });
    let to = Fake::serve(to, move |words, _| match words {
        [verb, what] if verb == "CLUSTER" && what == "SLOTS" => say(map()),
        _ => Answer::Usual,
    });
    let store = opened(&[&from], &[]).await.ephemeral(ReadsFrom::Primary);
    let mut asked = JoinSet::new();
    for n in 0..200 {
        let store = store.clone();
        asked.spawn(async move { read(&store, &format!("key-{n}")).await });
    }
    for ended in asked.join_all().await {
        ended.unwrap();
    }
    let asking = to.heard("ASKING");
    assert!(asking > 50 && asking <= from.heard("GET"), "{asking}");
    let heard = to.heard.lock().unwrap();
    for commands in heard.values() {
        for (n, words) in commands.iter().enumerate().filter(|(_, words)| words[0] == "ASKING") {
            assert_eq!(commands[n + 1][0], "GET", "{words:?}");
        }
    }
}

#[tokio::test]
async fn one_that_cannot_do_it_now_is_asked_again() {
    for refusal in ["TRYAGAIN later", "CLUSTERDOWN no", "LOADING soon", "MOVED 1 ?:1"] {
        let times = Arc::new(Mutex::new(0));
        let node = Fake::serve(Fake::bound().await, move |words, _| {
            let mut times = times.lock().unwrap();
            if words[0] == "EVALSHA" && *times < 3 {
                *times += 1;
                return say(format!("-{refusal}\r\n"));
            }
            Answer::Usual
        });
        let store = opened(&[&node], &[]).await.ephemeral(ReadsFrom::Primary);
        assert!(store.add(&Realm::default(), &NOTES, note("a")).await.unwrap(), "{refusal}");
        assert_eq!(node.heard("EVALSHA"), 4, "{refusal}");
    }
}

#[tokio::test]
async fn one_that_tells_of_before_is_not_believed() {
    let (stale, right) = (Fake::bound().await, Fake::bound().await);
    let stale = Fake::serve(stale, |words, _| match words[0].as_str() {
        // It takes itself for the one that has everything, and would take whatever it is given.
        "GET" => say("-ERR nobody asks the one of before\r\n"),
        _ => Answer::Usual,
    });
    let (port, other) = (right.1, stale.port);
    let right = Fake::serve(right, move |words, before| match words {
        [verb, what] if verb == "CLUSTER" && what == "SLOTS" => {
            say(slots(&[(0, 16_383, &[(None, port), (None, other)])]))
        }
        [verb, what] if verb == "CLUSTER" && what == "INFO" => {
            say(bulk("cluster_state:ok\r\ncluster_current_epoch:2\r\n"))
        }
        // Again and again, there is a reason to doubt.
        [verb, ..] if verb == "GET" && before.len() % 2 == 0 => {
            say(format!("-MOVED 1 127.0.0.1:{port}\r\n"))
        }
        _ => Answer::Usual,
    });
    let redis = opened(&[&right, &stale], &[]).await;
    let store = redis.ephemeral(ReadsFrom::Primary);
    for n in 0..300 {
        read(&store, &n.to_string()).await.unwrap();
    }
    assert_eq!(stale.heard("GET"), 0);
    assert!(right.heard("GET") >= 300);
}

#[tokio::test]
async fn one_that_was_taken_out_makes_nothing_forgotten() {
    let (front_is_gone, is_silent) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let silent = is_silent.clone();
    let right = Fake::serve(Fake::bound().await, move |_, _| {
        if silent.load(Ordering::SeqCst) { Answer::Close } else { Answer::Usual }
    });
    let (port, gone) = (right.port, front_is_gone.clone());
    let front = Fake::serve(Fake::bound().await, move |words, _| match words {
        _ if gone.load(Ordering::SeqCst) => Answer::Close,
        [verb, what] if verb == "CLUSTER" && what == "SLOTS" => {
            say(slots(&[(0, 16_383, &[(None, port)])]))
        }
        _ => Answer::Usual,
    });
    // It runs on, in no cluster.
    let out = Fake::serve(Fake::bound().await, |words, _| match words {
        [verb, what] if verb == "CLUSTER" && what == "SLOTS" => say("*0\r\n"),
        [verb, what] if verb == "CLUSTER" && what == "INFO" => {
            say(bulk("cluster_state:fail\r\ncluster_current_epoch:9\r\n"))
        }
        _ => Answer::Usual,
    });
    let store = opened(&[&out, &front], &[]).await.ephemeral(ReadsFrom::Primary);
    read(&store, "a").await.unwrap();
    // Only what was learnt leads to the one that has everything, and that is away for a while.
    front_is_gone.store(true, Ordering::SeqCst);
    is_silent.store(true, Ordering::SeqCst);
    assert!(read(&store, "a").await.is_err());
    is_silent.store(false, Ordering::SeqCst);
    let comes_back = async { while read(&store, "a").await.is_err() {} };
    timeout(PATIENCE, comes_back).await.unwrap();
}

#[tokio::test]
async fn where_none_is_well_the_one_that_knows_most_is_believed() {
    for reversed in [false, true] {
        let telling = |epoch: u32, refuses: bool| {
            move |words: &[String], _: &[Vec<String>]| match words {
                [verb, what] if verb == "CLUSTER" && what == "INFO" => {
                    say(bulk(&format!("cluster_state:fail\r\ncluster_current_epoch:{epoch}\r\n")))
                }
                [verb, ..] if verb == "GET" && refuses => say("-ERR nobody asks this one\r\n"),
                _ => Answer::Usual,
            }
        };
        let less = Fake::serve(Fake::bound().await, telling(2, true));
        let more = Fake::serve(Fake::bound().await, telling(9, false));
        let seeds = if reversed { [&more, &less] } else { [&less, &more] };
        let store = opened(&seeds, &[]).await.ephemeral(ReadsFrom::Primary);
        read(&store, "a").await.unwrap();
        assert_eq!((less.heard("GET"), more.heard("GET")), (0, 1));
    }
}

#[tokio::test]
async fn a_node_is_reached_where_the_configuration_says() {
    let (one, two) = (Fake::bound().await, Fake::bound().await);
    let (port, other) = (one.1, two.1);
    let two = Fake::serve(two, |_, _| Answer::Usual);
    let one = Fake::serve(one, |words, before| match words {
        [verb, what] if verb == "CLUSTER" && what == "SLOTS" => {
            say(slots(&[(0, 16_383, &[(Some("10.255.255.1"), 6379)])]))
        }
        [verb, what] if verb == "CLUSTER" && what == "NODES" => {
            say(bulk("id 10.255.255.1:6379@1 myself,master - 0 0 1 connected 0-16383\n"))
        }
        [verb, ..] if verb == "GET" && is_first("GET", before) => {
            say("-MOVED 1 10.255.255.2:6379\r\n")
        }
        _ => Answer::Usual,
    });
    let map = [("10.255.255.1:6379", port), ("10.255.255.2:6379", other)];
    let redis = opened(&[&one], &map).await;
    assert_eq!(redis.standing().unreachable, None);
    read(&redis.ephemeral(ReadsFrom::Primary), "a").await.unwrap();
    assert_eq!((one.heard("GET"), two.heard("GET")), (1, 1));
}

#[tokio::test]
async fn what_a_replica_does_not_answer_the_primary_does() {
    for refusal in ["MOVED 1 127.0.0.1:1", "LOADING soon", "MASTERDOWN no", "ERR strange"] {
        let (primary, replica) = (Fake::bound().await, Fake::bound().await);
        let (port, other) = (primary.1, replica.1);
        let told = move || say(slots(&[(0, 16_383, &[(None, port), (None, other)])]));
        let primary = Fake::serve(primary, move |words, _| match words {
            [verb, what] if verb == "CLUSTER" && what == "SLOTS" => told(),
            _ => Answer::Usual,
        });
        let (said, refuses) = (format!("-{refusal}\r\n"), Arc::new(Mutex::new(true)));
        let until_then = refuses.clone();
        let replica = Fake::serve(replica, move |words, before| match words {
            [verb, what] if verb == "CLUSTER" && what == "SLOTS" => told(),
            [verb, ..] if verb == "GET" && is_first("READONLY", before) => {
                say("-ERR it was not told\r\n")
            }
            [verb, ..] if verb == "GET" && *until_then.lock().unwrap() => say(said.clone()),
            _ => Answer::Usual,
        });
        let store = opened(&[&primary], &[]).await.ephemeral(ReadsFrom::Replica);
        let recent = async || store.recent(&Realm::default(), &NOTES, "a").await.unwrap();
        recent().await;
        assert_eq!((replica.heard("GET"), primary.heard("GET")), (1, 1), "{refusal}");
        *refuses.lock().unwrap() = false;
        recent().await;
        assert_eq!((replica.heard("GET"), primary.heard("GET")), (2, 1), "{refusal}");
    }
}
