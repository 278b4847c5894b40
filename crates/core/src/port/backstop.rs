//! `Backstop`: the second durable home of revocations, asked when the first layers do not answer.

use super::{BoxFuture, StoreError};
use crate::{clock::Timestamp, id::Realm};

/// A withdrawal on record: whatever it names is refused until `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// What is withdrawn: a key of 1 to 255 bytes that the domain makes.
    pub key: String,
    /// The greater of all withdrawals of this key wins: a moment before which what was issued is
    /// void, or a count. Never decreases.
    pub mark: u64,
    /// When it may be forgotten, because nothing that it names can be alive.
    pub until: Timestamp,
}

/// Withdrawals by key. They only grow: recording again with a smaller `mark` or `until` changes
/// nothing, whatever the order in which two nodes record.
pub trait Backstop: Send + Sync {
    /// Records withdrawals. When this answers `Ok`, they are durable.
    fn record<'a>(
        &'a self,
        realm: &'a Realm,
        withdrawals: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The withdrawal of a key, if there is one that has not passed its `until`.
    fn withdrawn<'a>(
        &'a self,
        realm: &'a Realm,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>>;
}
