//! What it costs to learn whose session a request is, by each of the ways that `tegata_sdk::Sessions` has:
//! by the token itself, by the store (SQLite, and Redis in front of it), and by a sidecar in a process of
//! its own (remembered or not, over loopback and over a Unix socket). How long each takes to refuse what was
//! taken back, and what memory each adds to a process.
//!
//! The anchor is a bare request on loopback. SQLite and Redis are real, sessions are sealed in both; the
//! issuer is a fake that tells what is taken back as the real one does. Asking, answering and storing share
//! the machine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark is run by hand, and read"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{
    Form, Json, Router,
    extract::State,
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, Request, header};
use tegata_core::{
    Batch, Clock as _, Epoch, Expect, Node, Realm, Records, Secret, SessionId, Stored as _,
    SystemClock, TokenId, UserId,
};
use tegata_engines::RedisServer;
use tegata_gateway::sidecar;
use tegata_rounds::{Effort, Table, Unit, median, percentile};
use tegata_sdk::{
    Authenticator, Credential, KeySource, Memory, Provider, Revocations, Sessions, Transport,
    TransportLimits, WhenStale,
    authenticate::{KeyRules, memo::MemoLimits},
    sessions::StoredSessions,
    testing::{TestAuthority, server::TestServer},
};
use tegata_session::{
    Binding, Limits, SESSIONS, Session, Standing, reader::Reader, session::Reason,
};
use tegata_store::{
    Cached, CachedConfig, FileCustody, MemoryFeed, MemoryRecords, ReadsFrom, Redis, RedisConfig,
    Sealed, Sqlite, SqliteConfig, sealed::DATA_KEYS,
};
use tegata_token::{Entry, Target, View};
use tokio::{sync::watch, task::JoinSet};

/// How many sessions there are.
const MANY: usize = 1_000;

/// How many ask at once, in the table of rates.
const CLIENTS: usize = 16;

/// Which part this process plays, where it is not the first.
const PART: &str = "TEGATA_BENCH_PART";

/// The directory that all parts share.
const PLACE: &str = "TEGATA_BENCH_PLACE";

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match env::var(PART) {
        Ok(part) => runtime.block_on(play(&part, &Place::read())),
        Err(_) => runtime.block_on(measure(Effort::asked())),
    }
}

/// What all parts know.
#[derive(Clone)]
struct Place {
    directory: PathBuf,
    issuer: String,
    redis: String,
    sidecar: String,
}

impl Place {
    fn read() -> Self {
        let directory = PathBuf::from(env::var(PLACE).unwrap());
        let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        let (issuer, redis, sidecar) = (text("issuer"), text("redis"), text("sidecar"));
        Self { directory, issuer, redis, sidecar }
    }

    fn write(&self) {
        for (name, text) in
            [("issuer", &self.issuer), ("redis", &self.redis), ("sidecar", &self.sidecar)]
        {
            fs::write(self.directory.join(name), text).unwrap();
        }
    }

