//! Tokens that are bound to a key, sent by their holder and by those who are not (RFC 9449 §7, §11).

use std::{cell::Cell, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tegata_core::{
    BoxFuture, Ephemeral, ManualClock, Realm, SessionId, StoreError,
    port::{Held, Put, Space, Swap},
};
use tegata_store::MemoryEphemeral;
use tegata_token::{Algorithm, SigningKey, dpop, revocation::Target};

use crate::{
    echo,
    world::{Answer, Plan, World, get, nonces_of, request},
};

const PLACE: &str = "http://gateway.example/echo/x";

/// Somebody with a key and a token that is bound to it.
pub(crate) struct Holder {
    key: SigningKey,
    token: String,
    made: Cell<u32>,
}

impl Holder {
    pub(crate) fn of(world: &World) -> Self {
        Self::with(world, &[])
    }

    /// Whoever holds the key of a token with these claims.
    pub(crate) fn with(world: &World, changes: &[(&str, Value)]) -> Self {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let mut claims = world.claims();
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        claims["cnf"] = json!({"jkt": key.jwk().thumbprint()});
        Self { key, token: world.sign(&claims), made: Cell::new(0) }
    }

    pub(crate) fn proof(&self, world: &World, changes: &[(&str, Value)]) -> String {
        self.made.set(self.made.get() + 1);
        let mut claims = json!({
            "jti": format!("proof-{}", self.made.get()),
            "htm": "GET",
            "htu": PLACE,
            "iat": world.node.now().secs(),
            "ath": dpop::hash_of(&self.token),
        });
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        dpop::make(&self.key, claims.to_string().as_bytes()).unwrap()
    }

    /// A proof with another header.
    fn proof_under(&self, world: &World, change: impl FnOnce(&mut Value)) -> String {
        let good = self.proof(world, &[]);
        let (header, rest) = good.split_once('.').unwrap();
        let (claims, _) = rest.split_once('.').unwrap();
        let header = URL_SAFE_NO_PAD.decode(header).unwrap();
        let mut header: Value = serde_json::from_slice(&header).unwrap();
        change(&mut header);
        let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{signature}")
    }

    /// What `Authorization` says.
    pub(crate) fn credential(&self) -> String {
        format!("DPoP {}", self.token)
    }

    pub(crate) fn ask(&self, world: &World, path: &str, proofs: &[&str]) -> Answer {
        let credential = format!("DPoP {}", self.token);
        let mut fields = vec![("Authorization", credential.as_str())];
        fields.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
        world.ask(&get(path, &fields))
    }
}

#[test]
fn the_holder_of_a_bound_token_passes_and_the_service_sees_neither_token_nor_proof() {
    let world = World::plain();
    let holder = Holder::of(&world);
    let proof = holder.proof(&world, &[]);
    let answer = holder.ask(&world, "/echo/x?a=b", &[&proof]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_alice"));
    assert!(!answer.json().to_string().contains(&proof));
    assert!(!answer.json().to_string().contains(&holder.token));
    assert_eq!((answer.seen("dpop"), answer.seen("authorization")), (None, None));
    // The next proof is to have a nonce.
    let nonce = answer.field("dpop-nonce").unwrap();
    let next = holder.proof(&world, &[("nonce", json!(nonce))]);
    let answer = holder.ask(&world, "/echo/x", &[&next]);
    assert_eq!((answer.status, answer.field("dpop-nonce")), (200, None));
}

#[test]
fn every_proof_that_does_not_count_is_refused() {
    let world = World::plain();
    let (holder, other) = (Holder::of(&world), Holder::of(&world));
    let now = world.node.now().secs();
    let with = |name: &'static str, value: Value| holder.proof(&world, &[(name, value)]);
    let used = holder.proof(&world, &[]);
    assert_eq!(holder.ask(&world, "/echo/x", &[&used]).status, 200);
    let others = serde_json::to_value(other.key.jwk()).unwrap();
    let unnamed = dpop::make(
        &holder.key,
        json!({"jti": "a", "htm": "GET", "htu": PLACE, "iat": now}).to_string().as_bytes(),
    )
    .unwrap();
    let theirs = nonces_of(2).current(world.node.now());
    let spent = world.nonces.current(world.node.now() - std::time::Duration::from_secs(600));
    for (what, proof, problem) in [
        ("used", used, "dpop_replayed"),
        ("another method", with("htm", json!("POST")), "dpop_proof"),
        ("another path", with("htu", json!("http://gateway.example/echo/y")), "dpop_proof"),
        ("another scheme", with("htu", json!("https://gateway.example/echo/x")), "dpop_proof"),
        ("another host", with("htu", json!("http://evil.example/echo/x")), "dpop_proof"),
        ("old", with("iat", json!(now - 61)), "dpop_time"),
        ("of the future", with("iat", json!(now + 61)), "dpop_time"),
        ("no token", unnamed, "dpop_proof"),
        ("another token", with("ath", json!(dpop::hash_of("x"))), "dpop_proof"),
        ("alg none", holder.proof_under(&world, |it| it["alg"] = json!("none")), "dpop_proof"),
        ("symmetric", holder.proof_under(&world, |it| it["alg"] = json!("HS256")), "dpop_proof"),
        ("private", holder.proof_under(&world, |it| it["jwk"]["d"] = json!("AQ")), "dpop_proof"),
        ("x5c", holder.proof_under(&world, |it| it["x5c"] = json!(["AA"])), "dpop_proof"),
        ("jku", holder.proof_under(&world, |it| it["jku"] = json!("https://e")), "dpop_proof"),
        ("another's key", holder.proof_under(&world, |it| it["jwk"] = others), "dpop_proof"),
        ("a token", holder.proof_under(&world, |it| it["typ"] = json!("at+jwt")), "dpop_proof"),
        (
            "by another",
            {
                let ath = ("ath", json!(dpop::hash_of(&holder.token)));
                other.proof(&world, &[ath])
            },
            "token_bound",
        ),
        ("another installation's nonce", with("nonce", json!(theirs)), "dpop_nonce"),
        ("a nonce that has ended", with("nonce", json!(spent)), "dpop_nonce"),
    ] {
        let answer = holder.ask(&world, "/echo/x", &[&proof]);
        assert_eq!((answer.status, answer.problem().as_str()), (401, problem), "{what}");
        let challenge = answer.field("www-authenticate").unwrap();
        let error = match problem {
            "token_bound" => "invalid_token",
            "dpop_nonce" => "use_dpop_nonce",
            _ => "invalid_dpop_proof",
        };
        let expected = format!(r#"DPoP error="{error}", algs="RS256 PS256 ES256 EdDSA Ed25519""#);
        assert_eq!(challenge, expected, "{what}");
        assert_eq!(answer.field("dpop-nonce").is_some(), problem == "dpop_nonce", "{what}");
    }
    assert_eq!(holder.ask(&world, "/echo/x", &[]).problem(), "dpop_proof");
    let (one, two) = (holder.proof(&world, &[]), holder.proof(&world, &[]));
    assert_eq!(holder.ask(&world, "/echo/x", &[&one, &two]).problem(), "dpop_proof");
    // A proof for one method is none for another.
    let credential = format!("DPoP {}", holder.token);
    let proof = holder.proof(&world, &[]);
    let fields = [("Authorization", credential.as_str()), ("DPoP", &proof)];
    assert_eq!(world.ask(&request("POST", "/echo/x", &fields, "a")).problem(), "dpop_proof");
}

#[test]
fn spellings_of_the_place_that_was_asked_for_are_one() {
    let world = World::plain();
    let holder = Holder::of(&world);
    for htu in [
        "http://gateway.example/echo/x?a=b#c",
        "HTTP://GATEWAY.example:80/echo/x",
        "http://gateway.example/echo/%78",
    ] {
        let proof = holder.proof(&world, &[("htu", json!(htu))]);
        assert_eq!(holder.ask(&world, "/echo/x?c=d", &[&proof]).status, 200, "{htu}");
    }
    let proof = holder.proof(&world, &[]);
    assert_eq!(holder.ask(&world, "/echo/%78", &[&proof]).status, 200);
}

#[test]
fn a_bound_token_is_no_bearer_token_and_the_other_way_round() {
    let world = World::plain();
    let holder = Holder::of(&world);
    let proof = holder.proof(&world, &[]);
    let credential = format!("Bearer {}", holder.token);
    for fields in [
        vec![("Authorization", credential.as_str())],
        vec![("Authorization", credential.as_str()), ("DPoP", proof.as_str())],
    ] {
        let answer = world.ask(&get("/echo/x", &fields));
        assert_eq!((answer.status, answer.problem().as_str()), (401, "token_bound"));
        let challenge = answer.field("www-authenticate").unwrap();
        assert_eq!(
            challenge,
            r#"DPoP error="invalid_token", algs="RS256 PS256 ES256 EdDSA Ed25519""#
        );
    }
    let unbound = Holder { token: world.token(), ..Holder::of(&world) };
    let answer = unbound.ask(&world, "/echo/x", &[&unbound.proof(&world, &[])]);
    assert_eq!((answer.status, answer.problem().as_str()), (401, "token_not_bound"));
    // Both ways are offered to whoever shows nothing.
    let nobody = world.ask(&get("/echo/x", &[]));
    let offered = nobody.fields("www-authenticate");
    assert_eq!(offered, ["Bearer", r#"DPoP algs="RS256 PS256 ES256 EdDSA Ed25519""#]);
}

#[test]
fn a_proof_counts_once_however_many_show_it_at_once() {
    let world = World::plain();
    let holder = Holder::of(&world);
    let proof = holder.proof(&world, &[]);
    let credential = format!("DPoP {}", holder.token);
    let text = get("/echo/x", &[("Authorization", &credential), ("DPoP", &proof)]);
    let (world, text) = (&world, &text);
    let passed: usize = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = world.connect();
                    (0..25).filter(|_| client.ask(text).status == 200).count()
                })
            })
            .collect();
        asking.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert_eq!(passed, 1);
}

/// Two gateways of one issuer, which share a store.
fn two_that_share(store: &Arc<dyn Ephemeral>) -> [World; 2] {
    let key = Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
    [(); 2].map(|()| {
        let (shared, key) = (Some(Arc::clone(store)), Some(Arc::clone(&key)));
        Plan { shared, key, ..Plan::with(echo::start()) }.start()
    })
}

#[test]
fn a_proof_counts_once_at_all_gateways_together() {
    let store: Arc<dyn Ephemeral> =
        Arc::new(MemoryEphemeral::new(Arc::new(ManualClock::default())));
    let worlds = two_that_share(&store);
    let holder = Holder::of(&worlds[0]);
    let proof = holder.proof(&worlds[0], &[]);
    let credential = format!("DPoP {}", holder.token);
    let text = get("/echo/x", &[("Authorization", &credential), ("DPoP", &proof)]);
    let (worlds, text) = (&worlds, &text);
    let passed: usize = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = worlds[number % 2].connect();
                    (0..25).filter(|_| client.ask(text).status == 200).count()
                })
            })
            .collect();
        asking.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert_eq!(passed, 1);
    for world in worlds {
        let answer = holder.ask(world, "/echo/x", &[&proof]);
        assert_eq!((answer.status, answer.problem().as_str()), (401, "dpop_replayed"));
        // Another counts at either.
        assert_eq!(holder.ask(world, "/echo/x", &[&holder.proof(world, &[])]).status, 200);
    }
    // Whoever starts anew has seen nothing, and is told.
    let (shared, key) = (Some(Arc::clone(&store)), Some(Arc::clone(&worlds[0].key)));
    let anew = Plan { shared, key, ..Plan::with(echo::start()) }.start();
    assert_eq!(holder.ask(&anew, "/echo/x", &[&proof]).problem(), "dpop_replayed");
}

