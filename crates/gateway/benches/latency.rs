//! What the gateway adds to a request, and how many it carries.
//!
//! One service, which answers a fixed text, is asked directly and through the gateway: without
//! authentication, with a token out of 1,000 that the gateway has seen before, and with a token
//! whose signature it checks every time. Each request has 20 cookies, and nobody has agreed to any.
//! The gateway has one worker and writes its log of decisions, as it does in production; what that costs is
//! measured apart. Client, service and gateway share the machine, so the figures of many
//! connections say how they divide it; the ratios between ways through the gateway say what
//! authentication costs.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use prometheus_client::registry::Registry;
use serde_json::json;
use tegata_core::{
    Clock as _, Epoch, Node, Parting, Realm, Secret, SinceBoot, SystemClock, TokenId,
};
use tegata_gateway::{
    Config, DecisionLog, Dpop, Gateway, Metrics, Parts, Signer,
    decision_log::{self, Mode},
};
use tegata_mesh::{DeclaredRoute, DeclaredService, ServiceMap};
use tegata_rounds::{Effort, Table, Unit, percentile};
use tegata_session::{
    ConsentSeal, CookieFilter, CookieName, CookiePolicy, CookieTable, Environment, Keys,
    PolicyRules,
};
use tegata_store::MemoryRecords;
use tegata_token::{
    AccessToken, Algorithm, DpopNonces, Expected, ExpectedAudience, KeySet, Memory, SigningKey,
    Usage, Verifier, VerifyingKey, View, jws,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::JoinSet,
};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nyes";

/// Connections that ask at once, in the second table.
const CONNECTIONS: usize = 64;

fn main() {
    let effort = Effort::asked();
    let service = serve();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::Rs256).unwrap());
    let log = |name: &str, mode| {
        let config = decision_log::Config::at(&directory.path().join(name));
        Some(decision_log::Config { mode, ..config })
    };
    let best = Mode::BestEffort;
    let remembering = gateway(service, &key, 10_000, log("remembering", best));
    let forgetful = gateway(service, &key, 0, log("forgetful", best));
    let silent = gateway(service, &key, 10_000, None);
    let required = gateway(service, &key, 10_000, log("required", Mode::Required));
    let tokens: Vec<String> = (0..1000).map(|number| token(&key, number)).collect();
    // Every way carries the same bytes, but for the path.
    let way = |name, to, path| Way {
        name,
        to,
        requests: tokens.iter().map(|token| request(path, token)).collect(),
    };
    let (through, anew) = (first(&remembering), first(&forgetful));
    let ways = [
        way("direct", service, "/"),
        way("no authentication", through, "/open"),
        way("token seen before", through, "/closed"),
        way("RS256 checked anew", anew, "/closed"),
    ];
    let by_log = [
        way("no log", first(&silent), "/closed"),
        way("best_effort", through, "/closed"),
        way("required", first(&required), "/closed"),
    ];
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(latency(&ways, "one connection", effort));
    runtime.block_on(latency(&by_log, "one connection, by its log of decisions", effort));
    runtime.block_on(throughput(ways, "", effort));
    runtime.block_on(throughput(by_log, ", by the log of decisions", effort));
    for gateway in [remembering, forgetful, silent, required] {
        gateway.shutdown();
    }
}

/// A way to the service.
struct Way {
    name: &'static str,
    to: SocketAddr,
    requests: Vec<String>,
}

fn first(gateway: &Gateway) -> SocketAddr {
    gateway.local_addrs().first().copied().unwrap()
}

fn request(path: &str, token: &str) -> String {
    // As many cookies as a shop with its scripts has, every fifth of which is not agreed to.
    let cookie = |number: usize| match number % 5 {
        0 => format!("ads_{number}=GA1.2.1795236115.1795236115"),
        _ => format!("shop_{number}=0123456789abcdef"),
    };
    let cookies = (0..20).map(cookie).collect::<Vec<_>>().join("; ");
    format!(
        "GET {path} HTTP/1.1\r\nHost: gateway.example\r\nAuthorization: Bearer {token}\r\n\
         Cookie: {cookies}\r\n\r\n"
    )
}

