//! What stands in a request, read so that a mistake is answered with a problem.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, request::Parts},
};
use serde::de::DeserializeOwned;
use tegata_sdk::Problem;

use crate::service::{Failed, invalid};

/// The body, as JSON.
pub(crate) struct Body<T>(pub(crate) T);

/// The query.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failed> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(error) => Err(Problem::new(error.status(), error.body_text()).into()),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failed> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(Problem::new(error.status(), error.body_text()).into()),
        }
    }
}

/// The name that the sender gave to what is to be done once.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) => match key.to_str() {
            Ok(key) if (1..=128).contains(&key.len()) => Ok(Some(key.to_owned())),
            _ => Err(invalid("`Idempotency-Key` is not 1 to 128 visible characters")),
        },
        _ => Err(invalid("`Idempotency-Key` stands twice")),
    }
}

/// Holds a text to a length, counted in characters.
pub(crate) fn text(name: &str, value: &str, longest: usize) -> Result<(), Problem> {
    let length = value.trim().chars().count();
    if (1..=longest).contains(&length) && !value.chars().any(|c| c.is_control() && c != '\n') {
        Ok(())
    } else {
        Err(invalid(format!("`{name}` is not 1 to {longest} printable characters")))
    }
}
