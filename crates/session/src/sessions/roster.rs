//! A person's sessions, in one record: what makes the limit on their number hold.
//!
//! Every sign-in writes this record by compare-and-set, in the batch that creates the session, so
//! of two sign-ins at once one sees the other's session and ends what is too many. Counting the
//! sessions by their index could not promise that: both would count before either is there. The
//! record is not written when a session ends; the next sign-in drops what is no longer alive.

use serde::{Deserialize, Serialize};
use tegata_core::{Kind, Lifetime, SessionId, Stored, Timestamp, UserId};

/// Where rosters are stored.
pub static ROSTERS: Kind =
    Kind { name: "session_roster", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// The sessions of a person, as of the latest sign-in: those that were alive then, and the new one. One that is
/// not among them has ended, or was over by the limits of that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roster {
    pub(super) user: UserId,
    pub(super) sessions: Vec<SessionId>,
    /// When they were last told that they have too many.
    #[serde(default)]
    pub(super) told_at: Option<Timestamp>,
}

impl Stored for Roster {
    const KIND: &'static Kind = &ROSTERS;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        self.user.as_str()
    }
}
