//! Requests wait for a store that says nothing no longer than is bearable.

use std::time::Duration;

use tegata_core::StoreError;

/// How long a store may take while a request waits for what it knows of a credential.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What the store answers within [`PATIENCE`].
///
/// # Errors
/// The store's, and that there was no answer in time. Where several wait for one answer, this belongs
/// around the question and not around the waiting: otherwise new ones go on joining those who wait for
/// an answer that never comes.
pub(crate) async fn in_time<T>(
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
        let detail = format!("it did not answer within {PATIENCE:?}");
        Err(StoreError::Unavailable { backend: "the store", detail })
    })
}
