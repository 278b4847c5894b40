//! Every reason for which a request is refused: what is written down of it, what is said to change, and that
//! the same request passes with that change.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tegata_core::{BoxFuture, TokenId};
use tegata_gateway::{
    KeyCheck, KeyIdentity, KeyUnfit, Policies, References, Unresolved,
    decision_log::{Mode, Seen, Stretch, find},
    explain::{Explained, explain},
    reasons::{Phase, Reason, Remedy, ids},
};
use tegata_policy::{Bundle, Forbid};
use tegata_token::{
    Algorithm, ApiGrant, ApiKeyId, Claims, Scope, SigningKey, jws, revocation::Target,
};

use crate::{
    decisions,
    dpop::Holder,
    echo,
    identity::Sessions,
    world::{EPOCH, ISSUER, Plan, World, get, request, vacant},
};

/// Whatever stores say, once they are back.
#[derive(Default)]
struct Stores {
    back: AtomicBool,
}

const KEY: &str = "sk_Zk3vQ0aB.0123456789abcdefghijABCDEFGHIJKL";

impl KeyCheck for Stores {
    fn check<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Arc<KeyIdentity>, KeyUnfit>> {
        let id = match text {
            "sk_late" => return Box::pin(async { Err(KeyUnfit::Expired) }),
            "sk_odd" => return Box::pin(async { Err(KeyUnfit::Malformed) }),
            "sk_away" if !self.back.load(Ordering::SeqCst) => {
                return Box::pin(async { Err(KeyUnfit::Unavailable) });
            }
            "sk_away" | KEY => "Zk3vQ0aB",
            "sk_taken" => "taken000",
            "sk_narrow" => "narrow00",
            _ => return Box::pin(async { Err(KeyUnfit::Unknown) }),
        };
        let services = if id == "narrow00" { vec!["stock".to_owned()] } else { vec![] };
        let grant = ApiGrant { services, ..ApiGrant::default() };
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: "orders".to_owned(),
            client_id: Some("orders".to_owned()),
            jti: format!("{EPOCH}.{id}"),
            iat: 1_000,
            exp: 4_000_000_000,
            scope: Scope::new("stock.read").unwrap(),
            ..Claims::default()
        };
        let known = KeyIdentity { id: ApiKeyId::new(id).unwrap(), claims, grant };
        Box::pin(async move { Ok(Arc::new(known)) })
    }
}

/// What opaque tokens stand for.
struct Opaque {
    stores: Arc<Stores>,
    token: std::sync::Mutex<Option<Arc<str>>>,
}

impl References for Opaque {
    fn resolve<'a>(
        &'a self,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, Unresolved>> {
        let away = reference == "at_away" && !self.stores.back.load(Ordering::SeqCst);
        let known = self.token.lock().unwrap().clone().filter(|_| reference != "at_nothing");
        Box::pin(async move { if away { Err(Unresolved) } else { Ok(known) } })
    }
}

/// A service that closes connections until it is mended.
fn fickle(listener: TcpListener, mended: &Arc<AtomicBool>) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    let mended = Arc::clone(mended);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            if read > 0 && mended.load(Ordering::SeqCst) {
                let said = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                let _ = stream.write_all(said.as_bytes());
            }
        }
    });
    address
}

/// A world in which everything can be refused.
struct Stage {
    world: World,
    stores: Arc<Stores>,
    opaque: Arc<Opaque>,
    mended: Arc<AtomicBool>,
    /// Where nobody listens yet.
    closed: SocketAddr,
    log: tempfile::TempDir,
    _kept: tegata_gateway::DecisionLog,
}

const SCHEMA: &str = include_str!("graphql.graphql");
const JSON: (&str, &str) = ("Content-Type", "application/json");

