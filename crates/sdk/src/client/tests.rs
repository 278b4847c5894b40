use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request as AxumRequest, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tegata_core::{Acr, ManualClock, Secret, SeededEntropy, StepUp};

use super::*;
use crate::{
    authenticate::Authenticator,
    propagate::NewTransaction,
    provider::Credential,
    testing::{TestAuthority, endpoint::FakeProvider, server::TestServer},
    transport::TransportLimits,
};

/// A service `orders` that calls `inventory` and `payments`, and a fake provider.
struct Bench {
    clock: Arc<ManualClock>,
    authority: TestAuthority,
    provider: FakeProvider,
    downstream: Downstream,
    client: ServiceClient,
    _servers: [TestServer; 2],
}

/// A service that answers with the headers it got, or with a status that the test gave it.
#[derive(Clone, Default)]
struct Downstream {
    asked: Arc<AtomicU32>,
    statuses: Arc<Mutex<Vec<u16>>>,
    /// What it asks of the person, whatever it is shown.
    challenge: Arc<Mutex<Option<&'static str>>>,
}

async fn answer(State(downstream): State<Downstream>, request: AxumRequest) -> Response {
    downstream.asked.fetch_add(1, Ordering::SeqCst);
    if let Some(status) = downstream.statuses.lock().pop() {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    if let Some(challenge) = *downstream.challenge.lock() {
        let asked = [(header::WWW_AUTHENTICATE, challenge)];
        return (StatusCode::UNAUTHORIZED, asked).into_response();
    }
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), Value::from(value.to_str().unwrap()))
    };
    let headers: serde_json::Map<_, _> = request.headers().iter().map(header).collect();
    Json(json!({"headers": headers, "uri": request.uri().to_string()})).into_response()
}

impl Downstream {
    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    fn will_answer(&self, statuses: &[u16]) {
        *self.statuses.lock() = statuses.iter().rev().copied().collect();
    }
}

const AT_ONCE: Retries = Retries { most: 3, first: Duration::ZERO, longest: Duration::ZERO };

impl Bench {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let authority = TestAuthority::on(node.clone());
        let provider = FakeProvider::of(&authority);
        let downstream = Downstream::default();
        let router = Router::new().fallback(any(answer)).with_state(downstream.clone());
        let servers = [
            TestServer::start(provider.router()).await.unwrap(),
            TestServer::start(router).await.unwrap(),
        ];
        let limits =
            TransportLimits { timeout: Duration::from_secs(30), ..TransportLimits::default() };
        let transport = Transport::new(limits);
        let endpoint = servers[0].url("/oauth2/token").parse().unwrap();
        let secret = Secret::new(FakeProvider::SECRET.to_owned());
        let credential = Credential::secret("orders", secret);
        let client = Provider::new(endpoint, credential, transport.clone(), node).retrying(AT_ONCE);
        let client = ServiceClient::of("orders", client)
            .target("inventory", &servers[1].url(""))
            .target("payments", &servers[1].url("/base"))
            .over(transport)
            .retrying(AT_ONCE)
            .build()
            .unwrap();
        Self { clock, authority, provider, downstream, client, _servers: servers }
    }

    async fn caller(&self) -> Caller {
        let token = self.authority.user("usr_alice", "orders").roles(&["customer"]);
        let mut headers = HeaderMap::new();
        headers.insert("x-internal-token", token.internal().parse().unwrap());
        headers.insert("x-request-id", "r-1".parse().unwrap());
        self.authority.authenticator("orders").authenticate(&headers).await.unwrap()
    }

    /// Whom a call to `service` with these headers comes from.
    async fn seen_by(&self, service: &str, reply: &Reply) -> Caller {
        let reply: Value = reply.json().unwrap();
        let mut headers = HeaderMap::new();
        for name in ["authorization", "traceparent", "x-request-id"] {
            let value = reply["headers"][name].as_str().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        self.at(service).authenticate(&headers).await.unwrap()
    }

    fn at(&self, service: &str) -> Authenticator {
        self.authority.authenticator(service)
    }
}

