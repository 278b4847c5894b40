//! API keys and opaque tokens, as somebody sends them who should not.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use tegata_core::{BoxFuture, ClientId, TokenId};
use tegata_gateway::{KeyCheck, KeyIdentity, KeyUnfit, References, Unresolved};
use tegata_token::{ApiGrant, ApiKeyId, Claims, Scope, revocation::Target};

use crate::{
    echo,
    identity::told,
    world::{AUDIENCE, EPOCH, ISSUER, Plan, World, get},
};

const KEY: &str = "sk_Zk3vQ0aB.0123456789abcdefghijABCDEFGHIJKL";
const OTHER: &str = "sk_other000.0123456789abcdefghijABCDEFGHIJKL";

/// Knows two keys, and counts how often it is asked. A fake.
#[derive(Default)]
struct Keys {
    asked: AtomicUsize,
    kept: Mutex<HashMap<String, Arc<KeyIdentity>>>,
}

impl Keys {
    fn know(&self, text: &str, id: &str, grant: ApiGrant) {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: "orders".to_owned(),
            client_id: Some("orders".to_owned()),
            jti: format!("{EPOCH}.{id}"),
            iat: 1_000,
            exp: 4_000_000_000,
            scope: grant.scope.clone(),
            roles: grant.roles.clone(),
            ..Claims::default()
        };
        let identity = KeyIdentity { id: ApiKeyId::new(id).unwrap(), claims, grant };
        self.kept.lock().unwrap().insert(text.to_owned(), Arc::new(identity));
    }
}

impl KeyCheck for Keys {
    fn check<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Arc<KeyIdentity>, KeyUnfit>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let known = self.kept.lock().unwrap().get(text).cloned();
        Box::pin(async move {
            match text {
                "sk_late0000.x" => Err(KeyUnfit::Expired),
                "sk_away0000.x" => Err(KeyUnfit::Unavailable),
                text if text.len() != KEY.len() => Err(KeyUnfit::Malformed),
                _ => known.ok_or(KeyUnfit::Unknown),
            }
        })
    }
}

/// Knows what one text stands for. A fake.
#[derive(Default)]
struct Opaque {
    token: Mutex<Option<Arc<str>>>,
    asked: AtomicUsize,
}

impl References for Opaque {
    fn resolve<'a>(
        &'a self,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, Unresolved>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let known = self.token.lock().unwrap().clone();
        Box::pin(async move {
            match reference {
                "at_known" => Ok(known),
                "at_away" => Err(Unresolved),
                _ => Ok(None),
            }
        })
    }
}

struct Scene {
    world: World,
    keys: Arc<Keys>,
    opaque: Arc<Opaque>,
}

fn scene() -> Scene {
    let (keys, opaque) = (Arc::new(Keys::default()), Arc::new(Opaque::default()));
    let mut plan = Plan::with(echo::start());
    let routes = plan.routes.as_array_mut().unwrap();
    routes.extend([
        json!({"path": "/keys", "service": "echo", "credentials": ["token", "session", "key"]}),
        json!({"path": "/alone", "service": "echo", "credentials": ["key"], "auth": "optional"}),
        json!({"path": "/kept", "service": "echo", "credentials": ["key"], "roles": ["worker"],
               "revocation": "strict"}),
        json!({"path": "/scoped", "service": "echo", "credentials": ["key"], "scope": "stock.write"}),
    ]);
    plan.keys = Some(keys.clone());
    plan.references = Some(opaque.clone());
    keys.know(
        KEY,
        "Zk3vQ0aB",
        ApiGrant {
            scope: Scope::new("stock.read").unwrap(),
            roles: vec!["worker".into()],
            ..ApiGrant::default()
        },
    );
    keys.know(
        OTHER,
        "other000",
        ApiGrant { services: vec!["stock".into()], ..ApiGrant::default() },
    );
    Scene { world: plan.start(), keys, opaque }
}