impl Stage {
    fn new() -> Self {
        let (stores, mended) = (Arc::new(Stores::default()), Arc::new(AtomicBool::new(false)));
        let token = std::sync::Mutex::default();
        let opaque = Arc::new(Opaque { stores: Arc::clone(&stores), token });
        let log = tempfile::tempdir().unwrap();
        let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
        let kept = decisions::open(log.path(), Mode::Required, &key);
        let mut plan = Plan::with(echo::start());
        plan.decisions = Some(kept.clone());
        plan.sessions = Some(Arc::new(Sessions::default()));
        plan.keys = Some(stores.clone());
        plan.references = Some(opaque.clone());
        plan.config.hosts = vec!["gateway.example".into()];
        plan.config.cors.origins = vec!["https://app.example".into()];
        plan.config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        plan.config.limits.body = 100_000;
        plan.forbids
            .push(Forbid { roles: vec!["suspended".into()], ..Forbid::named("no-suspended") });
        let policies = r#"
            @id("no-strangers")
            forbid (principal, action, resource == Tegata::Route::"echo:/policied")
            unless { principal in Tegata::Role::"trusted" };
            @id("the-trusted-may")
            permit (principal in Tegata::Role::"trusted", action, resource == Tegata::Route::"echo:/asked");
            @id("it-fails")
            forbid (principal, action, resource == Tegata::Route::"echo:/failing")
            unless {
                principal in Tegata::Role::"trusted" ||
                (context has hour && context.hour + 9223372036854775807 + 1 == 1)
            };
        "#;
        let bundle = Arc::new(Bundle::read([], [("test.cedar", policies)]).unwrap());
        plan.policies = Policies { bundle: Some(bundle), tried: None };
        plan.services.push((
            "fickle".into(),
            vec![fickle(TcpListener::bind("127.0.0.1:0").unwrap(), &mended)],
        ));
        let closed = vacant();
        plan.services.push(("closed".into(), vec![closed]));
        let few =
            json!({"schema": SCHEMA, "upstream_path": "/gql", "cost": 60, "cost_limit": "60/m"});
        let more = json!([
            {"path": "/sessions", "service": "echo", "credentials": ["session"]},
            {"path": "/keys", "service": "echo", "credentials": ["token", "session", "key"]},
            {"path": "/policied", "service": "echo"},
            {"path": "/asked", "service": "echo", "decide_by": "policies"},
            {"path": "/failing", "service": "echo"},
            {"path": "/near", "service": "echo", "networks": ["10.0.0.0/8"]},
            {"path": "/hours", "service": "echo", "hours": ["Thu 08:00-18:00 +00:00"]},
            {"path": "/ws", "service": "echo", "websocket": true, "auth": "none"},
            {"path": "/own", "service": "echo", "websocket": true, "credentials": ["session"]},
            {"path": "/fickle", "service": "fickle", "auth": "none"},
            {"path": "/closed", "service": "closed", "auth": "none"},
            {"path": "/graphql/few", "service": "echo", "graphql": few},
            {"path": "/part", "service": "echo", "auth": "none", "strip_prefix": false},
            {"path": "/graphql/shop", "service": "echo", "auth": "optional",
             "graphql": {"schema": SCHEMA, "upstream_path": "/gql", "introspection": "operators"}},
        ]);
        plan.routes.as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
        plan.bffs = json!([{"name": "home", "part": [
            {"name": "it", "path": "/part/{query.id}", "select": ["path"], "required": true},
        ]}]);
        let world = plan.start();
        Self { world, stores, opaque, mended, closed, log, _kept: kept }
    }

    /// The one record of a request that says how it was decided.
    fn record(&self, request: &str) -> Seen {
        record(&self.world, self.log.path(), request)
    }

    fn bearer(&self, changes: &[(&str, Value)]) -> String {
        let mut claims = self.world.claims();
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        format!("Bearer {}", self.world.sign(&claims))
    }
}

/// What is written at the next occasion is waited for.
fn record(world: &World, log: &Path, request: &str) -> Seen {
    let waiting = world.connect();
    for _ in 0..1000 {
        let found = find(log, request, &Stretch::default()).unwrap();
        // Of what is put together, the part that refused says why.
        let refused = |seen: &&Seen| seen.record.get("reason").is_some();
        let is_over = found.seen.iter().any(|seen| seen.record["status"].is_u64());
        let all = || found.seen.iter();
        if let Some(seen) = all().find(refused).or_else(|| all().next().filter(|_| is_over)) {
            return seen.clone();
        }
        assert!(waiting.is_quiet());
    }
    panic!("{request} is not written down");
}

type Bad = Box<dyn Fn(&Stage) -> String>;
type Good = Box<dyn Fn(&Stage, &Explained) -> String>;

/// A request that is refused, and the same with the change.
struct Case {
    id: &'static str,
    bad: Bad,
    good: Good,
}

fn case(
    id: &'static str,
    bad: impl Fn(&Stage) -> String + 'static,
    good: impl Fn(&Stage, &Explained) -> String + 'static,
) -> Case {
    Case { id, bad: Box::new(bad), good: Box::new(good) }
}

/// One that depends on nothing.
fn raw(id: &'static str, bad: impl Into<String>, good: impl Into<String>) -> Case {
    let (bad, good) = (bad.into(), good.into());
    case(id, move |_| bad.clone(), move |_, _| good.clone())
}

/// A `GET` of what everybody may see, with these lines.
fn with(lines: &str) -> String {
    format!("GET /public/x HTTP/1.1\r\nHost: gateway.example\r\n{lines}\r\n")
}

fn with_token(path: &str, token: &str) -> String {
    get(path, &[("Authorization", token)])
}

