//! Families in the store: beginning, refreshing and ending them.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{
    Batch, BoxFuture, ClientId, CommitRefused, Epoch, Expect, FamilyId, KeyId, Node, Realm,
    Records, Secret, SessionId, StoreError, Stored, Timestamp, TokenId, UserId, Versioned,
    port::Change, repository,
};

use crate::{
    claims::Scope,
    details::Details,
    family::{Access, Binding, Family, Granted, Judgement, Presentation, Verdict},
    narrowed::{Narrowed, Wider},
    refresh::{self, Presented},
    revocation::{LONGEST_ACCESS, Revoker, Target},
    root::Roots,
    status::Indexes,
};

mod ending;
mod listing;

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
    /// The browser session that it began in, where it outlives that.
    pub began_in: Option<SessionId>,
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
    /// The second in which its client was looked up, where it was: what it gets begins no later, so that
    /// whoever removes the client meanwhile takes this back, too.
    pub as_of: Option<u64>,
    /// The key that is to sign its access token, where that is known.
    pub kid: Option<KeyId>,
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
    /// The name that they give to the request, so that an answer that is lost can be asked for again
    /// however late. Nobody else must be able to guess it.
    pub attempt: Option<&'a str>,
    /// What is asked for, where it is not all.
    pub narrowed: &'a Narrowed,
    /// Whether the token is spent and another follows it. Where not, it must be bound to a key or to
    /// an authenticated client (RFC 9700 §4.14.2).
    pub rotates: bool,
    /// As [`Beginning::as_of`].
    pub as_of: Option<u64>,
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
    /// More was asked for than was granted.
    #[error(transparent)]
    Wider(#[from] Wider),
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
    audience: Option<Vec<String>>,
    details: Option<Details>,
    /// What it says from now on, where that is not what it said.
    grant: Option<Granted>,
    rotates: bool,
    as_of: Option<u64>,
    attempt: Option<String>,
    authority: u64,
    /// What must still be so when it is committed.
    unchanged: Option<Change>,
    kid: Option<KeyId>,
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
        /// What their tokens say from now on, where what was granted says more of how they were
        /// authenticated than is so, or not of which sector its client is. It grants the same.
        lowered: Option<Box<Granted>>,
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

    /// The key that is to sign the access token, where that is known. What another key signed is not given
    /// again: one name must not stand in tokens of two keys, of which one may be taken back.
    fn signer(&self) -> Option<KeyId> {
        None
    }
}

