//! The one form of a user name.
//!
//! A name is trimmed, brought into the form NFKC (so that full-width and composed spellings are
//! one), put into lower case letter by letter, and brought into NFKC again. What remains must be
//! letters and digits of any script and `.`, `_`, `@`, `+`, `-`. Two spellings with one form are one
//! name. Letters of different scripts that look alike remain different: whoever shows names to
//! people who decide by them shows the user id beside them.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use tegata_core::InvalidName;

/// The longest name, in bytes of its one form.
const LONGEST: usize = 128;

/// A user name in its one form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(Arc<str>);

impl Username {
    /// Reads a name as somebody typed it.
    ///
    /// # Errors
    /// [`InvalidName`] says what a name may be.
    pub fn new(typed: &str) -> Result<Self, InvalidName> {
        let invalid = || {
            InvalidName::new(
                "a user name",
                "1 to 128 bytes of letters, digits and `._@+-`, beginning with a letter or digit, \
                 and not with `usr_`",
                typed,
            )
        };
        // The form can be longer than what was typed, but not by so much.
        if typed.len() > LONGEST * 4 {
            return Err(invalid());
        }
        let name = one_form(typed.trim());
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '@' | '+' | '-');
        let valid = (1..=LONGEST).contains(&name.len())
            && name.chars().all(allowed)
            && name.starts_with(char::is_alphanumeric)
            // User ids begin so, and commands take either.
            && !name.starts_with("usr_")
            // A form that has another form would be two names.
            && one_form(&name) == name;
        if valid { Ok(Self(name.into())) } else { Err(invalid()) }
    }

    /// The one form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn one_form(text: &str) -> String {
    text.nfkc()
        .flat_map(char::to_lowercase)
        // The sigma at the end of a word is the same letter as elsewhere.
        .map(|c| if c == 'ς' { 'σ' } else { c })
        .nfkc()
        .collect()
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Username {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<Username> for String {
    fn from(name: Username) -> String {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_name_are_one_name() {
        for (typed, form) in [
            ("alice", "alice"),
            ("  Alice\t", "alice"),
            ("ＡＬＩＣＥ", "alice"),
            ("Alice@Example.COM", "alice@example.com"),
            ("Cafe\u{301}", "café"),
            ("ﬁona", "fiona"),
            ("ΣΑΣ", "σασ"),
            ("σας", "σασ"),
            ("ｶﾞﾝﾏ", "ガンマ"),
            ("Ⅳ", "iv"),
        ] {
            assert_eq!(Username::new(typed).unwrap().as_str(), form, "{typed:?}");
        }
    }

    #[test]
    fn refuses_names_that_hide_something() {
        for bad in [
            "",
            "   ",
            "a b",
            "a\u{200b}b",
            "a\u{202e}b",
            "a\0b",
            "a\nb",
            "a/b",
            "a,b",
            "-a",
            ".",
            "..",
            "usr_AAAA",
            "ＵＳＲ＿x",
            "<script>",
            "a\u{fe0f}",
            "İ",
            &"a".repeat(129),
            &"é".repeat(65),
            &"a".repeat(1_000_000),
        ] {
            assert!(Username::new(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_form_is_its_own_form(typed in any::<String>()) {
            if let Ok(name) = Username::new(&typed) {
                prop_assert_eq!(Username::new(name.as_str()), Ok(name.clone()));
                prop_assert!(name.as_str().len() <= LONGEST);
            }
        }
    }
}
