//! Where requests go: connections to the addresses of services.

mod http2;
mod pool;

pub(crate) use pool::{Held, Lease, NoConnection, NoResponse, Pool};