impl Families {
    /// How long a family can live at most.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        self.lifetimes.absolute
    }

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
        self.begin_with(realm, beginning, Narrowed::default()).await
    }

    /// The same where the first access token says less than what is granted. Whoever calls this has
    /// checked that it is less ([`Narrowed::check`]).
    ///
    /// # Errors
    /// What the store says.
    pub async fn begin_with(
        &self,
        realm: &Realm,
        beginning: Beginning,
        narrowed: Narrowed,
    ) -> Result<(Issue, Change), StoreError> {
        let now = self.node.now();
        let longest = now + self.lifetimes.absolute;
        let ends = beginning.ends.map_or(longest, |ends| ends.min(longest));
        let mut salt = [0_u8; 16];
        self.node.entropy().fill(&mut salt);
        let Narrowed { scope, audience, details } = narrowed;
        let scope = scope.unwrap_or_else(|| beginning.grant.scope.clone());
        let from = since(beginning.as_of, now, beginning.authorized);
        let user = &beginning.user;
        let id = FamilyId::generate(self.epoch, ends, self.node.entropy());
        let access = self.access(realm, &id, user, scope, from).await?;
        let access = Access { audience, details, kid: beginning.kid, ..access };
        let family = Family {
            id,
            client: beginning.client,
            user: beginning.user,
            session: beginning.session,
            began_in: beginning.began_in,
            salt,
            grant: beginning.grant,
            started: beginning.authorized,
            ends,
            idle_millis: u64::try_from(self.lifetimes.idle.as_millis()).unwrap_or(u64::MAX),
            binding: beginning.binding,
            authority: beginning.authority,
            generation: 0,
            made: now,
            attempt: None,
            access,
            used: None,
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
        if self.is_from_before(&presented) {
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

    /// The family of a refresh token that is genuine, whatever its generation and standing.
    /// `None`: there is none, or the token is not genuine, or is from before a restore.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of_token(
        &self,
        realm: &Realm,
        token: &str,
    ) -> Result<Option<(Family, u32)>, StoreError> {
        let Ok(presented) = Presented::parse(token) else { return Ok(None) };
        if self.is_from_before(&presented) {
            return Ok(None);
        }
        match self.load(realm, &presented).await {
            Ok(found) => Ok(Some((found.value, presented.generation))),
            Err(RefreshRefused::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The browser session of a refresh token that would be answered with tokens if it were presented
    /// now by this client: it is unspent, or was spent by this very attempt. `None`: the token is not
    /// such a one, or its family is of no session.
    ///
    /// # Errors
    /// What the store says.
    pub async fn session_of(
        &self,
        realm: &Realm,
        token: &str,
        client: &ClientId,
        binding: &Binding,
        attempt: &str,
    ) -> Result<Option<SessionId>, StoreError> {
        let Some((family, generation)) = self.of_token(realm, token).await? else {
            return Ok(None);
        };
        let attempt = named(attempt);
        let spent_so = family.attempt.as_deref() == Some(attempt.as_str());
        let judged = family.judge(&Presentation {
            generation,
            client,
            binding,
            attempt: Some(&attempt),
            authority: family.authority,
            at: self.node.now(),
            window: self.lifetimes.window,
        });
        let vouches = match judged {
            Judgement::Spend => true,
            Judgement::Replay | Judgement::Renew => spent_so,
            Judgement::Refuse(_) | Judgement::Reuse => false,
        };
        Ok(family.session.filter(|_| vouches))
    }

    /// Whether a token is from before a restore, which raises the epoch: which of the families from
    /// before were spent or ended since the backup is not known, so none of them counts.
    fn is_from_before(&self, presented: &Presented) -> bool {
        Epoch::leading(presented.family.as_str()).is_none_or(|epoch| epoch < self.epoch)
    }

    /// What an access token with a place of its own says, beginning at `from`, or when it is not
    /// covered by what was taken back of this user.
    async fn access(
        &self,
        realm: &Realm,
        family: &FamilyId,
        user: &UserId,
        scope: Scope,
        from: Timestamp,
    ) -> Result<Access, StoreError> {
        let earliest = self.revoker.view().realm(realm).earliest_token(user.as_str());
        let iat = from.secs().max(earliest);
        Ok(Access {
            jti: TokenId::of_family(family, self.node.entropy()),
            iat,
            // INVARIANT: what was taken back is kept for so long.
            exp: iat + self.lifetimes.access.min(LONGEST_ACCESS).as_secs(),
            scope,
            audience: None,
            details: None,
            status: self.indexes.next(realm).await?,
            kid: None,
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
        let Standing::Good { authority, unchanged, most, lowered } = standing else {
            if found.value.ended.is_none() {
                self.end(realm, &found, "holder_gone", "system", None).await?;
            }
            return Err(Verdict::Revoked.into());
        };
        let now = self.node.now();
        let attempt = asked.attempt.map(named);
        let judgement = found.value.judge(&Presentation {
            generation: presented.generation,
            client: asked.client,
            binding: asked.binding,
            attempt: attempt.as_deref(),
            authority,
            at: now,
            window: self.lifetimes.window,
        });
        let kid = holders.signer();
        let judgement = match judgement {
            Judgement::Replay if found.value.is_of_another_key(kid.as_ref()) => Judgement::Renew,
            judgement => judgement,
        };
        match judgement {
            Judgement::Refuse(verdict) => Err(verdict.into()),
            // Whoever asks for something else than the token before them has seen no answer to this.
            Judgement::Replay if !asked.narrowed.is_of(&found.value) => Err(Verdict::Stale.into()),
            Judgement::Replay => Ok(self.issue(realm, found.value, true)?),
            Judgement::Reuse => {
                let reused = Verdict::Reused;
                self.end(realm, &found, reused.name(), "system", Some(reused)).await?;
                Err(reused.into())
            }
            Judgement::Spend | Judgement::Renew => {
                let granted = &found.value.grant.scope;
                let granted =
                    most.map_or_else(|| granted.clone(), |most| granted.narrowed_to(&most));
                asked.narrowed.check(&found.value.grant, &granted)?;
                let Narrowed { scope, audience, details } = asked.narrowed.clone();
                let scope = scope.unwrap_or(granted);
                let rotates = asked.rotates && judgement == Judgement::Spend;
                let next = Next {
                    scope,
                    audience,
                    details,
                    grant: lowered.map(|lowered| *lowered),
                    rotates,
                    as_of: asked.as_of,
                    attempt,
                    authority,
                    unchanged,
                    kid,
                    at: now,
                };
                self.spend(realm, found, asked.binding, next).await
            }
        }
    }

    async fn spend(
        &self,
        realm: &Realm,
        found: Versioned<Family>,
        binding: &Binding,
        next: Next,
    ) -> Result<Issue, Lost> {
        let Next { scope, audience, details, rotates, attempt, authority, unchanged, kid, .. } =
            next;
        let now = next.at;
        let from = since(next.as_of, now, found.value.started);
        let user = &found.value.user;
        let access = self.access(realm, &found.value.id, user, scope, from).await?;
        let access = Access { audience, details, kid, ..access };
        let (mut family, binding) = (found.value.clone(), binding.clone());
        family.grant = next.grant.unwrap_or(family.grant);
        let (next, given_way) = if rotates {
            let (next, given_way) = family.spend(access, binding, authority, now);
            (Family { attempt, ..next }, given_way)
        } else {
            family.renew(access, binding, authority, now)
        };
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

/// When a token begins of what was authorized at a moment: now, or when its client was looked up.
fn since(as_of: Option<u64>, now: Timestamp, authorized: Timestamp) -> Timestamp {
    as_of.map_or(now, Timestamp::from_secs).max(authorized)
}

/// What is kept of the name of a request.
fn named(attempt: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, attempt.as_bytes()))
}

fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "a family changed faster than it could be written".to_owned(),
    }
}
