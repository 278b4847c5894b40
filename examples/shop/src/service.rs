//! What every service of the shop has in common: its parts, its answers when it does not do what it
//! was asked, and its health.

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tegata_sdk::{
    AuthenticateLayer, Authenticator, CallFailed, Caller, Node, Problem, Refused, ServiceClient,
    Trace,
};

/// What a service is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Who calls?
    pub authenticator: Authenticator,
    /// Calls to other services.
    pub client: ServiceClient,
    /// Clock and randomness.
    pub node: Node,
}

/// Bodies that the shop understands are small.
const LARGEST_BODY: usize = 64 << 10;

impl Parts {
    /// A service: routes that are open, and routes that need a caller.
    pub(crate) fn assemble(&self, open: Router, protected: Router) -> Router {
        let layer = AuthenticateLayer::new(self.authenticator.clone());
        self.assemble_open(open.merge(protected.route_layer(layer)))
    }

    /// A service that is open to everybody.
    pub(crate) fn assemble_open(&self, open: Router) -> Router {
        let health = health(self.authenticator.service());
        let nothing = || async { Failed::from(nothing_here()) };
        let other = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done with it");
        open.merge(health)
            .fallback(nothing)
            .method_not_allowed_fallback(|| async { Failed::from(other) })
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(middleware::from_fn_with_state(self.node.clone(), traced))
    }
}

/// `GET /health`: the service runs.
pub(crate) fn health(service: &str) -> Router {
    let body = json!({"status": "ok", "service": service});
    Router::new().route("/health", get(|| async { Json(body) }))
}

/// Gives every request a trace, and every problem its name.
async fn traced(State(node): State<Node>, mut request: Request, next: Next) -> Response {
    let trace = Trace::of(request.headers(), node.entropy());
    trace.carry(request.headers_mut(), node.entropy());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(problem.traced(trace.trace_id()).to_json());
    }
    response
}

/// Why a handler does not do what it was asked.
#[derive(Debug)]
pub enum Failed {
    /// The caller may not.
    Refused(Refused),
    /// It cannot be done.
    Problem(Box<Problem>),
}

/// What a handler answers.
pub type Answer<T> = Result<T, Failed>;

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let (problem, mut response) = match self {
            Self::Refused(refused) => (refused.problem(), refused.into_response()),
            Self::Problem(problem) => ((*problem).clone(), (*problem).into_response()),
        };
        response.extensions_mut().insert(problem);
        response
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<CallFailed> for Failed {
    /// Which service did not answer is told, and why is for the log.
    fn from(failed: CallFailed) -> Self {
        tracing::warn!(error = %failed, "a call to another service failed");
        unavailable().into()
    }
}

/// A service that is needed does not answer.
pub(crate) fn unavailable() -> Problem {
    let detail = "a service that is needed for this does not answer; try again later";
    Problem::of_kind(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "unavailable", detail)
}

/// There is no such thing, or not for this caller: the two look the same.
pub(crate) fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here for you")
}

/// The request is understood and makes no sense.
pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of_kind(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "not valid", detail)
}

/// The request does not go with what is already there.
pub(crate) fn conflict(name: &str, title: &str, detail: impl Into<String>) -> Problem {
    Problem::of_kind(StatusCode::CONFLICT, name, title, detail)
}

/// Whether something of this person's is the caller's business.
pub(crate) fn may_see(caller: &Caller, owner: &str) -> bool {
    caller.has_role("admin") || caller.user().is_some_and(|user| user.as_str() == owner)
}
