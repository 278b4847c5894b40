//! Who calls, and whether they may.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use serde_json::json;
use tegata_core::{BoxFuture, ClientId, Epoch, FamilyId, KeyId, SessionId, TokenId};
use tegata_gateway::{
    Checked, Head, Renewed, SessionCheck, SessionIdentity, SessionRefused, SetCookie,
    introspection::Introspection,
};
use tegata_mesh::{DeclaredService, IdentityForm};
use tegata_policy::Forbid;
use tegata_token::{
    Algorithm, Claims, Expected, ExpectedAudience, InternalToken, KeySet, Lineage, MayAct, Memory,
    Scope, SigningKey, Verifier, VerifyingKey, jws, revocation::Target,
};

use crate::{
    echo,
    world::{EPOCH, ISSUER, Plan, World, get, request},
};

#[test]
fn a_service_learns_who_calls_and_never_sees_the_credential() {
    let world = World::plain();
    let token = world.token();
    let answer = world.get("/echo/a/b?c=d", &token);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["path"], "/a/b");
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_alice"));
    assert_eq!(answer.seen("x-user-roles").as_deref(), Some("customer"));
    assert_eq!(answer.seen("x-request-id").as_deref(), answer.field("x-request-id"));
    assert_eq!(answer.seen("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(answer.seen("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(answer.seen("x-forwarded-host").as_deref(), Some("gateway.example"));
    assert!(answer.seen("traceparent").is_some());
    assert!(!answer.json().to_string().contains(&token));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
}

#[test]
fn a_route_that_looks_at_no_credentials_hands_none_of_ours_to_the_service() {
    let world = World::plain();
    let mut claims = world.claims();
    let mut ours = vec![world.token()];
    // For somebody else, or past its time, as far as anybody has looked.
    claims["aud"] = json!("https://other.example");
    ours.push(world.sign(&claims));
    claims["exp"] = json!(1);
    ours.push(world.sign(&claims));
    // Of another kind.
    let id = json!({"iss": ISSUER, "sub": "usr_alice", "aud": "web", "nonce": "n"});
    ours.push(jws::sign(&world.key, "JWT", id.to_string().as_bytes()).unwrap());
    for token in ours {
        for line in [format!("Bearer {token}"), format!("bearer  {token}"), token.clone()] {
            let answer = world.ask(&get("/public/x", &[("Authorization", &line)]));
            assert_eq!((answer.status, answer.seen("authorization")), (200, None), "{line}");
        }
        // In the second of two lines.
        let two = [("Authorization", "Basic eDp5"), ("Authorization", &format!("Bearer {token}"))];
        let answer = world.ask(&get("/public/x", &two));
        assert!(!answer.json().to_string().contains(&token));
    }
    // What is the service's own passes.
    let theirs = json!({"iss": "https://other.example", "sub": "x", "jti": "1"});
    let theirs = jws::sign(&world.key, "JWT", theirs.to_string().as_bytes()).unwrap();
    for line in [format!("Bearer {theirs}"), "Bearer opaque".into(), "Basic eDp5".into()] {
        let answer = world.ask(&get("/public/x", &[("Authorization", &line)]));
        assert_eq!(answer.seen("authorization"), Some(line));
    }
}

/// What an internal token for the echo says, when the echo has verified it.
/// What an internal token says, verified as the service `echo` would.
pub(crate) fn told(world: &World, token: &str) -> Claims {
    let expected = Expected {
        issuer: "tegata-gateway".into(),
        audience: ExpectedAudience::OneOf(vec!["echo".into()]),
        leeway: Duration::ZERO,
    };
    let verifier: Verifier<InternalToken> =
        Verifier::new(expected, &Memory::default(), world.node.clock().clone());
    let key = VerifyingKey::from_jwk(world.key.jwk()).unwrap();
    verifier.use_keys(KeySet::new(vec![Arc::new(key)]));
    verifier.verify(token).unwrap().claims().clone()
}

#[test]
fn the_internal_token_says_what_it_must_and_no_more() {
    let world = World::plain();
    let mut claims = world.claims();
    let now = world.node.now().secs();
    claims["iat"] = json!(now - 40);
    claims["authorization_details"] = json!([{"type": "payment", "to": "A"}]);
    claims["may_act"] = json!({"sub": "orders"});
    let token = world.sign(&claims);
    let seen = world.get("/echo/x", &token).seen("x-internal-token").unwrap();
    let internal = told(&world, &seen);
    assert_eq!((internal.sub.as_str(), internal.exp), ("usr_alice", now + 300));
    assert_eq!(internal.iat, now);
    // What takes back by its time what it was made of takes this back.
    assert_eq!(internal.first_issued(), now - 40);
    assert_eq!(internal.scope.as_str(), "orders.read orders.write");
    assert_eq!(internal.roles, ["customer"]);
    let details = internal.authorization_details.unwrap();
    assert_eq!(json!(details), claims["authorization_details"]);
    assert_eq!(internal.original_jti.as_deref(), claims["jti"].as_str());
    // What falls with its client falls at services, too, and whoever alone may act is still alone.
    let lineage = Lineage { client: vec!["web".into()], iat: Some(now - 40), ..Lineage::default() };
    assert_eq!(
        (internal.lineage, internal.may_act),
        (lineage.claim(), Some(MayAct { sub: "orders".into() }))
    );
    assert_eq!(internal.sid.as_deref(), Some("1.30000.s"));
    assert_eq!(internal.fid.as_deref(), Some("1.30000.f"));
    assert!(TokenId::new(&internal.jti).is_ok() && internal.jti != claims["jti"]);
    // It is kept for the next request, and made anew when it has little life left.
    let again = |world: &World| world.get("/echo/x", &token).seen("x-internal-token").unwrap();
    assert_eq!(again(&world), seen);
    world.clock.advance(Duration::from_secs(250));
    world.refresh_revocations();
    let later = again(&world);
    assert_ne!(later, seen);
    assert_eq!(told(&world, &later).exp, world.node.now().secs() + 300);
    // It never outlives the token that it was made from.
    claims["exp"] = json!(world.node.now().secs() + 20);
    claims["iat"] = json!(world.node.now().secs());
    let short = world.get("/echo/x", &world.sign(&claims)).seen("x-internal-token").unwrap();
    assert_eq!(told(&world, &short).exp, world.node.now().secs() + 20);
    // It is not accepted from outside.
    assert_eq!(world.get("/echo/x", &short).problem(), "token_kind");
}

#[test]
fn a_service_that_verifies_no_token_is_told_in_headers_alone_and_never_by_the_client() {
    let mut plan = Plan::with(echo::start());
    let upstreams = plan.services[0].1.iter().map(|at| format!("http://{at}")).collect();
    plan.declared = vec![DeclaredService {
        name: "plain".into(),
        upstreams,
        identity: IdentityForm::Headers,
        ..DeclaredService::default()
    }];
    let routes = plan.routes.as_array_mut().unwrap();
    routes.push(json!({"path": "/plain", "service": "plain"}));
    let world = plan.start();
    let bearer = format!("Bearer {}", world.token());
    let forged = [
        ("Authorization", bearer.as_str()),
        ("X-Internal-Token", "forged"),
        ("x_internal_token", "forged"),
        ("X-User-ID", "usr_forged"),
    ];
    let answer = world.ask(&get("/plain/x", &forged));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_alice"));
    assert_eq!(answer.seen("x-user-roles").as_deref(), Some("customer"));
    assert_eq!(answer.seen("x-internal-token"), None);
    assert!(!answer.json().to_string().contains("forged"));
    // The one beside it is told as ever.
    assert!(world.ask(&get("/echo/x", &forged)).seen("x-internal-token").is_some());
    // Who may not pass does not pass.
    assert_eq!(world.ask(&get("/plain/x", &[])).status, 401);
}

#[test]
fn credentials_that_do_not_count_are_refused_with_a_challenge() {
    let world = World::plain();
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = world.claims();
        claims[name] = value;
        world.sign(&claims)
    };
    let now = world.node.now().secs();
    let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
    let forged = jws::sign(&stranger, "at+jwt", world.claims().to_string().as_bytes()).unwrap();
    for (token, problem) in [
        (with("exp", json!(now - 31)), "token_expired"),
        (with("nbf", json!(now + 60)), "token_not_yet"),
        (with("iss", json!("https://evil.example")), "token_issuer"),
        (with("aud", json!("https://other.example")), "token_audience"),
        (with("cnf", json!({"jkt": "x"})), "token_bound"),
        (with("cnf", json!({"x5t#S256": "x"})), "token_certificate"),
        (with("cnf", json!({"x5t#S256": "x", "jkt": "x"})), "token_bound"),
        (with("cnf", json!({})), "token_bound"),
        (with("cnf", json!({"kid": "x"})), "token_claims"),
        (with("cnf", json!({"jkt": "x", "jwk": {}})), "token_claims"),
        (with("sub", json!("usr_a\nX-User-Roles: admin")), "subject_unfit"),
        (forged, "token_key_unknown"),
        ("x.y.z".into(), "token_malformed"),
        ("a".repeat(8000), "token_malformed"),
    ] {
        for path in ["/echo/x", "/maybe/x"] {
            let answer = world.get(path, &token);
            assert_eq!((answer.status, answer.problem().as_str()), (401, problem), "{path}");
            let challenge = answer.field("www-authenticate").unwrap();
            let scheme = if problem == "token_bound" { "DPoP" } else { "Bearer" };
            assert!(challenge.starts_with(&format!(r#"{scheme} error="invalid_token""#)));
        }
        // Where credentials are not looked at, they change nothing.
        assert_eq!(world.get("/public/x", &token).status, 200);
    }
    for value in ["Bearer", "Basic YTpi", "DPoP x", "Bearer\tx", "bearer", "Token x"] {
        let answer = world.ask(&get("/echo/x", &[("Authorization", value)]));
        assert_eq!(answer.status, 401, "{value}");
        assert!(answer.field("www-authenticate").unwrap().contains("invalid_token"));
    }
    let token = format!("bearer {}", world.token());
    assert_eq!(world.ask(&get("/echo/x", &[("authorization", &token)])).status, 200);
    let twice = world.ask(&get("/echo/x", &[("Authorization", &token), ("Authorization", &token)]));
    assert_eq!((twice.status, twice.problem().as_str()), (400, "several_authorizations"));
}

#[test]
fn nobody_is_asked_to_sign_in_where_somebody_is_needed() {
    let world = World::plain();
    let answer = world.ask(&get("/echo/x", &[]));
    assert_eq!((answer.status, answer.problem().as_str()), (401, "not_authenticated"));
    assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
    let nobody = world.ask(&get("/maybe/x", &[]));
    assert_eq!(nobody.status, 200);
    assert_eq!(nobody.seen("x-user-id"), None);
    let somebody = world.get("/maybe/x", &world.token());
    assert_eq!(somebody.seen("x-user-id").as_deref(), Some("usr_alice"));
}

#[test]
fn roles_scopes_and_methods_decide() {
    let mut plan = Plan::with(echo::start());
    let forbid = Forbid { roles: vec!["suspended".into()], ..Forbid::named("no-suspended") };
    plan.forbids.push(forbid);
    let world = plan.start();
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = world.claims();
        claims[name] = value;
        world.sign(&claims)
    };
    let customer = world.token();
    let admin = with("roles", json!(["customer", "admin"]));
    let answer = world.get("/admin/x", &customer);
    assert_eq!((answer.status, answer.problem().as_str()), (403, "missing_role"));
    assert_eq!(world.get("/admin/x", &admin).status, 200);
    // A role that would be read as two is none.
    let sly = with("roles", json!(["x,admin", "admin "]));
    assert_eq!(world.get("/admin/x", &sly).status, 403);
    let seen = world.get("/echo/x", &sly).seen("x-user-roles");
    assert_eq!(seen.as_deref(), Some(""));

    assert_eq!(world.get("/read/x", &customer).status, 200);
    let narrow = world.get("/read/x", &with("scope", json!("orders.write")));
    assert_eq!((narrow.status, narrow.problem().as_str()), (403, "missing_scope"));
    assert_eq!(
        narrow.field("www-authenticate"),
        Some(r#"Bearer error="insufficient_scope", scope="orders.read""#)
    );
    let token = format!("Bearer {customer}");
    let ask = |method| world.ask(&request(method, "/read/x", &[("Authorization", &token)], ""));
    let post = ask("POST");
    assert_eq!((post.status, post.problem().as_str()), (405, "method_not_allowed"));
    assert_eq!(post.field("allow"), Some("GET, HEAD"));
    assert_eq!((ask("HEAD").status, ask("get").status), (200, 405));
    let suspended = world.get("/echo/x", &with("roles", json!(["suspended"])));
    assert_eq!((suspended.status, suspended.problem().as_str()), (403, "forbidden"));
    let nowhere = world.get("/nowhere", &customer);
    assert_eq!((nowhere.status, nowhere.problem().as_str()), (404, "no_route"));
    let metrics = world.metrics();
    assert!(metrics.contains(r#"policy_decisions_total{decision="deny"} 6"#), "{metrics}");
    assert!(
        metrics.contains(r#"gateway_requests_total{service="echo",status="403"} 4"#),
        "{metrics}"
    );
}

#[test]
fn what_is_taken_back_is_refused_by_the_next_request_of_the_same_connection() {
    let world = World::plain();
    for target in [
        |claims: &serde_json::Value| {
            Target::Token(TokenId::new(claims["jti"].as_str().unwrap()).unwrap())
        },
        |_: &serde_json::Value| Target::Family(FamilyId::new("1.30000.fam").unwrap()),
        |_: &serde_json::Value| Target::Session(SessionId::new("1.30000.ses").unwrap()),
        |claims: &serde_json::Value| Target::Subject {
            sub: claims["sub"].as_str().unwrap().to_owned(),
            up_to: tegata_core::Timestamp::from_secs(claims["iat"].as_u64().unwrap()),
            tokens_only: false,
        },
        |claims: &serde_json::Value| Target::Client {
            client: ClientId::new("app").unwrap(),
            up_to: tegata_core::Timestamp::from_secs(claims["iat"].as_u64().unwrap()),
        },
    ] {
        let mut claims = world.claims();
        claims["sub"] = json!("usr_mallory");
        claims["fid"] = json!("1.30000.fam");
        claims["sid"] = json!("1.30000.ses");
        claims["client_id"] = json!("app");
        let token = format!("Bearer {}", world.sign(&claims));
        let ask = get("/echo/x", &[("Authorization", &token)]);
        let fresh = World::plain();
        let token_there = format!("Bearer {}", fresh.sign(&claims));
        let ask_there = get("/echo/x", &[("Authorization", &token_there)]);
        let mut client = fresh.connect();
        for _ in 0..3 {
            assert_eq!(client.ask(&ask_there).status, 200);
        }
        fresh.revoke(target(&claims));
        let refused = client.ask(&ask_there);
        assert_eq!((refused.status, refused.problem().as_str()), (401, "token_revoked"));
        // Elsewhere nothing happened.
        assert_eq!(world.ask(&ask).status, 200);
    }
    let kid = KeyId::new(world.key.kid().as_str()).unwrap();
    let token = world.token();
    assert_eq!(world.get("/echo/x", &token).status, 200);
    world.revoke(Target::Key(kid));
    assert_eq!(world.get("/echo/x", &token).problem(), "token_revoked");
}

#[test]
fn while_revocations_cannot_be_learnt_each_route_follows_its_mode() {
    let world = World::plain();
    let token = world.token();
    let old = |path: &str| {
        let answer = world.get(path, &token);
        (answer.status, (answer.status != 200).then(|| answer.problem()))
    };
    // Fresh.
    for path in ["/echo/x", "/strict/x", "/available/x"] {
        assert_eq!(old(path).0, 200);
    }
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(old("/strict/x").0, 200);
    // Stale, and the token is young.
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(old("/strict/x"), (503, Some("revocations_stale".into())));
    assert_eq!((old("/echo/x").0, old("/available/x").0), (200, 200));
    // Stale, and the token is old.
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(old("/echo/x"), (503, Some("revocations_stale".into())));
    assert_eq!(old("/available/x").0, 200);
    assert_eq!(world.ask(&get("/public/x", &[])).status, 200);
    // Stale, and the token is about to end.
    world.clock.advance(Duration::from_secs(900 - 65 - 60));
    assert_eq!(old("/echo/x").0, 200);
    // What is known is refused, stale or not.
    world.revoke(Target::Subject {
        sub: "usr_alice".into(),
        up_to: world.now(),
        tokens_only: false,
    });
    assert_eq!(old("/available/x"), (401, Some("token_revoked".into())));
}

/// Says of every token the same: that it counts (1), that it does not (0), nothing (2), or never anything.
/// A fake.
#[derive(Default)]
struct Others {
    says: AtomicU8,
    asked: Mutex<Vec<String>>,
}

impl Introspection for Others {
    fn is_active<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<bool>> {
        self.asked.lock().unwrap().push(token.to_owned());
        let says = self.says.load(Ordering::SeqCst);
        Box::pin(async move {
            match says {
                0 => Some(false),
                1 => Some(true),
                2 => None,
                _ => std::future::pending().await,
            }
        })
    }
}

#[test]
fn a_bounded_route_asks_others_while_revocations_cannot_be_learnt() {
    let others = Arc::new(Others::default());
    let mut plan = Plan::with(echo::start());
    plan.introspection = Some(Arc::clone(&others) as Arc<dyn Introspection>);
    let world = plan.start();
    let claims = world.claims();
    let (token, jti) = (world.sign(&claims), claims["jti"].as_str().unwrap().to_owned());
    let says = |says: u8| others.says.store(says, Ordering::SeqCst);
    let asked = || others.asked.lock().unwrap().drain(..).count();
    let told = |path: &str| {
        let answer = world.get(path, &token);
        (answer.status, (answer.status != 200).then(|| answer.problem()))
    };
    let is_noted_as_revoked = || world.usage.of(&jti).is_some_and(|it| it.revoked.is_raised());
    // Nobody is asked while enough is known, nor of the young.
    assert_eq!((told("/echo/x").0, asked()), (200, 0));
    world.clock.advance(Duration::from_secs(6));
    assert_eq!((told("/echo/x").0, asked()), (200, 0));
    world.clock.advance(Duration::from_secs(60));
    // Where it does not count elsewhere, it is refused. Nobody said that it was taken back.
    assert_eq!(told("/echo/x"), (401, Some("token_inactive".into())));
    assert!(!is_noted_as_revoked());
    assert_eq!(*others.asked.lock().unwrap(), [token.as_str()]);
    others.asked.lock().unwrap().clear();
    says(1);
    assert_eq!((told("/echo/x").0, asked()), (200, 1));
    // Each time: what was said a moment ago may not be so any more.
    says(0);
    assert_eq!((told("/echo/x").0, asked()), (401, 1));
    // Whoever says nothing, or not in time, lets nothing pass.
    for silence in [2, 3] {
        says(silence);
        assert_eq!(told("/echo/x"), (503, Some("revocations_stale".into())), "{silence}");
    }
    assert_eq!(asked(), 2);
    // Other modes are what they were.
    says(1);
    assert_eq!(told("/strict/x"), (503, Some("revocations_stale".into())));
    assert_eq!((told("/available/x").0, asked()), (200, 0));
    // What is no token of ours is shown to nobody.
    let forged = format!("{token}x");
    assert_eq!((world.get("/echo/x", &forged).status, asked()), (401, 0));
    // What is known to be taken back is refused, whatever others say.
    world.revoke(Target::Subject {
        sub: "usr_alice".into(),
        up_to: world.now(),
        tokens_only: false,
    });
    assert_eq!(told("/echo/x"), (401, Some("token_revoked".into())));
    assert_eq!(asked(), 0);
    assert!(is_noted_as_revoked());
}

#[test]
fn knowledge_that_returns_is_used_at_once() {
    let world = World::plain();
    let token = world.token();
    world.clock.advance(Duration::from_secs(100));
    assert_eq!(world.get("/strict/x", &token).status, 503);
    world.refresh_revocations();
    assert_eq!(world.get("/strict/x", &token).status, 200);
    assert!(
        world.metrics().contains(r#"revocation_checks_total{layer="memory",result="stale"} 1"#)
    );
}

#[test]
fn a_node_that_knows_no_revocations_yet_is_stale() {
    let mut plan = Plan::with(echo::start());
    plan.knows_revocations = false;
    let world = plan.start();
    let token = world.token();
    assert_eq!(world.get("/strict/x", &token).status, 503);
    assert_eq!(world.get("/echo/x", &token).status, 200);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.get("/echo/x", &token).status, 503);
}

/// Sessions by the value of the cookie: what each answers.
#[derive(Default)]
pub(crate) struct Sessions {
    asked: Mutex<Vec<(String, IpAddr)>>,
}

impl SessionCheck for Sessions {
    fn cookie(&self) -> &'static str {
        "session_id"
    }

    fn check<'a>(
        &'a self,
        value: &'a str,
        head: Head<'a>,
        client: IpAddr,
    ) -> BoxFuture<'a, Checked> {
        self.asked.lock().unwrap().push((value.to_owned(), client));
        let changes = head.method != http::Method::GET;
        let token = head.headers.get("x-csrf-token");
        let verdict = match value {
            "alive" if changes && token.is_none() => Err(SessionRefused::Forged),
            "alive" => Ok(Arc::new(SessionIdentity {
                claims: Claims {
                    sub: "usr_bob".into(),
                    roles: vec!["admin".into()],
                    scope: Scope::new("orders.read").unwrap(),
                    sid: Some("1.30000.bob".into()),
                    iat: 1_767_225_600,
                    exp: 1_767_225_600 + 3600,
                    ..Claims::default()
                },
            })),
            "stolen" => Err(SessionRefused::NotTheirs),
            "overtaken" => Err(SessionRefused::Superseded),
            "lost" => Err(SessionRefused::Unavailable),
            _ => Err(SessionRefused::Unknown),
        };
        let renewed = Renewed {
            line: HeaderValue::from_static("session_id=next; HttpOnly"),
            sid: SessionId::new("1.30000.bob").unwrap(),
            generation: 1,
        };
        let set_cookie = (value != "overtaken").then_some(SetCookie::Renewed(renewed));
        Box::pin(async move { Checked { verdict, set_cookie } })
    }

    fn settle<'a>(&'a self, _: &'a Renewed) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}

fn with_sessions() -> (World, Arc<Sessions>) {
    let sessions = Arc::new(Sessions::default());
    let mut plan = Plan::with(echo::start());
    plan.sessions = Some(sessions.clone());
    (plan.start(), sessions)
}

#[test]
fn a_session_stands_for_its_user_and_its_cookie_goes_no_further() {
    let (world, sessions) = with_sessions();
    let cookies = "theme=dark; session_id=alive; refresh_token=r; __Host-session_id=x; lang=en";
    let answer = world.ask(&get("/admin/x", &[("Cookie", cookies)]));
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_bob"));
    assert_eq!(answer.seen("x-user-roles").as_deref(), Some("admin"));
    // A session has no epoch to take over: the token is of the issuer's.
    let internal = told(&world, &answer.seen("x-internal-token").unwrap());
    assert_eq!((Epoch::leading(&internal.jti), internal.original_jti), (Some(EPOCH), None));
    assert_eq!(answer.seen("cookie").as_deref(), Some("theme=dark; lang=en"));
    assert_eq!(answer.fields("set-cookie"), ["session_id=next; HttpOnly"]);
    assert_eq!(*sessions.asked.lock().unwrap(), [("alive".into(), "127.0.0.1".parse().unwrap())]);
    let alone = world.ask(&get("/echo/x", &[("Cookie", "session_id=alive")]));
    assert_eq!(alone.seen("cookie"), None);
    let open = world.ask(&get("/public/x", &[("Cookie", "a=b; session_id=alive")]));
    assert_eq!(open.seen("cookie").as_deref(), Some("a=b"));
}

#[test]
fn sessions_that_do_not_count_are_refused_and_their_cookies_set() {
    let (world, _) = with_sessions();
    let (both, one) = (&["/echo/x", "/maybe/x"] as &[&str], &["/echo/x"] as &[&str]);
    for (value, paths, status, problem) in [
        ("ended", one, 401, "session_unknown"),
        ("stolen", both, 401, "session_not_theirs"),
        ("lost", both, 503, "sessions_unavailable"),
    ] {
        for path in paths {
            let answer = world.ask(&get(path, &[("Cookie", &format!("session_id={value}"))]));
            assert_eq!((answer.status, answer.problem().as_str()), (status, problem));
            assert_eq!(answer.fields("set-cookie"), ["session_id=next; HttpOnly"]);
        }
    }
    // A value that was replaced is left with the browser, which is told to ask again.
    let overtaken = world.ask(&get("/echo/x", &[("Cookie", "session_id=overtaken")]));
    assert_eq!((overtaken.status, overtaken.problem().as_str()), (401, "session_superseded"));
    assert!(overtaken.json()["detail"].as_str().unwrap().contains("send the request again"));
    // By this the browser SDK knows that a refresh helps, and asks again.
    assert_eq!(overtaken.field("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
    assert_eq!(overtaken.field("set-cookie"), None);
    let overtaken = world.ask(&get("/maybe/x", &[("Cookie", "session_id=overtaken")]));
    assert_eq!((overtaken.status, overtaken.seen("x-user-id")), (200, None));
    // What everybody may see, whoever's session has ended may see too, as nobody.
    let ended = world.ask(&get("/maybe/x", &[("Cookie", "session_id=ended")]));
    assert_eq!((ended.status, ended.seen("x-user-id"), ended.seen("cookie")), (200, None, None));
    assert_eq!(ended.fields("set-cookie"), ["session_id=next; HttpOnly"]);
    let post = |fields: &[(&str, &str)]| world.ask(&request("POST", "/echo/x", fields, "x"));
    let forged = post(&[("Cookie", "session_id=alive")]);
    assert_eq!((forged.status, forged.problem().as_str()), (403, "csrf"));
    assert_eq!(post(&[("Cookie", "session_id=alive"), ("X-CSRF-Token", "t")]).status, 200);
    for planted in ["planted", "é"] {
        let both = format!("session_id=alive; session_id={planted}");
        let two = world.ask(&get("/echo/x", &[("Cookie", &both)]));
        assert_eq!((two.status, two.problem().as_str()), (400, "several_session_cookies"));
    }
    // What others set need not be text, and hides nothing.
    let beside = world.ask(&get("/echo/x", &[("Cookie", "name=é; session_id=alive; ü")]));
    assert_eq!((beside.status, beside.seen("cookie").as_deref()), (200, Some("name=é; ü")));
    assert_eq!(world.ask(&get("/echo/x", &[("Cookie", "session_id=é")])).status, 401);
    world.revoke(Target::Session(SessionId::new("1.30000.bob").unwrap()));
    let ended = world.ask(&get("/echo/x", &[("Cookie", "session_id=alive")]));
    assert_eq!(ended.problem(), "token_revoked");
}

#[test]
fn a_token_wins_over_a_cookie() {
    let (world, sessions) = with_sessions();
    let token = format!("Bearer {}", world.token());
    let fields = [("Authorization", token.as_str()), ("Cookie", "session_id=alive")];
    let answer = world.ask(&get("/echo/x", &fields));
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_alice"));
    let bad = [("Authorization", "Bearer x"), ("Cookie", "session_id=alive")];
    assert_eq!(world.ask(&get("/echo/x", &bad)).status, 401);
    assert!(sessions.asked.lock().unwrap().is_empty());
}
