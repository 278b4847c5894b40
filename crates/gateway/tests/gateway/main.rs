//! The gateway from outside: sockets on one side, services on the other.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this is tests, and what does not hold is to end them"
)]

mod bff;
mod certificates;
mod compression;
mod consent;
mod corpus;
mod decisions;
mod dpop;
mod echo;
mod events;
mod explain;
mod ext_authz;
mod finding;
mod floods;
mod foreign;
mod framed;
mod graphql;
mod grpc;
mod heads;
mod hostile;
mod identity;
mod keys;
mod late_cookies;
mod life;
mod limits;
mod narrowing;
mod others;
mod outward_tls;
mod overload;
mod panicking;
mod passage;
mod policies;
mod provoked;
mod reloading;
mod resource;
mod running_out;
mod seeing;
mod slow;
mod step_up;
mod streams;
mod upstreams;
mod websocket;
mod world;
