use std::{
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
};

use axum::{
    Form, Router,
    extract::State,
    http::{HeaderMap, HeaderValue},
    response::{IntoResponse, Response},
    routing::post,
};
use tegata_core::{Clock as _, ManualClock, Secret, SeededEntropy, TokenId};
use tegata_store::MemoryRecords;
use tegata_token::{Entry, Lineage, Target};

use super::*;
use crate::{
    authenticate::{Authenticator, Reason, Refused},
    provider::Credential,
    testing::{TestAuthority, TestToken, server::TestServer},
};

/// A provider that knows what is taken back, and how it answers.
struct World {
    clock: Arc<ManualClock>,
    authority: TestAuthority,
    view: Arc<View>,
    behaves: Arc<AtomicU32>,
    revocations: Revocations,
    _server: TestServer,
}

const HONEST: u32 = 0;
const REPEATS_ANSWERS: u32 = 1;
const TELLS_NEWS_TO_STRANGERS: u32 = 2;
const REFUSES: u32 = 3;
const SIGNS_AS_TOKEN: u32 = 4;

type Teller = (TestAuthority, Arc<View>, Arc<AtomicU32>, Arc<Mutex<Option<String>>>);

async fn tell(
    State((authority, view, behaves, before)): State<Teller>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let behaves = behaves.load(Ordering::SeqCst);
    if behaves == REFUSES || !headers.contains_key("authorization") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let pairs = form.get("told").map_or("", |told| told).split_ascii_whitespace();
    let pairs = pairs.filter_map(|pair| pair.split_once('.'));
    let told = pairs.map(|(instance, news)| (instance.to_owned(), news.parse().unwrap())).collect();
    let mut notice = view.notice(&Realm::default(), &told).unwrap();
    (notice.iss, notice.nonce) = (TestAuthority::ISSUER.to_owned(), form["nonce"].clone());
    notice.whole &= behaves != TELLS_NEWS_TO_STRANGERS;
    let typ = if behaves == SIGNS_AS_TOKEN { "at+jwt" } else { "tegata-revocations+jwt" };
    let fresh = authority.sign(typ, &serde_json::to_vec(&notice).unwrap());
    let before = before.lock().replace(fresh.clone());
    before.filter(|_| behaves == REPEATS_ANSWERS).unwrap_or(fresh).into_response()
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = |seed| Node::with(clock.clone(), Arc::new(SeededEntropy::new(seed)));
        let authority = TestAuthority::on(node(1));
        let view = Arc::new(View::new(node(2)));
        let behaves = Arc::new(AtomicU32::new(HONEST));
        let teller: Teller =
            (authority.clone(), Arc::clone(&view), Arc::clone(&behaves), Arc::default());
        let router = Router::new().route("/oauth2/revocations", post(tell)).with_state(teller);
        let server = TestServer::start(router).await.unwrap();
        let endpoint = server.url("/oauth2/token").parse().unwrap();
        let credential = Credential::secret("orders", Secret::new("secret".to_owned()));
        let provider = Provider::new(endpoint, credential, Transport::default(), node(3));
        let endpoint = server.url("/oauth2/revocations").parse().unwrap();
        let revocations =
            Revocations::of(TestAuthority::ISSUER, endpoint, provider, authority.keys());
        let world = Self { clock, authority, view, behaves, revocations, _server: server };
        world.reads_the_log().await;
        world
    }

    async fn reads_the_log(&self) {
        let empty = MemoryRecords::new(&[], self.clock.clone()).unwrap();
        self.view.catch_up(&empty).await.unwrap();
    }

    fn take_back(&self, token: &TestToken) {
        let (now, claims) = (self.clock.now(), token.claims());
        let entry = Entry {
            target: Target::Token(claims.jti.parse::<TokenId>().unwrap()),
            places: Vec::new(),
            at: now,
            until: now + Duration::from_secs(900),
            reason: "test".to_owned(),
            actor: "system".to_owned(),
        };
        self.view.apply(&Realm::default(), &entry);
    }

    fn service(&self, when_stale: WhenStale) -> Authenticator {
        Authenticator::of("orders")
            .trusting(TestAuthority::ISSUER, self.authority.keys())
            .refusing(&self.revocations, when_stale)
            .on(self.authority.node().clone())
    }

    async fn ask(&self) -> Result<(), NotTold> {
        self.revocations.ask(Duration::ZERO).await
    }
}

