use std::sync::Arc;

use http::HeaderValue;
use tegata_core::{Acr, ManualClock, SeededEntropy, StepUp};
use tegata_token::{Algorithm, ProofRefused, Scope, SigningKey, claims::Confirmation, dpop, jws};

use super::*;
use crate::testing::{TestAuthority, TestToken};

fn bench() -> (Arc<ManualClock>, TestAuthority) {
    let clock = Arc::new(ManualClock::default());
    let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
    (clock, TestAuthority::on(node))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn bearer(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

fn internal(token: &str) -> HeaderMap {
    headers(&[("x-internal-token", token)])
}

fn alice(authority: &TestAuthority) -> TestToken {
    authority.user("usr_alice", "orders").roles(&["customer"]).scope("orders.read")
}

async fn reason(authenticator: &Authenticator, headers: &HeaderMap) -> Reason {
    authenticator.authenticate(headers).await.unwrap_err().reason
}

#[tokio::test]
async fn believes_the_gateways_token_and_an_access_token() {
    let (_, authority) = bench();
    let orders = authority.authenticator("orders");
    let token = alice(&authority).with(|claims| {
        claims.sid = Some("1.1.s".into());
        claims.original_jti = Some("1.o".into());
    });
    for headers in [internal(&token.internal()), bearer(&token.access())] {
        let caller = orders.authenticate(&headers).await.unwrap();
        assert_eq!(caller.user().unwrap().as_str(), "usr_alice");
        assert!(caller.has_role("customer") && !caller.has_role("admin"));
        assert_eq!(caller.scope().as_str(), "orders.read");
        assert_eq!((caller.session(), caller.original_token_id()), (Some("1.1.s"), Some("1.o")));
        assert_eq!(caller.calling_service(), None);
        let context = serde_json::to_value(caller.context()).unwrap();
        assert_eq!(context["user_id"], "usr_alice");
        assert_eq!(context["permissions"][0], "orders.read");
        assert_eq!(context["service_context"]["service"], "orders");
        assert_eq!(context["trace_id"], caller.trace().trace_id());
    }
    // One that outlives the session it began in belongs to none: that one may have ended.
    let offline = alice(&authority).with(|claims| {
        claims.sid = Some("1.1.s".into());
        claims.outlives_session = true;
    });
    let caller = orders.authenticate(&bearer(&offline.access())).await.unwrap();
    assert_eq!(caller.session(), None);
    let context = serde_json::to_value(caller.context()).unwrap();
    assert_ne!(context["session_id"], "1.1.s");
    let lower = headers(&[("authorization", &format!("bearer  {}", token.access()))]);
    assert!(orders.authenticate(&lower).await.is_ok());
}

#[tokio::test]
async fn never_believes_headers_that_merely_state_an_identity() {
    let (_, authority) = bench();
    let orders = authority.authenticator("orders");
    let stated = [
        ("x-user-id", "usr_root"),
        ("x-user-roles", "admin"),
        ("x-service-name", "gateway"),
        ("x-user-context", r#"{"user_id":"usr_root"}"#),
    ];
    assert_eq!(reason(&orders, &headers(&stated)).await, Reason::Missing);
    let mut with_token = bearer(&alice(&authority).access());
    with_token.extend(headers(&stated));
    let caller = orders.authenticate(&with_token).await.unwrap();
    assert_eq!(caller.user().unwrap().as_str(), "usr_alice");
    assert!(!caller.has_role("admin") && caller.calling_service().is_none());
}

#[tokio::test]
async fn takes_no_kind_of_token_for_another() {
    let (_, authority) = bench();
    let orders = authority.authenticator("orders");
    let token = alice(&authority);
    let kind = Reason::Token(Refusal::Kind);
    assert_eq!(reason(&orders, &internal(&token.access())).await, kind);
    assert_eq!(reason(&orders, &bearer(&token.internal())).await, kind);
    for typ in ["JWT", "id+jwt", "logout+jwt", "statuslist+jwt", ""] {
        let other = authority.sign(typ, &claims_of(&token));
        assert_eq!(reason(&orders, &bearer(&other)).await, kind, "{typ}");
        assert_eq!(reason(&orders, &internal(&other)).await, kind, "{typ}");
    }
}

fn claims_of(token: &TestToken) -> Vec<u8> {
    let access = token.access();
    Compact::parse(&access).unwrap().claims
}

#[tokio::test]
async fn refuses_what_is_for_another_service_or_from_another_issuer_or_over() {
    let (clock, authority) = bench();
    let orders = authority.authenticator("orders");
    let elsewhere = authority.user("usr_alice", "payments");
    let audience = Reason::Token(Refusal::Audience);
    assert_eq!(reason(&orders, &bearer(&elsewhere.access())).await, audience);
    assert_eq!(reason(&orders, &internal(&elsewhere.internal())).await, audience);
    let foreign = alice(&authority).with(|claims| claims.iss = "https://evil.test".into());
    assert_eq!(reason(&orders, &bearer(&foreign.access())).await, Reason::Token(Refusal::Issuer));
    let other = TestAuthority::on(authority.node().clone());
    let unknown = Reason::Token(Refusal::UnknownKey);
    assert_eq!(reason(&orders, &bearer(&alice(&other).access())).await, unknown);
    let token = alice(&authority).access();
    assert!(orders.authenticate(&bearer(&token)).await.is_ok());
    clock.advance(Duration::from_secs(331));
    assert_eq!(reason(&orders, &bearer(&token)).await, Reason::Token(Refusal::Expired));
}

#[tokio::test]
async fn a_bad_internal_token_is_not_made_good_by_a_good_bearer() {
    let (_, authority) = bench();
    let orders = authority.authenticator("orders");
    let mut both = bearer(&alice(&authority).access());
    both.insert(INTERNAL_TOKEN, HeaderValue::from_static("a.b.c"));
    assert!(matches!(reason(&orders, &both).await, Reason::Token(Refusal::Malformed(_))));
    let admin = authority.user("usr_bob", "orders").roles(&["admin"]);
    both.insert(INTERNAL_TOKEN, admin.internal().parse().unwrap());
    assert_eq!(orders.authenticate(&both).await.unwrap().user().unwrap().as_str(), "usr_bob");
}

#[tokio::test]
async fn accepts_only_the_kinds_that_it_was_told_to() {
    let (_, authority) = bench();
    let node = authority.node().clone();
    let of = |accept| {
        let builder = Authenticator::of("orders").accepting(accept);
        builder.trusting(TestAuthority::ISSUER, authority.keys()).on(node.clone())
    };
    let token = alice(&authority);
    let (gateway, direct) = (of(Accept::Internal), of(Accept::Bearer));
    assert_eq!(reason(&gateway, &bearer(&token.access())).await, Reason::Missing);
    assert_eq!(reason(&direct, &internal(&token.internal())).await, Reason::Missing);
    assert!(gateway.authenticate(&internal(&token.internal())).await.is_ok());
    assert!(direct.authenticate(&bearer(&token.access())).await.is_ok());
}

#[tokio::test]
async fn refuses_two_tokens_in_one_header_and_shapes_that_are_none() {
    let (_, authority) = bench();
    let orders = authority.authenticator("orders");
    let good = format!("Bearer {}", alice(&authority).access());
    let twice = headers(&[("authorization", &good), ("authorization", &good)]);
    assert!(matches!(reason(&orders, &twice).await, Reason::Malformed(_)));
    let token = alice(&authority).internal();
    let twice = headers(&[("x-internal-token", &token), ("x-internal-token", &token)]);
    assert!(matches!(reason(&orders, &twice).await, Reason::Malformed(_)));
    let empty = headers(&[("authorization", "Bearer ")]);
    assert!(matches!(reason(&orders, &empty).await, Reason::Malformed(_)));
    for other in ["Basic YTpi", "DPoPx", "", "Bearerx"] {
        let other = headers(&[("authorization", other)]);
        assert_eq!(reason(&orders, &other).await, Reason::Missing);
    }
    let appended = headers(&[("authorization", &format!("{good}, {good}"))]);
    assert!(matches!(reason(&orders, &appended).await, Reason::Token(Refusal::Malformed(_))));
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_no_bearer_token() {
    let (_, authority) = bench();
    let orders = authority.authenticator("orders");
    let bound = |jkt: Option<&str>, x5t: Option<&str>| {
        let (jkt, x5t) = (jkt.map(str::to_owned), x5t.map(str::to_owned));
        let token = alice(&authority).with(|c| c.cnf = Some(Confirmation { jkt, x5t }));
        bearer(&token.access())
    };
    for headers in [bound(Some("k"), None), bound(None, None)] {
        assert_eq!(reason(&orders, &headers).await, Reason::Bound);
    }
    assert_eq!(reason(&orders, &bound(None, Some("c"))).await, Reason::Certificate);
    assert!(orders.authenticate_on(&bound(None, Some("c")), Some("c")).await.is_ok());
    for (headers, certificate, expected) in [
        (bound(None, Some("c")), "d", Reason::Certificate),
        (bound(Some("k"), Some("c")), "c", Reason::Bound),
        (bound(Some("c"), None), "c", Reason::Bound),
    ] {
        let refused = orders.authenticate_on(&headers, Some(certificate)).await.unwrap_err();
        assert_eq!(refused.reason, expected);
    }
    let (own, other) = (&b"a certificate"[..], &b"another"[..]);
    let headers = bound(None, Some(&thumbprint(own)));
    assert!(orders.authenticate_peer(&headers, Some(own)).await.is_ok());
    for shown in [None, Some(other)] {
        let refused = orders.authenticate_peer(&headers, shown).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Certificate);
        let challenge = refused.challenge().unwrap();
        assert!(challenge.to_str().unwrap().starts_with("Bearer "), "{challenge:?}");
    }
}

const PLACE: &str = "https://orders.example/orders";

/// A token that is bound to a key, and a proof of it under this name.
fn proven(authority: &TestAuthority, key: &SigningKey, jti: &str) -> HeaderMap {
    let cnf = Some(Confirmation::of_key(&key.jwk().thumbprint()));
    let token = alice(authority).with(|claims| claims.cnf = cnf).access();
    let proof = proof_of(authority, key, &token, jti);
    headers(&[("authorization", &format!("DPoP {token}")), ("dpop", &proof)])
}

fn proof_of(authority: &TestAuthority, key: &SigningKey, token: &str, jti: &str) -> String {
    let iat = authority.authenticator("orders").node().now().secs();
    let ath = dpop::hash_of(token);
    let claims = serde_json::json!({
        "jti": jti, "htm": "GET", "htu": PLACE, "iat": iat, "ath": ath,
    });
    dpop::make(key, claims.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn believes_the_holder_of_a_bound_token_once_for_each_proof() {
    let (_, authority) = bench();
    let orders = authority.authenticator("orders");
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let good = proven(&authority, &key, "a");
    // Without knowing where the request was sent, no proof can be checked.
    assert_eq!(reason(&orders, &good).await, Reason::Bound);
    let caller = orders.authenticate_at(&good, "GET", &format!("{PLACE}?a=b")).await.unwrap();
    assert_eq!(caller.user().unwrap().as_str(), "usr_alice");
    // What is asked of its person is said of the scheme that the token is sent with.
    let asked = caller.require_step_up(&StepUp::to(Acr::Aal2)).unwrap_err().challenge().unwrap();
    let asked = asked.to_str().unwrap();
    assert!(asked.starts_with("DPoP realm=\"orders\", error=\"insufficient_user_authentication\""));
    assert!(asked.contains(", acr_values=\"aal2\", algs="), "{asked}");
    let asked = caller.require_scope(&Scope::new("orders.write").unwrap()).unwrap_err().challenge();
    let asked = asked.unwrap();
    let expected = "DPoP realm=\"orders\", error=\"insufficient_scope\"";
    assert!(asked.to_str().unwrap().starts_with(expected), "{asked:?}");
    let again = orders.authenticate_at(&good, "GET", PLACE).await.unwrap_err();
    assert_eq!(again.reason, Reason::Replayed);
    let challenge = again.challenge().unwrap();
    assert!(challenge.to_str().unwrap().starts_with("DPoP realm=\"orders\", error="));
}

#[tokio::test]
async fn refuses_proofs_that_are_for_something_else() {
    let (_, authority) = bench();
    let orders = authority.authenticator("orders");
    let (key, thief) = (
        SigningKey::generate(Algorithm::Es256).unwrap(),
        SigningKey::generate(Algorithm::Es256).unwrap(),
    );
    let good = proven(&authority, &key, "a");
    for (method, url, expected) in [
        ("POST", PLACE, Reason::Proof(ProofRefused::Method)),
        ("GET", "https://orders.example/others", Reason::Proof(ProofRefused::Target)),
        ("GET", "http://orders.example/orders", Reason::Proof(ProofRefused::Target)),
        ("GET", "/orders", Reason::Bound),
    ] {
        let refused = orders.authenticate_at(&good, method, url).await.unwrap_err();
        assert_eq!(refused.reason, expected, "{method} {url}");
    }
    let credential = good["authorization"].to_str().unwrap();
    let token = credential.trim_start_matches("DPoP ");
    let stolen = proof_of(&authority, &thief, token, "b");
    let (one, bearer) = (good["dpop"].to_str().unwrap(), format!("Bearer {token}"));
    for (shown, expected) in [
        (headers(&[("authorization", credential)]), Reason::Bound),
        (headers(&[("authorization", credential), ("dpop", &stolen)]), Reason::Bound),
        (headers(&[("authorization", &bearer), ("dpop", one)]), Reason::Bound),
    ] {
        let refused = orders.authenticate_at(&shown, "GET", PLACE).await.unwrap_err();
        assert_eq!(refused.reason, expected);
    }
    let twice = headers(&[("authorization", credential), ("dpop", one), ("dpop", one)]);
    let refused = orders.authenticate_at(&twice, "GET", PLACE).await.unwrap_err();
    assert!(matches!(refused.reason, Reason::Malformed(_)));
    // A token that is bound to nothing is no better for a proof.
    let unbound = alice(&authority).access();
    let proof = proof_of(&authority, &key, &unbound, "c");
    let shown = headers(&[("authorization", &format!("DPoP {unbound}")), ("dpop", &proof)]);
    let refused = orders.authenticate_at(&shown, "GET", PLACE).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Bound);
    // None of this has used the proof up.
    assert!(orders.authenticate_at(&good, "GET", PLACE).await.is_ok());
}

#[tokio::test]
async fn keeps_issuers_apart_even_where_their_keys_share_a_name() {
    let (_, first) = bench();
    let der = SigningKey::generate(Algorithm::Es256).unwrap().to_pkcs8().unwrap();
    let kid = Some(tegata_core::KeyId::new("shared").unwrap());
    let key = SigningKey::from_pkcs8(der.expose(), None, kid).unwrap();
    let jwks = serde_json::json!({ "keys": [key.jwk()] }).to_string();
    let orders = Authenticator::of("orders")
        .trusting(TestAuthority::ISSUER, first.keys())
        .trusting("https://second.test", KeySource::from_jwks(jwks.as_bytes()).unwrap())
        .on(first.node().clone());
    assert!(orders.authenticate(&bearer(&alice(&first).access())).await.is_ok());
    let second = alice(&first).with(|claims| claims.iss = "https://second.test".into());
    let signed = |claims: &[u8]| jws::sign(&key, "at+jwt", claims).unwrap();
    let good = bearer(&signed(&claims_of(&second)));
    assert!(orders.authenticate(&good).await.is_ok());
    // Signed by the second issuer, in the name of the first.
    let forged = bearer(&signed(&claims_of(&alice(&first))));
    assert_eq!(reason(&orders, &forged).await, Reason::Token(Refusal::UnknownKey));
    // Signed by the first issuer, in the name of the second.
    assert_eq!(
        reason(&orders, &bearer(&second.access())).await,
        Reason::Token(Refusal::UnknownKey)
    );
}

#[tokio::test]
async fn only_the_outermost_actor_is_the_calling_service() {
    let (_, authority) = bench();
    let orders = authority.authenticator("orders");
    let token = alice(&authority).through("payments").through("shipping");
    let caller = orders.authenticate(&bearer(&token.access())).await.unwrap();
    assert_eq!(caller.calling_service(), Some("shipping"));
    assert!(caller.require_service(&["shipping"]).is_ok());
    assert!(caller.require_service(&["payments", "orders"]).is_err());
    let own = authority.service("payments", "orders").access();
    let caller = orders.authenticate(&bearer(&own)).await.unwrap();
    assert_eq!(caller.subject(), &Subject::Service("payments".into()));
    assert!(caller.require_service(&["payments"]).is_ok() && caller.require_user().is_err());
}

#[tokio::test]
async fn refusals_are_those_of_rfc_6750() {
    let (clock, authority) = bench();
    let orders = authority.authenticator("orders");
    let challenge = |refused: &Refused| {
        let value = refused.challenge().map(|value| value.to_str().unwrap().to_owned());
        (refused.status().as_u16(), value.unwrap_or_default())
    };
    let missing = orders.authenticate(&HeaderMap::new()).await.unwrap_err();
    assert_eq!(challenge(&missing), (401, r#"Bearer realm="orders""#.into()));
    let malformed = headers(&[("authorization", "Bearer ")]);
    let malformed = orders.authenticate(&malformed).await.unwrap_err();
    assert_eq!(
        challenge(&malformed),
        (400, r#"Bearer realm="orders", error="invalid_request", error_description="`Authorization` names no token""#.into())
    );
    let forged = orders.authenticate(&bearer("a.b.c")).await.unwrap_err();
    assert_eq!(
        challenge(&forged),
        (401, r#"Bearer realm="orders", error="invalid_token", error_description="the token is not valid here""#.into())
    );
    let headers = bearer(&alice(&authority).access());
    let caller = orders.authenticate(&headers).await.unwrap();
    let narrow = caller.require_scope(&Scope::new("orders.read orders.write").unwrap());
    assert_eq!(
        challenge(&narrow.unwrap_err()),
        (403, r#"Bearer realm="orders", error="insufficient_scope", error_description="the token is not for this use", scope="orders.read orders.write""#.into())
    );
    assert_eq!(challenge(&caller.require_role("admin").unwrap_err()), (403, String::new()));
    clock.advance(Duration::from_secs(400));
    let expired = orders.authenticate(&headers).await.unwrap_err();
    assert_eq!(expired.problem().detail, "the token has expired");
}

#[cfg(feature = "axum")]
mod as_a_layer {
    use axum::{Router, body::Body, http::Request, routing::get};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::authenticate::layer::AuthenticateLayer;

    async fn name(caller: Option<Caller>) -> String {
        caller.map_or("nobody".to_owned(), |caller| caller.user().unwrap().to_string())
    }

    async fn answer(router: &Router, headers: HeaderMap) -> (u16, HeaderMap, String) {
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        *request.headers_mut() = headers;
        let response = router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn lets_pass_with_a_token_alone() {
        let (_, authority) = bench();
        let layer = AuthenticateLayer::new(authority.authenticator("orders"));
        let router = Router::new().route("/", get(name)).layer(layer);
        let (status, _, body) = answer(&router, bearer(&alice(&authority).access())).await;
        assert_eq!((status, body.as_str()), (200, "usr_alice"));
        let (status, headers, body) = answer(&router, HeaderMap::new()).await;
        assert_eq!(status, 401);
        assert_eq!(headers["www-authenticate"], r#"Bearer realm="orders""#);
        assert_eq!(headers["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&problem["status"], problem["trace_id"].as_str().unwrap().len()),
            (&401.into(), 32)
        );
    }

    #[tokio::test]
    async fn an_optional_layer_passes_nobody_but_refuses_a_bad_token() {
        let (_, authority) = bench();
        let layer = AuthenticateLayer::new(authority.authenticator("orders")).optional();
        let router = Router::new().route("/", get(name)).layer(layer);
        assert_eq!(answer(&router, HeaderMap::new()).await.2, "nobody");
        assert_eq!(answer(&router, bearer(&alice(&authority).access())).await.2, "usr_alice");
        assert_eq!(answer(&router, bearer("a.b.c")).await.0, 401);
    }

    #[tokio::test]
    async fn a_handler_without_the_layer_answers_nothing() {
        let asks = |caller: Caller| async move { format!("{caller:?}") };
        let router = Router::new().route("/", get(asks));
        assert_eq!(answer(&router, HeaderMap::new()).await.0, 500);
    }
}

#[tokio::test]
async fn a_transaction_token_says_what_a_request_is_for_and_is_nobodys_credential() {
    let (clock, authority) = bench();
    let orders = Authenticator::of("orders")
        .trusting(TestAuthority::ISSUER, authority.keys())
        .in_trust_domain("shop.test")
        .on(authority.node().clone());
    let txn = authority.user("usr_alice", "shop.test").scope("orders.read").living(60);
    let token = txn.clone().transaction("t1", "edge,carts");
    // Alone, in whatever header, it says nothing about who calls.
    let alone = headers(&[("txn-token", &token)]);
    assert_eq!(reason(&orders, &alone).await, Reason::Missing);
    let kind = Reason::Token(Refusal::Kind);
    assert_eq!(reason(&orders, &bearer(&token)).await, kind);
    assert_eq!(reason(&orders, &internal(&token)).await, kind);
    let with = |token: &str| {
        let mut headers = bearer(&authority.service("carts", "orders").access());
        headers.append("txn-token", token.parse().unwrap());
        headers
    };
    let caller = orders.authenticate(&with(&token)).await.unwrap();
    assert_eq!(caller.calling_service(), Some("carts"));
    let transaction = caller.transaction().unwrap();
    assert_eq!((transaction.id(), transaction.scope().as_str()), ("t1", "orders.read"));
    assert_eq!(transaction.workloads().collect::<Vec<_>>(), ["edge", "carts"]);
    assert!(matches!(transaction.subject(), Subject::User(user) if user.as_str() == "usr_alice"));
    // One that does not count is not passed over: it would be passed on.
    assert_eq!(reason(&orders, &with(&txn.access())).await, kind);
    let other = authority.user("usr_alice", "bank.test").transaction("t1", "edge");
    assert_eq!(reason(&orders, &with(&other)).await, Reason::Token(Refusal::Audience));
    let nameless = authority.sign("txntoken+jwt", &txn.claims().to_json());
    assert!(matches!(reason(&orders, &with(&nameless)).await, Reason::Token(Refusal::Claims(_))));
    let mut two = with(&token);
    two.append("txn-token", token.parse().unwrap());
    assert!(matches!(reason(&orders, &two).await, Reason::Malformed(_)));
    clock.advance(Duration::from_secs(91));
    assert_eq!(reason(&orders, &with(&token)).await, Reason::Token(Refusal::Expired));
}

#[tokio::test]
async fn outside_of_a_trust_domain_a_transaction_token_is_not_looked_at() {
    let (_, authority) = bench();
    let mut headers = bearer(&alice(&authority).access());
    headers.append("txn-token", "anything".parse().unwrap());
    let caller = authority.authenticator("orders").authenticate(&headers).await.unwrap();
    assert!(caller.transaction().is_none());
}
