//! Verification: strict, without I/O, and fast the second time.
//!
//! A [`Verifier`] is made for one kind of token, so that an ID token cannot pass for an access
//! token even by mistake in the code that calls it (RFC 8725 §3.11, §3.12). What it has verified it
//! remembers for a while, by the whole text of the token. It remembers *that the signature is good
//! and what the claims say*; it re-checks times and the key at every use, and it knows nothing of
//! revocation, which the caller asks [`crate::revocation::View`] about every time.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use serde::Deserialize;
use tegata_core::{Clock, Epoch, KeyId, Timestamp};

use crate::{
    certificate::ClientCertificate,
    claims::Claims,
    foreign::{ForeignRules, Names},
    jws::{Compact, Malformed},
    key::VerifyingKey,
    pairwise::Pairwise,
    status::{ListId, StatusIndex},
};

/// A kind of token, by its `typ` (RFC 8725 §3.11). Sealed: the kinds are those of this module.
pub trait TokenKind: sealed::Sealed + Send + Sync + 'static {
    /// The value of `typ`, compared without regard to case and to a leading `application/`
    /// (RFC 7515 §4.1.9).
    const TYP: &'static str;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! token_kind {
    ($(#[$doc:meta])* $name:ident = $typ:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl TokenKind for $name {
            const TYP: &'static str = $typ;
        }
    };
}

token_kind! {
    /// An access token (RFC 9068 §2.1), of a person, a client or a service.
    AccessToken = "at+jwt"
}
token_kind! {
    /// An access token of another issuer. Which kinds count, its [`ForeignRules`] say.
    ForeignToken = "at+jwt"
}
token_kind! {
    /// What the gateway tells a service about the caller. Never accepted from outside.
    InternalToken = "tegata-internal+jwt"
}
token_kind! {
    /// What goes with a request from service to service and says what it is for
    /// (draft-ietf-oauth-transaction-tokens). Nobody's credential.
    TransactionToken = "txntoken+jwt"
}
token_kind! {
    /// What one system tells another that happened (RFC 8417). It has no `exp` and no `sub`, so no
    /// [`Verifier`] reads it: [`crate::secevent`] does.
    SecurityEvent = "secevent+jwt"
}

/// What a token must say for this verifier to accept it.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The one issuer.
    pub issuer: String,
    /// The audiences, one of which must be in `aud`.
    pub audience: ExpectedAudience,
    /// How far clocks may differ: at most 60 s, which greater values are cut to.
    pub leeway: Duration,
}

/// Which audiences a verifier accepts.
#[derive(Debug, Clone)]
pub enum ExpectedAudience {
    /// One of these must be in `aud`.
    OneOf(Vec<String>),
    /// Whatever is in `aud`. For the issuer's own introspection, which answers for every audience.
    DangerAny,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a token.
    #[error("the token is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// Its `kid` is missing or names no key that counts.
    #[error("the token's key is not known")]
    UnknownKey,
    /// Its `alg` is not that of its key.
    #[error("the token's `alg` is not that of its key")]
    Algorithm,
    /// The signature is not its key's.
    #[error("the token's signature is not valid")]
    Signature,
    /// It is another kind of token.
    #[error("the token is of another kind: its `typ` is not the expected one")]
    Kind,
    /// The claims cannot be read.
    #[error("the token's claims cannot be used: {0}")]
    Claims(&'static str),
    /// Somebody else issued it.
    #[error("the token is from another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// The issuer was restored from a backup after it issued it.
    #[error("the token was issued before the issuer was restored from a backup")]
    Epoch,
    /// It lives longer than its issuer's tokens may, so that it could outlive its being taken back.
    #[error("the token lives longer than tokens of its issuer may")]
    TooLong,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It has not begun, or was issued in the future.
    #[error("the token is not valid yet")]
    NotYet,
}

/// A token that has been verified; `K` is its kind.
#[derive(Debug)]
pub struct Verified<K> {
    claims: Claims,
    /// The claim `sub` as the token has it, where that is not whom it speaks of.
    told: Option<String>,
    key: Arc<VerifyingKey>,
    place: Option<StatusIndex>,
    names: Option<Box<Names>>,
    remember_until: Timestamp,
    kind: PhantomData<K>,
}

impl Verified<ForeignToken> {
    /// The names by which it can have been taken back.
    pub fn names(&self) -> Option<&Names> {
        self.names.as_deref()
    }
}

impl<K> Verified<K> {
    /// What it says.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What the client that it was issued to calls its subject: the claim `sub` as the token has it. To
    /// everybody else, its [claims](Self::claims) say who that is.
    pub fn subject_told(&self) -> &str {
        self.told.as_deref().unwrap_or(&self.claims.sub)
    }

