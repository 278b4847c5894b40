//! Hashes that other systems made: bcrypt, scrypt and PBKDF2, in the forms in which they are kept there.
//!
//! | kind | forms |
//! |---|---|
//! | bcrypt | `$2a$`, `$2b$`, `$2y$`, the cost, and 53 characters |
//! | bcrypt, as Django writes it | `bcrypt$$2b$…`; `bcrypt_sha256$$2b$…`, of the SHA-256 of the password in hexadecimal |
//! | scrypt | `$scrypt$ln=16,r=8,p=1$salt$hash`; as Django writes it (`scrypt$16384$salt$8$1$hash`); as Werkzeug does (`scrypt:32768:8:1$salt$hex`) |
//! | PBKDF2 | `$pbkdf2-sha256$i=600000$salt$hash`, also `sha1` and `sha512`; as passlib writes it (`$pbkdf2-sha256$29000$…`); as Django does (`pbkdf2_sha256$600000$…`); as Werkzeug does (`pbkdf2:sha256:600000$salt$hex`) |
//!
//! A person's first sign-in hashes their password anew, so each is computed a few times at most. What one
//! may cost is bounded: hashes are written by others.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, pbkdf2};
use base64::{
    Engine as _, alphabet,
    engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD_NO_PAD},
};
use zeroize::Zeroizing;

use super::{
    effort::{Effort, Way},
    phc::{Caps, Unusable},
};

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
    effort: Effort,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

enum How {
    /// `digested`: it is of the SHA-256 of the password.
    Bcrypt {
        cost: u32,
        digested: bool,
    },
    Scrypt(scrypt::Params),
    Pbkdf2 {
        algorithm: pbkdf2::Algorithm,
        rounds: NonZeroU32,
    },
}

