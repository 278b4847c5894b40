//! What Redis or the network says, in the words of the ports.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use tegata_core::StoreError;

use super::BACKEND;

/// Why a command was not answered.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// It was never sent.
    Unsent(String),
    /// It was never sent, since a server is there that does not let us in.
    Barred(String),
    /// A server refused it, and did nothing.
    Refused(String),
    /// A server has no memory left for it, and did nothing.
    Full(String),
    /// It was sent, and nobody knows what became of it.
    Lost(String),
}

impl Fault {
    /// What the driver said when it was to connect.
    pub(super) fn connecting(error: &RedisError) -> Self {
        let text = text(error);
        if is_about_login(error) { Self::Barred(text) } else { Self::Unsent(text) }
    }

    /// What was said of a command that a node of a cluster has had. Nodes replace each other, so who
    /// says it may know less than who comes after: that nothing happened is believed of memory that is
    /// full alone.
    pub(super) fn answering_on_cluster(error: &RedisError) -> Self {
        match Self::answering(error) {
            full @ Self::Full(_) => full,
            Self::Unsent(detail)
            | Self::Barred(detail)
            | Self::Refused(detail)
            | Self::Lost(detail) => Self::Lost(detail),
        }
    }

    /// What the driver said of a command that was, or may have been, sent.
    pub(super) fn answering(error: &RedisError) -> Self {
        let text = text(error);
        match error.kind() {
            // `OOM`: a server that may not evict refuses to grow. `MISCONF`: its disk is full.
            _ if matches!(error.code(), Some("OOM" | "MISCONF")) => Self::Full(text),
            ErrorKind::Server(_) => Self::Refused(text),
            ErrorKind::ClusterConnectionNotFound
            | ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel => Self::Unsent(text),
            _ if error.is_connection_refusal() => Self::Unsent(text),
            _ => Self::Lost(text),
        }
    }

    /// Which of two says more, the one of several that fail. That somebody does not let us in does.
    pub(super) fn or(self, other: Self) -> Self {
        if matches!(self, Self::Barred(_)) { self } else { other }
    }

    /// The error of a question: nothing can have happened, whatever was lost.
    pub(super) fn of_question(self) -> StoreError {
        match self {
            Self::Unsent(detail)
            | Self::Barred(detail)
            | Self::Refused(detail)
            | Self::Lost(detail) => StoreError::Unavailable { backend: BACKEND, detail },
            Self::Full(detail) => StoreError::Full { backend: BACKEND, detail },
        }
    }

    /// The error of a change.
    pub(super) fn of_change(self) -> StoreError {
        match self {
            Self::Lost(detail) => StoreError::Indeterminate { backend: BACKEND, detail },
            other => other.of_question(),
        }
    }
}

/// Whether a server refused only because it does not know the script yet.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether a connection is of no more use after this, or leads to a server that is not the one to
/// ask.
pub(super) fn ends_connection(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading
        )
    ) || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
}

/// Whether no waiting mends it: a server is there, and does not want us.
pub(super) fn is_about_login(error: &RedisError) -> bool {
    let kind = error.kind();
    kind == ErrorKind::AuthenticationFailed
        || kind == ErrorKind::Server(ServerErrorKind::NoPerm)
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}

/// What a node of a cluster says that did nothing, since it is not the one to ask, or not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// Another has the key (`MOVED`).
    Moved,
    /// Another is just being given the key (`ASK`).
    Asking,
    /// Nobody is known who would do it at the moment.
    Later,
}

/// Whether a node of a cluster did nothing with a command, and who may.
pub(super) fn elsewhere(error: &RedisError) -> Option<Elsewhere> {
    let ErrorKind::Server(kind) = error.kind() else { return None };
    match kind {
        ServerErrorKind::Moved => Some(Elsewhere::Moved),
        ServerErrorKind::Ask => Some(Elsewhere::Asking),
        ServerErrorKind::TryAgain
        | ServerErrorKind::ClusterDown
        | ServerErrorKind::BusyLoading
        | ServerErrorKind::MasterDown
        | ServerErrorKind::ReadOnly => Some(Elsewhere::Later),
        _ => None,
    }
}

/// Whether a connection broke before the answer came.
pub(super) fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}

/// What is said, on one line.
pub(super) fn text(error: &RedisError) -> String {
    error.to_string().lines().collect::<Vec<_>>().join(" ")
}
