//! Cedar policies, read and checked as a whole: a [`Bundle`].
//!
//! A bundle speaks the words of its schema. The namespace `Tegata` is always there: callers, routes,
//! methods and what is known of a request ([`Bundle::WORDS`]). What an installation declares itself
//! stands beside it. A bundle in which anything is wrong is not loaded.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use serde::{Serialize, Serializer};

use self::{index::Index, named::Named, read::Source, schema::Words, uses::Uses};

pub(crate) mod index;
pub(crate) mod named;
mod read;
pub(crate) mod schema;
mod text;
pub(crate) mod uses;

/// Policies and the schema that they keep to. It is read once, and never changes.
pub struct Bundle {
    policies: Vec<Policy>,
    /// What each of them uses and names.
    known: Vec<(Uses, Named)>,
    /// Their places, by name.
    numbers: HashMap<PolicyId, usize>,
    pub(crate) words: Words,
    /// Those that permit; apart, because Cedar does not say what permits beside what forbids.
    pub(crate) permits: Index,
    /// Those that forbid.
    pub(crate) forbids: Index,
    digest: [u8; 32],
}

/// What is known of a policy without asking it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Its name: its annotation `@id`, or its file and line, as in `orders.cedar:12`. Unique in its bundle.
    pub id: PolicyId,
    /// Whether it permits or forbids.
    pub effect: Effect,
    /// The name of its file.
    pub file: Arc<str>,
    /// The line of its file in which it begins; the first is 1.
    pub line: u32,
    /// Its annotations, but for `@id`: `@reason("…")` is shown to operators.
    pub annotations: BTreeMap<String, String>,
    /// Its text.
    #[serde(skip)]
    pub text: Arc<str>,
}

/// The name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(Arc<str>);

/// What a policy does where it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It permits.
    Permit,
    /// It forbids.
    Forbid,
}

/// Why a bundle is not loaded: everything that is wrong in it, in the order of its files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidBundle {
    /// At least one; no more than [`InvalidBundle::SHOWN`].
    pub faults: Vec<Fault>,
}

/// What is wrong in one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The name of the file.
    pub file: String,
    /// The line; the first is 1.
    pub line: u32,
    /// The column in characters; the first is 1.
    pub column: u32,
    /// What is wrong.
    pub what: String,
    /// What would mend it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Bundle {
    /// The most bytes that all files of a bundle may have together.
    pub const BYTES: usize = 4 << 20;
    /// The most policies of a bundle.
    pub const POLICIES: usize = 10_000;
    /// The schema that is always there, in Cedar's own form.
    pub const WORDS: &str = include_str!("bundle/tegata.cedarschema");

    /// Reads the files of a schema, which may be none, and files of policies: each a name, which faults
    /// and decisions cite, and its text. Checks every policy strictly against the schema.
    ///
    /// # Errors
    /// Everything that is wrong, with its place.
    pub fn read<'a>(
        schema: impl IntoIterator<Item = (&'a str, &'a str)>,
        policies: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, InvalidBundle> {
        let source = |(name, text)| Source { name, text };
        let schema: Vec<_> = schema.into_iter().map(source).collect();
        let policies: Vec<_> = policies.into_iter().map(source).collect();
        read::read(&schema, &policies).map_err(InvalidBundle::of)
    }

    /// SHA-256 of all that was read: equal for equal files, in whatever order they were given.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Its policies, in the order of their files' names and of their lines.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// A policy by its name.
    #[must_use]
    pub fn policy(&self, id: &str) -> Option<&Policy> {
        self.policies.get(*self.numbers.get(id)?)
    }

    /// What a policy names.
    pub(crate) fn named_by(&self, id: &str) -> Option<&Named> {
        self.known.get(*self.numbers.get(id)?).map(|(_, named)| named)
    }

    /// What a policy uses of a request.
    pub(crate) fn uses_of(&self, id: &PolicyId) -> Option<Uses> {
        self.known.get(*self.numbers.get(id)?).map(|(uses, _)| *uses)
    }
}

impl InvalidBundle {
    /// How many faults are told at most.
    pub const SHOWN: usize = 100;

    fn of(mut faults: Vec<Fault>) -> Self {
        faults.sort();
        faults.dedup();
        faults.truncate(Self::SHOWN);
        Self { faults }
    }
}

impl Borrow<str> for PolicyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PolicyId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("policies", &self.policies.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, what, mend } = self;
        write!(f, "{file}:{line}:{column}: {what}")?;
        mend.as_ref().map_or(Ok(()), |mend| write!(f, "; {mend}"))
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PolicyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