    /// Its place in a status list of its issuer.
    pub const fn place(&self) -> Option<StatusIndex> {
        self.place
    }

    /// The key that signed it.
    pub fn kid(&self) -> &KeyId {
        self.key.kid()
    }
}

/// The keys that count, by name. A small list: it is walked.
#[derive(Debug, Default, Clone)]
pub struct KeySet(Vec<Arc<VerifyingKey>>);

impl KeySet {
    /// A set of these keys. Of two with one name, the first counts.
    #[must_use]
    pub const fn new(keys: Vec<Arc<VerifyingKey>>) -> Self {
        Self(keys)
    }

    /// The key that signed this, whose `typ` must be of a kind that is meant.
    pub(crate) fn signer_of(
        &self,
        compact: &Compact<'_>,
        is_meant: impl Fn(Option<&str>) -> bool,
    ) -> Result<Arc<VerifyingKey>, Refusal> {
        let kid = compact.header.kid.as_deref().ok_or(Refusal::UnknownKey)?;
        let key = self.named(kid).cloned().ok_or(Refusal::UnknownKey)?;
        // RFC 8725 §3.1: the algorithm is the key's. What the token says must agree, and that is all.
        if !key.algorithm().is_called(&compact.header.alg) {
            return Err(Refusal::Algorithm);
        }
        if !is_meant(compact.header.typ.as_deref()) {
            return Err(Refusal::Kind);
        }
        if !key.verifies(compact.signed.as_bytes(), &compact.signature) {
            return Err(Refusal::Signature);
        }
        Ok(key)
    }

    /// The key that a client's token means: the one that it names, or the only one there is, if it is of
    /// this algorithm. A client may publish one key under one name for several.
    pub(crate) fn of_client(&self, kid: Option<&str>, algorithm: &str) -> Option<&VerifyingKey> {
        let kid = match kid {
            Some(kid) => kid,
            None => {
                let (first, others) = self.0.split_first()?;
                let is_one = others.iter().all(|key| key.kid() == first.kid());
                is_one.then_some(first)?.kid().as_str()
            }
        };
        let mut fit = self.0.iter().filter(|key| key.kid().as_str() == kid);
        fit.find(|key| key.algorithm().is_called(algorithm)).map(AsRef::as_ref)
    }

    /// The same without the keys of an algorithm.
    #[must_use]
    pub fn without(mut self, algorithm: crate::Algorithm) -> Self {
        self.0.retain(|key| key.algorithm() != algorithm);
        self
    }

    /// Whether there is a key of this name.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        self.named(kid).is_some()
    }

    /// Whether a certificate is one of its keys'.
    #[must_use]
    pub fn knows(&self, shown: &ClientCertificate) -> bool {
        self.0.iter().any(|key| key.is_of(shown))
    }

    pub(crate) fn named(&self, kid: &str) -> Option<&Arc<VerifyingKey>> {
        self.0.iter().find(|key| key.kid().as_str() == kid)
    }
}

/// How much a [`Verifier`] remembers.
#[derive(Debug, Clone)]
pub struct Memory {
    /// At most so many tokens. 0 remembers nothing.
    pub tokens: usize,
    /// None for longer than this.
    pub longest: Duration,
}

impl Default for Memory {
    fn default() -> Self {
        Self { tokens: 10_000, longest: Duration::from_secs(300) }
    }
}

/// How often the memory helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Tokens that were remembered.
    pub hits: u64,
    /// Tokens that had to be verified.
    pub misses: u64,
}

impl Verifier<ForeignToken> {
    /// A verifier of another issuer's access tokens that knows no key yet. What a token that it
    /// accepts [says](Verified::claims) is in words that are never taken for ours.
    #[must_use]
    pub fn of_another(
        expected: Expected,
        rules: ForeignRules,
        memory: &Memory,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { foreign: Some(rules), ..Self::new(expected, memory, clock) }
    }
}

