//! Passwords that are known from breaches (NIST SP 800-63B-4 §3.1.1.2, ASVS 5.0 V6.2.12).

use aws_lc_rs::digest;

use super::Password;

/// A list of passwords that were stolen somewhere. It is asked where passwords are chosen, never where
/// somebody signs in, and on a thread that may wait.
pub trait Breached: Send + Sync {
    /// Whether it has the password with this hash: SHA-1, as such lists are made of it. It is no
    /// protection of anything here.
    ///
    /// # Errors
    /// A text for operators, where the list cannot be read. Then no password may be chosen.
    fn has(&self, sha1: &[u8; 20]) -> Result<bool, String>;
}

/// The hash of a password as lists have it: of its UTF-8, which is in the form NFC here. Most of those
/// who typed what was stolen had keyboards that write this form.
pub(super) fn sha1(password: &Password) -> Option<[u8; 20]> {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password.expose().as_bytes());
    hash.as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_lists_do() {
        // FIPS 180-2, appendix A.1.
        let abc = [
            0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e, 0x25, 0x71, 0x78, 0x50,
            0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d,
        ];
        assert_eq!(sha1(&Password::new("abc".to_owned()).unwrap()), Some(abc));
    }
}
