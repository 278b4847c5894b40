//! The policies that a node decided by last, kept on its own disk: what the store says later is judged
//! against them, and they count where what the store says cannot be used.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};
use tegata_core::Epoch;

use super::{Files, stored::StoredSet};

/// The file, in the data directory.
const FILE: &str = "policies.json";

/// What a node decided by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Of which epoch: a restored backup may hold an older version, and is right.
    pub(super) epoch: Epoch,
    pub(super) set: StoredSet,
    pub(super) decides: Option<Files>,
    pub(super) tries: Option<Files>,
}

impl Kept {
    /// What was kept. What is damaged is nothing, and is said.
    pub(super) fn read(data: &Path) -> Option<Self> {
        let path = data.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "it cannot be read");
                return None;
            }
        };
        let kept = serde_json::from_slice::<Self>(&text).ok();
        let kept = kept.filter(|kept| {
            let same = |files: &Option<Files>, digest: &Option<String>| {
                files.as_ref().map(Files::digest) == *digest
            };
            same(&kept.decides, &kept.set.decides) && same(&kept.tries, &kept.set.tries)
        });
        if kept.is_none() {
            tracing::warn!(path = %path.display(), "what it says of policies is damaged");
        }
        kept
    }

    pub(super) fn write(&self, data: &Path) -> io::Result<()> {
        let (path, new) = (data.join(FILE), data.join(format!("{FILE}.new")));
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        // What a crash leaves is either of the two, and whole.
        file.sync_data()?;
        fs::rename(new, path)
    }
}