#[tokio::test]
async fn a_call_shows_a_token_for_its_target_and_says_who_calls() {
    let bench = Bench::new().await;
    let reply = bench.client.send(Call::get("inventory", &["stock", "7"])).await.unwrap();
    let seen = bench.seen_by("inventory", &reply).await;
    assert_eq!(seen.calling_service(), Some("orders"));
    let json: Value = reply.json().unwrap();
    assert_eq!(
        (&json["headers"]["x-service-name"], &json["uri"]),
        (&"orders".into(), &"/stock/7".into())
    );
    assert_eq!(json["headers"]["x-trace-id"], seen.trace().trace_id());
    assert!(json["headers"].get("x-user-context").is_none());
}

#[tokio::test]
async fn a_call_for_a_caller_carries_the_caller_the_actor_and_the_trace() {
    let bench = Bench::new().await;
    let caller = bench.caller().await;
    let call = Call::post("payments", &["charges"]).on_behalf_of(&caller).json(&json!({"a": 1}));
    let reply = bench.client.send(call).await.unwrap();
    let seen = bench.seen_by("payments", &reply).await;
    assert_eq!(seen.user(), caller.user());
    assert_eq!(seen.calling_service(), Some("orders"));
    assert_eq!(seen.original_token_id(), Some(caller.token_id()));
    assert_eq!(seen.trace().trace_id(), caller.trace().trace_id());
    assert_eq!(seen.trace().request_id(), "r-1");
    let json: Value = reply.json().unwrap();
    let context: Value =
        serde_json::from_str(json["headers"]["x-user-context"].as_str().unwrap()).unwrap();
    assert_eq!((&context["user_id"], &json["uri"]), (&"usr_alice".into(), &"/base/charges".into()));
    // The token is narrow: the other target does not accept it.
    let bearer = json["headers"]["authorization"].as_str().unwrap().parse().unwrap();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
    assert!(bench.at("inventory").authenticate(&headers).await.is_err());
}

#[tokio::test]
async fn a_call_without_a_token_shows_none() {
    let bench = Bench::new().await;
    let reply = bench.client.send(Call::get("inventory", &["health"]).anonymous()).await.unwrap();
    assert!(reply.json::<Value>().unwrap()["headers"].get("authorization").is_none());
    assert_eq!(bench.provider.asked(), 0);
}

#[tokio::test]
async fn many_calls_at_once_ask_for_one_token_and_it_is_kept_for_two_thirds_of_its_life() {
    let bench = Bench::new().await;
    let call = || bench.client.send(Call::get("inventory", &["stock"]));
    assert!(join_all((0..50).map(|_| call())).await.iter().all(Result::is_ok));
    assert_eq!(bench.provider.asked(), 1);
    bench.clock.advance(Duration::from_secs(39));
    call().await.unwrap();
    assert_eq!(bench.provider.asked(), 1);
    bench.clock.advance(Duration::from_secs(1));
    call().await.unwrap();
    assert_eq!(bench.provider.asked(), 2);
}

#[tokio::test]
async fn several_targets_are_asked_for_in_one_exchange() {
    let bench = Bench::new().await;
    let caller = bench.caller().await;
    bench.client.prepare(&caller, &["inventory", "payments"]).await.unwrap();
    for target in ["inventory", "payments"] {
        let call = Call::get(target, &["x"]).on_behalf_of(&caller);
        let reply = bench.client.send(call).await.unwrap();
        assert_eq!(bench.seen_by(target, &reply).await.user(), caller.user());
    }
    bench.client.prepare(&caller, &["payments", "inventory"]).await.unwrap();
    assert_eq!(bench.provider.asked(), 1);
}

