//! Sessions, read where they are kept.

use std::{fmt, sync::Arc};

use tegata_core::{BoxFuture, Realm, SessionId, StoreError, UserId};
use tegata_session::reader::Reader;

use super::SessionStore;

/// Sessions of one realm, read where they are kept.
///
/// Whoever holds this can read every session of the installation: the store is sealed, and the service
/// has its root key. That is for services that are trusted as much as the server itself.
#[derive(Clone)]
pub struct StoredSessions {
    reader: Arc<Reader>,
    realm: Realm,
}

impl StoredSessions {
    /// The sessions that this reads.
    #[must_use]
    pub fn new(reader: Reader, realm: Realm) -> Self {
        Self { reader: Arc::new(reader), realm }
    }
}

impl SessionStore for StoredSessions {
    fn is_alive<'a>(
        &'a self,
        session: &'a SessionId,
        user: &'a UserId,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let found = self.reader.find(&self.realm, session).await?;
            Ok(found.is_some_and(|found| found.user == *user))
        })
    }
}

impl fmt::Debug for StoredSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredSessions({:?})", self.realm)
    }
}
