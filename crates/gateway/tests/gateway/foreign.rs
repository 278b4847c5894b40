//! Access tokens of other issuers.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
};

use serde_json::{Value, json};
use tegata_core::{Backstop, BoxFuture, KeyId, Node, Realm, StoreError, port::Withdrawal};
use tegata_gateway::{Foreign, ForeignIssuer, IssuerKeys};
use tegata_store::MemoryBackstop;
use tegata_token::{
    Algorithm, Expected, ExpectedAudience, ForeignRules, ForeignToken, ForeignView, KeySet, Memory,
    SigningKey, Target, Verifier, VerifyingKey, jws,
};

use crate::{
    echo,
    identity::told,
    streams,
    world::{AUDIENCE, Answer, Client, ISSUER, Plan, World, get},
};

const A: &str = "https://a.example";
const B: &str = "https://b.example";

/// An issuer elsewhere, with a key that has the name that all such keys have.
struct Idp {
    name: &'static str,
    key: Arc<SigningKey>,
    tokens: Arc<Verifier<ForeignToken>>,
    keys: Arc<Keys>,
}

/// The keys of an issuer, and how often somebody asked for one that is not known.
#[derive(Default)]
struct Keys {
    known: Mutex<bool>,
    asked: AtomicU32,
}

impl IssuerKeys for Keys {
    fn has_some(&self) -> bool {
        *self.known.lock().unwrap()
    }
    fn look_for<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { false })
    }
}

fn key() -> SigningKey {
    let kid = Some(KeyId::new("key-1").unwrap());
    let made = SigningKey::generate(Algorithm::Es256).unwrap().to_pkcs8().unwrap();
    SigningKey::from_pkcs8(made.expose(), None, kid).unwrap()
}

impl Idp {
    fn new(name: &'static str) -> Self {
        let key = Arc::new(key());
        let expected = Expected {
            issuer: name.to_owned(),
            audience: ExpectedAudience::OneOf(vec![AUDIENCE.to_owned()]),
            leeway: std::time::Duration::from_secs(30),
        };
        let rules = ForeignRules { roles: Some("groups".into()), ..ForeignRules::default() };
        let clock = Arc::clone(Node::start().clock());
        let tokens = Arc::new(Verifier::of_another(expected, rules, &Memory::default(), clock));
        let verifying = VerifyingKey::from_jwk(key.jwk()).unwrap();
        tokens.use_keys(KeySet::new(vec![Arc::new(verifying)]));
        let keys = Arc::new(Keys { known: Mutex::new(true), ..Keys::default() });
        Self { name, key, tokens, keys }
    }

    fn claims(&self, node: &Node, jti: &str) -> Value {
        let now = node.now().secs();
        json!({
            "iss": self.name, "sub": "alice", "aud": AUDIENCE, "exp": now + 900, "iat": now,
            "jti": jti, "client_id": "web", "scope": "orders.read", "groups": ["admin"],
        })
    }

    fn sign(&self, claims: &Value) -> String {
        jws::sign(&self.key, "at+jwt", claims.to_string().as_bytes()).unwrap()
    }
}

/// A gateway that accepts the tokens of two other issuers.
struct Bench {
    world: World,
    view: Arc<ForeignView>,
    a: Idp,
    b: Idp,
}

impl Bench {
    fn new() -> Self {
        Self::before(echo::start())
    }

    fn before(service: SocketAddr) -> Self {
        let durable = Arc::new(MemoryBackstop::new(Arc::clone(Node::start().clock())));
        Self::over(service, durable)
    }

    fn over(service: SocketAddr, durable: Arc<dyn Backstop>) -> Self {
        let mut plan = Plan { real_time: true, ..Plan::with(service) };
        let (a, b) = (Idp::new(A), Idp::new(B));
        let node = Node::start();
        let view = Arc::new(ForeignView::new(node, 1000, 0));
        let issuer = |idp: &Idp| ForeignIssuer {
            tokens: Arc::clone(&idp.tokens),
            keys: Arc::clone(&idp.keys) as Arc<_>,
        };
        plan.foreign = Some(Foreign {
            issuers: vec![issuer(&a), issuer(&b)],
            view: Arc::clone(&view),
            near: None,
            durable,
            realm: Realm::default(),
        });
        Self { world: plan.start(), view, a, b }
    }