    fn start(&self, part: &str) -> Child {
        let mut command = Command::new(env::current_exe().unwrap());
        command.env(PART, part).env(PLACE, &self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn keys(&self, node: &Node) -> KeySource {
        let jwks = format!("{}/jwks", self.issuer).parse().unwrap();
        KeySource::fetched(jwks, Transport::default(), node.clone(), KeyRules::default())
    }

    fn revocations(&self, node: &Node) -> Revocations {
        let at = |path: &str| format!("{}{path}", self.issuer).parse().unwrap();
        let credential = Credential::secret("orders", Secret::new("secret".to_owned()));
        let provider =
            Provider::new(at("/oauth2/token"), credential, Transport::default(), node.clone());
        let endpoint = at("/oauth2/revocations");
        Revocations::of(TestAuthority::ISSUER, endpoint, provider, self.keys(node))
    }

    /// An authenticator that follows the issuer, and has heard of it. `tokens`: how many it remembers.
    async fn authenticator(&self, tokens: usize) -> (Authenticator, Revocations) {
        let node = Node::start();
        let revocations = self.revocations(&node);
        revocations.ask(Duration::ZERO).await.unwrap();
        tokio::spawn(revocations.clone().follow());
        let authenticator = Authenticator::of("orders")
            .trusting(TestAuthority::ISSUER, self.keys(&node))
            .refusing(&revocations, WhenStale::Within(Duration::from_secs(60)))
            .remembering(Memory { tokens, ..Memory::default() })
            .on(node);
        (authenticator, revocations)
    }

    /// The store: SQLite alone, or with Redis in front of it.
    async fn records(&self, with_redis: bool) -> Arc<dyn Records> {
        let node = Node::start();
        let kinds = [&SESSIONS, &DATA_KEYS];
        let path = self.directory.join("sessions.db");
        let clock = Arc::clone(node.clock());
        let opened = Sqlite::open(&path, &SqliteConfig::default(), &kinds, clock).unwrap();
        let key = self.directory.join("root.key");
        let custody = Arc::new(FileCustody::open(&key, &node).unwrap());
        let sealed = Sealed::open(Arc::new(opened.records()), custody, &node).await.unwrap();
        if !with_redis {
            return Arc::new(sealed);
        }
        let redis = Redis::open(&self.redis, RedisConfig::default(), &node).await.unwrap();
        let near = sealed.ephemeral(Arc::new(redis.ephemeral(ReadsFrom::Primary)));
        // Its own memory answers only where invalidations are heard, which a service does not.
        Arc::new(Cached::new(
            Arc::new(sealed),
            Some(Arc::new(near)),
            Arc::new(MemoryFeed::new(64)),
            &[&SESSIONS],
            CachedConfig::default(),
            Arc::clone(node.clock()),
        ))
    }

    async fn in_store(&self, with_redis: bool) -> Sessions {
        let (authenticator, _) = self.authenticator(MANY).await;
        let records = self.records(with_redis).await;
        let passing = Arc::new(tegata_store::MemoryEphemeral::new(Arc::new(SystemClock)));
        let reader = Reader::new(Node::start(), Epoch::FIRST, records, passing, Limits::default());
        let reader = if with_redis { reader.nearby() } else { reader };
        let store = StoredSessions::new(reader, Realm::default());
        Sessions::in_store(authenticator, Arc::new(store))
    }

    /// A way, by its name.
    async fn way(&self, name: &str) -> Sessions {
        match name {
            "token" => Sessions::by_token(self.authenticator(MANY * 2).await.0),
            "token, each for the first time" => Sessions::by_token(self.authenticator(0).await.0),
            "store, SQLite" => self.in_store(false).await,
            "store, Redis" => self.in_store(true).await,
            "sidecar, Unix socket" => {
                let socket = format!("unix:{}", self.directory.join("s.sock").display());
                Sessions::beside(socket.parse().unwrap())
            }
            _ => Sessions::beside(self.sidecar.parse().unwrap()),
        }
    }
}

/// What a process of its own does.
async fn play(part: &str, place: &Place) {
    if part == "sidecar" {
        let (authenticator, revocations) = place.authenticator(0).await;
        let bound = Duration::from_secs(60);
        let limits = MemoLimits::default();
        let sidecar = sidecar::Sidecar::new(authenticator, revocations, bound, limits);
        let socket = sidecar::Place::Socket(place.directory.join("s.sock"));
        let port = sidecar::bind(&"127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let sidecar::Listening::Tcp(listener) = &port else { return };
        println!("http://{}", listener.local_addr().unwrap());
        let socket = sidecar::bind(&socket, false).await.unwrap();
        sidecar.serve(vec![port, socket], std::future::pending()).await.unwrap();
        return;
    }
    if part != "nothing" {
        let sessions = place.way(part).await;
        for line in fs::read_to_string(place.directory.join("tokens")).unwrap().lines() {
            sessions.check(&bearer(line)).await.unwrap();
        }
    }
    println!("{}", resident(std::process::id()));
}

/// The memory of a process, in MiB.
fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers
}

/// An issuer that tells what is taken back, as the real one does.
struct Issuer {
    authority: TestAuthority,
    view: Arc<View>,
    news: watch::Sender<u64>,
}

type Telling = (TestAuthority, Arc<View>, watch::Receiver<u64>);

async fn tell(
    State((authority, view, mut news)): State<Telling>,
    Form(form): Form<BTreeMap<String, String>>,
) -> impl IntoResponse {
    let pairs = form.get("told").map_or("", |told| told).split_ascii_whitespace();
    let pairs = pairs.filter_map(|pair| pair.split_once('.'));
    let told: BTreeMap<_, _> =
        pairs.map(|(instance, news)| (instance.to_owned(), news.parse().unwrap())).collect();
    news.mark_unchanged();
    let known = told.values().copied().max();
    let mut notice = view.notice(&Realm::default(), &told).unwrap();
    if known == Some(notice.news) {
        let wait = Duration::from_millis(form["wait_ms"].parse().unwrap());
        let _ = tokio::time::timeout(wait, news.changed()).await;
        notice = view.notice(&Realm::default(), &told).unwrap();
    }
    (notice.iss, notice.nonce) = (TestAuthority::ISSUER.to_owned(), form["nonce"].clone());
    authority.sign("tegata-revocations+jwt", &serde_json::to_vec(&notice).unwrap())
}

impl Issuer {
    async fn start() -> (Self, TestServer) {
        let authority = TestAuthority::new();
        let view = Arc::new(View::new(Node::start()));
        let (news, heard) = watch::channel(0);
        let empty = MemoryRecords::new(&[], Arc::new(SystemClock)).unwrap();
        view.catch_up(&empty).await.unwrap();
        let reading = Arc::clone(&view);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(250));
            loop {
                ticks.tick().await;
                reading.catch_up(&empty).await.unwrap();
            }
        });
        let jwks = authority.jwks();
        let telling: Telling = (authority.clone(), Arc::clone(&view), heard);
        let router = Router::new()
            .route("/jwks", get(move || async move { Json(jwks) }))
            .route("/oauth2/revocations", post(tell))
            .with_state(telling);
        (Self { authority, view, news }, TestServer::start(router).await.unwrap())
    }

    /// A token of a session.
    fn token(&self, session: &Session) -> (String, TokenId) {
        let token = self.authority.user(session.user.as_str(), "orders").living(900);
        let token = token.with(|claims| claims.sid = Some(session.id.as_str().to_owned()));
        (token.access(), token.claims().jti.parse().unwrap())
    }

    fn take_back(&self, token: TokenId) {
        let now = self.authority.node().now();
        let entry = Entry {
            target: Target::Token(token),
            places: Vec::new(),
            at: now,
            until: now + Duration::from_secs(900),
            reason: "test".to_owned(),
            actor: "system".to_owned(),
        };
        self.view.apply(&Realm::default(), &entry);
        self.news.send_modify(|news| *news += 1);
    }
}

