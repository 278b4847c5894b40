//! Parcels, and where they are. A parcel is packed, dispatched and delivered in this order, and can
//! be called off until it is dispatched.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::{Caller, Problem, ServiceClient};

use crate::{
    notifications::{self, Notice},
    page::{Page, PageQuery},
    request::{Asked, Body},
    service::{Answer, Parts, conflict, invalid, may_see, nothing_here},
    users::Address,
};

/// What is to be sent where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// For which order.
    pub order_id: String,
    /// Where to.
    pub address: Address,
}

/// A parcel. Its id is its order's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// For which order.
    pub order_id: String,
    /// For whom.
    pub user_id: String,
    /// Where to. A parcel that was called off before it was asked for has none.
    pub address: Option<Address>,
    /// Where it is.
    pub state: ShipmentState,
}

/// Where a parcel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShipmentState {
    /// Being packed.
    Packing,
    /// On its way.
    Dispatched,
    /// There.
    Delivered,
    /// Called off.
    Cancelled,
}

impl ShipmentState {
    /// The state after this one.
    const fn next(self) -> Option<Self> {
        match self {
            Self::Packing => Some(Self::Dispatched),
            Self::Dispatched => Some(Self::Delivered),
            Self::Delivered | Self::Cancelled => None,
        }
    }
}

/// Where the shop delivers.
const SERVED: [&str; 12] = ["AT", "BE", "CH", "DE", "DK", "ES", "FR", "GB", "IT", "JP", "NL", "US"];

#[derive(Clone)]
struct Shipping {
    shipments: Arc<Mutex<BTreeMap<String, Shipment>>>,
    client: ServiceClient,
}

/// The service.
pub fn router(parts: &Parts) -> Router {
    let shipping = Shipping { shipments: Arc::default(), client: parts.client.clone() };
    let protected = Router::new()
        .route("/shipments", get(list).post(ship))
        .route("/shipments/{order}", get(one).delete(cancel))
        .route("/shipments/{order}/advance", post(advance))
        .with_state(shipping);
    parts.assemble(Router::new(), protected)
}

async fn ship(
    State(shipping): State<Shipping>,
    caller: Caller,
    Body(wish): Body<Ship>,
) -> Answer<(StatusCode, Json<Shipment>)> {
    caller.require_service(&["orders"])?;
    let user = caller.require_user()?;
    Ok((StatusCode::CREATED, Json(shipping.ship(user.as_str(), wish)?)))
}

async fn cancel(
    State(shipping): State<Shipping>,
    caller: Caller,
    Path(order): Path<String>,
) -> Answer<StatusCode> {
    caller.require_service(&["orders"])?;
    shipping.cancel(&order)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn one(
    State(shipping): State<Shipping>,
    caller: Caller,
    Path(order): Path<String>,
) -> Answer<Json<Shipment>> {
    let shipment = shipping.shipments.lock().get(&order).cloned();
    let shipment = shipment.filter(|shipment| may_see(&caller, &shipment.user_id));
    Ok(Json(shipment.ok_or_else(nothing_here)?))
}

async fn list(
    State(shipping): State<Shipping>,
    caller: Caller,
    Asked(page): Asked<PageQuery>,
) -> Answer<Json<Page<Shipment>>> {
    let shipments = shipping.shipments.lock();
    let visible = shipments.iter().filter(|(_, shipment)| may_see(&caller, &shipment.user_id));
    Ok(Json(page.of(visible.map(|(order, shipment)| (order.as_str(), shipment.clone())))?))
}

async fn advance(
    State(shipping): State<Shipping>,
    caller: Caller,
    Path(order): Path<String>,
) -> Answer<Json<Shipment>> {
    caller.require_role("admin")?;
    let shipment = shipping.advance(&order)?;
    let text = match shipment.state {
        ShipmentState::Delivered => format!("Your order {order} has arrived."),
        _ => format!("Your order {order} is on its way."),
    };
    let notice = Notice { user_id: shipment.user_id.clone(), text };
    notifications::tell(&shipping.client, &caller, notice).await;
    Ok(Json(shipment))
}

impl Shipping {
    /// Takes over a parcel. The same order again changes nothing.
    fn ship(&self, user: &str, wish: Ship) -> Result<Shipment, Problem> {
        wish.address.check()?;
        if !SERVED.contains(&wish.address.country.as_str()) {
            let detail = format!("the shop does not deliver to `{}`", wish.address.country);
            return Err(invalid(detail));
        }
        let mut shipments = self.shipments.lock();
        let Ship { order_id, address } = wish;
        if let Some(known) = shipments.get(&order_id) {
            return if known.state != ShipmentState::Cancelled && known.user_id == user {
                Ok(known.clone())
            } else {
                Err(conflict("given-up", "given up", "the order has been given up"))
            };
        }
        let (user_id, address) = (user.to_owned(), Some(address));
        let state = ShipmentState::Packing;
        let shipment = Shipment { order_id: order_id.clone(), user_id, address, state };
        shipments.insert(order_id, shipment.clone());
        Ok(shipment)
    }

    /// Calls a parcel off, also one that nobody has asked for yet.
    fn cancel(&self, order: &str) -> Result<(), Problem> {
        let mut shipments = self.shipments.lock();
        let state = ShipmentState::Cancelled;
        let nobodys = || Shipment {
            order_id: order.to_owned(),
            user_id: String::new(),
            address: None,
            state,
        };
        let shipment = shipments.entry(order.to_owned()).or_insert_with(nobodys);
        match shipment.state {
            ShipmentState::Packing | ShipmentState::Cancelled => {
                shipment.state = state;
                Ok(())
            }
            ShipmentState::Dispatched | ShipmentState::Delivered => {
                Err(conflict("dispatched", "dispatched", "the parcel is on its way already"))
            }
        }
    }

    fn advance(&self, order: &str) -> Result<Shipment, Problem> {
        let mut shipments = self.shipments.lock();
        let shipment = shipments.get_mut(order).ok_or_else(nothing_here)?;
        shipment.state = shipment
            .state
            .next()
            .ok_or_else(|| conflict("done", "done", "the parcel goes nowhere any more"))?;
        Ok(shipment.clone())
    }
}