fn token(key: &SigningKey, number: u32) -> String {
    let node = Node::start();
    let (now, jti) = (node.now().secs(), TokenId::generate(Epoch::FIRST, node.entropy()));
    let claims = json!({
        "iss": ISSUER, "sub": format!("usr_{number:022}"), "aud": AUDIENCE, "exp": now + 3600,
        "iat": now, "jti": jti.as_str(), "client_id": "web", "scope": "openid orders.read",
        "roles": ["customer"], "sid": "1.20500.AAECAwQFBgcICQoLDA0ODw",
        "fid": "1.20500.AAECAwQFBgcICQoLDA0ODw",
    });
    jws::sign(key, "at+jwt", claims.to_string().as_bytes()).unwrap()
}

/// A gateway before the service, whose verifier remembers so many tokens.
fn gateway(
    service: SocketAddr,
    key: &Arc<SigningKey>,
    remembered: usize,
    log: Option<decision_log::Config>,
) -> Gateway {
    let node = Node::start();
    let service: DeclaredService = serde_json::from_value(json!({
        "name": "service", "upstreams": [format!("http://{service}")],
    }))
    .unwrap();
    let routes: Vec<DeclaredRoute> = serde_json::from_value(json!([
        {"path": "/open", "service": "service", "auth": "none"},
        {"path": "/closed", "service": "service"},
    ]))
    .unwrap();
    let expected = Expected {
        issuer: ISSUER.to_owned(),
        audience: ExpectedAudience::OneOf(vec![AUDIENCE.to_owned()]),
        leeway: Duration::from_secs(30),
    };
    let memory = Memory { tokens: remembered, longest: Duration::from_secs(3600) };
    let tokens = Verifier::<AccessToken>::new(expected, &memory, Arc::clone(node.clock()));
    tokens.use_keys(KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]));
    let internal = Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
    let signer: Signer = Arc::new(move || Some(Arc::clone(&internal)));
    let open = |config| DecisionLog::open(&config, &node, Arc::clone(&signer)).unwrap();
    let decisions = log.map(open);
    let mut config = Config { workers: 1, ..Config::default() };
    config.limits.per_address = None;
    config.limits.per_user = None;
    let parts = Parts {
        node: node.clone(),
        epoch: Epoch::FIRST,
        services: ServiceMap::check(&[service], &routes).unwrap(),
        forbids: Vec::new(),
        policies: tegata_gateway::Policies::default(),
        tokens: Arc::new(tokens),
        dpop: Dpop {
            nonces: DpopNonces::under(&[1; 32].into()),
            required: false,
            shared: None,
            since: None,
        },
        foreign: None,
        introspection: None,
        revocations: followed(node.clone()),
        realm: Realm::default(),
        signer,
        sessions: None,
        keys: None,
        references: None,
        certificates: None,
        cookies: Some(filter()),
        decisions,
        usage: Some(Arc::new(Usage::new(node))),
        sharing: None,
        parting: Parting::default(),
        metrics: Metrics::register(&mut Registry::default()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Gateway::serve(config, parts, vec![listener]).unwrap()
}

/// The built-in table of cookies, to which nobody has agreed.
fn filter() -> CookieFilter {
    let rules = PolicyRules::of(Environment::Production);
    let table = CookieTable::new(rules.environment, None).unwrap();
    let policy = Arc::new(CookiePolicy::new(&table, &rules).unwrap());
    let seal = ConsentSeal::new(Keys::of_root(Secret::new([1; 32])));
    CookieFilter::new(policy, seal, Realm::default(), table.cookie(CookieName::Consent))
}

/// A view of a revocation log in which nothing happens, followed as a node follows its own.
fn followed(node: Node) -> Arc<View> {
    let records = MemoryRecords::new(&[], Arc::clone(node.clock())).unwrap();
    let view = Arc::new(View::new(node));
    Builder::new_current_thread().build().unwrap().block_on(view.catch_up(&records)).unwrap();
    let following = Arc::clone(&view);
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                following.catch_up(&records).await.unwrap();
            }
        });
    });
    view
}

