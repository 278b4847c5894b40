//! How a person likes to see the shop.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, Router, extract::State, routing::get};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::Caller;

use crate::{
    request::Body,
    service::{Answer, Parts, invalid},
};

/// What somebody likes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    /// Light or dark.
    pub theme: Theme,
}

/// How light the page is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// As the device is.
    #[default]
    System,
    /// Dark letters on light ground.
    Light,
    /// Light letters on dark ground.
    Dark,
}

/// Of so many people it is remembered what they like.
const MOST: usize = 10_000;

type All = Arc<Mutex<BTreeMap<String, Preferences>>>;

/// The service.
pub fn router(parts: &Parts) -> Router {
    let protected = Router::new().route("/me", get(mine).put(change));
    parts.assemble(Router::new(), protected.with_state(All::default()))
}

async fn mine(State(all): State<All>, caller: Caller) -> Answer<Json<Preferences>> {
    let user = caller.require_user()?.as_str();
    Ok(Json(all.lock().get(user).cloned().unwrap_or_default()))
}

async fn change(
    State(all): State<All>,
    caller: Caller,
    Body(wish): Body<Preferences>,
) -> Answer<Json<Preferences>> {
    let user = caller.require_user()?.as_str();
    let mut all = all.lock();
    if all.len() >= MOST && !all.contains_key(user) {
        return Err(invalid("too many people have preferences already").into());
    }
    all.insert(user.to_owned(), wish.clone());
    Ok(Json(wish))
}
