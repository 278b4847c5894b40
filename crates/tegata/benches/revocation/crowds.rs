//! What is done once for very many: a Redis that was emptied is filled anew, and all sign-ins of one person end.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::Value;
use tegata_core::{
    Batch, Custody, Epoch, EventId, Log, Node, Realm, Records, SystemClock, UserId, port::Append,
};
use tegata_engines::{Dependencies, EchoServer, EventsKind, Plan, Redis, RedisKind, RedisServer};
use tegata_faults::{
    foreign::{self, counts_everywhere, take_back},
    http::Client,
    stage::{self, Access, PERSON, Stage, WEB},
    time::{Ending, Stopwatch, until},
};
use tegata_rounds::{Effort, Finding, Findings};
use tegata_store::{FileCustody, MemoryFeed, Postgres, PostgresConfig, Sealed, sealed::DATA_KEYS};
use tegata_token::{
    Beginning, Binding, Entry, Families, Indexes, Lifetimes, Revoker, Roots, Scope, Target, View,
    family::Granted,
};
use tokio::runtime::Runtime;

/// The rows that are measured here.
pub(crate) const ROWS: &[&str] = &[REFILL, LOGOUT];

const REFILL: &str = "X4";
const LOGOUT: &str = "C3";

/// How long it may take until very many are known, before anything is measured.
const PATIENCE: Duration = Duration::from_secs(1800);

/// How many of those that are taken back, and that are not, are asked about meanwhile.
const ASKED: usize = 10;

pub(crate) fn measure(
    effort: Effort,
    wants: impl Fn(&str) -> bool,
    program: &Path,
    findings: &mut Findings,
) {
    let runtime = Runtime::new().unwrap();
    if wants(REFILL) {
        refill(effort, program, &runtime, findings);
    }
    if wants(LOGOUT) {
        log_out(effort, program, &runtime, findings);
    }
}

/// A Redis with a million entries of another issuer is emptied, and filled by the node that finds it so.
fn refill(effort: Effort, program: &Path, runtime: &Runtime, findings: &mut Findings) {
    let echo = EchoServer::start();
    let issuer = foreign::issuer(program, echo.port()).unwrap();
    let many = effort.size(1_000_000, 2_000);
    let dependencies = Dependencies { redis: RedisKind::Alone, events: EventsKind::Memory };
    let stage = Stage::set(&foreign::plan(program, &issuer, (1, dependencies), 2 * many)).unwrap();
    let Some(Redis::Alone(redis)) = stage.cluster().redis() else { panic!("no Redis") };
    let mut robot = Client::new(issuer.ports().public);
    let mut issued =
        || -> Vec<Access> { (0..ASKED).map(|_| stage::issued(&mut robot).unwrap()).collect() };
    let (bad, good) = (issued(), issued());
    counts_everywhere(&stage, &good[0]).unwrap();
    bad.iter().for_each(|access| take_back(&stage, access).unwrap());
    runtime.block_on(async {
        let records = sealed(&stage).await;
        fill(records.as_ref(), many).await;
    });
    // With them, what shows that nothing is missing.
    let has_all = || held(redis) > many + ASKED;
    assert!(until(PATIENCE, has_all).is_some(), "Redis is not told: it holds {}", held(redis));
    let mut wrong = asked(&stage, &bad, &good);

    redis.node().ask(&["FLUSHALL"]);
    let (watch, mut looks, ending) = (Stopwatch::start(), 1, Ending::default());
    while !has_all() {
        wrong += asked(&stage, &bad, &good);
        looks += 1;
        assert!(watch.read() < PATIENCE, "Redis is not filled anew: it holds {}", held(redis));
        ending.pass(Duration::from_millis(50));
    }
    let took = watch.read().as_secs_f64();
    let what = format!("Redis, emptied (FLUSHALL), has {many} entries again");
    let seen = format!("beginning with up to 5 s until it is noticed; {:.0}/s", many as f64 / took);
    let finding =
        Finding::new(REFILL, what, "s").values([took]).limits(30.0, 30.0, 10.0).seen(seen);
    let looked = u64::try_from(looks * 2 * ASKED).unwrap();
    findings.note(finding.checked(wrong, looked));
}

/// How many keys a Redis holds.
fn held(redis: &RedisServer) -> usize {
    redis.node().ask(&["DBSIZE"]).text().parse().unwrap_or_default()
}

/// How many of these are answered wrongly.
fn asked(stage: &Stage, bad: &[Access], good: &[Access]) -> u64 {
    let mut gateway = stage.gateway(0);
    let mut wrong = |all: &[Access], right: u16| {
        all.iter().filter(|it| foreign::status(&mut gateway, it) != Some(right)).count()
    };
    u64::try_from(wrong(bad, 401) + wrong(good, 200)).unwrap()
}

/// The store of an installation, as its nodes read it.
async fn sealed(stage: &Stage) -> Arc<dyn Records> {
    let kinds: Vec<_> = tegata_token::KINDS.into_iter().chain([&DATA_KEYS]).collect();
    let (postgres, node) = (stage.cluster().postgres(), Node::start());
    let url = stage.cluster().database().url_at("127.0.0.1", postgres.port());
    let (config, clock) = (PostgresConfig::default(), Arc::new(SystemClock));
    let opened = Postgres::open(&url, config, &kinds, clock).await.unwrap();
    let key = stage.cluster().member(0).node.directory().join("root.key");
    let custody: Arc<dyn Custody> = Arc::new(FileCustody::open(&key, &node).unwrap());
    Arc::new(Sealed::open(Arc::new(opened.records()), custody, &node).await.unwrap())
}

