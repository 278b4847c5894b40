//! Presenting a cookie, and raising what its session may do.

use tegata_core::{
    Batch, CommitRefused, Realm, Secret, SessionId, StoreError, Timestamp, Versioned, repository,
};

use super::{Passage, Presentation, Rise, SessionRefused, Sessions, TRIES, contended};
use crate::{
    fingerprint::Fingerprint,
    session::{Judgement, SESSIONS, Session, Shown, Verdict},
    value::Value,
};

/// Why one attempt led to nothing.
enum Lost {
    /// The record changed under it.
    Race,
    /// It was judged.
    Refused(SessionRefused),
}

impl<E: Into<SessionRefused>> From<E> for Lost {
    fn from(refused: E) -> Self {
        Self::Refused(refused.into())
    }
}

impl From<CommitRefused> for Lost {
    fn from(refused: CommitRefused) -> Self {
        match refused {
            CommitRefused::Conflict { .. } => Self::Race,
            CommitRefused::Store(error) => Self::Refused(error.into()),
        }
    }
}

/// A session that was presented, and what follows: it is served in some way.
struct Judged {
    found: Versioned<Session>,
    fingerprint: Fingerprint,
    judgement: Judgement,
    now: Timestamp,
}

impl Sessions {
    /// Judges a cookie, and does what follows.
    ///
    /// However many present the same cookie at once, on however many nodes, there is one successor,
    /// and all are given it. A copy that shows itself ends the session before this answers.
    ///
    /// # Errors
    /// [`SessionRefused`]. Under [`SessionRefused::Store`], nobody is signed out: the browser keeps
    /// its cookie and tries again.
    pub async fn present(
        &self,
        realm: &Realm,
        presented: &Presentation<'_>,
    ) -> Result<Passage, SessionRefused> {
        self.present_as(realm, presented, false).await
    }

    /// The same for a cookie that something else vouches for: a refresh token of the same session that
    /// counts. An answer was lost then, and with it the cookie's next value, so an earlier one works
    /// until its successor is used, however long that takes.
    ///
    /// # Errors
    /// As [`Self::present`].
    pub async fn present_vouched(
        &self,
        realm: &Realm,
        presented: &Presentation<'_>,
    ) -> Result<Passage, SessionRefused> {
        self.present_as(realm, presented, true).await
    }

    async fn present_as(
        &self,
        realm: &Realm,
        presented: &Presentation<'_>,
        vouched: bool,
    ) -> Result<Passage, SessionRefused> {
        let value = Value::parse(presented.value).map_err(|_| Verdict::Unknown)?;
        for _ in 0..TRIES {
            match self.serve(realm, &value, presented, vouched).await {
                Ok(passage) => return Ok(passage),
                // Somebody else was first: what follows now is judged anew.
                Err(Lost::Race) => {}
                Err(Lost::Refused(refused)) => return Err(refused),
            }
        }
        Err(contended().into())
    }

    /// Raises what the session of a cookie may do: a new generation, which alone may do more.
    ///
    /// To be called *instead of* [`Self::present`] for the request that carries the proof. An
    /// answer that is lost is repaired by proving it again. `None`: what the rise requires does not
    /// hold, and nothing was raised.
    ///
    /// # Errors
    /// As [`Self::present`].
    pub async fn raise(
        &self,
        realm: &Realm,
        presented: &Presentation<'_>,
        rise: &Rise,
    ) -> Result<Option<Passage>, SessionRefused> {
        let value = Value::parse(presented.value).map_err(|_| Verdict::Unknown)?;
        for _ in 0..TRIES {
            let shown = Presentation { rotates: true, ..*presented };
            match self.lift(realm, &value, &shown, rise).await {
                Ok(raised) => return Ok(raised),
                Err(Lost::Race) => {}
                Err(Lost::Refused(refused)) => return Err(refused),
            }
        }
        Err(contended().into())
    }

    /// The cookie to give with an answer that took its time. `None`: none is to be given, or the
    /// session has moved on since, and the value would overwrite a newer one in the browser.
    ///
    /// Whoever waits for something slow between [`Self::present`] and the answer's head asks this
    /// before writing it.
    ///
    /// # Errors
    /// What the store says: then nothing is to be given. The browser is given it again.
    pub async fn settle(
        &self,
        realm: &Realm,
        passage: Passage,
    ) -> Result<Option<Secret<String>>, StoreError> {
        let Some(cookie) = passage.cookie else { return Ok(None) };
        let session = &passage.session;
        Ok(self.is_newest(realm, &session.id, session.generation).await?.then_some(cookie))
    }

    /// Whether a session goes on, and has had no generation after this one: [`Self::settle`] for whoever has
    /// written the cookie's line already.
    ///
    /// # Errors
    /// What the store says. Then nobody knows; nor is anybody given a newer value meanwhile.
    pub async fn is_newest(
        &self,
        realm: &Realm,
        sid: &SessionId,
        generation: u32,
    ) -> Result<bool, StoreError> {
        let found = self.load(realm, sid).await?;
        Ok(found.is_some_and(|found| {
            let session = &found.value;
            session.generation == generation
                && session.ended.is_none()
                && !self.endings.has_ended(realm, session)
        }))
    }