/// A service that answers every request alike, as cheaply as can be. It ends with the benchmark.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime: Runtime = Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream));
            }
        });
    });
    address
}

/// Answers the requests of one connection. None has a body, so one ends with an empty line.
async fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 16_384];
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..) {
        match stream.read(free).await {
            Ok(count) if count > 0 => filled += count,
            _ => return,
        }
        if buffer.get(..filled).is_some_and(|bytes| bytes.ends_with(b"\r\n\r\n")) {
            filled = 0;
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}

/// A connection that stays open.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Asks, and reads the whole answer, which every time is `yes`.
    async fn ask(&mut self, request: &str) {
        self.buffer.clear();
        self.stream.write_all(request.as_bytes()).await.unwrap();
        while !self.buffer.ends_with(b"\r\n\r\nyes") {
            let count = self.stream.read_buf(&mut self.buffer).await.unwrap();
            let so_far = String::from_utf8_lossy(&self.buffer);
            assert!(count > 0 && !so_far.contains("problem+json"), "{so_far}");
        }
        assert!(self.buffer.starts_with(b"HTTP/1.1 200 "));
    }
}

fn elapsed(begin: SinceBoot) -> Duration {
    SystemClock.since_boot().since(begin)
}

/// One connection, one request after the other.
async fn latency(ways: &[Way], title: &str, effort: Effort) {
    let (slices, per_slice) = (effort.size(20, 1), effort.size(200, 20));
    let mut clients = Vec::new();
    for way in ways {
        let mut client = Client::to(way.to).await;
        for request in &way.requests {
            client.ask(request).await;
        }
        clients.push((way, client, way.requests.iter().cycle()));
    }
    let mut middle = Table::new(format!("{title}: p50 of a request"), Unit::Nanoseconds);
    let mut slow = Table::new(format!("{title}: p99 of a request"), Unit::Nanoseconds);
    for _ in 0..effort.rounds {
        let mut took = vec![Vec::new(); ways.len()];
        for _ in 0..slices {
            for ((_, client, requests), took) in clients.iter_mut().zip(&mut took) {
                for request in requests.take(per_slice) {
                    let begin = SystemClock.since_boot();
                    client.ask(request).await;
                    took.push(elapsed(begin).as_secs_f64() * 1e9);
                }
            }
        }
        for (way, took) in ways.iter().zip(took) {
            middle.note(way.name, percentile(&took, 0.50));
            slow.note(way.name, percentile(&took, 0.99));
        }
    }
    middle.print();
    slow.print();
}

/// Many connections, each with one request after the other.
async fn throughput(ways: impl IntoIterator<Item = Way>, by: &str, effort: Effort) {
    let slice = Duration::from_millis(if effort.trial { 20 } else { 700 });
    let ways: Vec<Arc<Way>> = ways.into_iter().map(Arc::new).collect();
    let title = format!("{CONNECTIONS} connections{by}: requests");
    let mut table = Table::new(&title, Unit::PerSecond);
    let mut through = Table::new(format!("{title}, through the gateway alone"), Unit::PerSecond);
    for _ in 0..effort.rounds {
        for way in &ways {
            let mut connections = JoinSet::new();
            let begin = SystemClock.since_boot();
            for number in 0..CONNECTIONS {
                connections.spawn(keep_asking(Arc::clone(way), number, begin, slice));
            }
            let count: u32 = connections.join_all().await.into_iter().sum();
            let rate = f64::from(count) / elapsed(begin).as_secs_f64();
            table.note(way.name, rate);
            if way.name != "direct" {
                through.note(way.name, rate);
            }
        }
    }
    table.print();
    through.print();
}

async fn keep_asking(way: Arc<Way>, number: usize, begin: SinceBoot, slice: Duration) -> u32 {
    let mut client = Client::to(way.to).await;
    let mut count = 0;
    // Each connection begins elsewhere, so that they do not present the same token at once.
    for request in way.requests.iter().cycle().skip(number * 15) {
        if elapsed(begin) >= slice {
            break;
        }
        client.ask(request).await;
        count += 1;
    }
    count
}
