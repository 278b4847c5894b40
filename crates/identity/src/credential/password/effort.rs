//! What password hashes cost, so that a sign-in that is refused always costs the same.
//!
//! Hashes of other systems, and ours of before, cost more or less than ours of today. Whoever measures
//! how long a refusal takes could tell by that who has an account, and where it came from. So each
//! refusal does, beside the hash that it was about, what the costliest hash of every other way would
//! have taken, and of its own way what is missing ([`Efforts::rest`]). What there is in a realm is
//! noted when a hash is taken over, and where a sign-in meets one that was not noted.
//!
//! It is bounded: each way counts once, and none for more than [`Caps`] allow.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Expect, Kind, Lifetime, Realm, Records, StoreError, Stored, Timestamp,
    Versioned, repository::load,
};

use super::phc::Caps;

/// Where it is kept what hashes of a realm cost.
pub static EFFORT_KIND: Kind =
    Kind { name: "password_efforts", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// There is one record for all ways.
const KEY: &str = "all";

/// For how long a way counts that nobody's sign-in has met: whoever has not signed in for so long has
/// been forgotten by this, too, and their first attempt brings it back.
const KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

/// How often it is written down that one was met.
const RENEWED: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a note is tried again that another node was faster with.
const TRIES: u32 = 4;

/// A way to compute a hash. What hashes of one way cost can be added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Argon2d.
    Argon2d,
    /// Argon2i.
    Argon2i,
    /// Argon2id, ours.
    Argon2id,
    /// bcrypt.
    Bcrypt,
    /// PBKDF2 with SHA-1.
    Pbkdf2Sha1,
    /// PBKDF2 with SHA-256.
    Pbkdf2Sha256,
    /// PBKDF2 with SHA-512.
    Pbkdf2Sha512,
    /// scrypt.
    Scrypt,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Argon2d,
        Self::Argon2i,
        Self::Argon2id,
        Self::Bcrypt,
        Self::Pbkdf2Sha1,
        Self::Pbkdf2Sha256,
        Self::Pbkdf2Sha512,
        Self::Scrypt,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Argon2d => "argon2d",
            Self::Argon2i => "argon2i",
            Self::Argon2id => "argon2id",
            Self::Bcrypt => "bcrypt",
            Self::Pbkdf2Sha1 => "pbkdf2-sha1",
            Self::Pbkdf2Sha256 => "pbkdf2-sha256",
            Self::Pbkdf2Sha512 => "pbkdf2-sha512",
            Self::Scrypt => "scrypt",
        }
    }

    /// The most that a hash may cost.
    fn most(self, caps: &Caps) -> u64 {
        match self {
            Self::Argon2d | Self::Argon2i | Self::Argon2id | Self::Scrypt => caps.work_kib,
            Self::Bcrypt => 1_u64.checked_shl(caps.bcrypt_cost).unwrap_or(u64::MAX),
            Self::Pbkdf2Sha1 | Self::Pbkdf2Sha256 | Self::Pbkdf2Sha512 => caps.rounds,
        }
    }
}

/// What a hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// How it is computed.
    pub way: Way,
    /// The memory that it takes, in KiB; 0 where that does not matter.
    pub memory_kib: u32,
    /// How much is to be done: KiB that are filled, rounds of PBKDF2, or 2 to the cost of bcrypt.
    pub work: u64,
}

/// What hashes of a realm cost, as far as it was noted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Efforts {
    // By name: a newer version may know more ways.
    ways: BTreeMap<String, Most>,
}

/// The costliest of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Most {
    memory_kib: u32,
    work: u64,
    /// When one was last met.
    met: Timestamp,
}

impl Stored for Efforts {
    const KIND: &'static Kind = &EFFORT_KIND;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        KEY
    }
}

impl Efforts {
    /// What hashes of a realm cost.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn of(records: &dyn Records, realm: &Realm) -> Result<Self, StoreError> {
        let found = load::<Self>(records, realm, KEY).await?;
        Ok(found.map(|found| found.value).unwrap_or_default())
    }

    /// What is left to be done by a refusal that has cost `spent`, so that each costs the same. `own`: what
    /// a hash of today costs.
    pub(crate) fn rest(
        &self,
        spent: Effort,
        own: Effort,
        caps: &Caps,
        now: Timestamp,
    ) -> Vec<Effort> {
        let ways = Way::ALL.into_iter().map(|way| {
            let mut most = Effort { way, memory_kib: 0, work: 0 };
            let noted = self.ways.get(way.name()).filter(|noted| noted.met + KEPT > now);
            if let Some(noted) = noted {
                most.memory_kib = noted.memory_kib.min(caps.memory_kib);
                most.work = noted.work.min(way.most(caps));
            }
            if way == own.way {
                most.memory_kib = most.memory_kib.max(own.memory_kib);
                most.work = most.work.max(own.work);
            }
            if way == spent.way {
                most.work = most.work.saturating_sub(spent.work);
            }
            most
        });
        ways.filter(|most| most.work > 0).collect()
    }

    /// Whether a hash was noted that counts still. Ours count, too: what is noted is the costliest, and
    /// there may be some of before that were cheaper.
    pub(crate) fn has_any(&self, now: Timestamp) -> bool {
        self.ways.values().any(|noted| noted.met + KEPT > now)
    }

    /// The same with another that was met. `None`: it says nothing new.
    fn with(&self, met: Effort, now: Timestamp) -> Option<Self> {
        let before = self.ways.get(met.way.name());
        let known = before.is_some_and(|it| {
            it.memory_kib >= met.memory_kib && it.work >= met.work && it.met + RENEWED > now
        });
        let most =
            before.map_or(Most { memory_kib: met.memory_kib, work: met.work, met: now }, |it| {
                Most {
                    memory_kib: it.memory_kib.max(met.memory_kib),
                    work: it.work.max(met.work),
                    met: it.met.max(now),
                }
            });
        (!known).then(|| {
            let mut next = self.clone();
            next.ways.insert(met.way.name().to_owned(), most);
            next
        })
    }

    /// Whether [`note`] would have something to write.
    pub(crate) fn lacks(&self, met: Effort, now: Timestamp) -> bool {
        self.with(met, now).is_some()
    }
}

