//! Why a policy is none.

use super::Category;
use crate::cookie::Contradiction;

/// Why a policy is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefused {
    /// Browsers would drop the cookie, or do something else than is declared.
    #[error(transparent)]
    Cookie(#[from] Contradiction),
    /// It is no name.
    #[error(
        "`{0}` is neither the name of a cookie nor the beginning of names with `*` after it, as in `utm_*`"
    )]
    Name(String),
    /// The same name stands there twice.
    #[error(
        "cookie `{name}` is `{one}` and `{other}` at once: declare it once; a built-in one is left out \
         by `without = [\"{name}\"]`"
    )]
    Twice {
        /// Which.
        name: String,
        /// A category of it.
        one: Category,
        /// The other, which may be the same.
        other: Category,
    },
    /// It is one of our own.
    #[error("cookie `{0}` is Tegata's own: declare it under another name")]
    Ours(String),
    /// There is no built-in cookie of this name.
    #[error("`without` names `{name}`, which is none of the built-in cookies: {known}")]
    NotKnown {
        /// Which.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A cookie exists nowhere.
    #[error("cookie `{0}` exists in no environment: name one in `environments`, or leave that out")]
    Nowhere(String),
    /// It is not said what it is for.
    #[error("cookie `{0}` has no purpose, or one of more than 500 characters: say what it is for")]
    Purpose(String),
    /// The version is 0.
    #[error("`version` is 0: count versions of the policy from 1")]
    Version,
    /// The notice is at no address.
    #[error(
        "`notice` is `{0}`, which is no address: write a path such as `/privacy`, or `https://…`"
    )]
    Notice(String),
}