/// Enters as many tokens of the other issuer into the log, each by itself.
async fn fill(records: &dyn Records, many: usize) {
    let node = Node::start();
    let (at, until) = (node.now(), node.now() + Duration::from_secs(86_400));
    let numbers: Vec<usize> = (0..many).collect();
    for part in numbers.chunks(1000) {
        let mut batch = Batch::new(Realm::default());
        for number in part {
            let (issuer, jti) = (foreign::ISSUER.to_owned(), format!("many-{number}"));
            let target = Target::ForeignToken { issuer, jti };
            let (reason, actor) = ("logout".to_owned(), "system".to_owned());
            let entry = Entry { target, places: Vec::new(), at, until, reason, actor };
            let id = EventId::generate(node.entropy());
            batch = batch.append(Append { log: Log::Revocations, id, body: entry.to_bytes() });
        }
        records.commit(batch).await.unwrap();
    }
}

/// Somebody with very many sign-ins loses all of them by one order, on two nodes and PostgreSQL.
fn log_out(effort: Effort, program: &Path, runtime: &Runtime, findings: &mut Findings) {
    let many = effort.size(100_000, 300);
    let dependencies = Dependencies { events: EventsKind::Nats, ..Dependencies::default() };
    let stage = Stage::set(&Plan { dependencies, ..Plan::new(program, 2) }).unwrap();
    let mut public = stage.public(0);
    let code = stage.code(&mut public).unwrap();
    let signed_in = stage::access_in(&stage::redeem(&mut public, &code).unwrap()).unwrap();
    let user = stage::claims(&signed_in.token).unwrap()["sub"].as_str().unwrap().to_owned();
    let tokens = runtime.block_on(async { sign_ins(sealed(&stage).await, &user, many).await });
    // One of them counts, so that they all did.
    let goes_on = stage::refresh(&mut public, tokens.last().unwrap()).unwrap();
    assert_eq!(goes_on.status, 200, "{}", goes_on.text());

    let args = ["revoke", "--user", PERSON.0, "--reason", "test", "--wait", "--format", "json"];
    let watch = Stopwatch::start();
    let done = stage.cluster().member(0).node.run(&args);
    let took = watch.read().as_secs_f64();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let ended = told["proof"]["families"].as_u64().unwrap();
    assert!(ended >= u64::try_from(many).unwrap(), "{told}");
    assert_eq!(told["confirmed"]["by"].as_array().map(Vec::len), Some(2), "{told}");
    let (mut wrong, mut looked) = (0, 0);
    for token in tokens.iter().step_by((many / 100).max(1)) {
        let answer = stage::refresh(&mut stage.public(1), token).unwrap();
        wrong += u64::from(answer.member("error").as_deref() != Some("invalid_grant"));
        looked += 1;
    }
    let what = format!("{many} sign-ins end by one order, on PostgreSQL");
    let seen = format!("{ended} by its proof; {:.0}/s", ended as f64 / took);
    let finding = Finding::new(LOGOUT, what, "s").values([took]).seen(seen);
    findings.note(finding.checked(wrong, looked));
}

/// So many sign-ins of a person, begun together; answers their refresh tokens.
async fn sign_ins(records: Arc<dyn Records>, user: &str, many: usize) -> Vec<String> {
    let (node, realm) = (Node::start(), Realm::default());
    let roots =
        async |purpose| Roots::open(records.as_ref(), &node, &realm, purpose).await.unwrap();
    let (refresh, status) = (roots("refresh").await, roots("status").await);
    let view = Arc::new(View::new(node.clone()));
    let feed = Arc::new(MemoryFeed::new(16));
    let revoker = Revoker::new(node.clone(), Arc::clone(&records), feed, view);
    let indexes = Indexes::new(Arc::clone(&records), node.clone(), Epoch::FIRST, status);
    let lifetimes = Lifetimes::default();
    let store = Arc::clone(&records);
    let families =
        Families::new(node.clone(), Epoch::FIRST, store, refresh, indexes, revoker, lifetimes);
    let mut tokens = Vec::with_capacity(many);
    while tokens.len() < many {
        let mut batch = Batch::new(realm.clone());
        for _ in 0..500.min(many - tokens.len()) {
            let beginning = Beginning {
                client: WEB.0.parse().unwrap(),
                user: UserId::new(user).unwrap(),
                session: None,
                began_in: None,
                ends: None,
                grant: Granted {
                    scope: Scope::new("openid offline_access").unwrap(),
                    audience: vec!["https://api.example".to_owned()],
                    ..Granted::default()
                },
                binding: Binding::Client,
                authority: 1,
                authorized: node.now(),
                as_of: None,
                kid: None,
            };
            let (issue, change) = families.begin(&realm, beginning).await.unwrap();
            batch = batch.with(change);
            tokens.push(issue.refresh_token.expose().clone());
        }
        records.commit(batch).await.unwrap();
    }
    tokens
}
