//! The checks as a layer around an axum service, and the caller as an argument of its handlers.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Bytes,
    extract::{FromRequestParts, OptionalFromRequestParts, Request},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use tegata_core::{StepUp, port::BoxFuture};
use tower::{Layer, Service};

use super::{Authenticator, Caller, Reason, Refused};
use crate::{problem::Problem, trace::Trace};

/// Puts [`Authenticator`] before a service: what reaches it has a [`Caller`].
#[derive(Debug, Clone)]
pub struct AuthenticateLayer {
    authenticator: Authenticator,
    optional: bool,
    step_up: StepUp,
}

impl AuthenticateLayer {
    /// Refuses who shows no token.
    #[must_use]
    pub const fn new(authenticator: Authenticator) -> Self {
        let step_up = StepUp { acr: Vec::new(), max_age: None };
        Self { authenticator, optional: false, step_up }
    }

    /// Lets pass who shows no token, without a [`Caller`]. A token that does not count is refused
    /// all the same.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Refuses who was not authenticated as strongly and as recently as this (RFC 9470), and so who
    /// shows no token, too.
    #[must_use]
    pub fn asking(self, step_up: StepUp) -> Self {
        Self { step_up, ..self }
    }

    /// Whether who shows no token passes.
    const fn admits_nobody(&self) -> bool {
        self.optional && self.step_up.is_nothing()
    }
}

/// The route under which a service describes itself, where it was
/// [described](super::Builder::described): to be merged beside the layer, because everybody may read it.
pub fn description<S: Clone + Send + Sync + 'static>(authenticator: &Authenticator) -> Router<S> {
    let Some(resource) = authenticator.resource() else { return Router::new() };
    let document = Bytes::from(resource.document());
    let described = move || async move {
        let media_type = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, media_type)], document)
    };
    Router::new().route(resource.path(), get(described))
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate { layer: self.clone(), inner }
    }
}

/// A service behind an [`AuthenticateLayer`].
#[derive(Debug, Clone)]
pub struct Authenticate<S> {
    layer: AuthenticateLayer,
    inner: S,
}

impl<S> Service<Request> for Authenticate<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let layer = self.layer.clone();
        // The clone that was polled is the one that is called.
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        Box::pin(async move {
            let (headers, method) = (request.headers(), request.method().as_str());
            let path = request.uri().path();
            let settled = layer.authenticator.authenticate_path(headers, method, path).await;
            let settled = settled.and_then(|caller| {
                caller.require_step_up(&layer.step_up)?;
                Ok(caller)
            });
            match settled {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                }
                Err(refused) if layer.admits_nobody() && refused.reason == Reason::Missing => {}
                Err(refused) => {
                    let entropy = layer.authenticator.node().entropy();
                    let trace = Trace::of(request.headers(), entropy).trace_id();
                    tracing::info!(
                        service = layer.authenticator.service(),
                        trace_id = trace,
                        reason = %refused,
                        "refused"
                    );
                    return Ok(answer(&refused, Some(trace)));
                }
            }
            inner.call(request).await
        })
    }
}

fn answer(refused: &Refused, trace_id: Option<String>) -> Response {
    let problem = Problem { trace_id, ..refused.problem() };
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    if let Some(challenge) = refused.challenge() {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = refused.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        answer(&self, None)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// The caller that the layer has settled.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!(
                path = parts.uri.path(),
                "a route that asks for its caller has no authentication layer, or an optional one"
            );
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "")
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

#[cfg(test)]
mod tests;
