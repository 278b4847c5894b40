//! Password hashes as text: ours as PHC strings, `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`; those of others in
//! the forms that [`super::foreign`] knows, too.

use std::fmt;

use argon2::{Algorithm, Params, PasswordHash, Version};
use serde::{Deserialize, Serialize};

use super::{
    effort::{Effort, Way},
    foreign::Foreign,
};

/// The longest text that is looked at: the longest that is usable has some 250 bytes.
const LONGEST: usize = 512;

/// A password hash. Its `Debug` shows the parameters alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phc(String);

/// The most that a hash may cost. Hashes come from other systems too, and a hash that asks for
/// gigabytes or minutes is an attack on whoever checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// The most memory of one hash, in KiB.
    pub memory_kib: u32,
    /// The most memory times passes, in KiB: what bounds the time.
    pub work_kib: u64,
    /// The highest cost of bcrypt.
    pub bcrypt_cost: u32,
    /// The most rounds of PBKDF2, of all its blocks together.
    pub rounds: u64,
}

impl Default for Caps {
    /// 128 MiB, and 512 MiB of work: about a second. The usual defaults of other systems are below.
    fn default() -> Self {
        Self { memory_kib: 128 * 1024, work_kib: 512 * 1024, bcrypt_cost: 13, rounds: 1_500_000 }
    }
}

/// Why a text cannot be used as a password hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It has none of the forms that are known.
    #[error(
        "it is no hash of Argon2 (`$argon2id$v=19$m=…,t=…,p=…$salt$hash`), bcrypt (`$2b$12$…`), scrypt \
         (`$scrypt$ln=…,r=…,p=…$salt$hash`) or PBKDF2 (`$pbkdf2-sha256$i=…$salt$hash`), nor one that \
         Django (`pbkdf2_sha256$…`, `bcrypt_sha256$$…`) or Werkzeug (`scrypt:32768:8:1$…`) keeps"
    )]
    Form,
    /// A parameter is missing, or one is there that is not known.
    #[error(
        "it must have its parameters and no others: `m`, `t` and `p` of Argon2, `ln`, `r` and `p` of \
         scrypt, `i` of PBKDF2, at least 1000"
    )]
    Parameters,
    /// It asks for more work than is allowed.
    #[error(
        "it costs more than is allowed: bcrypt up to a cost of 13, scrypt up to 128 MiB, PBKDF2 up to \
         1500000 rounds"
    )]
    TooMuchWork,
    /// A parameter is outside of what Argon2 allows.
    #[error("its parameters are not those of Argon2: `m` must be at least 8 times `p`")]
    Range,
    /// The salt or the hash is too short to protect a password.
    #[error("its salt must have 8 to 64 bytes, and its hash 16 to 64")]
    Lengths,
    /// It costs more than is allowed.
    #[error(
        "it costs {memory_kib} KiB of memory in {passes} passes, which is more than is allowed"
    )]
    TooCostly {
        /// The memory it asks for.
        memory_kib: u32,
        /// How often it fills it.
        passes: u32,
    },
    /// The system does not give the memory that it needs.
    #[error("there is not enough memory to compute it")]
    NoMemory,
}

/// A hash taken apart.
pub(super) struct Parts {
    pub(super) algorithm: Algorithm,
    pub(super) version: Version,
    pub(super) params: Params,
    pub(super) salt: Vec<u8>,
    pub(super) hash: Vec<u8>,
}

impl Phc {
    /// Reads a hash, of this or of another system.
    ///
    /// # Errors
    /// [`Unusable`] says which rule the text breaks.
    pub fn parse(text: &str, caps: &Caps) -> Result<Self, Unusable> {
        // Django writes its own name for it before that of Argon2.
        let bare = text.strip_prefix("argon2").filter(|rest| rest.starts_with("$argon2"));
        let phc = Self(bare.unwrap_or(text).to_owned());
        if phc.is_foreign() {
            phc.foreign(caps)?;
        } else {
            phc.parts(caps)?;
        }
        Ok(phc)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it costs to compute, if that is within `caps`.
    pub(crate) fn effort(&self, caps: &Caps) -> Result<Effort, Unusable> {
        if self.is_foreign() {
            return Ok(self.foreign(caps)?.effort());
        }
        let Parts { algorithm, params, .. } = self.parts(caps)?;
        let way = match algorithm {
            Algorithm::Argon2d => Way::Argon2d,
            Algorithm::Argon2i => Way::Argon2i,
            Algorithm::Argon2id => Way::Argon2id,
        };
        let (memory_kib, passes) = (params.m_cost(), params.t_cost());
        Ok(Effort { way, memory_kib, work: u64::from(memory_kib) * u64::from(passes) })
    }

    /// Whether it is of no kind that is made here.
    pub(super) fn is_foreign(&self) -> bool {
        !self.0.starts_with("$argon2")
    }

    /// The parts of a foreign one, if they are within `caps`.
    pub(super) fn foreign(&self, caps: &Caps) -> Result<Foreign, Unusable> {
        if self.0.len() > LONGEST {
            return Err(Unusable::Form);
        }
        Foreign::read(&self.0, caps)
    }

    pub(super) const fn trusted(text: String) -> Self {
        Self(text)
    }

    /// The parts, if they are within `caps`. Stored hashes are looked at again too: caps change.
    pub(super) fn parts(&self, caps: &Caps) -> Result<Parts, Unusable> {
        if self.0.len() > LONGEST {
            return Err(Unusable::Form);
        }
        let hash = PasswordHash::new(&self.0).map_err(|_| Unusable::Form)?;
        let algorithm = Algorithm::new(hash.algorithm.as_str()).map_err(|_| Unusable::Form)?;
        // Before the version was written, there was only the first.
        let version = hash.version.map_or(Ok(Version::V0x10), Version::try_from);
        let version = version.map_err(|_| Unusable::Form)?;
        let number = |name: &str| {
            let value = hash.params.get_decimal(name).ok_or(Unusable::Parameters)?;
            Ok::<u32, Unusable>(value)
        };
        let (memory_kib, passes, lanes) = (number("m")?, number("t")?, number("p")?);
        if hash.params.iter().count() != 3 {
            return Err(Unusable::Parameters);
        }
        let work = u64::from(memory_kib) * u64::from(passes);
        if memory_kib > caps.memory_kib || work > caps.work_kib {
            return Err(Unusable::TooCostly { memory_kib, passes });
        }
        let (Some(salt), Some(output)) = (hash.salt, hash.hash) else {
            return Err(Unusable::Form);
        };
        if !(8..=64).contains(&salt.as_ref().len()) || !(16..=64).contains(&output.len()) {
            return Err(Unusable::Lengths);
        }
        let params = Params::new(memory_kib, passes, lanes, Some(output.len()))
            .map_err(|_| Unusable::Range)?;
        Ok(Parts {
            algorithm,
            version,
            params,
            salt: salt.as_ref().to_vec(),
            hash: output.as_bytes().to_vec(),
        })
    }
}

impl fmt::Debug for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of others, what stands where differs: some have the salt there.
        let first = self.0.split('$').next().unwrap_or_default();
        let known = match self.is_foreign() {
            true if first.contains(':') => 1,
            true => 2,
            false => 4,
        };
        let shown: Vec<&str> = self.0.split('$').take(known).collect();
        write!(f, "Phc({}$…)", shown.join("$"))
    }
}
