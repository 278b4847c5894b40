//! Who may administer, and everybody else: each operation of the table against each credential that
//! does not count for it.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Map, Value, json};
use tegata_core::{Epoch, Secret, TokenId};
use tegata_identity::{Role, RoleChange};
use tegata_oauth::{
    ClientMetadata, GrantType,
    administer::{Need, READ, ROLE, WRITE},
};
use tegata_server::admin::{
    Row, SecondFactor, TABLE, Verb,
    shape::{Form, Shape},
};
use tegata_token::{Algorithm, Order, jws};

use super::{
    bench::{Bench, ISSUER},
    browser::Answer,
    dpop::Holder,
};

/// An installation in which alice administers through the client `console`.
pub(crate) struct Office {
    pub(crate) bench: Bench,
}

impl Office {
    pub(crate) async fn new() -> Self {
        Self::of(Bench::new().await).await
    }

    async fn of(bench: Bench) -> Self {
        bench.declare(client("console")).await;
        bench.declare(ClientMetadata { scope: READ.into(), ..client("reader") }).await;
        let role = RoleChange::Grant([Role::new(ROLE).unwrap()].into());
        bench.users.change_roles(&bench.realm, &bench.alice.id, &role, "test").await.unwrap();
        Self { bench }
    }

    /// What a token of alice says, with these claims instead.
    pub(crate) fn claims(&self, changes: &[(&str, Value)]) -> Value {
        let now = self.bench.node.now().secs();
        let mut claims = json!({
            "iss": ISSUER,
            "sub": self.bench.alice.id,
            "aud": format!("{ISSUER}/admin/v1"),
            "iat": now,
            "exp": now + 900,
            "jti": TokenId::generate(Epoch::FIRST, self.bench.node.entropy()),
            "client_id": "console",
            "scope": format!("{READ} {WRITE}"),
            "roles": [ROLE],
            "acr": "aal1",
        });
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        // A claim is there or not: none is `null`.
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    /// A token of alice, with these claims instead.
    pub(crate) fn token(&self, changes: &[(&str, Value)]) -> String {
        self.signed("at+jwt", &self.claims(changes))
    }

    fn signed(&self, typ: &str, claims: &Value) -> String {
        let key = self.bench.provider.keys().now().signer(Algorithm::Es256).unwrap();
        jws::sign(&key, typ, claims.to_string().as_bytes()).unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(&self.bench.router, request).await
    }

    /// Asks for an operation with these headers.
    async fn ask(&self, row: &Row, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(row.verb.name()).uri(target(row));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = row.body.map(|form| {
            request = std::mem::take(&mut request).header(header::CONTENT_TYPE, "application/json");
            Body::from(sample(form).to_string())
        });
        self.send(request.body(body.unwrap_or_default()).unwrap()).await
    }

    pub(crate) async fn with(&self, row: &Row, token: &str) -> Answer {
        self.ask(row, &[("authorization", &format!("Bearer {token}"))]).await
    }

    fn asked(&self) -> usize {
        self.bench.administered.0.lock().unwrap().len()
    }
}

fn client(id: &str) -> ClientMetadata {
    ClientMetadata {
        client_id: id.into(),
        grant_types: Some([GrantType::ClientCredentials].into()),
        scope: format!("{READ} {WRITE}"),
        audiences: vec![format!("{ISSUER}/admin/v1")],
        ..ClientMetadata::default()
    }
}

fn target(row: &Row) -> String {
    let filled: Vec<_> =
        row.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
    format!("/admin/v1{}", filled.join("/"))
}

/// A body that fits a form.
pub(crate) fn sample(form: &Form) -> Value {
    let required = form.members.iter().chain(form.more).filter(|member| member.required);
    let members: Map<_, _> =
        required.map(|member| (member.name.to_owned(), value(&member.shape))).collect();
    members.into()
}

fn value(shape: &Shape) -> Value {
    match shape {
        Shape::Text { least, .. } => "x".repeat(*least).into(),
        Shape::Moment => "2026-01-01T00:00:00Z".into(),
        Shape::Word(words) => words[0].into(),
        Shape::Flag => true.into(),
        Shape::Count => 1.into(),
        Shape::List(..) => json!([]),
        Shape::Open | Shape::Any => json!({}),
        Shape::Object(form) | Shape::ObjectOrFalse(form) => sample(form),
    }
}

/// Checks that every operation is refused so, and that nobody heard of it.
async fn all_refused(office: &Office, what: &str, token: &str, status: u16, error: &str) {
    for row in TABLE {
        let answer = office.with(row, token).await;
        assert_eq!(answer.status.as_u16(), status, "{what}, {}: {}", row.id, answer.body);
        assert_eq!(answer.json()["error"], error, "{what}, {}: {}", row.id, answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        if status == 401 {
            assert!(answer.header("www-authenticate").contains(error), "{what}");
        }
    }
    assert_eq!(office.asked(), 0, "{what}");
}

#[tokio::test]
async fn an_administrator_asks_for_every_operation_and_is_named() {
    let office = Office::new().await;
    let (person, alice) = (office.token(&[]), office.bench.alice.id.to_string());
    let machine = office.token(&[("sub", json!("console")), ("acr", Value::Null)]);
    for row in TABLE {
        for (token, who) in [(&person, alice.as_str()), (&machine, "console")] {
            let answer = office.with(row, token).await;
            assert_eq!(answer.status.as_u16(), row.status, "{}: {}", row.id, answer.body);
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("etag"), "\"7\"");
            assert!(answer.headers.get("access-control-allow-origin").is_none());
            let last = office.bench.administered.0.lock().unwrap().pop().unwrap();
            assert_eq!(last, (row.operation, who.to_owned()));
        }
    }
}

#[tokio::test]
async fn what_is_no_token_for_it_opens_nothing() {
    let office = Office::new().await;
    for row in TABLE {
        let answer = office.ask(row, &[]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let asks = format!("scope=\"{}\"", row.need.scope());
        assert!(answer.header("www-authenticate").contains(&asks), "{}", row.id);
        // Neither a cookie nor two tokens are one.
        let token = format!("Bearer {}", office.token(&[]));
        let cookie = [("cookie", "session_id=x; refresh_token=y")];
        assert_eq!(office.ask(row, &cookie).await.status, StatusCode::UNAUTHORIZED);
        let twice = [("authorization", token.as_str()), ("authorization", token.as_str())];
        assert_eq!(office.ask(row, &twice).await.status, StatusCode::BAD_REQUEST);
        let other = [("authorization", "Basic Y29uc29sZTpzZWNyZXQ=")];
        assert_eq!(office.ask(row, &other).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(office.asked(), 0);
    let gateway = office.bench.provider.config().audience.clone();
    let administration = format!("{ISSUER}/admin/v1");
    let now = office.bench.node.now().secs();
    let act = json!({"sub": "orders"});
    for (what, changes) in [
        ("expired", vec![("exp", json!(now - 10)), ("iat", json!(now - 900))]),
        ("not yet", vec![("nbf", json!(now + 300))]),
        ("for the gateway", vec![("aud", json!(gateway))]),
        ("for the issuer", vec![("aud", json!(ISSUER))]),
        ("for others, too", vec![("aud", json!([administration, "orders"]))]),
        ("for no one", vec![("aud", json!([]))]),
        ("of another issuer", vec![("iss", json!("https://idp.example"))]),
        ("through somebody", vec![("act", act)]),
        ("derived", vec![("original_jti", json!("1.abc"))]),
        ("of an unknown client", vec![("client_id", json!("nobody"))]),
        ("of our own pages", vec![("client_id", json!("tegata-browser"))]),
        ("of an unknown person", vec![("sub", json!("usr_nobody"))]),
        ("in another's name", vec![("sub", json!("reader"))]),
    ] {
        all_refused(&office, what, &office.token(&changes), 401, "invalid_token").await;
    }
    let claims = office.claims(&[]);
    all_refused(&office, "of another type", &office.signed("JWT", &claims), 401, "invalid_token")
        .await;
    all_refused(&office, "garbage", "x.y.z", 401, "invalid_token").await;
    let good = office.token(&[]);
    let forged = format!("{}A", &good[..good.len() - 2]);
    all_refused(&office, "forged", &forged, 401, "invalid_token").await;
}

#[tokio::test]
async fn what_was_taken_back_opens_nothing_at_once() {
    let office = Office::new().await;
    let (token, row) = (office.token(&[]), &TABLE[0]);
    assert_eq!(office.with(row, &token).await.status, StatusCode::OK);
    office.bench.administered.0.lock().unwrap().clear();
    let order = Order { reason: "stolen".into(), actor: "test".into() };
    office.bench.provider.revoke_token(&token, &order).await.unwrap();
    all_refused(&office, "revoked", &token, 401, "invalid_token").await;

    let (bench, other) = (&office.bench, office.token(&[]));
    bench.users.disable(&bench.realm, &bench.alice.id, "test").await.unwrap();
    all_refused(&office, "of a disabled person", &other, 401, "invalid_token").await;
    bench.users.enable(&bench.realm, &bench.alice.id, "test").await.unwrap();
    let console = tegata_core::ClientId::new("console").unwrap();
    bench.provider.clients().remove(&bench.realm, &console).await.unwrap();
    all_refused(&office, "of a removed client", &other, 401, "invalid_token").await;
}

#[tokio::test]
async fn a_person_needs_the_role_as_it_is_now_whatever_the_token_says() {
    let office = Office::new().await;
    let bench = &office.bench;
    let bob = bench.user("bob").await;
    let token = office.token(&[("sub", json!(bob.id)), ("roles", json!([ROLE]))]);
    all_refused(&office, "without the role", &token, 403, "access_denied").await;
    let token = office.token(&[]);
    let role = RoleChange::Withdraw([Role::new(ROLE).unwrap()].into());
    bench.users.change_roles(&bench.realm, &bench.alice.id, &role, "test").await.unwrap();
    all_refused(&office, "of who had it", &token, 403, "access_denied").await;
}

#[tokio::test]
async fn reading_is_not_changing() {
    let office = Office::new().await;
    for (what, changes) in [
        ("of the token", vec![("scope", json!(READ))]),
        ("of the client", vec![("client_id", json!("reader"))]),
    ] {
        let token = office.token(&changes);
        for row in TABLE {
            let answer = office.with(row, &token).await;
            if row.need == Need::Read {
                assert_eq!(answer.status.as_u16(), row.status, "{what}, {}", row.id);
                continue;
            }
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}, {}", row.id);
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("insufficient_scope") && challenge.contains(WRITE));
        }
        let heard = office.bench.administered.0.lock().unwrap();
        let needs = |operation| TABLE.iter().find(|row| row.operation == operation).unwrap().need;
        assert!(heard.iter().all(|(operation, _)| needs(*operation) == Need::Read));
    }
    office.bench.administered.0.lock().unwrap().clear();
    for scope in ["", "openid profile", "admin", "admin.reads", "orders.read"] {
        let token = office.token(&[("scope", json!(scope))]);
        all_refused(&office, scope, &token, 403, "insufficient_scope").await;
    }
}

#[tokio::test]
async fn a_client_that_registered_itself_administers_nothing_whatever_it_has() {
    let office = Office::new().await;
    let bench = &office.bench;
    let metadata = ClientMetadata { scope: format!("{READ} {WRITE}"), ..client("dyn_x") };
    let management = Secret::new("rat_x".to_owned());
    let clients = bench.provider.clients();
    clients.register(&bench.realm, &metadata, &management).await.unwrap();
    for sub in [json!("dyn_x"), json!(bench.alice.id)] {
        let token = office.token(&[("client_id", json!("dyn_x")), ("sub", sub)]);
        all_refused(&office, "registered by itself", &token, 401, "invalid_token").await;
    }
}

#[tokio::test]
async fn a_bound_token_is_nothing_without_the_proof_of_its_key() {
    let office = Office::new().await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let token = office.token(&[("cnf", json!({"jkt": holder.jkt()}))]);
    all_refused(&office, "bound, shown by itself", &token, 401, "invalid_token").await;
    let scheme = format!("DPoP {token}");
    for row in TABLE {
        let place =
            [("htm", json!(row.verb.name())), ("htu", json!(format!("{ISSUER}{}", target(row))))];
        let shown = async |proof: &str| {
            office.ask(row, &[("authorization", &scheme), ("dpop", proof)]).await.status
        };
        let missing = office.ask(row, &[("authorization", &scheme)]).await.status;
        assert_eq!(missing, StatusCode::UNAUTHORIZED, "{}", row.id);
        let of_thief = thief.proof_of(&office.bench, &token, &place);
        assert_eq!(shown(&of_thief).await, StatusCode::UNAUTHORIZED, "{}", row.id);
        let elsewhere = [place[0].clone(), ("htu", json!(format!("{ISSUER}/admin/v1")))];
        let elsewhere = holder.proof_of(&office.bench, &token, &elsewhere);
        assert_eq!(shown(&elsewhere).await, StatusCode::UNAUTHORIZED, "{}", row.id);
        assert_eq!(office.asked(), 0);
        let good = holder.proof_of(&office.bench, &token, &place);
        assert_eq!(shown(&good).await.as_u16(), row.status, "{}", row.id);
        assert_eq!(shown(&good).await, StatusCode::UNAUTHORIZED, "{}: used twice", row.id);
        office.bench.administered.0.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn whoever_has_a_second_factor_shows_it_before_changing_something() {
    let office = Office::new().await;
    let bench = &office.bench;
    let secret = tegata_identity::TotpSecret::generate(bench.node.entropy());
    bench.second.provide_totp(&bench.realm, &bench.alice.id, &secret, "test").await.unwrap();
    let (weak, strong) = (office.token(&[]), office.token(&[("acr", json!("aal2"))]));
    for row in TABLE {
        assert_eq!(office.with(row, &strong).await.status.as_u16(), row.status, "{}", row.id);
        let answer = office.with(row, &weak).await;
        if row.need == Need::Read {
            assert_eq!(answer.status.as_u16(), row.status, "{}", row.id);
            continue;
        }
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", row.id);
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
        assert!(challenge.contains("acr_values=\"aal2\""), "{challenge}");
    }
}

#[tokio::test]
async fn where_it_is_required_nobody_administers_by_a_password_alone() {
    let required = |config: &mut tegata_server::Config| {
        config.administrators = SecondFactor::Required;
    };
    let office = Office::of(Bench::with(required).await).await;
    let error = "insufficient_user_authentication";
    all_refused(&office, "weak", &office.token(&[]), 401, error).await;
    let odd = office.token(&[("acr", json!("urn:mace:incommon:iap:silver"))]);
    all_refused(&office, "of no level of ours", &odd, 401, error).await;
    let (row, strong) = (&TABLE[0], office.token(&[("acr", json!("aal2"))]));
    assert_eq!(office.with(row, &strong).await.status, StatusCode::OK);
    // A client has no second factor.
    let machine = office.token(&[("sub", json!("console")), ("acr", Value::Null)]);
    assert_eq!(office.with(row, &machine).await.status, StatusCode::OK);
}

#[tokio::test]
async fn while_the_store_is_away_nobody_is_told_that_their_token_does_not_count() {
    let office = Office::new().await;
    let token = office.token(&[]);
    office.bench.take_away(true);
    let answer = office.with(&TABLE[0], &token).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
}

#[tokio::test]
async fn scripts_of_other_origins_are_told_nothing() {
    let office = Office::new().await;
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/admin/v1/users")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", Verb::Post.name());
    let answer = office.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
}
