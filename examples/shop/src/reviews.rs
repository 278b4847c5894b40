//! What buyers think. Only who bought a product may review it, once.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::{Call, Caller, Problem, ServiceClient};

use crate::{
    orders::Purchases,
    page::{Page, PageQuery},
    request::{Asked, Body, text},
    service::{Answer, Failed, Parts, conflict, invalid, nothing_here, unavailable},
};

/// A review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Who wrote it.
    pub user_id: String,
    /// 1 to 5.
    pub stars: u8,
    /// What it says.
    pub text: String,
}

/// A product's reviews.
#[derive(Debug, Serialize)]
struct Reviewed {
    /// How many there are.
    count: usize,
    /// The mean of their stars, in hundredths; `null` where there are none.
    stars_hundredths: Option<u32>,
    #[serde(flatten)]
    page: Page<Review>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opinion {
    stars: u8,
    text: String,
}

/// By product and person.
type ByProduct = BTreeMap<String, BTreeMap<String, Review>>;

#[derive(Clone)]
struct Reviews {
    by_product: Arc<Mutex<ByProduct>>,
    client: ServiceClient,
}

/// The service.
pub fn router(parts: &Parts) -> Router {
    let reviews = Reviews { by_product: Arc::default(), client: parts.client.clone() };
    let protected = Router::new()
        .route("/products/{product}/reviews", get(list).post(write).delete(withdraw))
        .with_state(reviews);
    parts.assemble(Router::new(), protected)
}

async fn list(
    State(reviews): State<Reviews>,
    Path(product): Path<String>,
    Asked(page): Asked<PageQuery>,
) -> Answer<Json<Reviewed>> {
    Ok(Json(reviews.of(&product, &page)?))
}

async fn write(
    State(reviews): State<Reviews>,
    caller: Caller,
    Path(product): Path<String>,
    Body(opinion): Body<Opinion>,
) -> Answer<(StatusCode, Json<Review>)> {
    let user_id = caller.require_user()?.to_string();
    opinion.check()?;
    reviews.has_bought(&caller, &product).await?;
    let review = Review { user_id, stars: opinion.stars, text: opinion.text };
    reviews.add(product, review.clone())?;
    Ok((StatusCode::CREATED, Json(review)))
}

async fn withdraw(
    State(reviews): State<Reviews>,
    caller: Caller,
    Path(product): Path<String>,
) -> Answer<StatusCode> {
    let user = caller.require_user()?.as_str();
    let mut by_product = reviews.by_product.lock();
    let own = by_product.get_mut(&product).and_then(|reviews| reviews.remove(user));
    own.map(|_| StatusCode::NO_CONTENT).ok_or_else(|| Failed::from(nothing_here()))
}

impl Opinion {
    fn check(&self) -> Result<(), Problem> {
        if !(1..=5).contains(&self.stars) {
            return Err(invalid("`stars` is not from 1 to 5"));
        }
        text("text", &self.text, 2000)
    }
}

impl Reviews {
    fn of(&self, product: &str, page: &PageQuery) -> Result<Reviewed, Problem> {
        let by_product = self.by_product.lock();
        let reviews = || by_product.get(product).into_iter().flatten();
        let count = reviews().count();
        let stars: u32 = reviews().map(|(_, review)| u32::from(review.stars)).sum();
        let stars_hundredths = (stars * 100).checked_div(u32::try_from(count).unwrap_or(u32::MAX));
        let page = page.of(reviews().map(|(user, review)| (user.as_str(), review.clone())))?;
        Ok(Reviewed { count, stars_hundredths, page })
    }

    fn add(&self, product: String, review: Review) -> Result<(), Problem> {
        let mut by_product = self.by_product.lock();
        let reviews = by_product.entry(product).or_default();
        if reviews.contains_key(&review.user_id) {
            let detail = "withdraw your review before you write another";
            return Err(conflict("reviewed", "reviewed already", detail));
        }
        reviews.insert(review.user_id.clone(), review);
        Ok(())
    }

    /// Whether the caller bought the product: the orders know, and tell the caller alone.
    async fn has_bought(&self, caller: &Caller, product: &str) -> Answer<()> {
        let call = Call::get("orders", &["purchases"]).on_behalf_of(caller);
        let reply = self.client.send(call).await?;
        let purchases: Purchases = reply.json().map_err(|_| unavailable())?;
        if purchases.product_ids.contains(product) {
            Ok(())
        } else {
            let detail = "only who bought a product may review it";
            Err(Problem::new(StatusCode::FORBIDDEN, detail).into())
        }
    }
}
