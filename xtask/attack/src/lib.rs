//! Attacks on a gateway, byte for byte: over raw sockets, against any address.
//!
//! | module | |
//! |---|---|
//! | [`case`] | the cases of `corpus/gateway`, as they are written |
//! | [`forge`] | makes the tokens that they show |
//! | [`proof`] | good proofs of a key (DPoP) |
//! | [`run`] | says them to a gateway, and judges what comes of it |
//! | [`frames`] | a client of HTTP/2 that sends what it likes |
//! | [`wire`] | connections, in the clear and with TLS |

pub mod case;
pub mod forge;
pub mod frames;
pub mod proof;
pub mod run;
pub mod wire;
