//! Orders. To place one, its items are reserved, paid and sent, each by another service and in the
//! name of the person who orders; what was done is undone where a later step fails.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::{Caller, Node, Problem, ServiceClient};

use self::placing::Step;
use crate::{
    carts::Line,
    page::{Page, PageQuery},
    request::{Asked, Body, idempotency_key},
    service::{Answer, Failed, Parts, conflict, invalid, may_see, nothing_here, unavailable},
    users::Address,
};

mod placing;
mod wish;

/// What is to be ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// What; without it, what is in the cart.
    pub items: Option<Vec<Line>>,
    /// Where to; without it, to the address in the profile.
    pub ship_to: Option<Address>,
    /// With what it is paid: a token of a card. Without it, the card on file.
    pub source: Option<String>,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// Who ordered.
    pub user_id: String,
    /// What.
    pub items: Vec<Line>,
    /// For how much, in euro cents.
    pub total_cents: u64,
    /// When: RFC 3339.
    pub placed_at: String,
    /// What became of it.
    #[serde(flatten)]
    pub state: OrderState,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OrderState {
    /// Its steps are being done.
    Placing,
    /// All was done.
    Placed,
    /// Something could not be done.
    Refused {
        /// What.
        reason: String,
        /// What could not be undone, and waits for an admin to try again.
        unsettled: Vec<Step>,
    },
}

/// What a person has bought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchases {
    /// The products.
    pub product_ids: BTreeSet<String>,
}

#[derive(Clone)]
struct Orders {
    book: Arc<Mutex<Book>>,
    client: ServiceClient,
    node: Node,
}

#[derive(Default)]
struct Book {
    orders: BTreeMap<String, Order>,
    // By person and key.
    by_key: HashMap<(String, String), (Wish, String)>,
}

/// The service.
pub fn router(parts: &Parts) -> Router {
    let orders =
        Orders { book: Arc::default(), client: parts.client.clone(), node: parts.node.clone() };
    let protected = Router::new()
        .route("/orders", get(list).post(place))
        .route("/orders/{id}", get(one))
        .route("/orders/{id}/settle", post(settle))
        .route("/purchases", get(purchases))
        .with_state(orders);
    parts.assemble(Router::new(), protected)
}

async fn place(
    State(orders): State<Orders>,
    caller: Caller,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Answer<(StatusCode, Json<Order>)> {
    caller.require_user()?;
    let key = idempotency_key(&headers)?;
    // A person who hangs up does not stop an order half way.
    let placing = tokio::spawn(async move { orders.place(&caller, key, wish).await });
    placing.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an order was not placed to its end");
        Err(unavailable().into())
    })
}

async fn one(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Order>> {
    let order = orders.book.lock().orders.get(&id).cloned();
    let order = order.filter(|order| may_see(&caller, &order.user_id));
    Ok(Json(order.ok_or_else(nothing_here)?))
}

async fn list(
    State(orders): State<Orders>,
    caller: Caller,
    Asked(page): Asked<PageQuery>,
) -> Answer<Json<Page<Order>>> {
    let book = orders.book.lock();
    let visible = book.orders.iter().filter(|(_, order)| may_see(&caller, &order.user_id));
    Ok(Json(page.of(visible.map(|(id, order)| (id.as_str(), order.clone())))?))
}

async fn purchases(State(orders): State<Orders>, caller: Caller) -> Answer<Json<Purchases>> {
    let user = caller.require_user()?.as_str();
    let book = orders.book.lock();
    let own = book
        .orders
        .values()
        .filter(|order| order.user_id == user && order.state == OrderState::Placed);
    let product_ids = own.flat_map(|order| &order.items).map(|line| line.product_id.clone());
    Ok(Json(Purchases { product_ids: product_ids.collect() }))
}

async fn settle(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Order>> {
    caller.require_role("admin")?;
    Ok(Json(orders.settle(&caller, &id).await?))
}

impl Orders {
    async fn place(
        &self,
        caller: &Caller,
        key: Option<String>,
        wish: Wish,
    ) -> Answer<(StatusCode, Json<Order>)> {
        let user = caller.require_user()?.as_str();
        if let Some(known) = self.known(user, key.as_deref(), &wish)? {
            return Ok((StatusCode::OK, Json(known)));
        }
        let complete = self.complete(caller, &wish).await?;
        let order = self.book.lock().open(user, key, wish, &complete, &self.node)?;
        let (state, problem) = match self.run(caller, &order, &complete).await {
            Ok(()) => (OrderState::Placed, None),
            Err(given_up) => {
                let reason = given_up.problem.detail.clone();
                let unsettled = given_up.unsettled;
                (OrderState::Refused { reason, unsettled }, Some(given_up.problem))
            }
        };
        let order = self.book.lock().close(order, state);
        match problem {
            Some(problem) => Err(Failed::from(problem)),
            None => Ok((StatusCode::CREATED, Json(order))),
        }
    }

    /// The order that was placed under this key before.
    fn known(&self, user: &str, key: Option<&str>, wish: &Wish) -> Result<Option<Order>, Problem> {
        let Some(key) = key else { return Ok(None) };
        let book = self.book.lock();
        let Some((asked, id)) = book.by_key.get(&(user.to_owned(), key.to_owned())) else {
            return Ok(None);
        };
        if asked != wish {
            return Err(invalid("the `Idempotency-Key` was used for another order"));
        }
        match book.orders.get(id) {
            Some(Order { state: OrderState::Placing, .. }) => Err(being_placed()),
            known => Ok(known.cloned()),
        }
    }

    /// Tries again to undo what could not be undone.
    async fn settle(&self, caller: &Caller, id: &str) -> Answer<Order> {
        let order = self.book.lock().orders.get(id).cloned().ok_or_else(nothing_here)?;
        let OrderState::Refused { reason, unsettled } = &order.state else { return Ok(order) };
        let unsettled = self.undo(caller, &order.id, unsettled.clone()).await;
        let state = OrderState::Refused { reason: reason.clone(), unsettled };
        Ok(self.book.lock().close(order, state))
    }
}

fn being_placed() -> Problem {
    conflict("in-progress", "in progress", "the order is being placed; ask for it in a moment")
}

impl Book {
    /// Writes an order down before its first step.
    fn open(
        &mut self,
        user: &str,
        key: Option<String>,
        wish: Wish,
        complete: &wish::Complete,
        node: &Node,
    ) -> Result<Order, Problem> {
        let id = format!("ord_{:08}", self.orders.len() + 1);
        if let Some(key) = key {
            let name = (user.to_owned(), key);
            // Another request with the same key may have come this far meanwhile.
            if self.by_key.contains_key(&name) {
                return Err(being_placed());
            }
            self.by_key.insert(name, (wish, id.clone()));
        }
        let order = Order {
            id: id.clone(),
            user_id: user.to_owned(),
            items: complete.items.clone(),
            total_cents: complete.total_cents,
            placed_at: node.now().to_string(),
            state: OrderState::Placing,
        };
        self.orders.insert(id, order.clone());
        Ok(order)
    }

    fn close(&mut self, mut order: Order, state: OrderState) -> Order {
        order.state = state;
        self.orders.insert(order.id.clone(), order.clone());
        order
    }
}
