//! Hashing and checking. These calls take tens of milliseconds of a core: they are made on
//! [`crate::Workers`], never on a thread that serves requests.

use std::sync::atomic::{AtomicU64, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use tegata_core::{Entropy, secret};
use zeroize::Zeroizing;

use super::{
    Password,
    effort::{Effort, Way},
    foreign,
    phc::{Caps, Parts, Phc, Unusable},
};

/// The length of the hashes made here.
const OUTPUT: usize = 32;

/// The length of the salts made here.
const SALT: usize = 16;

/// What new hashes cost, and what foreign ones may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Memory of a hash, in KiB.
    pub memory_kib: u32,
    /// How often it is filled.
    pub passes: u32,
    /// How many lanes it is divided into. One thread fills them all.
    pub lanes: u32,
    /// The most that any hash may cost.
    pub caps: Caps,
}

impl Default for Config {
    /// 19 MiB, two passes, one lane: OWASP's first choice for Argon2id.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1, caps: Caps::default() }
    }
}

/// A configuration with which nobody could sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the parameters of password hashing cannot be used: {0}")]
pub struct InvalidConfig(#[from] Unusable);

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the password.
    Matches {
        /// Whether it should be hashed anew, because the hash is not as this configuration makes
        /// them.
        rehash: bool,
    },
    /// It is not.
    Differs,
}

/// Hashes and checks passwords.
#[derive(Debug)]
pub struct PasswordHasher {
    config: Config,
    params: Params,
    decoy: Phc,
    performed: AtomicU64,
    /// What was done, by way.
    worked: [AtomicU64; Way::ALL.len()],
}

impl PasswordHasher {
    /// A hasher with these parameters.
    ///
    /// # Errors
    /// [`InvalidConfig`] where Argon2 does not allow them, or the caps do not.
    pub fn new(config: Config, entropy: &dyn Entropy) -> Result<Self, InvalidConfig> {
        let Config { memory_kib, passes, lanes, caps } = config;
        let params = Params::new(memory_kib, passes, lanes, Some(OUTPUT));
        let params = params.map_err(|_| InvalidConfig(Unusable::Range))?;
        // The decoy is no password's hash: finding one is as hard as inverting Argon2.
        let (mut salt, mut hash) = ([0_u8; SALT], [0_u8; OUTPUT]);
        entropy.fill(&mut salt);
        entropy.fill(&mut hash);
        let decoy = Phc::trusted(write(&params, &salt, &hash));
        decoy.parts(&caps)?;
        let (performed, worked) = (AtomicU64::new(0), Default::default());
        Ok(Self { config, params, decoy, performed, worked })
    }

    /// Hashes a password with a new salt.
    ///
    /// # Errors
    /// [`Unusable::NoMemory`]
    pub fn hash(&self, password: &Password, entropy: &dyn Entropy) -> Result<Phc, Unusable> {
        let mut salt = [0_u8; SALT];
        entropy.fill(&mut salt);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let hash = self.derive(&argon2, password, &salt, OUTPUT)?;
        Ok(Phc::trusted(write(&self.params, &salt, &hash)))
    }

    /// Checks a password against a hash, of this or of another system.
    ///
    /// # Errors
    /// [`Unusable`] where the hash is damaged, costs too much, or there is no memory for it.
    pub fn verify(&self, password: &Password, phc: &Phc) -> Result<Verdict, Unusable> {
        if phc.is_foreign() {
            let foreign = phc.foreign(&self.config.caps)?;
            self.count(foreign.effort());
            self.performed.fetch_add(1, Ordering::Relaxed);
            let found = foreign.derive(password.expose().as_bytes())?;
            let matches = secret::matches(&found, foreign.hash());
            return Ok(if matches { Verdict::Matches { rehash: true } } else { Verdict::Differs });
        }
        let Parts { algorithm, version, params, salt, hash } = phc.parts(&self.config.caps)?;
        let rehash = (algorithm, version) != (Algorithm::Argon2id, Version::V0x13)
            || costs(&params) != costs(&self.params)
            || hash.len() != OUTPUT
            || salt.len() < SALT;
        self.count(phc.effort(&self.config.caps)?);
        let argon2 = Argon2::new(algorithm, version, params);
        let found = self.derive(&argon2, password, &salt, hash.len())?;
        let matches = secret::matches(&found, &hash);
        Ok(if matches { Verdict::Matches { rehash } } else { Verdict::Differs })
    }

