use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, http::HeaderMap, routing::get};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tegata_core::{Acr, ManualClock, Node, SeededEntropy};
use tegata_token::ProtectedResource;
use tower::ServiceExt as _;

use super::*;
use crate::{
    authenticate::INTERNAL_TOKEN,
    testing::{TestAuthority, TestToken},
};

struct Bench {
    clock: Arc<ManualClock>,
    authority: TestAuthority,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        Self { clock, authority: TestAuthority::on(node) }
    }

    fn now(&self) -> u64 {
        self.authority.node().now().secs()
    }

    /// A token of somebody who was authenticated so.
    fn token(&self, acr: Option<&str>, auth_time: Option<u64>) -> TestToken {
        self.authority.user("usr_alice", "orders").with(|claims| {
            claims.acr = acr.map(str::to_owned);
            claims.auth_time = auth_time;
        })
    }

    fn layer(&self, step_up: StepUp) -> AuthenticateLayer {
        AuthenticateLayer::new(self.authority.authenticator("orders")).asking(step_up)
    }
}

async fn ask(router: &Router, path: &str, headers: HeaderMap) -> (u16, HeaderMap, Value) {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    *request.headers_mut() = headers;
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap_or_default())
}

fn bearer(token: &str) -> HeaderMap {
    let value = format!("Bearer {token}").parse().unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

fn internal(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(INTERNAL_TOKEN, token.parse().unwrap())])
}

fn routes(layer: AuthenticateLayer) -> Router {
    Router::new().route("/", get(|| async { "1" })).layer(layer)
}

#[tokio::test]
async fn who_was_not_authenticated_as_is_asked_is_told_how() {
    let bench = Bench::new();
    let asked = StepUp::to(Acr::Aal2).within(Duration::from_secs(60));
    let (strict, open) = (routes(bench.layer(asked)), routes(bench.layer(StepUp::default())));
    let now = bench.now();
    for (acr, auth_time, passes) in [
        (Some("aal2"), Some(now), true),
        (Some("aal3"), Some(now - 60), true),
        (Some("aal2"), Some(now - 61), false),
        (Some("aal2"), Some(now + 61), false),
        (Some("aal2"), None, false),
        (Some("aal1"), Some(now), false),
        (Some("AAL2"), Some(now), false),
        (None, Some(now), false),
        (None, None, false),
    ] {
        let token = bench.token(acr, auth_time);
        for headers in [bearer(&token.access()), internal(&token.internal())] {
            assert_eq!(ask(&open, "/", headers.clone()).await.0, 200);
            let (status, fields, problem) = ask(&strict, "/", headers).await;
            assert_eq!(status, if passes { 200 } else { 401 }, "{acr:?} {auth_time:?}");
            if !passes {
                assert_eq!(
                    fields["www-authenticate"],
                    "Bearer realm=\"orders\", error=\"insufficient_user_authentication\", \
                     error_description=\"authenticate more strongly, or once more\", \
                     acr_values=\"aal2\", max_age=\"60\""
                );
                assert_eq!(problem["status"], 401);
            }
        }
    }
    // A service in its own name was never authenticated as a person is.
    let service = bench.authority.service("carts", "orders").access();
    assert_eq!(ask(&strict, "/", bearer(&service)).await.0, 401);
}

/// What a service further on asks for is passed on, unless the person would be asked for ever.
#[tokio::test]
async fn what_was_shown_already_is_asked_of_nobody_again() {
    let bench = Bench::new();
    let orders = bench.authority.authenticator("orders");
    let second = StepUp::to(Acr::Aal2);
    let recent = second.clone().within(Duration::from_secs(60));
    let now = bench.now();
    for (acr, ago, asked, status) in [
        (Some("aal1"), 0, &second, 401),
        (None, 0, &second, 401),
        (Some("aal2"), 0, &second, 403),
        (Some("aal3"), 900, &second, 403),
        (Some("aal2"), 900, &recent, 401),
        // It may have grown old on the way.
        (Some("aal2"), 40, &recent, 401),
        (Some("aal2"), 30, &recent, 403),
        (Some("aal1"), 0, &recent, 401),
        // Nothing that is known here.
        (Some("aal1"), 900, &StepUp::default(), 403),
    ] {
        let token = bench.token(acr, Some(now - ago));
        let caller = orders.authenticate(&internal(&token.internal())).await.unwrap();
        let refused = caller.ask_step_up(asked);
        assert_eq!(refused.status().as_u16(), status, "{acr:?} {ago} {asked:?}");
        assert_eq!(refused.challenge().is_some(), status == 401, "{acr:?} {ago} {asked:?}");
    }
}

