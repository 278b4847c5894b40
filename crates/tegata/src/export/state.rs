//! How far an export has come, in a file: what was handed over before that is not handed over again.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};

/// How far an export has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// `decisions` or `events`.
    pub(crate) what: String,
    /// Where to.
    pub(crate) to: String,
    /// The place after the last record that arrived.
    pub(crate) position: String,
    /// How long the file was then, where it goes into one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) length: Option<u64>,
}

impl State {
    /// What a file says. `None`: there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| wrong(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(&error)),
        }
    }

    /// Writes it. What a crash leaves is this or what was there, and whole.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        let write = || {
            let mut options = File::options();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_data()?;
            fs::rename(&new, path)
        };
        write().map_err(|error: io::Error| format!("`{}`: {error}", path.display()))
    }
}
