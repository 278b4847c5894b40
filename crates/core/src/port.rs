//! The ports: the shapes of storage that the domain asks for. Adapters live in `tegata-store`.
//!
//! | port | promise |
//! |---|---|
//! | [`Records`] | durable documents by key and declared index; atomic [`Batch`]es; positioned logs |
//! | [`Ephemeral`] | values with a lifetime; one winner for each revision |
//! | [`Feed`] | every node soon hears it, but messages may be lost, repeated and reordered |
//! | [`Members`] | who is in the cluster, as this node sees it |
//! | [`Custody`] | keys that wrap other keys |
//! | [`Vault`] | keys that sign and never leave where they are |
//! | [`Backstop`] | a second durable home for revocations |
//! | [`Counts`] | how many requests pass, counted by several nodes together |
//!
//! Every port is object-safe. Every key is inside a [`crate::Realm`]. Each port has one contract
//! suite (`store/tests/contract.rs`) that all its adapters run.

use std::{future::Future, pin::Pin, time::Duration};

mod backstop;
mod counts;
mod custody;
mod ephemeral;
mod feed;
mod members;
mod records;
mod vault;

pub use backstop::{Backstop, Withdrawal};
pub use counts::{Counts, Take, Taken};
pub use custody::{Custody, CustodyRefused, DataKey};
pub use ephemeral::{Ephemeral, Held, Put, Space, Swap};
pub use feed::{Feed, Heard, Message, Subscription, Topic};
pub use members::{Changes, Facts, Member, Members, Standing};
pub use records::{
    Append, Batch, Body, Change, CommitRefused, Expect, Kind, Lifetime, Log, Page, Positioned,
    Pull, Record, Records, Reread, Sequenced, Stamp,
};
pub use vault::{KeyInVault, PublicHalf, Scheme, Vault, VaultRefused};

/// What a port's method answers with: a future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a store did not answer. The texts are for operators: they name the backend and never hold
/// values of the application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The backend could not be reached, or has too much to do. Nothing happened; it may be tried again.
    #[error("{backend} cannot be reached: {detail}")]
    Unavailable {
        /// Which backend.
        backend: &'static str,
        /// What it, or the system, said.
        detail: String,
    },
    /// The backend is there, and does not do what it was asked for: somebody has to mend something first, such
    /// as a password or a privilege. Nothing happened.
    #[error("{backend} refuses: {detail}")]
    Refused {
        /// Which backend.
        backend: &'static str,
        /// What it said.
        detail: String,
    },
    /// The answer was lost: the change may have happened or not. Whoever tries again must be
    /// prepared for both.
    #[error("{backend} did not confirm, so the change may or may not have happened: {detail}")]
    Indeterminate {
        /// Which backend.
        backend: &'static str,
        /// What it, or the system, said.
        detail: String,
    },
    /// There is no space left. Nothing happened.
    #[error("{backend} has no space left: {detail}")]
    Full {
        /// Which backend.
        backend: &'static str,
        /// What it, or the system, said.
        detail: String,
    },
    /// What was read is not what was written.
    #[error("{backend} holds a damaged `{kind}` at `{key}`: {detail}")]
    Corrupt {
        /// Which backend.
        backend: &'static str,
        /// Which kind of record, space or log.
        kind: &'static str,
        /// Its key.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The caller broke a rule of the port. A defect of the program.
    #[error("the store was asked for something it does not do: {detail}")]
    Misused {
        /// Which rule.
        detail: String,
    },
}

impl StoreError {
    /// How long a client should wait before it tries again, where trying again can help.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            // What has to be mended can be mended at any time.
            Self::Unavailable { .. }
            | Self::Refused { .. }
            | Self::Indeterminate { .. }
            | Self::Full { .. } => Some(Duration::from_secs(1)),
            Self::Corrupt { .. } | Self::Misused { .. } => None,
        }
    }
}
