//! Orders that are placed.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::stage::{ALICE, BOB, Stage, Who, address, order};

#[tokio::test]
async fn an_order_goes_from_the_catalogue_to_the_door() {
    let stage = Stage::open().await;
    let (_, listed) = stage
        .call(Who::Nobody, "GET", "catalogue", "/products?category=books&limit=2", Value::Null)
        .await;
    let product = listed["items"][1]["id"].as_str().unwrap().to_owned();
    let price = listed["items"][1]["price_cents"].as_u64().unwrap();
    let left = stage.stock(&product).await;

    let put = format!("/cart/items/{product}");
    assert_eq!(stage.call(ALICE, "PUT", "carts", &put, json!({"quantity": 3})).await.0, 200);
    let me = json!({"name": "Alice", "address": address("JP")});
    assert_eq!(stage.call(ALICE, "PUT", "users", "/me", me).await.0, 200);
    let (status, placed) = stage.call(ALICE, "POST", "orders", "/orders", json!({})).await;
    assert_eq!((status, &placed["state"]), (201, &"placed".into()), "{placed}");
    assert_eq!(placed["total_cents"], 3 * price);
    let id = placed["id"].as_str().unwrap();

    assert_eq!(stage.stock(&product).await, left - 3);
    let (_, cart) = stage.call(ALICE, "GET", "carts", "/cart", Value::Null).await;
    assert_eq!(cart["items"], json!([]));
    let (_, payments) = stage.call(ALICE, "GET", "payments", "/payments", Value::Null).await;
    assert_eq!(payments["items"][0]["order_id"], id);
    assert_eq!(payments["items"][0]["state"], "paid");

    let shipment = format!("/shipments/{id}");
    let advance = format!("{shipment}/advance");
    assert_eq!(stage.call(ALICE, "POST", "shipping", &advance, Value::Null).await.0, 403);
    for state in ["dispatched", "delivered"] {
        let (_, moved) = stage.call(Who::Admin, "POST", "shipping", &advance, Value::Null).await;
        assert_eq!(moved["state"], state);
    }
    assert_eq!(stage.call(Who::Admin, "POST", "shipping", &advance, Value::Null).await.0, 409);
    let (_, told) = stage.call(ALICE, "GET", "notifications", "/notifications", Value::Null).await;
    let from: Vec<_> =
        told["items"].as_array().unwrap().iter().map(|one| one["from"].clone()).collect();
    assert_eq!(from, ["orders", "shipping", "shipping"]);

    let review = format!("/products/{product}/reviews");
    let opinion = json!({"stars": 5, "text": "Every inn was where it said."});
    assert_eq!(stage.call(ALICE, "POST", "reviews", &review, opinion.clone()).await.0, 201);
    assert_eq!(stage.call(ALICE, "POST", "reviews", &review, opinion.clone()).await.0, 409);
    assert_eq!(stage.call(BOB, "POST", "reviews", &review, opinion).await.0, 403);
    let (_, reviews) = stage.call(BOB, "GET", "reviews", &review, Value::Null).await;
    assert_eq!((&reviews["count"], &reviews["stars_hundredths"]), (&1.into(), &500.into()));

    let (_, more) =
        stage.call(ALICE, "GET", "recommendations", "/recommendations", Value::Null).await;
    let more = more["items"].as_array().unwrap();
    assert!(more.len() == 5 && more[0]["category"] == "books", "{more:?}");
    assert!(more.iter().all(|other| other["id"] != product.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_orders_for_the_last_ten_are_ten_orders() {
    let stage = Stage::open().await;
    stage.set_stock("map-harbours", 10).await;
    let users: Vec<_> = (0..100).map(|number| format!("usr_{number}")).collect();
    let orders = users.iter().map(|user| {
        stage.call(Who::Customer(user), "POST", "orders", "/orders", order("map-harbours", 1))
    });
    let outcomes = join_all(orders).await;
    let count = |wanted| outcomes.iter().filter(|(status, _)| *status == wanted).count();
    assert_eq!((count(201), count(409)), (10, 90), "{outcomes:?}");
    assert_eq!(stage.stock("map-harbours").await, 0);
    let mut paid = 0;
    for user in &users {
        let (_, payments) =
            stage.call(Who::Customer(user), "GET", "payments", "/payments", Value::Null).await;
        paid += payments["items"].as_array().unwrap().len();
    }
    assert_eq!(paid, 10);
}

#[tokio::test]
async fn the_same_key_is_the_same_order() {
    let stage = Stage::open().await;
    let base = stage.shop.addresses().url("orders").unwrap();
    let key = [("idempotency-key", "k-1")];
    let place = |who, wish| stage.call_at(&base, who, "POST", "orders", "/orders", &key, wish);
    let left = stage.stock("hat-sedge").await;
    let (status, first) = place(ALICE, order("hat-sedge", 1)).await;
    assert_eq!(status, 201);
    assert_eq!(place(ALICE, order("hat-sedge", 1)).await, (200, first.clone()));
    assert_eq!(place(ALICE, order("hat-sedge", 2)).await.0, 422);
    assert_eq!(stage.stock("hat-sedge").await, left - 1);
    let (status, theirs) = place(BOB, order("hat-sedge", 1)).await;
    assert_eq!(status, 201);
    assert_ne!(theirs["id"], first["id"]);

    // At the same time: one is placed, and the others hear of it or are asked to wait.
    let key = [("idempotency-key", "k-2")];
    let place =
        || stage.call_at(&base, ALICE, "POST", "orders", "/orders", &key, order("hat-sedge", 1));
    let outcomes = join_all((0..10).map(|_| place())).await;
    assert_eq!(outcomes.iter().filter(|(status, _)| *status == 201).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|(status, _)| [200, 201, 409].contains(status)));
    assert_eq!(stage.stock("hat-sedge").await, left - 3);
}

#[tokio::test]
async fn one_exchange_serves_all_steps_of_an_order() {
    let stage = Stage::open().await;
    let (status, _) = stage.call(ALICE, "POST", "orders", "/orders", order("gaiters", 1)).await;
    assert_eq!(status, 201);
    // One exchange for three services, and one token of the service's own for the notification.
    assert_eq!(stage.provider.asked(), 2);
}

#[tokio::test]
async fn the_price_is_the_catalogues_whatever_the_order_says() {
    let stage = Stage::open().await;
    let mut wish = order("gaiters", 1);
    wish["items"][0]["price_cents"] = json!(1);
    assert_eq!(stage.call(ALICE, "POST", "orders", "/orders", wish).await.0, 422);
    let mut wish = order("gaiters", 1);
    wish["total_cents"] = json!(1);
    assert_eq!(stage.call(ALICE, "POST", "orders", "/orders", wish).await.0, 422);
}

#[tokio::test]
async fn refuses_orders_that_make_no_sense() {
    let stage = Stage::open().await;
    let no_address = json!({"items": [{"product_id": "gaiters", "quantity": 1}]});
    for (wish, about) in [
        (json!({"items": []}), "nothing"),
        (order("gaiters", 0), "zero"),
        (order("gaiters", 100), "too many"),
        (order("unknown", 1), "no such product"),
        (order("../health", 1), "no product, but a path"),
        (no_address, "nowhere"),
        (json!({}), "an empty cart"),
    ] {
        let (status, problem) = stage.call(ALICE, "POST", "orders", "/orders", wish).await;
        assert_eq!(status, 422, "{about}: {problem}");
        assert!(problem["detail"].is_string() && problem["trace_id"].is_string(), "{problem}");
    }
    let (_, orders) = stage.call(ALICE, "GET", "orders", "/orders", Value::Null).await;
    assert_eq!(orders["items"], json!([]));
}
