//! Shared Signals (SSF 1.0): the streams that receivers order from us, and the signals that
//! transmitters send.
//!
//! | module | path |
//! |---|---|
//! | `asked` | who asks, and what they are told that may not |
//! | `streams` | `/ssf/streams`, `/ssf/status`, `/ssf/subjects:add`, `/ssf/subjects:remove`, `/ssf/verify` |
//! | `poll` | `/ssf/poll/{stream}` (RFC 8936) |
//! | `events` | `/ssf/events/{transmitter}` (RFC 8935) |

use std::{collections::HashSet, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{get, post},
};
use parking_lot::Mutex;
use tegata_core::{BoxFuture, StoreError};

use crate::{app::App, router::method_not_allowed, well_known};

mod asked;
mod events;
mod poll;
mod streams;

/// Hears what transmitters send.
pub trait Inlet: Send + Sync {
    /// Acts on a signal of the transmitter that is called `name` here. `authorization` is the value
    /// of the header. When this answers `Ok`, what follows is durable.
    fn hear<'a>(
        &'a self,
        name: &'a str,
        authorization: Option<&'a [u8]>,
        signal: &'a str,
    ) -> BoxFuture<'a, Result<(), NotHeard>>;
}

/// Why a signal was not acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHeard {
    /// There is no such transmitter.
    #[error("there is no such transmitter")]
    Unknown,
    /// The signal cannot be used: a code of RFC 8935 §2.4, and words.
    #[error("{code}: {description}")]
    Refused {
        /// The code.
        code: &'static str,
        /// The words.
        description: String,
    },
    /// Something is away that is needed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The streams that somebody waits at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<HashSet<String>>>);

/// A place at a stream, given back when it is dropped.
pub(crate) struct Place {
    waiting: Waiting,
    stream: String,
}

impl Waiting {
    /// A place at a stream, unless somebody has it.
    pub(crate) fn at(&self, stream: &str) -> Option<Place> {
        let is_first = self.0.lock().insert(stream.to_owned());
        is_first.then(|| Place { waiting: self.clone(), stream: stream.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.0.lock().remove(&self.stream);
    }
}

/// Everything under `/ssf`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/ssf/streams",
            get(streams::read)
                .post(streams::create)
                .patch(streams::update)
                .put(streams::replace)
                .delete(streams::delete),
        )
        .route("/ssf/status", get(streams::status).post(streams::set_status))
        .route("/ssf/subjects:add", post(streams::add))
        .route("/ssf/subjects:remove", post(streams::remove))
        .route("/ssf/verify", post(streams::verify))
        .route("/ssf/poll/{stream}", post(poll::poll))
        .route("/ssf/events/{transmitter}", post(events::hear))
        .method_not_allowed_fallback(method_not_allowed)
}

/// `/.well-known/ssf-configuration` (SSF 1.0 §7.2).
pub(crate) async fn configuration(State(app): State<App>, request: Request) -> Response {
    well_known::document(&app, request.headers(), &app.streams().metadata().to_string())
}
