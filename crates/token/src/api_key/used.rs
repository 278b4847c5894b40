//! When keys were used last: to about a minute, and never at the cost of a request.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_core::{Kind, Lifetime, Stored, Timestamp};

use super::form::ApiKeyId;

/// Where it is stored. Apart from the keys, so that using one never overtakes who changes it.
pub static USES: Kind =
    Kind { name: "api_key_use", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// Of how many keys it is noted at most when they were used, until it is written down.
const NOTED: usize = 100_000;

/// When keys were used, as far as it is not written down yet.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<ApiKeyId, Timestamp>>);

impl Uses {
    /// Notes that a key was used.
    pub fn note(&self, id: &ApiKeyId, at: Timestamp) {
        let mut noted = self.0.lock();
        if let Some(before) = noted.get_mut(id) {
            *before = at.max(*before);
        } else if noted.len() < NOTED {
            noted.insert(id.clone(), at);
        }
    }

    /// What was noted, for whoever writes it down.
    #[must_use]
    pub fn take(&self) -> Vec<(ApiKeyId, Timestamp)> {
        self.0.lock().drain().collect()
    }
}

/// When a key was used last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Which.
    pub id: ApiKeyId,
    /// When.
    pub at: Timestamp,
}

impl Stored for Use {
    const KIND: &'static Kind = &USES;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        self.id.as_str()
    }
}
