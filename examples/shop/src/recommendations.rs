//! What else a person may like: more of the kinds of things that they bought.

use std::collections::HashMap;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde::{Deserialize, Serialize};
use tegata_sdk::{Call, Caller, ServiceClient};

use crate::{
    catalogue::Product,
    orders::Purchases,
    service::{Answer, Parts, unavailable},
};

/// What a person may like, most likely first.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Recommended {
    items: Vec<Product>,
}

#[derive(Deserialize)]
struct Catalogue {
    items: Vec<Product>,
}

/// So many are recommended.
const MOST: usize = 5;

/// The service.
pub fn router(parts: &Parts) -> Router {
    let protected =
        Router::new().route("/recommendations", get(recommend)).with_state(parts.client.clone());
    parts.assemble(Router::new(), protected)
}

async fn recommend(
    State(client): State<ServiceClient>,
    caller: Caller,
) -> Answer<Json<Recommended>> {
    caller.require_user()?;
    let bought = client.send(Call::get("orders", &["purchases"]).on_behalf_of(&caller)).await?;
    let sold = Call::get("catalogue", &["products"]).query("limit", "100");
    let sold = client.send(sold.anonymous().within(caller.trace())).await?;
    if bought.status() != StatusCode::OK || sold.status() != StatusCode::OK {
        return Err(unavailable().into());
    }
    let bought: Purchases = bought.json().map_err(|_| unavailable())?;
    let sold: Catalogue = sold.json().map_err(|_| unavailable())?;
    Ok(Json(Recommended { items: choose(&bought, &sold.items) }))
}

/// Products that were not bought: first those of the categories that were bought from most, the
/// cheaper before the dearer.
fn choose(bought: &Purchases, sold: &[Product]) -> Vec<Product> {
    let mut liked: HashMap<&str, usize> = HashMap::new();
    for product in sold.iter().filter(|product| bought.product_ids.contains(&product.id)) {
        *liked.entry(&product.category).or_default() += 1;
    }
    let liking = |product: &Product| liked.get(product.category.as_str()).copied().unwrap_or(0);
    let mut order: Vec<_> = sold
        .iter()
        .filter(|product| !bought.product_ids.contains(&product.id))
        .map(|product| (usize::MAX - liking(product), product.price_cents, &product.id))
        .collect();
    order.sort_unstable();
    let chosen: Vec<_> = order.into_iter().take(MOST).map(|(_, _, id)| id.clone()).collect();
    let find = |id: &String| sold.iter().find(|product| product.id == *id).cloned();
    chosen.iter().filter_map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommends_more_of_the_kind_and_nothing_twice() {
        let product = |id: &str, category: &str, price_cents| Product {
            id: id.into(),
            name: id.into(),
            category: category.into(),
            price_cents,
        };
        let sold = vec![
            product("a", "maps", 5),
            product("b", "maps", 4),
            product("c", "hats", 1),
            product("d", "maps", 3),
        ];
        let bought = Purchases { product_ids: ["d".to_owned()].into() };
        let ids = |chosen: Vec<Product>| chosen.into_iter().map(|p| p.id).collect::<Vec<_>>();
        assert_eq!(ids(choose(&bought, &sold)), ["b", "a", "c"]);
        assert_eq!(ids(choose(&Purchases::default(), &sold)), ["c", "d", "b", "a"]);
    }
}
