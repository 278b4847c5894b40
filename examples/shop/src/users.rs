//! Profiles: what a person wants to be called, and where parcels go.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::{Caller, Problem};

use crate::{
    page::{Page, PageQuery},
    request::{Asked, Body, text},
    service::{Answer, Parts, invalid, may_see, nothing_here},
};

/// What is known of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Who.
    pub user_id: String,
    /// What to call them.
    pub name: Option<String>,
    /// `en` or `ja`.
    pub language: String,
    /// Where parcels go unless the order says otherwise.
    pub address: Option<Address>,
}

/// Where a parcel goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Who receives it.
    pub name: String,
    /// Street and number.
    pub street: String,
    /// City.
    pub city: String,
    /// Post code.
    pub postcode: String,
    /// Country: two capital letters (ISO 3166).
    pub country: String,
}

impl Address {
    /// Holds an address to its form.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        text("name", &self.name, 100)?;
        text("street", &self.street, 200)?;
        text("city", &self.city, 100)?;
        text("postcode", &self.postcode, 20)?;
        let capital = |b: u8| b.is_ascii_uppercase();
        if self.country.len() == 2 && self.country.bytes().all(capital) {
            Ok(())
        } else {
            Err(invalid("`country` is not two capital letters"))
        }
    }
}

type Profiles = Arc<Mutex<BTreeMap<String, Profile>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    name: Option<String>,
    language: Option<String>,
    address: Option<Address>,
}

impl Profile {
    fn of(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), name: None, language: "en".to_owned(), address: None }
    }
}

/// A picture that is always the same for one person: a square of one of 360 hues.
fn avatar(user_id: &str) -> String {
    // FNV-1a; who has the same hue does not matter.
    let hash = user_id
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Crect width='8' \
         height='8' fill='hsl({} 60%25 45%25)'/%3E%3C/svg%3E",
        hash % 360
    )
}

impl Wish {
    fn check(&self) -> Result<(), Problem> {
        if let Some(name) = &self.name {
            text("name", name, 100)?;
        }
        if self.language.as_ref().is_some_and(|language| !["en", "ja"].contains(&language.as_str()))
        {
            return Err(invalid("`language` is neither `en` nor `ja`"));
        }
        self.address.as_ref().map_or(Ok(()), Address::check)
    }
}

/// The service.
pub fn router(parts: &Parts) -> Router {
    let protected = Router::new()
        .route("/me", get(mine).put(change))
        .route("/me/card", get(card))
        .route("/users", get(list))
        .route("/users/{id}", get(one));
    parts.assemble(Router::new(), protected.with_state(Profiles::default()))
}

async fn mine(State(profiles): State<Profiles>, caller: Caller) -> Answer<Json<Profile>> {
    let user = caller.require_user()?.as_str();
    let known = profiles.lock().get(user).cloned();
    Ok(Json(known.unwrap_or_else(|| Profile::of(user))))
}

/// What a page shows of somebody.
#[derive(Serialize)]
struct Card {
    id: String,
    name: String,
    /// A `data:` URL.
    avatar: String,
}

async fn card(State(profiles): State<Profiles>, caller: Caller) -> Answer<Json<Card>> {
    let id = caller.require_user()?.as_str().to_owned();
    let name = profiles.lock().get(&id).and_then(|profile| profile.name.clone());
    let (name, avatar) = (name.unwrap_or_else(|| "Traveller".to_owned()), avatar(&id));
    Ok(Json(Card { id, name, avatar }))
}

async fn change(
    State(profiles): State<Profiles>,
    caller: Caller,
    Body(wish): Body<Wish>,
) -> Answer<Json<Profile>> {
    let user = caller.require_user()?.as_str();
    wish.check()?;
    let mut profiles = profiles.lock();
    let profile = profiles.entry(user.to_owned()).or_insert_with(|| Profile::of(user));
    profile.name = wish.name.or(profile.name.take());
    profile.language = wish.language.unwrap_or_else(|| profile.language.clone());
    profile.address = wish.address.or(profile.address.take());
    Ok(Json(profile.clone()))
}

async fn one(
    State(profiles): State<Profiles>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Profile>> {
    let profile = profiles.lock().get(&id).filter(|_| may_see(&caller, &id)).cloned();
    Ok(Json(profile.ok_or_else(nothing_here)?))
}

async fn list(
    State(profiles): State<Profiles>,
    caller: Caller,
    Asked(page): Asked<PageQuery>,
) -> Answer<Json<Page<Profile>>> {
    caller.require_role("admin")?;
    let profiles = profiles.lock();
    Ok(Json(page.of(profiles.iter().map(|(id, profile)| (id.as_str(), profile.clone())))?))
}
