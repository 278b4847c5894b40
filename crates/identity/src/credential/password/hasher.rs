//! Hashing and checking. These calls take tens of milliseconds of a core: they are made on
//! [`crate::Workers`], never on a thread that serves requests.

use std::sync::atomic::{AtomicU64, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use tegata_core::{Entropy, secret};
use zeroize::Zeroizing;

use super::{
    Password,
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
        Ok(Self { config, params, decoy, performed: AtomicU64::new(0) })
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