/// A gateway that is alone, and may not be the first process.
fn anew(key: &Arc<SigningKey>) -> World {
    let key = Some(Arc::clone(key));
    Plan { just_started: true, real_time: true, key, ..Plan::with(echo::start()) }.start()
}

#[test]
fn a_gateway_that_is_alone_asks_for_another_where_a_proof_may_be_older_than_it() {
    let key = Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
    let first = anew(&key);
    let holder = Holder::of(&first);
    let now = first.node.now().secs();
    // Clocks of clients are ahead, or behind.
    let mut nonces = Vec::new();
    for made in [now - 30, now, now + 55] {
        let installations = first.nonces.current(first.node.now());
        for nonce in [None, Some(("nonce", json!(installations)))] {
            let changes = [("iat", json!(made))].into_iter().chain(nonce).collect::<Vec<_>>();
            let answer = holder.ask(&first, "/echo/x", &[&holder.proof(&first, &changes)]);
            assert_eq!((answer.status, answer.problem().as_str()), (401, "dpop_nonce"), "{made}");
            nonces.push(answer.field("dpop-nonce").unwrap().to_owned());
        }
    }
    let with = |nonce: &str| [("iat", json!(now + 55)), ("nonce", json!(nonce))];
    let proof = holder.proof(&first, &with(&nonces[0]));
    let answer = holder.ask(&first, "/echo/x", &[&proof]);
    assert_eq!((answer.status, answer.field("dpop-nonce")), (200, None));
    assert_eq!(holder.ask(&first, "/echo/x", &[&proof]).problem(), "dpop_replayed");
    // The next process does not take what this one took.
    let next = anew(&key);
    let answer = holder.ask(&next, "/echo/x", &[&proof]);
    assert_eq!((answer.status, answer.problem().as_str()), (401, "dpop_nonce"));
    let told = answer.field("dpop-nonce").unwrap();
    assert_eq!(holder.ask(&next, "/echo/x", &[&holder.proof(&next, &with(told))]).status, 200);
}

