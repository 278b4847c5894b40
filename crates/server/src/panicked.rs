//! A handler that panics: whoever asked is answered, and what else the connection carries goes on.
//!
//! That something panics is a defect of ours, which the hook of the process writes down with its place in the
//! code. What was being changed is in a batch or not: nothing is half done.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tegata_core::caught;

use crate::problem::Problem;

/// A handler has panicked. The answer carries it: where the request had a body, of which nobody knows what was
/// left, its connection ends with it, unless others go on beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// The answer, or that there is none.
///
/// # Errors
/// [`Panicked`], of which the log has a line.
pub(crate) async fn caught<T>(answer: impl Future<Output = T>) -> Result<T, Panicked> {
    caught::caught(answer).await.map_err(|caught::Panicked| {
        // What it said may hold anything: it stands in no answer and no log.
        tracing::error!("a handler has panicked: the request is answered 500");
        Panicked
    })
}

impl IntoResponse for Panicked {
    fn into_response(self) -> Response {
        let detail = "the server has failed; its log has more under this trace";
        let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail);
        let mut response = problem.named("server_error").into_response();
        response.extensions_mut().insert(self);
        response
    }
}
