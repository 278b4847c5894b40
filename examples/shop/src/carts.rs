//! What a person is about to buy. Each has one cart, and nobody sees another's.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, put},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::{Call, Caller, Problem, ServiceClient};

use crate::{
    request::Body,
    service::{Answer, Parts, conflict, invalid, unavailable},
};

/// So many of one product.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Which product.
    pub product_id: String,
    /// How many: 1 to 99.
    pub quantity: u32,
}

/// A cart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    /// What is in it, in the order of the products' ids.
    pub items: Vec<Line>,
}

/// The most of one product in a cart or an order.
pub(crate) const MOST_OF_ONE: u32 = 99;
/// The most products in a cart or an order.
pub(crate) const MOST_LINES: usize = 50;

#[derive(Clone)]
struct Carts {
    by_user: Arc<Mutex<HashMap<String, BTreeMap<String, u32>>>>,
    client: ServiceClient,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantity {
    quantity: u32,
}

/// The service.
pub fn router(parts: &Parts) -> Router {
    let carts = Carts { by_user: Arc::default(), client: parts.client.clone() };
    let protected = Router::new()
        .route("/cart", get(mine).delete(empty))
        .route("/cart/items/{product}", put(set).delete(take_out))
        .with_state(carts);
    parts.assemble(Router::new(), protected)
}

async fn mine(State(carts): State<Carts>, caller: Caller) -> Answer<Json<Cart>> {
    Ok(Json(carts.of(caller.require_user()?.as_str())))
}

async fn set(
    State(carts): State<Carts>,
    caller: Caller,
    Path(product): Path<String>,
    Body(wish): Body<Quantity>,
) -> Answer<Json<Cart>> {
    let user = caller.require_user()?.as_str();
    if !(1..=MOST_OF_ONE).contains(&wish.quantity) {
        return Err(invalid(format!("`quantity` is not from 1 to {MOST_OF_ONE}")).into());
    }
    carts.is_sold(&caller, &product).await?;
    carts.set(user, product, wish.quantity)?;
    Ok(Json(carts.of(user)))
}

async fn take_out(
    State(carts): State<Carts>,
    caller: Caller,
    Path(product): Path<String>,
) -> Answer<Json<Cart>> {
    let user = caller.require_user()?.as_str();
    if let Some(cart) = carts.by_user.lock().get_mut(user) {
        cart.remove(&product);
    }
    Ok(Json(carts.of(user)))
}

async fn empty(State(carts): State<Carts>, caller: Caller) -> Answer<StatusCode> {
    carts.by_user.lock().remove(caller.require_user()?.as_str());
    Ok(StatusCode::NO_CONTENT)
}

impl Carts {
    fn of(&self, user: &str) -> Cart {
        let carts = self.by_user.lock();
        let lines = carts.get(user).into_iter().flatten();
        let items = lines
            .map(|(product, quantity)| Line { product_id: product.clone(), quantity: *quantity });
        Cart { items: items.collect() }
    }

    fn set(&self, user: &str, product: String, quantity: u32) -> Result<(), Problem> {
        let mut carts = self.by_user.lock();
        let cart = carts.entry(user.to_owned()).or_default();
        if cart.len() >= MOST_LINES && !cart.contains_key(&product) {
            return Err(conflict("full", "the cart is full", "take something out first"));
        }
        cart.insert(product, quantity);
        Ok(())
    }

    async fn is_sold(&self, caller: &Caller, product: &str) -> Answer<()> {
        let call = Call::get("catalogue", &["products", product]).anonymous();
        let reply = self.client.send(call.within(caller.trace())).await?;
        match reply.status() {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(invalid("there is no such product").into()),
            _ => Err(unavailable().into()),
        }
    }
}
