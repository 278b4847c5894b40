//! Policies in the store, where all nodes of an installation find them.
//!
//! What counts is a small record, which is read every second; files lie beside it, under their digest, and
//! are read when they are others. Whoever has not the root key can make neither.

use serde::{Deserialize, Serialize};
use tegata_core::{Kind, Lifetime, Stored};

use super::Files;
use crate::config::PolicyMode;

/// Where it is said which policies count.
pub(crate) static POLICY_SETS: Kind =
    Kind { name: "policy_set", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// Where their files are.
pub(crate) static POLICY_FILES: Kind =
    Kind { name: "policy_files", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// The key of the only one.
pub(super) const CURRENT: &str = "current";

/// Which policies count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredSet {
    /// It only grows, and is never used twice.
    pub(super) version: u64,
    /// What it is called by the mode that it was declared with, for people.
    pub(super) mode: PolicyMode,
    /// The digest of the files that decide. `None`: none do.
    pub(super) decides: Option<String>,
    /// The digest of those that are tried.
    pub(super) tries: Option<String>,
}

/// Files, under their digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredFiles {
    pub(super) digest: String,
    pub(super) files: Files,
}

impl Stored for StoredSet {
    const KIND: &'static Kind = &POLICY_SETS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        CURRENT
    }
}

impl Stored for StoredFiles {
    const KIND: &'static Kind = &POLICY_FILES;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.digest
    }
}
