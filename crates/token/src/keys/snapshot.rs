//! What the key rings said when they were last read.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use tegata_core::{KeyId, Versioned, port::Vault};

use crate::{
    Algorithm,
    key::{Jwk, KeyRefused, SigningKey, VerifyingKey},
    ring::{KeyState, Ring, RingKey},
    verifier::KeySet,
};

/// What the rings said when they were last read.
#[derive(Default)]
pub struct Snapshot {
    pub(super) rings: BTreeMap<Algorithm, Versioned<Ring>>,
    signers: BTreeMap<Algorithm, Arc<SigningKey>>,
    verifying: BTreeMap<KeyId, Arc<VerifyingKey>>,
    remembered: OnceLock<KeySet>,
}

impl Snapshot {
    /// The key that signs with this algorithm.
    #[must_use]
    pub fn signer(&self, algorithm: Algorithm) -> Option<Arc<SigningKey>> {
        self.signers.get(&algorithm).cloned()
    }

    /// The keys that verify.
    #[must_use]
    pub fn key_set(&self) -> KeySet {
        KeySet::new(self.verifying.values().cloned().collect())
    }

    /// The keys that verify, and those that were retired when their tokens had died: for what counts
    /// however old it is, and gives nothing away, as an ID token that comes back.
    pub fn remembered(&self) -> &KeySet {
        self.remembered.get_or_init(|| {
            let keys = self.rings.values().flat_map(|ring| ring.value.keys());
            let of = |key: &RingKey| match self.verifying.get(&key.kid) {
                Some(parsed) => Some(Arc::clone(parsed)),
                // It was read when it was published; what cannot be read verifies nothing.
                None => VerifyingKey::from_jwk(&key.jwk).ok().map(Arc::new),
            };
            KeySet::new(keys.filter(|key| key.is_remembered()).filter_map(of).collect())
        })
    }

    /// The public keys to publish, in a stable order.
    #[must_use]
    pub fn jwks(&self) -> Vec<Jwk> {
        let keys = self.rings.values().flat_map(|ring| ring.value.keys());
        keys.filter(|key| key.state.is_published()).map(|key| key.jwk.clone()).collect()
    }

    /// The public halves of the keys that [`Self::remembered`] knows, in a stable order.
    #[must_use]
    pub fn remembered_jwks(&self) -> Vec<Jwk> {
        let keys = self.rings.values().flat_map(|ring| ring.value.keys());
        keys.filter(|key| key.is_remembered()).map(|key| key.jwk.clone()).collect()
    }

    /// The keys that sign, of all algorithms.
    pub fn signers(&self) -> impl Iterator<Item = &Arc<SigningKey>> {
        self.signers.values()
    }

    /// Whether the private half of a key is in a vault.
    #[must_use]
    pub fn is_held(&self, kid: &KeyId) -> bool {
        let mut keys = self.rings.values().flat_map(|ring| ring.value.keys());
        keys.any(|key| key.kid == *kid && key.is_held())
    }

    /// All keys with their states, the retired ones included.
    pub fn list(&self) -> impl Iterator<Item = (&KeyId, Algorithm, KeyState)> {
        self.rings.iter().flat_map(|(algorithm, ring)| {
            ring.value.keys().iter().map(|key| (&key.kid, *algorithm, key.state))
        })
    }

    /// Keys that were there before stay the same objects, so that what verifiers remember of them
    /// stays good.
    pub(super) fn of(
        rings: BTreeMap<Algorithm, Versioned<Ring>>,
        before: &Self,
        vault: Option<&Arc<dyn Vault>>,
    ) -> Result<Self, KeyRefused> {
        let (mut signers, mut verifying) = (BTreeMap::new(), BTreeMap::new());
        for (algorithm, ring) in &rings {
            if let Some(signer) = ring.value.signer(vault)? {
                signers.insert(*algorithm, Arc::new(signer));
            }
            for key in ring.value.keys().iter().filter(|key| key.state.is_published()) {
                let same = before.rings.get(algorithm).is_some_and(|ring| {
                    ring.value.keys().iter().any(|it| it.kid == key.kid && it.jwk == key.jwk)
                });
                let known = before.verifying.get(&key.kid).filter(|_| same).cloned();
                let parsed = match known {
                    Some(known) => known,
                    None => Arc::new(VerifyingKey::from_jwk(&key.jwk)?),
                };
                verifying.insert(key.kid.clone(), parsed);
            }
        }
        Ok(Self { rings, signers, verifying, remembered: OnceLock::new() })
    }
}
