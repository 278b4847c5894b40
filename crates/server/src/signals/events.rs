//! `POST /ssf/events/{transmitter}`: a transmitter sends a signal (RFC 8935).

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use serde_json::json;

use super::NotHeard;
use crate::{
    app::App,
    body::{self, Unreadable},
    headers::NoStore,
    problem::Problem,
    router::Segment,
};

pub(crate) async fn hear(
    State(app): State<App>,
    Segment(name): Segment,
    request: Request,
) -> Response {
    let mut values = request.headers().get_all(header::AUTHORIZATION).into_iter();
    // Two are as good as none: nobody could tell which counts.
    let authorization = values.next().filter(|_| values.next().is_none()).cloned();
    let signal = match body::secevent(&app, request).await {
        Ok(signal) => signal,
        Err(unreadable) => return refused("invalid_request", unreadable),
    };
    let authorization = authorization.as_ref().map(http::HeaderValue::as_bytes);
    match app.inlet().hear(&name, authorization, &signal).await {
        // RFC 8935 §2.2: accepted, and nothing to say.
        Ok(()) => NoStore(StatusCode::ACCEPTED).into_response(),
        Err(NotHeard::Unknown) => {
            let detail = "there is no transmitter of this name";
            Problem::new(StatusCode::NOT_FOUND, detail).named("not_found").into_response()
        }
        Err(NotHeard::Refused { code, description }) => error(code, &description),
        Err(NotHeard::Store(away)) => Problem::from(away).into_response(),
    }
}

fn refused(code: &'static str, unreadable: Unreadable) -> Response {
    match unreadable {
        Unreadable::Late | Unreadable::Broken => Problem::from(unreadable).into_response(),
        _ => error(code, unreadable.text()),
    }
}

/// RFC 8935 §2.3.
fn error(code: &'static str, description: &str) -> Response {
    let body = json!({"err": code, "description": description});
    NoStore((StatusCode::BAD_REQUEST, Json(body))).into_response()
}
