//! Families in the store: beginning, refreshing and ending them.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tegata_core::{
    Batch, BoxFuture, ClientId, CommitRefused, Epoch, Event, EventType, Expect, FamilyId, Node,
    Realm, Records, Secret, SessionId, StoreError, Stored, Timestamp, TokenId, UserId, Versioned,
    port::{Change, Page},
    repository,
};

use crate::{
    claims::Scope,
    family::{Access, Binding, Family, Granted, Judgement, Presentation, Verdict},
    refresh::{self, Presented},
    revocation::{
        CLOCK_ERROR, Entry, Holder, LONGEST_ACCESS, Order, Revoker, Target, Withdrawable,
    },
    root::Roots,
    status::{Indexes, StatusIndex},
};

/// How often a commit that lost a race is tried again. Each loss means that somebody else made
/// progress, so this bounds only how long one caller can be unlucky.
const TRIES: u32 = 100;

/// How long tokens live.
#[derive(Debug, Clone)]
pub struct Lifetimes {
    /// Access tokens: 900 s. No longer than [`LONGEST_ACCESS`].
    pub access: Duration,
    /// A family that is not used: 604,800 s.
    pub idle: Duration,
    /// A family, used or not: 30 days.
    pub absolute: Duration,
    /// For how long the generation before is answered again: 10 s. Zero: never.
    pub window: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access: Duration::from_secs(900),
            idle: Duration::from_secs(604_800),
            absolute: Duration::from_secs(30 * 86_400),
            window: Duration::from_secs(10),
        }
    }
}

/// The families of an installation.
#[derive(Clone)]
pub struct Families {
    node: Node,
    epoch: Epoch,
    records: Arc<dyn Records>,
    roots: Arc<Roots>,
    indexes: Indexes,
    revoker: Revoker,
    lifetimes: Lifetimes,
}

/// A family to begin.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The client that it is issued to.
    pub client: ClientId,
    /// The person it speaks of.
    pub user: UserId,
    /// The browser session that it ends with.
    pub session: Option<SessionId>,
    /// When it ends at the latest, if that is earlier than any family would.
    pub ends: Option<Timestamp>,
    /// What its tokens say.
    pub grant: Granted,
    /// The client's or person's end of it.
    pub binding: Binding,
    /// The state of the person's permissions.
    pub authority: u64,
    /// Since when the person's word for it stands: when the code was issued, or when the person was
    /// authenticated. What was taken back up to this moment does not touch the family; what is
    /// taken back later does, also if it happens while the family begins.
    pub authorized: Timestamp,
}

/// Tokens to give out: what the access token says, and the refresh token.
#[derive(Debug, Clone)]
pub struct Issue {
    /// The family, as it is stored.
    pub family: Family,
    /// The refresh token of its current generation.
    pub refresh_token: Secret<String>,
    /// Whether they were given out before.
    pub repeated: bool,
}

/// A refresh to judge.
#[derive(Clone)]
pub struct Refresh<'a> {
    /// The refresh token, as it was presented.
    pub token: &'a str,
    /// The client that presents it, authenticated as it must be.
    pub client: &'a ClientId,
    /// Who presents it.
    pub binding: &'a Binding,
    /// A narrower scope, if one was asked for (RFC 6749 §6).
    pub scope: Option<&'a Scope>,
}

impl std::fmt::Debug for Refresh<'_> {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Refresh(by {})", self.client)
    }
}