#[test]
fn a_key_is_its_service_and_its_secret_is_nowhere() {
    let Scene { world, .. } = scene();
    let bearer = format!("Bearer {KEY}");
    for field in [("X-API-Key", KEY), ("x-api-key", KEY), ("Authorization", bearer.as_str())] {
        let answer = world.ask(&get("/keys/x", &[field]));
        assert_eq!(answer.status, 200, "{field:?}: {}", answer.json());
        assert_eq!(answer.seen("x-user-id").as_deref(), Some("orders"));
        assert_eq!(answer.seen("x-user-roles").as_deref(), Some("worker"));
        assert!(!answer.json().to_string().contains(&KEY[12..]), "{field:?}");
        assert_eq!(answer.seen("x-api-key"), None);
        let internal = told(&world, &answer.seen("x-internal-token").unwrap());
        assert_eq!((internal.sub.as_str(), internal.scope.as_str()), ("orders", "stock.read"));
        assert_eq!(internal.roles, ["worker"]);
        // What takes the key back takes this back, at services too.
        assert_eq!(internal.original_jti, Some(format!("{EPOCH}.Zk3vQ0aB")));
        assert_eq!((internal.iat, internal.first_issued()), (world.node.now().secs(), 1_000));
    }
    assert_eq!(world.ask(&get("/kept/x", &[("X-API-Key", KEY)])).status, 200);
    let lacking = world.ask(&get("/scoped/x", &[("X-API-Key", KEY)]));
    assert_eq!((lacking.status, lacking.problem().as_str()), (403, "missing_scope"));
}

#[test]
fn a_key_counts_where_the_route_says_so_and_for_what_it_was_made() {
    let Scene { world, keys, .. } = scene();
    for path in ["/echo/x", "/maybe/x", "/admin/x", "/strict/x"] {
        let refused = world.ask(&get(path, &[("X-API-Key", KEY)]));
        assert_eq!((refused.status, refused.problem().as_str()), (401, "credential_elsewhere"));
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), 0);
    let token = world.get("/alone/x", &world.token());
    assert_eq!((token.status, token.problem().as_str()), (401, "credential_elsewhere"));
    let elsewhere = world.ask(&get("/keys/x", &[("X-API-Key", OTHER)]));
    assert_eq!((elsewhere.status, elsewhere.problem().as_str()), (403, "key_elsewhere"));
    // Without one, whoever may be nobody is.
    let nobody = world.ask(&get("/alone/x", &[]));
    assert_eq!((nobody.status, nobody.seen("x-user-id")), (200, None));
}

#[test]
fn keys_that_do_not_count_are_refused() {
    let Scene { world, keys, .. } = scene();
    for (key, status, problem) in [
        ("sk_", 401, "key_malformed"),
        ("nothing", 401, "key_malformed"),
        ("", 401, "key_malformed"),
        ("sk_Zk3vQ0aB.0123456789abcdefghijABCDEFGHIJKM", 401, "key_unknown"),
        ("sk_late0000.x", 401, "key_expired"),
        ("sk_away0000.x", 503, "keys_unavailable"),
    ] {
        // Also where nobody needs to be known: what is shown must count.
        for path in ["/keys/x", "/alone/x"] {
            let refused = world.ask(&get(path, &[("X-API-Key", key)]));
            assert_eq!((refused.status, refused.problem().as_str()), (status, problem), "{key:?}");
        }
    }
    // In places where no key belongs, there is none; and what is no text is none.
    let before = keys.asked.load(Ordering::SeqCst);
    let cookie = format!("api_key={KEY}; X-API-Key={KEY}");
    let query = format!("/keys/x?api_key={KEY}&x-api-key={KEY}&access_token={KEY}");
    let scheme = format!("ApiKey {KEY}");
    for (path, field) in [
        ("/keys/x", ("Cookie", cookie.as_str())),
        (query.as_str(), ("Accept", "*/*")),
        ("/keys/x", ("Authorization", scheme.as_str())),
        ("/keys/x", ("X_API_Key", KEY)),
    ] {
        let refused = world.ask(&get(path, &[field]));
        assert_eq!(refused.status, 401, "{field:?}");
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), before);
    assert_eq!(world.ask(&get("/keys/x", &[("X-API-Key", "é")])).status, 401);
}