    /// A hash that no password has, to be checked where there is no user: the time is the same.
    #[must_use]
    pub const fn decoy(&self) -> &Phc {
        &self.decoy
    }

    /// What a hash costs that is made here.
    #[must_use]
    pub fn effort(&self) -> Effort {
        let (memory_kib, passes, _) = costs(&self.params);
        let work = u64::from(memory_kib) * u64::from(passes);
        Effort { way: Way::Argon2id, memory_kib, work }
    }

    /// Does what hashes of this cost would take, and nothing else with it.
    ///
    /// # Errors
    /// [`Unusable::NoMemory`]
    pub fn spend(&self, effort: Effort) -> Result<(), Unusable> {
        let algorithm = match effort.way {
            Way::Argon2d => Algorithm::Argon2d,
            Way::Argon2i => Algorithm::Argon2i,
            Way::Argon2id => Algorithm::Argon2id,
            _ => {
                let work = foreign::spend(effort);
                self.count(Effort { work, ..effort });
                return Ok(());
            }
        };
        // The memory decides how long a pass takes, so it is as much as it would be, but for what whole
        // passes of it would be too much. Argon2 fills it by fours.
        let work = u32::try_from(effort.work).unwrap_or(u32::MAX);
        let passes = work.div_ceil(effort.memory_kib.min(work).max(8)).max(1);
        let memory_kib = work.div_ceil(passes).max(8).saturating_add(3) / 4 * 4;
        let done = u64::from(memory_kib) * u64::from(passes);
        self.count(Effort { memory_kib, work: done, ..effort });
        let params = Params::new(memory_kib, passes, 1, Some(OUTPUT));
        let params = params.map_err(|_| Unusable::Range)?;
        let mut hash = [0_u8; OUTPUT];
        Argon2::new(algorithm, Version::V0x13, params)
            .hash_password_into(&[], &[0; SALT], &mut hash)
            .map_err(|_| Unusable::NoMemory)?;
        std::hint::black_box(hash);
        Ok(())
    }

    fn count(&self, effort: Effort) {
        for (way, worked) in Way::ALL.into_iter().zip(&self.worked) {
            if way == effort.way {
                worked.fetch_add(effort.work, Ordering::Relaxed);
            }
        }
    }

    /// How much was done to check passwords, by way, in the units of [`Effort::work`].
    #[must_use]
    pub fn worked(&self) -> [(Way, u64); Way::ALL.len()] {
        std::array::from_fn(|place| {
            let way = Way::ALL.get(place).copied().unwrap_or(Way::Argon2id);
            (way, self.worked.get(place).map_or(0, |worked| worked.load(Ordering::Relaxed)))
        })
    }

    /// What foreign hashes may cost.
    #[must_use]
    pub const fn caps(&self) -> &Caps {
        &self.config.caps
    }

    /// How many hashes were computed.
    #[must_use]
    pub fn performed(&self) -> u64 {
        self.performed.load(Ordering::Relaxed)
    }

    fn derive(
        &self,
        argon2: &Argon2<'_>,
        password: &Password,
        salt: &[u8],
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Unusable> {
        self.performed.fetch_add(1, Ordering::Relaxed);
        let mut hash = Zeroizing::new(vec![0_u8; length]);
        // Lengths and parameters were checked before; what can fail is to get the memory.
        argon2
            .hash_password_into(password.expose().as_bytes(), salt, &mut hash)
            .map_err(|_| Unusable::NoMemory)?;
        Ok(hash)
    }
}

fn costs(params: &Params) -> (u32, u32, u32) {
    (params.m_cost(), params.t_cost(), params.p_cost())
}

fn write(params: &Params, salt: &[u8], hash: &[u8]) -> String {
    let (memory, passes, lanes) = costs(params);
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
}

#[cfg(test)]
mod tests;