async fn shown(service: &Authenticator, token: &TestToken) -> Result<(), Refused> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::try_from(format!("Bearer {}", token.access())).unwrap();
    headers.insert("authorization", value);
    service.authenticate(&headers).await.map(|_| ())
}

#[tokio::test]
async fn what_the_provider_takes_back_is_refused_once_it_was_told() {
    let world = World::new().await;
    let service = world.service(WhenStale::Strict);
    let token = world.authority.user("usr_alice", "orders");
    let other = world.authority.user("usr_bob", "orders");
    world.ask().await.unwrap();
    assert_eq!(shown(&service, &token).await, Ok(()));
    world.take_back(&token);
    world.ask().await.unwrap();
    let refused = shown(&service, &token).await.unwrap_err();
    assert_eq!((refused.status(), &refused.reason), (StatusCode::UNAUTHORIZED, &Reason::Revoked));
    assert!(refused.challenge().unwrap().to_str().unwrap().contains("invalid_token"));
    // What was made from it falls with it.
    let narrowed = other.clone().with(|claims| {
        claims.original_jti = Some(token.claims().jti.clone());
    });
    assert_eq!(shown(&service, &narrowed).await.unwrap_err().reason, Reason::Revoked);
    assert_eq!(shown(&service, &other).await, Ok(()));
    // So does what was made from that, or by an actor who showed it.
    let further = other.clone().with(|claims| {
        let jti = vec![token.claims().jti.clone()];
        claims.lineage = Lineage { jti, ..Lineage::default() }.claim();
    });
    assert_eq!(shown(&service, &further).await.unwrap_err().reason, Reason::Revoked);
}

#[tokio::test]
async fn what_was_made_after_a_moment_is_as_old_as_what_it_was_made_from() {
    let world = World::new().await;
    let service = world.service(WhenStale::Strict);
    let first = world.authority.user("usr_alice", "orders");
    world.clock.advance(Duration::from_secs(5));
    let up_to = world.clock.now();
    world.clock.advance(Duration::from_secs(5));
    world.reads_the_log().await;
    let made = |lineage: Lineage| {
        let token = world.authority.user("usr_alice", "orders");
        token.with(|claims| claims.lineage = lineage.claim())
    };
    let since = first.claims().iat;
    let derived = made(Lineage { iat: Some(since), ..Lineage::default() });
    let of_session = made(Lineage { began: Some(since), ..Lineage::default() });
    let fresh = made(Lineage::default());
    world.ask().await.unwrap();
    for token in [&first, &derived, &of_session, &fresh] {
        assert_eq!(shown(&service, token).await, Ok(()));
    }
    let entry = Entry {
        target: Target::Subject { sub: "usr_alice".to_owned(), up_to, tokens_only: false },
        places: Vec::new(),
        at: up_to,
        until: up_to + Duration::from_secs(900),
        reason: "logout".to_owned(),
        actor: "system".to_owned(),
    };
    world.view.apply(&Realm::default(), &entry);
    world.ask().await.unwrap();
    for token in [&first, &derived, &of_session] {
        assert_eq!(shown(&service, token).await.unwrap_err().reason, Reason::Revoked);
    }
    assert_eq!(shown(&service, &fresh).await, Ok(()));
}

#[tokio::test]
async fn a_session_that_ends_leaves_what_outlives_it() {
    let world = World::new().await;
    let service = world.service(WhenStale::Strict);
    let of_session = |outlives: bool| {
        world.authority.user("usr_alice", "orders").with(|claims| {
            claims.sid = Some("1.20500.s".to_owned());
            claims.outlives_session = outlives;
        })
    };
    let (bound, offline) = (of_session(false), of_session(true));
    let now = world.clock.now();
    let entry = Entry {
        target: Target::Session("1.20500.s".parse().unwrap()),
        places: Vec::new(),
        at: now,
        until: now + Duration::from_secs(900),
        reason: "logout".to_owned(),
        actor: "system".to_owned(),
    };
    world.view.apply(&Realm::default(), &entry);
    world.ask().await.unwrap();
    assert_eq!(shown(&service, &bound).await.unwrap_err().reason, Reason::Revoked);
    assert_eq!(shown(&service, &offline).await, Ok(()));
}

