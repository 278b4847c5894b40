//! Who may do what.

use std::time::Duration;

use serde_json::{Value, json};
use tegata_sdk::{Secret, testing::endpoint::FakeProvider};
use tegata_shop::{Registry, Shop, shop::ShopClosed};

use crate::stage::{ALICE, BOB, Stage, Who, order};

#[tokio::test]
async fn nobody_sees_what_is_anothers_and_admins_see_all() {
    let stage = Stage::open().await;
    let (_, placed) = stage.call(ALICE, "POST", "orders", "/orders", order("gaiters", 1)).await;
    let id = placed["id"].as_str().unwrap();
    let (_, payments) = stage.call(ALICE, "GET", "payments", "/payments", Value::Null).await;
    let payment = payments["items"][0]["id"].as_str().unwrap();
    for (service, one, all) in [
        ("orders", format!("/orders/{id}"), "/orders"),
        ("payments", format!("/payments/{payment}"), "/payments"),
        ("shipping", format!("/shipments/{id}"), "/shipments"),
    ] {
        for (who, status, count) in [(ALICE, 200, 1), (Who::Admin, 200, 1), (BOB, 404, 0)] {
            assert_eq!(stage.call(who, "GET", service, &one, Value::Null).await.0, status, "{one}");
            let (_, listed) = stage.call(who, "GET", service, all, Value::Null).await;
            assert_eq!(listed["items"].as_array().unwrap().len(), count, "{all}");
        }
    }
    let put = "/cart/items/gaiters";
    stage.call(ALICE, "PUT", "carts", put, json!({"quantity": 1})).await;
    let (_, cart) = stage.call(BOB, "GET", "carts", "/cart", Value::Null).await;
    assert_eq!(cart["items"], json!([]));
    let (_, told) = stage.call(BOB, "GET", "notifications", "/notifications", Value::Null).await;
    assert_eq!(told["items"], json!([]));
    let read = "/notifications/ntf_00000001/read";
    assert_eq!(stage.call(BOB, "POST", "notifications", read, Value::Null).await.0, 404);
    assert_eq!(stage.call(ALICE, "POST", "notifications", read, Value::Null).await.0, 200);
    assert_eq!(stage.call(BOB, "GET", "users", "/users/usr_alice", Value::Null).await.0, 404);
    assert_eq!(stage.call(BOB, "GET", "users", "/users", Value::Null).await.0, 403);
}

#[tokio::test]
async fn what_the_page_shows_of_somebody_is_their_own() {
    let stage = Stage::open().await;
    stage.call(ALICE, "POST", "orders", "/orders", order("gaiters", 1)).await;
    stage.call(ALICE, "PUT", "preferences", "/me", json!({"theme": "dark"})).await;
    stage.call(ALICE, "PUT", "users", "/me", json!({"name": "Alice"})).await;
    let told = async |who| {
        let mut told = Vec::new();
        for (service, path) in
            [("users", "/me/card"), ("notifications", "/unread"), ("preferences", "/me")]
        {
            let (status, said) = stage.call(who, "GET", service, path, Value::Null).await;
            assert_eq!(status, 200, "{service}{path}");
            let nobody = stage.call(Who::Nobody, "GET", service, path, Value::Null).await;
            assert_eq!(nobody.0, 401, "{service}{path}");
            // A service for itself is nobody who likes anything.
            let service_itself = Who::Service("orders");
            let alone = stage.call(service_itself, "GET", service, path, Value::Null).await;
            assert_eq!(alone.0, 403, "{service}{path}");
            told.push(said);
        }
        told
    };
    let (alice, bob) = (told(ALICE).await, told(BOB).await);
    assert_eq!((&alice[0]["id"], &alice[0]["name"]), (&json!("usr_alice"), &json!("Alice")));
    assert_eq!((&bob[0]["id"], &bob[0]["name"]), (&json!("usr_bob"), &json!("Traveller")));
    assert_ne!(alice[0]["avatar"], bob[0]["avatar"]);
    let unread = alice[1]["unread_count"].as_u64().unwrap();
    assert!(unread > 0 && bob[1] == json!({"unread_count": 0}));
    let read = "/notifications/ntf_00000001/read";
    stage.call(ALICE, "POST", "notifications", read, Value::Null).await;
    assert_eq!(told(ALICE).await[1]["unread_count"], unread - 1);
    assert_eq!((&alice[2], &bob[2]), (&json!({"theme": "dark"}), &json!({"theme": "system"})));
}

