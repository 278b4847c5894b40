//! Hashes that other systems made: bcrypt, scrypt and PBKDF2, in the forms in which they are kept there.
//!
//! | kind | forms |
//! |---|---|
//! | bcrypt | `$2a$`, `$2b$`, `$2y$`, the cost, and 53 characters |
//! | scrypt | `$scrypt$ln=16,r=8,p=1$salt$hash` |
//! | PBKDF2 | `$pbkdf2-sha256$i=600000$salt$hash`, also `sha1` and `sha512`; as passlib writes it (`$pbkdf2-sha256$29000$…`); as Django does (`pbkdf2_sha256$600000$…`) |
//!
//! A person's first sign-in hashes their password anew, so each is computed a few times at most. What one
//! may cost is bounded: hashes are written by others.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base64::{
    Engine as _, alphabet,
    engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD_NO_PAD},
};
use zeroize::Zeroizing;

use super::phc::{Caps, Unusable};

/// The base 64 of bcrypt. Its last characters hold bits of nothing, which some systems set.
const BCRYPT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

/// The fewest rounds of PBKDF2: fewer protect nothing (RFC 8018 §4.2).
const FEWEST: u32 = 1000;

/// What bcrypt looks at of a password.
const BCRYPT_LONGEST: usize = 72;

/// How much of a bcrypt hash is kept: a byte was lost when it was made up.
const BCRYPT_KEPT: usize = 23;

/// A hash taken apart.
pub(super) struct Foreign {
    how: How,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

enum How {
    Bcrypt { cost: u32 },
    Scrypt(scrypt::Params),
    Pbkdf2 { algorithm: pbkdf2::Algorithm, rounds: NonZeroU32 },
}

impl Foreign {
    /// Reads a hash, if it is within `caps`.
    pub(super) fn read(text: &str, caps: &Caps) -> Result<Self, Unusable> {
        let fields: Vec<&str> = text.split('$').collect();
        match fields.as_slice() {
            ["", "2a" | "2b" | "2y", cost, rest] => bcrypt(cost, rest, caps),
            ["", "scrypt", params, salt, hash] => scrypt(params, salt, hash, caps),
            ["", name, rounds, salt, hash] if name.starts_with("pbkdf2") => {
                let algorithm = name.strip_prefix("pbkdf2-").unwrap_or("sha1");
                pbkdf2(algorithm, rounds, decoded(salt)?, decoded(hash)?, caps)
            }
            [name, rounds, salt, hash] if name.starts_with("pbkdf2_") => {
                let algorithm = name.strip_prefix("pbkdf2_").unwrap_or_default();
                let hash = decoded(hash.trim_end_matches('='))?;
                pbkdf2(algorithm, rounds, salt.as_bytes().to_vec(), hash, caps)
            }
            _ => Err(Unusable::Form),
        }
    }

    /// The hash that it should be.
    pub(super) fn hash(&self) -> &[u8] {
        &self.hash
    }