    fn get(&self, path: &str, token: &str) -> Answer {
        self.world.get(path, token)
    }
}

#[test]
fn a_caller_of_another_issuer_is_known_under_its_name_and_nothing_of_ours() {
    let bench = Bench::new();
    let token = bench.a.sign(&bench.a.claims(&bench.world.node, "t1"));
    let answer = bench.get("/echo/x", &token);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("https://a.example alice"));
    assert_eq!(answer.seen("x-user-roles").as_deref(), Some("admin"));
    assert_eq!(answer.seen("authorization"), None);
    let internal = told(&bench.world, &answer.seen("x-internal-token").unwrap());
    assert_eq!(internal.sub, "https://a.example alice");
    assert_eq!(internal.original_jti.as_deref(), Some("https://a.example t1"));
    assert_eq!((internal.sid, internal.fid, internal.status), (None, None, None));
    assert_eq!((internal.acr, internal.auth_time), (None, None));
    // Rights are those that its issuer gives.
    assert_eq!(bench.get("/read/x", &token).status, 200);
    assert_eq!(bench.get("/admin/x", &token).status, 200);
    let mut claims = bench.a.claims(&bench.world.node, "t2");
    claims["groups"] = json!([]);
    claims["scope"] = json!("");
    claims["roles"] = json!(["admin"]);
    let poor = bench.a.sign(&claims);
    assert_eq!(bench.get("/read/x", &poor).status, 403);
    assert_eq!(bench.get("/admin/x", &poor).status, 403);
    // How they were authenticated there says nothing here.
    let mut strong = bench.a.claims(&bench.world.node, "t3");
    strong["acr"] = json!("aal2");
    strong["auth_time"] = json!(bench.world.node.now().secs());
    let strong = bench.a.sign(&strong);
    assert_eq!(bench.get("/strong/x", &strong).problem(), "insufficient_acr");
    assert_eq!(bench.get("/recent/x", &strong).problem(), "authentication_too_old");
    // The same name at two issuers is two callers.
    let other = bench.b.sign(&bench.b.claims(&bench.world.node, "t1"));
    let seen = bench.get("/echo/x", &other).seen("x-user-id");
    assert_eq!(seen.as_deref(), Some("https://b.example alice"));
    // Our own are who they were.
    assert_eq!(
        bench.get("/echo/x", &bench.world.token()).seen("x-user-id").as_deref(),
        Some("usr_alice")
    );
}

#[test]
fn no_issuer_speaks_for_another() {
    let bench = Bench::new();
    let node = &bench.world.node;
    let (of_a, of_b) = (bench.a.claims(node, "t1"), bench.b.claims(node, "t1"));
    let ours = bench.world.claims();
    for (token, why) in [
        // The key of another, under the same name.
        (bench.b.sign(&of_a), "token_signature"),
        (bench.a.sign(&of_b), "token_signature"),
        // Ours with a foreign key, and the reverse.
        (bench.a.sign(&ours), "token_key_unknown"),
        (bench.world.sign(&of_a), "token_key_unknown"),
        // Nobody's.
        (bench.a.sign(&with(&of_a, "iss", "https://c.example")), "token_key_unknown"),
        (bench.a.sign(&with(&of_a, "iss", &format!("{A}/"))), "token_key_unknown"),
        // Of ours, what is only for other kinds.
        (bench.a.sign(&with(&of_a, "aud", "https://other.example")), "token_audience"),
    ] {
        let answer = bench.get("/echo/x", &token);
        assert_eq!((answer.status, answer.problem().as_str()), (401, why));
    }
    // Two issuers in one token: a reader that takes the last is another reader.
    let twice = of_a.to_string().replacen('{', &format!("{{\"iss\":\"{ISSUER}\","), 1);
    let twice = jws::sign(&bench.a.key, "at+jwt", twice.as_bytes()).unwrap();
    assert_eq!(bench.get("/echo/x", &twice).status, 401);
    let id = jws::sign(&bench.a.key, "JWT", of_a.to_string().as_bytes()).unwrap();
    assert_eq!(bench.get("/echo/x", &id).problem(), "token_kind");
    let internal = jws::sign(&bench.a.key, "tegata-internal+jwt", of_a.to_string().as_bytes());
    assert_eq!(bench.get("/echo/x", &internal.unwrap()).problem(), "token_kind");
    // A bound token is nobody's without the proof.
    let mut bound = of_a;
    bound["cnf"] = json!({"jkt": "x"});
    assert_eq!(bench.get("/echo/x", &bench.a.sign(&bound)).problem(), "token_bound");
}

