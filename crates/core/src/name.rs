//! Names: short texts that are checked where they enter, and carried checked from there on.

/// Why a text is not such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
    text: String,
}

impl InvalidName {
    /// What it should have been, with its article, and the rule that the text breaks. What is echoed
    /// is bounded and escaped: names arrive from outside.
    #[must_use]
    pub fn new(what: &'static str, rule: &'static str, text: &str) -> Self {
        let text = text.chars().take(80).collect::<String>().escape_debug().to_string();
        Self { what, rule, text }
    }

    /// What a name may be, without the text that was given: that may be a secret which stands in the
    /// wrong place.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        self.rule
    }
}

/// Declares a name over a checked string: what it is, with its article, the rule in words, and the
/// same rule as a function of the text. For crates that have `serde`.
#[macro_export]
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            #[doc = concat!("Reads ", $what, ": ", $rule, ".")]
            ///
            /// # Errors
            /// It names the rule that the text breaks.
            pub fn new(text: &str) -> Result<Self, $crate::InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err($crate::InvalidName::new($what, $rule, text))
                }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::InvalidName;
            fn try_from(text: String) -> Result<Self, $crate::InvalidName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_bounds_and_escapes_what_it_echoes() {
        let error = InvalidName::new("a role", "short", &"\n".repeat(500)).to_string();
        assert!(error.len() < 400 && !error.contains('\n'), "{error}");
        assert!(error.ends_with("is not a role: short"), "{error}");
    }
}
