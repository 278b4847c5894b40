//! Key rings: for each algorithm a key that signs, the next one already published, and those that
//! still verify.
//!
//! ```text
//!           publish          rotate            tokens have died
//! generate ─────────▶ next ─────────▶ current ─────────▶ previous ─────────▶ retired
//!                                      ▲ import
//! ```
//!
//! A key signs only after verifiers have had time to fetch it, and stops verifying only after the
//! last token that it signed has died, so rotation fails no verification. Its private half is wiped
//! the moment it stops signing. Where a vault has that, it is destroyed when the key is retired: until
//! then, another node that has not heard of the rotation may still sign with it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use tegata_core::{KeyId, Kind, Lifetime, Stored, Timestamp, port::Vault};
use zeroize::Zeroize as _;

use crate::{
    Algorithm,
    key::{Jwk, KeyRefused, SigningKey},
};

mod state;

pub use state::{KeyState, RotationRules};

/// Where key rings are stored: one record for each algorithm.
pub static KEY_RINGS: Kind =
    Kind { name: "key_ring", indexes: &[], lifetime: Lifetime::Kept, secret: true };

/// How many retired keys a ring remembers. They verify nothing but ID tokens that come back as a hint.
const RETIRED_KEPT: usize = 24;

/// The keys of one algorithm.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ring {
    algorithm: String,
    keys: Vec<RingKey>,
}

/// A key of a ring.
#[derive(Clone, Serialize, Deserialize)]
pub struct RingKey {
    /// Its name.
    pub kid: KeyId,
    /// Its public half.
    pub jwk: Jwk,
    /// Where it is in its life.
    pub state: KeyState,
    // PKCS#8, while it signs or is about to, unless a vault has it.
    private: Option<Vec<u8>>,
    // How a vault finds the private half, until it is destroyed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Vec<u8>>,
    // Whether it is retired because its tokens had died, and not because somebody else had it.
    #[serde(default)]
    outlived: bool,
}

/// Why a ring was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingRefused {
    /// Verifiers may not have seen the next key yet.
    #[error(
        "the next {algorithm} key has not been published for long enough: verifiers that keep the \
         key set may not know it before {until}; wait, or force the rotation if you know that they do"
    )]
    TooSoon {
        /// Which ring.
        algorithm: String,
        /// From when it is safe.
        until: Timestamp,
    },
    /// The key still has something to do.
    #[error("key `{kid}` is {state} and cannot be retired: {advice}")]
    InUse {
        /// Which key.
        kid: KeyId,
        /// Its state.
        state: &'static str,
        /// What to do instead, or from when it is safe.
        advice: String,
    },
    /// The key that signs has not done so for long enough. Another node was faster, mostly.
    #[error("the {0} key that signs is not due to be replaced")]
    NotDue(String),
    /// There is no ring of this algorithm.
    #[error(
        "`{0}` is not among `algorithms` of `[keys]`, so a key of it would neither sign nor be \
         published; add it there, start again, and repeat this"
    )]
    Unused(Algorithm),
    /// There is no such key in the ring.
    #[error("there is no key `{0}`; `tegata key list` names them")]
    Unknown(KeyId),
    /// The key is in the ring already.
    #[error("there already is a key `{0}`; give the imported one another name with `--kid`")]
    Exists(KeyId),
    /// Keys are made in a vault and never leave it, so none comes from elsewhere.
    #[error(
        "signing keys are made in the token and never leave it (`signing` of `[keys.pkcs11]`), so none \
         is taken from a file: one that was in a file has been outside"
    )]
    MadeInVault,
    /// The key is for another ring, or cannot be stored.
    #[error(transparent)]
    Key(#[from] KeyRefused),
}

