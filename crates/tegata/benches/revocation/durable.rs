//! One revocation and many, beside what a disk and a Redis take.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::Command,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use tegata_core::{Batch, Custody, Epoch, Node, Realm, SystemClock, TokenId};
use tegata_engines::process::{Process, Yard, free_port, listens, program};
use tegata_faults::time::Stopwatch;
use tegata_rounds::{Effort, Finding, Findings, median, timed};
use tegata_store::{FileCustody, MemoryFeed, Sealed, Sqlite, SqliteConfig, sealed::DATA_KEYS};
use tegata_token::{Entry, ListId, Revoker, StatusIndex, Target, View};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::world::Alone;

/// How many ask at once, where many do.
const CLIENTS: usize = 64;

/// The rows that are measured here.
pub(crate) const ROWS: &[&str] = &["G16"];

pub(crate) fn measure(effort: Effort, alone: &Alone, findings: &mut Findings) {
    let place = alone.node.directory();
    let (mut file, redis) = (File::create(place.join("synced")).unwrap(), Redis::start());
    let runtime = Runtime::new().unwrap();
    let inner = runtime.block_on(Inner::open(place));
    let mut next = Numbers(1_000_000);
    let mut one = [Vec::new(), Vec::new()];
    let mut many = [Vec::new(), Vec::new()];
    let (mut synced, mut theirs, mut revoked) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let bare: Vec<f64> =
            (0..400).map(|_| timed(|| append(&mut file)).1.as_secs_f64()).collect();
        let bare = median(&bare);
        let count = effort.size(200, 5);
        let tokens = next.tokens(alone, count);
        let mut public = alone.public();
        let times = tokens.iter().map(|token| timed(|| alone.revoke(&mut public, token)).1);
        one[0].push(median(&times.map(|it| it.as_secs_f64()).collect::<Vec<_>>()) / bare);
        one[1].push(median(&runtime.block_on(inner.one_by_one(count))) / bare);
        synced.push(bare);
        revoked.extend(tokens.into_iter().step_by(10));

        let each = effort.size(40, 2);
        let rate = redis.rate(effort.size(40_000, 1000));
        let tokens = next.tokens(alone, CLIENTS * each);
        many[0].push(at_once(alone, &tokens, each) / rate);
        many[1].push(runtime.block_on(inner.at_once(each)) / rate);
        theirs.push(rate);
        revoked.extend(tokens.into_iter().step_by(50));
    }
    let mut gateway = alone.gateway();
    let wrong = revoked.iter().filter(|token| alone.status(&mut gateway, token) != 401).count();
    let (wrong, all) = (u64::try_from(wrong).unwrap(), u64::try_from(revoked.len()).unwrap());
    let [over_http, inside] = one;
    let latency =
        |what, ratios| Finding::new("G16", what, "x").values(ratios).limits(4.0, 2.0, 1.5);
    let bare = median(&synced);
    let told = |ratios: &[f64]| {
        format!("{:.0} µs beside {:.0} µs", median(ratios) * bare * 1e6, bare * 1e6)
    };
    let seen = told(&over_http);
    let what = "a revocation over HTTP, beside `fdatasync`: p50";
    findings.note(latency(what, over_http).seen(seen).checked(wrong, all));
    let seen = told(&inside);
    findings.note(latency("its commit alone, beside `fdatasync`: p50", inside).seen(seen));
    let [over_http, inside] = many;
    let rate = |what, ratios: Vec<f64>| {
        let ours = median(&ratios) * median(&theirs);
        let seen = format!("{ours:.0}/s beside {:.0}/s", median(&theirs));
        Finding::new("G16", what, "x").values(ratios).greater().limits(0.3, 0.6, 0.9).seen(seen)
    };
    let what = "revocations over HTTP, 64 clients, beside Redis with `appendfsync always`";
    findings.note(rate(what, over_http));
    findings.note(rate("their commits alone, 64 at once, beside the same", inside));
}

/// The least that makes a few bytes durable.
fn append(file: &mut File) {
    file.write_all(&[7; 200]).unwrap();
    file.sync_data().unwrap();
}

/// Numbers that no token had before.
struct Numbers(u64);

impl Numbers {
    fn tokens(&mut self, alone: &Alone, many: usize) -> Vec<String> {
        let first = self.0;
        self.0 += u64::try_from(many).unwrap();
        (first..self.0).map(|number| alone.token(number)).collect()
    }
}

