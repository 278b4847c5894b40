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

    /// What the driver said of a command to a cluster. It may have sent it before, to a server that
    /// went away before it answered, and this is the answer to the last attempt alone: so this tells
    /// that nothing happened only where it was never handed over.
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

/// What is said, on one line.
pub(super) fn text(error: &RedisError) -> String {
    error.to_string().lines().collect::<Vec<_>>().join(" ")
}