fn framing() -> Vec<Case> {
    let post = |lines: &str, body: &str| {
        format!("POST /public/x HTTP/1.1\r\nHost: gateway.example\r\n{lines}\r\n{body}")
    };
    let good = || get("/public/x", &[]);
    let path = |path: &str| get(path, &[]);
    let socket = |lines: &str| {
        format!(
            "GET /ws/x HTTP/1.1\r\nHost: gateway.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{lines}\r\n"
        )
    };
    let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let whole = || socket(&format!("Sec-WebSocket-Version: 13\r\n{key}"));
    vec![
        raw(
            "ambiguous_framing",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        raw("content_length", post("Content-Length: x\r\n", ""), post("Content-Length: 1\r\n", "x")),
        raw("transfer_encoding", post("Transfer-Encoding: gzip\r\n", ""), good()),
        raw("request_line_malformed", "GET\r\n\r\n", good()),
        raw("line_end", "GET /public/x HTTP/1.1\nHost: gateway.example\n\n", good()),
        raw("field_folded", with("X-A: b\r\n c\r\n"), with("X-A: b c\r\n")),
        raw("field_name", with("X A: b\r\n"), with("X-A: b\r\n")),
        raw("field_value", with("X-A: b\u{1}\r\n"), with("X-A: b\r\n")),
        raw("http_version", "GET /public/x HTTP/2.5\r\nHost: gateway.example\r\n\r\n", good()),
        raw("host", "GET /public/x HTTP/1.1\r\n\r\n", good()),
        raw("misdirected", "GET /public/x HTTP/1.1\r\nHost: other.example\r\n\r\n", good()),
        raw("target_illegal_byte", path("/public/é"), path("/public/%c3%a9")),
        raw("path_dot_segment", path("/public/../public/x"), good()),
        raw("path_encoded_slash", path("/public/a%2fb"), path("/public/a/b")),
        raw("path_backslash", path("/public/a%5cb"), path("/public/a/b")),
        raw("path_double_encoding", path("/public/%2561"), path("/public/a")),
        raw("path_empty_segment", path("/public//x"), good()),
        raw("path_malformed_escape", path("/public/%zz"), good()),
        raw("path_not_utf8", path("/public/%ff"), path("/public/%c3%bf")),
        raw("path_nul", path("/public/%00"), good()),
        raw("path_parameters", path("/public/x;a=b"), path("/public/x?a=b")),
        raw("sql_union_select", path("/public/1'%20union%20select%20x"), path("/public/x?q=1'%20union%20select%20x")),
        raw("sql_drop_table", path("/public/1'%20drop%20table%20x"), path("/public/x?q=drop%20table%20x")),
        raw("sql_insert_into", path("/public/1'%20insert%20into%20x"), path("/public/x?q=insert%20into%20x")),
        raw("sql_delete_from", path("/public/1'%20delete%20from%20x"), path("/public/x?q=delete%20from%20x")),
        raw("target_too_long", path(&format!("/public/{}", "a".repeat(9000))), good()),
        raw("fields_too_large", with(&format!("X-A: {}\r\n", "a".repeat(40_000))), with("X-A: a\r\n")),
        raw("too_many_fields", with(&"X-A: a\r\n".repeat(101)), with(&"X-A: a\r\n".repeat(50))),
        raw("body_too_large", request("POST", "/public/x", &[], &"x".repeat(100_001)), request("POST", "/public/x", &[], &"x".repeat(100_000))),
        raw("expectation", with("Expect: 200-ok\r\n"), with("")),
        raw("upgrade_not_supported", with("Connection: upgrade\r\nUpgrade: foo\r\n"), with("")),
        raw("several_upgrades", with("Upgrade: a\r\nUpgrade: b\r\n"), with("")),
        raw("websocket", socket("Sec-WebSocket-Version: 13\r\n"), whole()),
        raw("websocket_version", socket(&format!("Sec-WebSocket-Version: 12\r\n{key}")), whole()),
        raw(
            "origin_missing",
            socket(&format!("Sec-WebSocket-Version: 13\r\n{key}Cookie: session_id=alive\r\n")).replace("/ws/", "/own/"),
            socket(&format!("Sec-WebSocket-Version: 13\r\n{key}Cookie: session_id=alive\r\nOrigin: https://app.example\r\n")).replace("/ws/", "/own/"),
        ),
        raw(
            "origin_not_allowed",
            request("OPTIONS", "/echo/x", &[("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")], ""),
            request("OPTIONS", "/echo/x", &[("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")], ""),
        ),
        raw("no_route", path("/nowhere"), good()),
        case(
            "method_not_allowed",
            |on| request("POST", "/read/x", &[("Authorization", &on.bearer(&[]))], ""),
            |on, told| {
                let method = told.changes[0].value["method"].as_str().unwrap();
                request(method, "/read/x", &[("Authorization", &on.bearer(&[]))], "")
            },
        ),
    ]
}

fn token_case(
    id: &'static str,
    name: &'static str,
    value: impl Fn(&Stage) -> Value + 'static,
) -> Case {
    let bad = move |on: &Stage| with_token("/echo/x", &on.bearer(&[(name, value(on))]));
    case(id, bad, |on, _| with_token("/echo/x", &on.bearer(&[])))
}

fn identity() -> Vec<Case> {
    let good = |on: &Stage, _: &Explained| with_token("/echo/x", &on.bearer(&[]));
    let now = |on: &Stage| on.world.node.now().secs();
    let key = |text: &'static str| move |_: &Stage| get("/keys/x", &[("X-API-Key", text)]);
    let sound = |_: &Stage, _: &Explained| get("/keys/x", &[("X-API-Key", KEY)]);
    let cookie = |text: &str| get("/echo/x", &[("Cookie", text)]);
    vec![
        case(
            "several_authorizations",
            |on| {
                let it = on.bearer(&[]);
                get("/echo/x", &[("Authorization", &it), ("Authorization", &it)])
            },
            good,
        ),
        raw(
            "several_api_keys",
            get("/keys/x", &[("X-API-Key", KEY), ("X-API-Key", KEY)]),
            get("/keys/x", &[("X-API-Key", KEY)]),
        ),
        case(
            "several_credentials",
            |on| get("/keys/x", &[("Authorization", &on.bearer(&[])), ("X-API-Key", KEY)]),
            good,
        ),
        raw(
            "several_session_cookies",
            cookie("session_id=alive; session_id=stolen"),
            cookie("session_id=alive"),
        ),
        case("not_authenticated", |_| get("/echo/x", &[]), good),
        case("authorization", |_| with_token("/echo/x", "Bearer"), good),
        case("authorization_scheme", |_| with_token("/echo/x", "Basic YTpi"), good),
        token_case("token_expired", "exp", move |on| json!(now(on) - 31)),
        token_case("token_not_yet", "nbf", move |on| json!(now(on) + 60)),
        token_case("token_issuer", "iss", |_| json!("https://evil.example")),
        token_case("token_audience", "aud", |_| json!("https://other.example")),
        case(
            "token_algorithm",
            |on| {
                let token = on.world.token();
                let (header, rest) = token.split_once('.').unwrap();
                let mut said: Value =
                    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
                said["alg"] = json!(if said["alg"] == "RS256" { "ES256" } else { "RS256" });
                let header = URL_SAFE_NO_PAD.encode(said.to_string());
                with_token("/echo/x", &format!("Bearer {header}.{rest}"))
            },
            good,
        ),
        token_case("token_claims", "cnf", |_| json!({"kid": "x"})),
        token_case("token_bound", "cnf", |_| json!({"jkt": "x"})),
        token_case("token_certificate", "cnf", |_| json!({"x5t#S256": "x"})),
        token_case("subject_unfit", "sub", |_| json!("usr_a\nX-User-Roles: admin")),
        case("token_malformed", |_| with_token("/echo/x", "Bearer x.y.z"), good),
        case(
            "token_key_unknown",
            |on| {
                let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
                let forged =
                    jws::sign(&stranger, "at+jwt", on.world.claims().to_string().as_bytes());
                with_token("/echo/x", &format!("Bearer {}", forged.unwrap()))
            },
            good,
        ),
        case(
            "token_kind",
            |on| {
                let other =
                    jws::sign(&on.world.key, "JWT", on.world.claims().to_string().as_bytes());
                with_token("/echo/x", &format!("Bearer {}", other.unwrap()))
            },
            good,
        ),
        case(
            "token_signature",
            |on| {
                let token = on.bearer(&[]);
                let (signed, signature) = token.rsplit_once('.').unwrap();
                let first = if signature.starts_with('A') { "B" } else { "A" };
                with_token("/echo/x", &format!("{signed}.{first}{}", &signature[1..]))
            },
            good,
        ),
        case(
            "token_revoked",
            |on| {
                let claims = on.world.claims();
                let jti = TokenId::new(claims["jti"].as_str().unwrap()).unwrap();
                on.world.revoke(Target::Token(jti));
                with_token("/echo/x", &format!("Bearer {}", on.world.sign(&claims)))
            },
            good,
        ),
        case(
            "token_unknown",
            |_| with_token("/echo/x", "Bearer at_nothing"),
            |on, _| {
                *on.opaque.token.lock().unwrap() = Some(on.world.token().into());
                with_token("/echo/x", "Bearer at_known")
            },
        ),
        case(
            "token_not_bound",
            |on| {
                let holder = Holder::of(&on.world);
                let bearer = on.bearer(&[]).replacen("Bearer", "DPoP", 1);
                get(
                    "/echo/x",
                    &[("Authorization", &bearer), ("DPoP", &holder.proof(&on.world, &[]))],
                )
            },
            good,
        ),
        bound("dpop_proof", "htm", |_| json!("POST")),
        bound("dpop_time", "iat", |on| json!(on.world.node.now().secs() - 1000)),
        case(
            "dpop_replayed",
            |on| {
                let holder = Holder::of(&on.world);
                let proof =
                    holder.proof(&on.world, &[("htu", json!("http://gateway.example/echo/x"))]);
                let text =
                    get("/echo/x", &[("Authorization", &holder.credential()), ("DPoP", &proof)]);
                assert_eq!(on.world.ask(&text).status, 200);
                text
            },
            |on, _| proven(on, &[]),
        ),
        case("key_malformed", key("sk_odd"), sound),
        case("key_unknown", key("sk_nobodys"), sound),
        case("key_expired", key("sk_late"), sound),
        case("key_elsewhere", key("sk_narrow"), sound),
        case(
            "key_revoked",
            |on| {
                on.world.revoke(Target::Token(TokenId::new(&format!("{EPOCH}.taken000")).unwrap()));
                get("/keys/x", &[("X-API-Key", "sk_taken")])
            },
            sound,
        ),
        case("credential_elsewhere", |_| get("/echo/x", &[("X-API-Key", KEY)]), good),
        raw("session_unknown", cookie("session_id=dead"), cookie("session_id=alive")),
        raw("session_superseded", cookie("session_id=overtaken"), cookie("session_id=alive")),
        raw("session_not_theirs", cookie("session_id=stolen"), cookie("session_id=alive")),
        raw(
            "csrf",
            request("POST", "/echo/x", &[("Cookie", "session_id=alive")], ""),
            request(
                "POST",
                "/echo/x",
                &[("Cookie", "session_id=alive"), ("X-CSRF-Token", "t")],
                "",
            ),
        ),
        raw("sessions_unavailable", cookie("session_id=lost"), cookie("session_id=alive")),
        case("keys_unavailable", key("sk_away"), |on, _| {
            on.stores.back.store(true, Ordering::SeqCst);
            get("/keys/x", &[("X-API-Key", "sk_away")])
        }),
        case(
            "references_unavailable",
            |on| {
                on.stores.back.store(false, Ordering::SeqCst);
                with_token("/echo/x", "Bearer at_away")
            },
            |on, _| {
                on.stores.back.store(true, Ordering::SeqCst);
                with_token("/echo/x", "Bearer at_away")
            },
        ),
    ]
}

/// A request with a proof of its key.
fn proven(on: &Stage, changes: &[(&str, Value)]) -> String {
    let holder = Holder::of(&on.world);
    let mut all = vec![("htu", json!("http://gateway.example/echo/x"))];
    all.extend(changes.iter().map(|(name, value)| (*name, value.clone())));
    let proof = holder.proof(&on.world, &all);
    get("/echo/x", &[("Authorization", &holder.credential()), ("DPoP", &proof)])
}

fn bound(id: &'static str, name: &'static str, value: impl Fn(&Stage) -> Value + 'static) -> Case {
    case(id, move |on| proven(on, &[(name, value(on))]), |on, _| proven(on, &[]))
}

/// A route about which policies are asked, which trust somebody with a role.
fn policied(id: &'static str, path: &'static str, value: Value) -> Case {
    case(
        id,
        move |on| with_token(path, &on.bearer(&[])),
        move |on, told| {
            assert_eq!((told.changes[0].remedy, &told.changes[0].value), (Remedy::Policy, &value));
            with_token(path, &on.bearer(&[("roles", json!(["trusted"]))]))
        },
    )
}

fn rights() -> Vec<Case> {
    vec![
        case(
            "missing_role",
            |on| with_token("/admin/x", &on.bearer(&[])),
            |on, told| {
                assert_eq!(told.changes[0].remedy, Remedy::Role);
                let role = told.changes[0].value["role"].clone();
                with_token("/admin/x", &on.bearer(&[("roles", json!([role]))]))
            },
        ),
        case(
            "missing_scope",
            |on| with_token("/read/x", &on.bearer(&[("scope", json!("other"))])),
            |on, told| {
                let scopes = told.changes[0].value["scopes"].as_array().unwrap();
                let scopes: Vec<_> = scopes.iter().map(|it| it.as_str().unwrap()).collect();
                with_token("/read/x", &on.bearer(&[("scope", json!(scopes.join(" ")))]))
            },
        ),
        case(
            "insufficient_acr",
            |on| with_token("/strong/x", &on.bearer(&[])),
            |on, told| {
                assert_eq!(told.changes[0].remedy, Remedy::StepUp);
                let acr = told.changes[0].value["acr"].clone();
                with_token("/strong/x", &on.bearer(&[("acr", acr)]))
            },
        ),
        case(
            "authentication_too_old",
            |on| {
                with_token(
                    "/recent/x",
                    &on.bearer(&[("auth_time", json!(on.world.node.now().secs() - 3600))]),
                )
            },
            |on, told| {
                assert_eq!(told.changes[0].remedy, Remedy::StepUp);
                with_token(
                    "/recent/x",
                    &on.bearer(&[("auth_time", json!(on.world.node.now().secs()))]),
                )
            },
        ),
        case(
            "forbidden",
            |on| with_token("/echo/x", &on.bearer(&[("roles", json!(["customer", "suspended"]))])),
            |on, told| {
                assert_eq!(told.changes[0].value["rules"], json!(["no-suspended"]));
                // So that it does not match.
                with_token("/echo/x", &on.bearer(&[("roles", json!(["customer"]))]))
            },
        ),
        policied("policy_forbids", "/policied/x", json!({"policies": ["no-strangers"]})),
        policied("no_policy", "/asked/x", json!({"permit": true})),
        policied("policy_error", "/failing/x", json!({"policies": ["it-fails"]})),
        case(
            "outside_network",
            |on| {
                get(
                    "/near/x",
                    &[("Authorization", &on.bearer(&[])), ("X-Forwarded-For", "192.0.2.1")],
                )
            },
            |on, told| {
                assert_eq!(told.changes[0].remedy, Remedy::Within);
                get(
                    "/near/x",
                    &[("Authorization", &on.bearer(&[])), ("X-Forwarded-For", "10.1.2.3")],
                )
            },
        ),
        case(
            "too_many_requests",
            |on| {
                let text = with_token("/limited/x", &on.bearer(&[]));
                for _ in 0..3 {
                    assert_eq!(on.world.ask(&text).status, 200);
                }
                text
            },
            |on, told| {
                let seconds = told.changes[0].value["seconds"].as_u64().unwrap();
                assert!((1..=60).contains(&seconds), "{seconds}");
                on.world.clock.advance(Duration::from_secs(seconds));
                on.world.refresh_revocations();
                with_token("/limited/x", &on.bearer(&[]))
            },
        ),
        case(
            "revocations_stale",
            |on| {
                on.world.clock.advance(Duration::from_secs(60));
                with_token("/strict/x", &on.bearer(&[]))
            },
            |on, _| {
                on.world.refresh_revocations();
                with_token("/strict/x", &on.bearer(&[]))
            },
        ),
        case(
            "outside_hours",
            |on| with_token("/hours/x", &on.bearer(&[])),
            |on, told| {
                assert_eq!(told.changes[0].remedy, Remedy::Within);
                on.world.clock.advance(Duration::from_secs(9 * 3600));
                on.world.refresh_revocations();
                with_token("/hours/x", &on.bearer(&[]))
            },
        ),
        case(
            "graphql_cost_limit",
            |on| {
                let body =
                    json!({"query": "query Home { products(first: 39) { id } }"}).to_string();
                let bearer = on.bearer(&[]);
                let text =
                    request("POST", "/graphql/few", &[JSON, ("Authorization", &bearer)], &body);
                assert_eq!(on.world.ask(&text).status, 200);
                text
            },
            |on, _| {
                on.world.clock.advance(Duration::from_secs(60));
                on.world.refresh_revocations();
                let body =
                    json!({"query": "query Home { products(first: 39) { id } }"}).to_string();
                request("POST", "/graphql/few", &[JSON, ("Authorization", &on.bearer(&[]))], &body)
            },
        ),
        case(
            "service_unreachable",
            |_| get("/closed/x", &[]),
            |on, told| {
                assert!(told.allowed && told.phase == Some(Phase::Forward));
                on.mended.store(true, Ordering::SeqCst);
                fickle(TcpListener::bind(on.closed).unwrap(), &on.mended);
                get("/closed/x", &[])
            },
        ),
        case(
            "service_broken",
            |on| {
                on.mended.store(false, Ordering::SeqCst);
                get("/fickle/x", &[])
            },
            |on, told| {
                assert!(told.allowed && told.phase == Some(Phase::Forward));
                on.mended.store(true, Ordering::SeqCst);
                get("/fickle/x", &[])
            },
        ),
    ]
}

fn documents() -> Vec<Case> {
    let post = |body: &str| request("POST", "/graphql/shop", &[JSON], body);
    let query = move |text: &str| post(&json!({"query": text}).to_string());
    let one = json!({"query": "{ product(id: 1) { id } }"}).to_string();
    let good = move || query("{ product(id: 1) { id } }");
    let names: String = (0..31).map(|n| format!("a{n}: product(id: 1) {{ id }} ")).collect();
    let deep = format!("{{ depth {{ {}n{} }} }}", "level {".repeat(9), "}".repeat(9));
    vec![
        raw("graphql_syntax", query("{ product(id: 1) { id "), good()),
        raw("graphql_malformed", post("[[1]]"), good()),
        raw("graphql_invalid", query("{ nothing }"), good()),
        raw(
            "graphql_variables",
            post(&json!({"query": "query($n: Int) { products(first: $n) { id } }", "variables": {"n": "1e9"}}).to_string()),
            post(&json!({"query": "query($n: Int) { products(first: $n) { id } }", "variables": {"n": 1}}).to_string()),
        ),
        raw(
            "graphql_operation",
            query("query A { product(id: 1) { id } } query B { product(id: 2) { id } }"),
            post(&json!({"query": "query A { product(id: 1) { id } } query B { product(id: 2) { id } }", "operationName": "A"}).to_string()),
        ),
        raw("graphql_cycle", query("{ depth { ...A } } fragment A on Level { level { ...A } }"), good()),
        raw("graphql_size", query(&"{".repeat(50_000)), good()),
        raw("graphql_depth", query(&deep), good()),
        raw("graphql_aliases", query(&format!("{{ {names} }}")), good()),
        raw("graphql_batch", post(&format!("[{}]", [one.as_str(); 11].join(","))), post(&format!("[{one}]"))),
        raw("graphql_cost", query("{ products(first: 1000000) { id } }"), query("{ products(first: 1) { id } }")),
        raw("graphql_subscription", query("subscription { ticks }"), good()),
        raw("graphql_persisted_query", post(r#"{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}}"#), good()),
        case(
            "graphql_forbidden",
            |on| {
                let body = json!({"query": "{ product(id: 1) { bought } }"}).to_string();
                request("POST", "/graphql/shop", &[JSON, ("Authorization", &on.bearer(&[]))], &body)
            },
            |on, _| {
                let body = json!({"query": "{ product(id: 1) { id } }"}).to_string();
                request("POST", "/graphql/shop", &[JSON, ("Authorization", &on.bearer(&[]))], &body)
            },
        ),
        raw("graphql_introspection", query("{ __schema { types { name } } }"), good()),
        raw("graphql_mutation_by_get", get("/graphql/shop?query=mutation%7Border(id:1)%7Bid%7D%7D", &[]), good()),
        raw("graphql_media_type", request("POST", "/graphql/shop", &[("Content-Type", "text/plain")], &one), good()),
        case(
            "part_parameter",
            |on| with_token("/bff/home", &on.bearer(&[])),
            |on, _| with_token("/bff/home?id=1", &on.bearer(&[])),
        ),
        case(
            "part_path",
            |on| with_token("/bff/home?id=a%2fb", &on.bearer(&[])),
            |on, _| with_token("/bff/home?id=ab", &on.bearer(&[])),
        ),
    ]
}

/// What no single request brings about in such a world: a trickle of bytes, a store that is away, a
/// certificate, policies. With the test that brings it about and, where it can, mends it; `-`: why none does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("body_malformed", "malformed_chunks_end_the_request_and_the_connection"),
    ("chunk_malformed", "malformed_chunks_end_the_request_and_the_connection"),
    ("body_too_slow", "a_body_that_stops_coming_is_answered_408"),
    (
        "certificate_unknown",
        "a_certificate_that_nobody_answers_for_or_that_names_nobody_is_refused",
    ),
    ("client_cert", "a_certificate_that_nobody_answers_for_or_that_names_nobody_is_refused"),
    ("not_a_caller", "a_certificate_is_an_identity_where_the_route_says_so"),
    ("decision_log_unavailable", "where_the_log_is_required_nothing_passes_without_it"),
    ("dpop_nonce", "every_proof_that_does_not_count_is_refused"),
    ("dpop_unknown", "without_the_store_a_proof_counts_on_routes_alone_that_put_being_there_first"),
    ("dpop_busy", "- a million proofs within two minutes"),
    ("flood", "a_flood_and_trailers_that_ask_are_written_down"),
    ("trailers_malformed", "a_flood_and_trailers_that_ask_are_written_down"),
    ("graphql_method", "what_is_not_sent_as_json_is_no_request"),
    ("graphql_schema", "a_schema_that_is_wrong_says_where"),
    ("graphql_unseen", "where_bodies_are_judged_nobody_passes_whom_envoy_shows"),
    (
        "issuer_keys_unavailable",
        "where_no_key_of_an_issuer_is_known_nobody_is_told_that_the_token_is_bad",
    ),
    (
        "revocation_unknown",
        "where_no_store_says_whether_a_token_was_taken_back_it_is_refused_for_the_moment",
    ),
    ("token_inactive", "a_bounded_route_asks_others_while_revocations_cannot_be_learnt"),
    ("no_internal_key", "translations_are_bounded_and_fall_with_what_they_were_made_of"),
    ("token_too_long", "a_token_that_lives_longer_than_its_issuers_may_is_refused"),
    ("token_epoch", "a_token_of_before_a_backup_was_restored_is_refused"),
    ("overloaded", "who_comes_beyond_capacity_is_refused_at_once"),
    ("stopping", "who_asks_for_health_while_it_stops_is_told"),
    ("gateway_failed", "what_panics_has_the_last_answer_of_its_connection_and_is_written_down"),
    ("sent_early", "what_a_client_sends_ahead_of_the_101_reaches_nobody"),
    ("worker_scope", "no_worker_stands_before_the_pages_on_which_people_sign_in"),
    ("path_not_absolute", "paths_that_two_readers_read_differently_are_refused"),
    ("target_control", "paths_that_two_readers_read_differently_are_refused"),
    (
        "part_late",
        "- a part has ended by its own deadline before: this is for what no deadline is for",
    ),
    ("part_status", "a_part_that_is_away_is_shown_and_not_hidden"),
    ("part_not_json", "a_part_that_is_away_is_shown_and_not_hidden"),
    ("part_unfit", "a_part_that_is_away_is_shown_and_not_hidden"),
    ("part_too_large", "a_part_that_is_away_is_shown_and_not_hidden"),
    ("service_busy", "more_than_a_service_may_have_is_refused_at_once"),
    ("service_late", "the_deadline_is_one_for_all"),
    ("service_resting", "an_open_breaker_gives_the_declared_answer_and_asks_once"),
    ("unknown_type", "types_and_actions_that_nobody_declared_are_denied_by_name"),
    ("unknown_action", "types_and_actions_that_nobody_declared_are_denied_by_name"),
    ("invalid_value", "a_value_of_another_type_is_refused_and_never_passed_over"),
    ("no_rule", "what_no_policy_permits_is_denied"),
];

/// The tests of a directory, by name.
fn tests_in(directory: &Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, all);
        } else if path.extension().is_some_and(|it| it == "rs") {
            *all += &std::fs::read_to_string(path).unwrap();
        }
    }
}

