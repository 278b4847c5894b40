//! Signing in: a new session, and room for it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tegata_core::{
    CommitRefused, Event, EventType, Expect, Realm, SessionId, StoreError, Stored, Timestamp,
    Versioned, port::Change, repository,
};

use super::{Beginning, Begun, Prepared, Sessions, TRIES, contended, roster::Roster};
use crate::{
    agent::Agent,
    fingerprint::Fingerprint,
    session::{Reason, Session},
};

/// How often a person is told that they have too many sessions: whoever signs in again and again is not
/// told each time.
const TOLD_EVERY: Duration = Duration::from_secs(3_600);

impl Sessions {
    /// Prepares a session, for the caller to commit in the batch of whatever begins with it: the
    /// token family of the same sign-in. Where that is refused with a conflict, another sign-in or
    /// request was first, and this is to be called again.
    ///
    /// `tells` makes what has the person told that they were signed out in a browser, because there are
    /// too many. It goes into the same batch, once an hour; `None`: nothing reaches them.
    ///
    /// # Errors
    /// What the store says.
    pub async fn prepare_begin(
        &self,
        realm: &Realm,
        beginning: Beginning,
        tells: impl Fn(Agent) -> Option<Change> + Send,
    ) -> Result<Begun, StoreError> {
        let now = self.node.now();
        let session = self.fresh(realm, &beginning, now);
        let records = self.records.as_ref();
        let roster = repository::load::<Roster>(records, realm, beginning.user.as_str()).await?;

        let (mut prepared, mut crowded_out) = (Prepared::default(), None);
        if let Some(sid) = &beginning.replaces
            && let Some(found) = self.load(realm, sid).await?
            && self.is_alive(realm, &found.value, now)
        {
            prepared = self.ends(realm, &found, &Reason::Replaced, "system", now);
        }
        let listed = roster.as_ref().map(|it| it.value.sessions.as_slice()).unwrap_or_default();
        let mut staying = self.staying(realm, listed, &beginning, now).await?;
        let room = self.limits.most.max(1) - 1;
        for (_, found) in staying.drain(..staying.len().saturating_sub(room)) {
            let awake = self.accesses.is_awake(realm, &found.value, now).await;
            let reason = if awake { Reason::Limit } else { Reason::Idle };
            crowded_out = crowded_out.or(awake.then_some(found.value.binding.agent));
            prepared = prepared.and(self.ends(realm, &found, &reason, "system", now));
        }

        let mut sessions: Vec<_> = staying.into_iter().map(|(_, it)| it.value.id).collect();
        sessions.push(session.id.clone());
        let told_at = roster.as_ref().and_then(|it| it.value.told_at);
        let is_due = told_at.is_none_or(|at| now.since(at) >= TOLD_EVERY);
        let told = crowded_out.filter(|_| is_due).and_then(tells);
        let told_at = told.as_ref().map(|_| now).or(told_at);
        prepared.changes.extend(told);
        let next = Roster { user: beginning.user, sessions, told_at };
        prepared.changes.push(session.put(Expect::Absent));
        prepared.changes.push(match &roster {
            Some(roster) => roster.replace(&next),
            None => next.put(Expect::Absent),
        });
        let mut event = Event::new(
            &self.node,
            realm,
            EventType::SessionCreated,
            [
                ("user_id", json!(session.user)),
                ("session_id", json!(session.id)),
                ("amr", json!(session.standing.amr)),
                ("acr", json!(session.standing.acr)),
            ],
        );
        if let Some(address) = beginning.address {
            event.data.insert("address".to_owned(), json!(address));
        }
        prepared.events.push(event);
        let cookie = self.cookie(realm, &session)?;
        Ok(Begun { session, cookie, prepared })
    }

    /// Begins a session by itself.
    ///
    /// # Errors
    /// What the store says; then no session is known to have begun.
    pub async fn begin(&self, realm: &Realm, beginning: &Beginning) -> Result<Begun, StoreError> {
        for _ in 0..TRIES {
            let mut begun = self.prepare_begin(realm, beginning.clone(), |_| None).await?;
            let prepared = std::mem::take(&mut begun.prepared);
            match self.commit(realm, prepared).await {
                Ok(()) => return Ok(begun),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    fn fresh(&self, realm: &Realm, beginning: &Beginning, now: Timestamp) -> Session {
        let ends = now + self.limits.absolute;
        let mut salt = [0_u8; 16];
        self.node.entropy().fill(&mut salt);
        let id = SessionId::generate(self.epoch, ends, self.node.entropy());
        let fingerprint = if self.limits.danger_ignore_fingerprint {
            Fingerprint::default()
        } else {
            Fingerprint::new(&self.keys, realm, (&id, &salt), &beginning.traits)
        };
        Session {
            id,
            user: beginning.user.clone(),
            salt,
            started: now,
            ends,
            idle_millis: u64::try_from(self.limits.idle.as_millis()).unwrap_or(u64::MAX),
            seen: now,
            binding: beginning.binding,
            fingerprint,
            generation: 0,
            made: now,
            // Nothing works beside the first generation.
            handover: None,
            standing: beginning.standing.clone(),
            data: BTreeMap::new(),
            ended: None,
        }
    }

    /// The sessions of a roster that are alive, without the one that is replaced, least recently
    /// used first.
    async fn staying(
        &self,
        realm: &Realm,
        listed: &[SessionId],
        beginning: &Beginning,
        now: Timestamp,
    ) -> Result<Vec<(Timestamp, Versioned<Session>)>, StoreError> {
        let mut staying = Vec::with_capacity(listed.len());
        for sid in listed.iter().filter(|sid| Some(*sid) != beginning.replaces.as_ref()) {
            if let Some(found) = self.load(realm, sid).await?
                && self.is_alive(realm, &found.value, now)
            {
                staying.push((self.accesses.seen(realm, &found.value).await.last, found));
            }
        }
        staying.sort_by(|(seen, one), (other_seen, other)| {
            (seen, &one.value.id).cmp(&(other_seen, &other.value.id))
        });
        Ok(staying)
    }
}
