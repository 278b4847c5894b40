//! `[policy]`: by which policies requests are decided, beside what routes say.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where policies are, and what they do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// The directory of the policies: `*.cedar`, `*.cedarschema` and `*.test.toml`. Where none is named,
    /// those count that the store holds.
    pub(crate) directory: Option<PathBuf>,
    /// Whether they decide, or are tried: `enforce` or `shadow`.
    pub(crate) mode: Mode,
    /// Other policies, which are tried beside those that decide.
    pub(crate) shadow: Option<PathBuf>,
}

/// Whether policies decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// They do.
    #[default]
    Enforce,
    /// They are asked, and what they would have changed is counted.
    Shadow,
}

impl Policy {
    /// The directories, to be made relative to where the configuration is.
    pub(super) fn directories(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.directory.iter_mut().chain(&mut self.shadow)
    }

    pub(crate) fn contradictions(&self, found: &mut Vec<String>) {
        if self.directory.is_none() && (self.shadow.is_some() || self.mode != Mode::default()) {
            found.push(
                "[policy] `mode` and `shadow` say something of the policies of `directory`, which is not \
                 there: name it"
                    .to_owned(),
            );
        }
        if self.mode == Mode::Shadow && self.shadow.is_some() {
            found.push(
                "[policy] `mode = \"shadow\"` tries the policies of `directory`, and `shadow` names others: \
                 keep one"
                    .to_owned(),
            );
        }
    }
}
