//! The operations listener: whether the node is alive, whether it is ready, and its metrics. No user
//! data, no credentials.

use std::{fmt, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tegata_core::{BoxFuture, OsEntropy};

use crate::{headers::NoStore, problem::Problem, trace};

mod exposition;

/// Something that must be well for the node to be ready.
pub trait Check: Send + Sync {
    /// Its name, in a word or two.
    fn name(&self) -> &'static str;

    /// Looks. Answers soon, whatever it finds.
    ///
    /// # Errors
    /// What is wrong and what follows from it: for operators, without secrets.
    fn look(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// What the operations listener is made of. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    /// What is shown under `/metrics`.
    pub registry: Arc<Registry>,
    /// What must be well.
    pub checks: Arc<[Arc<dyn Check>]>,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks.iter().map(|check| check.name())).finish()
    }
}

/// The operations listener as one service.
pub fn router(operations: Operations) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(async || problem(StatusCode::NOT_FOUND, "nothing is at this path"))
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "this is read, with `GET` or `HEAD`")
        })
        .with_state(operations)
}

fn problem(status: StatusCode, detail: &'static str) -> Response {
    trace::signed(Problem::new(status, detail).into_response(), &OsEntropy)
}

async fn live() -> Response {
    NoStore(Json(json!({"status": "alive"}))).into_response()
}

/// All checks are made, so that an operator sees all that is wrong at once.
async fn ready(State(operations): State<Operations>) -> Response {
    let mut is_ready = true;
    let mut checks = Vec::new();
    for check in operations.checks.iter() {
        let found = check.look().await;
        is_ready &= found.is_ok();
        let told: Value = match found {
            Ok(()) => json!({"name": check.name(), "status": "healthy"}),
            Err(reason) => json!({"name": check.name(), "status": "unhealthy", "reason": reason}),
        };
        checks.push(told);
    }
    let (status, word) = if is_ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    NoStore((status, Json(json!({"status": word, "checks": checks})))).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    match exposition::text(&operations.registry) {
        Ok(text) => {
            let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            NoStore(([(header::CONTENT_TYPE, media_type)], text)).into_response()
        }
        Err(fmt::Error) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            problem(status, "the metrics cannot be written")
        }
    }
}

#[cfg(test)]
mod tests;