#[test]
fn a_minute_after_its_start_a_gateway_that_is_alone_takes_proofs_as_any_other() {
    let world = Plan { just_started: true, ..Plan::with(echo::start()) }.start();
    let holder = Holder::of(&world);
    let early = holder.ask(&world, "/echo/x", &[&holder.proof(&world, &[])]);
    let own = early.field("dpop-nonce").unwrap();
    world.clock.advance(dpop::WINDOW);
    world.refresh_revocations();
    let answer = holder.ask(&world, "/echo/x", &[&holder.proof(&world, &[])]);
    assert_eq!(answer.status, 200);
    // What it gave out counts for its time, and then that of the installation is given out.
    let proof = holder.proof(&world, &[("nonce", json!(own))]);
    assert_eq!(holder.ask(&world, "/echo/x", &[&proof]).status, 200);
    world.clock.advance(2 * dpop::WINDOW);
    world.refresh_revocations();
    let answer = holder.ask(&world, "/echo/x", &[&holder.proof(&world, &[])]);
    let current = world.nonces.current(world.now());
    assert_eq!((answer.status, answer.field("dpop-nonce")), (200, Some(current.as_str())));
}

/// A store that does not answer, or only when it is too late.
struct Away {
    hangs: bool,
}

impl Away {
    fn answer<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, StoreError>> {
        let hangs = self.hangs;
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Err(StoreError::Unavailable { backend: "a store", detail: "it is away".to_owned() })
        })
    }
}