/// Why there was no refresh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefreshRefused {
    /// The token does not count: `invalid_grant`.
    #[error(transparent)]
    Verdict(#[from] Verdict),
    /// The scope asked for is wider than what was granted: `invalid_scope`.
    #[error("the scope is wider than what was granted")]
    Scope,
    /// The store did not answer: nothing is known to have happened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why one attempt at a refresh led to nothing.
enum Lost {
    /// The record changed under it.
    Race,
    /// It was judged.
    Refused(RefreshRefused),
}

impl<E: Into<RefreshRefused>> From<E> for Lost {
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

/// What the next generation of a family is made of.
struct Next {
    scope: Scope,
    authority: u64,
    /// What must still be so when it is committed.
    unchanged: Option<Change>,
    at: Timestamp,
}

/// What a person may do now, asked at every refresh.
#[derive(Debug, Clone)]
pub enum Standing {
    /// They may go on.
    Good {
        /// A number that changes whenever their permissions do.
        authority: u64,
        /// What must still be so when the refresh is committed: the version of their record.
        unchanged: Option<Change>,
        /// The most that tokens may be used for now, where that may be less than what was granted:
        /// what the client may still ask for.
        most: Option<Scope>,
    },
    /// They are disabled or gone: the family is ended.
    Gone,
}

/// Whoever knows people's permissions.
pub trait Holders: Send + Sync {
    /// What the holder of a family may do now.
    fn standing<'a>(
        &'a self,
        realm: &'a Realm,
        family: &'a Family,
    ) -> BoxFuture<'a, Result<Standing, StoreError>>;
}

impl Families {
    /// The families in `records`, of this epoch. `roots` are those of the purpose `refresh`.
    #[must_use]
    pub fn new(
        node: Node,
        epoch: Epoch,
        records: Arc<dyn Records>,
        roots: Roots,
        indexes: Indexes,
        revoker: Revoker,
        lifetimes: Lifetimes,
    ) -> Self {
        Self { node, epoch, records, roots: Arc::new(roots), indexes, revoker, lifetimes }
    }

    /// Prepares a family and the change that begins it, for the caller to commit in the batch of
    /// whatever it begins with: the code that is redeemed, the session that is created.
    ///
    /// # Errors
    /// What the store says.
    pub async fn begin(
        &self,
        realm: &Realm,
        beginning: Beginning,
    ) -> Result<(Issue, Change), StoreError> {
        let now = self.node.now();
        let longest = now + self.lifetimes.absolute;
        let ends = beginning.ends.map_or(longest, |ends| ends.min(longest));
        let mut salt = [0_u8; 16];
        self.node.entropy().fill(&mut salt);
        let scope = beginning.grant.scope.clone();
        let access = self.access(realm, scope, now.max(beginning.authorized)).await?;
        let family = Family {
            id: FamilyId::generate(self.epoch, ends, self.node.entropy()),
            client: beginning.client,
            user: beginning.user,
            session: beginning.session,
            salt,
            grant: beginning.grant,
            started: beginning.authorized,
            ends,
            idle_millis: u64::try_from(self.lifetimes.idle.as_millis()).unwrap_or(u64::MAX),
            binding: beginning.binding,
            authority: beginning.authority,
            generation: 0,
            made: now,
            access,
            earlier: Vec::new(),
            ended: None,
        };
        let change = family.put(Expect::Absent);
        Ok((self.issue(realm, family, false)?, change))
    }

    /// Judges a refresh token, and spends it where that follows.
    ///
    /// However many present the same token at once, on however many nodes, there is one successor.
    /// A token that was used twice ends its family before this answers.
    ///
    /// # Errors
    /// [`RefreshRefused`]; under [`RefreshRefused::Store`] the token may be presented again.
    pub async fn refresh(
        &self,
        realm: &Realm,
        asked: &Refresh<'_>,
        holders: &dyn Holders,
    ) -> Result<Issue, RefreshRefused> {
        let presented = Presented::parse(asked.token).map_err(|_| Verdict::Orphan)?;
        // A restore raises the epoch: which of the families from before were spent or ended since
        // the backup is not known, so none of them counts.
        if Epoch::leading(presented.family.as_str()).is_none_or(|epoch| epoch < self.epoch) {
            return Err(Verdict::Revoked.into());
        }
        for _ in 0..TRIES {
            match self.attempt(realm, &presented, asked, holders).await {
                Ok(issue) => return Ok(issue),
                // Somebody else was first: what follows now is judged anew.
                Err(Lost::Race) => {}
                Err(Lost::Refused(refused)) => return Err(refused),
            }
        }
        Err(contended().into())
    }

    /// Ends a family, if it is there and has not ended: all its tokens are refused from then on.
    /// Answers whether this ended it.
    ///
    /// # Errors
    /// What the store says: then it is not known to have ended.
    pub async fn revoke(
        &self,
        realm: &Realm,
        id: &FamilyId,
        order: &Order,
    ) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let found = repository::load(self.records.as_ref(), realm, id.as_str()).await?;
            let Some(found) = found.filter(|found: &Versioned<Family>| found.value.ended.is_none())
            else {
                return Ok(false);
            };
            match self.end(realm, &found, &order.reason, &order.actor, None).await {
                Ok(()) => return Ok(true),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    /// The family of a refresh token that is genuine, whatever its generation and standing.
    /// `None`: there is none, or the token is not genuine.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of_token(
        &self,
        realm: &Realm,
        token: &str,
    ) -> Result<Option<(Family, u32)>, StoreError> {
        let Ok(presented) = Presented::parse(token) else { return Ok(None) };
        match self.load(realm, &presented).await {
            Ok(found) => Ok(Some((found.value, presented.generation))),
            Err(RefreshRefused::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// What an access token with a place of its own says, beginning at `from`.
    async fn access(
        &self,
        realm: &Realm,
        scope: Scope,
        from: Timestamp,
    ) -> Result<Access, StoreError> {
        let iat = from.secs();
        Ok(Access {
            jti: TokenId::generate(self.epoch, self.node.entropy()),
            iat,
            // INVARIANT: what was taken back is kept for so long.
            exp: iat + self.lifetimes.access.min(LONGEST_ACCESS).as_secs(),
            scope,
            status: self.indexes.next(realm).await?,
        })
    }

    async fn load(
        &self,
        realm: &Realm,
        presented: &Presented,
    ) -> Result<Versioned<Family>, RefreshRefused> {
        let records = self.records.as_ref();
        let found = repository::load::<Family>(records, realm, presented.family.as_str()).await?;
        let found = found.ok_or(Verdict::Orphan)?;
        if presented.is_genuine(&self.roots, realm, &found.value.salt) {
            Ok(found)
        } else {
            Err(Verdict::Orphan.into())
        }
    }

    /// Judges a presentation by the record as it stands now, and commits what follows.
    async fn attempt(
        &self,
        realm: &Realm,
        presented: &Presented,
        asked: &Refresh<'_>,
        holders: &dyn Holders,
    ) -> Result<Issue, Lost> {
        let found = self.load(realm, presented).await?;
        let standing = holders.standing(realm, &found.value).await?;
        let Standing::Good { authority, unchanged, most } = standing else {
            if found.value.ended.is_none() {
                self.end(realm, &found, "holder_gone", "system", None).await?;
            }
            return Err(Verdict::Revoked.into());
        };
        let now = self.node.now();
        let judgement = found.value.judge(&Presentation {
            generation: presented.generation,
            client: asked.client,
            binding: asked.binding,
            authority,
            at: now,
            window: self.lifetimes.window,
        });
        match judgement {
            Judgement::Refuse(verdict) => Err(verdict.into()),
            Judgement::Replay => Ok(self.issue(realm, found.value, true)?),
            Judgement::Reuse => {
                let reused = Verdict::Reused;
                self.end(realm, &found, reused.name(), "system", Some(reused)).await?;
                Err(reused.into())
            }
            Judgement::Spend => {
                let granted = &found.value.grant.scope;
                let granted =
                    most.map_or_else(|| granted.clone(), |most| granted.narrowed_to(&most));
                let scope = match asked.scope {
                    Some(scope) if granted.covers(scope) => scope.clone(),
                    Some(_) => return Err(RefreshRefused::Scope.into()),
                    None => granted,
                };
                let next = Next { scope, authority, unchanged, at: now };
                self.spend(realm, found, asked.binding, next).await
            }
        }
    }

    async fn spend(
        &self,
        realm: &Realm,
        found: Versioned<Family>,
        binding: &Binding,
        Next { scope, authority, unchanged, at: now }: Next,
    ) -> Result<Issue, Lost> {
        let access = self.access(realm, scope, now.max(found.value.started)).await?;
        let (next, given_way) = found.value.clone().spend(access, binding.clone(), authority, now);
        let mut batch = Batch::new(realm.clone()).with(found.replace(&next));
        batch.changes.extend(unchanged);
        let entries = given_way
            .into_iter()
            .map(|gone| {
                let (target, last) = (Target::Token(gone.jti), Timestamp::from_secs(gone.exp));
                self.entry(target, vec![gone.status], (now, last), "superseded", "system")
            })
            .collect();
        self.revoker.commit(batch, entries).await?;
        Ok(self.issue(realm, next, false)?)
    }

    async fn end(
        &self,
        realm: &Realm,
        found: &Versioned<Family>,
        reason: &str,
        actor: &str,
        verdict: Option<Verdict>,
    ) -> Result<(), CommitRefused> {
        let now = self.node.now();
        // While this clock is ahead, the living look dead.
        let alive: Vec<_> = found.value.alive(now - CLOCK_ERROR).collect();
        let places = alive.iter().map(|access| access.status).collect();
        let last = alive.iter().map(|access| access.exp).max().unwrap_or_default();
        let last = Timestamp::from_secs(last);
        let ended = found.value.clone().end(reason, now);
        let mut event = Event::new(
            &self.node,
            realm,
            EventType::FamilyRevoked,
            [
                ("family", json!(ended.id)),
                ("user_id", json!(ended.user)),
                ("client_id", json!(ended.client)),
                ("session_id", json!(ended.session)),
                ("reason", json!(reason)),
                ("actor", json!(actor)),
            ],
        );
        if let Some(verdict) = verdict {
            event.data.insert("verdict".to_owned(), json!(verdict.name()));
        }
        // Refreshing asks the record; the entry is for the access tokens, and lives as long.
        let target = Target::Family(ended.id.clone());
        let mut entries = vec![self.entry(target, places, (now, last), reason, actor)];
        let mut batch = Batch::new(realm.clone()).with(found.replace(&ended)).journal(&event);
        // Somebody has a copy of what the browser had: its session is not to be trusted either.
        if let (Some(_), Some(sid)) = (verdict, &ended.session) {
            let target = Target::Session(sid.clone());
            let mut entry = self.entry(target, Vec::new(), (now, last), reason, actor);
            entry.until = entry.until.max(ended.ends + self.lifetimes.access);
            entries.push(entry);
            let data = [
                ("user_id", json!(ended.user)),
                ("session_id", json!(sid)),
                ("reason", json!(reason)),
            ];
            let kind = EventType::SessionEnded;
            batch = batch.journal(&Event::new(&self.node, realm, kind, data));
        }
        self.revoker.commit(batch, entries).await
    }

    /// What takes back tokens of which the last dies at `last`.
    fn entry(
        &self,
        target: Target,
        places: Vec<StatusIndex>,
        (at, last): (Timestamp, Timestamp),
        reason: &str,
        actor: &str,
    ) -> Entry {
        // Twice the life of an access token: clocks may differ, and it is cheap. No less than what
        // the tokens say themselves, which may have been issued when they lived longer.
        let until = last.max(at) + self.lifetimes.access * 2;
        let (reason, actor) = (reason.to_owned(), actor.to_owned());
        Entry { target, places, at, until, reason, actor }
    }

    fn issue(&self, realm: &Realm, family: Family, repeated: bool) -> Result<Issue, StoreError> {
        let refresh_token =
            refresh::make(&self.roots, realm, &family.id, &family.salt, family.generation);
        let refresh_token = refresh_token.ok_or_else(|| StoreError::Misused {
            detail: "there is no root secret for refresh tokens".to_owned(),
        })?;
        Ok(Issue { family, refresh_token, repeated })
    }
}

impl std::fmt::Debug for Families {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Families(epoch {})", self.epoch)
    }
}

fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "a family changed faster than it could be written".to_owned(),
    }
}

impl Withdrawable for Families {
    fn kind(&self) -> &'static str {
        "families"
    }

    fn withdraw<'a>(
        &'a self,
        realm: &'a Realm,
        holder: &'a Holder,
        order: &'a Order,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        let (index, value) = match holder {
            Holder::User(user) => ("user", user.as_str()),
            Holder::Client(client) => ("client", client.as_str()),
            Holder::Session(session) => ("session", session.as_str()),
        };
        Box::pin(async move {
            let mut page = Page { after: None, limit: 500 };
            let mut count = 0;
            loop {
                let records = self.records.as_ref();
                let found =
                    repository::find::<Family>(records, realm, index, value, page.clone()).await?;
                for family in &found {
                    count += u64::from(self.revoke(realm, &family.value.id, order).await?);
                }
                match found.last() {
                    Some(last) => page.after = Some(last.value.id.as_str().to_owned()),
                    None => return Ok(count),
                }
            }
        })
    }
}
