use futures_util::FutureExt as _;
use prometheus_client::registry::Registry;
use tegata_core::{ManualClock, SeededEntropy};
use tegata_mesh::{DeclaredRoute, DeclaredService, ServiceMap};
use tegata_token::{Algorithm, jws::Compact};

use super::*;
use crate::{Config, Metrics, policies::Policies, route::Ground};

struct Bench {
    clock: Arc<ManualClock>,
    routing: Routing,
    passports: Passports,
}

impl Bench {
    fn new() -> Self {
        Self::seeing("null")
    }

    /// Before a service that is to see so much.
    fn seeing(sees: &str) -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(7)));
        let service = DeclaredService {
            name: "orders".into(),
            upstreams: vec!["http://127.0.0.1:1".into()],
            sees: serde_json::from_str(sees).unwrap(),
            ..DeclaredService::default()
        };
        let map = ServiceMap::check(&[service], &[DeclaredRoute::new("/orders", "orders")]);
        let (config, metrics) = (Config::default(), Metrics::register(&mut Registry::default()));
        let ground = Ground {
            config: &config,
            metrics: &metrics,
            clock: node.clock(),
            outward: None,
            before: None,
        };
        let routing =
            Routing::compile(&map.unwrap(), (Vec::new(), &Policies::default()), &ground, 0)
                .unwrap();
        let passports = Passports::new(node, Epoch(3), &config.internal);
        passports.use_signer(Some(key()));
        Self { clock, routing, passports }
    }

    fn now(&self) -> u64 {
        tegata_core::Clock::now(&*self.clock).secs()
    }

    fn caller(&self, sub: &str, role: &str) -> Caller {
        let claims = Claims {
            sub: sub.to_owned(),
            roles: vec![role.to_owned()],
            sid: Some("s".to_owned()),
            iat: self.now(),
            exp: self.now() + 100,
            ..Claims::default()
        };
        Caller::Session(Arc::new(SessionIdentity { claims }))
    }

    fn of(&self, caller: &Caller, ip: [u8; 4]) -> Rc<Passport> {
        let asked = Asked::from(ip.into());
        self.passports.of(caller.clone(), 0, &self.routing, asked).unwrap()
    }

    fn internal(&self, passport: &Passport) -> Result<String, Refused> {
        let target = self.routing.service(0).unwrap();
        let minted = self.passports.internal(passport, target).now_or_never().unwrap();
        minted.map(|token| token.to_str().unwrap().to_owned())
    }
}

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(Algorithm::Es256).unwrap())
}

fn claims(token: &str) -> Claims {
    Claims::parse(&Compact::parse(token).unwrap().claims).unwrap()
}

/// So many translations for 300 s, never past the life of either token.
#[test]
fn translations_are_bounded_and_fall_with_what_they_were_made_of() {
    let bench = Bench::new();
    for number in 0..12_000 {
        let passport = bench.of(&bench.caller(&format!("usr_{number}"), "a"), [192, 0, 2, 1]);
        bench.internal(&passport).unwrap();
    }
    assert!(bench.passports.kept.borrow().len() <= 10_000);
    let alice = bench.caller("usr_alice", "a");
    let passport = bench.of(&alice, [192, 0, 2, 1]);
    let first = bench.internal(&passport).unwrap();
    assert!(Rc::ptr_eq(&passport, &bench.of(&alice, [192, 0, 2, 1])));
    assert_eq!(bench.internal(&passport).unwrap(), first, "it is kept");
    // It does not outlive what it was made of, and another takes its place no sooner than it can live longer.
    assert_eq!(claims(&first).exp, alice.claims().exp);
    bench.clock.advance(Duration::from_secs(99));
    assert_eq!(bench.internal(&passport).unwrap(), first);
    // What may be done with it is another: so is what was made of it.
    let lesser = bench.of(&bench.caller("usr_alice", "b"), [192, 0, 2, 1]);
    let second = bench.internal(&lesser).unwrap();
    assert_eq!(claims(&second).roles, ["b"]);
    // What another key signed is forgotten, and without a key nobody is told anything.
    let other = key();
    let kid = other.kid().clone();
    bench.passports.use_signer(Some(Arc::clone(&other)));
    assert_eq!(bench.passports.kept.borrow().len(), 0);
    let third = bench.internal(&bench.of(&alice, [192, 0, 2, 1])).unwrap();
    let header = Compact::parse(&third).unwrap().header.kid;
    assert_eq!(header.as_deref(), Some(kid.as_str()));
    bench.passports.use_signer(Some(other));
    assert_eq!(bench.passports.kept.borrow().len(), 1, "the same key changes nothing");
    bench.passports.use_signer(None);
    let refused = bench.internal(&bench.of(&alice, [192, 0, 2, 1])).unwrap_err();
    assert_eq!(refused.id, "no_internal_key");
}