impl Foreign {
    /// Reads a hash, if it is within `caps`.
    pub(super) fn read(text: &str, caps: &Caps) -> Result<Self, Unusable> {
        let fields: Vec<&str> = text.split('$').collect();
        match fields.as_slice() {
            ["", "2a" | "2b" | "2y", cost, rest]
            | ["bcrypt", "", "2a" | "2b" | "2y", cost, rest] => bcrypt(cost, rest, false, caps),
            ["bcrypt_sha256", "", "2a" | "2b" | "2y", cost, rest] => bcrypt(cost, rest, true, caps),
            ["", "scrypt", params, salt, hash] => {
                let (salt, hash) = (decoded(salt)?, decoded(hash)?);
                scrypt(phc_params(params)?, salt, hash, caps)
            }
            ["scrypt", n, salt, r, p, hash] => {
                let hash = decoded(hash.trim_end_matches('='))?;
                scrypt([log_of(n)?, given(r)?, given(p)?], salt.as_bytes().to_vec(), hash, caps)
            }
            [method, salt, hash] => werkzeug(method, salt.as_bytes().to_vec(), hex(hash)?, caps),
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

    /// What it costs to compute.
    pub(super) const fn effort(&self) -> Effort {
        self.effort
    }

    /// The hash that it should be.
    pub(super) fn hash(&self) -> &[u8] {
        &self.hash
    }

    /// The hash that a password gives.
    pub(super) fn derive(&self, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unusable> {
        let mut found = Zeroizing::new(vec![0_u8; self.hash.len()]);
        match &self.how {
            How::Bcrypt { cost, digested } => {
                let digest =
                    digested.then(|| in_hex(digest::digest(&digest::SHA256, password).as_ref()));
                let password = digest.as_ref().map_or(password, |digest| digest.as_bytes());
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

/// Does what computing such hashes takes, for nothing but the time that it takes. Answers how much that
/// was: as much as `effort` says, but for what is less than the smallest hash.
pub(super) fn spend(effort: Effort) -> u64 {
    let (password, salt) = ([0_u8; 16], [0_u8; 16]);
    let mut found = [0_u8; 16];
    let mut left = effort.work;
    match effort.way {
        // A cost is a power of two, and what is missing is a sum of some.
        Way::Bcrypt => {
            for cost in (4..=31).filter(|cost| effort.work >> cost & 1 == 1) {
                found.copy_from_slice(bcrypt::bcrypt(cost, salt, &password).split_at(16).0);
                left -= 1 << cost;
            }
        }
        // 1 KiB for each step of N, with r = 8: as often as it can be with the memory that there would be,
        // and then with half of it, and so on.
        Way::Scrypt => {
            let largest = u64::from(effort.memory_kib.max(2)).ilog2().min(31);
            for log_n in (1..=largest).rev() {
                while left >> log_n > 0 {
                    let times = (left >> log_n).min(1024);
                    left -= times << log_n;
                    let log_n = u8::try_from(log_n).unwrap_or(1);
                    let times = u32::try_from(times).unwrap_or(1);
                    if let Ok(params) = scrypt::Params::new(log_n, 8, times) {
                        // Parameters of this size are never refused, and nobody looks at what comes of it.
                        let _ = scrypt::scrypt(&password, &salt, &params, &mut found);
                    }
                }
            }
        }
        Way::Pbkdf2Sha1 | Way::Pbkdf2Sha256 | Way::Pbkdf2Sha512 => {
            let algorithm = match effort.way {
                Way::Pbkdf2Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
                Way::Pbkdf2Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
                _ => pbkdf2::PBKDF2_HMAC_SHA512,
            };
            let rounds = u32::try_from(effort.work).ok().and_then(NonZeroU32::new);
            if let Some(rounds) = rounds {
                pbkdf2::derive(algorithm, rounds, &salt, &password, &mut found);
                left = 0;
            }
        }
        // These are no strangers here.
        Way::Argon2d | Way::Argon2i | Way::Argon2id => {}
    }
    std::hint::black_box(found);
    effort.work - left
}

fn bcrypt(cost: &str, rest: &str, digested: bool, caps: &Caps) -> Result<Foreign, Unusable> {
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
    let effort = Effort { way: Way::Bcrypt, memory_kib: 0, work: 1 << cost };
    Ok(Foreign { how: How::Bcrypt { cost, digested }, effort, salt, hash })
}

/// `ln=16,r=8,p=1`
fn phc_params(params: &str) -> Result<[u32; 3], Unusable> {
    let parts: Vec<_> = params.split(',').filter_map(|part| part.split_once('=')).collect();
    let [("ln", log_n), ("r", r), ("p", p)] = parts.as_slice() else {
        return Err(Unusable::Parameters);
    };
    Ok([given(log_n)?, given(r)?, given(p)?])
}

/// A hash as Werkzeug writes it: the method with its parameters, the salt as text, and hexadecimal.
fn werkzeug(method: &str, salt: Vec<u8>, hash: Vec<u8>, caps: &Caps) -> Result<Foreign, Unusable> {
    let parts: Vec<_> = method.split(':').collect();
    match parts.as_slice() {
        ["scrypt", n, r, p] => scrypt([log_of(n)?, given(r)?, given(p)?], salt, hash, caps),
        ["pbkdf2", algorithm, rounds] => {
            let plain = number(rounds).is_some();
            if plain {
                pbkdf2(algorithm, rounds, salt, hash, caps)
            } else {
                Err(Unusable::Parameters)
            }
        }
        _ => Err(Unusable::Form),
    }
}

fn scrypt(
    [log_n, r, p]: [u32; 3],
    salt: Vec<u8>,
    hash: Vec<u8>,
    caps: &Caps,
) -> Result<Foreign, Unusable> {
    if !(1..=32).contains(&log_n) || !(1..=1024).contains(&r) || !(1..=1024).contains(&p) {
        return Err(Unusable::TooMuchWork);
    }
    // 128 bytes, r times, N times; and again for each p.
    let memory_kib = (u64::from(r) << log_n).div_ceil(8);
    // Beside it, 128 bytes r times and p times, however small N is: a part of the memory, not as much again.
    let blocks_kib = (u64::from(r) * u64::from(p)).div_ceil(8);
    if memory_kib > u64::from(caps.memory_kib)
        || blocks_kib > u64::from(caps.memory_kib / 16)
        || memory_kib * u64::from(p) > caps.work_kib
    {
        return Err(Unusable::TooMuchWork);
    }
    let log_n = u8::try_from(log_n).map_err(|_| Unusable::Parameters)?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| Unusable::Parameters)?;
    check_lengths(&salt, &hash)?;
    let work = memory_kib * u64::from(p);
    let memory_kib = u32::try_from(memory_kib).unwrap_or(caps.memory_kib);
    let effort = Effort { way: Way::Scrypt, memory_kib, work };
    Ok(Foreign { how: How::Scrypt(params), effort, salt, hash })
}

fn pbkdf2(
    algorithm: &str,
    rounds: &str,
    salt: Vec<u8>,
    hash: Vec<u8>,
    caps: &Caps,
) -> Result<Foreign, Unusable> {
    let (algorithm, block, way) = match algorithm {
        "sha1" => (pbkdf2::PBKDF2_HMAC_SHA1, 20, Way::Pbkdf2Sha1),
        "sha256" => (pbkdf2::PBKDF2_HMAC_SHA256, 32, Way::Pbkdf2Sha256),
        "sha512" => (pbkdf2::PBKDF2_HMAC_SHA512, 64, Way::Pbkdf2Sha512),
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
    let work = u64::from(rounds.get()).saturating_mul(blocks);
    if work > caps.rounds {
        return Err(Unusable::TooMuchWork);
    }
    let effort = Effort { way, memory_kib: 0, work };
    Ok(Foreign { how: How::Pbkdf2 { algorithm, rounds }, effort, salt, hash })
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

fn given(text: &str) -> Result<u32, Unusable> {
    number(text).ok_or(Unusable::Parameters)
}

/// The power of two that a number is.
fn log_of(text: &str) -> Result<u32, Unusable> {
    let n = given(text)?;
    if n.is_power_of_two() { Ok(n.trailing_zeros()) } else { Err(Unusable::Parameters) }
}

/// Hexadecimal, in small letters.
fn hex(text: &str) -> Result<Vec<u8>, Unusable> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<_>>().ok_or(Unusable::Form)
}

fn in_hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
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
    const KNOWN: [&str; 16] = [
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
        "scrypt:1024:8:1$Q8sPuU4wW1mDQ8sP$cc5ed2d84745168cab92cca6a047ab9ea79cf31aa98a112f6c8167c2b9af6b6707c118d3ff44d3a93c9bccc670661f515b97a2dd791936231c7b75c7b83155e7",
        "pbkdf2:sha256:1000$Q8sPuU4wW1mDQ8sP$2a8967b4c5ac8987fb60848cfcfdd258dc2904e296231775fdae54b12e36abda",
        "pbkdf2:sha512:1000$Q8sPuU4wW1mDQ8sP$c65709219bdd6b614c1e951ef62110937cbad0974a4dbbe919d0296da66814b885b3f3646b2e82a4f467b7042d436fb8c86fc569dc4e3ca3cf98f5dabf78da03",
        "scrypt$1024$Q8sPuU4wW1mDQ8sP$8$1$zF7S2EdFFoyrksymoEernqec8xqpihEvbIFnwrmva2cHwRjT/0TTqTybzMZwZh9RW5ei3XkZNiMce3XHuDFV5w==",
        "bcrypt$$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
        "bcrypt_sha256$$2b$05$abcdefghijklmnopqrstuuFRrKxBsFtwnfZtmHymgDN/Qb8toxLuK",
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
        let (salt, hex) = ("Q8sPuU4wW1mDQ8sP", "00".repeat(64));
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
            (format!("scrypt:1048576:8:1${salt}${hex}"), Unusable::TooMuchWork),
            (format!("scrypt:2147483648:8:1${salt}${hex}"), Unusable::TooMuchWork),
            (format!("scrypt:32768:8:4294967295${salt}${hex}"), Unusable::TooMuchWork),
            (format!("scrypt:32768:1024:1024${salt}${hex}"), Unusable::TooMuchWork),
            (format!("scrypt:32767:8:1${salt}${hex}"), Unusable::Parameters),
            (format!("scrypt:0:8:1${salt}${hex}"), Unusable::Parameters),
            (format!("scrypt:-1:8:1${salt}${hex}"), Unusable::Parameters),
            (format!("scrypt:32768:8${salt}${hex}"), Unusable::Form),
            (format!("scrypt:32768:8:1$short${hex}"), Unusable::Lengths),
            // What p blocks of r need is counted, however small N is.
            (format!("scrypt:2:1024:1024${salt}${hex}"), Unusable::TooMuchWork),
            (format!("$scrypt$ln=1,r=1024,p=65${pair}"), Unusable::TooMuchWork),
            (format!("scrypt:32768:8:1${salt}$zz{hex}"), Unusable::Form),
            (format!("scrypt:32768:8:1${salt}$a{hex}"), Unusable::Form),
            (format!("scrypt:32768:8:1${salt}$"), Unusable::Lengths),
            (format!("pbkdf2:sha256:4294967295${salt}${hex}"), Unusable::TooMuchWork),
            (format!("pbkdf2:sha256:1${salt}${hex}"), Unusable::Parameters),
            (format!("pbkdf2:sha256:i=1000${salt}${hex}"), Unusable::Parameters),
            (format!("pbkdf2:md5:1000${salt}${hex}"), Unusable::Form),
            (format!("scrypt$1048576${salt}$8$1$MDEyMzQ1Njc4OWFiY2RlZg=="), Unusable::TooMuchWork),
            (format!("scrypt$16384${salt}$8$99$MDEyMzQ1Njc4OWFiY2RlZg=="), Unusable::TooMuchWork),
            (format!("scrypt$16383${salt}$8$1$MDEyMzQ1Njc4OWFiY2RlZg=="), Unusable::Parameters),
            (format!("bcrypt_sha256$$2b$31${rest}"), Unusable::TooMuchWork),
            (format!("bcrypt$$2b$31${rest}"), Unusable::TooMuchWork),
            (format!("bcrypt_sha256$2b$05${rest}"), Unusable::Form),
            ("$1$salt$hash".to_owned(), Unusable::Form),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".to_owned(), Unusable::Form),
        ] {
            assert_eq!(matches(&text, "x"), Err(why), "{text}");
        }
        // What is recommended is within the bounds, and so is the most that N may be.
        for params in ["ln=17,r=8,p=1", "ln=17,r=8,p=4", "ln=1,r=1024,p=64"] {
            let text = format!("$scrypt${params}${pair}");
            assert!(Foreign::read(&text, &Caps::default()).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,120}", tail in "[$a-z0-9=,./+]{0,80}") {
            let _ = Foreign::read(&text, &Caps::default());
            for start in [
                "$2b$", "$scrypt$", "$pbkdf2-sha256$", "pbkdf2_sha1$", "scrypt:", "pbkdf2:sha256:",
                "scrypt$", "bcrypt_sha256$$2b$", "scrypt:32768:8:1$abcdefgh$",
            ] {
                let _ = Foreign::read(&format!("{start}{tail}"), &Caps::default());
            }
        }
    }
}
