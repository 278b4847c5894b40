//! Where requests go: connections to the addresses of services.

mod balance;
mod breaker;
mod checks;
mod health;
mod http2;
mod pool;
mod retry;
mod waiting;

pub(crate) use balance::{Address, Balanced, Claim, PoolKey, Room, scatter};
pub(crate) use checks::Checks;
pub(crate) use pool::{Held, Lease, NoConnection, NoResponse, Pool, within};
pub(crate) use retry::pause;
