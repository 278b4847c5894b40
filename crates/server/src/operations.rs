//! The operations listener: whether the node is alive, whether it is ready, and its metrics. No user
//! data, no credentials.

use std::{fmt, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use tegata_core::{BoxFuture, OsEntropy};

use crate::{headers::NoStore, panicked, problem::Problem, trace};

mod exposition;

/// Something that must be well for the node to be ready.
pub trait Check: Send + Sync {
    /// Its name, in a word or two.
    fn name(&self) -> &'static str;

    /// Looks. Answers soon, whatever it finds.
    ///
    /// # Errors
    /// What is wrong and what follows from it: for operators, without secrets.
    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>>;
}

/// What follows from something being wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but worse than it should.
    Degraded,
    /// It does not work, and the node goes on without it.
    Without,
    /// The node is not to be asked.
    NotReady,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwell {
    /// What follows from it.
    pub severity: Severity,
    /// Each a word for machines and a text for people.
    pub reasons: Vec<(&'static str, String)>,
}

impl Unwell {
    /// One thing is wrong.
    #[must_use]
    pub fn new(severity: Severity, reason: &'static str, detail: impl Into<String>) -> Self {
        Self { severity, reasons: vec![(reason, detail.into())] }
    }

    /// In a word.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self.severity {
            Severity::Degraded => "degraded",
            Severity::Without | Severity::NotReady => "unhealthy",
        }
    }

    /// As it is told.
    #[must_use]
    pub fn told(&self) -> Map<String, Value> {
        let (words, texts): (Vec<_>, Vec<_>) =
            self.reasons.iter().map(|(word, text)| (*word, text.as_str())).unzip();
        let told = [
            ("status", json!(self.status())),
            ("reason", json!(texts.join("; "))),
            ("reasons", json!(words)),
        ];
        told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
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
        .layer(from_fn(async |request: Request, next: Next| {
            let answer = panicked::caught(next.run(request)).await;
            answer.unwrap_or_else(|why| trace::signed(why.into_response(), &OsEntropy))
        }))
        .layer(map_response(guarded))
        .with_state(operations)
}

/// What every answer carries: none of them is a page, whatever a browser takes it for.
async fn guarded(mut response: Response) -> Response {
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn problem(status: StatusCode, detail: &'static str) -> Response {
    trace::signed(Problem::new(status, detail).into_response(), &OsEntropy)
}

async fn live() -> Response {
    NoStore(Json(json!({"status": "alive"}))).into_response()
}

/// All checks are made, so that an operator sees all that is wrong at once.
async fn ready(State(operations): State<Operations>) -> Response {
    let mut worst = None;
    let mut checks = Vec::new();
    for check in operations.checks.iter() {
        let found = check.look().await.err();
        worst = worst.max(found.as_ref().map(|unwell| unwell.severity));
        let mut told = json!({"name": check.name(), "status": "healthy"});
        if let (Some(unwell), Value::Object(told)) = (found, &mut told) {
            told.extend(unwell.told());
        }
        checks.push(told);
    }
    let is_ready = worst < Some(Severity::NotReady);
    let health = match worst {
        None => "healthy",
        Some(Severity::Degraded | Severity::Without) => "degraded",
        Some(Severity::NotReady) => "unhealthy",
    };
    let (status, word) = if is_ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    NoStore((status, Json(json!({"status": word, "health": health, "checks": checks}))))
        .into_response()
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