impl Ephemeral for Away {
    fn get<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.answer()
    }

    fn put<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.answer()
    }

    fn add<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.answer()
    }

    fn swap<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: u64,
        _: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        self.answer()
    }

    fn take<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.answer()
    }

    fn find<'a>(
        &'a self,
        _: &'a Realm,
        _: &'static Space,
        _: &'a str,
        _: Option<&'a str>,
        _: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        self.answer()
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.answer()
    }
}

#[test]
fn without_the_store_a_proof_counts_on_routes_alone_that_put_being_there_first() {
    for hangs in [false, true] {
        let worlds = two_that_share(&(Arc::new(Away { hangs }) as Arc<dyn Ephemeral>));
        let holder = Holder::of(&worlds[0]);
        let place = |path: &str| ("htu", json!(format!("http://gateway.example{path}")));
        let proof = |path: &str| holder.proof(&worlds[0], &[place(path)]);
        for path in ["/echo/x", "/strict/x"] {
            let shown = proof(path);
            let answer = holder.ask(&worlds[0], path, &[&shown]);
            assert_eq!((answer.status, answer.problem().as_str()), (503, "dpop_unknown"), "{path}");
            assert_eq!(answer.field("retry-after"), Some("1"));
            // Whoever tries again makes another.
            let again = holder.ask(&worlds[0], path, &[&shown]);
            assert_eq!((again.status, again.problem().as_str()), (401, "dpop_replayed"), "{path}");
        }
        // What the node itself has seen counts there no more, even then.
        let shown = proof("/available/x");
        let statuses = [(); 2].map(|()| holder.ask(&worlds[0], "/available/x", &[&shown]).status);
        assert_eq!(statuses, [200, 401]);
    }
}