#[test]
fn what_is_shown_elsewhere_is_shown_there() {
    let (mut all, own) = (String::new(), Path::new(env!("CARGO_MANIFEST_DIR")));
    for directory in ["src", "tests/gateway", "../policy/src"] {
        tests_in(&own.join(directory), &mut all);
    }
    for (id, test) in ELSEWHERE {
        assert!(Reason::of(id).is_some(), "{id}");
        assert!(test.starts_with("- ") || all.contains(&format!("fn {test}(")), "{id}: {test}");
    }
}

#[test]
fn an_id_inside_a_path_is_not_taken_for_a_request() {
    let stage = Stage::new();
    let first = stage.world.ask(&get("/public/x", &[]));
    let request = first.field("x-request-id").unwrap().to_owned();
    stage.world.ask(&get(&format!("/public/{request}"), &[]));
    stage.world.ask(&get(&format!("/public/x%22request%22:%22{request}%22"), &[]));
    let seen = stage.record(&request);
    assert_eq!(seen.record["path"], "/public/x");
    let found = find(stage.log.path(), &request, &Stretch::default()).unwrap();
    assert!(found.seen.iter().all(|seen| seen.record["path"] == "/public/x"), "{found:?}");
    let upper = find(stage.log.path(), &request.to_uppercase(), &Stretch::default()).unwrap();
    assert_eq!(upper.seen, found.seen);
    let long = "a".repeat(1 << 20);
    for strange in ["", "../0000000001", "'; DROP TABLE", &request[1..], &long] {
        assert!(find(stage.log.path(), strange, &Stretch::default()).unwrap().seen.is_empty());
    }
}