/// Notes that there is a hash that costs this. Where that cannot be written, a sign-in will see to it.
pub(crate) async fn note(records: &dyn Records, realm: &Realm, met: Effort, now: Timestamp) {
    for _ in 0..TRIES {
        let before: Option<Versioned<Efforts>> = match load(records, realm, KEY).await {
            Ok(before) => before,
            Err(error) => {
                tracing::debug!(%error, "what a password hash costs was not noted");
                return;
            }
        };
        let known = before.as_ref().map(|it| it.value.clone()).unwrap_or_default();
        let Some(next) = known.with(met, now) else { return };
        let change = before.map_or_else(|| next.put(Expect::Absent), |it| it.replace(&next));
        match records.commit(Batch::new(realm.clone()).with(change)).await {
            Ok(()) => return,
            Err(CommitRefused::Conflict { .. }) => {}
            Err(CommitRefused::Store(error)) => {
                tracing::debug!(%error, "what a password hash costs was not noted");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Effort = Effort { way: Way::Argon2id, memory_kib: 19_456, work: 38_912 };

    fn at(days: u64) -> Timestamp {
        Timestamp::from_secs(days * 24 * 3600)
    }

    fn of(way: Way, work: u64) -> Effort {
        Effort { way, memory_kib: 0, work }
    }

    /// What a refusal costs in all, by its way.
    fn whole(efforts: &Efforts, spent: Effort, now: Timestamp) -> BTreeMap<Way, u64> {
        let mut sum = BTreeMap::from([(spent.way, spent.work)]);
        for effort in efforts.rest(spent, OWN, &Caps::default(), now) {
            *sum.entry(effort.way).or_default() += effort.work;
        }
        sum
    }

    #[test]
    fn every_refusal_costs_the_same_whatever_was_tried() {
        let mut efforts = Efforts::default();
        let met = [
            of(Way::Bcrypt, 1 << 12),
            of(Way::Bcrypt, 1 << 10),
            of(Way::Pbkdf2Sha256, 600_000),
            of(Way::Pbkdf2Sha256, 260_000),
            Effort { way: Way::Argon2id, memory_kib: 65_536, work: 196_608 },
            OWN,
        ];
        for effort in met {
            efforts = efforts.with(effort, at(1)).unwrap_or(efforts);
        }
        let all = met.map(|spent| whole(&efforts, spent, at(2)));
        let expected =
            [(Way::Argon2id, 196_608), (Way::Bcrypt, 1 << 12), (Way::Pbkdf2Sha256, 600_000)];
        assert!(all.iter().all(|one| *one == BTreeMap::from(expected)), "{all:?}");
    }

    #[test]
    fn where_all_hashes_are_ours_nothing_is_left_to_do() {
        let efforts = Efforts::default().with(OWN, at(1)).unwrap();
        for efforts in [Efforts::default(), efforts] {
            assert_eq!(efforts.rest(OWN, OWN, &Caps::default(), at(2)), []);
        }
    }

    #[test]
    fn nothing_costs_more_than_is_allowed_and_what_nobody_meets_is_forgotten() {
        let efforts = Efforts::default().with(of(Way::Bcrypt, 1 << 30), at(1)).unwrap();
        let rest = |days| efforts.rest(OWN, OWN, &Caps::default(), at(days));
        assert_eq!(rest(400), [of(Way::Bcrypt, 1 << 13)]);
        assert_eq!(rest(401), []);
        // Who meets one from time to time keeps it.
        assert!(!efforts.lacks(of(Way::Bcrypt, 4), at(30)));
        assert!(efforts.lacks(of(Way::Bcrypt, 4), at(31)));
        let kept = efforts.with(of(Way::Bcrypt, 4), at(300)).unwrap();
        assert_eq!(kept.rest(OWN, OWN, &Caps::default(), at(401)), [of(Way::Bcrypt, 1 << 13)]);
    }
}
