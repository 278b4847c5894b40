//! Sessions in the store: beginning, presenting, raising and ending them.

use std::{fmt, net::IpAddr, sync::Arc};

use tegata_core::{
    Batch, BoxFuture, CommitRefused, Ephemeral, Epoch, Event, Node, Realm, Records, Secret,
    SessionId, StoreError, Timestamp, UserId, Versioned, port::Change, repository,
};

use crate::{
    binding::Binding,
    fingerprint::{Fingerprint, Traits},
    keys::{self, Keys},
    session::{Limits, Session, Standing, Verdict},
    value::{self, Value},
};

mod accesses;
mod alarm;
mod beginning;
mod data;
mod ending;
mod keeping;
mod listing;
mod presenting;
mod roster;

pub(crate) use accesses::Accesses;
pub use accesses::{ACCESSES, Seen};
use alarm::Alarm;
pub use data::{DataRefused, Expected, Kept, Name};
pub use listing::Piece;
pub use roster::ROSTERS;

/// How often a commit that lost a race is tried again. Each loss means that somebody else made
/// progress, so this bounds only how long one caller can be unlucky.
const TRIES: u32 = 100;

/// The sessions of an installation.
#[derive(Clone)]
pub struct Sessions {
    node: Node,
    epoch: Epoch,
    records: Arc<dyn Records>,
    keys: Keys,
    endings: Arc<dyn Endings>,
    limits: Limits,
    accesses: Arc<Accesses>,
    alarm: Arc<Alarm>,
}

/// Where the end of a session is made known, and heard of. Whoever owns the revocation log gives
/// this.
pub trait Endings: Send + Sync {
    /// Whether this node knows that the session was taken back: by its own name, or with
    /// everything that its person had up to a moment. Asked whenever a session is read, wherever
    /// it was read from, so that none comes back to life.
    fn has_ended(&self, realm: &Realm, session: &Session) -> bool;

    /// Whether what the session's person may do is known to have changed lately, a second factor that was
    /// taken away with it: then the session is served by its latest record alone, which may say less.
    fn has_changed(&self, realm: &Realm, session: &Session) -> bool;

    /// Whether what [`Self::has_ended`] answers is known to be the latest, to within a few seconds.
    /// While it is not, a session is served by its latest record alone.
    fn is_current(&self) -> bool;

    /// Commits `batch` together with the revocation of every one of `ended`. When this answers
    /// `Ok`, all of it is durable, and nothing of these sessions is accepted on this node.
    fn commit(&self, batch: Batch, ended: Vec<Ending>) -> BoxFuture<'_, Result<(), CommitRefused>>;
}

/// A session that ends with a batch: what its entry in the revocation log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Which.
    pub sid: SessionId,
    /// Whose.
    pub user: UserId,
    /// When it ends.
    pub at: Timestamp,
    /// When it would have ended anyway, so that its entry may be forgotten some time later.
    pub until: Timestamp,
    /// Why, in a word.
    pub reason: String,
    /// Who ended it: a user id, a client id, or `system`.
    pub actor: String,
}

/// A session to begin.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The person, who has just proven who they are.
    pub user: UserId,
    /// The browser.
    pub binding: Binding,
    /// What it says of itself.
    pub traits: Traits,
    /// What the session may do, and how that was proven.
    pub standing: Standing,
    /// From where the person came, for the journal. `None`: nobody came.
    pub address: Option<IpAddr>,
    /// The session that the same browser had until now, whoever's it was: it ends. To be known from
    /// the browser's own genuine cookie, or anybody could end anybody's: see
    /// [`Sessions::of_cookie`].
    pub replaces: Option<SessionId>,
}

/// A session that begins when `prepared` is committed.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The session.
    pub session: Session,
    /// The value of its cookie.
    pub cookie: Secret<String>,
    /// What begins it, and ends those that give way to it.
    pub prepared: Prepared,
}

/// What a batch must hold for sessions to begin or end with it.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    /// Changes of records.
    pub changes: Vec<Change>,
    /// Events of the journal.
    pub events: Vec<Event>,
    /// Sessions that end: each needs an entry in the revocation log.
    pub ended: Vec<Ending>,
}

/// A cookie that is presented.
#[derive(Clone, Copy)]
pub struct Presentation<'a> {
    /// The cookie's value.
    pub value: &'a str,
    /// By which browser.
    pub binding: &'a Binding,
    /// What that says of itself.
    pub traits: &'a Traits,
    /// Whether the answer can replace the cookie: only that of a listener on the cookie's host.
    pub rotates: bool,
}

/// A rise of privilege that has just been proven.
#[derive(Debug, Clone)]
pub struct Rise {
    /// What the session may do from now on. To elevate it, set [`Standing::elevated_until`].
    pub standing: Standing,
    /// What must hold besides, in the same batch.
    pub requires: Option<Change>,
}

/// A session that was presented and is served.
#[derive(Debug, Clone)]
pub struct Passage {
    /// The session. Its standing is that of whoever presented it.
    pub session: Session,
    /// The value that the cookie must get with the answer.
    pub cookie: Option<Secret<String>>,
}

/// A session, as its person sees it in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The session.
    pub session: Session,
    /// When it was last used, to about a minute.
    pub last_access: Timestamp,
    /// How often it was used, as far as was counted.
    pub accesses: u64,
}

