//! Taking back: what is taken back, the log it is written to, and the view that refuses it.
//!
//! The truth is the revocation log, an append-only list with a position for every entry, written in
//! the same batch as the thing that is taken back. A [`View`] holds in memory what the log says; it
//! hears entries at once through the feed and pulls the log besides, and it knows how stale it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tegata_core::{
    ClientId, FamilyId, KeyId, NodeId, Realm, SessionId, Timestamp, TokenId, repository,
};

use crate::status::StatusIndex;

/// The longest that an access token may live, whatever is configured. What was taken back is kept
/// for as long, because it may name tokens that were issued under another configuration.
pub const LONGEST_ACCESS: Duration = Duration::from_secs(3600);

/// For how long a revocation may be unknown before whoever judges tokens says so: 5 s.
pub const MOST_STALE: Duration = Duration::from_secs(5);

/// How wrong a wall clock may be for a while without anything being forgotten: twice what a time
/// server is expected to get wrong.
pub(crate) const CLOCK_ERROR: Duration = Duration::from_secs(600);

mod backstop;
pub mod history;
mod marks;
mod news;
pub mod notice;
mod realm;
mod revoker;
mod snapshot;
mod tally;
mod view;
mod withdraw;

pub use history::{History, Unknowable};
pub use notice::Notice;
pub use realm::{RealmView, Revoked};
pub use revoker::Revoker;
pub use snapshot::{SNAPSHOT_PARTS, SNAPSHOTS, Snapshots};
pub use tally::Tally;
pub use view::{GRACE, View};
pub(crate) use view::{corrupt, is_kept};
pub use withdraw::{Holder, Order, Withdraw, Withdrawable, Withdrawn};

/// What an entry takes back.
///
/// INVARIANT: a program that meets a target it does not know stops following the log, and so grows
/// stale and turns away what it would have to know it for: passing over it would be to lose it. A new
/// kind of target is written only while all that are in the [circle](crate::circle), or want to be, run a
/// version that [knows](KNOWS) it. Whoever comes later and does not stops at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// One token.
    Token(TokenId),
    /// All tokens of a sign-in.
    Family(FamilyId),
    /// All tokens of a session, and the session.
    Session(SessionId),
    /// Everything that was issued in the name of a subject up to and including a moment: a user
    /// id, or a client id where a client speaks for itself.
    Subject {
        /// The claim `sub`.
        sub: String,
        /// The moment.
        up_to: Timestamp,
        /// Whether sessions and families go on, because what their holder may do has changed, and
        /// tokens say what it was. An older program ends those too.
        #[serde(default)]
        tokens_only: bool,
    },
    /// Everything that was issued to a client up to and including a moment.
    Client {
        /// The claim `client_id`.
        client: ClientId,
        /// The moment.
        up_to: Timestamp,
    },
    /// Everything that a key signed.
    Key(KeyId),
    /// One token of another issuer.
    ForeignToken {
        /// Its `iss`.
        issuer: String,
        /// Its `jti`.
        jti: String,
    },
    /// All tokens of a session at another issuer.
    ForeignSession {
        /// Their `iss`.
        issuer: String,
        /// Their `sid`.
        sid: String,
    },
    /// Everything that another issuer issued in the name of a subject up to and including a moment.
    ForeignSubject {
        /// The claim `iss`.
        issuer: String,
        /// The claim `sub`.
        sub: String,
        /// The moment.
        up_to: Timestamp,
    },
    /// Everything that another issuer issued to a client up to and including a moment.
    ForeignClient {
        /// The claim `iss`.
        issuer: String,
        /// The claim `client_id`, or `azp`.
        client: String,
        /// The moment.
        up_to: Timestamp,
    },
    /// Everything that a key of another issuer signed.
    ForeignKey {
        /// The claim `iss` of what it signed.
        issuer: String,
        /// Its `kid`.
        kid: String,
    },
}

/// Which kinds of [`Target`] this version knows: all whose [number](Target::known_since) is no greater. What
/// came before there was a number has 0.
pub const KNOWS: u32 = 1;

impl Target {
    /// What a program must [know](KNOWS) to read this.
    #[must_use]
    pub const fn known_since(&self) -> u32 {
        match self {
            Self::Token(_)
            | Self::Family(_)
            | Self::Session(_)
            | Self::Subject { .. }
            | Self::Client { .. }
            | Self::Key(_)
            | Self::ForeignToken { .. }
            | Self::ForeignSession { .. }
            | Self::ForeignSubject { .. } => 0,
            Self::ForeignClient { .. } | Self::ForeignKey { .. } => 1,
        }
    }
}

/// Whether an order wrote what it takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It did.
    Now,
    /// It had nothing to write: that had been taken back before, perhaps elsewhere.
    Before,
    /// It took nothing back: what it was given is nothing that was issued here. Whether anybody refuses
    /// it is not known.
    Nothing,
}

/// An entry of the revocation log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What is taken back.
    pub target: Target,
    /// The places of the tokens that this takes back, as far as they are known.
    pub places: Vec<StatusIndex>,
    /// When.
    pub at: Timestamp,
    /// When it may be forgotten, because nothing that it names can be alive.
    pub until: Timestamp,
    /// Why, in a word.
    pub reason: String,
    /// Who: a user id, a client id, or `system`.
    pub actor: String,
}

/// What a node tells the others of an entry. It comes over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pushed {
    pub(crate) realm: Realm,
    pub(crate) entry: Entry,
    /// Who took it back, and under which number.
    #[serde(default)]
    pub(crate) by: Option<(NodeId, u64)>,
    /// Whether nobody knows that it is in the log.
    #[serde(default)]
    pub(crate) perhaps: bool,
}

impl Pushed {
    const FORM: u8 = 1;

    /// The longest message that is looked at. What is longer is not ours, and if it should be, it
    /// is pulled from the log.
    const LONGEST: usize = 16 * 1024;

    /// The most places that an entry of ours names is 17. Each may cost a list of 128 KiB.
    const MOST_PLACES: usize = 64;

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        repository::encode(Self::FORM, self)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = Some(bytes).filter(|bytes| bytes.len() <= Self::LONGEST)?;
        let pushed: Self = repository::decode_bytes(Self::FORM, bytes).ok()?;
        (pushed.entry.places.len() <= Self::MOST_PLACES).then_some(pushed)
    }
}

impl Entry {
    const FORM: u8 = 1;

    /// The entry as it stands in the log.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        repository::encode(Self::FORM, self)
    }

    /// Reads an entry of the log.
    ///
    /// # Errors
    /// What is wrong with the bytes, without their content.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        repository::decode_bytes(Self::FORM, bytes).map_err(|why| {
            format!(
                "{why}; where another node runs a newer version, update this one: until it can read \
                 the entry, it knows of nothing that was taken back after it"
            )
        })
    }
}