    /// Judges a cookie by the record as it stands now. Refusals, and what follows from them, are
    /// dealt with here.
    async fn judge(
        &self,
        realm: &Realm,
        value: &Value,
        presented: &Presentation<'_>,
        vouched: bool,
    ) -> Result<Judged, Lost> {
        let found = self.load(realm, &value.sid).await?.ok_or(Verdict::Unknown)?;
        if !value.is_genuine(&self.keys, realm, &found.value.salt) {
            return Err(Verdict::Unknown.into());
        }
        if self.endings.has_ended(realm, &found.value) {
            return Err(Verdict::Ended.into());
        }
        let now = self.node.now();
        let fingerprint = self.fingerprint(realm, &found.value, presented.traits);
        let shown = Shown {
            generation: value.generation,
            binding: presented.binding,
            fingerprint: &fingerprint,
            at: now,
            rotates: presented.rotates,
            vouched,
        };
        let judgement = found.value.judge(&shown, &self.limits);
        match judgement {
            // A copy that was used is told of and ended, though what it is of may have slept for long.
            Judgement::Replay => {
                self.end_replayed(realm, &found, now).await?;
                Err(Verdict::Replayed.into())
            }
            Judgement::Refuse(verdict) if verdict.is_final() => Err(verdict.into()),
            // What went unused for too long is over as what has reached its end is: for every value of
            // its cookie, and whoever shows it. A later value would do them no good.
            _ if !self.accesses.is_awake(realm, &found.value, now).await => {
                Err(Verdict::Expired.into())
            }
            Judgement::Refuse(verdict) => {
                self.suspect(realm, &found.value, verdict, now).await?;
                Err(verdict.into())
            }
            _ => Ok(Judged { found, fingerprint, judgement, now }),
        }
    }

    /// Serves a cookie by a record that need not be the latest, where nothing follows from it.
    /// `None`: the latest is to be asked.
    ///
    /// INVARIANT: an old record serves, and never refuses. What ended the session is known from
    /// [`Endings::has_ended`](super::Endings::has_ended), however old the record is, as long as that
    /// is itself up to date.
    async fn serve_at_a_glance(
        &self,
        realm: &Realm,
        value: &Value,
        presented: &Presentation<'_>,
    ) -> Option<Passage> {
        if !self.endings.is_current() || self.is_from_before(&value.sid) {
            return None;
        }
        let found = repository::recent::<Session>(self.records.as_ref(), realm, value.sid.as_str());
        let session = found.await.ok()??.value;
        if !value.is_genuine(&self.keys, realm, &session.salt)
            || self.endings.has_ended(realm, &session)
            || self.endings.has_changed(realm, &session)
        {
            return None;
        }
        let now = self.node.now();
        let fingerprint = self.fingerprint(realm, &session, presented.traits);
        let shown = Shown {
            generation: value.generation,
            binding: presented.binding,
            fingerprint: &fingerprint,
            at: now,
            rotates: presented.rotates,
            vouched: false,
        };
        if session.judge(&shown, &self.limits) != Judgement::Serve
            || session.fingerprint.learn(&fingerprint) != session.fingerprint
            || now.since(session.seen) >= self.limits.rotation
            || !self.accesses.is_awake(realm, &session, now).await
        {
            return None;
        }
        self.accesses.note(realm, &session.id, now).await;
        self.passage(realm, session, value.generation, false).ok()
    }

    async fn serve(
        &self,
        realm: &Realm,
        value: &Value,
        presented: &Presentation<'_>,
        vouched: bool,
    ) -> Result<Passage, Lost> {
        if let Some(passage) = self.serve_at_a_glance(realm, value, presented).await {
            return Ok(passage);
        }
        let Judged { found, fingerprint, judgement, now } =
            self.judge(realm, value, presented, vouched).await?;
        let session = found.value.clone();
        let (next, gives) = match judgement {
            Judgement::Rotate => (session.rotate(now), true),
            Judgement::Repeat => (session, presented.rotates),
            Judgement::Lower => (session.lower(now), true),
            Judgement::Confirm => (session.confirm(now), false),
            // A listener that cannot rotate still leaves a trace once in a rotation.
            _ if now.since(session.seen) >= self.limits.rotation => (session.saw(now), false),
            _ => (session, false),
        };
        // Who holds an earlier value may be somebody else. A hint that is another is no reason to write.
        let is_current = value.generation == found.value.generation;
        let is_written = next != found.value;
        let next = if is_current { next.learn(&fingerprint) } else { next };
        let next = if is_current && is_written { next.follow(&fingerprint) } else { next };
        if next != found.value {
            let batch = Batch::new(realm.clone()).with(found.replace(&next));
            self.records.commit(batch).await?;
        }
        self.accesses.note(realm, &next.id, now).await;
        self.passage(realm, next, value.generation, gives)
    }

    async fn lift(
        &self,
        realm: &Realm,
        value: &Value,
        presented: &Presentation<'_>,
        rise: &Rise,
    ) -> Result<Option<Passage>, Lost> {
        let Judged { found, fingerprint, now, .. } =
            self.judge(realm, value, presented, false).await?;
        let next = found.value.clone().rise(value.generation, rise.standing.clone(), now);
        let next = Session { fingerprint: next.fingerprint.renew(&fingerprint), ..next };
        let batch = Batch::new(realm.clone()).with(found.replace(&next));
        let batch = rise.requires.iter().cloned().fold(batch, Batch::with);
        match self.records.commit(batch).await {
            Err(CommitRefused::Conflict { kind, .. }) if kind != SESSIONS.name => return Ok(None),
            committed => committed?,
        }
        self.accesses.note(realm, &next.id, now).await;
        let generation = next.generation;
        self.passage(realm, next, generation, true).map(Some)
    }

    fn passage(
        &self,
        realm: &Realm,
        mut session: Session,
        shown: u32,
        gives: bool,
    ) -> Result<Passage, Lost> {
        let cookie = if gives { Some(self.cookie(realm, &session)?) } else { None };
        session.standing = session.standing_of(shown).clone();
        Ok(Passage { session, cookie })
    }
}
