//! A gateway with a service behind it, on free ports, and clients that write what they like.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tegata_core::{
    BoxFuture, Clock as _, CommitRefused, Ephemeral, Epoch, Kind, Log, ManualClock, Node, Parting,
    Realm, Records, SeededEntropy, StoreError, Timestamp, TokenId,
    port::{Batch, Page, Pull, Record, Sequenced},
};
use tegata_engines::process::free_ports;
use tegata_gateway::{
    Config, DecisionLog, Dpop, Gateway, KeyCheck, Metrics, Parts, References, SessionCheck,
};
use tegata_mesh::{DeclaredBff, DeclaredRoute, DeclaredService, ServiceMap};
use tegata_session::CookieFilter;
use tegata_token::{
    AccessToken, Algorithm, DpopNonces, Expected, ExpectedAudience, KeySet, Memory, SigningKey,
    Usage, Verifier, VerifyingKey, View, dpop, jws,
    revocation::{Entry, Target},
};

use crate::echo;

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "https://api.example";

/// That of the issuer, after backups were restored.
pub(crate) const EPOCH: Epoch = Epoch(3);

/// A gateway, and everything that it asks.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) node: Node,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) revocations: Arc<View>,
    pub(crate) registry: Registry,
    pub(crate) nonces: DpopNonces,
    pub(crate) usage: Arc<Usage>,
    counted: Metrics,
}

/// What a world is made from.
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) routes: Value,
    /// What is put together of several.
    pub(crate) bffs: Value,
    pub(crate) services: Vec<(String, Vec<SocketAddr>)>,
    /// Services that are declared in another way.
    pub(crate) declared: Vec<DeclaredService>,
    pub(crate) forbids: Vec<tegata_policy::Forbid>,
    pub(crate) policies: tegata_gateway::Policies,
    pub(crate) sessions: Option<Arc<dyn SessionCheck>>,
    pub(crate) keys: Option<Arc<dyn KeyCheck>>,
    pub(crate) references: Option<Arc<dyn References>>,
    pub(crate) cookies: Option<CookieFilter>,
    pub(crate) certificates: Option<tegata_gateway::Certificates>,
    pub(crate) decisions: Option<DecisionLog>,
    /// Whether time passes. Otherwise it stands still until it is moved.
    pub(crate) real_time: bool,
    pub(crate) knows_revocations: bool,
    pub(crate) foreign: Option<tegata_gateway::Foreign>,
    pub(crate) introspection: Option<Arc<dyn tegata_gateway::introspection::Introspection>>,
    pub(crate) requires_nonce: bool,
    /// Whether a process before may have seen proofs. Otherwise it started a minute ago, and proofs need
    /// nothing for that.
    pub(crate) just_started: bool,
    /// Where proofs are remembered for several gateways.
    pub(crate) shared: Option<Arc<dyn Ephemeral>>,
    /// The issuer's key, where several gateways have one issuer.
    pub(crate) key: Option<Arc<SigningKey>>,
    /// Where limits are counted for several gateways.
    pub(crate) sharing: Option<tegata_gateway::Sharing>,
    /// Since when its issuer's tokens count: earlier ones are of before backups were restored.
    pub(crate) since: Epoch,
    /// Whether it is about to stop.
    pub(crate) parting: Parting,
}

impl Plan {
    /// One service, `echo`, at this address.
    pub(crate) fn with(echo: SocketAddr) -> Self {
        let mut config = Config { workers: 1, ..Config::default() };
        config.limits.per_address = None;
        Self {
            config,
            routes: json!([
                {"path": "/echo", "service": "echo"},
                {"path": "/public", "service": "echo", "auth": "none"},
                {"path": "/maybe", "service": "echo", "auth": "optional"},
                {"path": "/admin", "service": "echo", "roles": ["admin"]},
                {"path": "/read", "service": "echo", "scope": "orders.read", "methods": ["GET"]},
                {"path": "/strict", "service": "echo", "revocation": "strict"},
                {"path": "/available", "service": "echo", "revocation": "available"},
                {"path": "/whole", "service": "echo", "strip_prefix": false, "auth": "none"},
                {"path": "/limited", "service": "echo", "rate_limit": "3/m"},
                {"path": "/strong", "service": "echo", "acr": ["aal2"]},
                {"path": "/recent", "service": "echo", "max_age": "1m"},
                {"path": "/both", "service": "echo", "acr": ["aal2"], "max_age": "1m"},
            ]),
            bffs: json!([]),
            services: vec![("echo".to_owned(), vec![echo])],
            declared: vec![],
            forbids: vec![],
            policies: tegata_gateway::Policies::default(),
            sessions: None,
            keys: None,
            references: None,
            cookies: None,
            certificates: None,
            decisions: None,
            real_time: false,
            knows_revocations: true,
            foreign: None,
            introspection: None,
            requires_nonce: false,
            just_started: false,
            shared: None,
            key: None,
            sharing: None,
            since: Epoch(0),
            parting: Parting::default(),
        }
    }