/// Why a session was not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// The cookie does not count.
    #[error(transparent)]
    Verdict(#[from] Verdict),
    /// The store did not answer: the cookie may be good, and is to be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sessions {
    /// The sessions in `records`, of this epoch. When they were last used is noted in `ephemeral`.
    #[must_use]
    pub fn new(
        node: Node,
        epoch: Epoch,
        records: Arc<dyn Records>,
        ephemeral: Arc<dyn Ephemeral>,
        keys: Keys,
        endings: Arc<dyn Endings>,
        limits: Limits,
    ) -> Self {
        let accesses = Arc::new(Accesses::new(ephemeral, &limits));
        Self { node, epoch, records, keys, endings, limits, accesses, alarm: Arc::default() }
    }

    /// The session with this handle, if it is alive. For those who know it from elsewhere than its
    /// cookie, as from the claim `sid`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn find(
        &self,
        realm: &Realm,
        sid: &SessionId,
    ) -> Result<Option<Session>, StoreError> {
        let now = self.node.now();
        let Some(found) = self.load(realm, sid).await? else { return Ok(None) };
        let session = found.value;
        let alive = self.is_alive(realm, &session, now)
            && self.accesses.is_awake(realm, &session, now).await;
        Ok(alive.then_some(session))
    }

    /// The session with this handle, if it is to be ended: its record says that it goes on. That it is
    /// refused all the same, because nobody knows at the moment whether it was ended, is no reason to say
    /// that it has.
    ///
    /// # Errors
    /// What the store says.
    pub async fn unended(
        &self,
        realm: &Realm,
        sid: &SessionId,
    ) -> Result<Option<Session>, StoreError> {
        let (now, found) = (self.node.now(), self.load(realm, sid).await?);
        let goes_on =
            |session: &Session| session.ended.is_none() && !session.is_over(now, &self.limits);
        Ok(found.map(|found| found.value).filter(goes_on))
    }

    /// The session of a cookie that is genuine, whatever its generation, its standing and whoever
    /// presents it: enough to end it, and for nothing else. `None`: there is none, or the cookie is
    /// not genuine.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of_cookie(
        &self,
        realm: &Realm,
        value: &str,
    ) -> Result<Option<Session>, StoreError> {
        let Ok(value) = Value::parse(value) else { return Ok(None) };
        let found = self.load(realm, &value.sid).await?;
        let genuine = |it: &Session| value.is_genuine(&self.keys, realm, &it.salt);
        Ok(found.map(|found| found.value).filter(genuine))
    }

    /// How many sessions were used at this node so recently that they are not idle, and have not been
    /// ended here. Others may be in use at other nodes, and of very many not all are counted.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.accesses.used_since(self.node.now() - self.limits.idle)
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn load(
        &self,
        realm: &Realm,
        sid: &SessionId,
    ) -> Result<Option<Versioned<Session>>, StoreError> {
        if self.is_from_before(sid) {
            return Ok(None);
        }
        repository::load(self.records.as_ref(), realm, sid.as_str()).await
    }

    /// Whether a session began in an epoch before: a backup was brought back since, and whether the
    /// session had ended by then nobody knows any more.
    fn is_from_before(&self, sid: &SessionId) -> bool {
        Epoch::leading(sid.as_str()).is_none_or(|epoch| epoch < self.epoch)
    }

    /// Whether it has not ended in any way that does not need to know its last use.
    fn is_alive(&self, realm: &Realm, session: &Session, now: Timestamp) -> bool {
        !self.is_from_before(&session.id)
            && session.ended.is_none()
            && !session.is_over(now, &self.limits)
            && !self.endings.has_ended(realm, session)
    }

    /// What somebody says of themselves, so that it can be compared with what the session remembers.
    fn fingerprint(&self, realm: &Realm, session: &Session, traits: &Traits) -> Fingerprint {
        if self.limits.danger_ignore_fingerprint {
            return session.fingerprint;
        }
        session.fingerprint.of(&self.keys, realm, (&session.id, &session.salt), traits)
    }

    /// The value of a session's current generation.
    fn cookie(&self, realm: &Realm, session: &Session) -> Result<Secret<String>, StoreError> {
        let Session { id, salt, generation, .. } = session;
        value::make(&self.keys, realm, id, salt, *generation)
            .ok_or_else(|| keys::missing("session cookies"))
    }
}

impl Prepared {
    /// Adds the changes and events to a batch; answers it with the sessions that end, each of which
    /// needs an entry in the revocation log.
    #[must_use]
    pub fn join(self, batch: Batch) -> (Batch, Vec<Ending>) {
        let batch = self.changes.into_iter().fold(batch, Batch::with);
        (self.events.iter().fold(batch, Batch::journal), self.ended)
    }

    fn and(mut self, other: Self) -> Self {
        self.changes.extend(other.changes);
        self.events.extend(other.events);
        self.ended.extend(other.ended);
        self
    }
}

impl Passage {
    /// Whether sensitive actions are allowed at `at`.
    #[must_use]
    pub fn is_elevated(&self, at: Timestamp) -> bool {
        self.session.standing.is_elevated(at)
    }
}

impl fmt::Debug for Presentation<'_> {
    /// Without the cookie.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presentation")
            .field("binding", &self.binding)
            .field("rotates", &self.rotates)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions(epoch {})", self.epoch)
    }
}

fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "a session changed faster than it could be written".to_owned(),
    }
}
