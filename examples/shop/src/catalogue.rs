//! What is sold. Everybody may look; admins change it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post, put},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::{Caller, Problem};

use crate::{
    graph,
    page::{Page, PageQuery},
    request::{Asked, Body, text},
    seed::SEEDS,
    service::{Answer, Parts, invalid, nothing_here},
};

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Its id: lower case letters, digits and hyphens.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What kind of thing it is.
    pub category: String,
    /// What one of it costs, in euro cents.
    pub price_cents: u64,
}

type Shelf = Arc<Mutex<BTreeMap<String, Product>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) price_cents: u64,
}

#[derive(Deserialize)]
struct Search {
    category: Option<String>,
    q: Option<String>,
}

/// The service.
pub fn router(parts: &Parts) -> Router {
    let products = SEEDS.iter().map(|seed| {
        let product = Product {
            id: seed.id.to_owned(),
            name: seed.name.to_owned(),
            category: seed.category.to_owned(),
            price_cents: seed.price_cents,
        };
        (product.id.clone(), product)
    });
    let shelf = Shelf::new(Mutex::new(products.collect()));
    let open = Router::new().route("/products", get(list)).route("/products/{id}", get(one));
    let protected =
        Router::new().route("/products/{id}", put(describe)).route("/graphql", post(in_graphql));
    parts.assemble(open.with_state(Arc::clone(&shelf)), protected.with_state(shelf))
}

async fn list(
    State(shelf): State<Shelf>,
    Asked(search): Asked<Search>,
    Asked(page): Asked<PageQuery>,
) -> Answer<Json<Page<Product>>> {
    let words = search.q.unwrap_or_default().to_lowercase();
    let shelf = shelf.lock();
    let fitting = shelf.values().filter(|product| {
        search.category.as_ref().is_none_or(|category| *category == product.category)
            && product.name.to_lowercase().contains(&words)
    });
    let page = page.of(fitting.map(|product| (product.id.as_str(), product.clone())))?;
    Ok(Json(page))
}

async fn one(State(shelf): State<Shelf>, Path(id): Path<String>) -> Answer<Json<Product>> {
    Ok(Json(shelf.lock().get(&id).cloned().ok_or_else(nothing_here)?))
}

async fn describe(
    State(shelf): State<Shelf>,
    caller: Caller,
    Path(id): Path<String>,
    Body(described): Body<Described>,
) -> Answer<(StatusCode, Json<Product>)> {
    caller.require_role("admin")?;
    let product = described.into_product(id)?;
    let before = shelf.lock().insert(product.id.clone(), product.clone());
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(product)))
}

async fn in_graphql(
    State(shelf): State<Shelf>,
    caller: Caller,
    Body(came): Body<graph::Came>,
) -> Json<serde_json::Value> {
    Json(graph::answer(came, &caller, &mut shelf.lock()))
}

impl Described {
    pub(crate) fn into_product(self, id: String) -> Result<Product, Problem> {
        let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=64).contains(&id.len()) || !id.bytes().all(sound) {
            return Err(invalid("the id is not 1 to 64 of `a-z`, `0-9` and `-`"));
        }
        text("name", &self.name, 200)?;
        text("category", &self.category, 40)?;
        if !(1..=10_000_000).contains(&self.price_cents) {
            return Err(invalid("`price_cents` is not from 1 to 10000000"));
        }
        let Self { name, category, price_cents } = self;
        Ok(Product { id, name, category, price_cents })
    }
}
