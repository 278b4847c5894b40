//! What a Rust service adds to be protected, and to call others. `docs/services.md` shows it in
//! use.
//!
//! | module | subject |
//! |---|---|
//! | [`authenticate`] | who calls: from the gateway's internal token, or from an access token |
//! | [`client`] | calls to other services, with tokens, timeouts, retries and breakers |
//! | [`propagate`] | the caller's token becomes narrow ones for the services called on its behalf |
//! | [`provider`] | the provider's token endpoint |
//! | [`problem`] | answers that say what went wrong |
//! | [`remote_keys`] | the keys of an issuer elsewhere, found by its name |
//! | [`revocations`] | what the provider has taken back |
//! | [`sessions`] | the session of a request, by any of three ways |
//! | [`trace`] | what ties the requests together that one request caused |
//! | [`transport`] | HTTP as a client |
//! | [`testing`] | keys and tokens for a service's own tests |
//!
//! The checks are functions over headers. With the feature `axum`, which is on unless turned off,
//! [`authenticate::layer`] dresses them as a layer and an extractor.

pub mod authenticate;
pub mod client;
pub mod problem;
pub mod propagate;
pub mod provider;
pub mod remote_keys;
pub mod revocations;
pub mod sessions;
pub mod testing;
pub mod trace;
pub mod transport;

#[cfg(feature = "axum")]
pub use authenticate::layer::AuthenticateLayer;
pub use authenticate::{Accept, Authenticator, Caller, InTransaction, KeySource, Refused, Subject};
pub use client::{Call, CallFailed, Reply, Retries, ServiceClient};
pub use problem::Problem;
pub use propagate::{NewTransaction, TransactionIssued};
pub use provider::{Credential, Provider};
pub use remote_keys::{RemoteIssuer, RemoteKeys};
pub use revocations::{Revocations, WhenStale};
pub use sessions::{NotChecked, SessionContext, SessionStore, Sessions, Sidecar};
// The words of the platform that a service meets, so that it needs no other crate of it.
pub use tegata_core::{
    Acr, Clock, Entropy, ManualClock, Node, Secret, SeededEntropy, StepUp, Timestamp, UserId,
};
pub use tegata_token::{Claims, Memory, ProtectedResource, Scope, transaction::Context};
pub use trace::Trace;
pub use transport::{Transport, TransportLimits};

/// The examples of the guide, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/services.md")]
struct Guide;
