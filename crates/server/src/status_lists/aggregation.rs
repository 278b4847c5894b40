//! `/status-lists`: which lists there are, for verifiers that want to have them before they meet a
//! token (Token Status List §9).

use std::time::Duration;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::json;
use tegata_core::SinceBoot;

use crate::{app::App, problem::Problem};

/// For how long the answer is given as it was made: whoever asks need not be known, and the store is
/// asked for it.
const REMEMBERED: Duration = Duration::from_secs(5);

/// The answer that was made last. Held by whoever makes it, so that nobody else does.
#[derive(Debug, Default)]
pub(crate) struct Aggregated(tokio::sync::Mutex<Option<(SinceBoot, Bytes)>>);

pub(crate) async fn all(State(app): State<App>) -> Result<Response, Problem> {
    let mut last = app.published().aggregated.0.lock().await;
    let now = app.node().since_boot();
    let fresh = last.as_ref().filter(|(made, _)| now.since(*made) < REMEMBERED);
    let body = match fresh {
        Some((_, body)) => body.clone(),
        None => {
            let lists = app.provider().status_lists(app.config().longest_token).await?;
            let address = |id| format!("{}/status-lists/{id}", app.provider().issuer());
            let lists: Vec<_> = lists.into_iter().map(address).collect();
            let body = Bytes::from(json!({"status_lists": lists}).to_string());
            *last = Some((now, body.clone()));
            body
        }
    };
    let media_type = HeaderValue::from_static("application/json");
    let lasting = HeaderValue::from_static("public, max-age=5");
    let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, lasting)];
    Ok((headers, body).into_response())
}