#[tokio::test]
async fn only_orders_may_reserve_charge_and_ship() {
    let stage = Stage::open().await;
    let reserve = json!({"order_id": "o", "items": [{"product_id": "gaiters", "quantity": 1}]});
    let charge = json!({"order_id": "o", "amount_cents": 1, "source": "tok_card"});
    let ship = json!({"order_id": "o", "address": order("gaiters", 1)["ship_to"]});
    let notice = json!({"user_id": "usr_alice", "text": "You have won."});
    for (service, method, path, body) in [
        ("inventory", "POST", "/reservations", reserve.clone()),
        ("inventory", "DELETE", "/reservations/o", Value::Null),
        ("payments", "POST", "/payments", charge),
        ("payments", "POST", "/refunds", json!({"order_id": "o"})),
        ("shipping", "POST", "/shipments", ship),
        ("shipping", "DELETE", "/shipments/o", Value::Null),
        ("notifications", "POST", "/notifications", notice),
    ] {
        for who in [ALICE, Who::Service("reviews"), Who::Acting("carts", "usr_alice")] {
            let (status, problem) = stage.call(who, method, service, path, body.clone()).await;
            assert_eq!(status, 403, "{service}{path}");
            assert!(problem["trace_id"].is_string(), "{problem}");
        }
        assert_eq!(stage.call(Who::Nobody, method, service, path, body).await.0, 401, "{path}");
    }
    // Without a person there is nobody to reserve for.
    let alone = stage.call(Who::Service("orders"), "POST", "inventory", "/reservations", reserve);
    assert_eq!(alone.await.0, 403);
}

#[tokio::test]
async fn a_token_for_one_service_is_good_at_no_other() {
    let stage = Stage::open().await;
    let token = stage.authority.user("usr_alice", "carts").access();
    let bearer = [("authorization", format!("Bearer {token}"))];
    let bearer = bearer.each_ref().map(|(name, value)| (*name, value.as_str()));
    for (service, path, status) in [("carts", "/cart", 200), ("orders", "/orders", 401)] {
        let base = stage.shop.addresses().url(service).unwrap();
        let call = stage.call_at(&base, Who::Nobody, "GET", service, path, &bearer, Value::Null);
        assert_eq!(call.await.0, status, "{service}");
    }
}

#[tokio::test]
async fn stated_identities_are_not_believed() {
    let stage = Stage::open().await;
    let stated =
        [("x-user-id", "usr_alice"), ("x-user-roles", "admin"), ("x-service-name", "orders")];
    let base = stage.shop.addresses().url("orders").unwrap();
    let call = stage.call_at(&base, Who::Nobody, "GET", "orders", "/orders", &stated, Value::Null);
    assert_eq!(call.await.0, 401);
    let base = stage.shop.addresses().url("users").unwrap();
    let call = stage.call_at(&base, BOB, "GET", "users", "/users", &stated, Value::Null);
    assert_eq!(call.await.0, 403);
}