impl Ring {
    /// A ring whose first key signs at once: nobody has fetched a key set yet.
    ///
    /// # Errors
    /// [`RingRefused::Key`] where a key is of another algorithm.
    pub fn new(
        current: &SigningKey,
        next: &SigningKey,
        now: Timestamp,
    ) -> Result<Self, RingRefused> {
        let mut ring = Self { algorithm: current.algorithm().name().to_owned(), keys: vec![] };
        ring.add(current, KeyState::Current { since: now })?;
        ring.add(next, KeyState::Next { published: now })?;
        Ok(ring)
    }

    /// The ring's algorithm. `None`: it was written by a newer program.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm.parse().ok()
    }

    /// All keys, oldest first, the retired ones included.
    #[must_use]
    pub fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    /// The ring with its next key signing, and `fresh` published as the one after.
    ///
    /// # Errors
    /// [`RingRefused::TooSoon`], unless `danger_force`.
    pub fn rotate(
        mut self,
        fresh: &SigningKey,
        now: Timestamp,
        rules: RotationRules,
        danger_force: bool,
    ) -> Result<Self, RingRefused> {
        if !danger_force {
            self.check_rotation(now, rules)?;
        }
        // Where the one that was next signs already, because the one before it was expelled while none
        // could be made, there is only one to be published.
        if self.next_published().is_none() {
            self.add(fresh, KeyState::Next { published: now })?;
            return Ok(self);
        }
        self.step_down(now, rules);
        self.promote(now);
        self.add(fresh, KeyState::Next { published: now })?;
        Ok(self)
    }

    /// Whether the next key has been published for long enough to sign.
    ///
    /// # Errors
    /// [`RingRefused::TooSoon`] says from when it has.
    pub fn check_rotation(&self, now: Timestamp, rules: RotationRules) -> Result<(), RingRefused> {
        match self.next_published().map(|at| at + rules.published_for) {
            Some(until) if until > now => {
                let algorithm = self.algorithm.clone();
                Err(RingRefused::TooSoon { algorithm, until })
            }
            _ => Ok(()),
        }
    }

    /// Whether the key that signs has done so for long enough by itself, and the next one may; or there
    /// is no next one.
    #[must_use]
    pub fn is_due(&self, now: Timestamp, rules: RotationRules) -> bool {
        let long_enough = |key: &RingKey| match (key.state, rules.signs_for) {
            (KeyState::Current { since }, Some(span)) => since + span <= now,
            _ => false,
        };
        let signs = |key: &RingKey| matches!(key.state, KeyState::Current { .. });
        let is_time = self.keys.iter().any(long_enough) || !self.keys.iter().any(signs);
        // Of one that was expelled while no other could be made, the place is empty.
        self.next_published().is_none() || (is_time && self.check_rotation(now, rules).is_ok())
    }

    /// The ring with its next key signing, if it is time for that.
    ///
    /// # Errors
    /// [`RingRefused::NotDue`].
    pub fn rotate_due(
        self,
        fresh: &SigningKey,
        now: Timestamp,
        rules: RotationRules,
    ) -> Result<Self, RingRefused> {
        if !self.is_due(now, rules) {
            return Err(RingRefused::NotDue(self.algorithm));
        }
        self.rotate(fresh, now, rules, false)
    }

    /// The ring with a key from elsewhere signing. Verifiers of the other issuer know it already,
    /// which is why it need not be published first.
    ///
    /// # Errors
    /// [`RingRefused::Exists`], [`RingRefused::Key`].
    pub fn import(
        mut self,
        key: &SigningKey,
        now: Timestamp,
        rules: RotationRules,
    ) -> Result<Self, RingRefused> {
        self.step_down(now, rules);
        self.add(key, KeyState::Current { since: now })?;
        Ok(self)
    }

    /// The ring without a key that has nothing to do any more.
    ///
    /// # Errors
    /// [`RingRefused::InUse`] says from when it is safe.
    pub fn retire(mut self, kid: &KeyId, now: Timestamp) -> Result<Self, RingRefused> {
        let key = self.named(kid)?;
        let in_use = |advice: String| {
            Err(RingRefused::InUse { kid: kid.clone(), state: key.state.name(), advice })
        };
        match key.state {
            KeyState::Next { .. } => in_use("it signs after the next rotation".to_owned()),
            KeyState::Current { .. } => in_use("rotate first".to_owned()),
            KeyState::Previous { until } if until > now => {
                in_use(format!("tokens that it signed may be alive until {until}"))
            }
            KeyState::Previous { .. } => {
                key.outlive(now);
                self.forget();
                Ok(self)
            }
            KeyState::Retired { .. } => Ok(self),
        }
    }

    /// The ring without a key that somebody else has: it is retired at once, whatever it signed.
    /// If it was signing, the next key takes over and `fresh` is published. Without a fresh one, because
    /// what makes them is away, the next rotation publishes one.
    ///
    /// # Errors
    /// [`RingRefused::Unknown`], [`RingRefused::Key`].
    pub fn expel(
        mut self,
        kid: &KeyId,
        fresh: Option<&SigningKey>,
        now: Timestamp,
        rules: RotationRules,
    ) -> Result<Self, RingRefused> {
        let state = self.named(kid)?.state;
        if matches!(state, KeyState::Current { .. }) {
            self.step_down(now, rules);
            self.promote(now);
        }
        if let Some(fresh) = fresh
            && matches!(state, KeyState::Current { .. } | KeyState::Next { .. })
        {
            self.add(fresh, KeyState::Next { published: now })?;
        }
        self.named(kid)?.expel(now);
        self.forget();
        Ok(self)
    }

    /// The ring with new keys in place of all that it has, which are retired at once, whatever they signed.
    /// In a vault, those of before stay.
    ///
    /// # Errors
    /// [`RingRefused::Key`].
    pub fn renewed(
        mut self,
        current: &SigningKey,
        next: &SigningKey,
        now: Timestamp,
    ) -> Result<Self, RingRefused> {
        for key in &mut self.keys {
            key.expel(now);
            // INVARIANT: what a vault held before is never destroyed from here. A ring is renewed in what
            // was brought back from a backup, and where that is a copy, another installation signs with
            // the same keys of the same vault.
            key.held = None;
        }
        self.forget();
        self.add(current, KeyState::Current { since: now })?;
        self.add(next, KeyState::Next { published: now })?;
        Ok(self)
    }

    /// The ring with keys retired whose tokens have died. `None`: there are none.
    #[must_use]
    pub fn tidy(mut self, now: Timestamp) -> Option<Self> {
        let mut changed = false;
        for key in &mut self.keys {
            if matches!(key.state, KeyState::Previous { until } if until <= now) {
                key.outlive(now);
                changed = true;
            }
        }
        self.forget();
        changed.then_some(self)
    }

    /// The key that signs, whose private half is here or in `vault`.
    ///
    /// # Errors
    /// [`KeyRefused`] where the stored key cannot be read, or its vault is not given.
    pub fn signer(&self, vault: Option<&Arc<dyn Vault>>) -> Result<Option<SigningKey>, KeyRefused> {
        let current = |key: &&RingKey| matches!(key.state, KeyState::Current { .. });
        let Some(key) = self.keys.iter().find(current) else { return Ok(None) };
        if let Some(handle) = &key.held {
            let vault = vault.ok_or_else(|| KeyRefused::NoVault(key.kid.clone()))?;
            return SigningKey::held(vault, handle.clone(), &key.jwk).map(Some);
        }
        let Some(private) = &key.private else { return Ok(None) };
        SigningKey::from_pkcs8(private, self.algorithm(), Some(key.kid.clone())).map(Some)
    }

    /// What a vault is to destroy: private halves of keys that are retired. `None`: nothing.
    #[must_use]
    pub fn to_destroy(&self) -> Option<Vec<Vec<u8>>> {
        let retired = self.keys.iter().filter(|key| !key.state.is_published());
        let handles: Vec<_> = retired.filter_map(|key| key.held.clone()).collect();
        (!handles.is_empty()).then_some(handles)
    }

    /// The ring that knows of these that they were destroyed.
    #[must_use]
    pub fn destroyed(mut self, handles: &[Vec<u8>]) -> Self {
        for key in self.keys.iter_mut().filter(|key| !key.state.is_published()) {
            key.held.take_if(|held| handles.contains(held));
        }
        self
    }

    fn next_published(&self) -> Option<Timestamp> {
        self.keys.iter().find_map(|key| match key.state {
            KeyState::Next { published } => Some(published),
            _ => None,
        })
    }

    /// The next key signs.
    fn promote(&mut self, now: Timestamp) {
        for key in &mut self.keys {
            if matches!(key.state, KeyState::Next { .. }) {
                key.state = KeyState::Current { since: now };
            }
        }
    }

    /// The key that signs stops, and its private half is forgotten.
    fn step_down(&mut self, now: Timestamp, rules: RotationRules) {
        for key in &mut self.keys {
            if matches!(key.state, KeyState::Current { .. }) {
                key.state = KeyState::Previous { until: now + rules.verifies_for };
                key.private.zeroize();
            }
        }
    }

    fn add(&mut self, key: &SigningKey, state: KeyState) -> Result<(), RingRefused> {
        if self.algorithm != key.algorithm().name() {
            return Err(KeyRefused::WrongAlgorithm(key.algorithm()).into());
        }
        if self.keys.iter().any(|known| known.kid == *key.kid()) {
            return Err(RingRefused::Exists(key.kid().clone()));
        }
        let held = key.handle().map(<[u8]>::to_vec);
        let private = match &held {
            Some(_) => None,
            None => Some(key.to_pkcs8()?.expose().clone()),
        };
        let (kid, jwk) = (key.kid().clone(), key.jwk().clone());
        self.keys.push(RingKey { kid, jwk, state, private, held, outlived: false });
        Ok(())
    }

    /// Drops the oldest of too many retired keys, but for those that a vault has yet to destroy.
    fn forget(&mut self) {
        let retired = self.keys.iter().filter(|key| !key.state.is_published()).count();
        let mut surplus = retired.saturating_sub(RETIRED_KEPT);
        self.keys.retain(|key| {
            let goes = surplus > 0 && !key.state.is_published() && key.held.is_none();
            surplus -= usize::from(goes);
            !goes
        });
    }

    fn named(&mut self, kid: &KeyId) -> Result<&mut RingKey, RingRefused> {
        let named = self.keys.iter_mut().find(|key| key.kid == *kid);
        named.ok_or_else(|| RingRefused::Unknown(kid.clone()))
    }
}

impl RingKey {
    /// Whether what it signed may be believed to be from here, however old it is: it is published, or
    /// was retired when its tokens had died.
    #[must_use]
    pub const fn is_remembered(&self) -> bool {
        self.state.is_published() || self.outlived
    }

    /// Whether its private half is in a vault.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Its tokens have died.
    fn outlive(&mut self, now: Timestamp) {
        self.state = KeyState::Retired { at: now };
        self.outlived = true;
    }

    /// Somebody else has it, or may have.
    fn expel(&mut self, now: Timestamp) {
        if self.state.is_published() {
            self.state = KeyState::Retired { at: now };
        }
        self.outlived = false;
        self.private.zeroize();
    }
}

impl Stored for Ring {
    const KIND: &'static Kind = &KEY_RINGS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.algorithm
    }
}

impl fmt::Debug for RingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingKey({}, {:?})", self.kid, self.state)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({}, {:?})", self.algorithm, self.keys)
    }
}

impl Drop for RingKey {
    fn drop(&mut self) {
        self.private.zeroize();
    }
}

#[cfg(test)]
mod tests;