fn session(node: &Node, number: usize) -> Session {
    let (now, salt) = (node.now(), [7; 16]);
    let ends = now + Duration::from_secs(86_400);
    Session {
        id: SessionId::generate(Epoch::FIRST, ends, node.entropy()),
        user: UserId::new(&format!("usr_{number:022}")).unwrap(),
        salt,
        started: now,
        ends,
        idle_millis: 1_800_000,
        seen: now,
        binding: Binding::of(
            [127, 0, 0, 1].into(),
            Some(b"Mozilla/5.0 (X11; Linux) Firefox/140.0"),
        ),
        fingerprint: tegata_session::Fingerprint::default(),
        generation: 0,
        made: now,
        handover: None,
        standing: Standing { roles: vec!["customer".to_owned()], ..Standing::default() },
        data: BTreeMap::new(),
        ended: None,
    }
}

/// Keeps a session, in SQLite and in Redis.
async fn keep(records: &dyn Records, session: &Session) {
    let batch = Batch::new(Realm::default()).with(session.put(Expect::Any));
    records.commit(batch).await.unwrap();
}

#[derive(Clone)]
enum Work {
    Bare(Transport, String),
    Check(Sessions, Arc<Vec<HeaderMap>>),
}

impl Work {
    async fn once(&self, at: usize) {
        match self {
            Self::Bare(transport, url) => {
                let request = Request::get(url).body(Bytes::new()).unwrap();
                assert_eq!(transport.send(request).await.unwrap().status(), 200);
            }
            Self::Check(sessions, all) => {
                let headers = all.get(at % all.len()).unwrap();
                sessions.check(headers).await.unwrap();
            }
        }
    }

    /// How many in a second, and the times of each, in nanoseconds. Each number is used once.
    async fn crowd(&self, clients: usize, each: usize, from: usize) -> (f64, Vec<f64>) {
        let (clock, began) = (SystemClock, SystemClock.since_boot());
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let work = self.clone();
            tasks.spawn(async move {
                let mut times = Vec::with_capacity(each);
                for n in 0..each {
                    let began = SystemClock.since_boot();
                    work.once(from + client * each + n).await;
                    times.push(SystemClock.since_boot().since(began).as_secs_f64() * 1e9);
                }
                times
            });
        }
        let times: Vec<f64> = tasks.join_all().await.into_iter().flatten().collect();
        (times.len() as f64 / clock.since_boot().since(began).as_secs_f64(), times)
    }
}

async fn measure(effort: Effort) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let redis = RedisServer::start();
    let (issuer, server) = Issuer::start().await;
    FileCustody::create(&directory.path().join("root.key"), &Node::start()).unwrap();
    let mut place = Place {
        directory: directory.path().to_owned(),
        issuer: server.url(""),
        redis: redis.url(),
        sidecar: String::new(),
    };
    let (records, node) = (place.records(true).await, Node::start());
    let all: Vec<Session> = (0..MANY).map(|number| session(&node, number)).collect();
    for session in &all {
        keep(records.as_ref(), session).await;
    }
    place.write();
    let mut child = place.start("sidecar");
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    place.sidecar = said.trim().to_owned();
    let known: Vec<String> = all.iter().map(|session| issuer.token(session).0).collect();
    fs::write(directory.path().join("tokens"), known.join("\n")).unwrap();
    place.write();
    speed(effort, &place, &issuer, (&all, &known)).await;
    refusing(effort, &place, &issuer, (records.as_ref(), &node)).await;
    memory(effort, &place, child.id());
    child.kill().unwrap();
    child.wait().unwrap();
}