/// How many of these are taken back in a second, by so many clients at once.
fn at_once(alone: &Alone, tokens: &[String], each: usize) -> f64 {
    let begin = Barrier::new(CLIENTS + 1);
    let watch = thread::scope(|scope| {
        for own in tokens.chunks(each) {
            let begin = &begin;
            scope.spawn(move || {
                let mut client = alone.public();
                begin.wait();
                for token in own {
                    alone.revoke(&mut client, token);
                }
            });
        }
        begin.wait();
        Stopwatch::start()
    });
    tokens.len() as f64 / watch.read().as_secs_f64()
}

/// The part of the program that commits, on a store of its own beside the node's.
struct Inner {
    node: Node,
    revoker: Revoker,
}

impl Inner {
    async fn open(place: &Path) -> Self {
        let kinds: Vec<_> = tegata_token::KINDS.into_iter().chain([&DATA_KEYS]).collect();
        let (path, settings) = (place.join("inner.db"), SqliteConfig::default());
        let sqlite = Sqlite::open(&path, &settings, &kinds, Arc::new(SystemClock)).unwrap();
        let node = Node::start();
        let key = place.join("root.key");
        let custody: Arc<dyn Custody> = Arc::new(FileCustody::open(&key, &node).unwrap());
        let sealed = Sealed::open(Arc::new(sqlite.records()), custody, &node).await.unwrap();
        let (records, feed) = (Arc::new(sealed), Arc::new(MemoryFeed::new(1024)));
        let view = Arc::new(View::new(node.clone()));
        let revoker = Revoker::new(node.clone(), records, feed, view);
        Self { node, revoker }
    }

    async fn commit(&self) {
        let token = TokenId::generate(Epoch::FIRST, self.node.entropy());
        let (at, until) = (self.node.now(), self.node.now() + Duration::from_secs(3600));
        let list = ListId { epoch: Epoch::FIRST, slot: ListId::slot_at(at), number: 0 };
        let (reason, actor) = ("logout".to_owned(), "system".to_owned());
        let places = vec![StatusIndex { list, index: 1 }];
        let entry = Entry { target: Target::Token(token), places, at, until, reason, actor };
        self.revoker.commit(Batch::new(Realm::default()), vec![entry]).await.unwrap();
    }

    /// How long each takes, in seconds.
    async fn one_by_one(&self, many: usize) -> Vec<f64> {
        let mut all = Vec::new();
        for _ in 0..many {
            let watch = Stopwatch::start();
            self.commit().await;
            all.push(watch.read().as_secs_f64());
        }
        all
    }

    /// How many there are in a second.
    async fn at_once(&self, each: usize) -> f64 {
        let (mut clients, watch) = (JoinSet::new(), Stopwatch::start());
        for _ in 0..CLIENTS {
            let this = Self { node: self.node.clone(), revoker: self.revoker.clone() };
            clients.spawn(async move {
                for _ in 0..each {
                    this.commit().await;
                }
            });
        }
        clients.join_all().await;
        (CLIENTS * each) as f64 / watch.read().as_secs_f64()
    }
}

/// A Redis that is as durable.
struct Redis {
    port: u16,
    _process: Process,
    _yard: Yard,
}

impl Redis {
    fn start() -> Self {
        let yard = Yard::new("durable-redis");
        for number in 0..20 {
            let port = free_port();
            let words = format!(
                "--port {port} --bind 127.0.0.1 --appendonly yes --appendfsync always --save --dir {}",
                yard.path().display()
            );
            let words = words.split(' ').flat_map(|word| match word {
                "--save" => vec!["--save".to_owned(), String::new()],
                word => vec![word.to_owned()],
            });
            let redis = program("redis-server", "redis-server");
            let process = Process::new(&yard, &format!("redis-{number}"), redis, words.collect());
            if process.start(&yard, Duration::from_secs(60), || listens(port)) {
                return Self { port, _process: process, _yard: yard };
            }
            process.kill(&yard);
        }
        panic!("Redis finds no port to listen on");
    }

    /// How many values it keeps in a second, for as many clients.
    fn rate(&self, many: usize) -> f64 {
        let benchmark = program("redis-benchmark", "redis-tools");
        let words = format!(
            "-h 127.0.0.1 -p {} -c {CLIENTS} -n {many} -r 1000000 -d 300 -t set --csv",
            self.port
        );
        let output = Command::new(benchmark).args(words.split(' ')).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = said.lines().find(|line| line.starts_with("\"SET\"")).expect("what Redis does");
        line.split(',').nth(1).unwrap().trim_matches('"').parse().unwrap()
    }
}