#[test]
fn explaining_shows_no_credential() {
    let stage = Stage::new();
    let token = stage.world.token();
    let secret = token.rsplit_once('.').unwrap().1;
    for (path, field) in [
        ("/echo/x?password=hunter2", ("Authorization", format!("Bearer {token}"))),
        ("/admin/x?password=hunter2", ("Authorization", format!("Bearer {token}"))),
        ("/keys/x", ("X-API-Key", KEY.to_owned())),
        ("/keys/x", ("X-API-Key", "sk_narrow".to_owned())),
        ("/echo/x", ("Cookie", "session_id=stolen".to_owned())),
    ] {
        let answer = stage.world.ask(&get(path, &[(field.0, &field.1)]));
        let seen = stage.record(answer.field("x-request-id").unwrap());
        let told =
            format!("{} {}", seen.record, serde_json::to_string(&explain(&seen.record)).unwrap());
        for bad in [secret, "hunter2", &KEY[12..], "sk_narrow", "stolen", "session_id"] {
            assert!(!told.contains(bad), "{bad}: {told}");
        }
    }
}

#[test]
fn who_was_known_and_did_not_count_is_written_down_and_the_trace_finds_it() {
    let stage = Stage::new();
    let claims = stage.world.claims();
    let jti = claims["jti"].as_str().unwrap();
    stage.world.revoke(Target::Token(TokenId::new(jti).unwrap()));
    let bearer = format!("Bearer {}", stage.world.sign(&claims));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let fields = [("Authorization", bearer.as_str()), ("traceparent", parent.as_str())];
    let answer = stage.world.ask(&get("/echo/x", &fields));
    let seen = stage.record(answer.field("x-request-id").unwrap());
    assert_eq!(seen.record["jti"], jti);
    assert_eq!(seen.record["subject"], "usr_alice");
    assert_eq!(seen.record["inputs"]["credential"], "token");
    let by_trace = find(stage.log.path(), trace, &Stretch::default()).unwrap();
    assert!(by_trace.seen.contains(&seen), "{by_trace:?}");
}

