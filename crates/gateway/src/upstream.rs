//! Where requests go: connections to the addresses of services.

mod balance;
mod breaker;
mod checks;
mod health;
mod pool;
mod retry;

pub(crate) use balance::{Address, Balanced, Claim, PoolKey, Room, scatter};
pub(crate) use checks::Checks;
pub(crate) use retry::pause;

pub(crate) use pool::{Lease, NoConnection, NoResponse, Pool, within};
