//! Attacks on a gateway, byte for byte: over raw sockets, against any address.
//!
//! | module | |
//! |---|---|
//! | [`case`] | the cases of `corpus/gateway`, as they are written |
//! | [`signed`] | tokens of theirs that are signed with the right key |
//! | [`proof`] | good proofs of a key (DPoP) |
//! | [`run`] | says them to a gateway, and judges what comes of it |
//! | [`frames`] | a client of HTTP/2 that sends what it likes |
//! | [`wire`] | connections, in the clear and with TLS |

pub mod case;
pub mod frames;
pub mod proof;
pub mod run;
pub mod signed;
pub mod wire;
