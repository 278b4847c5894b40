//! Stock. An order reserves all that it needs in one step or nothing at all, so that the last item
//! is sold once however many ask for it at the same time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{delete, get, post},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::{Caller, Problem};

use crate::{
    carts::Line,
    page::{Page, PageQuery},
    request::{Asked, Body},
    seed::SEEDS,
    service::{Answer, Parts, conflict, invalid, nothing_here},
};

/// How many of a product are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Available {
    /// Which product.
    pub product_id: String,
    /// How many.
    pub available: u32,
}

/// What an order needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// For which order.
    pub order_id: String,
    /// What.
    pub items: Vec<Line>,
}

#[derive(Default)]
struct Stock {
    available: BTreeMap<String, u32>,
    orders: HashMap<String, Reservation>,
}

/// What became of an order's wish. An order that was given up stays here, so that a reservation
/// which arrives late does not hold stock for nobody.
#[derive(Debug, PartialEq, Eq)]
enum Reservation {
    Held(Vec<Line>),
    GivenUp,
}

type Shared = Arc<Mutex<Stock>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    available: u32,
}

/// The service.
pub fn router(parts: &Parts) -> Router {
    let available = SEEDS.iter().map(|seed| (seed.id.to_owned(), seed.stock)).collect();
    let stock = Shared::new(Mutex::new(Stock { available, orders: HashMap::new() }));
    let protected = Router::new()
        .route("/stock", get(list))
        .route("/stock/{product}", get(one).put(count))
        .route("/reservations", post(reserve))
        .route("/reservations/{order}", delete(release))
        .with_state(stock);
    parts.assemble(Router::new(), protected)
}

async fn list(
    State(stock): State<Shared>,
    Asked(page): Asked<PageQuery>,
) -> Answer<Json<Page<Available>>> {
    let stock = stock.lock();
    let entries = stock.available.iter().map(|(product, available)| {
        let entry = Available { product_id: product.clone(), available: *available };
        (product.as_str(), entry)
    });
    Ok(Json(page.of(entries)?))
}

async fn one(
    State(stock): State<Shared>,
    Path(product_id): Path<String>,
) -> Answer<Json<Available>> {
    let available = stock.lock().available.get(&product_id).copied().ok_or_else(nothing_here)?;
    Ok(Json(Available { product_id, available }))
}

async fn count(
    State(stock): State<Shared>,
    caller: Caller,
    Path(product_id): Path<String>,
    Body(count): Body<Count>,
) -> Answer<Json<Available>> {
    caller.require_role("admin")?;
    stock.lock().available.insert(product_id.clone(), count.available);
    Ok(Json(Available { product_id, available: count.available }))
}

async fn reserve(
    State(stock): State<Shared>,
    caller: Caller,
    Body(wish): Body<Reserve>,
) -> Answer<StatusCode> {
    caller.require_service(&["orders"])?;
    caller.require_user()?;
    stock.lock().reserve(wish)?;
    Ok(StatusCode::CREATED)
}

async fn release(
    State(stock): State<Shared>,
    caller: Caller,
    Path(order): Path<String>,
) -> Answer<StatusCode> {
    caller.require_service(&["orders"])?;
    stock.lock().release(order);
    Ok(StatusCode::NO_CONTENT)
}

impl Stock {
    /// Takes all of an order's items out of the stock, or none. The same order again changes
    /// nothing.
    fn reserve(&mut self, wish: Reserve) -> Result<(), Problem> {
        match self.orders.get(&wish.order_id) {
            Some(Reservation::Held(items)) if *items == wish.items => return Ok(()),
            Some(Reservation::Held(_)) => {
                return Err(conflict("reserved", "reserved", "the order has other items reserved"));
            }
            Some(Reservation::GivenUp) => {
                return Err(conflict("given-up", "given up", "the order has been given up"));
            }
            None => {}
        }
        let mut needed: BTreeMap<&str, u32> = BTreeMap::new();
        for line in &wish.items {
            if line.quantity == 0 {
                return Err(invalid("a `quantity` is 0"));
            }
            let sum = needed.entry(&line.product_id).or_default();
            *sum = sum.saturating_add(line.quantity);
        }
        if let Some((product, _)) = needed
            .iter()
            .find(|(product, count)| self.available.get(**product).is_none_or(|left| left < *count))
        {
            let detail = format!("there are not enough of `{product}`");
            return Err(conflict("out-of-stock", "out of stock", detail));
        }
        for (product, count) in needed {
            if let Some(left) = self.available.get_mut(product) {
                *left = left.saturating_sub(count);
            }
        }
        self.orders.insert(wish.order_id, Reservation::Held(wish.items));
        Ok(())
    }

    /// Puts back what an order holds. The same order again changes nothing.
    fn release(&mut self, order: String) {
        if let Some(Reservation::Held(items)) = self.orders.insert(order, Reservation::GivenUp) {
            for line in items {
                let left = self.available.entry(line.product_id).or_default();
                *left = left.saturating_add(line.quantity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock() -> Stock {
        let available = [("a".to_owned(), 3), ("b".to_owned(), 1)].into();
        Stock { available, orders: HashMap::new() }
    }

    fn wish(order: &str, items: &[(&str, u32)]) -> Reserve {
        let line =
            |(id, quantity): &(&str, u32)| Line { product_id: (*id).into(), quantity: *quantity };
        Reserve { order_id: order.into(), items: items.iter().map(line).collect() }
    }

    #[test]
    fn takes_all_or_nothing() {
        let mut stock = stock();
        assert!(stock.reserve(wish("1", &[("a", 2), ("b", 2)])).is_err());
        assert_eq!(stock.available["a"], 3);
        assert!(stock.reserve(wish("2", &[("a", 2), ("a", 2)])).is_err());
        assert!(stock.reserve(wish("3", &[("c", 1)])).is_err());
        assert!(stock.reserve(wish("4", &[("a", u32::MAX), ("a", u32::MAX)])).is_err());
        assert!(stock.reserve(wish("5", &[("a", 0)])).is_err());
        stock.reserve(wish("6", &[("a", 3), ("b", 1)])).unwrap();
        assert_eq!((stock.available["a"], stock.available["b"]), (0, 0));
    }

    #[test]
    fn to_reserve_or_release_twice_is_to_do_it_once() {
        let mut stock = stock();
        for _ in 0..2 {
            stock.reserve(wish("1", &[("a", 2)])).unwrap();
            assert_eq!(stock.available["a"], 1);
        }
        assert!(stock.reserve(wish("1", &[("a", 1)])).is_err());
        for _ in 0..2 {
            stock.release("1".into());
            assert_eq!(stock.available["a"], 3);
        }
    }

    #[test]
    fn a_reservation_that_arrives_after_its_release_holds_nothing() {
        let mut stock = stock();
        stock.release("1".into());
        assert!(stock.reserve(wish("1", &[("a", 1)])).is_err());
        assert_eq!(stock.available["a"], 3);
    }
}
