//! With what a caller may say who it is, as it is written beside a route.

use serde::{Deserialize, Serialize};

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credential {
    /// An access token.
    Token,
    /// A session cookie.
    Session,
    /// An API key.
    Key,
    /// A certificate by itself.
    Certificate,
}

/// Kinds of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials(u8);

impl Credential {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Token, Self::Session, Self::Key, Self::Certificate];

    const fn bit(self) -> u8 {
        match self {
            Self::Token => 1,
            Self::Session => 2,
            Self::Key => 4,
            Self::Certificate => 8,
        }
    }
}

impl Credentials {
    /// What counts where nothing is said: access tokens and session cookies, as before there was a choice.
    /// Whoever has an API key or a certificate is let in where a route says so, and nowhere else.
    pub const USUAL: Self = Self(Credential::Token.bit() | Credential::Session.bit());

    /// These; what counts where nothing is said, where there is none.
    #[must_use]
    pub fn of(kinds: &[Credential]) -> Self {
        let bits = kinds.iter().fold(0, |bits, kind| bits | kind.bit());
        if bits == 0 { Self::USUAL } else { Self(bits) }
    }

    /// Whether a kind is among them.
    #[must_use]
    pub const fn have(self, kind: Credential) -> bool {
        self.0 & kind.bit() != 0
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::USUAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_what_was_before_there_was_a_choice() {
        for usual in [Credentials::default(), Credentials::of(&[])] {
            let counts = Credential::ALL.map(|kind| usual.have(kind));
            assert_eq!(counts, [true, true, false, false]);
        }
        let alone = Credentials::of(&[Credential::Key]);
        assert_eq!(Credential::ALL.map(|kind| alone.have(kind)), [false, false, true, false]);
    }

    #[test]
    fn words_are_these_four() {
        let words = serde_json::to_string(&Credential::ALL).unwrap();
        assert_eq!(words, r#"["token","session","key","certificate"]"#);
        assert!(serde_json::from_str::<Credential>(r#""cookie""#).is_err());
    }
}
