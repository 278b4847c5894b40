//! Sessions as administrators see them.

use tegata_core::{Realm, SessionId, StoreError, UserId, port::Page, repository};

use super::{Listed, Sessions};
use crate::session::Session;

/// A piece of a listing.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The sessions of it that are alive.
    pub sessions: Vec<Listed>,
    /// After which handle the next piece begins, where there may be one.
    pub next: Option<SessionId>,
}

impl Sessions {
    /// A piece of a person's sessions, or of all, in the order of their handles. `page` counts those
    /// that have ended, too, so that a piece may have fewer sessions and still not be the last.
    ///
    /// # Errors
    /// What the store says.
    pub async fn page(
        &self,
        realm: &Realm,
        user: Option<&UserId>,
        page: Page,
    ) -> Result<Piece, StoreError> {
        let (records, limit) = (self.records.as_ref(), page.limit);
        let found = match user {
            Some(user) => {
                repository::find::<Session>(records, realm, "user", user.as_str(), page).await?
            }
            None => repository::scan::<Session>(records, realm, page).await?,
        };
        let is_full = u32::try_from(found.len()).is_ok_and(|count| count >= limit);
        let next = found.last().filter(|_| is_full).map(|last| last.value.id.clone());
        let mut sessions = Vec::new();
        for found in found {
            sessions.extend(self.if_alive(realm, found.value).await);
        }
        Ok(Piece { sessions, next })
    }

    /// The session with this handle, if it is alive, as a list shows it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn listed(
        &self,
        realm: &Realm,
        sid: &SessionId,
    ) -> Result<Option<Listed>, StoreError> {
        match self.load(realm, sid).await? {
            Some(found) => Ok(self.if_alive(realm, found.value).await),
            None => Ok(None),
        }
    }

    /// A session as a list shows it, if it is alive.
    pub(super) async fn if_alive(&self, realm: &Realm, session: Session) -> Option<Listed> {
        let now = self.node.now();
        if !self.is_alive(realm, &session, now)
            || !self.accesses.is_awake(realm, &session, now).await
        {
            return None;
        }
        let seen = self.accesses.seen(realm, &session).await;
        Some(Listed { session, last_access: seen.last, accesses: seen.count })
    }
}
