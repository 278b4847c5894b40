//! Root secrets: 256 random bits each, from which the keys of refresh tokens, cookies, CSRF tokens
//! and index permutations are derived.
//!
//! They are stored (sealed) and never leave the process. Each purpose has its own, numbered so that
//! it can be replaced: the newest makes, the older ones still check.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Expect, Kind, Lifetime, Node, Realm, Records, Secret, StoreError, Stored,
    repository,
};

/// Where root secrets are stored.
pub static ROOTS: Kind =
    Kind { name: "root_secret", indexes: &[], lifetime: Lifetime::Kept, secret: true };

/// The root secrets of one purpose in one realm.
pub struct Roots {
    numbered: BTreeMap<u16, Secret<[u8; 32]>>,
}

/// How root secrets are stored: one record for each purpose.
#[derive(Serialize, Deserialize)]
struct StoredRoots {
    purpose: String,
    numbered: BTreeMap<u16, [u8; 32]>,
}

impl Stored for StoredRoots {
    const KIND: &'static Kind = &ROOTS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.purpose
    }
}

impl Roots {
    /// The root secrets for `purpose`, made if there are none. Of two nodes that start at once, one
    /// makes them and the other reads them.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(
        records: &dyn Records,
        node: &Node,
        realm: &Realm,
        purpose: &str,
    ) -> Result<Self, StoreError> {
        loop {
            if let Some(stored) = repository::load::<StoredRoots>(records, realm, purpose).await? {
                let numbered = stored.value.numbered;
                return Ok(Self {
                    numbered: numbered.into_iter().map(|(no, root)| (no, root.into())).collect(),
                });
            }
            let mut root = [0_u8; 32];
            node.entropy().fill(&mut root);
            let fresh = StoredRoots { purpose: purpose.to_owned(), numbered: [(1, root)].into() };
            let batch = Batch::new(realm.clone()).with(fresh.put(Expect::Absent));
            match records.commit(batch).await {
                // Somebody else may have been first: what is read back is what counts.
                Ok(()) | Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
    }

    /// The number of the newest, which makes.
    #[must_use]
    pub fn newest(&self) -> u16 {
        self.numbered.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// The number of the oldest, for what can never be replaced: names that others keep.
    #[must_use]
    pub fn oldest(&self) -> u16 {
        self.numbered.first_key_value().map_or(0, |(number, _)| *number)
    }

    /// A key derived from root `number`: HMAC-SHA-256 over the parts, each preceded by its length,
    /// so that no two lists of parts are the same message. `None`: there is no such root.
    #[must_use]
    pub fn derive(&self, number: u16, parts: &[&[u8]]) -> Option<hmac::Key> {
        let secret = self.secret(number, parts)?;
        Some(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// What [`Self::derive`] makes a key of, for those who need another kind of key.
    #[must_use]
    pub fn secret(&self, number: u16, parts: &[&[u8]]) -> Option<Secret<[u8; 32]>> {
        let root = self.numbered.get(&number)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, root.expose());
        digest(&key, parts).as_ref().try_into().ok().map(Secret::new)
    }
}

/// A keyed digest of parts, each preceded by its length, so that no two lists of parts are the same
/// message.
pub(crate) fn digest(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        context.update(part);
    }
    context.sign()
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roots({} numbered)", self.numbered.len())
    }
}

#[cfg(test)]
impl Roots {
    pub(crate) fn for_tests(seed: u8) -> Self {
        Self { numbered: [(1, [seed; 32].into())].into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_run_into_each_other() {
        let roots = Roots::for_tests(1);
        let mac =
            |parts: &[&[u8]]| hmac::sign(&roots.derive(1, parts).unwrap(), b"").as_ref().to_vec();
        assert_eq!(mac(&[b"ab", b"c"]), mac(&[b"ab", b"c"]));
        assert_ne!(mac(&[b"ab", b"c"]), mac(&[b"a", b"bc"]));
        assert_ne!(mac(&[b"ab", b"c"]), mac(&[b"ab", b"c", b""]));
        assert!(roots.derive(2, &[]).is_none());
        assert_eq!(format!("{roots:?}"), "Roots(1 numbered)");
    }
}
