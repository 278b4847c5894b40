//! Ending sessions: durable before it is answered.

use serde_json::json;
use tegata_core::{
    Batch, CommitRefused, Event, EventType, Realm, SessionId, StoreError, Timestamp, UserId,
    Versioned, port::Page, repository,
};

use super::{Ending, Prepared, Sessions, TRIES, alarm, contended};
use crate::{
    binding::Part,
    session::{Reason, Session},
};

impl Sessions {
    /// Prepares the end of a session, for the caller to commit in a batch of its own, with an entry
    /// in the revocation log. Where that is refused with a conflict, the session has changed, and
    /// this is to be called again. `None`: there is no such session, or it has ended.
    ///
    /// # Errors
    /// What the store says.
    pub async fn prepare_end(
        &self,
        realm: &Realm,
        sid: &SessionId,
        reason: &Reason,
        actor: &str,
    ) -> Result<Option<Prepared>, StoreError> {
        let found = self.load(realm, sid).await?.filter(|found| found.value.ended.is_none());
        Ok(found.map(|found| self.ends(realm, &found, reason, actor, self.node.now())))
    }

    /// Ends a session. Answers whether this ended it.
    ///
    /// # Errors
    /// What the store says: then it is not known to have ended.
    pub async fn end(
        &self,
        realm: &Realm,
        sid: &SessionId,
        reason: &Reason,
        actor: &str,
    ) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let Some(prepared) = self.prepare_end(realm, sid, reason, actor).await? else {
                return Ok(false);
            };
            match self.commit(realm, prepared).await {
                Ok(()) => return Ok(true),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    /// Ends all sessions of a person, but for one that is spared. Answers how many it ended.
    ///
    /// A sign-in that is under way at the same moment may begin one more: whoever must shut a
    /// person out takes back everything they have up to a moment, and then does this.
    ///
    /// # Errors
    /// What the store says: then some of them may have ended.
    pub async fn end_all(
        &self,
        realm: &Realm,
        user: &UserId,
        spared: Option<&SessionId>,
        reason: &Reason,
        actor: &str,
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        for found in self.of_user(realm, user).await? {
            if Some(&found.value.id) != spared {
                count += u64::from(self.end(realm, &found.value.id, reason, actor).await?);
            }
        }
        Ok(count)
    }

    /// All sessions of a person that have not ended.
    pub(super) async fn of_user(
        &self,
        realm: &Realm,
        user: &UserId,
    ) -> Result<Vec<Versioned<Session>>, StoreError> {
        let mut page = Page { after: None, limit: 500 };
        let mut all = Vec::new();
        loop {
            let records = self.records.as_ref();
            let found =
                repository::find::<Session>(records, realm, "user", user.as_str(), page.clone())
                    .await?;
            let Some(last) = found.last() else { return Ok(all) };
            page.after = Some(last.value.id.as_str().to_owned());
            all.extend(found.into_iter().filter(|found| found.value.ended.is_none()));
        }
    }

    /// What ends a session as it was read.
    pub(super) fn ends(
        &self,
        realm: &Realm,
        found: &Versioned<Session>,
        reason: &Reason,
        actor: &str,
        now: Timestamp,
    ) -> Prepared {
        let ended = found.value.clone().end(reason, now);
        let (user, sid) = (json!(ended.user), json!(ended.id));
        let mut events = vec![Event::new(
            &self.node,
            realm,
            EventType::SessionEnded,
            [
                ("user_id", user.clone()),
                ("session_id", sid.clone()),
                ("reason", json!(reason.name())),
                ("actor", json!(actor)),
            ],
        )];
        if *reason == Reason::Logout {
            let data = [("user_id", user), ("session_id", sid)];
            events.push(Event::new(&self.node, realm, EventType::UserLoggedOut, data));
        }
        let ending = Ending {
            sid: ended.id.clone(),
            user: ended.user.clone(),
            at: now,
            until: ended.ends,
            reason: reason.name().to_owned(),
            actor: actor.to_owned(),
        };
        Prepared { changes: vec![found.replace(&ended)], events, ended: vec![ending] }
    }

    /// Ends a session of whose cookie somebody has a copy.
    pub(super) async fn end_replayed(
        &self,
        realm: &Realm,
        found: &Versioned<Session>,
        now: Timestamp,
    ) -> Result<(), CommitRefused> {
        let mut prepared = self.ends(realm, found, &Reason::Replayed, "system", now);
        let suspicion = alarm::suspicion(&self.node, realm, &found.value.id, Part::Generation);
        prepared.events.insert(0, suspicion);
        self.commit(realm, prepared).await
    }

    /// Commits what was prepared, by itself.
    pub(super) async fn commit(
        &self,
        realm: &Realm,
        prepared: Prepared,
    ) -> Result<(), CommitRefused> {
        let (batch, ended) = prepared.join(Batch::new(realm.clone()));
        let sids: Vec<_> = ended.iter().map(|ending| ending.sid.clone()).collect();
        self.endings.commit(batch, ended).await?;
        sids.iter().for_each(|sid| self.accesses.forget(realm, sid));
        Ok(())
    }
}