#[tokio::test]
async fn a_transaction_whose_origin_was_taken_back_goes_no_further() {
    let world = World::new().await;
    let service = Authenticator::of("orders")
        .trusting(TestAuthority::ISSUER, world.authority.keys())
        .refusing(&world.revocations, WhenStale::Strict)
        .in_trust_domain("shop.test")
        .on(world.authority.node().clone());
    let origin = world.authority.user("usr_alice", "edge");
    let txn = world.authority.user("usr_alice", "shop.test").with(|claims| {
        claims.original_jti = Some(origin.claims().jti.clone());
    });
    let mut headers = HeaderMap::new();
    let own = format!("Bearer {}", world.authority.service("edge", "orders").access());
    headers.insert("authorization", own.parse().unwrap());
    headers.insert("txn-token", txn.transaction("t1", "edge").parse().unwrap());
    world.ask().await.unwrap();
    assert!(service.authenticate(&headers).await.is_ok());
    world.take_back(&origin);
    world.ask().await.unwrap();
    assert_eq!(service.authenticate(&headers).await.unwrap_err().reason, Reason::Revoked);
}

#[tokio::test]
async fn whoever_has_not_heard_lately_does_as_was_chosen() {
    let world = World::new().await;
    let [strict, bounded, available] =
        [WhenStale::Strict, WhenStale::Bounded, WhenStale::Available].map(|it| world.service(it));
    let token = world.authority.user("usr_alice", "orders");
    // Nothing has been heard yet, and the token is young.
    assert_eq!(shown(&strict, &token).await.unwrap_err().reason, Reason::Stale);
    assert_eq!(shown(&bounded, &token).await, Ok(()));
    world.ask().await.unwrap();
    assert_eq!(shown(&strict, &token).await, Ok(()));
    world.clock.advance(Duration::from_secs(61));
    let refused = shown(&bounded, &token).await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.retry_after(), Some(1));
    assert_eq!(shown(&available, &token).await, Ok(()));
    // A provider that is itself not told anything makes nobody fresher.
    world.ask().await.unwrap();
    assert!(world.revocations.staleness().unwrap() >= Duration::from_secs(61));
    assert_eq!(shown(&bounded, &token).await.unwrap_err().reason, Reason::Stale);
    world.reads_the_log().await;
    world.ask().await.unwrap();
    assert_eq!(shown(&strict, &token).await, Ok(()));
    // What is known to be taken back is refused, however old the rest is.
    world.take_back(&token);
    world.ask().await.unwrap();
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(shown(&available, &token).await.unwrap_err().reason, Reason::Revoked);
}

