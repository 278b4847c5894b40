//! What SQLite says, as a [`StoreError`].

use rusqlite::{Error, ErrorCode};
use tegata_core::StoreError;

pub(super) const BACKEND: &str = "sqlite";

/// The error of a statement about `kind` at `key`. Nothing has happened: a transaction that it
/// belongs to is not committed.
pub(super) fn fault(error: &Error, kind: &'static str, key: &str) -> StoreError {
    let detail = error.to_string();
    if is_damage(error) {
        return StoreError::Corrupt { backend: BACKEND, kind, key: key.to_owned(), detail };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { backend: BACKEND, detail },
        Some(ErrorCode::TooBig) => {
            StoreError::Misused { detail: format!("`{kind}` was given more than fits: {detail}") }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            unavailable(format!("another process is writing all the time ({detail})"))
        }
        _ => unavailable(detail),
    }
}

/// The error of a `COMMIT`. Where the disk failed, the change may already be on it, and be found
/// there after a crash.
pub(super) fn commit_fault(error: &Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            fault(error, "database", "commit")
        }
        _ => StoreError::Indeterminate { backend: BACKEND, detail: error.to_string() },
    }
}

/// Whether what was read is not what can have been written.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => true,
        _ => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ),
    }
}

/// Whether somebody else holds the lock.
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether an error is about one statement alone, so that a transaction can go on without it.
pub(super) fn is_of_statement(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(..) => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
        ),
        _ => true,
    }
}

pub(super) fn unavailable(detail: impl Into<String>) -> StoreError {
    StoreError::Unavailable { backend: BACKEND, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn failure(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_failure_of_the_disk_while_committing_leaves_it_open_what_happened() {
        let statement = fault(&failure(ffi::SQLITE_IOERR_WRITE), "note", "k");
        assert!(matches!(statement, StoreError::Unavailable { .. }));
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_CORRUPT] {
            let commit = commit_fault(&failure(code));
            assert!(matches!(commit, StoreError::Indeterminate { .. }), "{commit}");
        }
        let full = commit_fault(&failure(ffi::SQLITE_FULL));
        assert!(matches!(full, StoreError::Full { .. }), "{full}");
    }

    #[test]
    fn names_what_is_damaged() {
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            let error = fault(&failure(code), "note", "k");
            assert!(
                matches!(error, StoreError::Corrupt { kind: "note", ref key, .. } if key == "k")
            );
        }
    }
}