#[test]
fn two_credentials_are_nobody() {
    let Scene { world, keys, .. } = scene();
    let (token, bearer) = (format!("Bearer {}", world.token()), format!("Bearer {KEY}"));
    for (fields, problem) in [
        ([("X-API-Key", KEY), ("Authorization", token.as_str())], "several_credentials"),
        ([("X-API-Key", KEY), ("Authorization", bearer.as_str())], "several_credentials"),
        ([("X-API-Key", KEY), ("X-API-Key", OTHER)], "several_api_keys"),
        ([("X-API-Key", KEY), ("x-api-key", KEY)], "several_api_keys"),
        (
            [("Authorization", bearer.as_str()), ("Authorization", token.as_str())],
            "several_authorizations",
        ),
    ] {
        for path in ["/keys/x", "/echo/x", "/maybe/x", "/alone/x"] {
            let refused = world.ask(&get(path, &fields));
            assert_eq!((refused.status, refused.problem().as_str()), (400, problem), "{path}");
        }
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn no_service_sees_what_says_that_it_is_a_key() {
    let Scene { world, .. } = scene();
    // One that was cut, too: nobody has looked whether it counts.
    for key in [KEY, &KEY[..30], "sk_Zk3"] {
        let bearer = format!("Bearer {key}");
        for field in [("X-API-Key", key), ("Authorization", bearer.as_str())] {
            let answer = world.ask(&get("/public/x", &[field]));
            assert_eq!(answer.status, 200);
            assert!(!answer.json().to_string().contains(key), "{field:?}");
        }
    }
    // A service that has keys of its own, and is open here, gets those.
    let answer = world.ask(&get("/public/x", &[("X-API-Key", "sk_live_51HxABCDEF")]));
    assert_eq!(answer.seen("x-api-key").as_deref(), Some("sk_live_51HxABCDEF"));
}

#[test]
fn a_key_taken_back_is_refused_though_it_was_looked_up_before() {
    for target in [
        Target::Token(TokenId::new(&format!("{EPOCH}.Zk3vQ0aB")).unwrap()),
        Target::Client { client: "orders".parse::<ClientId>().unwrap(), up_to: later() },
        Target::Subject { sub: "orders".into(), up_to: later(), tokens_only: false },
    ] {
        let Scene { world, keys, .. } = scene();
        assert_eq!(world.ask(&get("/keys/x", &[("X-API-Key", KEY)])).status, 200);
        world.revoke(target);
        // Whoever is asked about it still says that it counts: it may have a copy.
        let refused = world.ask(&get("/keys/x", &[("X-API-Key", KEY)]));
        assert_eq!((refused.status, refused.problem().as_str()), (401, "key_revoked"));
        assert_eq!(keys.asked.load(Ordering::SeqCst), 2);
    }
}

fn later() -> tegata_core::Timestamp {
    tegata_core::Timestamp::from_secs(4_000_000_000)
}

#[test]
fn while_revocations_cannot_be_learnt_no_key_passes_unless_the_route_says_so() {
    let Scene { world, .. } = scene();
    world.clock.advance(std::time::Duration::from_secs(10));
    for path in ["/keys/x", "/kept/x"] {
        let refused = world.ask(&get(path, &[("X-API-Key", KEY)]));
        assert_eq!((refused.status, refused.problem().as_str()), (503, "revocations_stale"));
    }
    world.refresh_revocations();
    assert_eq!(world.ask(&get("/kept/x", &[("X-API-Key", KEY)])).status, 200);
}

#[test]
fn a_reference_means_nothing_outside_and_a_token_inside() {
    let Scene { world, opaque, .. } = scene();
    let (claims, token) = (world.claims(), world.token());
    *opaque.token.lock().unwrap() = Some(token.as_str().into());
    for path in ["/echo/x", "/strict/x", "/keys/x"] {
        let answer = world.get(path, "at_known");
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_alice"));
        let seen = answer.json().to_string();
        assert!(!seen.contains("at_known") && !seen.contains(&token));
    }
    for path in ["/echo/x", "/maybe/x", "/strict/x"] {
        let unknown = world.get(path, "at_unknown");
        assert_eq!((unknown.status, unknown.problem().as_str()), (401, "token_unknown"));
        let away = world.get(path, "at_away");
        assert_eq!((away.status, away.problem().as_str()), (503, "references_unavailable"));
    }
    // A JWT is itself, and is not asked about.
    let asked = opaque.asked.load(Ordering::SeqCst);
    assert_eq!(world.get("/echo/x", &token).status, 200);
    assert_eq!(world.get("/echo/x", &format!("x{token}")).status, 401);
    assert_eq!(opaque.asked.load(Ordering::SeqCst), asked);
    // What dresses up as the other is neither.
    assert_eq!(world.get("/echo/x", &format!("at_{token}")).problem(), "token_unknown");
    let open = world.get("/public/x", "at_known");
    assert_eq!((open.status, open.seen("authorization")), (200, None));

    // What it stands for is taken back like any token, and ends when that does.
    world.revoke(Target::Client { client: "web".parse().unwrap(), up_to: world.now() });
    let revoked = world.get("/echo/x", "at_known");
    assert_eq!((revoked.status, revoked.problem().as_str()), (401, "token_revoked"));
    let mut ended = claims;
    ended["exp"] = json!(world.now().secs() - 60);
    *opaque.token.lock().unwrap() = Some(world.sign(&ended).into());
    assert_eq!(world.get("/echo/x", "at_known").problem(), "token_expired");
    // And is for whom it is for.
    ended["exp"] = json!(world.now().secs() + 60);
    ended["aud"] = json!("https://other.example");
    assert_ne!(ended["aud"], AUDIENCE);
    *opaque.token.lock().unwrap() = Some(world.sign(&ended).into());
    assert_eq!(world.get("/echo/x", "at_known").problem(), "token_audience");
}

#[test]
fn what_one_key_may_on_all_routes_is_counted_by_the_key_alone() {
    let keys = Arc::new(Keys::default());
    let mut plan = Plan::with(echo::start());
    plan.keys = Some(keys.clone());
    plan.config.limits.per_key = Some("3/m".parse().unwrap());
    let taking = json!(["token", "key"]);
    plan.routes = json!([
        {"path": "/one", "service": "echo", "credentials": taking},
        {"path": "/two", "service": "echo", "credentials": taking},
        {"path": "/slow", "service": "echo", "credentials": taking,
         "rate_limits": [{"by": "key", "limit": "1/h"}]},
    ]);
    // Two of one service.
    for (text, id) in [(KEY, "Zk3vQ0aB"), (OTHER, "other000")] {
        keys.know(text, id, ApiGrant::default());
    }
    let world = plan.start();
    let ask = |path: &str, key: &str| world.ask(&get(path, &[("X-API-Key", key)]));
    // Whichever route it is, and however the key is shown.
    assert_eq!(ask("/one/x", KEY).status, 200);
    assert_eq!(world.get("/two/x", KEY).status, 200);
    let last = ask("/two/x", KEY);
    assert_eq!((last.status, last.field("ratelimit")), (200, Some("\"key\";r=0;t=60")));
    assert_eq!(last.field("ratelimit-policy"), Some("\"key\";q=3;w=60"));
    for path in ["/one/x", "/two/x", "/slow/x"] {
        let refused = ask(path, KEY);
        assert_eq!((refused.status, refused.problem().as_str()), (429, "too_many_requests"));
        assert_eq!(refused.field("retry-after"), Some("20"));
        assert!(refused.json()["detail"].as_str().unwrap().contains("no more than 3/m"));
    }
    // Another key of the same service is another key, a token is none, and what is no key takes nothing from one.
    let token = world.token();
    for _ in 0..5 {
        let answer = world.get("/one/x", &token);
        assert_eq!((answer.status, answer.field("ratelimit")), (200, None));
        assert_eq!(ask("/one/x", &KEY.replace("sk_Z", "sk_Y")).status, 401);
    }
    assert_eq!(ask("/one/x", OTHER).status, 200);
    // The rule of a route holds beside it; what that refuses is not counted here.
    assert_eq!(ask("/slow/x", OTHER).status, 200);
    for _ in 0..3 {
        let refused = ask("/slow/x", OTHER);
        assert_eq!(refused.status, 429);
        let said = refused.field("ratelimit").unwrap();
        assert!(said.starts_with("\"route:key\";r=0;t=3600, \"key\";r=1;"), "{said}");
    }
    assert_eq!(ask("/two/x", OTHER).status, 200);
    assert_eq!(ask("/two/x", OTHER).status, 429);
    // It comes back evenly.
    world.clock.advance(std::time::Duration::from_secs(20));
    world.refresh_revocations();
    assert_eq!([ask("/one/x", KEY).status, ask("/one/x", KEY).status], [200, 429]);
    let line = |policy: &str, count: u32| {
        format!("rate_limit_refusals_total{{policy=\"{policy}\"}} {count}")
    };
    let metrics = world.metrics();
    for line in [line("key", 5), line("route:key", 3)] {
        assert!(metrics.contains(&line), "{line}");
    }
}