/// Verifies tokens of kind `K` from one issuer.
pub struct Verifier<K> {
    expected: Expected,
    epoch: Epoch,
    foreign: Option<ForeignRules>,
    pairwise: Option<Arc<Pairwise>>,
    keys: ArcSwap<KeySet>,
    memory: Option<Cache<Arc<str>, Arc<Verified<K>>>>,
    longest: Duration,
    hits: AtomicU64,
    misses: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl<K: TokenKind> Verifier<K> {
    /// A verifier that knows no key yet.
    #[must_use]
    pub fn new(mut expected: Expected, memory: &Memory, clock: Arc<dyn Clock>) -> Self {
        expected.leeway = expected.leeway.min(Duration::from_secs(60));
        Self {
            expected,
            epoch: Epoch(0),
            foreign: None,
            pairwise: None,
            keys: ArcSwap::default(),
            memory: (memory.tokens > 0).then(|| Cache::new(memory.tokens)),
            longest: memory.longest,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            clock,
        }
    }

    /// The same, refusing tokens of the issuer's epochs before this one: a restore of a backup raises
    /// the epoch, and what was issued before is not known any more.
    #[must_use]
    pub const fn since(mut self, epoch: Epoch) -> Self {
        self.epoch = epoch;
        self
    }

    /// The same, knowing of whom tokens speak that hide it from their clients. Whoever does not know it
    /// refuses them: what is taken back of a person could not be seen to be.
    #[must_use]
    pub fn revealing(mut self, pairwise: Arc<Pairwise>) -> Self {
        self.pairwise = Some(pairwise);
        self
    }

    /// Takes over a new set of keys. What a key verified that is not in it does not count any more.
    pub fn use_keys(&self, keys: KeySet) {
        let before = self.keys.swap(Arc::new(keys));
        let now = self.keys.load();
        for old in &before.0 {
            // The set may hold the same key, parsed anew: then the old one retires all the same,
            // and its tokens are verified once more.
            if !now.0.iter().any(|key| Arc::ptr_eq(key, old)) {
                old.withdraw();
            }
        }
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify(&self, token: &str) -> Result<Arc<Verified<K>>, Refusal> {
        let now = self.clock.now();
        if let Some(known) = self.recall(token, now) {
            return known;
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let verified = Arc::new(self.verify_anew(token, now)?);
        self.check_times(&verified.claims, now)?;
        if let Some(memory) = &self.memory {
            memory.insert(token.into(), Arc::clone(&verified));
        }
        Ok(verified)
    }

    /// As [`Self::verify`], of a token that was verified a moment ago. `None`: it was not.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn remembered(&self, token: &str) -> Option<Result<Arc<Verified<K>>, Refusal>> {
        self.recall(token, self.clock.now())
    }

    /// Whether a text is a token that was verified a moment ago, whether it still counts or not: for keeping
    /// it from those whom it is not for. It counts as no use of the memory.
    #[must_use]
    pub fn has_seen(&self, token: &str) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.get(token).is_some())
    }

    fn recall(&self, token: &str, now: Timestamp) -> Option<Result<Arc<Verified<K>>, Refusal>> {
        let memory = self.memory.as_ref()?;
        let known = memory.get(token)?;
        if known.remember_until > now && !known.key.is_withdrawn() {
            return Some(self.check_times(&known.claims, now).map(|()| {
                self.hits.fetch_add(1, Ordering::Relaxed);
                known
            }));
        }
        memory.remove(token);
        None
    }

    /// Whether a token that this verified before still counts: by its times, and by its key. For whoever
    /// remembers what was verified by something else than the token's text.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] where the key is in the set no more, and what the times make of it.
    pub fn still_counts(&self, verified: &Verified<K>) -> Result<(), Refusal> {
        if verified.key.is_withdrawn() {
            return Err(Refusal::UnknownKey);
        }
        self.check_times(&verified.claims, self.clock.now())
    }

    /// Verifies a token without looking at its times, for taking it back: one that has not begun, or
    /// has ended, by a clock that is wrong is to be taken back all the same.
    ///
    /// # Errors
    /// The first other rule that it breaks.
    pub fn danger_verify_at_any_time(&self, token: &str) -> Result<Arc<Verified<K>>, Refusal> {
        // What was verified a moment ago still is what it was, for as long as its key counts.
        let known = self.memory.as_ref().and_then(|memory| memory.get(token));
        match known.filter(|known| !known.key.is_withdrawn()) {
            Some(known) => Ok(known),
            None => self.verify_anew(token, self.clock.now()).map(Arc::new),
        }
    }

    /// Whether a text says that it is a token of this issuer, of any kind. Nothing of it is verified:
    /// this is for keeping credentials from those whom they are not for.
    #[must_use]
    pub fn is_of_issuer(&self, token: &str) -> bool {
        said_issuer(token).is_some_and(|issuer| issuer == self.expected.issuer)
    }