    pub(crate) fn map(&self) -> ServiceMap {
        let services: Vec<DeclaredService> = self
            .services
            .iter()
            .map(|(name, addresses)| DeclaredService {
                name: name.clone(),
                upstreams: addresses.iter().map(|address| format!("http://{address}")).collect(),
                ..DeclaredService::default()
            })
            .chain(self.declared.iter().cloned())
            .collect();
        let routes: Vec<DeclaredRoute> = serde_json::from_value(self.routes.clone()).unwrap();
        let bffs: Vec<DeclaredBff> = serde_json::from_value(self.bffs.clone()).unwrap();
        ServiceMap::check(&services, &routes).unwrap().with_bffs(&bffs).unwrap()
    }

    pub(crate) fn start(self) -> World {
        let clock = Arc::new(ManualClock::default());
        let node = if self.real_time {
            Node::start()
        } else {
            Node::with(clock.clone(), Arc::new(SeededEntropy::new(7)))
        };
        let generated = || Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
        let key = self.key.clone().unwrap_or_else(generated);
        let expected = Expected {
            issuer: ISSUER.into(),
            audience: ExpectedAudience::OneOf(vec![AUDIENCE.into()]),
            leeway: Duration::from_secs(30),
        };
        let tokens: Verifier<AccessToken> =
            Verifier::new(expected, &Memory::default(), node.clock().clone()).since(self.since);
        let verifying = VerifyingKey::from_jwk(key.jwk()).unwrap();
        tokens.use_keys(KeySet::new(vec![Arc::new(verifying)]));
        let mut view = View::new(node.clone());
        if let Some(foreign) = &self.foreign {
            view = view.with_foreign(foreign.realm.clone(), Arc::clone(&foreign.view));
        }
        let revocations = Arc::new(view);
        if self.knows_revocations {
            block_on(revocations.catch_up(&EmptyLog)).unwrap();
        }
        let mut registry = Registry::default();
        let signer = Arc::clone(&key);
        let services = self.map();
        let nonces = nonces_of(1);
        let usage = Arc::new(Usage::new(node.clone()));
        let counted = Metrics::register(&mut registry);
        let parts = Parts {
            node: node.clone(),
            epoch: EPOCH,
            services,
            forbids: self.forbids,
            policies: self.policies,
            tokens: Arc::new(tokens),
            dpop: Dpop {
                nonces: nonces.clone(),
                required: self.requires_nonce,
                shared: self.shared,
                since: (!self.just_started).then(|| node.now() - dpop::WINDOW),
            },
            revocations: Arc::clone(&revocations),
            realm: Realm::default(),
            signer: Arc::new(move || Some(Arc::clone(&signer))),
            sessions: self.sessions,
            keys: self.keys,
            references: self.references,
            cookies: self.cookies,
            certificates: self.certificates,
            decisions: self.decisions,
            foreign: self.foreign,
            introspection: self.introspection,
            metrics: counted.clone(),
            usage: Some(Arc::clone(&usage)),
            sharing: self.sharing,
            parting: self.parting,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gateway = Gateway::serve(self.config, parts, vec![listener]).unwrap();
        let address = gateway.local_addrs()[0];
        World { gateway, address, clock, node, key, revocations, registry, nonces, usage, counted }
    }
}

impl World {
    /// A gateway before an echo, with nothing special about it.
    pub(crate) fn plain() -> Self {
        Plan::with(echo::start()).start()
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> Client {
        Client::to(self.address)
    }

    /// One request on its own connection.
    pub(crate) fn ask(&self, text: &str) -> Answer {
        self.connect().ask(text)
    }

    /// A `GET` with a token.
    pub(crate) fn get(&self, path: &str, token: &str) -> Answer {
        self.ask(&get(path, &[("Authorization", &format!("Bearer {token}"))]))
    }

    pub(crate) fn claims(&self) -> Value {
        let now = self.node.now().secs();
        let jti = TokenId::generate(EPOCH, self.node.entropy());
        json!({
            "iss": ISSUER, "sub": "usr_alice", "aud": AUDIENCE, "exp": now + 900, "iat": now,
            "jti": jti.as_str(), "client_id": "web", "scope": "orders.read orders.write",
            "roles": ["customer"], "sid": "1.30000.s", "fid": "1.30000.f",
        })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        jws::sign(&self.key, "at+jwt", claims.to_string().as_bytes()).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.sign(&self.claims())
    }

    pub(crate) fn revoke(&self, target: Target) {
        let now = self.node.now();
        let entry = Entry {
            target,
            places: vec![],
            at: now,
            until: now + Duration::from_secs(3600),
            reason: "test".into(),
            actor: "system".into(),
        };
        self.revocations.apply(&Realm::default(), &entry);
    }

    /// Lets the view learn that there is nothing new.
    pub(crate) fn refresh_revocations(&self) {
        block_on(self.revocations.catch_up(&EmptyLog)).unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the breaker of a service does, as it is shown: 0, 1 or 2; `None`: it has none.
    pub(crate) fn breaker(&self, service: &str) -> Option<u32> {
        let number = |state| match state {
            tegata_core::BreakerState::Closed => 0,
            tegata_core::BreakerState::HalfOpen => 1,
            tegata_core::BreakerState::Open => 2,
        };
        let mut all = self.counted.breakers().into_iter();
        let found = all.find(|(name, _)| *name == format!("service/{service}"));
        found.map(|(_, state)| number(state))
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.gateway.shutdown();
    }
}

/// The nonces of an installation.
pub(crate) fn nonces_of(installation: u8) -> DpopNonces {
    DpopNonces::under(&[installation; 32].into())
}

pub(crate) fn get(path: &str, fields: &[(&str, &str)]) -> String {
    request("GET", path, fields, "")
}

pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: gateway.example\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text + "\r\n" + body
}

/// A client that writes what it likes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    fn of(stream: TcpStream) -> Self {
        // A test that waits for longer has found a hang.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// From another address of this machine.
    pub(crate) fn from_ip(own: [u8; 4], address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((own, 0).into()).unwrap();
            socket.connect(address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        Self::of(stream)
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // A client that was refused may learn so while it writes.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub(crate) fn ask(&mut self, text: &str) -> Answer {
        self.write(text);
        let head = text.starts_with("HEAD ");
        self.answer_to(head).unwrap_or_else(|| panic!("no answer to {text:?}"))
    }

    /// What comes back; `None`: the connection was closed.
    pub(crate) fn attempt(&mut self, text: &str) -> Option<Answer> {
        self.write(text);
        self.answer()
    }

    /// The next answer; `None`: the connection was closed.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        self.answer_to(false)
    }