#[test]
fn a_line_that_was_changed_is_found_and_said_to_be_changed() {
    let stage = Stage::new();
    let answer = stage.world.ask(&get("/public/x", &[]));
    let request = answer.field("x-request-id").unwrap();
    assert!(stage.record(request).sound);
    let file = stage.log.path().join("0000000001.log");
    let text = std::fs::read_to_string(&file).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let write = |text: String| std::fs::write(copy.path().join("0000000001.log"), text).unwrap();
    write(text.replace("\"allow\"", "\"deny\""));
    let changed = find(copy.path(), request, &Stretch::default()).unwrap();
    let is_changed = |seen: &Seen| seen.record["result"] == "deny";
    assert!(changed.seen.iter().any(is_changed), "{changed:?}");
    assert!(changed.seen.iter().all(|seen| seen.sound != is_changed(seen)), "{changed:?}");
    // A line that is being written is none yet, and one that nobody can read is passed over.
    let whole = find(stage.log.path(), request, &Stretch::default()).unwrap().seen.len();
    write(format!("{text}no line\n{}", &text[..200]));
    let beside = find(copy.path(), request, &Stretch::default()).unwrap();
    assert_eq!(beside.seen.len(), whole);
    assert!(beside.seen.iter().all(|seen| seen.sound));
    // What is no file is not waited for.
    std::fs::create_dir(copy.path().join("0000000002.log")).unwrap();
    let nobodys = "ffffffffffff43dd8448eb211c80319c";
    assert!(find(copy.path(), nobodys, &Stretch::default()).is_err());
}

