//! Attacks on a gateway, byte for byte: over raw sockets, against any address.
//!
//! | module | |
//! |---|---|
//! | [`frames`] | a client of HTTP/2 that sends what it likes |

pub mod frames;