    /// The status and the fields of the next answer.
    pub(crate) fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let line = self.line()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some((status, fields))
    }

    fn answer_to(&mut self, is_head: bool) -> Option<Answer> {
        let (status, fields) = loop {
            let (status, fields) = self.head()?;
            if status != 100 {
                break (status, fields);
            }
        };
        let mut answer = Answer { status, fields, body: Vec::new() };
        if is_head || matches!(status, 204 | 304) {
            return Some(answer);
        }
        if let Some(length) = answer.field("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut body).ok()?;
            answer.body = body;
        } else if answer.field("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
        } else {
            self.reader.read_to_end(&mut answer.body).ok()?;
        }
        Some(answer)
    }

    /// The next chunk; `None`: it was the last.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(self.line()?.trim(), 16).ok()?;
        let mut chunk = vec![0; size];
        self.reader.read_exact(&mut chunk).ok()?;
        self.line()?;
        (size > 0).then_some(chunk)
    }

    /// So many bytes, which are no answer.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Whether nothing comes for a moment, in which the gateway sees what is to be seen.
    pub(crate) fn is_quiet(&self) -> bool {
        let before = self.stream.read_timeout().unwrap();
        self.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let looked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(before).unwrap();
        looked.is_err_and(|error| is_timeout(&error))
    }

    /// Whether the connection is closed, and nothing came before.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.reader.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => {
                assert!(!is_timeout(&error), "the gateway hangs");
                true
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).unwrap_or_else(|error| {
            assert!(!is_timeout(&error), "the gateway hangs");
            0
        });
        (read > 0).then(|| line.trim_end().to_owned())
    }
}

/// Where nobody listens, and nobody begins to who is given a port by the system.
pub(crate) fn vacant() -> SocketAddr {
    ([127, 0, 0, 1], free_ports(1)).into()
}

/// Whether nothing came, which says nothing about the connection.
pub(crate) fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(own, _)| own == name).map(|(_, v)| v.as_str()).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// The name of the problem, of a refusal in the right form.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(problem["trace_id"].as_str().is_some_and(|trace| trace.len() == 32));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        problem["type"].as_str().unwrap().strip_prefix("urn:tegata:problem:").unwrap().to_owned()
    }

    /// A field that the service saw, where it is an echo.
    pub(crate) fn seen(&self, name: &str) -> Option<String> {
        let fields = self.json()["headers"].as_array().unwrap().clone();
        let values: Vec<_> = fields
            .iter()
            .filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name))
            .map(|field| field[1].as_str().unwrap().to_owned())
            .collect();
        (!values.is_empty()).then(|| values.join("|"))
    }
}

/// A revocation log in which nothing ever happens.
struct EmptyLog;

impl Records for EmptyLog {
    fn load<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Kind,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn find<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Kind,
        _: &'static str,
        _: &'a str,
        _: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async { Ok(vec![]) })
    }

    fn scan<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Kind,
        _: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async { Ok(vec![]) })
    }

    fn commit(&self, _: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(async { Ok(()) })
    }

    fn pull(&self, _: Log, _: u64, _: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        Box::pin(async { Ok(Pull::default()) })
    }

    fn sequence(
        &self,
        _: Log,
        _: tegata_core::NodeId,
    ) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        Box::pin(async { Ok(Sequenced::AtCommit) })
    }

    fn purge(&self, _: Timestamp, _: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