#[test]
fn where_a_nonce_is_required_a_proof_without_one_is_told_of_it() {
    let world = Plan { requires_nonce: true, ..Plan::with(echo::start()) }.start();
    let holder = Holder::of(&world);
    let answer = holder.ask(&world, "/echo/x", &[&holder.proof(&world, &[])]);
    assert_eq!((answer.status, answer.problem().as_str()), (401, "dpop_nonce"));
    assert!(answer.field("www-authenticate").unwrap().contains("use_dpop_nonce"));
    let nonce = answer.field("dpop-nonce").unwrap();
    let proof = holder.proof(&world, &[("nonce", json!(nonce))]);
    assert_eq!(holder.ask(&world, "/echo/x", &[&proof]).status, 200);
    // Bearer tokens go on as ever.
    assert_eq!(world.get("/echo/x", &world.token()).status, 200);
}

#[test]
fn a_proxy_that_is_believed_says_where_the_request_was_sent() {
    let mut plan = Plan::with(echo::start());
    plan.config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let world = plan.start();
    let holder = Holder::of(&world);
    let credential = format!("DPoP {}", holder.token);
    let ask = |world: &World, htu: &str| {
        let proof = holder.proof(world, &[("htu", json!(htu))]);
        world.ask(&get(
            "/echo/x",
            &[
                ("Authorization", &credential),
                ("DPoP", &proof),
                ("X-Forwarded-For", "192.0.2.7"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "shop.example"),
            ],
        ))
    };
    assert_eq!(ask(&world, "https://shop.example/echo/x").status, 200);
    assert_eq!(ask(&world, PLACE).problem(), "dpop_proof");
    // Nobody else is.
    let world = World::plain();
    let holder = Holder::of(&world);
    let credential = format!("DPoP {}", holder.token);
    let proof = holder.proof(&world, &[("htu", json!("https://shop.example/echo/x"))]);
    let fields = [
        ("Authorization", credential.as_str()),
        ("DPoP", &proof),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example"),
    ];
    assert_eq!(world.ask(&get("/echo/x", &fields)).problem(), "dpop_proof");
}

#[test]
fn a_bound_token_that_was_taken_back_is_refused_with_its_proof() {
    let world = World::plain();
    let holder = Holder::of(&world);
    world.revoke(Target::Session(SessionId::new("1.30000.s").unwrap()));
    let answer = holder.ask(&world, "/echo/x", &[&holder.proof(&world, &[])]);
    assert_eq!((answer.status, answer.problem().as_str()), (401, "token_revoked"));
}

#[test]
fn whoever_has_a_token_that_was_taken_back_writes_nothing_with_their_proofs() {
    let store: Arc<dyn Ephemeral> = Arc::new(Away { hangs: false });
    let [world, _] = two_that_share(&store);
    let holder = Holder::of(&world);
    world.revoke(Target::Session(SessionId::new("1.30000.s").unwrap()));
    let proof = holder.proof(&world, &[]);
    // The store would not have answered, and nothing is remembered here, either.
    for _ in 0..2 {
        let answer = holder.ask(&world, "/echo/x", &[&proof]);
        assert_eq!((answer.status, answer.problem().as_str()), (401, "token_revoked"));
    }
}

#[test]
fn a_route_that_looks_at_no_credentials_hands_no_proof_of_ours_to_the_service() {
    let world = World::plain();
    let holder = Holder::of(&world);
    let answer = holder.ask(&world, "/public/x", &[&holder.proof(&world, &[])]);
    assert_eq!(
        (answer.status, answer.seen("dpop"), answer.seen("authorization")),
        (200, None, None)
    );
    // What is between a service and its own clients passes.
    let theirs = [("Authorization", "DPoP x"), ("DPoP", "y")];
    let answer = world.ask(&get("/public/x", &theirs));
    assert_eq!(answer.seen("dpop").as_deref(), Some("y"));
}
