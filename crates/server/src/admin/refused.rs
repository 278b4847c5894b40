//! Why something was not done, and how that is answered.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tegata_core::StoreError;

use crate::problem::{Fault, Problem};

/// Why an administrator's wish was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such thing.
    Unknown(String),
    /// What was sent is not as it must be.
    Invalid(Vec<Fault>),
    /// It contradicts what is there.
    Conflict(String),
    /// What it was to be done to has changed meanwhile.
    Overtaken,
    /// Nobody may do it this way.
    Forbidden(String),
    /// There is too much to do: later.
    Busy,
    /// It was done, but not all that follows from it.
    Partly(String),
    /// The store did not answer.
    Store(StoreError),
}

impl Refused {
    /// One thing is not as it must be.
    #[must_use]
    pub fn invalid(pointer: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault { pointer: pointer.to_owned(), detail: detail.into() }])
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Unknown(detail) => Problem::new(StatusCode::NOT_FOUND, detail).named("not_found"),
            Self::Invalid(faults) => {
                let detail = "what was sent is not as it must be; see `errors`";
                let problem = Problem::new(StatusCode::BAD_REQUEST, detail);
                problem.named("invalid_request").faulting(faults)
            }
            Self::Conflict(detail) => Problem::new(StatusCode::CONFLICT, detail).named("conflict"),
            Self::Overtaken => {
                let detail = "it was changed since it was read; read it again";
                Problem::new(StatusCode::PRECONDITION_FAILED, detail).named("overtaken")
            }
            Self::Forbidden(detail) => {
                Problem::new(StatusCode::FORBIDDEN, detail).named("not_allowed")
            }
            Self::Busy => {
                let detail = "too much is being done; try again";
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
                problem.named("temporarily_unavailable").after(std::time::Duration::from_secs(1))
            }
            Self::Partly(detail) => {
                tracing::error!(%detail, "not all of it was done");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).named("partly_done")
            }
            Self::Store(error) => error.into(),
        };
        problem.into_response()
    }
}
