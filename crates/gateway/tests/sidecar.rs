//! The three ways to a session answer the same: by the token, by the store, and by a sidecar, over
//! loopback and over a Unix socket.

#![cfg(test)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Form, Router, extract::State, routing::post};
use http::{HeaderMap, StatusCode, header};
use tegata_core::{
    Batch, Epoch, Expect, ManualClock, Node, Realm, Records as _, Secret, SeededEntropy, SessionId,
    Stored as _, UserId,
};
use tegata_gateway::sidecar::{self, Listening, Sidecar};
use tegata_sdk::{
    Accept, Authenticator, Credential, Provider, Revocations, Sessions, Transport, WhenStale,
    authenticate::memo::MemoLimits,
    sessions::StoredSessions,
    testing::{TestAuthority, server::TestServer},
};
use tegata_session::{
    Binding, Limits, SESSIONS, Session, Standing, reader::Reader, session::Reason,
};
use tegata_store::{FileCustody, MemoryEphemeral, MemoryRecords, Sealed, sealed::DATA_KEYS};
use tegata_token::View;

/// A root key that only tests use.
const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const BOUND: Duration = Duration::from_secs(10);

/// A service's authenticator, the three ways to ask with it, and a session.
struct World {
    clock: Arc<ManualClock>,
    authority: TestAuthority,
    records: Arc<Sealed>,
    session: Session,
    ways: Vec<(&'static str, Sessions)>,
    revocations: Revocations,
    _issuer: TestServer,
    _yard: tempfile::TempDir,
}

async fn tell(
    State((authority, view)): State<(TestAuthority, Arc<View>)>,
    Form(form): Form<BTreeMap<String, String>>,
) -> String {
    let mut notice = view.notice(&Realm::default(), &BTreeMap::new()).unwrap();
    (notice.iss, notice.nonce) = (TestAuthority::ISSUER.to_owned(), form["nonce"].clone());
    authority.sign("tegata-revocations+jwt", &serde_json::to_vec(&notice).unwrap())
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = |seed| Node::with(clock.clone(), Arc::new(SeededEntropy::new(seed)));
        let authority = TestAuthority::on(node(1));
        let view = Arc::new(View::new(node(2)));
        let nothing = MemoryRecords::new(&[], clock.clone()).unwrap();
        view.catch_up(&nothing).await.unwrap();
        let router = Router::new().route("/revocations", post(tell));
        let issuer = TestServer::start(router.with_state((authority.clone(), view))).await.unwrap();
        let at = |path: &str| issuer.url(path).parse().unwrap();
        let credential = Credential::secret("orders", Secret::new("secret".to_owned()));
        let provider = Provider::new(at("/token"), credential, Transport::default(), node(3));
        let keys = authority.keys();
        let revocations =
            Revocations::of(TestAuthority::ISSUER, at("/revocations"), provider, keys);
        revocations.ask(Duration::ZERO).await.unwrap();
        let authenticator = Authenticator::of("orders")
            .trusting(TestAuthority::ISSUER, authority.keys())
            .refusing(&revocations, WhenStale::Within(BOUND))
            .accepting(Accept::Either)
            .leeway(Duration::ZERO)
            .on(node(4));

        let bare = MemoryRecords::new(&[&SESSIONS, &DATA_KEYS], clock.clone()).unwrap();
        let custody = FileCustody::from_text(ROOT_KEY, "the test", &node(7)).unwrap();
        let sealed = Sealed::open(Arc::new(bare), Arc::new(custody), &node(8)).await.unwrap();
        let (records, session) = (Arc::new(sealed), session(&node(5)));
        keep(&records, &session).await;
        let passing = Arc::new(MemoryEphemeral::new(clock.clone()));
        let limits = Limits::default();
        let reader = Reader::new(node(6), Epoch::FIRST, records.clone(), passing, limits);
        let store = Arc::new(StoredSessions::new(reader, Realm::default()));

        let yard = tempfile::tempdir().unwrap();
        let socket = yard.path().join("s.sock");
        let port = sidecar::bind(&"127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let Listening::Tcp(listener) = &port else { panic!("a port is a port") };
        let address = format!("http://{}", listener.local_addr().unwrap());
        let place = sidecar::Place::Socket(socket.clone());
        let listeners = vec![port, sidecar::bind(&place, false).await.unwrap()];
        let (revoked, memo) = (revocations.clone(), MemoLimits::default());
        let sidecar = Sidecar::new(authenticator.clone(), revoked, BOUND, memo);
        tokio::spawn(sidecar.serve(listeners, std::future::pending()));
        let ways = vec![
            ("token", Sessions::by_token(authenticator.clone())),
            ("store", Sessions::in_store(authenticator, store)),
            ("sidecar", Sessions::beside(address.parse().unwrap())),
            ("socket", Sessions::beside(format!("unix:{}", socket.display()).parse().unwrap())),
        ];
        let (_issuer, _yard) = (issuer, yard);
        Self { clock, authority, records, session, ways, revocations, _issuer, _yard }
    }

    fn token(&self, living: u64) -> String {
        let token = self.authority.user(self.session.user.as_str(), "orders").living(living);
        let sid = self.session.id.as_str().to_owned();
        token.roles(&["customer"]).scope("orders.read").with(|it| it.sid = Some(sid)).access()
    }

    /// What every way answers to these headers: a status, and `WWW-Authenticate`.
    async fn refusals(&self, headers: &HeaderMap) -> Vec<(StatusCode, Option<String>)> {
        let mut all = Vec::new();
        for (name, way) in &self.ways {
            let refused = way.check(headers).await.expect_err(name);
            let challenge = refused.challenge.as_ref().map(|it| it.to_str().unwrap().to_owned());
            all.push((refused.status(), challenge));
        }
        all
    }

    /// The one answer that all ways give.
    async fn refusal(&self, headers: &HeaderMap) -> (StatusCode, Option<String>) {
        let mut all = self.refusals(headers).await;
        all.dedup();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

fn session(node: &Node) -> Session {
    let now = node.now();
    let ends = now + Duration::from_secs(86_400);
    Session {
        id: SessionId::generate(Epoch::FIRST, ends, node.entropy()),
        user: UserId::new("usr_alice").unwrap(),
        salt: [7; 16],
        started: now,
        ends,
        idle_millis: 1_800_000,
        seen: now,
        binding: Binding::of([127, 0, 0, 1].into(), None),
        fingerprint: tegata_session::Fingerprint::default(),
        generation: 0,
        made: now,
        handover: None,
        standing: Standing::default(),
        data: BTreeMap::new(),
        ended: None,
    }
}

async fn keep(records: &Sealed, session: &Session) {
    let batch = Batch::new(Realm::default()).with(session.put(Expect::Any));
    records.commit(batch).await.unwrap();
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.insert("traceparent", parent.parse().unwrap());
    headers
}

#[tokio::test]
async fn a_session_is_the_same_by_every_way() {
    let world = World::new().await;
    let headers = bearer(&world.token(300));
    let mut all = Vec::new();
    for (name, way) in &world.ways {
        all.push(way.check(&headers).await.expect(name));
    }
    all.dedup();
    assert_eq!(all.len(), 1, "{all:?}");
    let found = all.remove(0);
    assert_eq!(found.user_id.as_deref(), Some("usr_alice"));
    assert_eq!(found.session_id.as_deref(), Some(world.session.id.as_str()));
    assert_eq!(
        (found.roles, found.permissions),
        (vec!["customer".into()], vec!["orders.read".into()])
    );
    assert_eq!(found.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(found.service_context.service, "orders");
}

#[tokio::test]
async fn what_is_refused_is_refused_in_the_same_words_by_every_way() {
    let world = World::new().await;
    let (status, challenge) = world.refusal(&HeaderMap::new()).await;
    assert_eq!(
        (status, challenge.as_deref()),
        (StatusCode::UNAUTHORIZED, Some(r#"Bearer realm="orders""#))
    );
    let mut twice = bearer("a");
    twice.append(header::AUTHORIZATION, "Bearer b".parse().unwrap());
    assert_eq!(world.refusal(&twice).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.refusal(&bearer("nonsense")).await.0, StatusCode::UNAUTHORIZED);
    let elsewhere = world.authority.user("usr_alice", "payments").access();
    assert_eq!(world.refusal(&bearer(&elsewhere)).await.0, StatusCode::UNAUTHORIZED);
    let short = bearer(&world.token(5));
    for (_, way) in &world.ways {
        assert!(way.check(&short).await.is_ok());
    }
    world.clock.advance(Duration::from_secs(5));
    let (status, challenge) = world.refusal(&short).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(challenge.unwrap().contains("the token has expired"));
}

#[tokio::test]
async fn the_store_alone_knows_of_an_end_that_nobody_told() {
    let world = World::new().await;
    let headers = bearer(&world.token(300));
    let ended = world.session.clone().end(&Reason::Logout, world.session.started);
    keep(&world.records, &ended).await;
    for (name, way) in &world.ways {
        assert_eq!(way.check(&headers).await.is_err(), *name == "store", "{name}");
    }
}

#[tokio::test]
async fn when_nothing_was_heard_for_too_long_every_way_says_that_nobody_knows() {
    let world = World::new().await;
    let headers = bearer(&world.token(300));
    world.clock.advance(BOUND - Duration::from_secs(1));
    for (name, way) in &world.ways {
        assert!(way.check(&headers).await.is_ok(), "{name}");
    }
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.refusal(&headers).await.0, StatusCode::SERVICE_UNAVAILABLE);
    // What is wrong in itself stays wrong.
    assert_eq!(world.refusal(&bearer("nonsense")).await.0, StatusCode::UNAUTHORIZED);
    // The issuer's own knowledge is as old, until it reads its log.
    world.revocations.ask(Duration::ZERO).await.unwrap();
    assert_eq!(world.refusal(&headers).await.0, StatusCode::SERVICE_UNAVAILABLE);
}
