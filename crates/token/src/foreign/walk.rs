//! The log from its beginning.

use tegata_core::{Log, Realm, Records, StoreError, Timestamp};

use super::Told;
use crate::revocation::{Entry, corrupt, is_kept};

/// How many entries are read at once.
const PAGE: u32 = 1000;

/// Reads what was taken back of other issuers, from the beginning of the log on.
#[derive(Debug)]
pub struct Walk {
    realm: Realm,
    after: u64,
    until: u64,
}

impl Walk {
    /// A walk over the entries of a realm up to a position.
    #[must_use]
    pub const fn until(realm: Realm, until: u64) -> Self {
        Self { realm, after: 0, until }
    }

    /// The next part, of which some may be empty; `None`: that was all.
    ///
    /// # Errors
    /// What the store says. The walk can go on.
    pub async fn next(
        &mut self,
        records: &dyn Records,
        now: Timestamp,
    ) -> Result<Option<Vec<Told>>, StoreError> {
        if self.after >= self.until {
            return Ok(None);
        }
        let pull = records.pull(Log::Revocations, self.after, PAGE).await?;
        let mut found = Vec::new();
        for positioned in &pull.entries {
            let read = Entry::from_bytes(&positioned.body);
            let entry = read.map_err(|detail| corrupt(positioned.position, detail))?;
            if positioned.realm == self.realm && is_kept(entry.until, now) {
                found.extend(Told::of(&entry, Some(positioned.position)));
            }
        }
        let last = pull.entries.last().map(|positioned| positioned.position);
        self.after = match last {
            Some(last) => last,
            None if self.after >= pull.head => self.until,
            // What is before was trimmed away: it was dead.
            None => self.after.max(pull.tail.saturating_sub(1)).max(self.after + 1),
        };
        Ok(Some(found))
    }
}
