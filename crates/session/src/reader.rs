//! Sessions, for whoever only asks whether one is alive: it has no key of cookies, and changes nothing.

use std::{fmt, sync::Arc};

use tegata_core::{Ephemeral, Epoch, Node, Realm, Records, SessionId, StoreError, repository};

use crate::{
    session::{Limits, Session},
    sessions::Accesses,
};

/// Reads sessions where they are kept.
///
/// What is taken back with everything that a person has stands in the revocation log alone: whoever serves
/// by this follows that beside it.
pub struct Reader {
    node: Node,
    epoch: Epoch,
    records: Arc<dyn Records>,
    limits: Limits,
    accesses: Accesses,
    latest: bool,
}

impl Reader {
    /// The sessions in `records`, of this epoch or a later one. When they were last used is read in
    /// `ephemeral`.
    #[must_use]
    pub fn new(
        node: Node,
        epoch: Epoch,
        records: Arc<dyn Records>,
        ephemeral: Arc<dyn Ephemeral>,
        limits: Limits,
    ) -> Self {
        let accesses = Accesses::new(ephemeral, &limits);
        Self { node, epoch, records, limits, accesses, latest: true }
    }

    /// The same, satisfied with what was true a moment ago, where `records` keeps that near
    /// ([`Records::recent`]): a session that has ended may be found for that moment.
    #[must_use]
    pub fn nearby(self) -> Self {
        Self { latest: false, ..self }
    }

    /// The session with this handle, if it is alive.
    ///
    /// # Errors
    /// What the store says.
    pub async fn find(
        &self,
        realm: &Realm,
        sid: &SessionId,
    ) -> Result<Option<Session>, StoreError> {
        // What began before a backup was brought back may have ended before, too.
        if Epoch::leading(sid.as_str()).is_none_or(|epoch| epoch < self.epoch) {
            return Ok(None);
        }
        let (now, key) = (self.node.now(), sid.as_str());
        let found = if self.latest {
            repository::load::<Session>(self.records.as_ref(), realm, key).await?
        } else {
            repository::recent::<Session>(self.records.as_ref(), realm, key).await?
        };
        let Some(session) = found.map(|found| found.value) else { return Ok(None) };
        let goes_on = session.ended.is_none() && !session.is_over(now, &self.limits);
        let alive = goes_on && self.accesses.is_awake(realm, &session, now).await;
        Ok(alive.then_some(session))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader(epoch {})", self.epoch)
    }
}
