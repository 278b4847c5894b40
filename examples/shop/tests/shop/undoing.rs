//! Orders that come to nothing leave nothing behind.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tegata_sdk::{
    Authenticator, Credential, Provider, Secret, ServiceClient, Transport,
    testing::{TestAuthority, endpoint::FakeProvider, server::TestServer},
};
use tegata_shop::service::Parts;

use crate::stage::{ALICE, Stage, Who, address, order};

#[tokio::test]
async fn a_declined_card_puts_the_items_back() {
    let stage = Stage::open().await;
    let left = stage.stock("chest-travel").await;
    let mut wish = order("chest-travel", 2);
    wish["source"] = json!("tok_declined");
    let (status, problem) = stage.call(ALICE, "POST", "orders", "/orders", wish).await;
    assert_eq!((status, &problem["type"]), (402, &"urn:problem:declined".into()));
    assert_eq!(stage.stock("chest-travel").await, left);
    let (_, orders) = stage.call(ALICE, "GET", "orders", "/orders", Value::Null).await;
    assert_eq!(orders["items"][0]["state"], "refused");
    assert_eq!(orders["items"][0]["unsettled"], json!([]));
    let (_, parcels) = stage.call(ALICE, "GET", "shipping", "/shipments", Value::Null).await;
    assert_eq!(parcels["items"], json!([]));
}

#[tokio::test]
async fn a_parcel_that_cannot_be_sent_gives_the_money_and_the_items_back() {
    let stage = Stage::open().await;
    let left = stage.stock("box-lacquer").await;
    let mut wish = order("box-lacquer", 1);
    wish["ship_to"] = address("AQ");
    assert_eq!(stage.call(ALICE, "POST", "orders", "/orders", wish).await.0, 422);
    assert_eq!(stage.stock("box-lacquer").await, left);
    let (_, payments) = stage.call(ALICE, "GET", "payments", "/payments", Value::Null).await;
    assert_eq!(payments["items"][0]["state"], "refunded");
    let (_, bought) = stage.call(ALICE, "GET", "orders", "/purchases", Value::Null).await;
    assert_eq!(bought["product_ids"], json!([]));
}

/// Stands before `payments`, passes everything on, and loses the answers it is told to lose.
#[derive(Clone)]
struct Lossy {
    payments: String,
    transport: Transport,
    loses_payments: Arc<AtomicBool>,
    loses_refunds: Arc<AtomicBool>,
}

async fn pass_on(State(lossy): State<Lossy>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    head.uri = format!("{}{path}", lossy.payments).parse().unwrap();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    head.headers.remove("content-length");
    let (refund, payment) = (path == "/refunds", path == "/payments");
    if refund && lossy.loses_refunds.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let answer = lossy.transport.send(Request::from_parts(head, body)).await.unwrap();
    if payment && lossy.loses_payments.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    (answer.status(), answer.into_body()).into_response()
}

/// A second `orders`, which reaches `payments` through [`Lossy`].
async fn lossy_orders(stage: &Stage) -> (Lossy, TestServer, TestServer) {
    let config = &stage.config;
    let lossy = Lossy {
        payments: stage.shop.addresses().url("payments").unwrap(),
        transport: config.transport.clone(),
        loses_payments: Arc::new(AtomicBool::new(true)),
        loses_refunds: Arc::new(AtomicBool::new(false)),
    };
    let before = Router::new().fallback(pass_on).with_state(lossy.clone());
    let before = TestServer::start(before).await.unwrap();
    let secret = Secret::new(FakeProvider::SECRET.to_owned());
    let provider = Provider::new(
        config.token_endpoint.parse().unwrap(),
        Credential::secret("orders", secret),
        config.transport.clone(),
        config.node.clone(),
    );
    let mut client = ServiceClient::of("orders", provider)
        .over(config.transport.clone())
        .retrying(config.retries);
    for (name, address) in stage.shop.addresses().iter() {
        client = client.target(name, &format!("http://{address}"));
    }
    let client = client.target("payments", &before.url("")).build().unwrap();
    let authenticator = Authenticator::of("orders")
        .trusting(TestAuthority::ISSUER, stage.authority.keys())
        .on(config.node.clone());
    let parts = Parts { authenticator, client, node: config.node.clone() };
    let orders = TestServer::start(tegata_shop::orders::router(&parts)).await.unwrap();
    (lossy, before, orders)
}

#[tokio::test]
async fn a_payment_whose_answer_is_lost_is_refunded() {
    let stage = Stage::open().await;
    let (_lossy, _before, orders) = lossy_orders(&stage).await;
    let left = stage.stock("abacus-small").await;
    let wish = order("abacus-small", 1);
    let (status, _) =
        stage.call_at(&orders.url(""), ALICE, "POST", "orders", "/orders", &[], wish).await;
    assert_eq!(status, 503);
    assert_eq!(stage.stock("abacus-small").await, left);
    let (_, payments) = stage.call(ALICE, "GET", "payments", "/payments", Value::Null).await;
    assert_eq!(payments["items"].as_array().unwrap().len(), 1, "{payments}");
    assert_eq!(payments["items"][0]["state"], "refunded");
}

#[tokio::test]
async fn what_cannot_be_undone_is_kept_until_an_admin_settles_it() {
    let stage = Stage::open().await;
    let (lossy, _before, orders) = lossy_orders(&stage).await;
    lossy.loses_refunds.store(true, Ordering::SeqCst);
    let base = orders.url("");
    let call =
        |who, method, path, body| stage.call_at(&base, who, method, "orders", path, &[], body);
    let wish = order("abacus-small", 1);
    assert_eq!(call(ALICE, "POST", "/orders", wish).await.0, 503);
    let (_, listed) = call(ALICE, "GET", "/orders", Value::Null).await;
    assert_eq!(listed["items"][0]["unsettled"], json!(["pay"]));
    let settle = format!("/orders/{}/settle", listed["items"][0]["id"].as_str().unwrap());
    assert_eq!(call(ALICE, "POST", &settle, Value::Null).await.0, 403);
    lossy.loses_refunds.store(false, Ordering::SeqCst);
    // The breaker has had enough of `payments` and lets nobody through before its time is up.
    let (_, order) = call(Who::Admin, "POST", &settle, Value::Null).await;
    assert_eq!(order["unsettled"], json!(["pay"]));
    stage.pass(30);
    let (_, order) = call(Who::Admin, "POST", &settle, Value::Null).await;
    assert_eq!(order["unsettled"], json!([]));
    let (_, payments) = stage.call(ALICE, "GET", "payments", "/payments", Value::Null).await;
    assert_eq!(payments["items"][0]["state"], "refunded");
}
