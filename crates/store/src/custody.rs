//! Where the root key lives: `Custody` adapters.

pub mod file;