#[test]
fn each_reason_id_is_explained_with_a_change_that_then_lets_it_pass() {
    let stage = Stage::new();
    let cases: Vec<Case> =
        framing().into_iter().chain(identity()).chain(documents()).chain(rights()).collect();
    let mut wrong = Vec::new();
    for Case { id, bad, good } in &cases {
        let answer = stage.world.ask(&bad(&stage));
        let request = answer.field("x-request-id").unwrap().to_owned();
        let seen = stage.record(&request);
        let told = explain(&seen.record);
        if told.reason.as_deref() != Some(id) || !seen.sound {
            wrong.push(format!("{id}: {} {}", answer.status, seen.record));
            continue;
        }
        let reason = Reason::of(id).unwrap();
        // What is put together has a status of its own.
        let is_part = id.starts_with("part_");
        assert!(is_part || reason.statuses.contains(&answer.status), "{id}: {}", answer.status);
        assert!(!told.changes.is_empty(), "{id}: {}", seen.record);
        assert_eq!(told.changes[0].remedy, reason.remedy, "{id}: {}", seen.record);
        let phases = seen.record["phases"].as_array().unwrap();
        let outcome = &phases.last().unwrap()["outcome"];
        assert_eq!(*outcome, if told.allowed { "failed" } else { "refused" }, "{}", seen.record);
        let repeated = stage.world.ask(&good(&stage, &told));
        let seen = stage.record(repeated.field("x-request-id").unwrap());
        let passes = explain(&seen.record).allowed
            && (repeated.status < 400 || id.contains("websocket") || *id == "origin_missing");
        if !passes {
            wrong.push(format!("{id}, changed: {} {}", repeated.status, seen.record));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut covered: BTreeSet<&str> = cases.iter().map(|case| case.id).collect();
    covered.extend(ELSEWHERE.iter().map(|(id, _)| *id));
    let missing: Vec<_> = ids().filter(|id| !covered.contains(id)).collect();
    assert!(missing.is_empty(), "nobody shows {missing:?}");
}