#[tokio::test]
async fn nobody_goes_on_for_longer_than_5_s_without_saying_that_it_is_dangerous() {
    let world = World::new().await;
    let long = Duration::from_secs(3_600);
    let [within, danger] =
        [WhenStale::Within(long), WhenStale::DangerWithin(long)].map(|it| world.service(it));
    let token = world.authority.user("usr_alice", "orders");
    world.ask().await.unwrap();
    world.clock.advance(Duration::from_millis(4_900));
    assert_eq!(shown(&within, &token).await, Ok(()));
    world.clock.advance(Duration::from_millis(200));
    assert_eq!(shown(&within, &token).await.unwrap_err().reason, Reason::Stale);
    assert_eq!(shown(&danger, &token).await, Ok(()));
    world.clock.advance(Duration::from_secs(55));
    assert_eq!(shown(&danger, &token).await.unwrap_err().reason, Reason::Stale);
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_took_for_dead_is_learnt_again_once_it_is_right() {
    let world = World::new().await;
    let service = world.service(WhenStale::DangerWithin(Duration::from_secs(60)));
    let alive = |user: &str| world.authority.user(user, "orders").living(900);
    let (before, meanwhile, other) = (alive("usr_alice"), alive("usr_bob"), alive("usr_carol"));
    world.take_back(&before);
    let right = world.clock.now();
    // This process starts while its clock is two days ahead: to it, all that is long over.
    world.clock.jump(right + Duration::from_secs(2 * 86_400));
    world.ask().await.unwrap();
    world.revocations.0.view.forget();
    // Somebody sets it right.
    world.clock.jump(right);
    for token in [&before, &other] {
        assert_eq!(shown(&service, token).await.unwrap_err().reason, Reason::Stale);
    }
    world.take_back(&meanwhile);
    world.ask().await.unwrap();
    for token in [&before, &meanwhile] {
        assert_eq!(shown(&service, token).await.unwrap_err().reason, Reason::Revoked);
    }
    assert_eq!(shown(&service, &other).await, Ok(()));
    // A clock that is a little off is no reason to begin anew.
    world.clock.jump(right + Duration::from_secs(30));
    world.ask().await.unwrap();
    world.clock.jump(right);
    assert_eq!(shown(&service, &other).await, Ok(()));
}

#[tokio::test]
async fn news_that_were_asked_for_before_the_clock_was_set_right_make_nobody_fresher() {
    let world = World::new().await;
    let right = world.clock.now();
    world.clock.jump(right + Duration::from_secs(2 * 86_400));
    world.ask().await.unwrap();
    // The question names what was told; the clock is set right before the answer is here.
    let question = world.ask();
    tokio::pin!(question);
    let asked = std::future::poll_fn(|cx| Poll::Ready(question.as_mut().poll(cx).is_pending()));
    assert!(asked.await);
    world.clock.jump(right);
    assert_eq!(world.revocations.staleness(), None);
    assert!(matches!(question.await, Err(NotTold::Notice(Refusal::Claims(_)))));
    assert_eq!(world.revocations.staleness(), None);
    world.ask().await.unwrap();
    assert!(world.revocations.staleness().is_some());
}

#[tokio::test]
async fn an_answer_that_is_not_the_providers_to_this_question_makes_nobody_fresher() {
    let world = World::new().await;
    let behave = |how| world.behaves.store(how, Ordering::SeqCst);
    behave(TELLS_NEWS_TO_STRANGERS);
    assert!(matches!(world.ask().await, Err(NotTold::Notice(Refusal::Claims(_)))));
    behave(HONEST);
    world.ask().await.unwrap();
    world.clock.advance(Duration::from_secs(20));
    world.reads_the_log().await;
    behave(REPEATS_ANSWERS);
    assert!(matches!(world.ask().await, Err(NotTold::Notice(Refusal::Claims(_)))));
    behave(SIGNS_AS_TOKEN);
    assert_eq!(world.ask().await, Err(NotTold::Notice(Refusal::Kind)));
    behave(REFUSES);
    let refused = world.ask().await.unwrap_err();
    assert!(refused.to_string().contains("may_introspect"), "{refused}");
    assert!(world.revocations.staleness().unwrap() >= Duration::from_secs(20));
    behave(HONEST);
    world.ask().await.unwrap();
    assert!(world.revocations.staleness().unwrap() < Duration::from_secs(1));
}

#[tokio::test]
async fn what_was_issued_before_a_restore_is_refused_once_the_provider_tells_of_it() {
    let world = World::new().await;
    let service = world.service(WhenStale::Strict);
    let token = world.authority.user("usr_alice", "orders");
    world.ask().await.unwrap();
    assert_eq!(shown(&service, &token).await, Ok(()));
    // Another process of the provider, which begins anew with a store that knows less.
    let node = Node::with(world.clock.clone(), Arc::new(SeededEntropy::new(9)));
    let restored = View::new(node).of_epoch(Epoch(1_800_000_000));
    let empty = MemoryRecords::new(&[], world.clock.clone()).unwrap();
    restored.catch_up(&empty).await.unwrap();
    let notice = restored.notice(&Realm::default(), &BTreeMap::new()).unwrap();
    let asked = world.authority.node().since_boot();
    world.revocations.0.view.take_over(&Realm::default(), &notice, asked).unwrap();
    assert_eq!(shown(&service, &token).await.unwrap_err().reason, Reason::Revoked);
    let anew = world.authority.user("usr_alice", "orders").with(|claims| {
        claims.jti = format!("1800000000.{}", claims.jti.rsplit('.').next().unwrap());
    });
    assert_eq!(shown(&service, &anew).await, Ok(()));
    // A process of before that is heard later brings nothing back.
    world.ask().await.unwrap();
    assert_eq!(shown(&service, &token).await.unwrap_err().reason, Reason::Revoked);
}

#[test]
fn a_provider_that_is_away_is_asked_less_and_less_and_never_by_all_at_once() {
    let node = Node::with(Arc::new(ManualClock::default()), Arc::new(SeededEntropy::new(7)));
    for (number, longest) in [(0, 250), (1, 500), (2, 1_000), (3, 2_000), (4, 2_000), (99, 2_000)] {
        let longest = Duration::from_millis(longest);
        let pauses: Vec<_> = (0..100).map(|_| pause(number, &node)).collect();
        assert!(
            pauses.iter().all(|it| (longest / 2..=longest).contains(it)),
            "{number}: {pauses:?}"
        );
        assert!(pauses.iter().any(|it| it != &pauses[0]), "{number}");
    }
}