#[tokio::test]
async fn a_verified_token_that_is_remembered_grows_old_all_the_same() {
    let bench = Bench::new();
    let router = routes(bench.layer(StepUp::default().within(Duration::from_secs(60))));
    let token = bench.token(Some("aal1"), Some(bench.now())).access();
    assert_eq!(ask(&router, "/", bearer(&token)).await.0, 200);
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(ask(&router, "/", bearer(&token)).await.0, 200);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&router, "/", bearer(&token)).await.0, 401);
}

#[tokio::test]
async fn an_optional_layer_that_asks_for_something_lets_nobody_pass_without_it() {
    let bench = Bench::new();
    let router = routes(bench.layer(StepUp::to(Acr::Aal1)).optional());
    let (status, fields, _) = ask(&router, "/", HeaderMap::new()).await;
    assert_eq!(
        (status, fields["www-authenticate"].to_str().unwrap()),
        (401, "Bearer realm=\"orders\"")
    );
    let token = bench.token(Some("aal1"), None).access();
    assert_eq!(ask(&router, "/", bearer(&token)).await.0, 200);
}

/// RFC 9700 §4.3.2: where logs keep it, and where a browser sends it by itself, no token is looked for.
#[tokio::test]
async fn a_good_token_counts_in_its_header_and_nowhere_else() {
    let bench = Bench::new();
    let router = Router::new()
        .route("/", get(|| async { "1" }).post(|| async { "1" }))
        .layer(AuthenticateLayer::new(bench.authority.authenticator("orders")));
    let token = bench.token(None, None).access();
    let answer = async |request: Request<Body>| {
        let answer = router.clone().oneshot(request).await.unwrap();
        let challenge = answer.headers().get("www-authenticate").cloned();
        (answer.status().as_u16(), challenge.map(|it| it.to_str().unwrap().to_owned()))
    };
    let good = Request::get("/").header("authorization", format!("Bearer {token}"));
    assert_eq!(answer(good.body(Body::empty()).unwrap()).await, (200, None));
    let form = "application/x-www-form-urlencoded";
    let said = format!("access_token={token}");
    let bare = |name: &str, value: &str| Request::get("/").header(name, value).body(Body::empty());
    for request in [
        Request::get(format!("/?{said}")).body(Body::empty()),
        Request::post("/").header("content-type", form).body(said.clone().into()),
        Request::get("/").header("content-type", form).body(said.clone().into()),
        bare("cookie", &said),
        bare("x-access-token", &token),
        bare("access_token", &token),
        bare("proxy-authorization", &format!("Bearer {token}")),
        bare("x-forwarded-access-token", &token),
    ] {
        let request = request.unwrap();
        let shown = format!("{request:?}");
        // As where nothing is shown at all: no error is named (RFC 6750 §3.1).
        let nothing = Some("Bearer realm=\"orders\"".to_owned());
        assert_eq!(answer(request).await, (401, nothing), "{shown}");
    }
    // Beside it, another place adds nothing and takes nothing away.
    let both =
        Request::get("/?access_token=a.b.c").header("authorization", format!("Bearer {token}"));
    assert_eq!(answer(both.body(Body::empty()).unwrap()).await.0, 200);
}

#[tokio::test]
async fn a_service_describes_itself_and_its_challenges_lead_there() {
    let bench = Bench::new();
    let issuers = vec![TestAuthority::ISSUER.to_owned()];
    let resource = ProtectedResource::new("https://api.test/orders", issuers).unwrap();
    let authenticator = Authenticator::of("orders")
        .trusting(TestAuthority::ISSUER, bench.authority.keys())
        .described(resource.with_scopes(["orders.read".to_owned()]))
        .on(bench.authority.node().clone());
    let router =
        routes(AuthenticateLayer::new(authenticator.clone())).merge(description(&authenticator));
    let at = "/.well-known/oauth-protected-resource/orders";
    // What the request says of its host changes nothing.
    let elsewhere = HeaderMap::from_iter([(header::HOST, "evil.test".parse().unwrap())]);
    let (status, fields, described) = ask(&router, at, elsewhere.clone()).await;
    assert_eq!((status, fields["content-type"].to_str().unwrap()), (200, "application/json"));
    assert_eq!(
        described,
        json!({
            "resource": "https://api.test/orders",
            "authorization_servers": [TestAuthority::ISSUER],
            "scopes_supported": ["orders.read"],
            "bearer_methods_supported": ["header"],
        })
    );
    let (status, fields, _) = ask(&router, "/", elsewhere).await;
    assert_eq!(status, 401);
    assert_eq!(
        fields["www-authenticate"],
        format!("Bearer realm=\"orders\", resource_metadata=\"https://api.test{at}\"")
    );
    // A token for the resource, as clients ask for it.
    let token = bench.authority.user("usr_alice", "https://api.test/orders").access();
    assert_eq!(ask(&router, "/", bearer(&token)).await.0, 200);
    // A service that is not described has no such page.
    let plain = bench.authority.authenticator("orders");
    let router: Router = description(&plain);
    assert_eq!(ask(&router, at, HeaderMap::new()).await.0, 404);
}
