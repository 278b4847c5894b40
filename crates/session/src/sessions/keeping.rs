//! What is kept with a session: its list entry, the copy of the roles, when it was in use.

use tegata_core::{Batch, CommitRefused, Realm, SessionId, StoreError, UserId};

use super::{Listed, Sessions, TRIES, contended};
use crate::session::{Session, Standing};

impl Sessions {
    /// A person's sessions that have not ended, the last used first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, realm: &Realm, user: &UserId) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        for found in self.of_user(realm, user).await? {
            listed.extend(self.if_alive(realm, found.value).await);
        }
        listed.sort_by_key(|it| std::cmp::Reverse(it.last_access));
        Ok(listed)
    }

    /// Replaces the copy of the roles after the person's permissions changed. Answers whether there
    /// is such a session.
    ///
    /// The generation stays the same, so this is for permissions that were taken away or replaced
    /// from outside; a session that proves more is raised.
    ///
    /// # Errors
    /// What the store says.
    pub async fn stamp(
        &self,
        realm: &Realm,
        sid: &SessionId,
        authority: u64,
        roles: &[String],
    ) -> Result<bool, StoreError> {
        self.change(realm, sid, |session| {
            let before = session.handover.as_mut().and_then(|handover| handover.before.as_mut());
            for standing in before.into_iter().chain(std::iter::once(&mut session.standing)) {
                standing.authority = authority;
                standing.roles = roles.to_vec();
            }
            Ok::<_, StoreError>(())
        })
        .await
    }

    /// Takes something from what sessions of a person may do, or one of them: `narrow` takes it out of a
    /// standing, and answers whether there was anything. It is gone for earlier values, too.
    ///
    /// A session that begins or is raised at the same moment may have it still: whoever does that looks
    /// again afterwards.
    ///
    /// # Errors
    /// What the store says: then some of them may have it still.
    pub async fn narrow(
        &self,
        realm: &Realm,
        user: &UserId,
        only: Option<&SessionId>,
        narrow: impl Fn(&mut Standing) -> bool + Sync,
    ) -> Result<(), StoreError> {
        let narrowed = |session: &mut Session| {
            let before = session.handover.as_mut().and_then(|handover| handover.before.as_mut());
            let all = before.into_iter().chain(std::iter::once(&mut session.standing));
            // All of them, not only the first.
            all.filter_map(|standing| narrow(standing).then_some(())).count() > 0
        };
        let mut settled = Ok(());
        let theirs = match only {
            Some(sid) => self.load(realm, sid).await?.into_iter().collect(),
            None => self.of_user(realm, user).await?,
        };
        for found in theirs {
            let (sid, mut session) = (found.value.id.clone(), found.value);
            if session.user != *user || !narrowed(&mut session) {
                continue;
            }
            let changed = self.change(realm, &sid, |session| {
                narrowed(session);
                Ok::<_, StoreError>(())
            });
            // One that cannot be changed keeps no other as it is.
            settled = settled.and(changed.await.map(|_| ()));
        }
        settled
    }

    /// Notes that a session is in use, where something other than its cookie shows it: a refresh of
    /// its tokens. Answers whether there is such a session.
    ///
    /// # Errors
    /// What the store says.
    pub async fn touch(&self, realm: &Realm, sid: &SessionId) -> Result<bool, StoreError> {
        let now = self.node.now();
        let Some(session) = self.find(realm, sid).await? else { return Ok(false) };
        self.accesses.note(realm, sid, now).await;
        if now.since(session.seen) < self.limits.rotation {
            return Ok(true);
        }
        self.change(realm, sid, |session| {
            session.seen = session.seen.max(now);
            Ok::<_, StoreError>(())
        })
        .await
    }

    /// Changes a session that has not ended. Answers whether there is such a session.
    pub(super) async fn change<E: From<StoreError>>(
        &self,
        realm: &Realm,
        sid: &SessionId,
        apply: impl Fn(&mut Session) -> Result<(), E>,
    ) -> Result<bool, E> {
        for _ in 0..TRIES {
            let now = self.node.now();
            let found = self.load(realm, sid).await?;
            let Some(found) = found.filter(|it| self.is_alive(realm, &it.value, now)) else {
                return Ok(false);
            };
            let mut next = found.value.clone();
            apply(&mut next)?;
            let batch = Batch::new(realm.clone()).with(found.replace(&next));
            match self.records.commit(batch).await {
                Ok(()) => return Ok(true),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }
}
