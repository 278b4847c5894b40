//! What the server or the network says, in the words of the ports.

use std::{error::Error as _, io};

use tegata_core::StoreError;
use tokio_postgres::error::{Severity, SqlState};

use super::BACKEND;

/// Why a statement was not answered.
#[derive(Debug)]
pub(super) enum Fault {
    /// It was never sent.
    Unsent(String),
    /// The server refused it, and has undone whatever it did.
    Refused {
        /// Why, as a code.
        code: SqlState,
        /// Why, in its words.
        message: String,
        /// Whether the connection is of no more use.
        last: bool,
    },
    /// It was sent, and nobody knows what became of it.
    Lost(String),
}

impl Fault {
    /// What the driver said of a statement that was sent. `done` tells whether the server had
    /// already answered it, all but the last word.
    ///
    /// INVARIANT: only an answer of the server that can but precede the commit is a refusal. The
    /// server answers in order: what it sends before the first row of a statement that always has
    /// one was said before the statement was done. After that row, an `ERROR` means that the commit
    /// failed, but a `FATAL` may be a server that stops when the commit is over and its confirmation
    /// not yet sent.
    pub(super) fn answering(error: &tokio_postgres::Error, done: bool) -> Self {
        match error.as_db_error() {
            Some(said) => {
                let fatal = said.parsed_severity() != Some(Severity::Error);
                if done && fatal {
                    return Self::Lost(text(error));
                }
                // A server that has become a replica answers what is out of date.
                let replica = *said.code() == SqlState::READ_ONLY_SQL_TRANSACTION;
                let (code, message) = (said.code().clone(), said.message().to_owned());
                Self::Refused { code, message, last: replica || fatal }
            }
            None => Self::Lost(text(error)),
        }
    }

    /// What the driver said of a statement that was being prepared.
    pub(super) fn preparing(error: &tokio_postgres::Error) -> Self {
        match Self::answering(error, false) {
            Self::Lost(detail) => Self::Unsent(detail),
            fault => fault,
        }
    }

    /// The error of a question: nothing can have happened, whatever was lost. `kind` and `key` name
    /// what was asked about.
    pub(super) fn of_reading(self, kind: &'static str, key: &str) -> StoreError {
        match self {
            Self::Lost(detail) => unavailable(detail),
            fault => fault.of_writing(kind, key),
        }
    }

    /// The error of a change.
    pub(super) fn of_writing(self, kind: &'static str, key: &str) -> StoreError {
        match self {
            Self::Unsent(detail) => unavailable(detail),
            Self::Lost(detail) => StoreError::Indeterminate { backend: BACKEND, detail },
            Self::Refused { code, message, .. } => refusal(&code, &message, kind, key),
        }
    }

    /// Whether the connection is of no more use.
    pub(super) fn ends_session(&self) -> bool {
        matches!(self, Self::Unsent(_) | Self::Lost(_) | Self::Refused { last: true, .. })
    }

    /// Whether trying the same again at once may succeed: others were in the way.
    pub(super) fn is_collision(&self) -> bool {
        let Self::Refused { code, .. } = self else { return false };
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
    }

    /// Whether the server does not know a statement that was prepared, or prepared it for a table
    /// that has changed since.
    pub(super) fn is_forgotten(&self) -> bool {
        let Self::Refused { code, .. } = self else { return false };
        [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::FEATURE_NOT_SUPPORTED].contains(code)
    }

    /// Whether a row fits into none of the partitions that there are.
    pub(super) fn is_missing_partition(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == SqlState::CHECK_VIOLATION)
    }
}

fn refusal(code: &SqlState, message: &str, kind: &'static str, key: &str) -> StoreError {
    let detail = format!("{message} (`{}`)", code.code());
    if [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(code) {
        return StoreError::Corrupt { backend: BACKEND, kind, key: key.to_owned(), detail };
    }
    if *code == SqlState::DISK_FULL {
        return StoreError::Full { backend: BACKEND, detail };
    }
    if passes(code) { unavailable(detail) } else { refused(detail) }
}

/// Whether what the server refuses it may grant in a moment, though nobody mends anything: it starts or stops,
/// has become a replica, has too much to do, or others were in the way.
fn passes(code: &SqlState) -> bool {
    let passing = [
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    // Class 08: the connection.
    code.code().starts_with("08") || passing.contains(code)
}

/// Whether the server is not there, or not for now; and not that it, or what it shows, is not as it should be.
pub(super) fn is_away(error: &tokio_postgres::Error) -> bool {
    if let Some(code) = error.code() {
        return passes(code);
    }
    // What cannot be verified or understood comes as an error of reading, too.
    let is_of_network = |error: &io::Error| {
        let kinds = [io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput, io::ErrorKind::Other];
        !kinds.contains(&error.kind())
    };
    let source = error.source().and_then(|source| source.downcast_ref());
    error.is_closed() || source.is_some_and(is_of_network)
}

/// The error of what sets something up.
pub(super) fn of_setting_up(error: &tokio_postgres::Error) -> StoreError {
    if is_away(error) { unavailable(text(error)) } else { refused(text(error)) }
}

/// The error of something that does not happen until somebody has mended it.
pub(super) fn refused(detail: impl Into<String>) -> StoreError {
    StoreError::Refused { backend: BACKEND, detail: detail.into() }
}

/// The error of something that did not happen.
pub(super) fn unavailable(detail: impl Into<String>) -> StoreError {
    StoreError::Unavailable { backend: BACKEND, detail: detail.into() }
}

/// What the driver, the server or the system said, without what they were given.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (`{}`)", said.message(), said.code().code());
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
