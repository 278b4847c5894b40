//! Where requests go: connections to the addresses of services.

mod pool;

pub(crate) use pool::{Lease, NoConnection, NoResponse, Pool};