#[tokio::test]
async fn tokens_of_two_callers_are_never_mixed_up() {
    let bench = Bench::new().await;
    let orders = bench.at("orders");
    let users: Vec<_> = (0..20).map(|number| format!("usr_{number}")).collect();
    let calls = users.iter().map(|user| async {
        let token = bench.authority.user(user, "orders").access();
        let bearer = format!("Bearer {token}").parse().unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
        let caller = orders.authenticate(&headers).await.unwrap();
        let call = Call::get("inventory", &["x"]).on_behalf_of(&caller);
        let reply = bench.client.send(call).await.unwrap();
        bench.seen_by("inventory", &reply).await.user().unwrap().to_string()
    });
    assert_eq!(join_all(calls).await, users);
}

#[tokio::test]
async fn repeats_what_does_no_harm_and_nothing_else() {
    let bench = Bench::new().await;
    bench.downstream.will_answer(&[503, 502]);
    let reply = bench.client.send(Call::get("inventory", &["x"])).await.unwrap();
    assert_eq!((reply.status().as_u16(), bench.downstream.asked()), (200, 3));

    bench.downstream.will_answer(&[503]);
    let reply = bench.client.send(Call::post("inventory", &["x"])).await.unwrap();
    assert_eq!((reply.status().as_u16(), bench.downstream.asked()), (503, 4));

    bench.downstream.will_answer(&[503]);
    let reply = bench.client.send(Call::post("inventory", &["x"]).once("k")).await.unwrap();
    assert_eq!((reply.status().as_u16(), bench.downstream.asked()), (200, 6));

    bench.downstream.will_answer(&[500, 404]);
    for status in [500, 404] {
        let reply = bench.client.send(Call::get("inventory", &["x"])).await.unwrap();
        assert_eq!(reply.status().as_u16(), status);
    }
    assert_eq!(bench.downstream.asked(), 8);
}

