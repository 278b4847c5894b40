//! An open shop, a fake provider, and people who call.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::http::{Method, Request};
use serde_json::Value;
use tegata_sdk::{
    ManualClock, Node, Retries, Secret, SeededEntropy, Transport, TransportLimits,
    testing::{TestAuthority, endpoint::FakeProvider, server::TestServer},
};
use tegata_shop::{Shop, ShopConfig, ShopHandle, shop::Addresses};

/// Where a test plays.
pub(crate) struct Stage {
    pub(crate) authority: TestAuthority,
    pub(crate) provider: FakeProvider,
    pub(crate) shop: ShopHandle,
    pub(crate) config: ShopConfig,
    clock: Arc<ManualClock>,
    _provider: TestServer,
}

/// Who calls.
#[derive(Clone, Copy)]
pub(crate) enum Who<'w> {
    Nobody,
    Customer(&'w str),
    Admin,
    /// A service for itself.
    Service(&'w str),
    /// A service for a person.
    Acting(&'w str, &'w str),
}

pub(crate) const ALICE: Who<'_> = Who::Customer("usr_alice");
pub(crate) const BOB: Who<'_> = Who::Customer("usr_bob");

impl Stage {
    pub(crate) async fn open() -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let authority = TestAuthority::on(node.clone());
        let provider = FakeProvider::of(&authority);
        let endpoint = TestServer::start(provider.router()).await.unwrap();
        let secret = |name: &str| (name.to_owned(), Secret::new(FakeProvider::SECRET.to_owned()));
        // Time stands still in these tests but for the sockets: nothing may time out.
        let limits =
            TransportLimits { timeout: Duration::from_secs(60), ..TransportLimits::default() };
        let config = ShopConfig {
            base_port: None,
            issuer: TestAuthority::ISSUER.to_owned(),
            keys: authority.keys(),
            token_endpoint: endpoint.url("/oauth2/token"),
            secrets: Addresses::names().map(secret).collect::<HashMap<_, _>>(),
            transport: Transport::new(limits),
            retries: Retries { first: Duration::ZERO, ..Retries::default() },
            node,
        };
        let shop = Shop::start(config.clone()).await.unwrap();
        Self { authority, provider, shop, config, clock, _provider: endpoint }
    }

    /// A call as the gateway makes it: with an internal token for the one service. A body of `null`
    /// is none.
    pub(crate) async fn call(
        &self,
        who: Who<'_>,
        method: &str,
        service: &str,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let base = self.shop.addresses().url(service).unwrap();
        self.call_at(&base, who, method, service, path, &[], body).await
    }

    /// The same, to any address and with more headers.
    #[expect(clippy::too_many_arguments, reason = "a request has so many parts")]
    pub(crate) async fn call_at(
        &self,
        base: &str,
        who: Who<'_>,
        method: &str,
        service: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> (u16, Value) {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("{base}{path}"));
        if let Some((name, value)) = self.token(who, service) {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes = if body.is_null() { vec![] } else { body.to_string().into_bytes() };
        let request =
            request.header("content-type", "application/json").body(bytes.into()).unwrap();
        let reply = self.config.transport.send(request).await.unwrap();
        let body = serde_json::from_slice(reply.body()).unwrap_or(Value::Null);
        (reply.status().as_u16(), body)
    }

    fn token(&self, who: Who<'_>, service: &str) -> Option<(&'static str, String)> {
        let person = |user, role| self.authority.user(user, service).roles(&[role]);
        let bearer = |token: String| Some(("authorization", format!("Bearer {token}")));
        match who {
            Who::Nobody => None,
            Who::Customer(user) => Some(("x-internal-token", person(user, "customer").internal())),
            Who::Admin => Some(("x-internal-token", person("usr_root", "admin").internal())),
            Who::Service(name) => bearer(self.authority.service(name, service).access()),
            Who::Acting(name, user) => bearer(person(user, "customer").through(name).access()),
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// How many of a product are left.
    pub(crate) async fn stock(&self, product: &str) -> u64 {
        let path = format!("/stock/{product}");
        let (_, stock) = self.call(ALICE, "GET", "inventory", &path, Value::Null).await;
        stock["available"].as_u64().unwrap()
    }

    pub(crate) async fn set_stock(&self, product: &str, available: u32) {
        let (path, body) =
            (format!("/stock/{product}"), serde_json::json!({ "available": available }));
        let (status, _) = self.call(Who::Admin, "PUT", "inventory", &path, body).await;
        assert_eq!(status, 200);
    }
}

/// An order of some of one product, to an address that is served.
pub(crate) fn order(product: &str, quantity: u32) -> Value {
    serde_json::json!({
        "items": [{"product_id": product, "quantity": quantity}],
        "ship_to": address("JP"),
        "source": "tok_card",
    })
}

pub(crate) fn address(country: &str) -> Value {
    serde_json::json!({
        "name": "A", "street": "1 Nihonbashi", "city": "Edo", "postcode": "103", "country": country,
    })
}