    /// The one issuer whose tokens it verifies.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.expected.issuer
    }

    /// How often the memory helped, since the start.
    #[must_use]
    pub fn memory_use(&self) -> MemoryUse {
        MemoryUse {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    fn verify_anew(&self, token: &str, now: Timestamp) -> Result<Verified<K>, Refusal> {
        let compact = Compact::parse(token)?;
        let key = self.keys.load().signer_of(&compact, |typ| match &self.foreign {
            None => is_kind(typ, K::TYP),
            Some(rules) => rules.kinds.iter().any(|kind| is_kind(typ, kind)),
        })?;
        if self.foreign.as_ref().is_some_and(|it| !it.algorithms.contains(&key.algorithm())) {
            return Err(Refusal::Algorithm);
        }
        let read = if self.foreign.is_some() { Claims::parse_foreign } else { Claims::parse };
        let claims = read(&compact.claims).map_err(Refusal::Claims)?;
        if claims.iss != self.expected.issuer {
            return Err(Refusal::Issuer);
        }
        let meant = match &self.expected.audience {
            ExpectedAudience::OneOf(names) => names.iter().any(|name| claims.aud.contains(name)),
            ExpectedAudience::DangerAny => true,
        };
        if !meant {
            return Err(Refusal::Audience);
        }
        if self.epoch > Epoch(0) && Epoch::leading(&claims.jti).is_none_or(|it| it < self.epoch) {
            return Err(Refusal::Epoch);
        }
        if K::TYP == TransactionToken::TYP && claims.transaction.is_none() {
            return Err(Refusal::Claims("`txn` or `req_wl` is missing, or has no form of ours"));
        }
        let told = claims.veil.is_some().then(|| claims.sub.clone());
        let claims = self.reveal(claims)?;
        let place = self.place(&claims)?;
        let remember_until = (now + self.longest).min(Timestamp::from_secs(claims.exp));
        let (claims, names) = match &self.foreign {
            None => (claims, None),
            Some(rules) => {
                let (claims, names) =
                    rules.translate(&compact.claims, claims, key.kid().as_str())?;
                (claims, Some(Box::new(names)))
            }
        };
        Ok(Verified { claims, told, key, place, names, remember_until, kind: PhantomData })
    }

    /// The claims, saying whom they speak of in truth.
    fn reveal(&self, claims: Claims) -> Result<Claims, Refusal> {
        if claims.veil.is_none() {
            return Ok(claims);
        }
        let revealed = self.pairwise.as_ref().and_then(|pairwise| pairwise.reveal(claims));
        revealed.ok_or(Refusal::Claims("whom it speaks of is hidden; ask the issuer about it"))
    }

    /// The place that the claim `status` names, where the list is one of the issuer's own. A name
    /// that the issuer does not write is refused: nobody could tell what it stands for.
    fn place(&self, claims: &Claims) -> Result<Option<StatusIndex>, Refusal> {
        let Some(entry) = claims.status.as_ref().map(|status| &status.status_list) else {
            return Ok(None);
        };
        let path = entry.uri.strip_prefix(&self.expected.issuer);
        let Some(name) = path.and_then(|path| path.strip_prefix("/status-lists/")) else {
            return Ok(None);
        };
        let list = ListId::parse(name).ok_or(Refusal::Claims("`status` names no list"))?;
        Ok(Some(StatusIndex { list, index: entry.idx }))
    }

    fn check_times(&self, claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
        if now >= Timestamp::from_secs(claims.exp) + self.expected.leeway {
            return Err(Refusal::Expired);
        }
        let begins = claims.nbf.unwrap_or(0).max(claims.iat);
        if now + self.expected.leeway < Timestamp::from_secs(begins) {
            return Err(Refusal::NotYet);
        }
        Ok(())
    }
}

impl<K> std::fmt::Debug for Verifier<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// The issuer that a text names which looks like a token. Nothing of it is verified: this is for
/// finding whose keys it would have to be verified with.
#[must_use]
pub fn said_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issued {
        iss: String,
    }
    let claims = Compact::parse(token).ok()?.claims;
    serde_json::from_slice::<Issued>(&claims).ok().map(|issued| issued.iss)
}

/// Whether `typ` is `kind`: media types are compared without regard to case, and `application/` may
/// be left out (RFC 7515 §4.1.9).
pub(crate) fn is_kind(typ: Option<&str>, kind: &str) -> bool {
    typ.is_some_and(|typ| {
        let bare = match typ.get(..12) {
            Some(prefix) if prefix.eq_ignore_ascii_case("application/") => &typ.get(12..),
            _ => &Some(typ),
        };
        bare.is_some_and(|bare| bare.eq_ignore_ascii_case(kind))
    })
}

#[cfg(test)]
mod tests;