#[tokio::test]
async fn leaves_a_target_alone_that_keeps_failing_and_tries_again_later() {
    let bench = Bench::new().await;
    bench.downstream.will_answer(&[500; 5]);
    for _ in 0..5 {
        bench.client.send(Call::post("inventory", &["x"])).await.unwrap();
    }
    let failed = bench.client.send(Call::get("inventory", &["x"])).await.unwrap_err();
    assert!(matches!(failed, CallFailed::Open { .. }), "{failed}");
    assert_eq!(bench.downstream.asked(), 5);
    let states = bench.client.breakers();
    assert!(states.contains(&("inventory", BreakerState::Open)), "{states:?}");
    assert!(states.contains(&("payments", BreakerState::Closed)), "{states:?}");
    bench.client.send(Call::get("payments", &["x"])).await.unwrap();
    bench.clock.advance(Duration::from_secs(30));
    bench.client.send(Call::get("inventory", &["x"])).await.unwrap();
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let bench = Bench::new().await;
    bench.client.send(Call::get("inventory", &["x"])).await.unwrap();
    bench.downstream.will_answer(&[401]);
    let reply = bench.client.send(Call::post("inventory", &["x"])).await.unwrap();
    assert_eq!((reply.status().as_u16(), bench.provider.asked()), (200, 2));
    bench.downstream.will_answer(&[401, 401, 401]);
    let reply = bench.client.send(Call::post("inventory", &["x"])).await.unwrap();
    assert_eq!((reply.status().as_u16(), bench.provider.asked()), (401, 3));
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_again_and_one_that_refuses_is_not() {
    let bench = Bench::new().await;
    bench.provider.fail_next(2);
    bench.client.send(Call::get("inventory", &["x"])).await.unwrap();
    assert_eq!(bench.provider.asked(), 3);
    let caller = bench.caller().await;
    bench.clock.advance(Duration::from_secs(301));
    let call = Call::get("inventory", &["x"]).on_behalf_of(&caller);
    let failed = bench.client.send(call).await.unwrap_err();
    let CallFailed::Token { refused: TokenRefused::Refused { error, .. }, .. } = failed else {
        panic!("{failed}");
    };
    assert_eq!((error.as_str(), bench.provider.asked()), ("invalid_request", 4));
}

#[tokio::test]
async fn a_target_without_address_is_not_called_and_a_bad_address_is_refused() {
    let bench = Bench::new().await;
    let failed = bench.client.send(Call::get("elsewhere", &["x"])).await.unwrap_err();
    assert_eq!(failed, CallFailed::UnknownTarget("elsewhere".into()));
    for bad in ["inventory:8080", "ftp://a/", "", "http://user:pw@host/"] {
        let provider = bench.client.0.tokens.provider().clone();
        assert!(ServiceClient::of("orders", provider).target("a", bad).build().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_transaction_goes_with_every_call_unchanged_and_no_further() {
    let bench = Bench::new().await;
    let caller = bench.caller().await;
    let details = serde_json::from_value(json!({"order": "ord_1"})).unwrap();
    let new = NewTransaction {
        trust_domain: "shop.test",
        scope: "payments.write",
        details: Some(&details),
        context: None,
    };
    let begun = bench.client.0.tokens.provider().begin_transaction(&caller, new).await.unwrap();
    assert_eq!(begun.lives, Duration::from_secs(60));
    let call = Call::get("payments", &["charges"]).because_of(&caller).in_transaction(&begun);
    let reply = bench.client.send(call).await.unwrap();
    let json: Value = reply.json().unwrap();
    let sent = json["headers"]["txn-token"].as_str().unwrap();
    assert_eq!(sent, begun.token.expose());
    // Whoever was called with it calls with it, too.
    let payments = Authenticator::of("payments")
        .trusting(TestAuthority::ISSUER, bench.authority.keys())
        .in_trust_domain("shop.test")
        .on(bench.authority.node().clone());
    let mut headers = HeaderMap::new();
    for name in ["authorization", "txn-token"] {
        headers.insert(name, json["headers"][name].as_str().unwrap().parse().unwrap());
    }
    let next = payments.authenticate(&headers).await.unwrap();
    assert_eq!(next.transaction().unwrap().details().unwrap()["order"], "ord_1");
    let further = Call::get("inventory", &["stock"]).because_of(&next);
    let further: Value = bench.client.send(further).await.unwrap().json().unwrap();
    assert_eq!(further["headers"]["txn-token"], sent);
    // A service that is in no trust domain passes nothing on.
    let unknowing = bench.at("payments").authenticate(&headers).await.unwrap();
    let unknowing = Call::get("inventory", &["stock"]).because_of(&unknowing);
    let unknowing: Value = bench.client.send(unknowing).await.unwrap().json().unwrap();
    assert!(unknowing["headers"]["txn-token"].is_null());
}

#[tokio::test]
async fn what_is_asked_of_the_person_is_no_matter_of_the_token_and_can_be_passed_on() {
    let bench = Bench::new().await;
    let caller = bench.caller().await;
    let asked =
        r#"Bearer error="insufficient_user_authentication", acr_values="aal2", max_age="60""#;
    *bench.downstream.challenge.lock() = Some(asked);
    let call = Call::get("payments", &["cards"]).on_behalf_of(&caller);
    let reply = bench.client.send(call).await.unwrap();
    // A new token would say the same of the person.
    assert_eq!((bench.provider.asked(), bench.downstream.asked()), (1, 1));
    let asked = reply.step_up().unwrap();
    assert_eq!(asked, StepUp::to(Acr::Aal2).within(Duration::from_secs(60)));
    let refused = caller.ask_step_up(&asked);
    let told = refused.challenge().unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(told.to_str().unwrap().ends_with(r#", acr_values="aal2", max_age="60""#), "{told:?}");
    *bench.downstream.challenge.lock() = None;
    let call = Call::get("payments", &["cards"]).on_behalf_of(&caller);
    assert_eq!(bench.client.send(call).await.unwrap().step_up(), None);
}