/// Fields that have to do with roles and scopes are asked for by all that count.
#[test]
fn what_a_service_is_not_to_see_counts_all_the_same() {
    let bench = Bench::seeing(r#"{"roles": [], "scope": "orders.read"}"#);
    let claims = Claims {
        sub: "usr_alice".to_owned(),
        roles: vec!["admin".to_owned(), "a,b".to_owned()],
        scope: Scope::new("orders.read orders.write").unwrap(),
        iat: bench.now(),
        exp: bench.now() + 100,
        ..Claims::default()
    };
    let caller = Caller::Session(Arc::new(SessionIdentity { claims }));
    let passport = bench.of(&caller, [192, 0, 2, 1]);
    assert_eq!(passport.roles, "");
    assert_eq!(passport.rights(), (vec!["admin"], vec!["orders.read", "orders.write"]));
    let said = self::claims(&bench.internal(&passport).unwrap());
    assert_eq!((said.roles, said.scope.as_str()), (vec![], "orders.read"));
}

/// A gateway that has not heard yet that somebody signed out everywhere goes on to make tokens of what they
/// had: those fall where it is known.
#[test]
fn an_internal_token_is_new_and_says_since_when_its_caller_had_what_it_was_made_of() {
    let bench = Bench::new();
    let (began, session) = (bench.now(), bench.caller("usr_alice", "a"));
    bench.clock.advance(Duration::from_secs(40));
    let passport = bench.of(&session, [192, 0, 2, 1]);
    let made = claims(&bench.internal(&passport).unwrap());
    assert_eq!((made.iat, made.had_since()), (began + 40, began));
    // What its subject may do was read just now.
    assert_eq!(made.first_issued(), began + 40);
    let mut outlives = session.claims().clone();
    outlives.outlives_session = true;
    let outlives = Caller::Session(Arc::new(SessionIdentity { claims: outlives }));
    let made = claims(&bench.internal(&bench.of(&outlives, [192, 0, 2, 1])).unwrap());
    assert_eq!((made.sid.as_deref(), made.session()), (Some("s"), None));
}

#[test]
fn callers_and_places_of_one_hash_are_not_mixed() {
    let bench = Bench::new();
    let place = (1, 0, 0);
    let at = |caller: &Caller, ip: [u8; 4], outside: Option<&Arc<RouteRule>>| {
        let asked = Asked { outside: outside.cloned(), ..Asked::from(ip.into()) };
        bench.passports.at(place, caller.clone(), &bench.routing, asked).unwrap()
    };
    let (alice, bob) = (bench.caller("usr_alice", "a"), bench.caller("usr_bob", "b"));
    for _ in 0..2 {
        for (caller, sub, role) in [(&alice, "usr_alice", "a"), (&bob, "usr_bob", "b")] {
            for ip in [[192, 0, 2, 1], [192, 0, 2, 2]] {
                let passport = at(caller, ip, None);
                let told = [&passport.user, &passport.roles].map(|it| it.to_str().unwrap());
                assert_eq!(told, [sub, role]);
                let said = claims(&bench.internal(&passport).unwrap());
                assert_eq!((said.sub.as_str(), said.roles), (sub, vec![role.to_owned()]));
                assert_eq!(said.context.unwrap().ip, Some(ip.into()));
            }
        }
    }
    // Nor is who is outside mistaken for who is inside.
    let path = tegata_mesh::Target::parse(b"/orders/1").unwrap();
    let rule = Arc::clone(&bench.routing.find(path.path()).unwrap().beside.rule);
    let inside = at(&alice, [192, 0, 2, 1], None);
    let outside = at(&alice, [192, 0, 2, 1], Some(&rule));
    assert!(!Rc::ptr_eq(&inside, &outside));
    assert!(Rc::ptr_eq(&outside, &at(&alice, [192, 0, 2, 1], Some(&rule))));
}