#[tokio::test]
async fn everybody_may_look_at_the_catalogue_and_only_admins_change_it() {
    let stage = Stage::open().await;
    let product = json!({"name": "Bell for a staff", "category": "gear", "price_cents": 800});
    let path = "/products/bell";
    let put = |who| stage.call(who, "PUT", "catalogue", path, product.clone());
    assert_eq!(stage.call(Who::Nobody, "GET", "catalogue", path, Value::Null).await.0, 404);
    assert_eq!(put(Who::Nobody).await.0, 401);
    assert_eq!(put(ALICE).await.0, 403);
    assert_eq!(put(Who::Admin).await.0, 201);
    assert_eq!(put(Who::Admin).await.0, 200);
    assert_eq!(stage.call(Who::Nobody, "GET", "catalogue", path, Value::Null).await.0, 200);
    let (_, found) =
        stage.call(Who::Nobody, "GET", "catalogue", "/products?q=STAFF", Value::Null).await;
    assert_eq!(found["items"][0]["id"], "bell");
    let (status, _) =
        stage.call(Who::Nobody, "GET", "catalogue", "/products?limit=0", Value::Null).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn every_service_is_healthy_and_answers_mistakes_with_problems() {
    let stage = Stage::open().await;
    for (name, _) in stage.shop.addresses().iter() {
        let (status, health) = stage.call(Who::Nobody, "GET", name, "/health", Value::Null).await;
        assert_eq!((status, &health["service"]), (200, &name.into()));
        if name != "echo" {
            let (status, problem) =
                stage.call(Who::Nobody, "GET", name, "/nowhere", Value::Null).await;
            assert_eq!((status, &problem["status"]), (404, &404.into()), "{name}");
            let (status, problem) =
                stage.call(Who::Nobody, "POST", name, "/health", Value::Null).await;
            assert_eq!((status, &problem["status"]), (405, &405.into()), "{name}");
        }
    }
    let (status, problem) = stage.call(ALICE, "POST", "orders", "/orders", json!("x")).await;
    assert_eq!((status, &problem["status"]), (422, &422.into()));
}

#[tokio::test]
async fn echo_answers_with_the_request() {
    let stage = Stage::open().await;
    let base = stage.shop.addresses().url("echo").unwrap();
    let headers = [("x-a", "1"), ("x-a", "2")];
    let (status, echo) = stage
        .call_at(&base, Who::Nobody, "PATCH", "echo", "/a/b%2Fc?d=e", &headers, json!("hi"))
        .await;
    assert_eq!(status, 200);
    assert_eq!((&echo["method"], &echo["path"]), (&"PATCH".into(), &"/a/b%2Fc".into()));
    assert_eq!((&echo["query"], &echo["body"]), (&"d=e".into(), &"\"hi\"".into()));
    let pairs = echo["headers"].as_array().unwrap();
    assert!(pairs.contains(&json!(["x-a", "1"])) && pairs.contains(&json!(["x-a", "2"])));
}

#[tokio::test]
async fn opens_where_it_is_told_to_and_closes() {
    let stage = Stage::open().await;
    let taken = stage.shop.addresses().of("catalogue").unwrap().port();
    let config = tegata_shop::ShopConfig { base_port: Some(taken), ..stage.config.clone() };
    let closed = Shop::start(config).await.unwrap_err();
    assert!(matches!(closed, ShopClosed::Port { service: "catalogue", .. }), "{closed}");
    let config = tegata_shop::ShopConfig { base_port: Some(65_530), ..stage.config.clone() };
    assert!(matches!(Shop::start(config).await.unwrap_err(), ShopClosed::TooHigh(65_530)));
    let mut config = stage.config.clone();
    config.secrets = [("orders".to_owned(), Secret::new(FakeProvider::SECRET.to_owned()))].into();
    assert!(matches!(Shop::start(config).await.unwrap_err(), ShopClosed::Secret("shipping")));

    let registry = stage.shop.registry();
    let declared = |path: &str| {
        registry.service.iter().any(|service| path.starts_with(&format!("/{}/", service.name)))
    };
    assert!(declared(Registry::PROTECTED_PATH) && declared(Registry::PUBLIC_PATH));
    let address = stage.shop.addresses().of("orders").unwrap();
    stage.shop.stop(Duration::from_secs(60)).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
