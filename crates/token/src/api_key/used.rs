//! When keys were used last: to about a minute, and never at the cost of a request.

use serde::{Deserialize, Serialize};
use tegata_core::{Kind, Lifetime, Stored, Timestamp};

use super::form::ApiKeyId;

/// Where it is stored. Apart from the keys, so that using one never overtakes who changes it.
pub static USES: Kind =
    Kind { name: "api_key_use", indexes: &[], lifetime: Lifetime::Kept, secret: false };

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