const WAYS: [&str; 7] = [
    "token",
    "token, each for the first time",
    "store, SQLite",
    "store, Redis",
    "sidecar",
    "sidecar, each for the first time",
    "sidecar, Unix socket",
];

async fn speed(
    effort: Effort,
    place: &Place,
    issuer: &Issuer,
    (all, known): (&[Session], &[String]),
) {
    let known: Arc<Vec<HeaderMap>> = Arc::new(known.iter().map(|it| bearer(it)).collect());
    let each = effort.size(2_000, 20);
    let many = effort.size(500, 5);
    let once_each = (each + CLIENTS * many) * effort.rounds as usize;
    // What is asked about for the first time is made beforehand, and used once.
    let fresh: Vec<HeaderMap> =
        (0..once_each).map(|n| bearer(&issuer.token(&all[n % all.len()]).0)).collect();
    let fresh = Arc::new(fresh);
    let url = format!("{}/health/live", place.sidecar);
    let limits = TransportLimits { idle: 32, open: 64, ..TransportLimits::default() };
    let mut work = vec![("a bare request on loopback", Work::Bare(Transport::new(limits), url))];
    for name in WAYS {
        let tokens = if name == "sidecar, each for the first time" { &fresh } else { &known };
        work.push((name, Work::Check(place.way(name).await, Arc::clone(tokens))));
    }
    // Everything is seen once, so that what is remembered is.
    for (name, work) in work.iter().filter(|(name, _)| !name.contains("first")) {
        let _ = (name, work.crowd(1, MANY.min(each * 10), 0).await);
    }
    let mut tables = [
        Table::new("whose session: one asks, middle time", Unit::Nanoseconds),
        Table::new("whose session: one asks, 99 of 100 within", Unit::Nanoseconds),
        Table::new(format!("whose session: {CLIENTS} ask, in a second"), Unit::PerSecond),
    ];
    let mut used = 0;
    for _ in 0..effort.rounds {
        for (name, work) in &work {
            let from = if *name == "sidecar, each for the first time" { used } else { 0 };
            let (_, took) = work.crowd(1, each, from).await;
            let (rate, _) = work.crowd(CLIENTS, many, from + each).await;
            let [middle, slow, rates] = &mut tables;
            middle.note(name, median(&took));
            slow.note(name, percentile(&took, 0.99));
            rates.note(name, rate);
        }
        used += each + CLIENTS * many;
    }
    tables.iter().for_each(Table::print);
}

/// How long it takes until what was taken back is refused.
async fn refusing(
    effort: Effort,
    place: &Place,
    issuer: &Issuer,
    (records, node): (&dyn Records, &Node),
) {
    let mut table = Table::new("taken back until refused", Unit::Nanoseconds);
    for name in ["store, SQLite", "store, Redis", "token", "sidecar"] {
        let sessions = place.way(name).await;
        for number in 0..effort.size(50, 3) {
            let session = session(node, MANY + number);
            keep(records, &session).await;
            let (token, id) = issuer.token(&session);
            let headers = bearer(&token);
            sessions.check(&headers).await.unwrap();
            // What is told is counted from the moment before it is told: whoever hears it may be
            // quicker than whoever goes on here.
            let mut began = SystemClock.since_boot();
            if name.starts_with("store") {
                let ended = session.end(&Reason::Logout, node.now());
                keep(records, &ended).await;
                began = SystemClock.since_boot();
            } else {
                issuer.take_back(id);
            }
            while sessions.check(&headers).await.is_ok() {
                tokio::task::yield_now().await;
            }
            let took = SystemClock.since_boot().since(began);
            table.note(name, took.as_nanos() as f64);
        }
    }
    table.print();
}

/// What memory each way adds to a process that has asked about every session.
fn memory(effort: Effort, place: &Place, sidecar: u32) {
    let mut table = Table::new(format!("memory of a process, {MANY} sessions"), Unit::Mebibytes);
    for _ in 0..effort.rounds.min(3) {
        for part in ["nothing", "token", "store, SQLite", "store, Redis", "sidecar's client"] {
            let mut child = place.start(part);
            let mut said = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
            assert!(child.wait().unwrap().success());
            table.note(part, said.trim().parse().unwrap());
        }
        table.note("the sidecar itself", resident(sidecar));
    }
    table.print();
}