    /// The hash that a password gives.
    pub(super) fn derive(&self, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unusable> {
        let mut found = Zeroizing::new(vec![0_u8; self.hash.len()]);
        match &self.how {
            How::Bcrypt { cost } => {
                let salt = <[u8; 16]>::try_from(self.salt.as_slice());
                let salt = salt.map_err(|_| Unusable::Lengths)?;
                let mut key = Zeroizing::new(Vec::with_capacity(password.len() + 1));
                key.extend_from_slice(password);
                key.push(0);
                key.truncate(BCRYPT_LONGEST);
                let hash = Zeroizing::new(bcrypt::bcrypt(*cost, salt, &key));
                found.copy_from_slice(hash.get(..BCRYPT_KEPT).unwrap_or_default());
            }
            How::Scrypt(params) => {
                scrypt::scrypt(password, &self.salt, params, &mut found)
                    .map_err(|_| Unusable::Lengths)?;
            }
            How::Pbkdf2 { algorithm, rounds } => {
                pbkdf2::derive(*algorithm, *rounds, &self.salt, password, &mut found);
            }
        }
        Ok(found)
    }
}

fn bcrypt(cost: &str, rest: &str, caps: &Caps) -> Result<Foreign, Unusable> {
    let cost = Some(cost).filter(|cost| cost.len() == 2).and_then(number).ok_or(Unusable::Form)?;
    let (salt, hash) = rest.split_at_checked(22).ok_or(Unusable::Form)?;
    let decode = |text: &str| BCRYPT.decode(text).map_err(|_| Unusable::Form);
    let (salt, hash) = (decode(salt)?, decode(hash)?);
    if !(4..=31).contains(&cost) || salt.len() != 16 || hash.len() != BCRYPT_KEPT {
        return Err(Unusable::Form);
    }
    if cost > caps.bcrypt_cost {
        return Err(Unusable::TooMuchWork);
    }
    Ok(Foreign { how: How::Bcrypt { cost }, salt, hash })
}

fn scrypt(params: &str, salt: &str, hash: &str, caps: &Caps) -> Result<Foreign, Unusable> {
    let parts: Vec<_> = params.split(',').filter_map(|part| part.split_once('=')).collect();
    let [("ln", log_n), ("r", r), ("p", p)] = parts.as_slice() else {
        return Err(Unusable::Parameters);
    };
    let read = |text: &str| number(text).ok_or(Unusable::Parameters);
    let (log_n, r, p) = (read(log_n)?, read(r)?, read(p)?);
    if !(1..=32).contains(&log_n) || !(1..=1024).contains(&r) || !(1..=1024).contains(&p) {
        return Err(Unusable::TooMuchWork);
    }
    // 128 bytes, r times, N times; and again for each p.
    let memory_kib = (u64::from(r) << log_n).div_ceil(8);
    if memory_kib > u64::from(caps.memory_kib) || memory_kib * u64::from(p) > caps.work_kib {
        return Err(Unusable::TooMuchWork);
    }
    let log_n = u8::try_from(log_n).map_err(|_| Unusable::Parameters)?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| Unusable::Parameters)?;
    let (salt, hash) = (decoded(salt)?, decoded(hash)?);
    check_lengths(&salt, &hash)?;
    Ok(Foreign { how: How::Scrypt(params), salt, hash })
}

fn pbkdf2(
    algorithm: &str,
    rounds: &str,
    salt: Vec<u8>,
    hash: Vec<u8>,
    caps: &Caps,
) -> Result<Foreign, Unusable> {
    let (algorithm, block) = match algorithm {
        "sha1" => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
        "sha256" => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
        "sha512" => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        _ => return Err(Unusable::Form),
    };
    // The length stands in some beside the number of rounds, and says nothing that the hash does not.
    let rounds = match rounds.split_once(',') {
        Some((rounds, length)) if length.starts_with("l=") => rounds,
        Some(_) => return Err(Unusable::Parameters),
        None => rounds,
    };
    let rounds = number(rounds.strip_prefix("i=").unwrap_or(rounds)).and_then(NonZeroU32::new);
    let rounds = rounds.filter(|rounds| rounds.get() >= FEWEST).ok_or(Unusable::Parameters)?;
    check_lengths(&salt, &hash)?;
    let blocks = u64::try_from(hash.len().div_ceil(block)).unwrap_or(u64::MAX);
    if u64::from(rounds.get()).saturating_mul(blocks) > caps.rounds {
        return Err(Unusable::TooMuchWork);
    }
    Ok(Foreign { how: How::Pbkdf2 { algorithm, rounds }, salt, hash })
}

fn check_lengths(salt: &[u8], hash: &[u8]) -> Result<(), Unusable> {
    let sound = (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len());
    if sound { Ok(()) } else { Err(Unusable::Lengths) }
}

/// A number as it is written: digits alone, and not too many.
fn number(text: &str) -> Option<u32> {
    let plain = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// Base 64 without padding; `.` stands for `+` where passlib wrote it.
fn decoded(text: &str) -> Result<Vec<u8>, Unusable> {
    STANDARD_NO_PAD.decode(text.replace('.', "+")).map_err(|_| Unusable::Form)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(text: &str, password: &str) -> Result<bool, Unusable> {
        let foreign = Foreign::read(text, &Caps::default())?;
        Ok(*foreign.derive(password.as_bytes())? == foreign.hash())
    }

    /// Made by Python's `hashlib` and by `crypt` of glibc.
    const KNOWN: [&str; 10] = [
        "$pbkdf2-sha1$i=1000,l=20$MDEyMzQ1Njc4OWFiY2RlZg$aUfE2vx5Q7zgbb0jx49AaNpXUQQ",
        "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$cBg8D2DungRB9k76szThf5ehfyBz991ay6PT8Srwk4M",
        "$pbkdf2-sha512$i=1000,l=64$MDEyMzQ1Njc4OWFiY2RlZg$OM0FAoIqCVK1sWtxDiffVlBejtLa+ks4TP71JiecwuSZCG8iLbnlIEPOMoVX+i2B2wkSxjQ8CRGR9OkNGuIPMQ",
        "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$cBg8D2DungRB9k76szThf5ehfyBz991ay6PT8Srwk4NQEC0GVAwWLSUGWbcye1xU.dO7fZFld1DsscNlAN1uxw",
        "$pbkdf2$1000$MDEyMzQ1Njc4OWFiY2RlZg$aUfE2vx5Q7zgbb0jx49AaNpXUQQ",
        "pbkdf2_sha256$1000$Q8sPuU4wW1mD$4vIQUKPVGIqtYJxYjBIpWSFeW6+NfEfKiu3bVIP7X0g=",
        "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$6g3umF+uVrJsObaTZhIbbTlgrvOEFcCItdwSjtPF67M",
        "$2a$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
        "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
        "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
    ];

    #[test]
    fn checks_what_other_systems_hashed() {
        for text in KNOWN {
            assert_eq!(matches(text, "correct horse"), Ok(true), "{text}");
            assert_eq!(matches(text, "correct horsE"), Ok(false), "{text}");
            assert_eq!(matches(text, ""), Ok(false), "{text}");
        }
    }

    /// RFC 7914 §12, and a vector of jBCrypt.
    #[test]
    fn gives_the_vectors_of_the_standards() {
        let scrypt = "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw";
        assert_eq!(matches(scrypt, "pleaseletmein"), Ok(true));
        let bcrypt = "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";
        assert_eq!(matches(bcrypt, ""), Ok(true));
    }

    #[test]
    fn bcrypt_looks_at_72_bytes() {
        let of_a = "$2b$05$abcdefghijklmnopqrstuuGUnCqbfgs3htOkLrFduUjAyLBw1Rq/u";
        assert_eq!(matches(of_a, &"a".repeat(80)), Ok(true));
        assert_eq!(matches(of_a, &"a".repeat(72)), Ok(true));
        assert_eq!(matches(of_a, &"a".repeat(71)), Ok(false));
    }

    #[test]
    fn refuses_what_costs_too_much_or_is_none() {
        let rest = "abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";
        let pair = "MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";
        for (text, why) in [
            (format!("$2b$31${rest}"), Unusable::TooMuchWork),
            (format!("$2b$15${rest}"), Unusable::TooMuchWork),
            (format!("$2b$03${rest}"), Unusable::Form),
            (format!("$2b$5${rest}"), Unusable::Form),
            (format!("$2x$05${rest}"), Unusable::Form),
            (format!("$2b$05${rest}A"), Unusable::Form),
            (format!("$scrypt$ln=18,r=8,p=1${pair}"), Unusable::TooMuchWork),
            (format!("$scrypt$ln=63,r=8,p=1${pair}"), Unusable::TooMuchWork),
            (format!("$scrypt$ln=4,r=4294967295,p=4294967295${pair}"), Unusable::TooMuchWork),
            (format!("$scrypt$ln=17,r=8,p=5${pair}"), Unusable::TooMuchWork),
            (format!("$scrypt$r=8,p=1${pair}"), Unusable::Parameters),
            (format!("$pbkdf2-sha256$i=4294967295${pair}"), Unusable::TooMuchWork),
            (format!("$pbkdf2-sha256$i=0${pair}"), Unusable::Parameters),
            (format!("$pbkdf2-sha256$i=999${pair}"), Unusable::Parameters),
            (format!("$pbkdf2-sha256$i=-1${pair}"), Unusable::Parameters),
            (format!("$pbkdf2-md5$i=1000${pair}"), Unusable::Form),
            ("pbkdf2_sha256$1000$short$MDEyMzQ1Njc4OWFiY2RlZg==".to_owned(), Unusable::Lengths),
            ("$1$salt$hash".to_owned(), Unusable::Form),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".to_owned(), Unusable::Form),
        ] {
            assert_eq!(matches(&text, "x"), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,120}", tail in "[$a-z0-9=,./+]{0,80}") {
            let _ = Foreign::read(&text, &Caps::default());
            for start in ["$2b$", "$scrypt$", "$pbkdf2-sha256$", "pbkdf2_sha1$"] {
                let _ = Foreign::read(&format!("{start}{tail}"), &Caps::default());
            }
        }
    }
}
