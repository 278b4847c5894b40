//! The one field into which people type a code, and what may stand in it.

use std::fmt;

use tegata_core::Secret;
use unicode_normalization::UnicodeNormalization as _;

use super::{
    recovery,
    totp::{DIGITS, Digits},
};

/// The longest text that is looked at, in bytes.
const LONGEST: usize = 128;

/// What somebody has beside a password. Each is a value of `methods` of the browser API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Authenticator {
    /// A key that a browser or a phone holds.
    Passkey,
    /// An app that shows codes.
    Totp,
    /// A list of codes on paper.
    RecoveryCode,
}

impl Authenticator {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Passkey, Self::Totp, Self::RecoveryCode];

    /// Its name, as in events and interfaces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "totp",
            Self::RecoveryCode => "recovery_code",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }
}

/// A code as somebody typed it, in its one form.
#[derive(Clone)]
pub struct TypedCode(Form);

#[derive(Clone)]
pub(crate) enum Form {
    Totp(Secret<Digits>),
    Recovery(Secret<String>),
}

impl TypedCode {
    /// Reads a code. Full-width digits and spaces are taken as they are meant. `None`: it can be no
    /// code of anybody.
    #[must_use]
    pub fn read(typed: &str) -> Option<Self> {
        if typed.len() > LONGEST {
            return None;
        }
        let text: String = typed.nfkc().filter(|c| !c.is_whitespace()).collect();
        let is_digits = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_digits {
            return text.into_bytes().try_into().ok().map(|it| Self(Form::Totp(Secret::new(it))));
        }
        recovery::one_form(&text).map(|code| Self(Form::Recovery(Secret::new(code))))
    }

    /// What it is a code of.
    #[must_use]
    pub const fn authenticator(&self) -> Authenticator {
        match self.0 {
            Form::Totp(_) => Authenticator::Totp,
            Form::Recovery(_) => Authenticator::RecoveryCode,
        }
    }

    pub(crate) const fn form(&self) -> &Form {
        &self.0
    }
}

impl fmt::Debug for TypedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypedCode({})", self.authenticator().as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn knows_a_code_of_an_app_from_one_on_paper() {
        for (typed, is) in [
            ("123456", Some(Authenticator::Totp)),
            (" 123 456 ", Some(Authenticator::Totp)),
            ("１２３４５６", Some(Authenticator::Totp)),
            ("0123-4567-89ab-cdef", Some(Authenticator::RecoveryCode)),
            ("0123 4567 89AB CDEF", Some(Authenticator::RecoveryCode)),
            ("", None),
            ("12345", None),
            ("1234567", None),
            ("12345a", None),
            ("٠١٢٣٤٥", None),
            ("-123456", None),
            (&"1".repeat(1000), None),
        ] {
            assert_eq!(TypedCode::read(typed).map(|it| it.authenticator()), is, "{typed}");
        }
        assert_eq!(format!("{:?}", TypedCode::read("123456").unwrap()), "TypedCode(totp)");
    }

    proptest! {
        #[test]
        fn never_panics(typed in ".{0,60}") {
            let _ = TypedCode::read(&typed);
        }
    }
}