fn with(claims: &Value, name: &str, value: &str) -> Value {
    let mut claims = claims.clone();
    claims[name] = json!(value);
    claims
}

#[test]
fn what_was_taken_back_is_refused_whatever_was_remembered() {
    let bench = Bench::new();
    let node = &bench.world.node;
    let (one, other) = (bench.a.claims(node, "t1"), bench.a.claims(node, "t2"));
    let (one, other) = (bench.a.sign(&one), bench.a.sign(&other));
    let namesake = bench.b.sign(&bench.b.claims(node, "t1"));
    for token in [&one, &other, &namesake] {
        assert_eq!(bench.get("/echo/x", token).status, 200);
        assert_eq!(bench.get("/echo/x", token).status, 200);
    }
    bench.world.revoke(Target::ForeignToken { issuer: A.into(), jti: "t1".into() });
    assert_eq!(bench.get("/echo/x", &one).problem(), "token_revoked");
    assert_eq!(bench.get("/echo/x", &other).status, 200);
    assert_eq!(bench.get("/echo/x", &namesake).status, 200);
    let (issuer, sub, up_to) = (A.to_owned(), "alice".to_owned(), node.now());
    bench.world.revoke(Target::ForeignSubject { issuer, sub, up_to });
    assert_eq!(bench.get("/echo/x", &other).problem(), "token_revoked");
    assert_eq!(bench.get("/echo/x", &namesake).status, 200);
    // What is taken back of ours under such a name is ours alone.
    let (sub, up_to) = ("alice".to_owned(), node.now());
    bench.world.revoke(Target::Subject { sub, up_to, tokens_only: false });
    assert_eq!(bench.get("/echo/x", &namesake).status, 200);
    let metrics = bench.world.metrics();
    for line in [
        r#"revocation_checks_total{layer="cache",result="alive"}"#,
        r#"revocation_checks_total{layer="memory",result="revoked"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn where_no_key_of_an_issuer_is_known_nobody_is_told_that_the_token_is_bad() {
    let bench = Bench::new();
    let token = bench.a.sign(&bench.a.claims(&bench.world.node, "t1"));
    bench.a.tokens.use_keys(KeySet::default());
    // One that is not known is asked for.
    assert_eq!(bench.get("/echo/x", &token).problem(), "token_key_unknown");
    assert_eq!(bench.a.keys.asked.load(Ordering::SeqCst), 1);
    *bench.a.keys.known.lock().unwrap() = false;
    let answer = bench.get("/echo/x", &token);
    assert_eq!((answer.status, answer.problem().as_str()), (503, "issuer_keys_unavailable"));
    assert!(answer.field("retry-after").is_some());
    // Nobody is asked for what nobody signed in the name of an issuer.
    let stranger = with(&bench.a.claims(&bench.world.node, "t1"), "iss", "https://c.example");
    assert_eq!(bench.get("/echo/x", &bench.a.sign(&stranger)).status, 401);
    assert_eq!(bench.a.keys.asked.load(Ordering::SeqCst), 1);
    assert_eq!(bench.b.keys.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_token_that_lives_longer_than_its_issuers_may_is_refused() {
    let bench = Bench::new();
    let mut claims = bench.a.claims(&bench.world.node, "t1");
    let now = bench.world.node.now().secs();
    claims["exp"] = json!(now + 86_401 + 60);
    let answer = bench.get("/echo/x", &bench.a.sign(&claims));
    assert_eq!((answer.status, answer.problem().as_str()), (401, "token_too_long"));
    claims["exp"] = json!(now + 86_000);
    assert_eq!(bench.get("/echo/x", &bench.a.sign(&claims)).status, 200);
}

/// A store that is away until it is back.
struct Fickle {
    back: AtomicBool,
    held: MemoryBackstop,
}

impl Backstop for Fickle {
    fn record<'a>(
        &'a self,
        realm: &'a Realm,
        withdrawals: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.held.record(realm, withdrawals)
    }
    fn withdrawn<'a>(
        &'a self,
        realm: &'a Realm,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>> {
        if self.back.load(Ordering::SeqCst) {
            return self.held.withdrawn(realm, key);
        }
        Box::pin(async {
            Err(StoreError::Unavailable { backend: "a store", detail: "away".to_owned() })
        })
    }
}

#[test]
fn where_no_store_says_whether_a_token_was_taken_back_it_is_refused_for_the_moment() {
    let held = MemoryBackstop::new(Arc::clone(Node::start().clock()));
    let durable = Arc::new(Fickle { back: AtomicBool::new(false), held });
    let bench = Bench::over(echo::start(), Arc::clone(&durable) as Arc<_>);
    let node = &bench.world.node;
    let [one, other] = ["t1", "t2"].map(|jti| bench.a.sign(&bench.a.claims(node, jti)));
    // The filter holds it, what was learnt is told, and nobody knows more until a store says so.
    bench.world.revoke(Target::ForeignToken { issuer: A.into(), jti: "t1".into() });
    let told = bench.view.untold();
    bench.view.told(&told);
    let answer = bench.get("/echo/x", &one);
    assert_eq!((answer.status, answer.problem().as_str()), (503, "revocation_unknown"));
    assert!(answer.field("retry-after").is_some());
    // What the filter does not hold needs no store.
    assert_eq!(bench.get("/echo/x", &other).status, 200);
    // That nobody answered is no answer: the store, which was never told, says that it was not.
    durable.back.store(true, Ordering::SeqCst);
    assert_eq!(bench.get("/echo/x", &one).status, 200);
}

#[test]
fn a_route_that_looks_at_no_credentials_hands_no_token_of_theirs_to_the_service() {
    let bench = Bench::new();
    let token = bench.a.sign(&bench.a.claims(&bench.world.node, "t1"));
    let line = format!("Bearer {token}");
    let answer = bench.world.ask(&get("/public/x", &[("Authorization", &line)]));
    assert_eq!((answer.status, answer.seen("authorization")), (200, None));
}

#[test]
fn a_stream_ends_with_the_token_of_another_issuer_that_opened_it() {
    let (address, arrived) = streams::service();
    let bench = Bench::before(address);
    let node = &bench.world.node;
    let open = |token: &str| opened(&bench.world, &arrived, token);
    let (mut one, _first) = open(&bench.a.sign(&bench.a.claims(node, "t1")));
    let (mut namesake, mut second) = open(&bench.b.sign(&bench.b.claims(node, "t1")));
    bench.world.revoke(Target::ForeignToken { issuer: A.into(), jti: "t1".into() });
    // It is cut off, not ended.
    assert_eq!(one.chunk(), None);
    let (mut all, _third) = open(&bench.a.sign(&bench.a.claims(node, "t2")));
    let (issuer, sub, up_to) = (A.to_owned(), "alice".to_owned(), node.now());
    bench.world.revoke(Target::ForeignSubject { issuer, sub, up_to });
    assert_eq!(all.chunk(), None);
    // One that ends takes its stream with it: what its issuer does with it later is not told here.
    let mut short = bench.b.claims(node, "t3");
    short["exp"] = json!(node.now().secs() + 2);
    let (mut short, _fourth) = open(&bench.b.sign(&short));
    assert_eq!(short.chunk(), None);
    // What has another name goes on.
    second.write_all(b"4\r\nmore\r\n").unwrap();
    assert_eq!(namesake.chunk().as_deref(), Some(&b"more"[..]));
}

/// A client and the service's side of the answer that it reads, of which one part has come.
fn opened(world: &World, arrived: &mpsc::Receiver<TcpStream>, token: &str) -> (Client, TcpStream) {
    let mut client = world.connect();
    client.write(get("/echo/x", &[("Authorization", &format!("Bearer {token}"))]));
    let mut service = arrived.recv().unwrap();
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    service.write_all(answer.as_bytes()).unwrap();
    assert_eq!(client.head().unwrap().0, 200);
    assert_eq!(client.chunk().as_deref(), Some(&b"first"[..]));
    (client, service)
}
